// Forms: whether they are being sent, and their faults, at fields or in a message.

import { tick } from "svelte";
import { type ApiError, apiError } from "./api";

/** The name of the field of a fault. */
const nameOf = ({ pointer, parameter }: ApiError["faults"][number]) => pointer?.slice(1) ?? `?${parameter}`;
/** Whether a pointer leads to a field or into its value. */
const within = (pointer: string, field: string) => pointer === field || pointer.startsWith(`${field}/`);

export class Form {
  /** Whether the form is being sent. */
  sending = $state(false);
  /** Faults of the body by JSON pointer without its leading slash, such as `rules/0/key`; faults of parameters by `?` and the name. */
  faults = $state.raw<Record<string, string>>({});
  /** The error of the last attempt, unless all its faults are at fields. */
  message = $state<string | null>(null);
  /** Returns the faults that are found before the form is sent. */
  check: (() => Record<string, string | false>) | undefined;
  /** The names of the fields that are shown. */
  #fields = new Set<() => string>();

  constructor(check?: () => Record<string, string | false>) {
    this.check = check;
  }

  clear(): void {
    this.faults = {};
    this.message = null;
  }

  /** Registers a field until the returned function is called. */
  show(field: () => string): () => void {
    this.#fields.add(field);
    return () => this.#fields.delete(field);
  }

  /** The faults of a field; empty if it has none. */
  at(field: string): string {
    const found = Object.entries(this.faults).filter(([pointer]) => within(pointer, field));
    return found.map(([, fault]) => fault).join(" ");
  }

  /** Sends the form, unless it is being sent or has faults. Returns whether it was accepted. `explain` may replace the message of an error. */
  async send(action: () => Promise<unknown>, explain: (error: ApiError) => string | null = () => null): Promise<boolean> {
    if (this.sending) return false;
    this.clear();
    const found = Object.entries(this.check?.() ?? {}).filter(([, fault]) => fault);
    this.faults = Object.fromEntries(found) as Record<string, string>;
    if (found.length > 0) return false;
    this.sending = true;
    try {
      await action();
      return true;
    } catch (thrown) {
      const error = apiError(thrown);
      this.message = explain(error) ?? (await this.#place(error));
      return false;
    } finally {
      this.sending = false;
    }
  }

  /** Places the faults of an error at their fields. Returns the error with the faults that no field shows, or null if fields show all. */
  async #place({ message, faults }: ApiError): Promise<string | null> {
    this.faults = Object.fromEntries(faults.map((fault) => [nameOf(fault), fault.detail]));
    await tick(); // Fields may be shown because of their faults.
    const shown = [...this.#fields].map((field) => field());
    const rest = faults.filter((fault) => !shown.some((field) => within(nameOf(fault), field)));
    if (faults.length > 0 && rest.length === 0) return null;
    const lines = rest.filter(({ detail }) => !message.includes(detail)).map(({ pointer, detail }) => (pointer ? `${pointer}: ${detail}` : detail));
    return [message, ...lines].join("\n");
  }
}
