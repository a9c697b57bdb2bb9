# Sourced by `run`: what is done with the deployment, and what must hold.

compose() { docker-compose --progress quiet "$@"; }
container() { podman inspect --format "{{$2}}" "$project-$1-1"; }
pid() { container "$1" .State.Pid; }
is_healthy() { [ "$(container "$1" .State.Status) $(container "$1" .State.Health.Status)" = "running healthy" ]; }
roles="http mqtt relay projector worker"
all_healthy() { for service in $roles postgres mosquitto; do is_healthy "$service" || { echo "$service"; return 1; }; done; }

docker-compose --progress plain up --build --detach >"$run/up.log" 2>&1 || { tail -30 "$run/up.log" >&2; fail "it does not come up"; }
step "up, with the image built $(grep -c 'RUN cargo chef cook' "$run/up.log" || true) time"
eventually "every service is healthy" all_healthy
step "every role, Postgres and the broker are healthy, by \`tributary health\` and their own checks"

if [ -n "$compile" ]; then . "$here/image.sh"; fi

# The commands at the top of compose.yaml.
url=http://127.0.0.1:$PORT
echo 'correct horse battery 9' |
    compose exec -T http tributary users create-admin --email ada@example.org >/dev/null
signed_in() { curl -fsS "$url/api/v1/auth/login/access-token" -d username=ada@example.org --data-urlencode 'password=correct horse battery 9'; }
signed_in | grep -q access_token || fail "the administrator cannot sign in"
token=$(compose exec -T http tributary token --subject importer --role operator --ttl 30d)
get() { curl -fsS -H "Authorization: Bearer $token" "$url$1"; }
device=users/ada/devices/kitchen
compose exec -T mosquitto ./account add "$device" s3cret
lag() { compose exec -T http tributary lag; }
lag >/dev/null
step "an administrator, a token, the account of a device and the lag, by one command each"

publish() { mosquitto_pub -V 5 -h 127.0.0.1 -p "$MQTT_PORT" -q 1 -u "$device" -P s3cret -t "$device/telemetry" "$@"; }
reading() { echo "{\"sequence_id\": $1, \"temperature\": 20}"; }
readings() { get "/api/v1/users/ada/devices/kitchen" | grep -oE '"readings":[0-9]+' | cut -d : -f 2; }
has_readings() { [ "$(readings)" = "$1" ]; }
published() { local errors; errors=$(publish -m "$(reading "$1")" 2>&1) && [ -z "$errors" ]; }
eventually "the broker loads the account" published 0
eventually "the first reading" has_readings 1
[ -n "$(publish -t users/ada/devices/attic/telemetry -m '{}' 2>&1)" ] || fail "a device may publish for another one"

