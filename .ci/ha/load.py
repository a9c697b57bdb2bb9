"""Load over HTTP and MQTT, with a ledger of what was acknowledged."""

import http.client
import json
import threading
import time
import uuid

import paho.mqtt.client as mqtt

WRITERS, READERS = 4, 2
# Pause of each writer and reader between two requests, in seconds.
PAUSE = 0.1
# Longest time of one request; the client then sends it again with the same idempotency key.
TIMEOUT = 3
DEVICES = 4


class Load:
    def __init__(self, http_port, mqtt_port, token):
        self.http_port, self.mqtt_port, self.token = http_port, mqtt_port, token
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        # Each attempt: when it began and ended, whether it succeeded, and the status or error.
        self.attempts = {"write": [], "read": []}
        # Numbers of works, and `(device, sequence id)` of readings, that were acknowledged.
        self.works, self.readings, self.published = {}, set(), set()
        self.last = None
        self.threads = [threading.Thread(target=self.write, args=(n,)) for n in range(WRITERS)]
        self.threads += [threading.Thread(target=self.read) for _ in range(READERS)]
        self.threads.append(threading.Thread(target=self.publish))

    def start(self):
        for thread in self.threads:
            thread.daemon = True
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def request(self, kind, connection, method, path, body=None, headers=None):
        """Returns the response's status, body and position, and a connection to go on with."""
        begun = time.monotonic()
        try:
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=TIMEOUT)
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json",
                       **(headers or {})}
            connection.request(method, path, body and json.dumps(body), headers)
            response = connection.getresponse()
            text, status = response.read(), response.status
            position = response.getheader("Tributary-Position")
            outcome = str(status)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            connection, text, status, position, outcome = None, b"", 0, None, type(error).__name__
        if status >= 400 and status != 503:
            outcome += " " + text[:200].decode(errors="replace")
        with self.lock:
            self.attempts[kind].append((begun, time.monotonic(), 200 <= status < 300, outcome))
        return connection, status, text, position

    def write(self, writer):
        connection, number = None, 0
        while not self.stopping.is_set():
            number += 1
            if number % 2:
                n = writer * 100_000 + number
                path, body = "/api/v1/works", {"add_up_to": n}
            else:
                device = f"http{writer}"
                reading = {"user_id": "ha3", "device_id": device, "sequence_id": number, "x": number}
                path, body = "/api/v1/telemetry", [reading]
            key = {"Idempotency-Key": str(uuid.uuid4())}
            while True:
                connection, status, text, position = self.request(
                    "write", connection, "POST", path, body, key)
                if 200 <= status < 300:
                    with self.lock:
                        if number % 2:
                            self.works[n] = json.loads(text)["id"]
                            self.last = (self.works[n], position)
                        else:
                            self.readings.add((device, number))
                    break
                # What is not acknowledged when the test ends is neither lost nor stored twice.
                if self.stopping.is_set():
                    break
                time.sleep(PAUSE)
            time.sleep(PAUSE)

    def read(self):
        """Reads the work that was acknowledged last; the read model must have it."""
        connection = None
        while not self.stopping.is_set():
            if self.last:
                work, position = self.last
                headers = {"Tributary-Min-Position": position, "Prefer": "wait=2"}
                connection, *_ = self.request(
                    "read", connection, "GET", f"/api/v1/works/{work}", headers=headers)
            time.sleep(PAUSE)

    def publish(self):
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "ha-load", clean_session=False)
        waiting = {}

        def acknowledged(_client, _data, message, *_rest):
            with self.lock:
                self.published.add(waiting.pop(message))

        client.on_publish = acknowledged
        client.connect("127.0.0.1", self.mqtt_port)
        client.loop_start()
        number = 0
        while not self.stopping.is_set():
            number += 1
            user, device = f"ha{number % 2 + 1}", f"mqtt{number % DEVICES}"
            payload = json.dumps({"sequence_id": number, "temperature": number % 40})
            with self.lock:
                sent = client.publish(f"users/{user}/devices/{device}/telemetry", payload, qos=1)
                waiting[sent.mid] = (user, device, number)
            time.sleep(PAUSE)
        while waiting:
            time.sleep(0.1)
        client.loop_stop()

    def succeeded_since(self, kind, since):
        with self.lock:
            return any(ok and begun > since for begun, _, ok, _ in reversed(self.attempts[kind]))

    def outage(self, kind, begun, ended):
        """Returns the longest time without a success between two times, how many attempts failed,
        and how."""
        with self.lock:
            attempts = [each for each in self.attempts[kind] if begun <= each[1] <= ended]
        times = sorted([begun, *(end for _, end, ok, _ in attempts if ok), ended])
        longest = max(later - earlier for earlier, later in zip(times, times[1:]))
        failures = [outcome for _, _, ok, outcome in attempts if not ok]
        kinds = {outcome: failures.count(outcome) for outcome in failures}
        return longest, len(failures), kinds
