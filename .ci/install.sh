#!/bin/sh
# Installs what is missing to build, run and test Tributary, from the system's packages: Postgres,
# nats-server, Mosquitto with its command line clients, a C compiler and curl; HAProxy,
# PgBouncer, libfaketime and Prometheus, for tests; Python with venv and Node with npm, for the examples of
# docs/subscribe.md and generated clients. `install.sh chromium` also installs that browser, for the
# tests of the console. It starts no server, now or at boot:
# `tributary dev` and the tests start private servers. Exits 1 and lists what is still missing if it
# cannot install something; exits at once if nothing is missing.
set -u

# Directories of installed programs that PATH may lack, as in devservers/src/programs.rs.
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

have_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

# The browser of the tests, under one of the names that console/tests/browser.mjs tries.
have_chromium() { have chromium || have google-chrome || have chromium-browser; }

# Further programs that are wanted.
wanted=$*

# Prints the names of missing programs, as used below.
missing() {
    have_postgres || echo postgres
    have nats-server || echo nats-server
    have mosquitto || echo mosquitto
    have mosquitto_pub || echo mosquitto-clients
    have pgbouncer || echo pgbouncer
    have haproxy || echo haproxy
    have faketime || echo faketime
    have prometheus && have promtool || echo prometheus
    have cc || echo compiler
    have curl || echo curl
    have openssl || echo openssl
    have_venv || echo python
    have node || echo node
    have npm || echo npm
    case $wanted in *chromium*) have_chromium || echo chromium ;; esac
}

# Prints the packages of a program, by package manager. The `setpriv` of Alpine's busybox does not
# support parent-death signals.
package() {
    case "$1:$2" in
        apt:postgres | brew:postgres | apk:postgres) echo postgresql ;;
        dnf:postgres) echo postgresql-server ;;
        dnf:faketime | brew:faketime) echo libfaketime ;;
        dnf:prometheus) echo golang-github-prometheus ;;
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
        sudo -n "$@" # No terminal for a password.
    fi
}

may_install() {
    [ "$1" = brew ] || [ "$(id -u)" = 0 ] || { have sudo && { [ -t 0 ] || sudo -n true; }; } 2>/dev/null
}

# Debian starts servers on installation and creates a Postgres cluster. Two files prevent this. Each
# is written only if it does not exist, and removed when this script ends.
policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.conf
wrote_policy=''
wrote_cluster=''

forbid_start() {
    if [ ! -e "$policy" ]; then
        wrote_policy=yes
        as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy"
    fi
    if [ ! -e "$cluster" ]; then
        wrote_cluster=yes
        as_root sh -c "mkdir -p ${cluster%/*} && echo 'create_main_cluster = false' >$cluster"
    fi
}

restore_policy() {
    [ -z "$wrote_policy" ] || as_root rm -f "$policy"
    # The file that the package installs by default.
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
    trap restore_policy EXIT
    trap 'exit 1' INT TERM
    forbid_start
    as_root apt-get update -qq || echo "install: apt-get update failed; continuing with the cached package lists" >&2
    # One unknown package fails the whole call, so install one by one after a failure.
    apt_install "$@" || for name in "$@"; do apt_install "$name"; done
    # Do not start them at boot either, if this script installed them.
    for service in haproxy mosquitto nats-server pgbouncer prometheus; do
        case " $* " in *" $service "*)
            if have systemctl; then as_root systemctl disable --quiet "$service" 2>/dev/null; fi
            ;;
        esac
    done
    restore_policy
}

# Installs one by one: an unknown package (nats-server on some systems) must not stop the others.
one_by_one() {
    installer=$1
    shift
    for name in "$@"; do
        case $installer in
            dnf) as_root dnf install -q -y "$name" ;;
            apk) as_root apk add -q "$name" ;;
            brew) brew install -q "$name" ;; # brew refuses to run as root.
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
    # Unquoted below: one word per package.
    # shellcheck disable=SC2086
    case $system in
        none) ;;
        *)
            if ! may_install "$system"; then
                echo "install: root privileges are required to install: $packages" >&2
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
            nats-server) echo "  nats-server: put a release of github.com/nats-io/nats-server into the PATH" ;;
            pgbouncer) echo "  pgbouncer: the connection pooler, for tests" ;;
            haproxy) echo "  haproxy: the proxy, for tests" ;;
            faketime) echo "  faketime: libfaketime, for tests" ;;
            prometheus) echo "  prometheus: prometheus and promtool, for tests" ;;
            mosquitto-clients) echo "  mosquitto-clients: mosquitto_pub" ;;
            chromium) echo "  chromium: Chromium or Chrome, for tests of the console" ;;
            python) echo "  python: python3, with its modules venv and ensurepip" ;;
            compiler) echo "  compiler: cc, of gcc or clang; on macOS: xcode-select --install" ;;
        esac
    done >&2
    echo "Install these by hand, then run this again." >&2
    exit 1
fi
if ! have cargo; then
    echo "install: cargo is missing: install it from https://rustup.rs" >&2
    exit 1
fi
