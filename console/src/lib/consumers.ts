// What the kinds and states of consumers mean, in plain words.

import type { State, Status } from "../api";
import type { Consumer } from "./live.svelte";

export type Kind = Consumer["kind"];

export const KINDS: Record<Kind, { word: string; text: string }> = {
  projection: { word: "projection", text: "Makes a read model: tables for queries, filled from the events of the log." },
  process_manager: { word: "process manager", text: "Answers events with commands, so that a business process goes on from step to step." },
  evaluator: { word: "evaluator", text: "Compares new readings with the rules of their devices, and raises and clears alerts." },
  publisher: { word: "publisher", text: "Publishes alerts to devices and programs over MQTT." },
  relay: { word: "relay", text: "Publishes every event of the log to the stream EVENTS of NATS, for other programs." },
};

export const STATES: Record<State, string> = {
  live: "At most 5 seconds behind the log.",
  catching_up: "More than 5 seconds behind the log, and working.",
  rebuilding: "New tables are filled from the first event on; the present ones serve queries meanwhile.",
  stalled: "No sign of life for more than 10 seconds: no process runs this consumer, or it cannot reach Postgres.",
  never_run: "No process has run this consumer yet.",
  waiting: "The next event was written by a newer build of the server. The consumer goes on as soon as a process of that build runs.",
};

/** Position of the last event of the log, as a consumer sees it. */
export const headOf = (status: Status) => status.position + status.events_behind;

/** The lag of the last hour. */
export interface History {
  interval_seconds: number;
  samples: { at: string; events_per_second: number | null; consumers: Record<string, [events: number, seconds: number]> }[];
}

/** Lag of one consumer in seconds, or in events; null where there is no sample. */
export const lagOf = (history: History | null, name: string, unit: "events" | "seconds"): (number | null)[] =>
  (history?.samples ?? []).map((sample) => sample.consumers[name]?.[unit === "events" ? 0 : 1] ?? null);
