import { describe, expect, test } from "vitest";
import { reduce } from "../../src/ts/reducer";
import {
  type Action,
  type Click,
  canRedo,
  canUndo,
  type Edit,
  entryOf,
  frameOf,
  hasToAsk,
  initialState,
  isAnswered,
  isAwaited,
  isPending,
  newClicksOf,
  overThreshold,
  type Proposal,
  proposalsOf,
  redoesNext,
  type State,
  thresholdOf,
  undoesNext,
} from "../../src/ts/state";

const click = (x: number, label = 1, positive = true): Click => ({ x, y: 0, label, positive });
const clicked = (...clicks: Click[]): Action => ({ type: "clicked", clicks });
const shown = (frame: number): Action => ({ type: "frame shown", frame });

function proposal(x: number, label = 1, score = 0.5, sure = false): Proposal {
  return { points: [x, 0, x + 10, 10], rotation: 0, label, score, sure, rival: null };
}

/** The state after actions; every request that has to be sent is sent. */
function stateAfter(...actions: readonly Action[]): State {
  return on(initialState(), ...actions);
}

function on(state: State, ...actions: readonly Action[]): State {
  return actions.reduce((before, action) => {
    const next = reduce(before, action);
    return hasToAsk(next) ? reduce(next, { type: "sent" }) : next;
  }, state);
}

/** The request in flight is answered. */
function answered(state: State, ...proposals: readonly Proposal[]): State {
  return searched(state, 1, ...proposals);
}

const answer = (id: number, progress: number, proposals: readonly Proposal[]): Action => ({
  type: "answered",
  id,
  proposals,
  progress,
  notes: [],
  threshold: 0.42,
});

/** The request in flight is answered, after a share of the work was done. */
function searched(state: State, progress: number, ...proposals: readonly Proposal[]): State {
  return on(state, answer(state.request?.id ?? -1, progress, proposals));
}

/** The request in flight fails. */
function failed(state: State): State {
  return on(state, { type: "failed", id: state.request?.id ?? -1, message: "No." });
}

const stepped = (depth: number): Action => ({ type: "CVAT stepped", depth });

const clicksOf = (state: State) => entryOf(frameOf(state)).clicks;

describe("what was found on a frame before it was shown", () => {
  const found = (frame: number): Action => ({
    type: "prefetched",
    frame,
    proposals: [proposal(5)],
    notes: ["Some."],
  });

  test("is shown until the frame has its own answer, which is asked for all the same", () => {
    const state = stateAfter(shown(0), shown(1), found(1));
    expect(proposalsOf(frameOf(state))).toEqual([proposal(5)]);
    expect([isAnswered(frameOf(state)), isPending(frameOf(state))]).toEqual([false, false]);
    const asked = on(state, { type: "asked" });
    expect(asked.request?.frame).toBe(1);
    expect(proposalsOf(frameOf(asked))).toEqual([proposal(5)]);
    expect(proposalsOf(frameOf(answered(asked, proposal(90))))).toEqual([proposal(90)]);
  });

  test("is nothing to another frame, and to one that somebody has worked on", () => {
    const away = stateAfter(shown(0), found(1));
    expect(proposalsOf(frameOf(away))).toEqual([]);
    const worked = answered(stateAfter(shown(1), clicked(click(3))), proposal(1));
    expect(on(worked, found(1))).toBe(worked);
  });
});

describe("clicks", () => {
  test("are kept for each frame", () => {
    const state = stateAfter(
      shown(3),
      clicked(click(1)),
      shown(4),
      clicked(click(2), click(3)),
      shown(3),
    );
    expect(clicksOf(state)).toEqual([click(1)]);
    expect(clicksOf(on(state, shown(4)))).toEqual([click(2), click(3)]);
    expect(clicksOf(on(state, { type: "job opened" }, shown(4)))).toEqual([]);
  });

  test("undo and redo; a new click forgets what was undone", () => {
    let state = stateAfter(shown(0), clicked(click(1)), clicked(click(2)), { type: "undone" });
    expect(clicksOf(state)).toEqual([click(1)]);
    expect(clicksOf(on(state, { type: "redone" }))).toEqual([click(1), click(2)]);
    state = on(state, clicked(click(3)));
    expect(canRedo(frameOf(state))).toBe(false);
    expect(clicksOf(state)).toEqual([click(1), click(3)]);
    state = on(state, { type: "undone" }, { type: "undone" }, { type: "undone" });
    expect(clicksOf(state)).toEqual([]);
    expect(canUndo(frameOf(state))).toBe(false);
  });

  test("taken together, they are one step; clearing is one too", () => {
    const state = stateAfter(shown(0), clicked(click(1), click(2)), { type: "cleared" });
    expect(clicksOf(state)).toEqual([]);
    expect(clicksOf(on(state, { type: "undone" }))).toEqual([click(1), click(2)]);
    expect(clicksOf(on(state, { type: "undone" }, { type: "undone" }))).toEqual([]);
  });

  test("no clicks are no step", () => {
    expect(canUndo(frameOf(stateAfter(shown(0), clicked())))).toBe(false);
  });
});

