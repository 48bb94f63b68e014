// Values that outlive the page: the person's settings in the browser, the work in the tab. A browser
// that forbids storage is no error: then the values hold until the page is left.

const PREFIX = "c3det-plugin:";

/** Read a setting, or null. */
export function loadSetting(key: string): unknown {
  return read(() => localStorage, key);
}

export function saveSetting(key: string, value: unknown): void {
  write(() => localStorage, key, value);
}

/** Read what was saved in this tab, before the page was loaded anew, or null. */
export function loadFromTab(key: string): unknown {
  return read(() => sessionStorage, key);
}

export function saveInTab(key: string, value: unknown): void {
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
    // Full or forbidden.
  }
}
