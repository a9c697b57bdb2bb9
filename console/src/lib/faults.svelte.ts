// The faults of a request at the inputs they belong to.

import { ApiError } from "./api";

export class Faults {
  /** Faults by JSON pointer. */
  at = $state<Record<string, string>>({});
  /** What went wrong besides; null if nothing did. */
  message = $state<string | null>(null);

  clear(): void {
    this.at = {};
    this.message = null;
  }

  /** Runs an action and returns whether it worked; `explain` may say more about an error. */
  async run(action: () => Promise<unknown>, explain: (error: ApiError) => string | null = () => null): Promise<boolean> {
    this.clear();
    try {
      await action();
      return true;
    } catch (error) {
      const failure = error instanceof ApiError ? error : new ApiError(0, "", String(error));
      for (const fault of failure.faults) {
        if (fault.pointer != null) this.at[fault.pointer] = fault.detail;
      }
      const elsewhere = failure.faults.filter((fault) => fault.pointer == null).map((fault) => fault.detail);
      this.message = explain(failure) ?? [failure.message, ...elsewhere].join(" ");
      return false;
    }
  }
}