describe("a click that is repeated", () => {
  const one = answered(stateAfter(shown(0), clicked(click(1))), proposal(0, 1, 0.5, true));
  // The function answers both with its next box.
  const two = answered(on(one, clicked(click(1))), proposal(-9, 1, 0.4, true));
  const lefts = (state: State) => proposalsOf(frameOf(state)).map(({ points }) => points[0]);

  test("stands in the list as often; taken back, the box before is there at once", () => {
    expect(clicksOf(two)).toEqual([click(1), click(1)]);
    expect(lefts(two)).toEqual([-9]);
    const undone = on(two, { type: "undone" });
    expect([clicksOf(undone), lefts(undone)]).toEqual([[click(1)], [0]]);
    const redone = on(undone, { type: "redone" });
    expect([lefts(redone), redone.requests]).toEqual([[-9], 2]);
  });

  test("gives up what was said of the box before", () => {
    const points = [0, 0, 14, 14] as const;
    const edit: Edit = { proposal: proposal(0, 1, 0.5, true), label: 1, points };
    const edited = on(one, { type: "edited", edit });
    const again = answered(on(edited, clicked(click(1))), proposal(-9, 1, 0.4, true));
    expect(lefts(again)).toEqual([-9]);
    expect(proposalsOf(frameOf(on(again, { type: "undone" })))[0]?.points).toEqual(points);
  });

  test("is a new one after its first box was accepted, and brings the next box", () => {
    const { clicks } = entryOf(frameOf(one));
    const taken = proposalsOf(frameOf(one));
    const accepted = on(one, {
      type: "accepted",
      frame: 0,
      clicks,
      unsettled: [],
      ids: [4],
      taken,
    });
    expect([lefts(accepted), isPending(frameOf(accepted))]).toEqual([[], false]);
    const again = on(accepted, clicked(click(1)));
    expect(again.request?.clicks).toEqual([click(1), click(1)]);
    expect([newClicksOf(frameOf(again)), isPending(frameOf(again))]).toEqual([[click(1)], true]);
    expect(lefts(answered(again, proposal(-9, 1, 0.4, true)))).toEqual([-9]);
  });
});

test("clicks that were kept are there when the job is opened again, and asked for", () => {
  const clicks = new Map([[3, [click(1), click(2)]]]);
  const state = on(initialState(), { type: "job opened", clicks }, shown(3));
  expect(state.request?.clicks).toEqual([click(1), click(2)]);
  expect(isPending(frameOf(state))).toBe(true);
  expect(clicksOf(on(state, { type: "undone" }))).toEqual([]);
});

