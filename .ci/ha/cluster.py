"""The system under test: etcd, Patroni with Postgres, HAProxy, nats-server, Mosquitto, and two
processes of each role of Tributary. docs/high-availability.md explains the settings."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import psycopg

from network import Network
from processes import ACCOUNT, Server, children, fetch, free_port, send, wait_for

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("http", "mqtt", "relay", "projector", "worker")
THREE = (1, 2, 3)
NATS_ACCOUNTS = ("admin", "tributary", "relay", "worker", "gateway", "subscriber", "producer")
PASSWORD = "a-password-of-this-test"


def program(name, *places):
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, places)]))
    return found or exit(f"ha: {name} is missing: see docs/high-availability.md")


class Cluster:
    # Processes of each role, and nats-servers.
    copies, nats_servers = (1, 2), THREE

    def __init__(self, folder, venv):
        self.folder, self.venv = Path(folder), Path(venv)
        self.binary = Path(os.environ.get("TRIBUTARY_BIN", ROOT / "target/debug/tributary")).resolve()
        self.servers = {}
        self.ports = {}
        # Of the servers of Postgres.
        self.network = Network(THREE)

    def port(self, name):
        return self.ports.setdefault(name, free_port())

    def add(self, name, command, **options):
        server = Server(name, command, self.folder, **options)
        self.servers[name] = server
        return server.start()

    def write(self, name, text):
        (self.folder / name).write_text(text)
        return self.folder / name

    def start(self):
        for start in (self.network.create, self.start_etcd, self.start_postgres, self.start_haproxy, self.start_nats,
                      self.start_mosquitto, self.start_tributary):
            start()

    def start_etcd(self):
        peers = ",".join(f"etcd{n}=http://127.0.0.1:{self.port(f'etcd{n} peer')}" for n in THREE)
        for n in THREE:
            client = f"http://{self.network.here}:{self.port(f'etcd{n}')}"
            peer = f"http://127.0.0.1:{self.port(f'etcd{n} peer')}"
            self.add(f"etcd{n}", [
                program("etcd", "/usr/bin"), "--name", f"etcd{n}", "--data-dir", f"etcd{n}-data",
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", peers, "--logger", "zap", "--log-level", "warn",
            ], ready=lambda url=client: json.loads(fetch(f"{url}/health"))["health"] == "true")
        for n in THREE:
            self.servers[f"etcd{n}"].wait_ready()

    def start_postgres(self):
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        binaries = binaries[-1] if binaries else Path(program("postgres")).parent
        hosts = ", ".join(f"'{self.network.here}:{self.port(f'etcd{n}')}'" for n in THREE)
        template = (Path(__file__).parent / "patroni.yml").read_text()
        for n in THREE:
            name = f"postgres{n}"
            home = self.folder / name
            home.mkdir(mode=0o700)
            if os.getuid() == 0:
                shutil.chown(home, ACCOUNT, ACCOUNT)
            text = template
            for key, value in {
                "NAME": name, "ETCD": hosts, "REST": self.port(f"{name} rest"),
                "PORT": self.port(name), "HOME": home, "BINARIES": binaries,
                "PASSWORD": PASSWORD, "ADDRESS": self.network.address(n),
                "CLIENTS": self.network.clients,
            }.items():
                text = text.replace(f"@{key}@", str(value))
            file = self.write(f"{name}.yml", text)
            self.add(name, [self.venv / "bin/patroni", file], as_account=True,
                     on=self.network.command(n))
        wait_for("three Postgres run", lambda: self.postgres_is_whole(), 120)

    def members(self):
        """The members of the Postgres cluster as any Patroni that answers sees them."""
        for n in random.sample(THREE, 3):
            try:
                url = f"http://{self.network.address(n)}:{self.port(f'postgres{n} rest')}/cluster"
                return {each["name"]: each for each in json.loads(fetch(url, 1))["members"]}
            except OSError:
                continue
        return {}

    def primary(self):
        leaders = [name for name, each in self.members().items()
                   if each["role"] == "leader" and each["state"] == "running"]
        return leaders[0] if leaders else None

    def postgres_is_whole(self):
        members = self.members().values()
        standbys = [each for each in members if each["role"] in ("quorum_standby", "sync_standby")
                    and each["state"] == "streaming"]
        return self.primary() is not None and len(members) == 3 and len(standbys) == 2

    def postmaster(self, name):
        return int((self.folder / name / "data/postmaster.pid").read_text().split()[0])

    def host_of(self, name):
        """Processes of a whole host of the Postgres cluster: Patroni and Postgres."""
        pids = children(self.servers[name].pid)
        try:
            pids += children(self.postmaster(name))
        except OSError:
            pass
        return list(dict.fromkeys(pids))

    def start_haproxy(self):
        text = (Path(__file__).parent / "haproxy.cfg").read_text()
        postgres = "".join(
            f"    server postgres{n} {self.network.address(n)}:{self.port(f'postgres{n}')} check port"
            f" {self.port(f'postgres{n} rest')}\n" for n in THREE)
        http = "".join(f"    server http{n} 127.0.0.1:{self.port(f'http{n}')} check port"
                       f" {self.port(f'http{n} metrics')}\n" for n in (1, 2))
        values = {"POSTGRES": self.port("postgres"), "HTTP": self.port("http")}
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        text = text.replace("@POSTGRES SERVERS@\n", postgres).replace("@HTTP SERVERS@\n", http)
        file = self.write("haproxy.cfg", text)
        self.add("haproxy", [program("haproxy", "/usr/sbin"), "-db", "-f", file])
        self.admin_url = f"postgres://postgres:{PASSWORD}@127.0.0.1:{self.port('postgres')}/tributary"
        wait_for("HAProxy reaches the primary", self.create_database)

    def create_database(self):
        try:
            with psycopg.connect(self.admin_url.replace("/tributary", "/postgres"),
                                 autocommit=True, connect_timeout=3) as connection:
                connection.execute("create database tributary")
                return True
        except psycopg.OperationalError:
            return False

    def nats_passwords(self):
        """Copies the accounts next to the configuration; returns the variables that they need."""
        shutil.copy(ROOT / "deploy/nats/tributary.conf", self.folder / "tributary.conf")
        return {f"NATS_{name.upper()}_PASSWORD": f'"{PASSWORD}"' for name in NATS_ACCOUNTS}

    def start_nats(self):
        routes = ", ".join(f"nats://127.0.0.1:{self.port(f'nats{n} route')}" for n in THREE)
        passwords = self.nats_passwords()
        for n in THREE:
            monitoring = f"http://127.0.0.1:{self.port(f'nats{n} http')}"
            file = self.write(f"nats{n}.conf", f"""
                server_name: nats{n}
                listen: 127.0.0.1:{self.port(f'nats{n}')}
                http: 127.0.0.1:{self.port(f'nats{n} http')}
                jetstream {{ store_dir: "{self.folder}/nats{n}-data" }}
                cluster {{
                  name: tributary
                  listen: 127.0.0.1:{self.port(f'nats{n} route')}
                  routes: [{routes}]
                }}
                include tributary.conf
            """)
            self.add(f"nats{n}", [self.venv / "bin/nats-server", "-c", file], environment=passwords,
                     ready=lambda url=monitoring: fetch(f"{url}/healthz"))
        for n in THREE:
            self.servers[f"nats{n}"].wait_ready()

    def nats_url(self, account):
        return ",".join(f"nats://{account}:{PASSWORD}@127.0.0.1:{self.port(f'nats{n}')}"
                        for n in self.nats_servers)

    def stream(self, name="EVENTS"):
        """What the leader of a stream reports of it; the others do not know the replicas' states."""
        for n in THREE:
            try:
                url = f"http://127.0.0.1:{self.port(f'nats{n} http')}/jsz?streams=true"
                found = json.loads(fetch(url, 1))["account_details"][0]["stream_detail"]
                stream = next(each for each in found if each["name"] == name)
                if stream["cluster"]["leader"] == f"nats{n}":
                    return stream
            except (OSError, KeyError, IndexError, StopIteration):
                continue
        return {}

    def stream_leader(self):
        return self.stream().get("cluster", {}).get("leader")

    def nats_is_whole(self):
        cluster = self.stream().get("cluster", {})
        replicas = cluster.get("replicas", [])
        return cluster.get("leader") and len(replicas) == 2 and all(
            each.get("current") and not each.get("offline") for each in replicas)

    def start_mosquitto(self):
        shutil.copy(ROOT / "deploy/mosquitto/tributary.conf", self.folder / "mosquitto-tributary.conf")
        port = self.port("mosquitto")
        file = self.write("mosquitto.conf", f"listener {port} 127.0.0.1\nallow_anonymous true\n"
                          f"include_dir {self.folder}/mosquitto.d\n")
        (self.folder / "mosquitto.d").mkdir()
        shutil.move(self.folder / "mosquitto-tributary.conf", self.folder / "mosquitto.d/tributary.conf")
        (self.folder / "mosquitto-data").mkdir(mode=0o777)
        os.chmod(self.folder / "mosquitto-data", 0o777)
        with open(file, "a") as text:
            text.write(f"persistence_location {self.folder}/mosquitto-data/\n")
        self.add("mosquitto", [program("mosquitto", "/usr/sbin"), "-c", file])

    def start_tributary(self):
        key = self.folder / "signing.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
        self.environment = {
            "DATABASE_URL": self.admin_url.replace("//postgres:", "//tributary_app:"),
            "NATS_REPLICAS": str(len(self.nats_servers)),
            "MQTT_URL": f"mqtt://127.0.0.1:{self.port('mosquitto')}",
            "MQTT_ALLOW_ANONYMOUS": "true",
            "TRIBUTARY_SIGNING_KEY_FILE": str(key),
            "NO_COLOR": "1",
            "DATABASE_CONNECTIONS": "8",
        }
        self.tributary("migrate", DATABASE_ADMIN_URL=self.admin_url)
        self.token = self.tributary("token", "--role", "admin", "--ttl", "12h").strip()
        for n in self.copies:
            for role in ROLES:
                self.start_role(role, n)
        for n in self.copies:
            for role in ROLES:
                self.servers[f"{role}{n}"].wait_ready(120)

    def start_role(self, role, n):
        account = {"relay": "relay", "worker": "worker"}.get(role, "gateway")
        metrics = f"127.0.0.1:{self.port(f'{role}{n} metrics')}"
        environment = {
            **self.environment,
            "NATS_URL": self.nats_url(account),
            "METRICS_LISTEN": metrics,
            "PORT": str(self.port(f"http{n}")),
            "MQTT_CLIENT_ID": f"bridge{n}",
            "MQTT_FILTER": ",".join(f"users/ha{user}/devices/+/telemetry" for user in
                                    ((1, 2) if len(self.copies) == 1 else (n,))),
        }
        if role == "http" and n == 2:
            # Queries of this process go to one server, whether it is a standby or the primary.
            environment["DATABASE_READ_URL"] = environment["DATABASE_URL"].replace(
                f"127.0.0.1:{self.port('postgres')}",
                f"{self.network.address(2)}:{self.port('postgres2')}")
        self.add(f"{role}{n}", [self.binary, "serve", role], environment=environment,
                 ready=lambda: fetch(f"http://{metrics}/readyz"))

    def tributary(self, *arguments, **environment):
        """Runs a command of Tributary and returns what it printed."""
        variables = {**os.environ, **self.environment, **environment}
        done = subprocess.run([self.binary, *arguments], env=variables, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode:
            raise SystemExit(f"tributary {' '.join(arguments)}: exit code {done.returncode}\n"
                             f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def is_whole(self):
        """Whether every server and every process is back and caught up with the others."""
        return (all(server.process.poll() is None and (server.name.startswith("postgres")
                    or server.ready()) for server in self.servers.values())
                and self.postgres_is_whole() and self.nats_is_whole())

    def stop(self):
        hosts = [pid for n in THREE if (name := f"postgres{n}") in self.servers
                 for pid in self.host_of(name)]
        send(hosts, signal.SIGCONT)
        for server in self.servers.values():
            if not server.name.startswith(("postgres", "etcd")):
                server.stop()
        send(hosts, signal.SIGKILL)
        for server in self.servers.values():
            if server.process:
                server.kill()
        self.network.remove()


@contextmanager
def running(kind, prefix):
    """Starts a cluster of this kind in a new folder, and stops it at the end. The folder with its logs
    is kept if the test fails."""
    folder, kept = Path(tempfile.mkdtemp(prefix=prefix)), True
    folder.chmod(0o755)
    cluster = kind(folder, sys.argv[1])
    try:
        cluster.start()
        yield cluster
        kept = False
    finally:
        cluster.stop()
        if kept:
            print(f"logs are in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)
