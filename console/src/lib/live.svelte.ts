// The console's live data: one event stream for the whole page, shared by all that show it.

import type { Event } from "../api";
import { session } from "./session.svelte";
import { serverEvents } from "./sse";
import { url } from "./api";

export interface Quantiles {
  p50: number;
  p99: number;
}

export interface Consumer {
  name: string;
  kind: "projection" | "process_manager" | "evaluator" | "publisher" | "relay";
  contexts: string[];
  state: "live" | "catching_up" | "rebuilding" | "stalled" | "never_run" | "waiting";
  position: number;
  events_behind: number;
  seconds_behind: number;
  events_per_second: number;
  parked: number;
  error: string | null;
  rebuild_position: number | null;
  rebuild_seconds_left: number | null;
}

/** What the server measures once a second; `null` is unknown. */
export interface Vitals {
  at: string;
  head: number;
  head_recorded_at: string | null;
  events_per_second: number | null;
  commit_ms: Quantiles | null;
  visible_ms: Quantiles | null;
  contexts: { context: string; events_per_second: number | null }[];
  doors: { door: "http" | "mqtt" | "nats"; events_per_second: number | null; detail: Record<string, number | boolean | null> }[];
  consumers: Consumer[];
  relay: Record<string, number | null> | null;
  bridge: { received: number; appended: number; duplicate: number; rejected: number; in_flight: number } | null;
  postgres?: { connected: boolean };
  nats: { connected: boolean };
  broker: { connected: boolean } | null;
  parked_streams: number | null;
  rejected: { today: number | null; per_second: number | null };
}

/** The last events, newest first, at most this many. */
const KEPT = 200;
/** Milliseconds until a connection that ended is opened again. */
const RECONNECT = 1500;
/** Milliseconds without vitals after which the connection counts as lost. */
const SILENT = 8000;

export const live = $state<{
  status: "connecting" | "live" | "offline";
  paused: boolean;
  vitals: Vitals | null;
  /** Events that the server left out of the tail since the page was opened. */
  notShown: number;
}>({ status: "connecting", paused: false, vitals: null, notShown: 0 });

/** Outside of `live`, because its events are not observed one by one. */
class Tail {
  events = $state.raw<Event[]>([]);
}
export const tail = new Tail();

let running: AbortController | null = null;
let users = 0;
let resume: number | null = null;
let silence = 0;

/** Follows the live data while the component that calls this exists. */
export function follow(): void {
  $effect(() => {
    if (session.status !== "signed-in" && session.status !== "expired") return;
    users += 1;
    if (users === 1) void connect();
    return () => {
      users -= 1;
      if (users === 0) running?.abort();
    };
  });
}

async function connect(): Promise<void> {
  const connection = (running = new AbortController());
  while (!connection.signal.aborted) {
    const attempt = new AbortController();
    const abort = () => attempt.abort();
    connection.signal.addEventListener("abort", abort);
    const touch = () => {
      clearTimeout(silence);
      silence = window.setTimeout(abort, SILENT);
    };
    touch();
    try {
      for await (const event of serverEvents(url("/api/v1/console/stream", { after: resume }), attempt.signal)) {
        touch();
        live.status = "live";
        if (event.event === "vitals" && !live.paused) live.vitals = JSON.parse(event.data) as Vitals;
        if (event.event === "tail") show(JSON.parse(event.data) as { events: Event[]; not_shown: number; position: number });
      }
    } catch {
      // The next attempt follows; the state says that there is none now.
    }
    clearTimeout(silence);
    connection.signal.removeEventListener("abort", abort);
    if (connection.signal.aborted) return;
    live.status = "offline";
    await new Promise((done) => setTimeout(done, RECONNECT));
  }
}

function show(sample: { events: Event[]; not_shown: number; position: number }): void {
  resume = sample.position;
  live.notShown += sample.not_shown;
  if (!live.paused) tail.events = [...sample.events.toReversed(), ...tail.events].slice(0, KEPT);
}
