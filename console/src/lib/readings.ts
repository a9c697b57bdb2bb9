// Readings of one field of a device, at the resolution that a visible range needs.

import type { Bucket, Device, ReadingRow } from "../api";
import { call, url } from "./api";

/** Points of a chart, in order of time, in seconds since 1970. `null` is a gap. */
export interface Series {
  x: number[];
  avg: (number | null)[];
  /** Of buckets only. */
  min: (number | null)[] | null;
  max: (number | null)[] | null;
  /** Readings that came late, or from a clock that was not set; only of single readings. */
  marks: { x: number; y: number; kind: "late" | "unset" }[];
  /** Width of the buckets in seconds; null for single readings. */
  width: number | null;
  /** Number of readings in the range. */
  readings: number;
}

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;
const WIDTHS = [
  1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2 * 1440, 7 * 1440, 14 * 1440, 30 * 1440, 90 * 1440, 366 * 1440,
].map((minutes) => minutes * MINUTE);
/** Most buckets in a range: one page of the API. */
const MOST_BUCKETS = 480;
/** Most single readings in a range. */
const MOST_READINGS = 800;
const PAGE = 500;
/** Seconds between the time of a reading and its receipt from which it counts as late. */
export const LATE = 60;

/** The narrowest bucket, in seconds, that needs no more points than a chart can show. */
export const bucketFor = (seconds: number): number => WIDTHS.find((width) => seconds / width <= MOST_BUCKETS) ?? WIDTHS.at(-1)!;

/** A bucket as the API writes it: `15m`, `6h`, `30d`. */
export const bucketName = (seconds: number): string =>
  seconds % DAY === 0 ? `${seconds / DAY}d` : seconds % HOUR === 0 ? `${seconds / HOUR}h` : `${seconds / MINUTE}m`;

export const readingsPath = (user: string, device: string): string =>
  `/api/v1/users/${encodeURIComponent(user)}/devices/${encodeURIComponent(device)}/readings`;

export const isLate = (row: Pick<ReadingRow, "time" | "received_at">): boolean =>
  (Date.parse(row.received_at) - Date.parse(row.time)) / 1000 > LATE;

/** The value of a field: a column, a name, a dotted path or a JSON pointer. */
export function valueOf(row: object, field: string): unknown {
  const known = row as Record<string, unknown>;
  if (field in known && field !== "extra_data") return known[field];
  const extra = known["extra_data"] as Record<string, unknown> | null | undefined;
  if (!extra) return undefined;
  if (field in extra) return extra[field];
  const steps = field.startsWith("/") ? field.slice(1).split("/").map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~")) : field.split(".");
  return steps.reduce<unknown>((value, step) => (typeof value === "object" && value !== null ? (value as Record<string, unknown>)[step] : undefined), extra);
}

/** The numeric fields of readings, by name; nested ones as JSON pointers if a step holds a dot, else as dotted paths. */
export function fieldsOf(rows: readonly (Device | ReadingRow)[]): string[] {
  const found = new Set<string>();
  const walk = (value: unknown, steps: string[]) => {
    if (typeof value === "number") {
      const plain = steps.every((step) => !/[./~,]/.test(step));
      found.add(plain ? steps.join(".") : `/${steps.map((step) => step.replaceAll("~", "~0").replaceAll("/", "~1")).join("/")}`);
    } else if (typeof value === "object" && value !== null && steps.length < 8) {
      for (const [name, inner] of Object.entries(value)) walk(inner, [...steps, name]);
    }
  };
  for (const row of rows) {
    if (row.temperature != null) found.add("temperature");
    if (row.battery != null) found.add("battery");
    walk(row.extra_data, []);
  }
  const order = (field: string) => (field === "temperature" ? 0 : field === "battery" ? 1 : 2);
  return [...found].sort((a, b) => order(a) - order(b) || a.localeCompare(b)).slice(0, 200);
}

/** Puts a gap where two points are further apart than `most` seconds. */
function withGaps(series: Series, most: number): Series {
  const out: Series = { ...series, x: [], avg: [], min: series.min && [], max: series.max && [] };
  for (const [at, x] of series.x.entries()) {
    if (at > 0 && x - series.x[at - 1]! > most) {
      out.x.push(series.x[at - 1]! + most / 2);
      out.avg.push(null);
      out.min?.push(null);
      out.max?.push(null);
    }
    out.x.push(x);
    out.avg.push(series.avg[at]!);
    out.min?.push(series.min![at]!);
    out.max?.push(series.max![at]!);
  }
  return out;
}

/**
 * Loads the readings from `from` to `to` (milliseconds): as buckets, or as single readings if there are few.
 *
 * Which of both it will be is known with the buckets. In a narrow range, single readings are asked for at the same time,
 * unless `shown`, the series before, was too dense.
 */
export async function loadSeries(
  user: string, device: string, field: string, from: number, to: number, signal: AbortSignal, shown: Series | null = null,
): Promise<Series> {
  const width = bucketFor((to - from) / 1000);
  const range = { from: new Date(from - width * 1000).toISOString(), to: new Date(to + width * 1000).toISOString(), fields: field, limit: PAGE };
  const path = readingsPath(user, device);
  const early = width === WIDTHS[0] && shown?.width !== width ? page(url(path, range), signal) : null;
  early?.catch(() => undefined); // Awaited below, if it is of use.
  const buckets = (await call<{ items: Bucket[] }>(path, { query: { ...range, bucket: bucketName(width) }, signal })).body.items;
  const readings = buckets.reduce((sum, bucket) => sum + bucket.count, 0);
  if (readings <= MOST_READINGS) return single(await (early ?? page(url(path, range), signal)), field, signal);
  const series: Series = {
    x: buckets.map((bucket) => Date.parse(bucket.time) / 1000 + width / 2),
    avg: buckets.map((bucket) => bucket.avg),
    min: buckets.map((bucket) => bucket.min),
    max: buckets.map((bucket) => bucket.max),
    marks: [],
    width,
    readings,
  };
  return withGaps(series, width * 3);
}

type Rows = { body: { items: ReadingRow[] }; next: string | null };
const page = (address: string, signal: AbortSignal): Promise<Rows> => call<{ items: ReadingRow[] }>(address, { signal });

/** Makes a series of single readings of their first page and those that follow. */
async function single(first: Rows, field: string, signal: AbortSignal): Promise<Series> {
  const rows = first.body.items;
  for (let { next } = first; next !== null && rows.length <= MOST_READINGS; ) {
    const answer = await page(next, signal);
    rows.push(...answer.body.items);
    next = answer.next;
  }
  const points = rows.flatMap((row) => {
    const value = valueOf(row, field);
    return typeof value === "number" ? [{ x: Date.parse(row.time) / 1000, y: value, row }] : [];
  });
  const steps = points.slice(1).map((point, at) => point.x - points[at]!.x).sort((a, b) => a - b);
  const series: Series = {
    x: points.map((point) => point.x),
    avg: points.map((point) => point.y),
    min: null,
    max: null,
    marks: points
      .filter(({ row }) => row.unset_time != null || isLate(row))
      .map(({ x, y, row }) => ({ x, y, kind: row.unset_time != null ? "unset" : "late" })),
    width: null,
    readings: points.length,
  };
  return withGaps(series, Math.max((steps[Math.floor(steps.length / 2)] ?? 0) * 6, 90));
}
