"""A network of its own for each host of Postgres, so that it can be cut off from all others: network
namespaces on a bridge, which only root may create. Without, all use the loopback interface. The names
are fixed: one test at a time."""

import os
import shutil
import subprocess

BRIDGE = "tributary-ha"
PREFIX = "10.213.7"


def ip(*arguments, required=True):
    """Runs `ip`, and returns whether it succeeded."""
    return subprocess.run(["ip", *arguments], check=required, capture_output=not required).returncode == 0


def may_separate():
    """Whether this process may create namespaces and bridges: a container's root may not."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"{BRIDGE}-try"
    made = ip("netns", "add", name, required=False)
    bridged = ip("link", "add", "trb-ha-try", "type", "bridge", required=False)
    ip("link", "delete", "trb-ha-try", required=False)
    ip("netns", "delete", name, required=False)
    return made and bridged


# Whether hosts can be cut off.
SEPARATE = may_separate()


class Network:
    """Hosts are numbered from 1."""
    # Networks whose clients Postgres accepts, and the address of everything that is not on a host.
    clients, here = (f"{PREFIX}.0/24", f"{PREFIX}.1") if SEPARATE else ("127.0.0.1/32", "127.0.0.1")

    def __init__(self, hosts):
        self.hosts = hosts

    def address(self, host):
        return f"{PREFIX}.{10 + host}" if SEPARATE else self.here

    def command(self, host):
        """The beginning of a command that runs on a host."""
        return ["ip", "netns", "exec", f"{BRIDGE}-{host}"] if SEPARATE else []

    def create(self):
        if not SEPARATE:
            return
        self.remove()  # What a run that was killed has left.
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("address", "add", f"{self.here}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for host in self.hosts:
            name, port = f"{BRIDGE}-{host}", f"trb-ha-{host}"
            ip("netns", "add", name)
            ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", port, "master", BRIDGE, "up")
            ip("-netns", name, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            ip("-netns", name, "link", "set", "eth0", "up")
            ip("-netns", name, "link", "set", "lo", "up")

    def cut(self, host):
        """Nothing arrives from the host or at it; no connection is closed."""
        ip("link", "set", f"trb-ha-{host}", "down")

    def join(self, host):
        ip("link", "set", f"trb-ha-{host}", "up")

    def remove(self):
        if not SEPARATE:
            return
        for host in self.hosts:
            ip("netns", "delete", f"{BRIDGE}-{host}", required=False)
            ip("link", "delete", f"trb-ha-{host}", required=False)
        ip("link", "delete", BRIDGE, required=False)
