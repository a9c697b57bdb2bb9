// What this browser remembers: the theme, and the zone of times.

export type Theme = "system" | "light" | "dark";
export type Zone = "utc" | "local";

function stored<T extends string>(key: string, values: readonly T[]): T {
  const found = localStorage.getItem(key) as T | null;
  return found !== null && values.includes(found) ? found : values[0]!;
}

export const settings = $state({
  theme: stored<Theme>("theme", ["system", "light", "dark"]),
  zone: stored<Zone>("zone", ["utc", "local"]),
});

/** Sets the theme of the page to the chosen one. */
export function applyTheme(): void {
  const scheme = settings.theme === "system" ? "light dark" : settings.theme;
  document.documentElement.style.colorScheme = scheme;
}

export function setTheme(theme: Theme): void {
  settings.theme = theme;
  localStorage.setItem("theme", theme);
  applyTheme();
}

export function setZone(zone: Zone): void {
  settings.zone = zone;
  localStorage.setItem("zone", zone);
}
