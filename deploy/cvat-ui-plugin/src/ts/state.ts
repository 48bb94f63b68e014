// What the person did and what the function answered, as values; see `reducer.ts` for what changes them.
//
// Clicks and edits are kept for each frame, as a history of entries that are never changed. Answers
// are kept with the very list of clicks that they answer, so undo and redo need no request.

import { type Box, type Corners, contains, overlap, surrounds } from "./geometry";

export interface Click {
  readonly x: number;
  readonly y: number;
  /** Id of the task's label. */
  readonly label: number;
  /** false: there is no object of the label at this point. */
  readonly positive: boolean;
}

export type Clicks = readonly Click[];

/** A box that the function proposes. */
export interface Proposal extends Box {
  /** Id of the task's label. */
  readonly label: number;
  /** 0 to 1. */
  readonly score: number;
  /** A click or an edit stands behind it, so it is shown whatever its score. */
  readonly sure: boolean;
  /** Another label that it is nearly as likely of. */
  readonly rival: { readonly label: number; readonly score: number } | null;
}

/** What a person said of one proposal: its label, or null for "drop it", and its corners. */
export interface Edit {
  readonly proposal: Proposal;
  readonly label: number | null;
  /** Where its edges were moved to; without them it stays where it is. */
  readonly points?: Corners;
}

/** One step of the history. */
export interface Entry {
  readonly clicks: Clicks;
  readonly edits: readonly Edit[];
  /** Length of CVAT's own undo history when the step was made: which of the two came later. */
  readonly depth: number;
}

/** What the function found for some clicks. */
export interface Answer {
  readonly proposals: readonly Proposal[];
  /** Short sentences for people. */
  readonly notes: readonly string[];
}

/** Why the latest clicks have no answer, or not all of it. */
export interface Trouble {
  readonly clicks: Clicks;
  readonly kind: "failed" | "cancelled" | "stalled";
  /** Sentences. */
  readonly message: string;
}

export interface Frame {
  readonly history: readonly Entry[];
  readonly index: number;
  readonly answers: ReadonlyMap<Clicks, Answer>;
  /** The latest answer, which may be one to earlier clicks. */
  readonly shown: Answer;
  /** How much of the work on a large picture is done for some clicks so far; it is asked on. */
  readonly partial: { readonly clicks: Clicks; readonly progress: number } | null;
  readonly trouble: Trouble | null;
  /** The function is asked without clicks too. */
  readonly open: boolean;
  /** Proposals that have become rectangles, so that they are not offered again. */
  readonly taken: readonly Proposal[];
  /** What was here before the last "Accept", and the objects that it made. */
  readonly accepted: {
    readonly before: Frame;
    readonly ids: readonly number[];
    /** The history that it left. */
    readonly left: readonly Entry[];
  } | null;
  /** What comes back if CVAT makes the objects again of an "Accept" that it undid. */
  readonly undone: { readonly after: Frame; readonly ids: readonly number[] } | null;
}

interface Request {
  readonly id: number;
  readonly frame: number;
  readonly clicks: Clicks;
}

export interface State {
  /** The frame on the screen; null while none is. */
  readonly frame: number | null;
  readonly frames: ReadonlyMap<number, Frame>;
  /** Id of the label of the next click; null: clicks are not taken. */
  readonly armed: number | null;
  /** The threshold that the person chose; null: that of the weights. */
  readonly threshold: number | null;
  /** Thresholds that the person chose for single labels, by their ids. */
  readonly thresholds: ReadonlyMap<number, number>;
  /** The threshold of the weights, as the last answer gave it; null before the first one. */
  readonly modelThreshold: number | null;
  /** The one request in flight. */
  readonly request: Request | null;
  readonly requests: number;
  /** "Accept" was chosen, and waits until all clicks of the frame are answered. */
  readonly waiting: boolean;
  /** Length of CVAT's own undo history. */
  readonly depth: number;
}

