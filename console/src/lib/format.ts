// Numbers, times and ids as text.

import { settings } from "./settings.svelte";

const whole = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3 });

/** `1,279,408`; `—` if it is unknown. */
export const count = (value: number | null | undefined) => (value == null ? "—" : whole.format(value));

/** `1 event`, `1,279 events`. */
export const plural = (value: number, one: string) => `${count(value)} ${value === 1 ? one : `${one}s`}`;

/** A measured value with three significant digits, or all before the point: `3.14`, `1,249`. */
export const measure = (value: number | null | undefined) =>
  value == null ? "—" : Math.abs(value) >= 100 ? whole.format(value) : short.format(value);

/** A rate for columns, with one digit after the point below 100: `4.5`, `1,249`. */
export const rate = (value: number | null | undefined) => (value == null || value >= 100 ? count(value) : value.toFixed(1));

/** `4.1 MB`. */
export function bytes(value: number | null | undefined): string {
  if (value == null) return "—";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit === 0 ? whole.format(value) : short.format(value)} ${units[unit]}`;
}

/** `0.4 s`, `14 s`, `3 min 20 s`, `5 h 2 min`, `3 d 4 h`. */
export function duration(seconds: number | null | undefined): string {
  if (seconds == null) return "—";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const parts: [number, string][] = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => seconds >= size);
  const [size, unit] = parts[first]!;
  const rest = Math.floor((seconds % size) / parts[first + 1]![0]);
  return `${Math.floor(seconds / size)} ${unit}${rest > 0 ? ` ${rest} ${parts[first + 1]![1]}` : ""}`;
}

/** `0.4 ms`, `16 ms`, `4.1 s`, `3 min 20 s`. */
export const elapsed = (ms: number) => (ms < 1000 ? `${ms < 10 ? Number(ms.toFixed(1)) : Math.round(ms)} ms` : duration(ms / 1000));

const pad = (value: number, digits = 2) => String(value).padStart(digits, "0");

/** The parts of a time in the chosen zone. */
function parts(at: string | number | Date): { date: string; time: string; ms: string } {
  const d = new Date(at);
  if (Number.isNaN(d.getTime())) return { date: String(at), time: "", ms: "" };
  const utc = settings.zone === "utc";
  const [y, mo, da] = utc ? [d.getUTCFullYear(), d.getUTCMonth(), d.getUTCDate()] : [d.getFullYear(), d.getMonth(), d.getDate()];
  const [h, mi, s, ms] = utc
    ? [d.getUTCHours(), d.getUTCMinutes(), d.getUTCSeconds(), d.getUTCMilliseconds()]
    : [d.getHours(), d.getMinutes(), d.getSeconds(), d.getMilliseconds()];
  return { date: `${y}-${pad(mo + 1)}-${pad(da)}`, time: `${pad(h)}:${pad(mi)}:${pad(s)}`, ms: pad(ms, 3) };
}

/** The chosen zone, for headings: `UTC` or the name of the browser's zone. */
export const zoneName = () => (settings.zone === "utc" ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone);

/** `12:24:33.443` if it is today, else `2026-11-27 12:24:33`. */
export function clock(at: string | null | undefined): string {
  if (at == null) return "—";
  const { date, time, ms } = parts(at);
  return date === parts(Date.now()).date ? `${time}.${ms}` : `${date} ${time}`;
}

/** `2026-11-27 12:24:33.443 UTC`. */
export function instant(at: string | null | undefined): string {
  if (at == null) return "—";
  const { date, time, ms } = parts(at);
  return `${date} ${time}.${ms} ${zoneName()}`;
}

/** `3 min ago`. */
export function ago(at: string | null | undefined): string {
  if (at == null) return "—";
  const seconds = (Date.now() - new Date(at).getTime()) / 1000;
  if (seconds < 1) return "now";
  return `${duration(Math.max(seconds, 1)).split(" ").slice(0, 2).join(" ")} ago`;
}

/** A long id with its middle left out: `order-01a217…1f61`. */
export function shortId(id: string, most = 22): string {
  const characters = Array.from(id);
  if (characters.length <= most) return id;
  const tail = 6;
  return `${characters.slice(0, most - tail - 1).join("")}…${characters.slice(-tail).join("")}`;
}
