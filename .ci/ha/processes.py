"""Processes of the test, on free ports of the loopback interface; a killed one is started again."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

# Who runs Postgres if the test runs as root, which Postgres refuses.
ACCOUNT = "postgres"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, condition, seconds=60, every=0.2, required=True):
    """Waits until `condition` is true, and returns what it returned."""
    end = time.monotonic() + seconds
    error = None
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except (OSError, ValueError, KeyError) as failure:  # A server that is not there yet.
            error = failure
        time.sleep(every)
    if required:
        raise TimeoutError(f"{what}: not within {seconds} s" + (f" ({error})" if error else ""))
    return None


def fetch(url, timeout=2):
    with urllib.request.urlopen(url, timeout=timeout) as response:
        return response.read()


class Server:
    """A program that runs until it is stopped."""

    def __init__(self, name, command, folder, environment=None, as_account=False, ready=None, on=()):
        self.name, self.command, self.folder = name, [str(word) for word in command], folder
        self.environment = {**os.environ, **(environment or {})}
        self.as_account = as_account and os.getuid() == 0
        self.ready = ready or (lambda: True)
        # The beginning of the command, if it runs on a host of its own.
        self.on = [*on]
        self.process = None

    @property
    def log(self):
        return Path(self.folder) / f"{self.name}.log"

    def start(self):
        command = self.command
        if self.as_account:
            setpriv = ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups"]
            command = setpriv + command
        command = self.on + command
        with open(self.log, "ab") as log:
            # A session of its own, so that Ctrl-C reaches the test only.
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=self.environment, cwd=self.folder, start_new_session=True)
        return self

    @property
    def pid(self):
        return self.process.pid

    def wait_ready(self, seconds=60):
        def is_ready():
            if self.process.poll() is not None:
                tail = self.log.read_text(errors="replace")[-2000:]
                raise SystemExit(f"{self.name} ended with {self.process.returncode}:\n{tail}")
            return self.ready()
        wait_for(f"{self.name} is ready", is_ready, seconds)
        return self

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM, and SIGKILL after 15 s."""
        if not self.process or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()


def children(pid):
    """The process and everything that it has started, parents first."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in task.read_text().split():
                found += children(int(child))
        except OSError:
            pass  # It has ended.
    return found


def send(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
