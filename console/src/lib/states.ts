// States as a level, which is drawn as a shape, and as words.

export type Level = "ok" | "warn" | "bad" | "idle";

const LEVELS: Record<string, Level> = {
  live: "ok", catching_up: "warn", rebuilding: "warn", stalled: "bad", never_run: "idle", waiting: "warn",
  open: "bad", active: "bad", raised: "bad", cleared: "idle", acknowledged: "warn",
  pending: "warn", confirmed: "ok", shipped: "ok", cancelled: "bad",
  demanded: "idle", claimed: "warn", running: "warn", completed: "ok", passed: "ok", failed: "bad", given_up: "bad",
  online: "ok", offline: "idle", unknown: "idle",
  todo: "idle", in_progress: "warn", done: "ok",
  info: "idle", warning: "warn", critical: "bad",
};

export const level = (state: string): Level => LEVELS[state] ?? "idle";

/** `catching_up` as `catching up`. */
export const words = (state: string) => state.replaceAll("_", " ");