describe("requests", () => {
  test("none without clicks, unless it was asked for", () => {
    const state = stateAfter(shown(0));
    expect(state.request).toBeNull();
    expect(on(state, { type: "asked" }).request).toMatchObject({ frame: 0, clicks: [] });
  });

  test("one in flight; the latest clicks are sent next", () => {
    let state = stateAfter(shown(0), clicked(click(1)), clicked(click(2)), clicked(click(3)));
    expect(state.requests).toBe(1);
    expect(state.request?.clicks).toEqual([click(1)]);
    state = answered(state, proposal(0));
    expect(state.requests).toBe(2);
    expect(state.request?.clicks).toEqual([click(1), click(2), click(3)]);
    // The earlier answer is shown meanwhile.
    expect(proposalsOf(frameOf(state))).toEqual([proposal(0)]);
    expect(answered(state, proposal(5)).request).toBeNull();
  });

  test("a picture that was searched in part is shown so far, and asked on", () => {
    let state = searched(stateAfter(shown(0), clicked(click(1))), 0.25, proposal(0));
    expect(proposalsOf(frameOf(state))).toEqual([proposal(0)]);
    expect(frameOf(state).partial).toEqual({ clicks: [click(1)], progress: 0.25 });
    expect(state.requests).toBe(2);
    expect(state.request?.clicks).toEqual([click(1)]);
    state = searched(state, 1, proposal(0), proposal(50));
    expect(proposalsOf(frameOf(state))).toEqual([proposal(0), proposal(50)]);
    expect(frameOf(state).partial).toBeNull();
    expect(state.request).toBeNull();
  });

  test("a search that comes no further is given up, and says so", () => {
    let state = searched(stateAfter(shown(0), clicked(click(1))), 0.25, proposal(0));
    state = searched(searched(state, 0.26), 0.26, proposal(5));
    expect(state.request).toBeNull();
    expect(proposalsOf(frameOf(state))).toEqual([proposal(5)]);
    expect(frameOf(state).trouble).toMatchObject({
      kind: "stalled",
      message: "The function came no further than 26 % of the work: boxes may be missing.",
    });
    // It can be asked on, and other clicks begin a search of their own.
    expect(searched(on(state, { type: "asked" }), 0.5).request).not.toBeNull();
    expect(searched(on(state, clicked(click(2))), 0.1).request?.clicks).toHaveLength(2);
  });

  test("work before anything is found counts too: from 0 on it is asked on", () => {
    const state = searched(stateAfter(shown(0), clicked(click(1))), 0);
    expect(state.request).not.toBeNull();
    expect(searched(state, 0).request).toBeNull();
    expect(searched(state, 0.01).request).not.toBeNull();
  });

  test("an answer for another frame is dropped", () => {
    const asked = stateAfter(shown(0), clicked(click(1)));
    const state = answered({ ...on(asked, shown(1)), request: null }, proposal(0));
    const late = reduce(on(asked, shown(1)), answer(asked.request?.id as number, 1, [proposal(0)]));
    for (const other of [state, late]) expect(proposalsOf(frameOf(other))).toEqual([]);
    // Back on the frame it is asked again.
    const back = on(late, shown(0));
    expect(back.request?.clicks).toEqual([click(1)]);
  });

  test("an answer to clicks that were undone is not shown, but known after redo", () => {
    let state = stateAfter(shown(0), clicked(click(1)));
    state = on(answered(state, proposal(0)), clicked(click(2)), { type: "undone" });
    state = answered(state, proposal(50));
    expect(proposalsOf(frameOf(state))).toEqual([proposal(0)]);
    state = on(state, { type: "redone" });
    expect(state.request).toBeNull();
    expect(proposalsOf(frameOf(state))).toEqual([proposal(50)]);
  });

  test("undo and redo of answered clicks need no request", () => {
    let state = answered(stateAfter(shown(0), clicked(click(1))), proposal(0));
    state = answered(on(state, clicked(click(2))), proposal(20));
    const { requests } = state;
    state = on(state, { type: "undone" });
    expect(proposalsOf(frameOf(state))).toEqual([proposal(0)]);
    state = on(state, { type: "undone" });
    expect(proposalsOf(frameOf(state))).toEqual([]);
    state = on(state, { type: "redone" }, { type: "redone" });
    expect(proposalsOf(frameOf(state))).toEqual([proposal(20)]);
    expect(state.requests).toBe(requests);
  });

  test("a failure keeps the clicks and waits to be asked again", () => {
    let state = stateAfter(shown(0), clicked(click(1)));
    state = on(state, { type: "failed", id: state.request?.id as number, message: "No." });
    expect(state.request).toBeNull();
    expect(clicksOf(state)).toEqual([click(1)]);
    expect(frameOf(state).trouble).toMatchObject({ kind: "failed", message: "No." });
    expect(on(state, { type: "asked" }).request?.clicks).toEqual([click(1)]);
    expect(on(state, clicked(click(2))).request?.clicks).toEqual([click(1), click(2)]);
  });

  test("clicks made during a request that fails are sent; those before a cancel are not", () => {
    const state = stateAfter(shown(0), clicked(click(1)), clicked(click(2)));
    const failed = on(state, { type: "failed", id: state.request?.id as number, message: "No." });
    expect(failed.request?.clicks).toEqual([click(1), click(2)]);
    const cancelled = on(state, { type: "cancelled" });
    expect(cancelled.request).toBeNull();
    expect(clicksOf(cancelled)).toEqual([click(1), click(2)]);
    const late = answered({ ...cancelled, request: null }, proposal(0));
    expect(isAnswered(frameOf(late))).toBe(false);
  });

  test("other exemplars are asked with, and what was found is shown until then", () => {
    const state = answered(stateAfter(shown(0), { type: "asked" }), proposal(0));
    const changed = on(state, { type: "exemplars changed" });
    expect(proposalsOf(frameOf(changed))).toEqual([proposal(0)]);
    expect(changed.request).toMatchObject({ frame: 0, clicks: [] });
    expect(proposalsOf(frameOf(answered(changed, proposal(50))))).toEqual([proposal(50)]);
    // Without clicks, and without having been asked for, nothing is.
    expect(on(stateAfter(shown(1)), { type: "exemplars changed" }).request).toBeNull();
  });

  test("other classes make the answers void", () => {
    const state = answered(stateAfter(shown(0), clicked(click(1))), proposal(0));
    const changed = reduce(state, { type: "classes changed" });
    expect(proposalsOf(frameOf(changed))).toEqual([]);
    expect(hasToAsk(changed)).toBe(true);
    expect(clicksOf(changed)).toEqual([click(1)]);
  });
});

