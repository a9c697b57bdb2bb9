// What the picture of Flow is computed from: widths, speeds, curves, and what waits in front of a consumer.

import type { Consumer, Vitals } from "./live.svelte";

/** Width of a pipe in pixels: logarithmic from 0.1 to 20,000 events a second, so that both are readable. */
export function pipeWidth(rate: number | null, most = 26): number {
  if (rate === null || rate <= 0) return 1.5;
  const share = Math.log10(Math.max(rate, 0.1) / 0.1) / Math.log10(200_000);
  return 2.5 + Math.min(share, 1) * (most - 2.5);
}

/** Seconds in which a mark in a pipe moves on by one gap. */
export const pulseSeconds = (rate: number): number => 2.6 - Math.min(Math.log10(Math.max(rate, 0.1) / 0.1) / 5.3, 1) * 1.9;

/** Rate of the events that a consumer handles, not of those that its checkpoint passes over. */
export function handledRate(consumer: Consumer, vitals: Vitals): number | null {
  if (consumer.state !== "live") return consumer.events_per_second;
  const rates = vitals.contexts.filter((rate) => consumer.contexts.includes(rate.context)).map((rate) => rate.events_per_second);
  if (rates.some((rate) => rate === null)) return null;
  return rates.reduce<number>((sum, rate) => sum + (rate ?? 0), 0);
}

/** Whether events wait long enough in front of a consumer to be drawn. */
export const waits = (consumer: Consumer): boolean =>
  consumer.events_behind > 0 && (consumer.state === "stalled" || consumer.state === "catching_up" || (consumer.events_behind >= 10 && consumer.seconds_behind >= 1));

/** Number of marks that stand for the events that wait: logarithmic, all of `most` at a million. */
export const pile = (events: number, most: number): number =>
  events <= 0 ? 0 : Math.max(1, Math.min(most, Math.round((Math.log10(events + 1) / 6) * most)));

export interface Spot {
  x: number;
  y: number;
  /** Direction of the pipe in degrees. */
  angle: number;
}

export interface Curve {
  d: string;
  /** Places of the marks in front of the end, nearest first. */
  spots: Spot[];
}

/** Pixels between two marks that wait. */
const SPACING = 7;

/** A pipe from one side to the other, level at both ends; downwards if `down`. */
export function curve(x1: number, y1: number, x2: number, y2: number, down = false): Curve {
  const [ax, ay, bx, by] = down ? [x1, (y1 + y2) / 2, x2, (y1 + y2) / 2] : [(x1 + x2) / 2, y1, (x1 + x2) / 2, y2];
  const at = (t: number) => {
    const u = 1 - t;
    const mix = (a: number, b: number, c: number, d: number) => u * u * u * a + 3 * u * u * t * b + 3 * u * t * t * c + t * t * t * d;
    return { x: mix(x1, ax, bx, x2), y: mix(y1, ay, by, y2) };
  };
  const spots: Spot[] = [];
  let last = at(1);
  let since = SPACING - 3;
  for (let step = 199; step >= 0; step -= 1) {
    const here = at(step / 200);
    since += Math.hypot(last.x - here.x, last.y - here.y);
    if (since >= SPACING) {
      spots.push({ ...here, angle: (Math.atan2(last.y - here.y, last.x - here.x) * 180) / Math.PI });
      since = 0;
    }
    last = here;
  }
  const round = (n: number) => n.toFixed(1);
  return { d: `M${[x1, y1].map(round).join(" ")} C${[ax, ay, bx, by, x2, y2].map(round).join(" ")}`, spots };
}

const KINDS: Consumer["kind"][] = ["projection", "process_manager", "evaluator", "publisher", "relay"];

/** Consumers in the order of the picture: by kind, those that publish last. */
export const ordered = (consumers: Consumer[]): Consumer[] =>
  consumers.toSorted((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));

/** Whether what the consumer handles leaves the system: over NATS or MQTT. */
export const publishes = (consumer: Consumer): boolean => consumer.kind === "publisher" || consumer.kind === "relay";

export interface Doorway {
  name: string;
  rate: number | null;
  hue: string;
  /** What the door does, and how it is. */
  lines: string[];
  connected: boolean | null;
}

export interface Exit {
  name: string;
  detail: string;
  connected: boolean | null;
}
