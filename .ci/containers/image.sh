# Sourced by `steps.sh` with --compile: what must hold for the image that the Dockerfile builds from the sources.

image=tributary:local
inspect() { podman image inspect --format "{{$1}}" "$image"; }
files=$(podman image mount "$image")
program=$files/usr/local/bin/tributary

[ "$(inspect .Config.User)" = 10001:10001 ] || fail "the image runs as $(inspect .Config.User)"
[ "$(inspect .Config.Healthcheck.Test)" = "[CMD tributary health]" ] || fail "the image has another health check: $(inspect .Config.Healthcheck.Test)"
for label in title description licenses; do
    [ -n "$(inspect "index .Config.Labels \"org.opencontainers.image.$label\"")" ] || fail "the image has no label $label"
done
! readelf --wide --symbols "$program" | grep "Symbol table '.symtab'" >/dev/null || fail "the executable is not stripped"
[ ! -e "$files/src" ] && [ ! -e "$files/usr/local/cargo" ] || fail "sources or the compiler are in the image"
podman run --rm --network none --read-only --cap-drop all --security-opt no-new-privileges "$image" --version >/dev/null ||
    fail "it does not start with a read-only root and without capabilities"

# The bill of materials that the executable carries, in CycloneDX. Its crates are those of Cargo.lock.
"$repository/.ci/sbom" "$program" >"$run/sbom.json" || fail "the executable carries no bill of materials"
crates=$(python3 - "$run/sbom.json" Cargo.lock <<'END'
import json, sys, tomllib
locked = {(p["name"], p["version"]) for p in tomllib.load(open(sys.argv[2], "rb"))["package"]}
listed = {(c["name"], c["version"]) for c in json.load(open(sys.argv[1]))["components"]}
missing = {"tokio", "axum", "sqlx", "async-nats"} - {name for name, _ in listed}
assert not missing, f"not listed: {missing}"
assert listed <= locked, f"not in Cargo.lock: {listed - locked}"
print(len(listed))
END
) || fail "the bill of materials is wrong"
megabytes() { echo $(($1 / 1000000)); }
step "image: $(megabytes "$(inspect .Size)") MB, the executable $(megabytes "$(stat -c %s "$program")") MB, stripped, with a list of its $crates crates"
podman image unmount "$image" >/dev/null
