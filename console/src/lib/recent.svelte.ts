// The newest events for pages that show some: those before the page was opened, then the live tail.

import type { Event } from "../api";
import { get } from "./api";
import { follow, tail } from "./live.svelte";
import { Resource } from "./resource.svelte";

export class Recent {
  /** The events before the page was opened. */
  before: Resource<Event[]>;

  /** Made while a component initializes; follows the live data while it exists. */
  constructor(most: number) {
    follow();
    this.before = new Resource(async (signal) => (await get<{ items: Event[] }>("/api/v1/events", { order: "desc", limit: most }, signal)).items);
  }

  /** Newest first. */
  get events(): Event[] {
    const oldest = tail.events.at(-1)?.position ?? Infinity;
    return [...tail.events, ...(this.before.data ?? []).filter((event) => event.position < oldest)];
  }
}
