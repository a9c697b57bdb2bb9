"""Handles the events of one context exactly once and in order, despite restarts, lost messages and
a wiped bus: `subscribe.py CONTEXT FILE [PREFIX]`. It appends a line per event to FILE and resumes
after the last line, so that effect and position are written together. With the PREFIX of a replay
it follows the replay, in the stream that is named PREFIX in capitals. See docs/subscribe.md.
"""

import asyncio
import json
import os
import sys
import urllib.request
from datetime import datetime, timedelta
from urllib.parse import unquote, urlencode, urlsplit

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

# Tolerated difference between the clocks of the log and the bus. A larger difference causes a gap,
# which is read from the log.
SKEW = timedelta(minutes=1)


class Subscriber:
    def __init__(self, context, path, prefix="events"):
        self.context = context
        self.prefix = prefix  # First token of the subjects.
        self.file = open(path, "a+b", buffering=0)
        self.file.seek(0)
        text = self.file.read()
        # Removes an incomplete last line, left by a kill during a write.
        whole = text[: text.rfind(b"\n") + 1]
        self.file.truncate(len(whole))
        # Position and recording time of the last event handled.
        self.last, self.time = 0, None
        if whole:
            words = whole.decode().splitlines()[-1].split(" ")
            self.last, self.time = int(words[0]), words[-1]

    def handle(self, position, kind, stream, time):
        """Handles an event, here by writing a line. With a database, write your change and `last`
        in one transaction."""
        line = f"{position} {kind} {stream} {time}\n"
        self.file.write(line.encode())
        print(line, end="", flush=True)
        self.last, self.time = position, time

    async def follow(self, jetstream):
        """Handles messages from the bus until it fails."""
        config = ConsumerConfig(ack_policy=AckPolicy.NONE)  # FILE holds the position.
        if self.time:
            since = datetime.fromisoformat(self.time.replace("Z", "+00:00")) - SKEW
            config.deliver_policy, config.opt_start_time = DeliverPolicy.BY_START_TIME, since
        subject, stream = f"{self.prefix}.{self.context}.>", self.prefix.upper()
        consumer = await jetstream.pull_subscribe(subject, stream=stream, config=config)
        try:
            while True:
                try:
                    # One at a time: a larger fetch waits until it is full or times out.
                    for message in await consumer.fetch(1, timeout=2):
                        await self.receive(message)
                except nats.errors.TimeoutError:
                    await consumer.consumer_info()  # Fails if the consumer is gone.
        finally:
            await consumer.unsubscribe()

    async def receive(self, message):
        if "Tributary-Deployment" not in (message.headers or {}):
            return  # Not from Tributary's relay.
        position = int(message.headers["Tributary-Position"])
        # Replayed messages lack this header: events outside the selection are not gaps.
        previous = int(message.headers.get("Tributary-Previous", 0))
        if position <= self.last:
            return  # A duplicate.
        if previous > self.last:
            print(f"gap: {previous} follows {self.last}", file=sys.stderr)
            await self.read_log(position)
        elif message.headers.get("Tributary-Body") == "omitted":
            await self.read_log(position)  # Event too large for a message.
        else:
            # The data of the event is in `message.data`.
            kind, stream = (unquote(message.headers[name]) for name in ("ce-type", "ce-subject"))
            self.handle(position, kind, stream, message.headers["ce-time"])

    async def read_log(self, position):
        """Handles events from the log up to and including `position`."""
        while self.last < position:
            events = await asyncio.to_thread(self.page)
            if not events:
                raise LookupError("the log ends before the message")
            for event in events:
                self.handle(
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
    # The account may receive on inboxes of its own only.
    user = urlsplit(os.environ["NATS_URL"]).username
    inboxes = {"inbox_prefix": f"_INBOX.{user}"} if user else {}
    client = await nats.connect(
        os.environ["NATS_URL"], max_reconnect_attempts=-1, reconnect_time_wait=1, **inboxes
    )
    while True:
        try:
            await subscriber.follow(client.jetstream())
        except Exception as error:
            print(f"failed, retrying in 1 s: {error!r}", file=sys.stderr)
            await asyncio.sleep(1)


asyncio.run(main())
