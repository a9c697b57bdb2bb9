// Acts on parked streams: retry, and skip of the event that failed.

import type { ParkedOutcome } from "../api";
import { ApiError, call } from "./api";
import { plural } from "./format";

/** Seconds that the server waits for the consumer before it answers. */
const WAIT = 5;

async function request(key: string, act: "retry" | "skip", body?: unknown): Promise<ParkedOutcome> {
  const path = `/api/v1/parked/${encodeURIComponent(key)}/${act}`;
  return (await call<ParkedOutcome>(path, { method: "POST", body, headers: { Prefer: `wait=${WAIT}` } })).body;
}

export const retry = (key: string) => request(key, "retry");
export const skip = (key: string, reason: string) => request(key, "skip", { reason });

/** What became of many acts, in one sentence. */
export class Tally {
  applied = 0;
  again = 0;
  running = 0;
  refused: string[] = [];

  /** Counts the outcome of an act. */
  async count(act: Promise<ParkedOutcome>): Promise<void> {
    try {
      const { outcome } = await act;
      if (outcome === "applied") this.applied += 1;
      else if (outcome === "parked") this.again += 1;
      else this.running += 1;
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) this.applied += 1;
      else this.refused.push(error instanceof Error ? error.message : String(error));
    }
  }

  get failed(): boolean {
    return this.again > 0 || this.refused.length > 0;
  }

  toString(): string {
    const streams = (n: number) => plural(n, "stream");
    return [
      this.applied > 0 ? `${streams(this.applied)} applied and no longer parked.` : "",
      this.again > 0 ? `${streams(this.again)} parked again: an event failed.` : "",
      this.running > 0 ? `${streams(this.running)} still being applied in the background.` : "",
      this.refused.length > 0 ? `${this.refused.length} refused: ${this.refused[0]}` : "",
    ].filter((part) => part !== "").join(" ");
  }
}