describe("proposals", () => {
  const base = answered(
    stateAfter(shown(0), clicked(click(500))),
    proposal(0, 1, 0.9),
    proposal(20, 1, 0.3),
    proposal(40, 2, 0.1, true),
  );
  const all = proposalsOf(frameOf(base));
  const edited = (edit: Proposal, label: number | null): Action => ({
    type: "edited",
    edit: { proposal: edit, label },
  });

  test("the threshold lets sure ones through", () => {
    expect(overThreshold(all, 0.4, new Map()).map(({ points }) => points[0])).toEqual([0, 40]);
    expect(overThreshold(all, 0, new Map())).toHaveLength(3);
  });

  test("a label may have a threshold of its own", () => {
    let state = on(base, { type: "threshold set", threshold: 0.2, label: 1 });
    expect([thresholdOf(state), thresholdOf(state, 1), thresholdOf(state, 2)]).toEqual([
      0.42, 0.2, 0.42,
    ]);
    const some = [proposal(0, 1, 0.3), proposal(20, 2, 0.3), proposal(40, 2, 0.1, true)];
    const firsts = (thresholds: State["thresholds"]) =>
      overThreshold(some, 0.42, thresholds).map(({ points }) => points[0]);
    expect(firsts(state.thresholds)).toEqual([0, 40]);
    state = on(state, { type: "threshold set", threshold: null, label: 1 });
    expect(firsts(state.thresholds)).toEqual([40]);
  });

  test("moved edges hold through a later answer and another label", () => {
    const points = [18, -2, 34, 10] as const;
    const stretch: Action = { type: "edited", edit: { proposal: proposal(20), label: 1, points } };
    let state = on(base, stretch);
    const [, moved] = proposalsOf(frameOf(state));
    expect(moved).toMatchObject({ points, label: 1, sure: true });
    state = answered(on(state, edited(moved as Proposal, 7), clicked(click(600))), proposal(20));
    expect(proposalsOf(frameOf(state))).toMatchObject([{ points, label: 7 }]);
  });

  test("a click on an object takes away the larger box of its label around it", () => {
    const large = (label: number, sure = false): Proposal => ({
      ...proposal(100, label, 0.9, sure),
      points: [100, 0, 140, 10],
    });
    const small = { ...proposal(120, 1, 0.5, true) };
    const inSmall = clicked({ ...click(125), y: 5 });
    const found = (state: State, ...answers: Proposal[]) =>
      proposalsOf(frameOf(answered(state, ...answers)));
    const one = stateAfter(shown(0), inSmall);
    expect(found(one, large(1), small)).toEqual([small]);
    // One of another label stays, and one that answers a click beside the object.
    expect(found(one, large(2), small)).toEqual([large(2), small]);
    const two = stateAfter(shown(0), clicked({ ...click(105), y: 5 }, { ...click(125), y: 5 }));
    expect(found(two, large(1, true), small)).toEqual([large(1, true), small]);
    // A box beside it that reaches over a part of it is no larger one around it.
    const beside: Proposal = { ...proposal(124), points: [124, 0, 160, 10] };
    expect(found(one, beside, small)).toEqual([beside, small]);
  });

  test("dropped, and back by undo", () => {
    const state = on(base, edited(proposal(0), null));
    expect(proposalsOf(frameOf(state)).map(({ points }) => points[0])).toEqual([20, 40]);
    expect(state.request).toBeNull();
    expect(proposalsOf(frameOf(on(state, { type: "undone" })))).toEqual(all);
  });

  test("a box whose label was chosen has no rival any more", () => {
    const rivalled = { ...proposal(60), rival: { label: 2, score: 0.4 } };
    const state = on(base, edited(rivalled, 2));
    expect(proposalsOf(frameOf(state)).at(-1)).toMatchObject({ label: 2, rival: null });
  });

  test("another label, then another again, then dropped", () => {
    let state = on(base, edited(proposal(20), 7));
    const [, changed] = proposalsOf(frameOf(state));
    expect(changed).toMatchObject({ label: 7, sure: true, points: [20, 0, 30, 10] });
    state = on(state, edited(changed as Proposal, 8));
    expect(proposalsOf(frameOf(state))[1]?.label).toBe(8);
    state = on(state, edited(proposalsOf(frameOf(state))[1] as Proposal, null));
    expect(proposalsOf(frameOf(state))).toHaveLength(2);
  });

  test("edits hold for the boxes of a later answer, the one that overlaps most", () => {
    let state = on(base, edited(proposal(0), null), edited(proposal(20), 7), clicked(click(600)));
    // Moved by one pixel; beside it another box of the label, of less overlap.
    state = answered(state, proposal(3), proposal(1), proposal(21));
    expect(proposalsOf(frameOf(state)).map(({ points, label }) => [points[0], label])).toEqual([
      [3, 1],
      [20, 7],
    ]);
  });

  test("a changed box stays when a later answer lacks it, and is not doubled when it has it", () => {
    const state = on(base, edited(proposal(20), 7), clicked(click(600)));
    expect(proposalsOf(frameOf(answered(state)))).toMatchObject([{ label: 7 }]);
    expect(proposalsOf(frameOf(answered(state, proposal(21, 7))))).toHaveLength(1);
  });

  test("a later click in a box speaks for itself", () => {
    const state = on(base, edited(proposal(0), null), clicked({ ...click(5), y: 5 }));
    expect(entryOf(frameOf(state)).edits).toEqual([]);
  });
});

