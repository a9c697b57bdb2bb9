// Alert rules while they are edited, and how they become the JSON of the API.

import type { AlertConfig, AlertRule, AlertRules } from "../../api";

export interface DraftRule {
  /** Identifies the row while it is edited. */
  key: number;
  field: string;
  operator: AlertRule["operator"];
  /** As typed; of `between` and `outside` the lower bound. */
  threshold: string;
  high: string;
  device: string;
  severity: NonNullable<AlertRule["severity"]>;
  message: string;
  hold: string;
  times: string;
  clearThreshold: string;
  clearTimes: string;
  enabled: boolean;
}

let last = 0;

export const isRange = (operator: string) => operator === "between" || operator === "outside";
export const isOrdered = (operator: string) => [">", ">=", "<", "<="].includes(operator);

const typed = (value: unknown) => (value == null ? "" : typeof value === "string" ? value : JSON.stringify(value));

export function draftOf(rule: AlertRule): DraftRule {
  const [low, high] = Array.isArray(rule.threshold) ? (rule.threshold as unknown[]) : [rule.threshold, null];
  return {
    key: ++last,
    field: rule.key,
    operator: rule.operator,
    threshold: typed(low),
    high: typed(high),
    device: rule.device_id ?? "",
    severity: rule.severity ?? "warning",
    message: rule.message ?? "",
    hold: typed(rule.for),
    times: typed(rule.times),
    clearThreshold: typed(rule.clear_threshold),
    clearTimes: typed(rule.clear_times),
    enabled: rule.enabled !== false,
  };
}

export const emptyDraft = (field = "temperature", device = ""): DraftRule =>
  draftOf({ key: field, operator: ">", threshold: null, device_id: device || null });

/** A number, or what was typed, so that the server can say what is wrong with it. */
const number = (text: string): unknown => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text);

/** The threshold of `==` and `!=` may be a number, `true` or `false`, or a text. */
function free(text: string): unknown {
  if (text === "true" || text === "false") return text === "true";
  return number(text);
}

export function ruleOf(draft: DraftRule): AlertRule {
  const rule: Record<string, unknown> = { key: draft.field.trim(), operator: draft.operator };
  if (isRange(draft.operator)) rule["threshold"] = [number(draft.threshold), number(draft.high)];
  else if (draft.operator !== "is_missing") rule["threshold"] = isOrdered(draft.operator) ? number(draft.threshold) : free(draft.threshold);
  if (draft.device.trim() !== "") rule["device_id"] = draft.device.trim();
  if (draft.severity !== "warning") rule["severity"] = draft.severity;
  if (draft.message.trim() !== "") rule["message"] = draft.message.trim();
  if (draft.hold.trim() !== "") rule["for"] = number(draft.hold.trim());
  if (draft.times.trim() !== "") rule["times"] = number(draft.times);
  if (draft.clearThreshold.trim() !== "" && isOrdered(draft.operator)) rule["clear_threshold"] = number(draft.clearThreshold);
  if (draft.clearTimes.trim() !== "") rule["clear_times"] = number(draft.clearTimes);
  if (!draft.enabled) rule["enabled"] = false;
  return rule as AlertRule;
}

/** The rules of a user, or of all users, while they are edited. Kept while the session is renewed. */
export class Draft {
  rules = $state<DraftRule[]>([]);
  /** What the server has, to see whether there are changes. */
  #saved = $state("");
  version = $state(0);
  etag = "";
  #short: number | null = null;

  load(config: AlertRules, etag: string): void {
    this.rules = config.rules.map(draftOf);
    this.#short = config.temperature_max ?? null;
    this.version = config.version;
    this.etag = etag;
    this.#saved = this.#text();
  }

  #text = (): string => JSON.stringify(this.rules.map(ruleOf));
  get changed(): boolean {
    return this.#text() !== this.#saved;
  }

  config = (): AlertConfig => ({ rules: this.rules.map(ruleOf), ...(this.#short === null ? {} : { temperature_max: this.#short }) });
  get short(): number | null {
    return this.#short;
  }
}
