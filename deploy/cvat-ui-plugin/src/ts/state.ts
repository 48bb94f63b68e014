// What the person did and what the function answered: a pure reducer.
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
  readonly accepted: { readonly before: Frame; readonly ids: readonly number[] } | null;
  /** What comes back if CVAT makes the objects again of an "Accept" that it undid. */
  readonly undone: { readonly after: Frame; readonly ids: readonly number[] } | null;
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
  | { readonly type: "failed"; readonly id: number; readonly message: string }
  | { readonly type: "cancelled" }
  | { readonly type: "waits to accept" }
  | { readonly type: "waits no more" }
  | {
      readonly type: "accepted";
      readonly frame: number;
      /** Clicks whose answer was accepted. */
      readonly clicks: Clicks;
      readonly ids: readonly number[];
      /** Those that are rectangles now. */
      readonly taken: readonly Proposal[];
    }
  | { readonly type: "acceptance undone" }
  | { readonly type: "acceptance redone" }
  | { readonly type: "CVAT stepped"; readonly depth: number };

/** Overlap from which a box of a later answer is the one that an edit speaks of. */
const SAME_BOX = 0.5;

const NOTHING: Answer = { proposals: [], notes: [] };

const EMPTY_FRAME: Frame = {
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
      find(frame.taken, proposal) < 0 || later.some(({ x, y }) => contains(proposal, [x, y])),
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
  thresholds: ReadonlyMap<number, number> = new Map(),
): readonly T[] {
  return proposals.filter(
    ({ score, sure, label }) => sure || score >= (thresholds.get(label) ?? threshold),
  );
}

export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case "job opened": {
      const { threshold, requests } = state;
      const frames = new Map<number, Frame>();
      for (const [number, clicks] of action.clicks ?? []) {
        const history = [...EMPTY_FRAME.history, { clicks, edits: [], depth: 0 }];
        frames.set(number, { ...EMPTY_FRAME, history, index: 1 });
      }
      return { ...initialState(), threshold, requests, frames };
    }
    case "frame shown": {
      if (action.frame === state.frame) return state;
      return { ...state, frame: action.frame, request: null, waiting: false };
    }
    case "classes changed": {
      const frames = new Map<number, Frame>();
      for (const [number, frame] of state.frames) {
        const unanswered = { answers: new Map(), shown: NOTHING, partial: null, trouble: null };
        frames.set(number, { ...frame, ...unanswered });
      }
      const without = { armed: null, request: null, waiting: false, modelThreshold: null };
      return { ...state, ...without, frames };
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
        step({ ...state, waiting: false }, () => ({ clicks: [], edits: [] })),
        (frame) => ({ ...frame, shown: NOTHING, open: false }),
      );
    case "undone":
      return canUndo(frameOf(state)) ? move({ ...state, waiting: false }, -1) : state;
    case "redone":
      return canRedo(frameOf(state)) ? move({ ...state, waiting: false }, 1) : state;
    case "threshold set": {
      const { threshold, label } = action;
      if (label === undefined) return { ...state, threshold };
      const thresholds = new Map(state.thresholds);
      if (threshold === null) thresholds.delete(label);
      else thresholds.set(label, threshold);
      return { ...state, thresholds };
    }
    case "thresholds set":
      return { ...state, thresholds: action.thresholds };
    case "asked":
      return askedAgain(state);
    case "exemplars changed": {
      // What is shown stays until there is another answer.
      const without = { answers: new Map(), partial: null, trouble: null };
      return onFrame({ ...state, request: null }, (frame) => ({ ...frame, ...without }));
    }
    case "sent": {
      if (state.frame === null) return state;
      const { clicks } = entryOf(frameOf(state));
      const request = { id: state.requests + 1, frame: state.frame, clicks };
      return { ...state, request, requests: request.id };
    }
    case "answered": {
      const { request } = state;
      if (request?.id !== action.id) return state;
      const { clicks } = request;
      const { proposals, notes, progress } = action;
      const answer: Answer = { proposals, notes };
      const answered = { ...state, request: null, modelThreshold: action.threshold };
      const { partial } = frameOf(state);
      const before = partial?.clicks === clicks ? partial.progress : -1;
      const next = onFrame(answered, (frame) => {
        const answers = new Map(frame.answers);
        if (progress >= 1) answers.set(clicks, answer);
        // An answer still counts after more clicks, but not after an undo.
        const counts = beginsWith(entryOf(frame).clicks, clicks);
        const visible = counts && { shown: answer, trouble: null };
        return {
          ...frame,
          answers,
          partial: progress < 1 ? { clicks, progress } : null,
          ...visible,
        };
      });
      if (progress >= 1 || progress > before) return next;
      const share = Math.floor(progress * 100);
      const message = `The function came no further than ${share} % of the work: boxes may be missing.`;
      return stop(next, { clicks, kind: "stalled", message });
    }
    case "failed": {
      const { request } = state;
      if (request?.id !== action.id) return state;
      // Clicks made in the meantime are still sent.
      return stop(state, { clicks: request.clicks, kind: "failed", message: action.message });
    }
    case "cancelled": {
      if (state.request === null) return { ...state, waiting: false };
      const { clicks } = entryOf(frameOf(state));
      return stop(state, { clicks, kind: "cancelled", message: "Cancelled." });
    }
    case "waits to accept":
      // Clicks whose request failed are sent again.
      return { ...askedAgain(state), waiting: true };
    case "waits no more":
      return { ...state, waiting: false };
    case "accepted": {
      const before = state.frames.get(action.frame);
      if (before === undefined) return state;
      const { edits, clicks } = entryOf(before);
      // Clicks made while CVAT took the boxes are a step of their own; the earlier ones count on.
      const later = clicks === action.clicks ? [] : [{ clicks, edits, depth: state.depth + 1 }];
      const frame: Frame = {
        ...before,
        history: [{ clicks: action.clicks, edits, depth: state.depth }, ...later],
        index: later.length,
        taken: [...before.taken, ...action.taken],
        accepted: {
          // What was undone before is no more to be made again.
          before: { ...before, history: before.history.slice(0, before.index + 1), undone: null },
          ids: action.ids,
        },
        undone: null,
      };
      const shown = action.frame === state.frame;
      return {
        ...state,
        frames: new Map(state.frames).set(action.frame, frame),
        ...(shown && { waiting: false }),
      };
    }
    case "acceptance undone":
      return onFrame({ ...state, waiting: false }, (frame) => {
        if (frame.accepted === null) return frame;
        const { before, ids } = frame.accepted;
        // Clicks made since then are not given up for the earlier ones.
        if (frame.index > 0) return { ...frame, taken: before.taken, accepted: null };
        return { ...before, undone: { after: frame, ids } };
      });
    case "acceptance redone":
      return onFrame({ ...state, request: null, waiting: false }, (frame) =>
        frame.undone === null ? frame : frame.undone.after,
      );
    case "CVAT stepped": {
      const { depth } = action;
      if (depth === state.depth) return state;
      const frames = depth > state.depth ? state.frames : loweredTo(depth, state.frames);
      return { ...state, depth, frames };
    }
  }
}

