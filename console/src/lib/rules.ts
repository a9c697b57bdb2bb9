// Alert rules in words, and which of them apply to a device.

import type { AlertRule } from "../api";
import { plural } from "./format";

export const OPERATORS: [AlertRule["operator"], string][] = [
  [">", "is above"],
  [">=", "is at least"],
  ["<", "is below"],
  ["<=", "is at most"],
  ["==", "equals"],
  ["!=", "differs from"],
  ["between", "is between"],
  ["outside", "is outside of"],
  ["is_missing", "is missing"],
];

const text = (value: unknown) => (Array.isArray(value) ? value.map((item) => String(item)).join(" and ") : typeof value === "string" ? `“${value}”` : String(value));

/** The condition: `temperature is above 23`. */
export function condition(rule: AlertRule): string {
  const operator = OPERATORS.find(([name]) => name === rule.operator)?.[1] ?? rule.operator;
  return rule.operator === "is_missing" ? `${rule.key} ${operator}` : `${rule.key} ${operator} ${text(rule.threshold)}`;
}

/** The whole rule as sentences. */
export function inWords(rule: AlertRule): string {
  const devices = rule.device_id == null || rule.device_id === "*" ? "all devices" : rule.device_id.includes("*") ? `devices named ${rule.device_id}` : `the device ${rule.device_id}`;
  const raise = [
    rule.for != null && `for ${typeof rule.for === "number" ? `${rule.for} s` : String(rule.for)}`,
    rule.times != null && rule.times > 1 && `in ${plural(rule.times, "reading")} in a row`,
  ].filter(Boolean);
  const clear = [
    rule.clear_threshold != null && `the value has reached ${rule.clear_threshold}`,
    rule.clear_times != null && rule.clear_times > 1 && `${plural(rule.clear_times, "reading")} in a row no longer breach it`,
  ].filter(Boolean);
  const sentences = [
    `Raises ${article(rule.severity ?? "warning")} alert if ${condition(rule)}${raise.length > 0 ? ` ${raise.join(" and ")}` : ""}, for ${devices}.`,
    clear.length > 0 ? `Clears it once ${clear.join(" and ")}.` : "Clears it with the first reading that does not breach it.",
  ];
  if (rule.enabled === false) sentences.push("The rule is switched off.");
  return sentences.join(" ");
}

const article = (word: string) => `${/^[aeiou]/.test(word) ? "an" : "a"} ${word}`;

/** Whether a device id has the form of a pattern with `*`. */
export function names(pattern: string | null | undefined, device: string): boolean {
  if (pattern == null) return true;
  const parts = pattern.split("*");
  if (parts.length === 1) return pattern === device;
  let rest = device;
  for (const [at, part] of parts.entries()) {
    const found = at === 0 ? (rest.startsWith(part) ? 0 : -1) : at === parts.length - 1 ? (rest.endsWith(part) ? rest.length - part.length : -1) : rest.indexOf(part);
    if (found < 0) return false;
    rest = rest.slice(found + part.length);
  }
  return true;
}

const dotted = (key: string) => (key.startsWith("/") ? key.slice(1).replaceAll("/", ".") : key);
export const sameField = (a: string, b: string) => dotted(a) === dotted(b);

/** How specific a rule is: the device by name, by pattern, all devices; a user's own rules before those of all users. */
function rank(rule: AlertRule, own: boolean): number {
  const pattern = rule.device_id;
  const device = pattern == null ? 0 : pattern.includes("*") ? 1 + pattern.replaceAll("*", "").length : 1000;
  return (own ? 10_000 : 0) + device;
}

/** The rules that apply to a field of a device: of those that compete, the most specific. */
export function applying(own: readonly AlertRule[], everybody: readonly AlertRule[], device: string, field: string): AlertRule[] {
  const rules = [...own.map((rule) => ({ rule, rank: rank(rule, true) })), ...everybody.map((rule) => ({ rule, rank: rank(rule, false) }))]
    .filter(({ rule }) => sameField(rule.key, field) && names(rule.device_id, device));
  return rules
    .filter((one) => rules.every((other) => other.rule.operator !== one.rule.operator || other.rank <= one.rank))
    .map(({ rule }) => rule)
    .filter((rule) => rule.enabled !== false);
}

/** The values of a rule that can be drawn as lines. */
export function thresholds(rule: AlertRule): { value: number; label: string; clear: boolean }[] {
  const lines = (Array.isArray(rule.threshold) ? rule.threshold : [rule.threshold])
    .filter((value): value is number => typeof value === "number")
    .map((value) => ({ value, label: `${rule.operator} ${value}`, clear: false }));
  if (rule.clear_threshold != null) lines.push({ value: rule.clear_threshold, label: `clears at ${rule.clear_threshold}`, clear: true });
  return lines;
}
