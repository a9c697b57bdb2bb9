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

/** `fulfilment ← event 01a2…`, or who sent the request. */
export function causeOf(event: Event): string {
  const { actor, causation_id: cause } = metadataOf(event);
  const who = actor === undefined ? "" : /^[0-9a-f]{8}-[0-9a-f]{4}-/i.test(actor) ? `user ${actor.slice(-6)}` : actor;
  if (cause === undefined) return who === "" ? "a request" : who;
  return `${who} ← event …${cause.slice(-6)}`;
}
