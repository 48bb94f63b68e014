// What changes the state: a pure reducer.

import { contains } from "./geometry";
import {
  type Action,
  type Answer,
  type Click,
  type Clicks,
  canRedo,
  canUndo,
  type Edit,
  EMPTY_FRAME,
  type Entry,
  entryOf,
  type Frame,
  frameOf,
  initialState,
  NOTHING,
  type State,
  type Trouble,
} from "./state";

export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case "job opened": {
      const { threshold, thresholds, requests } = state;
      const frames = new Map<number, Frame>();
      for (const [number, clicks] of action.clicks ?? []) {
        const history = [...EMPTY_FRAME.history, { clicks, edits: [], depth: 0 }];
        frames.set(number, { ...EMPTY_FRAME, history, index: 1 });
      }
      return { ...initialState(), threshold, thresholds, requests, frames };
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
    case "prefetched": {
      const { frame, proposals, notes } = action;
      const { history, answers } = frameOf(state);
      if (frame !== state.frame || history.length > 1 || answers.size > 0) return state;
      return onFrame(state, (before) => ({ ...before, shown: { proposals, notes } }));
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
      const history = [...settled(before, action.clicks, action.unsettled), ...later];
      const frame: Frame = {
        ...before,
        history,
        index: history.length - 1,
        taken: [...before.taken, ...action.taken],
        accepted: {
          // What was undone before is no more to be made again.
          before: { ...before, history: before.history.slice(0, before.index + 1), undone: null },
          ids: action.ids,
          left: history,
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
        const { before, ids, left } = frame.accepted;
        const { clicks, edits } = entryOf(frame);
        // Clicks made since then are not given up for the earlier ones.
        if (!left.some((entry) => entry.clicks === clicks && entry.edits === edits))
          return { ...frame, taken: before.taken, accepted: null };
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

/**
 * The history once boxes were accepted: first all that is settled by that, then the steps that brought
 * what is not, which can still be taken back.
 */
function settled(frame: Frame, accepted: Clicks, unsettled: readonly (Click | Edit)[]): Entry[] {
  const steps = frame.history.slice(0, frame.index + 1);
  const now = entryOf(frame);
  // Lists that have answers are not made anew.
  const lists = [accepted, ...steps.map(({ clicks }) => clicks)];
  const toCome = new Set(unsettled);
  const left: Entry[] = [];
  for (const step of steps) {
    for (const one of [...step.clicks, ...step.edits]) toCome.delete(one);
    const clicks = accepted.filter((one) => !toCome.has(one));
    const edits = now.edits.filter((one) => !toCome.has(one));
    const last = left.at(-1);
    // They only become more.
    if (last?.clicks.length === clicks.length && last.edits.length === edits.length) continue;
    const same = lists.find((list) => list.length === clicks.length && beginsWith(list, clicks));
    left.push({ clicks: same ?? clicks, edits, depth: step.depth });
  }
  return left;
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
