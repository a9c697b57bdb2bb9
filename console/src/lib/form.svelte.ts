// A form whose faults stand at their fields: those that the page finds, and those of the server's answer.

import { ApiError } from "./api";

export class Form<Field extends string> {
  /** Whether the form is being sent. */
  sending = $state(false);
  /** What is wrong with a field. */
  faults = $state<Partial<Record<Field, string>>>({});
  /** What is wrong with the request as a whole. */
  refused = $state<string | null>(null);

  #check: () => Partial<Record<Field, string>>;

  /** `check` returns the faults that can be seen before the form is sent. */
  constructor(check: () => Partial<Record<Field, string>> = () => ({})) {
    this.#check = check;
  }

  /** Sends the form if it has no faults. Returns whether it was accepted. */
  async send(action: () => Promise<unknown>): Promise<boolean> {
    this.faults = this.#check();
    this.refused = null;
    if (Object.keys(this.faults).length > 0) return false;
    this.sending = true;
    try {
      await action();
      return true;
    } catch (error) {
      this.#refuse(error);
      return false;
    } finally {
      this.sending = false;
    }
  }

  #refuse(error: unknown): void {
    const faults = error instanceof ApiError ? error.faults : [];
    const placed: Record<string, string> = {};
    for (const fault of faults) if (fault.pointer) placed[fault.pointer.slice(1)] ??= fault.detail;
    this.faults = placed as Partial<Record<Field, string>>;
    if (Object.keys(placed).length === 0) this.refused = error instanceof Error ? error.message : String(error);
  }
}
