// What the person did and what the function answered: a pure reducer.
//
// Clicks and edits are kept for each frame, as a history of entries that are never changed. Answers
// are kept with the very list of clicks that they answer, so undo and redo need no request.

import { type Box, contains, overlap } from "./geometry";

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
}

/** What a person said of one proposal: another label, or null for "drop it". */
export interface Edit {
  readonly proposal: Proposal;
  readonly label: number | null;
}

/** One step of the history. */
export interface Entry {
  readonly clicks: Clicks;
  readonly edits: readonly Edit[];
}

/** Why the latest clicks have no answer. */
export interface Trouble {
  readonly clicks: Clicks;
  readonly kind: "failed" | "cancelled";
  /** One sentence. */
  readonly message: string;
}

export interface Frame {
  readonly history: readonly Entry[];
  readonly index: number;
  readonly answers: ReadonlyMap<Clicks, readonly Proposal[]>;
  /** The latest answer, which may be one to earlier clicks. */
  readonly shown: readonly Proposal[];
  /** How much of a large picture was searched with some clicks so far; it is asked on. */
  readonly partial: { readonly clicks: Clicks; readonly coverage: number } | null;
  readonly trouble: Trouble | null;
  /** The function is asked without clicks too. */
  readonly open: boolean;
  /** What was here before the last "Accept", and the objects that it made. */
  readonly accepted: { readonly before: Frame; readonly ids: readonly number[] } | null;
}

export interface Request {
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
  /** Proposals of a lower score are hidden, unless they are sure. */
  readonly threshold: number;
  /** The one request in flight. */
  readonly request: Request | null;
  readonly requests: number;
}

export type Action =
  | { readonly type: "job opened" }
  | { readonly type: "frame shown"; readonly frame: number | null }
  | { readonly type: "classes changed" }
  | { readonly type: "armed"; readonly label: number | null }
  | { readonly type: "clicked"; readonly clicks: Clicks }
  | { readonly type: "edited"; readonly edit: Edit }
  | { readonly type: "cleared" }
  | { readonly type: "undone" }
  | { readonly type: "redone" }
  | { readonly type: "threshold set"; readonly threshold: number }
  | { readonly type: "asked" }
  | { readonly type: "sent" }
  | {
      readonly type: "answered";
      readonly id: number;
      readonly proposals: readonly Proposal[];
      /** Share of the picture that was searched, 0 to 1. */
      readonly coverage: number;
    }
  | { readonly type: "failed"; readonly id: number; readonly message: string }
  | { readonly type: "cancelled" }
  | { readonly type: "accepted"; readonly ids: readonly number[] }
  | { readonly type: "acceptance undone" };

/** Overlap from which a box of a later answer is the one that an edit speaks of. */
const SAME_BOX = 0.5;

const EMPTY_FRAME: Frame = {
  history: [{ clicks: [], edits: [] }],
  index: 0,
  answers: new Map(),
  shown: [],
  partial: null,
  trouble: null,
  open: false,
  accepted: null,
};