# The shop of README.md, as the administrator: an order is confirmed, and its events are streamed.
administrator=$(signed_in | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
tributary() { compose exec -T -e "TRIBUTARY_TOKEN=$administrator" http tributary "$@"; }
hat=$(tributary products add --sku HAT-1 --name Hat --price 9.90 --json | grep -m1 '"id"' | cut -d'"' -f4)
tributary products stock "$hat" 5 --reason delivery >/dev/null
tributary orders place --item "$hat=2" >/dev/null
confirmed() { tributary orders list | grep confirmed; }
eventually "the order is confirmed" confirmed
streamed() {
    curl -sSN --max-time 3 -H "Authorization: Bearer $administrator" "$url/api/v1/events/stream?after=0" >"$run/stream" || true # It has no end.
    grep '^event: order_confirmed' "$run/stream"
}
eventually "the events of the order are streamed" streamed
step "an order is confirmed by the worker, and its events are streamed"

# What a container is not given.
for service in $roles agent; do
    status=/proc/$(pid "$service")/status
    grep -qE '^CapEff:\s+0+$' "$status" || fail "$service has capabilities: $(grep CapEff "$status")"
    grep -qE '^NoNewPrivs:\s+1$' "$status" || fail "$service may gain privileges"
    grep -qE '^Uid:\s+10001\s' "$status" || fail "$service runs as another user: $(grep Uid "$status")"
done
for service in $(compose config --services); do
    [ "$(container "$service" .HostConfig.ReadonlyRootfs)" = true ] || fail "$service may write its root"
done
for service in mqtt relay projector worker agent; do
    ! podman exec "$project-$service-1" test -e /keys || fail "$service has the signing key"
done
[ "$(podman exec "$project-http-1" stat -c '%u:%a' /keys/signing.pem)" = 10001:400 ] || fail "others may read the signing key"
mosquitto=$(podman inspect --format "{{(index .NetworkSettings.Networks \"${project}_devices\").IPAddress}}" "$project-mosquitto-1")
from_devices() { # PORT
    podman run --rm --network "${project}_devices" "$(container mosquitto .ImageName)" \
        mosquitto_pub -V 5 -h "$mosquitto" -p "$1" -q 1 -u "$device" -P s3cret -t "$device/status" -m '{"online": true}' 2>&1
}
from_devices 1883 || fail "a device in the network \`devices\` does not reach the broker"
refused=$(from_devices 1884 || true)
case $refused in *refused*) ;; *) fail "a device reaches the listener of the bridge: $refused" ;; esac
step "read-only roots, no capabilities, the signing key in http only, the bridge's listener out of reach of devices"

