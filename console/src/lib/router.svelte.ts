// The address of the page: a path below /console and a query. Every view is a link.

const BASE = "/console";

function current() {
  return {
    path: location.pathname.slice(BASE.length).replace(/\/+$/, "") || "/",
    query: new URLSearchParams(location.search),
  };
}

/** The path below /console, such as `/streams/order-1`, and the query. */
export const route = $state(current());

function update(): void {
  Object.assign(route, current());
}

addEventListener("popstate", update);

/** The `href` of a path below /console. Values that are absent or empty are left out of the query. */
export function href(path: string, query: Record<string, string | number | null | undefined> = {}): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const search = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return BASE + path + (search === "" ? "" : `?${search}`);
}

/** The `href` of a device. */
export const deviceHref = (user: string, device: string) => href(`/devices/${encodeURIComponent(user)}/${encodeURIComponent(device)}`);
/** The `href` of a stream, or of one of its versions. */
export const streamHref = (id: string, at?: number) => href(`/streams/${encodeURIComponent(id)}`, { at });
/** The `href` of a consumer. */
export const consumerHref = (name: string) => href(`/projections/${encodeURIComponent(name)}`);

/** Goes to an `href`. With `replace`, the page that was left is not in the history. */
export function navigate(to: string, { replace = false } = {}): void {
  const moved = to.split("?")[0] !== location.pathname;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  update();
  if (moved && !replace) scrollTo(0, 0);
}

/** Changes parameters of the query; `null` and `""` remove one. The history gets no entry. */
export function setQuery(changes: Record<string, string | number | null>): void {
  const query = { ...Object.fromEntries(route.query), ...changes };
  navigate(href(route.path, query), { replace: true });
}

/** Follows links of the console without loading the page again. */
export function followLink(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element).closest("a");
  if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
  if (link.pathname !== BASE && !link.pathname.startsWith(`${BASE}/`)) return;
  event.preventDefault();
  navigate(link.pathname + link.search + link.hash);
}

/** Returns the parameters if `path` has the form of `pattern`, such as `/orders/:id`. */
export function match(pattern: string, path: string): Record<string, string> | null {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return null;
  const parameters: Record<string, string> = {};
  for (const [index, part] of wanted.entries()) {
    const value = given[index]!;
    if (part.startsWith(":")) {
      try {
        parameters[part.slice(1)] = decodeURIComponent(value);
      } catch {
        return null;
      }
    } else if (part !== value) return null;
  }
  return parameters;
}
