#!/bin/sh
# Installs what this machine lacks to build and run Tributary, from the system's own packages:
# the servers Postgres, nats-server and Mosquitto, the MQTT command line client, a C compiler, curl;
# Python with its virtual environments and Node with npm, for the examples of docs/subscribe.md.
# Nothing is started, now or at boot: `tributary dev` and the tests start private servers themselves.
# Does nothing, in a moment, when everything is there. Exits 1, and says what is missing,
# where it cannot install.
set -u

# Where packages put programs that the search path may not name (as devservers/src/programs.rs).
PATH="$PATH:/usr/local/bin:/usr/local/sbin:/usr/sbin:/opt/homebrew/bin:/opt/homebrew/sbin"

have() { command -v "$1" >/dev/null 2>&1; }

have_postgres() {
    have postgres && have initdb && return
    for program in /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres \
        /usr/libexec/postgresql*/postgres /opt/homebrew/opt/postgresql@*/bin/postgres \
        /usr/local/opt/postgresql@*/bin/postgres; do
        [ -x "$program" ] && return
    done
    return 1
}

# aws-lc-sys brings prepared sources for these; elsewhere it needs cmake to build.
needs_cmake() {
    case "$(uname -m)" in x86_64 | aarch64 | arm64) return 1 ;; esac
}

have_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

# The names by which missing things go below.
missing() {
    have_postgres || echo postgres
    have nats-server || echo nats-server
    have mosquitto || echo mosquitto
    have mosquitto_pub || echo mosquitto-clients
    have cc || echo compiler
    have curl || echo curl
    have_venv || echo python
    have node || echo node
    have npm || echo npm
    if needs_cmake && ! have cmake; then echo cmake; fi
}

# The package of each, by system. Alpine's busybox has a `setpriv` that knows no death signals.
package() {
    case "$1:$2" in
        apt:postgres | brew:postgres | apk:postgres) echo postgresql ;;
        dnf:postgres) echo postgresql-server ;;
        dnf:mosquitto-clients | brew:mosquitto-clients) echo mosquitto ;;
        apk:mosquitto) echo mosquitto setpriv ;;
        apt:compiler) echo gcc libc6-dev ;;
        dnf:compiler) echo gcc ;;
        apk:compiler) echo build-base ;;
        brew:compiler) ;; # xcode-select --install
        apt:python) echo python3 python3-venv ;;
        *:python) echo python3 ;;
        apt:node | dnf:node | apk:node) echo nodejs ;;
        brew:npm) echo node ;;
        *) echo "$2" ;;
    esac
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@" # Nobody there to type a password.
    fi
}

may_install() {
    [ "$1" = brew ] || [ "$(id -u)" = 0 ] || { have sudo && { [ -t 0 ] || sudo -n true; }; } 2>/dev/null
}

# Debian starts a server when it is installed, and creates a Postgres cluster for it to serve. Two
# files say no. Each is written only where there is none, and is gone again when this script ends.
policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.conf
wrote_policy=''
wrote_cluster=''

stay_quiet() {
    if [ ! -e "$policy" ]; then
        wrote_policy=yes
        as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy"
    fi
    if [ ! -e "$cluster" ]; then
        wrote_cluster=yes
        as_root sh -c "mkdir -p ${cluster%/*} && echo 'create_main_cluster = false' >$cluster"
    fi
}

be_as_before() {
    [ -z "$wrote_policy" ] || as_root rm -f "$policy"
    # What the package would have put there.
    [ -z "$wrote_cluster" ] || as_root sh -c \
        "cp /usr/share/postgresql-common/createcluster.conf $cluster 2>/dev/null || rm -f $cluster"
    wrote_policy=''
    wrote_cluster=''
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

install_with_apt() {
    trap be_as_before EXIT
    trap 'exit 1' INT TERM
    stay_quiet
    as_root apt-get update -qq || echo "install: apt-get update failed: trying what it knew" >&2
    # All or nothing: when the system has no such package, the others must still come.
    apt_install "$@" || for name in "$@"; do apt_install "$name"; done
    # Nor at the next boot, if it was us who brought them.
    for service in mosquitto nats-server; do
        case " $* " in *" $service "*)
            if have systemctl; then as_root systemctl disable --quiet "$service" 2>/dev/null; fi
            ;;
        esac
    done
    be_as_before
}

# One by one: a package that does not exist (nats-server, on some) must not stop the others.
one_by_one() {
    installer=$1
    shift
    for name in "$@"; do
        case $installer in
            dnf) as_root dnf install -q -y "$name" ;;
            apk) as_root apk add -q "$name" ;;
            brew) brew install -q "$name" ;; # As the user: brew refuses to be root.
        esac
    done
}

absent=$(missing)
if [ -n "$absent" ]; then
    for system in apt dnf apk brew none; do
        case $system in
            apt) have apt-get && break ;;
            *) have "$system" && break ;;
        esac
    done
    packages=$(for name in $absent; do package "$system" "$name"; done | tr '\n' ' ')
    # Unquoted below, so that the names are separate words.
    # shellcheck disable=SC2086
    case $system in
        none) ;;
        *)
            if ! may_install "$system"; then
                echo "install: only root may install: $packages" >&2
            else
                echo "install: installing $packages" >&2
                case $system in
                    apt) install_with_apt $packages ;;
                    *) one_by_one "$system" $packages ;;
                esac
            fi
            ;;
    esac
    absent=$(missing | tr '\n' ' ')
fi

if [ -n "$absent" ]; then
    echo "install: still missing: $absent" >&2
    for name in $absent; do
        case $name in
            postgres) echo "  postgres: the server (postgres, initdb), version 15 or newer" ;;
            nats-server) echo "  nats-server: github.com/nats-io/nats-server/releases, into the PATH" ;;
            mosquitto-clients) echo "  mosquitto-clients: mosquitto_pub" ;;
            python) echo "  python: python3, with its modules venv and ensurepip" ;;
            compiler) echo "  compiler: cc, of gcc or clang; on macOS: xcode-select --install" ;;
        esac
    done >&2
    echo "Install by hand what is named here, then run this again." >&2
    exit 1
fi
if ! have cargo; then
    echo "install: cargo is missing: https://rustup.rs says how to get it" >&2
    exit 1
fi
