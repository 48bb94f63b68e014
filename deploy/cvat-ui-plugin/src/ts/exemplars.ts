// Exemplars: what was clicked and accepted on other frames of the job, for the frame on the screen.
//
// The function is stateless. The plugin asks once for the exemplars of a frame's clicks and boxes, keeps
// the answer, and sends a choice of them along with later requests.

import { type Box, type Corners, contains, polygonOf } from "./geometry";
import type { AnsweredExemplar, Carried, Exemplar } from "./protocol";
import type { Click, Clicks } from "./state";

/** The work on a frame. */
export interface Source {
  readonly clicks: Clicks;
  readonly rectangles: readonly LabelledBox[];
}

export interface LabelledBox extends Box {
  /** Id of the label. */
  readonly label: number;
}

/** What the function is asked for of a frame. */
export interface Chosen {
  readonly clicks: Clicks;
  readonly boxes: readonly { readonly points: Corners; readonly label: number }[];
}

/** An exemplar of the function, with the id of the task's label in place of a class. */
export interface Kept extends Omit<AnsweredExemplar, "classIndex"> {
  /** Equal for exemplars of the same click or box, whenever they were taken. */
  readonly id: string;
  readonly label: number;
}

/** The exemplars of a frame. */
export interface Taken {
  /** What they were taken of, see `keyOf`. */
  readonly key: string;
  /** SHA-256 of the weights. */
  readonly weights: string;
  readonly exemplars: readonly Kept[];
}

/** Of a frame, for each label and sign. */
const MOST_OF_FRAME = 8;
/** In a request, for each label and sign. */
const MOST_OF_LABEL = 24;
/** In a request, as the protocol says. */
const MOST = 256;

/**
 * Choose the clicks and boxes of a frame to ask for: boxes are what a person saw and took, and have a
 * size, so a click goes only where it has no box. Boxes with a click come first, the others are
 * spread over the frame's.
 */
export function chosenOf({ clicks, rectangles }: Source): Chosen {
  const clicked = (box: LabelledBox) =>
    clicks.some(
      ({ x, y, label, positive }) => positive && label === box.label && contains(box, [x, y]),
    );
  const boxes = groupsOf(rectangles, ({ label }) => String(label)).flatMap((group) => {
    const [first, rest] = [group.filter(clicked), group.filter((box) => !clicked(box))];
    return [...first.slice(0, MOST_OF_FRAME), ...spread(rest, MOST_OF_FRAME - first.length)];
  });
  const alone = clicks.filter(
    (click) => !click.positive || !rectangles.some((box) => isOf(box, click)),
  );
  return {
    clicks: groupsOf(alone, ({ label, positive }) => `${label} ${positive}`).flatMap((group) =>
      group.slice(-MOST_OF_FRAME),
    ),
    boxes: boxes.map((box) => ({ points: boundsOf(box), label: box.label })),
  };
}

/** The ids and labels of the exemplars that the function answers, in its order: clicks, then boxes. */
export function keptOf(
  frame: number,
  { clicks, boxes }: Chosen,
): readonly Pick<Kept, "id" | "label">[] {
  return [
    ...clicks.map(({ label, x, y, positive }) => ({ label, what: [x, y, positive] })),
    ...boxes.map(({ label, points }) => ({ label, what: points })),
  ].map(({ label, what }) => ({ label, id: [frame, label, ...what].join(" ") }));
}

/** Equal as long as the exemplars of a frame are still those of the work on it. */
export function keyOf(model: string, { clicks, boxes }: Chosen): string {
  return JSON.stringify([model, clicks, boxes]);
}

/** What goes with a request: of each label and sign at most so many, those of the first frames first. */
export function carriedOf(
  taken: readonly Taken[],
  classOf: (label: number) => number | undefined,
): Carried | null {
  const weights = taken.find(({ exemplars }) => exemplars.length > 0)?.weights;
  if (weights === undefined) return null;
  const counts = new Map<string, number>();
  const exemplars = taken
    .filter((other) => other.weights === weights)
    .flatMap((each) => each.exemplars)
    .flatMap(({ label, positive, width, height, vector }): Exemplar[] => {
      const classIndex = classOf(label);
      const key = `${label} ${positive}`;
      const count = counts.get(key) ?? 0;
      if (classIndex === undefined || count >= MOST_OF_LABEL) return [];
      counts.set(key, count + 1);
      return [{ classIndex, positive, width, height, vector }];
    })
    .slice(0, MOST);
  return exemplars.some(({ positive }) => positive) ? { weights, exemplars } : null;
}

/** Read what was kept in the tab, of frames by their numbers. */
export function takenOf(value: unknown): Map<number, Taken> {
  const taken = new Map<number, Taken>();
  if (typeof value !== "object" || value === null) return taken;
  for (const [number, one] of Object.entries(value)) {
    if (isTaken(one)) taken.set(Number(number), one);
  }
  return taken;
}

function isTaken(value: unknown): value is Taken {
  if (typeof value !== "object" || value === null) return false;
  const { key, weights, exemplars } = value as Record<string, unknown>;
  const isKept = (one: unknown) =>
    typeof one === "object" && typeof (one as Kept | null)?.id === "string";
  return (
    typeof key === "string" &&
    typeof weights === "string" &&
    Array.isArray(exemplars) &&
    exemplars.every(isKept)
  );
}

function isOf(box: LabelledBox, { x, y, label }: Click): boolean {
  return box.label === label && contains(box, [x, y]);
}

function groupsOf<T>(items: readonly T[], keyOfItem: (item: T) => string): readonly T[][] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOfItem(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return [...groups.values()];
}

/** So many of the items at most, at equal distances. */
function spread<T>(items: readonly T[], most: number): readonly T[] {
  if (items.length <= most) return items;
  return Array.from({ length: Math.max(most, 0) }, (_, i) => {
    return items[Math.floor((i * items.length) / most)] as T;
  });
}

/** The upright box around a box. */
function boundsOf(box: Box): Corners {
  const corners = polygonOf(box);
  const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}
