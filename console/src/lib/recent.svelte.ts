// The newest events for pages that show some: those before the page was opened, then the live tail.

import type { Event } from "../api";
import { get } from "./api";
import { follow, tail } from "./live.svelte";

export class Recent {
  #before = $state.raw<Event[]>([]);
  /** Whether the events before the page was opened were read, or could not be. */
  settled = $state(false);

  /** Made while a component initializes; follows the live data while it exists. */
  constructor(most: number) {
    follow();
    $effect(() => {
      const left = new AbortController();
      get<{ items: Event[] }>("/api/v1/events", { order: "desc", limit: most }, left.signal)
        .then((page) => (this.#before = page.items), () => {})
        .finally(() => (this.settled = true));
      return () => left.abort();
    });
  }

  /** Newest first. */
  get events(): Event[] {
    const oldest = tail.events.at(-1)?.position ?? Infinity;
    return [...tail.events, ...this.#before.filter((event) => event.position < oldest)];
  }
}
