"""The failures: what is killed or stopped, and what is started again."""

import os
import random
import signal
import time

from cluster import THREE
from network import SEPARATE
from processes import send


def one(cluster, role):
    server = cluster.servers[f"{role}{random.choice((1, 2))}"]
    server.kill()
    return server.name, server.start


def nats(cluster, leader):
    name = cluster.stream_leader()
    if not leader:
        name = random.choice([f"nats{n}" for n in THREE if f"nats{n}" != name])
    cluster.servers[name].kill()
    return name, cluster.servers[name].start


def etcd(cluster):
    server = cluster.servers[f"etcd{random.choice(THREE)}"]
    server.kill()
    return server.name, server.start


def standby(cluster):
    return random.choice([f"postgres{n}" for n in THREE if f"postgres{n}" != cluster.primary()])


def postmaster(cluster, name):
    """Kills Postgres; its Patroni starts it again, or another one is promoted."""
    pid = cluster.postmaster(name)
    # The other processes of Postgres end when they notice it, as after a real crash.
    os.kill(pid, signal.SIGKILL)
    return name, lambda: None


def host(cluster, name):
    """Kills Patroni and Postgres at once, as when a host loses its power."""
    send(cluster.host_of(name), signal.SIGKILL)
    cluster.servers[name].process.wait()
    return name, cluster.servers[name].start


def stop_for(seconds, name, pids):
    """Stops processes with SIGSTOP: their connections stay and answer nothing. They then go on as if
    they had never stopped."""
    send(pids, signal.SIGSTOP)

    def go_on():
        time.sleep(seconds)
        send(pids, signal.SIGCONT)
    return name, go_on


def stop_primary(cluster):
    name = cluster.primary()
    return stop_for(35, name, cluster.host_of(name))


def cut_off(cluster, name):
    """Cuts a host of Postgres off from all others, which goes on and knows nothing of them."""
    number = int(name.removeprefix("postgres"))
    cluster.network.cut(number)

    def join():
        time.sleep(35)
        cluster.network.join(number)
    return name, join


def stop_server(cluster, name):
    return stop_for(10, name, [cluster.servers[name].pid])


KINDS = {
    "role http": lambda cluster: one(cluster, "http"),
    "role mqtt": lambda cluster: one(cluster, "mqtt"),
    "role relay": lambda cluster: one(cluster, "relay"),
    "role projector": lambda cluster: one(cluster, "projector"),
    "role worker": lambda cluster: one(cluster, "worker"),
    "nats-server, follower of EVENTS": lambda cluster: nats(cluster, False),
    "nats-server, leader of EVENTS": lambda cluster: nats(cluster, True),
    "etcd member": etcd,
    "Postgres, standby": lambda cluster: postmaster(cluster, standby(cluster)),
    "Postgres, primary": lambda cluster: postmaster(cluster, cluster.primary()),
    "host of a standby": lambda cluster: host(cluster, standby(cluster)),
    "host of the primary": lambda cluster: host(cluster, cluster.primary()),
    "host of the primary stopped": stop_primary,
    "leader of EVENTS stopped": lambda cluster: stop_server(cluster, cluster.stream_leader()),
    "role relay stopped": lambda cluster: stop_server(cluster, f"relay{random.choice((1, 2))}"),
}
if SEPARATE:
    KINDS |= {
        "host of the primary cut off": lambda cluster: cut_off(cluster, cluster.primary()),
        "host of a standby cut off": lambda cluster: cut_off(cluster, standby(cluster)),
    }
