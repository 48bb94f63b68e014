// Values that outlive the page: the person's settings in the browser, the work in the tab. A browser
// that forbids storage is no error: then the values hold until the page is left.

const PREFIX = "c3det-plugin:";

class Store {
  readonly #storage: () => Storage;

  constructor(storage: () => Storage) {
    this.#storage = storage;
  }

  /** Read a value, or null. */
  load(key: string): unknown {
    try {
      return JSON.parse(this.#storage().getItem(PREFIX + key) ?? "null");
    } catch {
      return null;
    }
  }

  save(key: string, value: unknown): void {
    try {
      this.#storage().setItem(PREFIX + key, JSON.stringify(value));
    } catch {
      // Full or forbidden.
    }
  }
}

export const settings = new Store(() => localStorage);
/** What was saved here is there when the page is loaded again in this tab. */
export const tab = new Store(() => sessionStorage);
