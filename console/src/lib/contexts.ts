// One hue a business context, the same on every page: the CSS classes `c1` to `c8`.

const HUES: Record<string, number> = {
  telemetry: 1,
  alerts: 2,
  orders: 3,
  works: 4,
  users: 5,
  projects: 6,
  page_views: 7,
  documents: 8,
  host: 8,
};

export const hue = (context: string) => `c${HUES[context] ?? 8}`;

/** The names of all contexts. */
export const CONTEXTS = Object.keys(HUES);