test("the threshold is the weights' until a person chooses one", () => {
  const asked = stateAfter(shown(0), clicked(click(1)));
  expect(thresholdOf(asked)).toBeNull();
  const state = answered(asked, proposal(0));
  expect(thresholdOf(state)).toBe(0.42);
  expect(thresholdOf(on(state, { type: "threshold set", threshold: 0.2 }))).toBe(0.2);
  // Another model has its own.
  expect(thresholdOf(reduce(state, { type: "classes changed" }))).toBeNull();
});

describe("accepting before the answer", () => {
  const first = answered(stateAfter(shown(0), clicked(click(1))), proposal(0));
  const waiting = on(first, clicked(click(2)), { type: "waits to accept" });

  test("waits for the answer to the latest clicks", () => {
    expect(isAwaited(first)).toBe(false);
    expect(isAwaited(waiting)).toBe(true);
    const more = answered(on(waiting, clicked(click(3))), proposal(0));
    expect([isAwaited(more), more.waiting]).toEqual([true, true]);
    expect(isAwaited(answered(more, proposal(0)))).toBe(false);
  });

  test("waits until a large picture is searched whole; of a cancelled search, what it found counts", () => {
    const half = searched(waiting, 0.5, proposal(0));
    expect([isAwaited(half), half.waiting]).toEqual([true, true]);
    const cancelled = on(half, { type: "cancelled" });
    expect([isAwaited(cancelled), cancelled.waiting]).toEqual([false, false]);
    const stalled = searched(half, 0.5, proposal(0));
    expect([isAwaited(stalled), stalled.waiting]).toEqual([false, false]);
  });

  test("a failure accepts nothing, says so, and keeps the click", () => {
    const state = failed(waiting);
    expect(state.waiting).toBe(false);
    expect(frameOf(state).trouble?.message).toBe("No. Nothing was accepted.");
    expect(clicksOf(state)).toEqual([click(1), click(2)]);
    // The click has no answer still, so accepting asks again.
    expect(isAwaited(state)).toBe(true);
    const again = on(state, { type: "waits to accept" });
    expect(again.request?.clicks).toEqual([click(1), click(2)]);
    // Without the click there is nothing to wait for.
    expect(isAwaited(on(state, { type: "undone" }))).toBe(false);
  });

  test.each([
    ["cancelled", { type: "cancelled" }],
    ["undone", { type: "undone" }],
    ["another frame", shown(1)],
    ["Escape", { type: "waits no more" }],
  ] as const)("is given up: %s", (_, action) => {
    expect(on(waiting, action as Action).waiting).toBe(false);
  });

  test("clicks made while CVAT takes the boxes stay", () => {
    const state = on(first, clicked(click(7)), {
      type: "accepted",
      frame: 0,
      clicks: clicksOf(first),
      unsettled: [],
      ids: [1],
      taken: [proposal(0)],
    });
    expect(newClicksOf(frameOf(state))).toEqual([click(7)]);
    // The earlier click counts on.
    expect(state.request?.clicks).toEqual([click(1), click(7)]);
  });

  test("boxes accepted on a frame that was left since are accepted there", () => {
    const accepted: Action = {
      type: "accepted",
      frame: 0,
      clicks: clicksOf(first),
      unsettled: [],
      ids: [1],
      taken: [proposal(0)],
    };
    const state = on(first, shown(1), clicked(click(8)), accepted);
    expect(clicksOf(state)).toEqual([click(8)]);
    expect(state.request).not.toBeNull();
    expect(proposalsOf(frameOf(on(state, shown(0))))).toEqual([]);
  });
});