export type Action =
  | {
      readonly type: "job opened";
      /** Clicks that were kept of frames. */
      readonly clicks?: ReadonlyMap<number, Clicks>;
    }
  | { readonly type: "frame shown"; readonly frame: number | null }
  | { readonly type: "classes changed" }
  | { readonly type: "armed"; readonly label: number | null }
  | { readonly type: "clicked"; readonly clicks: Clicks }
  | { readonly type: "edited"; readonly edit: Edit }
  | { readonly type: "cleared" }
  | { readonly type: "undone" }
  | { readonly type: "redone" }
  | {
      readonly type: "threshold set";
      readonly threshold: number | null;
      /** The one that it is for; without it, all that have none of their own. */
      readonly label?: number;
    }
  | { readonly type: "thresholds set"; readonly thresholds: ReadonlyMap<number, number> }
  | { readonly type: "asked" }
  | { readonly type: "exemplars changed" }
  | { readonly type: "sent" }
  | {
      readonly type: "answered";
      readonly id: number;
      readonly proposals: readonly Proposal[];
      readonly notes: readonly string[];
      /** Share of the work for the request's clicks that is done, 0 to 1. */
      readonly progress: number;
      /** That of the weights. */
      readonly threshold: number;
    }
  /** Proposals of a frame that was asked for before it was shown; it is asked for again. */
  | ({ readonly type: "prefetched"; readonly frame: number } & Answer)
  | { readonly type: "failed"; readonly id: number; readonly message: string }
  | { readonly type: "cancelled" }
  | { readonly type: "waits to accept" }
  | { readonly type: "waits no more" }
  | {
      readonly type: "accepted";
      readonly frame: number;
      /** Clicks whose answer was accepted. */
      readonly clicks: Clicks;
      /** Clicks and edits of boxes that were left: they can still be taken back. */
      readonly unsettled: readonly (Click | Edit)[];
      readonly ids: readonly number[];
      /** Those that are rectangles now. */
      readonly taken: readonly Proposal[];
    }
  | { readonly type: "acceptance undone" }
  | { readonly type: "acceptance redone" }
  | { readonly type: "CVAT stepped"; readonly depth: number };

/** Overlap from which a box of a later answer is the one that an edit speaks of. */
const SAME_BOX = 0.5;

export const NOTHING: Answer = { proposals: [], notes: [] };

export const EMPTY_FRAME: Frame = {
  history: [{ clicks: [], edits: [], depth: 0 }],
  index: 0,
  answers: new Map(),
  shown: NOTHING,
  partial: null,
  trouble: null,
  open: false,
  taken: [],
  accepted: null,
  undone: null,
};

export function initialState(): State {
  return {
    frame: null,
    frames: new Map(),
    armed: null,
    threshold: null,
    thresholds: new Map(),
    modelThreshold: null,
    request: null,
    requests: 0,
    waiting: false,
    depth: 0,
  };
}

/** The frame on the screen. */
export function frameOf(state: State): Frame {
  return (state.frame === null ? undefined : state.frames.get(state.frame)) ?? EMPTY_FRAME;
}

/** The clicks and edits that hold now. */
export function entryOf(frame: Frame): Entry {
  return frame.history[frame.index] as Entry;
}

export function canUndo(frame: Frame): boolean {
  return frame.index > 0;
}

export function canRedo(frame: Frame): boolean {
  return frame.index < frame.history.length - 1;
}

/** Whether the next thing to take back, of the plugin's and CVAT's, is a step of the frame. */
export function undoesNext(state: State): boolean {
  const frame = frameOf(state);
  return canUndo(frame) && entryOf(frame).depth >= state.depth;
}

/** Whether the next thing to make again is a step of the frame. */
export function redoesNext(state: State, redoableInCvat: boolean): boolean {
  const { history, index } = frameOf(state);
  const next = history[index + 1];
  return next !== undefined && (next.depth <= state.depth || !redoableInCvat);
}

/** Whether the proposals of a frame answer its clicks. */
export function isAnswered(frame: Frame): boolean {
  return frame.answers.has(entryOf(frame).clicks);
}

