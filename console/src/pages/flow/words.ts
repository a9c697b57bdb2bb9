// Vitals as the words of the picture. What is unknown is called unknown.

import { count, duration, measure, plural } from "../../lib/format";
import type { Doorway, Exit } from "../../lib/flow";
import type { Consumer, Vitals } from "../../lib/live.svelte";

const LOOK = { http: ["HTTP", "c8"], mqtt: ["MQTT", "c1"], nats: ["NATS", "c4"] } as const;

export const perSecond = (rate: number | null | undefined) => (rate == null ? "rate unknown" : `${measure(rate)}/s`);

/** `3,400 events · 6.2 s`. */
export function lag(consumer: Consumer): string {
  const events = plural(consumer.events_behind, "event");
  return consumer.events_behind > 0 ? `${events} · ${duration(consumer.seconds_behind)}` : events;
}

export function doorways(vitals: Vitals): Doorway[] {
  return vitals.doors.map(({ door, events_per_second: rate, detail }) => {
    const [name, hue] = LOOK[door];
    const connected = typeof detail["connected"] === "boolean" ? detail["connected"] : null;
    const lines = [rate === null ? "rate unknown" : `${measure(rate)} events/s`];
    if (connected === false) lines.push("not connected");
    else if (door === "http" && detail["p99_ms"] != null) lines.push(`p99 ${measure(Number(detail["p99_ms"]))} ms`);
    else if (door === "mqtt" && detail["unacknowledged"] != null) lines.push(`${count(Number(detail["unacknowledged"]))} in flight`);
    else if (connected) lines.push("connected");
    return { name, hue, rate, lines, connected };
  });
}

export const jetstream = (vitals: Vitals): Exit => ({
  name: "JetStream",
  detail: vitals.relay?.["stream_messages"] != null ? `${count(vitals.relay["stream_messages"])} messages` : "size unknown",
  connected: vitals.nats.connected,
});

export const broker = (vitals: Vitals): Exit => ({
  name: "MQTT broker",
  detail: vitals.broker ? "" : "state unknown",
  connected: vitals.broker?.connected ?? null,
});

export interface Concern {
  what: string;
  why: string;
  bad: boolean;
  to: string;
}

/** What needs attention, worst first. */
export function concerns(vitals: Vitals): Concern[] {
  const found: Concern[] = [];
  if (vitals.postgres?.connected === false) found.push({ what: "Postgres does not answer.", why: "Nothing is appended, and the state of consumers is unknown.", bad: true, to: "/about" });
  if (!vitals.nats.connected) found.push({ what: "NATS is not connected.", why: "Events are committed and wait for the relay; wake-ups come from polling.", bad: true, to: "/bus" });
  if (vitals.broker?.connected === false) found.push({ what: "The MQTT broker is not connected.", why: "Readings wait at the broker or in the devices.", bad: true, to: "/bus" });
  for (const { name, state, error, kind } of vitals.consumers) {
    if (state !== "stalled" && error === null) continue;
    const to = kind === "relay" ? "/bus" : `/projections/${encodeURIComponent(name)}`;
    found.push({ what: `${name} is ${state === "stalled" ? "stalled" : "in trouble"}.`, why: error ?? "It makes no progress. Its process may have stopped.", bad: state === "stalled", to });
  }
  if ((vitals.parked_streams ?? 0) > 0) {
    found.push({ what: `${count(vitals.parked_streams)} ${vitals.parked_streams === 1 ? "stream is" : "streams are"} parked.`, why: "Events that failed again and again were set aside; other streams go on.", bad: false, to: "/parked" });
  }
  return found.toSorted((a, b) => Number(b.bad) - Number(a.bad));
}
