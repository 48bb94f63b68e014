// What the files of browser tests share: a world for all tests of a file, and the page of a test.

import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect } from "vitest";
import { Annotator, type Options, type Point } from "./annotator";
import { LABELS, World, whatIsMissing } from "./world";

export let world: World;
let annotator: Annotator;

/** The kinds that most tests click. */
export const [three, one, two] = LABELS;

/** Tests in the browser. The last page that a test opened is closed, and its console has to be empty. */
export function suite(name: string, tests: () => void): void {
  const missing = whatIsMissing();
  if (missing !== null) process.stderr.write(`The browser tests do not run: ${missing}\n`);
  describe.skipIf(missing !== null)(name, () => {
    beforeAll(async () => {
      world = await World.start();
    });

    afterEach(async () => {
      const lines = annotator.console;
      await annotator.close();
      expect(lines).toEqual([]);
    });

    afterAll(() => world?.stop());

    tests();
  });
}

export type PageOptions = Omit<Options, "pictures"> & {
  /** Numbers of the world's pictures. */
  readonly frames: readonly number[];
};

/** Open the page of a test, on a job. */
export async function openPage(
  url: string,
  { frames, ...options }: PageOptions,
): Promise<Annotator> {
  const pictures = frames.map((number) => join(world.pictures, `${number}.png`));
  annotator = await Annotator.open(world.browser, url, { ...options, pictures });
  return annotator;
}

/** The centre of an object of a label. */
export function centre(label: string, index = 0, frame = 0): Point {
  return world.centres(label, frame)[index] as Point;
}