describe("whose step is the last", () => {
  const one = answered(stateAfter(shown(0), clicked(click(1))), proposal(0));

  test("a click after CVAT's step is taken back before it, and the other way round", () => {
    let state = on(one, stepped(1));
    expect(undoesNext(one)).toBe(true);
    expect(undoesNext(state)).toBe(false);
    state = on(state, clicked(click(2)));
    expect(undoesNext(state)).toBe(true);
    state = on(state, { type: "undone" });
    expect(undoesNext(state)).toBe(false);
    state = on(state, stepped(0));
    expect(undoesNext(state)).toBe(true);
    state = on(state, { type: "undone" });
    expect(undoesNext(state)).toBe(false);
    // And again in the order in which they were made.
    expect(redoesNext(state, true)).toBe(true);
    state = on(state, { type: "redone" });
    expect(redoesNext(state, true)).toBe(false);
    state = on(state, stepped(1));
    expect(redoesNext(state, false)).toBe(true);
  });

  test("what CVAT does after it took a step back is later", () => {
    const state = on(one, stepped(1), clicked(click(2)), stepped(0));
    expect(undoesNext(state)).toBe(true);
    expect(undoesNext(on(state, stepped(1)))).toBe(false);
  });

  test("without a step of CVAT's to make again, the frame's own is next", () => {
    const state = on(one, stepped(3), clicked(click(2)), { type: "undone" }, stepped(1));
    expect(redoesNext(state, true)).toBe(false);
    expect(redoesNext(state, false)).toBe(true);
    expect(redoesNext(one, false)).toBe(false);
  });
});

