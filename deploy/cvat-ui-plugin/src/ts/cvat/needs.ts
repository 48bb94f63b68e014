// How the plugin looks whether CVAT has what it uses.

/** This CVAT lacks something; the message names it. */
export class Unsupported extends Error {}

/** Look whether CVAT has what is to be used. */
export function need(value: unknown, path: string, type = "function"): void {
  if (value === null || typeof value !== type) throw new Unsupported(path);
}
