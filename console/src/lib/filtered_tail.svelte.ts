// The live tail of events that match a filter, on a connection of its own.

import type { Event } from "../api";
import { url } from "./api";
import { serverEvents } from "./sse";

/** Most events that are kept; older ones are left out. */
const KEPT = 300;
/** Milliseconds until a connection that ended is opened again. */
const RECONNECT = 1500;
/** Milliseconds without a message after which the connection counts as lost: vitals come once a second. */
const SILENT = 8000;

interface Sample {
  events: Event[];
  not_shown: number;
  not_examined?: number;
  position: number;
}

export class FilteredTail {
  /** Newest first. */
  events = $state.raw<Event[]>([]);
  /** Matching events that are not in `events`, because they came too fast or are too old. */
  left = $state(0);
  /** Set by the page that holds its list still; the tail itself goes on. */
  paused = $state(false);
  status = $state<"off" | "connecting" | "live" | "offline">("off");
  #running: AbortController | null = null;

  /** Follows the events after a position (without one: those from now on) until `stop`. */
  start(after: number | null, filter: Record<string, string | null>): void {
    this.stop();
    this.events = [];
    this.left = 0;
    this.status = "connecting";
    void this.#follow((this.#running = new AbortController()), after, filter);
  }

  stop(): void {
    this.#running?.abort();
    this.status = "off";
  }

  async #follow(running: AbortController, after: number | null, filter: Record<string, string | null>): Promise<void> {
    let position = after;
    while (!running.signal.aborted) {
      const attempt = new AbortController();
      const abort = () => attempt.abort();
      running.signal.addEventListener("abort", abort);
      let silence = window.setTimeout(abort, SILENT);
      try {
        for await (const message of serverEvents(url("/api/v1/console/stream", { ...filter, after: position }), attempt.signal)) {
          clearTimeout(silence);
          silence = window.setTimeout(abort, SILENT);
          if (running.signal.aborted) return;
          this.status = "live";
          if (message.event === "tail") position = this.#take(JSON.parse(message.data) as Sample);
        }
      } catch {
        // The next attempt follows; the status says that there is none now.
      } finally {
        clearTimeout(silence);
        running.signal.removeEventListener("abort", abort);
        attempt.abort();
      }
      if (running.signal.aborted) return;
      this.status = "offline";
      await new Promise((done) => setTimeout(done, RECONNECT));
    }
  }

  #take(sample: Sample): number {
    const all = [...sample.events.toReversed(), ...this.events];
    this.events = all.slice(0, KEPT);
    this.left += sample.not_shown + (sample.not_examined ?? 0) + all.length - this.events.length;
    return sample.position;
  }
}