describe("accepting", () => {
  const before = answered(stateAfter(shown(0), clicked(click(1))), proposal(0));
  const accept = (
    ids: readonly number[],
    clicks = clicksOf(before),
    taken: readonly Proposal[] = [proposal(0)],
    unsettled: readonly (Click | Edit)[] = [],
  ): Action => ({ type: "accepted", frame: 0, clicks, unsettled, ids, taken });
  const accepted = on(before, accept([4, 5]));

  test("leaves a clean frame", () => {
    expect(newClicksOf(frameOf(accepted))).toEqual([]);
    expect(isPending(frameOf(accepted))).toBe(false);
    expect(proposalsOf(frameOf(accepted))).toEqual([]);
    expect(canUndo(frameOf(accepted))).toBe(false);
    expect(accepted.request).toBeNull();
  });

  test("undone, everything is as it was", () => {
    const state = on(accepted, { type: "acceptance undone" });
    expect(frameOf(state)).toEqual({
      ...frameOf(before),
      undone: { after: frameOf(accepted), ids: [4, 5] },
    });
    expect(state.request).toBeNull();
  });

  test("made again, everything is as it was after it, as often as wanted", () => {
    let state = on(accepted, stepped(1));
    for (let i = 0; i < 2; i += 1) {
      state = on(state, stepped(0), { type: "acceptance undone" });
      expect([clicksOf(state), proposalsOf(frameOf(state))]).toEqual([[click(1)], [proposal(0)]]);
      // The plugin has nothing to make again: the key is CVAT's.
      expect(redoesNext(state, true)).toBe(false);
      state = on(state, { type: "acceptance redone" }, stepped(1));
      expect([newClicksOf(frameOf(state)), proposalsOf(frameOf(state))]).toEqual([[], []]);
      // The next thing to take back is the acceptance, not a click.
      expect(undoesNext(state)).toBe(false);
    }
  });

  test("what was undone before it is no more to be made again", () => {
    const state = on(before, clicked(click(2)), { type: "undone" }, accept([4]), {
      type: "acceptance undone",
    });
    expect(canRedo(frameOf(state))).toBe(false);
  });

  test("two of them, taken back and made again", () => {
    let state = answered(on(accepted, clicked(click(2))), proposal(50));
    state = on(state, accept([6], clicksOf(state), [proposal(50)]), { type: "acceptance undone" });
    expect(newClicksOf(frameOf(state))).toEqual([click(2)]);
    state = on(state, { type: "undone" }, { type: "acceptance undone" });
    expect(clicksOf(state)).toEqual([click(1)]);
    state = on(state, { type: "acceptance redone" });
    expect(newClicksOf(frameOf(state))).toEqual([]);
    state = on(state, { type: "redone" });
    const after = [newClicksOf(frameOf(state)), proposalsOf(frameOf(state))];
    expect(after).toEqual([[click(2)], [proposal(50)]]);
    state = on(state, { type: "acceptance redone" });
    expect(newClicksOf(frameOf(state))).toEqual([]);
  });

  test("undone after new clicks, these stay", () => {
    const state = on(accepted, clicked(click(9)), { type: "acceptance undone" });
    expect(clicksOf(state)).toEqual([click(1), click(9)]);
    expect(frameOf(state).accepted).toBeNull();
    expect(proposalsOf(frameOf(state))).toEqual([proposal(0)]);
  });

  test("the earlier clicks count on, and what was accepted is not offered again", () => {
    let state = on(accepted, clicked(click(200)));
    expect(state.request?.clicks).toEqual([click(1), click(200)]);
    state = answered(state, proposal(1), proposal(200), proposal(300));
    expect(proposalsOf(frameOf(state)).map(({ points }) => points[0])).toEqual([200, 300]);
    expect(isPending(frameOf(state))).toBe(true);
    // A click on it says that it is there after all.
    state = answered(on(state, clicked(click(5))), proposal(1, 1, 0.5, true), proposal(200));
    expect(proposalsOf(frameOf(state)).map(({ points }) => points[0])).toEqual([1, 200]);
  });

  test("of some of the boxes: the others are still proposed", () => {
    const both = answered(stateAfter(shown(0), clicked(click(1))), proposal(0), proposal(50, 2));
    const state = on(both, accept([4], clicksOf(both), [proposal(0)]));
    expect(proposalsOf(frameOf(state))).toEqual([proposal(50, 2)]);
    expect(state.request).toBeNull();
    const undone = on(state, { type: "acceptance undone" });
    expect(proposalsOf(frameOf(undone))).toHaveLength(2);
  });

  describe("the boxes of one label alone", () => {
    const [a, b, c, d] = [click(1, 1), click(51, 2), click(101, 1), click(151, 2)];
    const boxes = [proposal(0), proposal(50, 2), proposal(100), proposal(150, 2)];
    const dropped = (x: number, label: number): Action => ({
      type: "edited",
      edit: { proposal: proposal(x, label), label: null },
    });
    const all = [a, b, c, d].reduce(
      (state, one) => answered(on(state, clicked(one)), ...boxes),
      stateAfter(shown(0)),
    );
    const label1 = (state: State): Action => {
      const { clicks, edits } = entryOf(frameOf(state));
      const others = [
        ...clicks.filter(({ label }) => label !== 1),
        ...edits.filter((edit) => edit.proposal.label !== 1),
      ];
      return accept([4], clicks, boxes.slice(0, 1), others);
    };
    const one = on(all, label1(all), stepped(1));

    test("the clicks of others stay, in their order, and need no answer anew", () => {
      expect(newClicksOf(frameOf(one))).toEqual([b, d]);
      expect(clicksOf(one)).toBe(clicksOf(all));
      expect(isPending(frameOf(one))).toBe(true);
      expect(one.request).toBeNull();
      // What was accepted is not offered again, also where another label was clicked in it.
      const inside = answered(on(all, clicked(click(5, 2))), ...boxes);
      expect(proposalsOf(frameOf(on(inside, label1(inside))))).toEqual(boxes.slice(1));
    });

    test("those are taken back and made again one by one, after the acceptance", () => {
      expect(undoesNext(one)).toBe(false);
      let state = on(one, { type: "undone" });
      expect(clicksOf(state)).toEqual([a, b, c]);
      expect(isAnswered(frameOf(state))).toBe(true);
      state = on(state, { type: "undone" });
      expect([clicksOf(state), newClicksOf(frameOf(state))]).toEqual([[a, c], []]);
      expect(canUndo(frameOf(state))).toBe(false);
      state = on(state, { type: "redone" }, { type: "redone" });
      expect(frameOf(state).history).toEqual(frameOf(one).history);
      expect(newClicksOf(frameOf(state))).toEqual([b, d]);
    });

    test("undone, also with some of them taken back, everything is as it was", () => {
      for (const state of [one, on(one, { type: "undone" })]) {
        const undone = on(state, stepped(0), { type: "acceptance undone" });
        expect(frameOf(undone)).toMatchObject({ ...frameOf(all), undone: { ids: [4] } });
        expect(frameOf(on(undone, { type: "acceptance redone" }))).toEqual(frameOf(state));
      }
    });

    test("undone after new clicks, these stay", () => {
      for (const state of [one, on(one, { type: "undone" })]) {
        const undone = on(state, clicked(click(9)), { type: "acceptance undone" });
        expect(clicksOf(undone)).toEqual([...clicksOf(state), click(9)]);
        expect(frameOf(undone).accepted).toBeNull();
      }
    });

    test("the others are accepted after it, and both are undone", () => {
      let state = on(one, accept([5], clicksOf(one), boxes), stepped(2));
      expect([newClicksOf(frameOf(state)), canUndo(frameOf(state))]).toEqual([[], false]);
      state = on(state, stepped(1), { type: "acceptance undone" });
      expect(newClicksOf(frameOf(state))).toEqual([b, d]);
      state = on(state, stepped(0), { type: "acceptance undone" });
      expect(newClicksOf(frameOf(state))).toEqual([a, b, c, d]);
      expect(undoesNext(state)).toBe(true);
    });

    test("edits of other labels stay too", () => {
      const edited = on(all, dropped(50, 2), dropped(100, 1));
      const state = on(edited, label1(edited));
      expect(proposalsOf(frameOf(state))).toEqual([boxes[3]]);
      const undone = on(state, { type: "undone" });
      expect(proposalsOf(frameOf(undone))).toEqual([boxes[1], boxes[3]]);
      expect(newClicksOf(frameOf(undone))).toEqual([b, d]);
    });

    test("clicks that were made meanwhile come last", () => {
      const more = on(all, clicked(click(9, 2)));
      const state = on(more, label1(all));
      expect(newClicksOf(frameOf(state))).toEqual([b, d, click(9, 2)]);
      expect(newClicksOf(frameOf(on(state, { type: "undone" })))).toEqual([b, d]);
    });
  });
});

