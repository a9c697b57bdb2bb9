"""Follows the events of one context, each exactly once and in order, over restarts, lost messages
and a bus that was wiped: `subscribe.py CONTEXT FILE [PREFIX]`. A line an event goes to FILE; the
last line says where to go on, so what was done and how far are written together. With the PREFIX of
a replay it follows that instead, out of a stream of this name in capitals. docs/subscribe.md
"""

import asyncio
import json
import os
import sys
import urllib.request
from datetime import datetime, timedelta
from urllib.parse import unquote, urlencode

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

# The clocks of the log and of the bus may differ by this much. If they differ by more, what is
# missed is a gap, and read from the log.
SKEW = timedelta(minutes=1)


class Subscriber:
    def __init__(self, context, path, prefix="events"):
        self.context = context
        self.prefix = prefix  # Subjects begin with it.
        self.file = open(path, "a+b", buffering=0)
        self.file.seek(0)
        text = self.file.read()
        # A line that was being written when we were killed never was.
        whole = text[: text.rfind(b"\n") + 1]
        self.file.truncate(len(whole))
        # Position of the last event that was dealt with, and when it was recorded.
        self.last, self.time = 0, None
        if whole:
            words = whole.decode().splitlines()[-1].split(" ")
            self.last, self.time = int(words[0]), words[-1]

    def deal_with(self, position, kind, stream, time):
        """What there is to do for an event, here: a line. With a database: your change and `last`,
        in one transaction."""
        line = f"{position} {kind} {stream} {time}\n"
        self.file.write(line.encode())
        print(line, end="", flush=True)
        self.last, self.time = position, time

    async def follow(self, jetstream):
        """Reads from the bus until something is wrong with it."""
        config = ConsumerConfig(ack_policy=AckPolicy.NONE)  # How far we are, we know ourselves.
        if self.time:
            since = datetime.fromisoformat(self.time.replace("Z", "+00:00")) - SKEW
            config.deliver_policy, config.opt_start_time = DeliverPolicy.BY_START_TIME, since
        subject, stream = f"{self.prefix}.{self.context}.>", self.prefix.upper()
        consumer = await jetstream.pull_subscribe(subject, stream=stream, config=config)
        try:
            while True:
                try:
                    # One by one: a fetch of several waits until all are there, or its time is up.
                    for message in await consumer.fetch(1, timeout=2):
                        await self.receive(message)
                except nats.errors.TimeoutError:
                    await consumer.consumer_info()  # Silence: is it still there?
        finally:
            await consumer.unsubscribe()

    async def receive(self, message):
        position = int(message.headers["Tributary-Position"])
        # A replay leaves out what was not asked for, and so does not say.
        previous = int(message.headers.get("Tributary-Previous", 0))
        if position <= self.last:
            return  # It came before.
        if previous > self.last:
            print(f"gap: {previous} comes after {self.last}", file=sys.stderr)
            await self.read_log(position)
        elif message.headers.get("Tributary-Body") == "omitted":
            await self.read_log(position)  # Too large for a message.
        else:
            # The data of the event is in `message.data`.
            kind, stream = (unquote(message.headers[name]) for name in ("ce-type", "ce-subject"))
            self.deal_with(position, kind, stream, message.headers["ce-time"])

    async def read_log(self, position):
        """Reads the log itself up to `position`."""
        while self.last < position:
            events = await asyncio.to_thread(self.page)
            if not events:
                raise LookupError("the log ends before the message")
            for event in events:
                self.deal_with(
                    event["position"], event["type"], event["stream_id"], event["recorded_at"]
                )

    def page(self):
        query = urlencode({"after": self.last, "context": self.context, "limit": 500})
        request = urllib.request.Request(
            f"{os.environ['TRIBUTARY_URL']}/api/v1/events?{query}",
            headers={"Authorization": f"Bearer {os.environ['TRIBUTARY_TOKEN']}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["items"]


async def main():
    if len(sys.argv) not in (3, 4):
        sys.exit("subscribe.py CONTEXT FILE [PREFIX]")
    subscriber = Subscriber(*sys.argv[1:])
    client = await nats.connect(
        os.environ["NATS_URL"], max_reconnect_attempts=-1, reconnect_time_wait=1
    )
    while True:
        try:
            await subscriber.follow(client.jetstream())
        except Exception as error:
            print(f"again in a second: {error!r}", file=sys.stderr)
            await asyncio.sleep(1)


asyncio.run(main())