/** Whether a request has to be sent: the frame's clicks have no answer and none is in flight. */
export function hasToAsk(state: State): boolean {
  if (state.frame === null || state.request !== null) return false;
  const frame = frameOf(state);
  const { clicks } = entryOf(frame);
  return (
    (clicks.length > 0 || frame.open) && !isAnswered(frame) && frame.trouble?.clicks !== clicks
  );
}

/** Whether clicks of the frame are still to be answered, so that accepting would lose them. */
export function isAwaited(state: State): boolean {
  const frame = frameOf(state);
  const { clicks } = entryOf(frame);
  if (isAnswered(frame) || (clicks.length === 0 && !frame.open)) return false;
  // Of a search that was stopped half-way, what it found is there to be accepted.
  return state.request !== null || frame.partial?.clicks !== clicks;
}

/** The clicks that were made since the last "Accept"; the earlier ones count on. */
export function newClicksOf(frame: Frame): Clicks {
  const { clicks: earlier } = frame.history[0] as Entry;
  return entryOf(frame).clicks.filter((click) => !earlier.includes(click));
}

/** Whether something was clicked or edited on a frame and not accepted. */
export function isPending(frame: Frame): boolean {
  const [first, now] = [frame.history[0] as Entry, entryOf(frame)];
  return newClicksOf(frame).length > 0 || now.edits.some((edit) => !first.edits.includes(edit));
}

/**
 * Proposals of a lower score are hidden, unless they are sure; null before the first answer.
 *
 * @param label Id of the label that is meant; null: those without a threshold of their own.
 */
export function thresholdOf(state: State, label: number | null = null): number | null {
  const own = label === null ? undefined : state.thresholds.get(label);
  return own ?? state.threshold ?? state.modelThreshold;
}

/** The proposals of a frame after its edits, of every score. */
export function proposalsOf(frame: Frame): readonly Proposal[] {
  const entry = entryOf(frame);
  const proposals = withoutLarger(frame.shown.proposals, entry.clicks);
  for (const { proposal, label, points = proposal.points } of entry.edits) {
    const index = find(proposals, proposal);
    if (label === null) {
      if (index >= 0) proposals.splice(index, 1);
      continue;
    }
    const edited = { ...proposal, points, label, sure: true, rival: null };
    if (index >= 0) proposals[index] = edited;
    else if (find(proposals, edited) < 0) proposals.push(edited);
  }
  if (frame.taken.length === 0) return proposals;
  const later = newClicksOf(frame).filter(({ positive }) => positive);
  return proposals.filter(
    (proposal) =>
      find(frame.taken, proposal) < 0 ||
      later.some(({ x, y, label }) => label === proposal.label && contains(proposal, [x, y])),
  );
}

/** A click on an object says that no larger box of its label around it is one object. */
function withoutLarger(proposals: readonly Proposal[], clicks: Clicks): Proposal[] {
  const positive = clicks.filter((click) => click.positive);
  const clicked = proposals.filter(({ sure }) => sure);
  return proposals.filter(
    (larger) =>
      !clicked.some((smaller) => {
        if (smaller.label !== larger.label || !surrounds(larger, smaller)) return false;
        const inside = positive.filter(
          ({ x, y, label }) => label === larger.label && contains(larger, [x, y]),
        );
        // A box that answers a click beside the smaller one stays.
        return inside.length > 0 && inside.every(({ x, y }) => contains(smaller, [x, y]));
      }),
  );
}

/** Those of the proposals that a threshold lets through: that of their label, or the common one. */
export function overThreshold<T extends Proposal>(
  proposals: readonly T[],
  threshold: number,
  thresholds: ReadonlyMap<number, number>,
): readonly T[] {
  return proposals.filter(
    ({ score, sure, label }) => sure || score >= (thresholds.get(label) ?? threshold),
  );
}

/** Index of the box that a proposal of an earlier answer has become, or -1. */
function find(proposals: readonly Proposal[], wanted: Proposal): number {
  let found = -1;
  let largest = SAME_BOX;
  proposals.forEach((proposal, index) => {
    if (proposal.label !== wanted.label) return;
    const common = overlap(proposal, wanted);
    if (common < largest) return;
    found = index;
    largest = common;
  });
  return found;
}
