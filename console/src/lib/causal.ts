// The causation tree as rows in order of cause and effect, and the time axis that they share.

import type { TracedEvent } from "../api";

export interface Row {
  event: TracedEvent;
  depth: number;
  /** Whether the branches of the nearest ancestors go on below this row, and last whether this row has later siblings. */
  guides: boolean[];
  /** Milliseconds since the cause; null for what a request caused. */
  gap: number | null;
  /** Place on the axis, from 0 to 1: of the cause, or of the event itself, and of the event. */
  from: number;
  at: number;
}

export interface Axis {
  /** From a time in milliseconds to a place from 0 to 1. */
  place: (time: number) => number;
  ticks: { at: number; elapsed: number }[];
  /** Whether long gaps are shortened. */
  shortened: boolean;
}

/** Levels that are drawn as indentation; deeper ones stand below each other. */
const LEVELS = 7;

/** Milliseconds with the microseconds of the log, which `Date` leaves out. */
export function time({ recorded_at: at }: TracedEvent): number {
  const beyond = at.match(/\.\d{3}(\d{1,6})/)?.[1];
  return new Date(at).getTime() + (beyond === undefined ? 0 : Number(`0.${beyond}`));
}

/** A time axis on which neighbouring events do not overlap: linear, unless waits are much longer than work. */
export function axis(events: TracedEvent[]): Axis {
  const times = [...new Set(events.map(time))].toSorted((a, b) => a - b);
  const [first, last] = [times[0] ?? 0, times.at(-1) ?? 0];
  const span = Math.max(last - first, 1);
  const gaps = times.slice(1).map((at, index) => at - times[index]!);
  const shortened = gaps.length > 1 && Math.max(...gaps) > 0.6 * span && Math.min(...gaps) < 0.02 * span;
  // Shortened, each gap takes the logarithm of its length, so that hours do not hide milliseconds.
  const widths = gaps.map((gap) => (shortened ? Math.log2(1 + gap) : gap));
  const whole = widths.reduce((sum, width) => sum + width, 0) || 1;
  const places = [0];
  for (const width of widths) places.push(places.at(-1)! + width / whole);
  const known = new Map(times.map((at, index) => [at, places[index]!]));
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((at) => {
    const after = Math.max(places.findIndex((place) => place >= at - 1e-9), 0);
    const before = Math.max(after - 1, 0);
    const share = after === before ? 0 : (at - places[before]!) / (places[after]! - places[before]! || 1);
    const within = shortened ? (2 ** (share * Math.log2(1 + (gaps[before] ?? 0))) - 1) : share * (gaps[before] ?? 0);
    return { at, elapsed: (times[before] ?? first) - first + within };
  });
  return { place: (at) => known.get(at) ?? 0, ticks: times.length < 2 ? ticks.slice(0, 1) : ticks, shortened };
}

/** The rows of the trees, each cause before its effects. */
export function rows(events: TracedEvent[], { place }: Axis): Row[] {
  const known = new Map(events.map((event) => [event.position, event]));
  const effects = new Map<number | null, TracedEvent[]>();
  for (const event of events) {
    const cause = event.caused_by != null && known.has(event.caused_by) ? event.caused_by : null;
    const siblings = effects.get(cause);
    if (siblings) siblings.push(event);
    else effects.set(cause, [event]);
  }
  const found: Row[] = [];
  const open = (effects.get(null) ?? []).map((event) => ({ event, depth: 0, guides: [] as boolean[] })).toReversed();
  while (open.length > 0) {
    const { event, depth, guides } = open.pop()!;
    const cause = depth > 0 ? known.get(event.caused_by!) : undefined;
    const at = place(time(event));
    found.push({ event, depth, guides, gap: cause ? time(event) - time(cause) : null, from: cause ? place(time(cause)) : at, at });
    const next = effects.get(event.position) ?? [];
    for (let index = next.length - 1; index >= 0; index -= 1) {
      open.push({ event: next[index]!, depth: depth + 1, guides: [...guides, index < next.length - 1].slice(-LEVELS) });
    }
  }
  return found;
}