/** Whatever CVAT does after it took steps back comes later than the steps of the frames. */
function loweredTo(depth: number, frames: State["frames"]): State["frames"] {
  const lowered = new Map<number, Frame>();
  for (const [number, frame] of frames) {
    const history = frame.history.map((entry, i) =>
      i <= frame.index && entry.depth > depth ? { ...entry, depth } : entry,
    );
    lowered.set(number, { ...frame, history });
  }
  return lowered;
}

function askedAgain(state: State): State {
  return onFrame(state, (frame) => ({
    ...frame,
    trouble: null,
    open: frame.open || entryOf(frame).clicks.length === 0,
  }));
}

function onFrame(state: State, change: (frame: Frame) => Frame): State {
  if (state.frame === null) return state;
  const before = frameOf(state);
  const after = change(before);
  if (after === before) return state;
  return { ...state, frames: new Map(state.frames).set(state.frame, after) };
}

/** Add an entry to the frame's history; what was undone is forgotten. */
function step(state: State, change: (entry: Entry) => Omit<Entry, "depth">): State {
  return onFrame(state, (frame) => {
    const entry = { ...change(entryOf(frame)), depth: state.depth };
    return {
      ...frame,
      history: [...frame.history.slice(0, frame.index + 1), entry],
      index: frame.index + 1,
      undone: null,
    };
  });
}

function move(state: State, by: -1 | 1): State {
  return onFrame(state, (frame) => {
    const moved = { ...frame, index: frame.index + by };
    const { clicks } = entryOf(moved);
    const answer = moved.answers.get(clicks) ?? (clicks.length === 0 ? NOTHING : undefined);
    return answer === undefined ? moved : { ...moved, shown: answer };
  });
}

/** No request is in flight any more; the trouble says why. */
function stop(state: State, { message, ...trouble }: Trouble): State {
  const waits = state.waiting && entryOf(frameOf(state)).clicks !== trouble.clicks;
  const full = state.waiting && !waits ? `${message} Nothing was accepted.` : message;
  return onFrame({ ...state, request: null, waiting: waits }, (frame) => ({
    ...frame,
    trouble: { ...trouble, message: full },
  }));
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
