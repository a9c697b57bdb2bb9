// Who is signed in. The access token is kept in memory only; the refresh token is in a cookie that
// scripts cannot read. All requests of a session carry a header that other sites cannot send.

import type { User } from "../api";

interface Tokens {
  access_token: string;
  expires_in: number;
}

/** `expired`: the page stays, with what was typed, and asks for the password over it. */
type Status = "starting" | "signed-out" | "signed-in" | "expired" | "unreachable";

export const session = $state<{ status: Status; user: User | null }>({ status: "starting", user: null });

let token = "";
let refreshing: Promise<boolean> | null = null;
let timer = 0;

/** The access token; empty while signed out. */
export const accessToken = () => token;

async function request(path: string, method: string, body?: unknown): Promise<Response> {
  return fetch(`/api/v1/auth/${path}`, {
    method,
    headers: { "Tributary-Console": "1", ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
    body: body === undefined ? null : JSON.stringify(body),
  });
}

async function accept(response: Response): Promise<void> {
  const tokens = (await response.json()) as Tokens;
  token = tokens.access_token;
  clearTimeout(timer);
  // Renewed before it ends, so that event streams go on.
  timer = window.setTimeout(() => void refresh(), Math.max(tokens.expires_in - 30, 5) * 1000);
  const me = await fetch("/api/v1/users/me", { headers: { Authorization: `Bearer ${token}` } });
  if (me.ok) session.user = (await me.json()) as User;
  session.status = "signed-in";
}

/** Signs in; returns why not, or null. */
async function attempt(path: string, body: unknown): Promise<string | null> {
  try {
    const response = await request(path, "POST", body);
    if (response.ok) {
      await accept(response);
      return null;
    }
    const problem = await response.json().catch(() => ({}));
    return problem.detail ?? problem.error_description ?? `The server answered ${response.status}.`;
  } catch {
    return "The server does not answer.";
  }
}

export const signIn = (username: string, password: string) => attempt("session", { username, password });

/** Begins: with the one-time code of the address, or with the cookie of an earlier visit. */
export async function begin(): Promise<string | null> {
  if (import.meta.env.DEV && import.meta.env.VITE_TOKEN) {
    token = import.meta.env.VITE_TOKEN;
    session.user = { role: "admin", email: "dev", full_name: "dev", id: "", created_at: "" };
    session.status = "signed-in";
    return null;
  }
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code !== null) {
    history.replaceState(null, "", location.pathname + location.search);
    const refused = await attempt("session/code", { code });
    if (refused === null) return null;
    if (!(await refresh())) return refused;
    return null;
  }
  await refresh();
  return null;
}

/** Gets the next access token. Returns whether there is one; requests at the same time share it. */
export function refresh(): Promise<boolean> {
  refreshing ??= renew().finally(() => (refreshing = null));
  return refreshing;
}

async function renew(): Promise<boolean> {
  try {
    const response = await request("session/refresh", "POST");
    if (response.ok) {
      await accept(response);
      return true;
    }
    if (response.status >= 500) throw new Error("unavailable");
    token = "";
    session.status = session.status === "starting" ? "signed-out" : "expired";
  } catch {
    if (session.status === "starting") session.status = "unreachable";
    clearTimeout(timer);
    timer = window.setTimeout(() => void refresh(), 3000);
  }
  return false;
}

export async function signOut(everywhere: boolean): Promise<void> {
  if (everywhere) {
    await fetch("/api/v1/auth/logout-everywhere", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  }
  await request("session", "DELETE");
  token = "";
  clearTimeout(timer);
  session.user = null;
  session.status = "signed-out";
}

const RANKS = { user: 0, operator: 1, admin: 2 };

/** Whether the signed-in person has at least this role. */
export function may(role: keyof typeof RANKS): boolean {
  return session.user !== null && RANKS[session.user.role] >= RANKS[role];
}
