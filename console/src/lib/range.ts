// Spans of time that end now, as in `?range=6h`.

export const SPANS: Record<string, { label: string; ms: number }> = {
  "15m": { label: "15 min", ms: 900_000 },
  "1h": { label: "1 h", ms: 3_600_000 },
  "6h": { label: "6 h", ms: 6 * 3_600_000 },
  "1d": { label: "1 day", ms: 86_400_000 },
  "7d": { label: "7 days", ms: 7 * 86_400_000 },
  "30d": { label: "30 days", ms: 30 * 86_400_000 },
  "1y": { label: "1 year", ms: 366 * 86_400_000 },
};

/** The range that a query fixes with `from` and `to`, in milliseconds; null without. */
export function fixedRange(query: URLSearchParams): { from: number; to: number } | null {
  const [from, to] = [Date.parse(query.get("from") ?? ""), Date.parse(query.get("to") ?? "")];
  return to > from ? { from, to } : null;
}
