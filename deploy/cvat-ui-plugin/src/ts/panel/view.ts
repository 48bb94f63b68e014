// What the panel shows, and what a person does in it.

import type { Intent } from "../acceptance";
import type { Model, OtherLabel, TaskLabel } from "../labels";

/**
 * How far the work on a frame is. done: it has rectangles, and nothing waits to be accepted;
 * waiting: clicks or proposals wait; removed: CVAT has it as removed, whatever was done on it.
 */
export type FrameStatus = "done" | "waiting" | "untouched" | "removed";

/** An exemplar of another frame. */
export interface ExemplarView {
  readonly id: string;
  readonly frame: number;
  readonly label: TaskLabel;
  /** false: it is no such object. */
  readonly positive: boolean;
  /** A PNG as base64; "": the function gave none. */
  readonly thumbnail: string;
  readonly used: boolean;
}

/** What the panel shows. */
export interface PanelView {
  readonly models: readonly Model[];
  readonly model: Model;
  /** The labels that can be clicked. */
  readonly labels: readonly TaskLabel[];
  /** All labels that a rectangle may have, each with the name of its class, or "". */
  readonly mapping: readonly { readonly label: TaskLabel; readonly className: string }[];
  /** The task's labels that no rectangle may have. */
  readonly otherLabels: readonly OtherLabel[];
  /** Proposals shown, by label. */
  readonly counts: ReadonlyMap<number, number>;
  readonly armed: number | null;
  /** Keys move a cursor on the picture. */
  readonly hasCursor: boolean;
  /** null: that of the weights, which the first answer gives. */
  readonly threshold: number | null;
  /** It is that of all labels, and not the weights'. */
  readonly moved: boolean;
  /** That of the weights, once an answer has given it. */
  readonly modelThreshold: number | null;
  /** Thresholds of single labels, by their ids. */
  readonly thresholds: ReadonlyMap<number, number>;
  /** The threshold is that of the armed label alone. */
  readonly own: boolean;
  /** Ids of the labels whose boxes are hidden. */
  readonly hiddenLabels: ReadonlySet<number>;
  /** Clicks since the last "Accept". */
  readonly clicks: number;
  /** Clicks of before the last "Accept", which still count. */
  readonly earlierClicks: number;
  /** The function can be asked without clicks, and has not answered that yet. */
  readonly canSearch: boolean;
  readonly frame: number;
  /** The job's frames, in their order. */
  readonly frames: readonly (readonly [number: number, status: FrameStatus])[];
  /** Frames whose work is an example for this one, and whether it is used. */
  readonly sources: readonly (readonly [number: number, used: boolean])[];
  /** Exemplars of those that are used, as far as the function has answered them. */
  readonly exemplars: readonly ExemplarView[];
  /** Frames that nobody has worked on are asked for by themselves. */
  readonly asksByItself: boolean;
  /** Some frame of the job was worked on; before, none is asked for. */
  readonly begun: boolean;
  readonly canUndo: boolean;
  readonly canRedo: boolean;
  /** There are clicks, edits or proposals to take away. */
  readonly canClear: boolean;
  /** Points of the annotation that could become clicks. */
  readonly takeable: number;
  /** A request is in flight since then, in milliseconds of performance.now(). */
  readonly askedAt: number | null;
  /** Share of the work on a large picture that is done, 0 to 1; null: none yet, or all. */
  readonly progress: number | null;
  readonly trouble: {
    readonly failed: boolean;
    readonly message: string;
    /** Asking again may help. */
    readonly again: boolean;
  } | null;
  /** What the function says of its answer. */
  readonly notes: readonly string[];
  /** Clicks have no answer yet, so "Accept" would wait for it. */
  readonly awaited: boolean;
  /** "Accept" was chosen, and waits. */
  readonly waiting: boolean;
  /** Rectangles of the frame that were saved elsewhere since the page was opened. */
  readonly elsewhere: number;
  /** Rectangles that "Accept" would make. */
  readonly acceptable: number;
  /** Those of the armed label. */
  readonly acceptableOfArmed: number;
  /** Proposals of hidden labels, which it would leave. */
  readonly acceptableHidden: number;
  /** Proposals that it would skip: a rectangle of their label is there. */
  readonly present: number;
  readonly accepting: boolean;
  readonly hidden: boolean;
}

/** What a person does in the panel. */
export interface PanelActions {
  chooseModel(id: string): void;
  arm(label: number): void;
  map(label: TaskLabel, className: string): void;
  /** The threshold of the armed label alone or of all; of all, the label has none of its own. */
  chooseScope(own: boolean): void;
  /** null: that of the weights. */
  setThreshold(threshold: number | null): void;
  /** Look again for a model. */
  look(): void;
  do(step: "undone" | "redone" | "cleared" | "asked" | "cancelled"): void;
  /** Take the points of the annotation as clicks. */
  take(): void;
  accept(intent: Intent): void;
  toggleHidden(): void;
  toggleLabel(label: number): void;
  toggleAsking(): void;
  /** The panel was unfolded. */
  unfolded(): void;
  /** Use the exemplars of a frame, given by its number, or one of them, by its id, or do not. */
  toggleExemplars(id: string): void;
  goTo(frame: number): void;
  /** Leave room for the panel beside the picture, in pixels; 0: the panel is over it. */
  makeRoom(pixels: number): void;
}

/** A number with its noun, in the plural where it has to be. */
export function count(number: number, noun: string): string {
  const plural = noun.endsWith("x") ? "es" : "s";
  return `${number} ${noun}${number === 1 ? "" : plural}`;
}