export function initialState(threshold: number): State {
  return { frame: null, frames: new Map(), armed: null, threshold, request: null, requests: 0 };
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

/** The proposals of a frame after its edits, of every score. */
export function proposalsOf(frame: Frame): readonly Proposal[] {
  const proposals = [...frame.shown];
  for (const { proposal, label } of entryOf(frame).edits) {
    const index = find(proposals, proposal);
    if (label === null) {
      if (index >= 0) proposals.splice(index, 1);
      continue;
    }
    const edited = { ...proposal, label, sure: true };
    if (index >= 0) proposals[index] = edited;
    else if (find(proposals, edited) < 0) proposals.push(edited);
  }
  return proposals;
}

/** Those of the proposals that a threshold lets through. */
export function overThreshold(
  proposals: readonly Proposal[],
  threshold: number,
): readonly Proposal[] {
  return proposals.filter(({ score, sure }) => sure || score >= threshold);
}

export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case "job opened":
      return { ...initialState(state.threshold), requests: state.requests };
    case "frame shown": {
      if (action.frame === state.frame) return state;
      return { ...state, frame: action.frame, request: null };
    }
    case "classes changed": {
      const frames = new Map<number, Frame>();
      for (const [number, frame] of state.frames) {
        frames.set(number, { ...frame, answers: new Map(), shown: [], trouble: null });
      }
      return { ...state, frames, armed: null, request: null };
    }
    case "armed":
      return { ...state, armed: action.label };
    case "clicked": {
      if (action.clicks.length === 0) return state;
      return step(state, ({ clicks, edits }) => ({
        clicks: [...clicks, ...action.clicks],
        // A click says anew what is at its point.
        edits: edits.filter(
          ({ proposal }) => !action.clicks.some(({ x, y }) => contains(proposal, [x, y])),
        ),
      }));
    }
    case "edited":
      return step(state, ({ clicks, edits }) => ({ clicks, edits: [...edits, action.edit] }));
    case "cleared":
      return onFrame(
        step(state, () => ({ clicks: [], edits: [] })),
        (frame) => ({ ...frame, shown: [], open: false }),
      );
    case "undone":
      return canUndo(frameOf(state)) ? move(state, -1) : state;
    case "redone":
      return canRedo(frameOf(state)) ? move(state, 1) : state;
    case "threshold set":
      return { ...state, threshold: action.threshold };
    case "asked":
      return onFrame(state, (frame) => ({
        ...frame,
        trouble: null,
        open: frame.open || entryOf(frame).clicks.length === 0,
      }));
    case "sent": {
      if (state.frame === null) return state;
      const { clicks } = entryOf(frameOf(state));
      const request = { id: state.requests + 1, frame: state.frame, clicks };
      return { ...state, request, requests: request.id };
    }
    case "answered": {
      const { request } = state;
      if (request?.id !== action.id) return state;
      const answered = { ...state, request: null };
      return onFrame(answered, (frame) => {
        const before = frame.partial?.clicks === request.clicks ? frame.partial.coverage : -1;
        // Where a further request would find no more, the answer is taken as it is.
        const goesOn = action.coverage < 1 && action.coverage > before;
        const partial = goesOn ? { clicks: request.clicks, coverage: action.coverage } : null;
        const answers = new Map(frame.answers);
        if (!goesOn) answers.set(request.clicks, action.proposals);
        // An answer still counts after more clicks, but not after an undo.
        const counts = beginsWith(entryOf(frame).clicks, request.clicks);
        const seen = counts && { shown: action.proposals, trouble: null };
        return { ...frame, answers, partial, ...seen };
      });
    }
    case "failed": {
      const { request } = state;
      if (request?.id !== action.id) return state;
      // Clicks made in the meantime are still sent.
      return stop(state, { clicks: request.clicks, kind: "failed", message: action.message });
    }
    case "cancelled": {
      if (state.request === null) return state;
      const { clicks } = entryOf(frameOf(state));
      return stop(state, { clicks, kind: "cancelled", message: "Cancelled." });
    }
    case "accepted": {
      return onFrame({ ...state, request: null }, (frame) => ({
        ...EMPTY_FRAME,
        accepted: { before: frame, ids: action.ids },
      }));
    }
    case "acceptance undone":
      return onFrame(state, (frame) => {
        if (frame.accepted === null) return frame;
        // Clicks made since then are not given up for the earlier ones.
        return frame.history.length > 1 ? { ...frame, accepted: null } : frame.accepted.before;
      });
  }
}

function onFrame(state: State, change: (frame: Frame) => Frame): State {
  if (state.frame === null) return state;
  const before = frameOf(state);
  const after = change(before);
  if (after === before) return state;
  return { ...state, frames: new Map(state.frames).set(state.frame, after) };
}

/** Add an entry to the frame's history; what was undone is forgotten. */
function step(state: State, change: (entry: Entry) => Entry): State {
  return onFrame(state, (frame) => ({
    ...frame,
    history: [...frame.history.slice(0, frame.index + 1), change(entryOf(frame))],
    index: frame.index + 1,
  }));
}

function move(state: State, by: -1 | 1): State {
  return onFrame(state, (frame) => {
    const moved = { ...frame, index: frame.index + by };
    const { clicks } = entryOf(moved);
    const answer = moved.answers.get(clicks) ?? (clicks.length === 0 ? [] : undefined);
    return answer === undefined ? moved : { ...moved, shown: answer };
  });
}

function stop(state: State, trouble: Trouble): State {
  return onFrame({ ...state, request: null }, (frame) => ({ ...frame, trouble }));
}

function beginsWith(clicks: Clicks, earlier: Clicks): boolean {
  return earlier.length <= clicks.length && earlier.every((click, i) => click === clicks[i]);
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
