// What the plugin remembers in this browser. A browser that keeps nothing is no error.

const PREFIX = "c3det-plugin:";

/** Read a value that was kept under a key, or null. */
export function recall(key: string): unknown {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key) ?? "null");
  } catch {
    return null;
  }
}

export function remember(key: string, value: unknown): void {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // Full or forbidden: the value holds until the page is left.
  }
}
