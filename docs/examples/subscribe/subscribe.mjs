// Handles the events of one context exactly once and in order, despite restarts, lost messages and
// a wiped bus: `node subscribe.mjs CONTEXT FILE [PREFIX]`. It appends a line per event to FILE and
// resumes after the last line, so that effect and position are written together. With the PREFIX of
// a replay it follows the replay, in the stream that is named PREFIX in capitals.
// See docs/subscribe.md.

import { existsSync, openSync, readFileSync, truncateSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { AckPolicy, DeliverPolicy, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const { NATS_URL, TRIBUTARY_URL, TRIBUTARY_TOKEN } = process.env;
// Tolerated difference between the clocks of the log and the bus, in milliseconds. A larger
// difference causes a gap, which is read from the log.
const SKEW = 60_000;

class Subscriber {
  // Position and recording time of the last event handled.
  last = 0;
  time = null;

  constructor(context, path, prefix = "events") {
    this.context = context;
    this.prefix = prefix; // First token of the subjects.
    if (existsSync(path)) {
      const text = readFileSync(path);
      // Removes an incomplete last line, left by a kill during a write.
      const whole = text.subarray(0, text.lastIndexOf("\n") + 1);
      truncateSync(path, whole.length);
      if (whole.length > 0) {
        const words = whole.toString().trimEnd().split("\n").at(-1).split(" ");
        this.last = Number(words[0]);
        this.time = words.at(-1);
      }
    }
    this.file = openSync(path, "a");
  }

  // Handles an event, here by writing a line. With a database, write your change and `last` in one
  // transaction.
  handle(position, type, stream, time) {
    const line = `${position} ${type} ${stream} ${time}\n`;
    writeSync(this.file, line);
    process.stdout.write(line);
    this.last = position;
    this.time = time;
  }

  // Handles messages from the bus until it fails.
  async follow(connection) {
    const manager = await jetstreamManager(connection, { checkAPI: false });
    const start = this.time
      ? {
        deliver_policy: DeliverPolicy.StartTime,
        opt_start_time: new Date(Date.parse(this.time) - SKEW).toISOString(),
      }
      : { deliver_policy: DeliverPolicy.All };
    const stream = this.prefix.toUpperCase();
    const name = crypto.randomUUID(); // Permissions can restrict the filter of a named consumer.
    await manager.consumers.add(stream, {
      name,
      filter_subject: `${this.prefix}.${this.context}.>`,
      ack_policy: AckPolicy.None, // FILE holds the position.
      ...start,
    });
    const consumer = await manager.jetstream().consumers.get(stream, name);
    for (;;) {
      let any = false;
      for await (const message of await consumer.fetch({ max_messages: 100, expires: 2_000 })) {
        await this.receive(message);
        any = true;
      }
      if (!any) await consumer.info(); // Fails if the consumer is gone.
    }
  }

  async receive({ headers }) {
    if (!headers?.has("Tributary-Deployment")) return; // Not from Tributary's relay.
    const position = Number(headers.get("Tributary-Position"));
    // Replayed messages lack this header, which is read as 0: they have no gaps.
    const previous = Number(headers.get("Tributary-Previous"));
    if (position <= this.last) return; // A duplicate.
    if (previous > this.last) {
      console.error(`gap: ${previous} follows ${this.last}`);
      await this.readLog(position);
    } else if (headers.get("Tributary-Body") === "omitted") {
      await this.readLog(position); // Event too large for a message.
    } else {
      // The data of the event is `message.json()`.
      const [type, stream] = ["ce-type", "ce-subject"].map((name) =>
        decodeURIComponent(headers.get(name))
      );
      this.handle(position, type, stream, headers.get("ce-time"));
    }
  }

  // Handles events from the log up to and including `position`.
  async readLog(position) {
    while (this.last < position) {
      const query = new URLSearchParams({ after: this.last, context: this.context, limit: 500 });
      const answer = await fetch(`${TRIBUTARY_URL}/api/v1/events?${query}`, {
        headers: { Authorization: `Bearer ${TRIBUTARY_TOKEN}` },
        signal: AbortSignal.timeout(30_000),
      });
      if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
      const { items } = await answer.json();
      if (items.length === 0) throw new Error("the log ends before the message");
      for (const event of items) {
        this.handle(event.position, event.type, event.stream_id, event.recorded_at);
      }
    }
  }
}

if (process.argv.length < 4 || process.argv.length > 5) {
  console.error("node subscribe.mjs CONTEXT FILE [PREFIX]");
  process.exit(2);
}
const subscriber = new Subscriber(...process.argv.slice(2));
const { host, username, password } = new URL(NATS_URL);
const connection = await connect({
  servers: host,
  // The account may receive on inboxes of its own only.
  ...(username && { user: username, pass: password, inboxPrefix: `_INBOX.${username}` }),
  maxReconnectAttempts: -1,
  reconnectTimeWait: 1_000,
  waitOnFirstConnect: true,
});
for (;;) {
  try {
    await subscriber.follow(connection);
  } catch (error) {
    console.error(`failed, retrying in 1 s: ${error}`);
    await sleep(1_000);
  }
}
