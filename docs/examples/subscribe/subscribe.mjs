// Follows the events of one context, each exactly once and in order, over restarts, lost messages
// and a bus that was wiped: `node subscribe.mjs CONTEXT FILE [PREFIX]`. A line an event goes to FILE;
// the last line says where to go on, so what was done and how far are written together. With the
// PREFIX of a replay it follows that instead, out of a stream of this name in capitals.
// docs/subscribe.md

import { existsSync, openSync, readFileSync, truncateSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { AckPolicy, DeliverPolicy, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";

const { NATS_URL, TRIBUTARY_URL, TRIBUTARY_TOKEN } = process.env;
// The clocks of the log and of the bus may differ by this much. If they differ by more, what is
// missed is a gap, and read from the log.
const SKEW = 60_000;

class Subscriber {
  // Position of the last event that was dealt with, and when it was recorded.
  last = 0;
  time = null;

  constructor(context, path, prefix = "events") {
    this.context = context;
    this.prefix = prefix; // Subjects begin with it.
    if (existsSync(path)) {
      const text = readFileSync(path);
      // A line that was being written when we were killed never was.
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

  // What there is to do for an event, here: a line. With a database: your change and `last`, in one
  // transaction.
  dealWith(position, type, stream, time) {
    const line = `${position} ${type} ${stream} ${time}\n`;
    writeSync(this.file, line);
    process.stdout.write(line);
    this.last = position;
    this.time = time;
  }

  // Reads from the bus until something is wrong with it.
  async follow(connection) {
    const manager = await jetstreamManager(connection, { checkAPI: false });
    const start = this.time
      ? {
        deliver_policy: DeliverPolicy.StartTime,
        opt_start_time: new Date(Date.parse(this.time) - SKEW).toISOString(),
      }
      : { deliver_policy: DeliverPolicy.All };
    const stream = this.prefix.toUpperCase();
    const name = crypto.randomUUID(); // With a name, permissions can be about the filter.
    await manager.consumers.add(stream, {
      name,
      filter_subject: `${this.prefix}.${this.context}.>`,
      ack_policy: AckPolicy.None, // How far we are, we know ourselves.
      ...start,
    });
    const consumer = await manager.jetstream().consumers.get(stream, name);
    for (;;) {
      let any = false;
      for await (const message of await consumer.fetch({ max_messages: 100, expires: 2_000 })) {
        await this.receive(message);
        any = true;
      }
      if (!any) await consumer.info(); // Silence: is it still there?
    }
  }

  async receive({ headers }) {
    const position = Number(headers.get("Tributary-Position"));
    // A replay leaves out what was not asked for, and so does not say: an empty text, which is 0.
    const previous = Number(headers.get("Tributary-Previous"));
    if (position <= this.last) return; // It came before.
    if (previous > this.last) {
      console.error(`gap: ${previous} comes after ${this.last}`);
      await this.readLog(position);
    } else if (headers.get("Tributary-Body") === "omitted") {
      await this.readLog(position); // Too large for a message.
    } else {
      // The data of the event is `message.json()`.
      const [type, stream] = ["ce-type", "ce-subject"].map((name) =>
        decodeURIComponent(headers.get(name))
      );
      this.dealWith(position, type, stream, headers.get("ce-time"));
    }
  }

  // Reads the log itself up to `position`.
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
        this.dealWith(event.position, event.type, event.stream_id, event.recorded_at);
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
  ...(username && { user: username, pass: password }),
  maxReconnectAttempts: -1,
  reconnectTimeWait: 1_000,
  waitOnFirstConnect: true,
});
for (;;) {
  try {
    await subscriber.follow(connection);
  } catch (error) {
    console.error(`again in a second: ${error}`);
    await sleep(1_000);
  }
}
