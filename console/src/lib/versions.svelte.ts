// The versions of one stream around the chosen one: each event, and the state after it.

import type { Event } from "../api";
import { apiError, get, type ApiError } from "./api";

export interface Version {
  event: Event;
  /** State of the decider after the event; null for facts. */
  state: unknown;
  /** Why the event cannot be decoded. */
  error?: string;
}

interface States {
  kind: "decider" | "facts";
  items: Version[];
}

/** Versions on a page, half of them before the chosen one. */
const PAGE = 60;
/** Most versions in memory. */
const KEPT = 600;

export class Versions {
  items = $state.raw(new Map<number, Version>());
  kind = $state<"decider" | "facts" | null>(null);
  error = $state.raw<ApiError | null>(null);
  #id: string;
  #running: AbortController | null = null;

  constructor(id: string) {
    this.#id = id;
  }

  /** Whether a version and the one before it are in memory. */
  has = (version: number): boolean => this.items.has(version) && (version === 1 || this.items.has(version - 1));

  /** Loads the versions around `version`, unless they are in memory. A later call replaces an earlier one. */
  async load(version: number): Promise<void> {
    this.#running?.abort();
    if (this.has(version)) return;
    const running = (this.#running = new AbortController());
    try {
      // A page of large states ends early, so that it may end before the wanted version.
      for (const after of [version - PAGE / 2, version - 2, version - 1]) {
        const page = await this.#page(Math.max(after, 0), running.signal);
        if (running.signal.aborted) return;
        this.#keep(page, version);
        if (this.has(version)) break;
      }
      this.error = null;
    } catch (error) {
      if (!running.signal.aborted) this.error = apiError(error);
    }
  }

  stop(): void {
    this.#running?.abort();
  }

  async #page(after: number, signal: AbortSignal): Promise<States> {
    return get<States>(`/api/v1/streams/${encodeURIComponent(this.#id)}/states`, { after, limit: PAGE }, signal);
  }

  #keep(page: States, around: number): void {
    const items = new Map(this.items);
    for (const item of page.items) items.set(item.event.version, item);
    if (items.size > KEPT) {
      for (const version of items.keys()) if (Math.abs(version - around) > KEPT / 3) items.delete(version);
    }
    this.items = items;
    this.kind = page.kind;
  }
}
