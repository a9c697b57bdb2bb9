// Data of a page that is loaded from the API, with its states: first load, loaded, error.

import { type ApiError, apiError, call } from "./api";

/** Milliseconds between attempts while the server does not answer. */
const RETRY = 3000;

/** Runs requests one at a time: what resources and lists have in common. */
class Loader {
  error = $state.raw<ApiError | null>(null);
  loading = $state(true);
  /** While true, or while the page is hidden, nothing is loaded again by itself. */
  paused = $state(false);

  #running: AbortController | null = null;
  #timer = 0;

  /** Aborts the request that runs, and waits for none. */
  protected stop(): void {
    this.#running?.abort();
    clearTimeout(this.#timer);
  }

  /** Runs a request in place of the one that runs. Calls `again` after `every` milliseconds (0: never), and always if the server does not answer. */
  protected async run(request: (signal: AbortSignal) => Promise<void>, again: () => unknown, every: number): Promise<void> {
    this.stop();
    const { signal } = (this.#running = new AbortController());
    let wait = every;
    try {
      await request(signal);
      this.error = null;
    } catch (error) {
      if (signal.aborted) return;
      this.error = apiError(error);
      if (this.error.status === 0) wait ||= RETRY;
    }
    if (signal.aborted) return;
    this.loading = false;
    if (wait > 0) this.#later(again, wait);
  }

  #later(again: () => unknown, wait: number): void {
    this.#timer = window.setTimeout(() => (this.paused || document.hidden ? this.#later(again, wait) : again()), wait);
  }
}

export class Resource<T> extends Loader {
  /** The last data; stays while newer data is loaded, or after an error. */
  data = $state.raw<T | null>(null);
  reload: () => Promise<void>;

  /** Loads at once, again when a value changes that `load` reads, and with `every` again and again (milliseconds). Made while a component initializes; ends with it. */
  constructor(load: (signal: AbortSignal) => Promise<T>, { every = 0 } = {}) {
    super();
    const request = async (signal: AbortSignal) => {
      this.data = await load(signal);
    };
    this.reload = () => this.run(request, this.reload, every);
    $effect(() => {
      this.loading = true;
      void this.reload();
      return () => this.stop();
    });
  }
}

/** Most rows that the API returns at once. */
const MOST = 500;

/** A list that is loaded page by page. */
export class List<T> extends Loader {
  rows = $state.raw<T[]>([]);
  /** Whether the first page has arrived. */
  loaded = $state(false);
  /** Whether there are more rows after these. */
  more = $state(false);
  /** Loads the first page again, in place. */
  reload: () => Promise<void>;

  #every: number;
  #headers: Record<string, string> = {};
  #next: string | null = null;

  /** `first` returns the address of the first page; the list is loaded again when it changes, and with
   * `every` again and again (milliseconds) while it shows one page only. */
  constructor(first: () => string, { every = 0 } = {}) {
    super();
    this.#every = every;
    this.reload = () => this.#page(first(), true);
    $effect(() => {
      this.loaded = false;
      this.rows = [];
      void this.reload();
      return () => this.stop();
    });
  }

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

  #page(address: string, first: boolean): Promise<void> {
    const request = async (signal: AbortSignal) => {
      const answer = await call<{ items: T[] }>(address, { signal, headers: this.#headers });
      this.rows = first ? answer.body.items : [...this.rows, ...answer.body.items];
      this.#next = answer.next;
      this.more = answer.next !== null;
      this.loaded = true;
    };
    this.loading = true;
    return this.run(request, () => this.#page(address, first), first ? this.#every : 0);
  }
}
