// A request of the console as a command for a shell.

import { url } from "./api";

/** A `curl` command; the token is a variable of the shell. `path` and values are encoded, so that no quote ends the argument. */
export function curl(path: string, query: Record<string, string | number | null | undefined> = {}): string {
  const address = new URL(url(path, query), location.origin).href.replaceAll("'", "%27");
  return `curl -H "Authorization: Bearer $TRIBUTARY_TOKEN" '${address}'`;
}
