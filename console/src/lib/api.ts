// Requests to the API. Every failure is an `ApiError`, whose message is for people.

import type { Problem } from "../api";
import { accessToken, refresh } from "./session.svelte";

export class ApiError extends Error {
  constructor(
    /** HTTP status; 0 if the server did not answer. */
    readonly status: number,
    readonly code: string,
    message: string,
    /** The faults in the request, by JSON pointer. */
    readonly faults: Problem["errors"] = [],
  ) {
    super(message);
  }
}

/** Whatever was thrown, as an `ApiError`. */
export const apiError = (thrown: unknown): ApiError => (thrown instanceof ApiError ? thrown : new ApiError(0, "", String(thrown)));

interface Options {
  method?: string;
  /** Sent as JSON. */
  body?: unknown;
  /** Sent as it is, in place of `body`. */
  text?: string;
  headers?: Record<string, string>;
  query?: Record<string, string | number | boolean | null | undefined>;
  signal?: AbortSignal;
}

/** A body, the address of the next page, and headers. */
export interface Answer<T> {
  body: T;
  next: string | null;
  headers: Headers;
}

export function url(path: string, query: Options["query"] = {}): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const search = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return search === "" ? path : `${path}${path.includes("?") ? "&" : "?"}${search}`;
}

/** Sends a request with the token of the session. The response may have any status. */
export async function send(path: string, options: Options = {}): Promise<Response> {
  const request = () => {
    const headers = new Headers(options.headers);
    if (accessToken() !== "") headers.set("Authorization", `Bearer ${accessToken()}`);
    if (options.body !== undefined && !headers.has("Content-Type")) headers.set("Content-Type", "application/json");
    return fetch(url(path, options.query), {
      method: options.method ?? "GET",
      headers,
      body: options.text ?? (options.body === undefined ? null : JSON.stringify(options.body)),
      signal: options.signal ?? null,
    });
  };
  try {
    const response = await request();
    return response.status === 401 && (await refresh()) ? await request() : response;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The server does not answer. The page tries again when it is back.");
  }
}

/** Sends a request that must succeed. */
export async function call<T>(path: string, options: Options = {}): Promise<Answer<T>> {
  const response = await send(path, options);
  if (!response.ok) throw await problem(response);
  const text = await response.text();
  return {
    body: (text === "" ? undefined : JSON.parse(text)) as T,
    next: nextOf(response.headers.get("Link")),
    headers: response.headers,
  };
}

async function problem(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => null)) as Problem | null;
  const detail = body?.detail ?? `The server answered ${response.status} ${response.statusText}.`;
  return new ApiError(response.status, body?.code ?? "", detail, body?.errors ?? []);
}

function nextOf(link: string | null): string | null {
  return link?.match(/<([^>]*)>;\s*rel="?next"?/)?.[1] ?? null;
}

export const get = async <T>(path: string, query?: Options["query"], signal?: AbortSignal): Promise<T> =>
  (await call<T>(path, { query, signal } as Options)).body;
export const post = async <T>(path: string, body?: unknown, headers?: Record<string, string>): Promise<T> =>
  (await call<T>(path, { method: "POST", body, headers } as Options)).body;
export const put = async <T>(path: string, body: unknown, headers?: Record<string, string>): Promise<T> =>
  (await call<T>(path, { method: "PUT", body, headers } as Options)).body;
export const patch = async <T>(path: string, body: unknown, headers?: Record<string, string>): Promise<T> =>
  (await call<T>(path, { method: "PATCH", body, headers } as Options)).body;
