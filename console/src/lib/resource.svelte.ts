// Data of a page that is loaded from the API, with its states: first load, loaded, error.

import { ApiError, call } from "./api";

/** Milliseconds between attempts while the server does not answer. */
const RETRY = 3000;

export class Resource<T> {
  /** The last data; stays while newer data is loaded, or after an error. */
  data = $state.raw<T | null>(null);
  error = $state.raw<ApiError | null>(null);
  loading = $state(true);
  /** While true, nothing is loaded again by itself. */
  paused = $state(false);

  #load: (signal: AbortSignal) => Promise<T>;
  #every: number;
  #running: AbortController | null = null;
  #timer = 0;

  /** Loads at once, again when a value changes that `load` reads, and with `every` again and again (milliseconds). Made while a component initializes; ends with it. */
  constructor(load: (signal: AbortSignal) => Promise<T>, { every = 0 } = {}) {
    this.#load = load;
    this.#every = every;
    $effect(() => {
      this.loading = true;
      void this.reload();
      return () => {
        this.#running?.abort();
        clearTimeout(this.#timer);
      };
    });
  }

  async reload(): Promise<void> {
    this.#running?.abort();
    clearTimeout(this.#timer);
    const running = (this.#running = new AbortController());
    let wait = this.#every;
    try {
      this.data = await this.#load(running.signal);
      this.error = null;
    } catch (error) {
      if (running.signal.aborted) return;
      this.error = error instanceof ApiError ? error : new ApiError(0, "", String(error));
      if (this.error.status === 0) wait ||= RETRY;
    }
    if (running.signal.aborted) return;
    this.loading = false;
    if (wait > 0) this.#again(wait);
  }

  #again(wait: number): void {
    this.#timer = window.setTimeout(() => (this.paused ? this.#again(wait) : void this.reload()), wait);
  }
}

/** Most rows that the API returns at once. */
const MOST = 500;

/** A list that is loaded page by page. */
export class List<T> {
  rows = $state.raw<T[]>([]);
  error = $state.raw<ApiError | null>(null);
  loading = $state(true);
  /** Whether the first page has arrived. */
  loaded = $state(false);
  /** Whether there are more rows after these. */
  more = $state(false);
  /** While true, nothing is loaded again by itself. */
  paused = $state(false);

  #first: () => string;
  #every: number;
  #onePage = true;
  #headers: Record<string, string> = {};
  #next: string | null = null;
  #running: AbortController | null = null;
  #timer = 0;

  /** `first` returns the address of the first page; the list is loaded again when it changes, and with
   * `every` again and again (milliseconds) while it shows one page only. */
  constructor(first: () => string, { every = 0 } = {}) {
    this.#first = first;
    this.#every = every;
    $effect(() => {
      const address = first();
      this.loading = true;
      this.loaded = false;
      this.rows = [];
      void this.#page(address, true);
      return () => {
        this.#running?.abort();
        clearTimeout(this.#timer);
      };
    });
  }

  /** Loads the first page again, in place. */
  reload = (): Promise<void> => this.#page(this.#first(), true);

  /** Loads the first page again, as it is at `position` of the log or later. */
  reloadAt = (position: string | null): Promise<void> => {
    if (position !== null) this.#headers = { "Tributary-Min-Position": position, Prefer: "wait=5" };
    return this.reload();
  };

  /** Loads the next page, if there is one. It is the larger, the more rows there are: a long list needs few requests. */
  loadMore = async (): Promise<void> => {
    if (this.#next === null || this.loading) return;
    const larger = (_: string, limit: string) => `limit=${Math.max(Number(limit), Math.min(this.rows.length, MOST))}`;
    await this.#page(this.#next.replace(/\blimit=(\d+)/, larger), false);
  };

  async #page(address: string, first: boolean): Promise<void> {
    this.#running?.abort();
    clearTimeout(this.#timer);
    const running = (this.#running = new AbortController());
    this.loading = true;
    try {
      const answer = await call<{ items: T[] }>(address, { signal: running.signal, headers: this.#headers });
      this.rows = first ? answer.body.items : [...this.rows, ...answer.body.items];
      this.#next = answer.next;
      this.more = answer.next !== null;
      this.#onePage = first;
      this.error = null;
      this.loaded = true;
    } catch (error) {
      if (running.signal.aborted) return;
      this.error = error instanceof ApiError ? error : new ApiError(0, "", String(error));
      if (this.error.status === 0) this.#timer = window.setTimeout(() => void this.#page(address, first), RETRY);
    }
    if (running.signal.aborted) return;
    this.loading = false;
    if (this.#every > 0 && this.error?.status !== 0) this.#again();
  }

  #again(): void {
    this.#timer = window.setTimeout(() => (this.paused || !this.#onePage ? this.#again() : void this.reload()), this.#every);
  }
}
