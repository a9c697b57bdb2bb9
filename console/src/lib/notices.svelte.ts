// Short notices about what the visitor just did.

interface Notice {
  id: number;
  text: string;
  bad: boolean;
}

let last = 0;
export const notices = $state<{ items: Notice[] }>({ items: [] });

/** Shows a notice for six seconds; one about a failure until it is dismissed. */
export function notify(text: string, { bad = false } = {}): void {
  const id = ++last;
  notices.items = [...notices.items, { id, text, bad }].slice(-4);
  if (!bad) setTimeout(() => dismiss(id), 6000);
}

export function dismiss(id: number): void {
  notices.items = notices.items.filter((notice) => notice.id !== id);
}

/** Runs an action and says whether it worked. */
export async function act(done: string, action: () => Promise<unknown>): Promise<boolean> {
  try {
    await action();
    notify(done);
    return true;
  } catch (error) {
    notify(error instanceof Error ? error.message : String(error), { bad: true });
    return false;
  }
}
