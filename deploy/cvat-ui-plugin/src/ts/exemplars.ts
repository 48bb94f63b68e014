// Exemplars: what was clicked and accepted in the job, for the frame on the screen.
//
// The function is stateless. The plugin asks once for the exemplars of a frame's clicks and boxes, keeps
// them, and sends a choice of them along with later requests.

import type { KnownRectangle } from "./cvat/host";
import { type Box, type Corners, contains, polygonOf } from "./geometry";
import {
  type AnsweredExemplar,
  type Carried,
  type Exemplar,
  MOST_EXEMPLARS,
  MOST_LABELS,
} from "./protocol";
import { placesOf } from "./repeats";
import type { Click, Clicks } from "./state";
import { groupsOf, isRecord } from "./values";

/** A click or a box of a frame to ask an exemplar for. */
export type Candidate = {
  /** Equal for the same click or box, whenever it is chosen. */
  readonly id: string;
  readonly label: number;
  /** How often it goes into a request: as often as the click was made. */
  readonly times: number;
} & (
  | { readonly click: Click }
  /** Upright corners, and whether a click on the frame says the same already. */
  | { readonly corners: Corners; readonly clicked: boolean }
);

/** An exemplar of the function, with the id of the task's label in place of a class. */
export interface StoredExemplar extends Omit<AnsweredExemplar, "classIndex"> {
  /** That of its candidate. */
  readonly id: string;
  readonly label: number;
}

/** The exemplars of a job's frames, all of one function with the same weights. */
export interface Stored {
  readonly model: string;
  /** SHA-256 of the weights. */
  readonly weights: string;
  /** By frame and id; the frames that were used last at the end. */
  readonly frames: Map<number, ReadonlyMap<string, StoredExemplar>>;
}

/** Of a frame, for each label and sign. */
const MOST_OF_FRAME = 8;
/** Of these, boxes of a model that were accepted with the others: some may be wrong. */
const MOST_UNCLICKED = 3;
/** In a request, for each label and sign. */
const MOST_OF_LABEL = 24;

/**
 * Choose the clicks and boxes of a frame to ask for. A box stands for the clicks in it, as it has a size;
 * the other clicks come first in the request. Of the boxes those with a click come first, then those
 * that a person drew, then a few that nobody clicked, each spread over the frame's.
 */
export function chosenOf(
  frame: number,
  clicks: Clicks,
  rectangles: readonly KnownRectangle[],
): readonly Candidate[] {
  const idOf = (label: number, ...what: unknown[]) => [frame, label, ...what].join(" ");
  const alone = placesOf(clicks).filter(
    ({ click }) => !click.positive || !rectangles.some((box) => isOf(box, click)),
  );
  const isClicked = (box: KnownRectangle) =>
    clicks.some((click) => click.positive && isOf(box, click));
  return [
    ...[...groupsOf(alone, ({ click }) => `${click.label} ${click.positive}`).values()].flatMap(
      (group) =>
        group.slice(-MOST_OF_FRAME).map(({ click, times }) => {
          const { label, x, y, positive } = click;
          // Each repeat means another box.
          return { id: idOf(label, x, y, positive, times), label, times, click };
        }),
    ),
    ...[...groupsOf(rectangles, ({ label }) => label).values()].flatMap((group) => {
      const clicked = group.filter(isClicked).slice(0, MOST_OF_FRAME);
      const others = group.filter((box) => !isClicked(box));
      const isDrawn = ({ source }: KnownRectangle) => source !== "semi-auto";
      const drawn = spread(others.filter(isDrawn), MOST_OF_FRAME - clicked.length);
      const left = Math.min(MOST_OF_FRAME - clicked.length - drawn.length, MOST_UNCLICKED);
      const accepted = spread(
        others.filter((box) => !isDrawn(box)),
        left,
      );
      return [...clicked, ...drawn, ...accepted].map((box, i) => {
        const corners = boundsOf(box);
        const { label } = box;
        const isOfClick = i < clicked.length;
        return { id: idOf(label, ...corners), label, times: 1, corners, clicked: isOfClick };
      });
    }),
  ];
}

/** The candidates in parts, of which each fits in one request. */
export function partsOf(candidates: readonly Candidate[]): readonly (readonly Candidate[])[] {
  const parts: Candidate[][] = [];
  let labels = new Set<number>();
  let size = 0;
  for (const one of candidates) {
    const isFull = size + one.times > MOST_EXEMPLARS;
    const isOneTooMany = labels.size === MOST_LABELS && !labels.has(one.label);
    if (parts.length === 0 || isFull || isOneTooMany) {
      parts.push([]);
      labels = new Set();
      size = 0;
    }
    parts.at(-1)?.push(one);
    labels.add(one.label);
    size += one.times;
  }
  return parts;
}

/**
 * What goes with a request: of each label and sign at most so many, the first ones, and of so many
 * labels as a request may have.
 *
 * @param clicked Classes of the request's clicks.
 */
export function carriedOf(
  weights: string,
  kept: readonly StoredExemplar[],
  classOf: (label: number) => number | undefined,
  clicked: Iterable<number>,
): Carried | null {
  const counts = new Map<string, number>();
  const classes = new Set(clicked);
  const exemplars = kept.flatMap(({ label, positive, width, height, vector }): Exemplar[] => {
    const classIndex = classOf(label);
    const key = `${label} ${positive}`;
    const count = counts.get(key) ?? 0;
    if (classIndex === undefined || count >= MOST_OF_LABEL) return [];
    if (classes.size >= MOST_LABELS && !classes.has(classIndex)) return [];
    classes.add(classIndex);
    counts.set(key, count + 1);
    return [{ classIndex, positive, width, height, vector }];
  });
  return exemplars.some(({ positive }) => positive)
    ? { weights, exemplars: exemplars.slice(0, MOST_EXEMPLARS) }
    : null;
}

/** What `readStored` reads, as JSON. */
export function writeStored({ frames, ...rest }: Stored): unknown {
  return { ...rest, frames: [...frames].map(([frame, kept]) => [frame, [...kept.values()]]) };
}

/** Read what was kept in the tab; nothing, if it is none of this. */
export function readStored(value: unknown): Stored {
  const { model, weights, frames } = isRecord(value) ? value : {};
  const isKept = (one: unknown) => isRecord(one) && typeof one.id === "string";
  const areKept = (each: unknown) => Array.isArray(each) && each.every(isKept);
  if (
    typeof model !== "string" ||
    typeof weights !== "string" ||
    !Array.isArray(frames) ||
    !frames.every((pair) => Array.isArray(pair) && areKept(pair[1]))
  )
    return { model: "", weights: "", frames: new Map() };
  const byId = (kept: readonly StoredExemplar[]) => new Map(kept.map((one) => [one.id, one]));
  return { model, weights, frames: new Map(frames.map(([frame, kept]) => [frame, byId(kept)])) };
}

function isOf(box: KnownRectangle, { x, y, label }: Click): boolean {
  return box.label === label && contains(box, [x, y]);
}

/** So many of the items at most, at equal distances. */
function spread<T>(items: readonly T[], most: number): readonly T[] {
  if (items.length <= most) return items;
  return Array.from({ length: most }, (_, i) => items[Math.floor((i * items.length) / most)] as T);
}

/** The upright box around a box. */
function boundsOf(box: Box): Corners {
  const corners = polygonOf(box);
  const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}