# Connections of each process: its user's address is that of its container.
compose exec -T postgres psql -U postgres -d tributary -Atc \
    "select client_addr, count(*) from pg_stat_activity where usename = 'tributary_app' group by 1" |
    while IFS='|' read -r address count; do
        for service in $roles; do
            [ "$(podman inspect --format "{{(index .NetworkSettings.Networks \"${project}_data\").IPAddress}}" "$project-$service-1")" != "$address" ] ||
                echo "        $service: $count connections to Postgres"
        done
    done

# Outages while a device publishes 20 readings per second.
(for sequence in $(seq 1 400); do reading "$sequence"; sleep 0.05; done) | publish -l & publisher=$!
for service in $roles agent nats; do kill -9 "$(pid "$service")"; done
step "kill -9 of every role, the agent and NATS"
eventually "all of them are back" all_healthy
step "every service is healthy again"
compose stop postgres
sleep 10
compose start postgres
step "Postgres was away for 10 s"
wait "$publisher" || fail "the device was refused"
eventually "400 further readings" has_readings 401
step "401 of 401 readings are stored"
for service in postgres mosquitto; do kill -9 "$(pid "$service")"; done
eventually "both are back" all_healthy
eventually "a reading is accepted" published 401
eventually "the last reading" has_readings 402
step "kill -9 of Postgres and the broker: a further reading is stored"
live() { [ "$(lag | tail -n +2 | grep -cvE '  live  ')" = 0 ]; }
eventually "every consumer is live" live
compose exec -T http tributary verify | tail -1 | sed 's/^/        verify: /'

# A second process of each role behind a proxy. Works are demanded through it while each process is killed in turn.
docker-compose --profile ha --progress plain up --detach >"$run/up.log" 2>&1 || { tail -30 "$run/up.log" >&2; fail "the profile ha does not come up"; }
twice="http relay projector worker"
both_healthy() { for service in $twice; do is_healthy "$service" && is_healthy "$service-2" || { echo "$service"; return 1; }; done; }
eventually "both processes of each role are healthy" both_healthy
networks() { podman inspect --format '{{range $name, $network := .NetworkSettings.Networks}}{{println $name}}{{end}}' "$project-$1-1" | grep . | sort; }
[ "$(comm -12 <(networks proxy) <(networks http))" = "${project}_front" ] || fail "the proxy reaches \`http\` over another network than \`front\`"
is_back() { [ "$(pid "$1")" != "$2" ] && is_healthy "$1"; } # SERVICE FORMER-PID
demand() { # KEY
    curl -fsS --max-time 5 -o /dev/null -H "Authorization: Bearer $token" -H "Idempotency-Key: $1" \
        -H 'Content-Type: application/json' -d '{"add_up_to": 4}' "http://127.0.0.1:$PROXY_PORT/api/v1/works"
}
eventually "the proxy leads to the API" demand ha-0
(
    number=0
    while [ ! -e "$run/killed" ]; do
        number=$((number + 1))
        until demand "ha-$number" 2>>"$run/refused"; do sleep 0.1; done
        sleep 0.05
    done
    echo "$number" >"$run/demanded"
) & demands=$!
helpers+=("$demands")
for service in $twice; do
    for process in "$service" "$service-2"; do
        killed=$(pid "$process")
        [ "$killed" != 0 ] || fail "$process does not run"
        kill -9 "$killed"
        eventually "$process is back" is_back "$process" "$killed"
    done
done
touch "$run/killed"
wait "$demands"
demanded=$(($(cat "$run/demanded") + 1))
in_database() { compose exec -T postgres psql -U postgres -d tributary -Atc "$1"; }
all_done() { [ "$(in_database "select count(*) from works.work where status = 'completed'")" = "$demanded" ]; }
eventually "each of $demanded works is done" all_done
step "profile ha: $demanded works demanded and done while every process was killed; $(grep -c . "$run/refused" || true) attempts failed"

# Prometheus of the profile `monitoring` scrapes each process of both profiles, and has the rules.
docker-compose --profile ha --profile monitoring --progress plain up --detach prometheus >"$run/up.log" 2>&1 || { tail -30 "$run/up.log" >&2; fail "Prometheus does not come up"; }
prometheus() { curl -fsS "http://127.0.0.1:$PROMETHEUS_PORT/api/v1/$1"; }
scraped() { prometheus 'query?query=count(up==1)' | grep '"9"\]'; }
eventually "Prometheus scrapes nine processes" scraped
rules=$(grep -cE '^ *- (alert|record): ' deploy/prometheus/rules.yml)
evaluated() { [ "$(prometheus rules | grep -o '"health":"ok"' | wc -l)" = "$rules" ]; }
eventually "Prometheus evaluates every rule" evaluated
step "profile monitoring: Prometheus scrapes nine processes and evaluates $rules rules"

# A changed password of the bridge reaches the broker and the bridge.
echo 'e@/#%"$ f' > .secrets/mqtt_password
docker-compose --progress plain up --detach --force-recreate accounts mosquitto mqtt agent >"$run/up.log" 2>&1 || { tail -30 "$run/up.log" >&2; fail "it does not come up again"; }
eventually "every service is healthy" all_healthy
eventually "a reading is accepted" published 402
eventually "the reading after the change" has_readings 403
step "a changed password of the bridge: a further reading is stored"

# Layers of the image.
build_again() {
    docker-compose --progress plain build migrate >"$run/layers.log" 2>&1 || { tail -30 "$run/layers.log" >&2; fail "the image is not built again"; }
}
cached() { # What follows the line of the instruction $1: the builder prints it for a layer that it has.
    grep -F -A 1 "$1" "$run/layers.log" | grep 'Using cache' >/dev/null
}
image_id() { podman image inspect --format '{{.Id}}' tributary:local; }
before=$(image_id)
echo >> README.md
build_again
[ "$(image_id)" = "$before" ] || fail "a change of README.md builds another image"
echo '// A change.' >> cli/src/lib.rs
build_again
cached 'RUN cargo chef cook' || fail "a change of a source rebuilds the dependencies"
grep -qF 'RUN cargo auditable build' "$run/layers.log" || fail "the executable is not built"
! cached 'RUN cargo auditable build' || fail "a change of a source does not rebuild the executable"
step "README.md rebuilds nothing, a source only the layers after the dependencies"

compose --profile ha --profile monitoring stop
for service in $roles agent http-2 relay-2 projector-2 worker-2; do
    [ "$(container "$service" .State.ExitCode)" = 0 ] || fail "$service ended with exit code $(container "$service" .State.ExitCode)"
done
step "stopped: every role and the agent with exit code 0"