test("the states before are not changed", () => {
  const frozen = (value: unknown): void => {
    if (typeof value !== "object" || value === null || Object.isFrozen(value)) return;
    if (value instanceof Map) value.set = () => expect.fail("a map was changed");
    Object.freeze(value);
    Object.values(value).forEach(frozen);
  };
  let state = initialState();
  for (const action of [
    shown(0),
    clicked(click(1)),
    { type: "sent" },
    answer(1, 1, [proposal(0)]),
    { type: "edited", edit: { proposal: proposal(0), label: null } },
    { type: "undone" },
    { type: "redone" },
    { type: "cleared" },
    { type: "armed", label: 2 },
    { type: "threshold set", threshold: 0.2 },
    { type: "threshold set", threshold: 0.3, label: 2 },
    { type: "accepted", frame: 0, clicks: [], unsettled: [], ids: [], taken: [proposal(0)] },
    { type: "acceptance undone" },
    { type: "acceptance redone" },
    { type: "CVAT stepped", depth: 1 },
    { type: "CVAT stepped", depth: 0 },
  ] as Action[]) {
    for (const frame of state.frames.values()) frozen(frame);
    state = reduce(state, action);
  }
  expect(state).toMatchObject({ armed: 2, threshold: 0.2, frame: 0 });
});
