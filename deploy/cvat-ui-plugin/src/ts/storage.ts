// What the plugin remembers in this browser. A browser that keeps nothing is no error.

const PREFIX = "c3det-plugin:";

/** Read a value that was kept under a key, or null. */
export function recall(key: string): unknown {
  return read(() => localStorage, key);
}

export function remember(key: string, value: unknown): void {
  write(() => localStorage, key, value);
}

/** Read what was kept in this tab, through reloads of the page, or null. */
export function recallHere(key: string): unknown {
  return read(() => sessionStorage, key);
}

export function rememberHere(key: string, value: unknown): void {
  write(() => sessionStorage, key, value);
}

function read(storage: () => Storage, key: string): unknown {
  try {
    return JSON.parse(storage().getItem(PREFIX + key) ?? "null");
  } catch {
    return null;
  }
}

function write(storage: () => Storage, key: string, value: unknown): void {
  try {
    storage().setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // Full or forbidden: the value holds until the page is left.
  }
}
