"""Fills the disk of Postgres, then that of JetStream, under load: nothing that was acknowledged is
lost, `/readyz` says why, and work goes on once there is space. The disks are small tmpfs, which only
root can mount."""

import json
import os
import subprocess
import time
import urllib.error
from pathlib import Path

import psycopg

from cluster import ACCOUNT, PASSWORD, Cluster, running
from ledger import compare, positions_of_stream, wait_until_caught_up, wait_until_done
from load import Load
from processes import fetch, wait_for

# Sizes of the disks, in MB.
POSTGRES_DISK, NATS_DISK = 224, 24


class Small(Cluster):
    """One of each server, with the data of Postgres and of JetStream on small disks."""

    copies, nats_servers = (1,), (1,)

    def start(self):
        self.mounted = []
        self.start_postgres()
        self.start_nats()
        self.start_mosquitto()
        self.start_tributary()

    def mount(self, name, megabytes):
        disk = self.folder / name
        disk.mkdir()
        options = f"size={megabytes}m,mode=700,uid=postgres" if name == "postgres" else f"size={megabytes}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
        self.mounted.append(disk)
        return disk

    def start_postgres(self):
        disk = self.mount("postgres", POSTGRES_DISK)
        binaries = max(Path("/usr/lib/postgresql").glob("*/bin"))
        run = ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups"]
        subprocess.run([*run, binaries / "initdb", "-D", disk / "data", "-U", "postgres",
                        "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync",
                        "--wal-segsize=4"],
                       check=True, stdout=subprocess.DEVNULL, cwd="/")
        port = self.port("postgres")
        settings = {"port": port, "unix_socket_directories": "", "max_wal_size": "48MB",
                    "min_wal_size": "8MB", "timezone": "UTC"}
        self.admin_url = f"postgres://postgres:{PASSWORD}@127.0.0.1:{port}/tributary"

        def answers():
            with psycopg.connect(self.admin_url.replace("/tributary", "/postgres")):
                return True

        def is_ready():
            try:
                return answers()
            except psycopg.OperationalError:
                return False
        self.add("postgres", [binaries / "postgres", "-D", disk / "data",
                              *[f"--{name}={value}" for name, value in settings.items()]],
                 as_account=True, ready=is_ready).wait_ready()
        self.create_database()

    def start_nats(self):
        passwords = self.nats_passwords()
        self.mount("nats", NATS_DISK)
        file = self.write("nats1.conf", f"""
            listen: 127.0.0.1:{self.port('nats1')}
            http: 127.0.0.1:{self.port('nats1 http')}
            # More than the disk has, as on a disk that others fill.
            jetstream {{ store_dir: "{self.folder}/nats", max_file_store: 1G }}
            include tributary.conf
        """)
        url = f"http://127.0.0.1:{self.port('nats1 http')}/healthz"
        self.add("nats1", [self.venv / "bin/nats-server", "-c", file], environment=passwords,
                 ready=lambda: fetch(url)).wait_ready()

    def restart(self, name):
        server = self.servers[name]
        server.stop()
        server.start().wait_ready()

    def stop(self):
        for server in reversed(self.servers.values()):
            server.stop()
        for disk in self.mounted:
            subprocess.run(["umount", "--lazy", disk], check=False)

    def reason(self, dependency):
        """Why a dependency is down, by `/readyz` of the role `http`; none if it is up."""
        try:
            body = fetch(f"http://127.0.0.1:{self.port('http1')}/readyz")
        except urllib.error.HTTPError as error:
            body = error.read()
        found = {each["name"]: each for each in json.loads(body)["dependencies"]}
        return found[dependency]["reason"]


def fill(disk):
    """Takes all the space that is left, in a file of its own."""
    with open(disk / "ballast", "ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(64 * 1024))
        except OSError:
            pass
    os.chmod(disk / "ballast", 0o666)


def full(cluster, load, name, dependency, expected):
    """Fills a disk until `/readyz` names it, frees it, and waits until the server works again."""
    disk, server = cluster.folder / name, {"nats": "nats1"}.get(name, name)
    seen = []

    def is_down():
        fill(disk)
        reason = cluster.reason(dependency)
        if reason and reason not in seen:
            seen.append(reason)
        return reason and any(word in reason for word in expected)
    began = time.monotonic()
    try:
        wait_for(f"{dependency} is down", is_down, 120)
    except TimeoutError:
        raise SystemExit(f"{dependency} was not down by any of {expected}; seen: {seen}")
    down_after = time.monotonic() - began
    time.sleep(5)
    writes = load.outage("write", began + down_after, time.monotonic())
    print(f"disk of {name} full: `{seen[-1]}`; writes in 5 s: failed {writes[1]} {writes[2]}", flush=True)
    (disk / "ballast").unlink()
    freed = time.monotonic()
    # nats-server stores nothing more after a failed write; Postgres ends if it cannot write WAL.
    restart = name == "nats" or cluster.servers[server].process.poll() is not None
    if restart:
        cluster.restart(server)
    wait_for(f"{dependency} is up", lambda: cluster.reason(dependency) is None, 120)
    wait_for("a write succeeds", lambda: load.succeeded_since("write", freed), 60)
    print(f"disk of {name} freed{' and the server restarted' if restart else ''}:"
          f" back after {time.monotonic() - freed:.1f} s", flush=True)


def main():
    if os.getuid() != 0:
        raise SystemExit("ha: the disk-full test mounts file systems: run it as root")
    with running(Small, "tributary-full-") as cluster:
        load = Load(cluster.port("http1"), cluster.port("mosquitto"), cluster.token)
        load.start()
        wait_for("the first read", lambda: load.succeeded_since("read", 0), 60)
        full(cluster, load, "postgres", "postgres", ["disk of Postgres is full"])
        full(cluster, load, "nats", "relay",
             ["did not store", "refused to store", "did not acknowledge"])
        load.stop()
        wait_until_done(cluster)
        wait_until_caught_up(cluster)
        result = compare(cluster, load)
        in_order = positions_of_stream(cluster) == list(range(1, result["head"] + 1))
        print(f"Acknowledged: {result['works']} works, {result['readings']} readings over HTTP,"
              f" {result['published']} over MQTT; lost {len(result['lost'])}, stored twice"
              f" {len(result['doubled'])}; EVENTS complete and in order: {in_order}.\n"
              f"{cluster.tributary('verify').strip()}")
        if result["lost"] or result["doubled"] or not in_order:
            raise SystemExit("FAILED")
        print("ok")


main()
