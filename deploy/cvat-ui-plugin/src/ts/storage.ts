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

  /** @returns Whether it is saved now: storage may be full or forbidden. */
  save(key: string, value: unknown): boolean {
    try {
      this.#storage().setItem(PREFIX + key, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  }

  /** Remove the values whose keys begin with something, but for one of them. */
  clear(beginning: string, kept?: string): void {
    try {
      const storage = this.#storage();
      const keys = Array.from({ length: storage.length }, (_, i) => storage.key(i) ?? "");
      for (const key of keys) {
        if (key.startsWith(PREFIX + beginning) && key !== PREFIX + kept) storage.removeItem(key);
      }
    } catch {
      // Forbidden.
    }
  }
}

export const settings = new Store(() => localStorage);
/** What was saved here is there when the page is loaded again in this tab. */
export const tab = new Store(() => sessionStorage);
