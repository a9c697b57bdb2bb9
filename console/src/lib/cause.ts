// Who and what caused an event, from its metadata.

import type { Event } from "../api";

export interface Cause {
  correlation_id?: string;
  /** Id of the event that caused this one. */
  causation_id?: string;
  /** Id of a user, or name of the process that acted. */
  actor?: string;
  traceparent?: string;
}

export const metadataOf = (event: Event): Cause => (event.metadata ?? {}) as Cause;

/** Who sent the request, or the process that acted; a user by the end of the id. */
export function actorOf(event: Event): string {
  const { actor } = metadataOf(event);
  if (actor === undefined) return "a request or message";
  return /^[0-9a-f]{8}-[0-9a-f]{4}-/i.test(actor) ? `user …${actor.slice(-6)}` : actor;
}
