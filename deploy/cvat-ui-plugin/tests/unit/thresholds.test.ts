import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Host } from "../../src/ts/cvat/host";
import { Session } from "../../src/ts/session";
import { thresholdOf } from "../../src/ts/state";
import { Thresholds } from "../../src/ts/thresholds";
import { answer, SCENE, show, storage } from "./scene";

let saved: ReturnType<typeof storage>;
let session: Session;
let thresholds: Thresholds;

beforeEach(() => {
  saved = storage();
  vi.stubGlobal("localStorage", saved);
  session = new Session({ arm: () => {} } as unknown as Host, () => {});
  thresholds = new Thresholds(session);
});

afterEach(() => {
  vi.unstubAllGlobals();
});

function open(jobId: number, scene = SCENE): void {
  session.scene = { ...scene, jobId };
  session.openJob(jobId);
  show(session, session.scene);
}

function choose(label: number, threshold: number | null): void {
  session.do({ type: "armed", label });
  thresholds.set(threshold, true);
}

const kept = () => JSON.parse(saved.getItem("c3det-plugin:thresholds:open") ?? "{}");

test("those of single labels hold in the next job of the task, and are saved all", () => {
  open(1);
  choose(1, 0.6);
  choose(2, 0.7);
  open(2);
  expect([...session.state.thresholds]).toEqual([
    [1, 0.6],
    [2, 0.7],
  ]);
  choose(1, 0.5);
  expect(kept()).toEqual({ "label 1": 0.5, "label 2": 0.7 });
  choose(2, null);
  open(3);
  expect([...session.state.thresholds]).toEqual([[1, 0.5]]);
  expect(kept()).toEqual({ "label 1": 0.5 });
});

test("labels of another task have their own, by their names, and the others keep theirs", () => {
  open(1);
  choose(1, 0.6);
  choose(2, 0.7);
  const other = { ...SCENE, labels: [{ id: 9, name: "label 2", color: "red" }] };
  open(2, other);
  expect([...session.state.thresholds]).toEqual([[9, 0.7]]);
  choose(9, 0.3);
  open(3);
  expect([...session.state.thresholds]).toEqual([
    [1, 0.6],
    [2, 0.3],
  ]);
});

test("the common one has a way back to the weights', where it is another", () => {
  open(1);
  expect(thresholds.moved).toBe(false);
  thresholds.set(0.7);
  expect(thresholds.moved).toBe(true);
  // So it is in the next job, before the weights' is known, and after.
  open(2);
  session.do({ type: "asked" });
  answer(session, []);
  expect([thresholds.moved, session.state.threshold, session.state.modelThreshold]).toEqual([
    true,
    0.7,
    0.1,
  ]);
  thresholds.set(0.1);
  expect(thresholds.moved).toBe(false);
  thresholds.set(0.7);
  // That of a label has its own way back: to the common one.
  session.do({ type: "armed", label: 1 });
  thresholds.chooseScope(true);
  expect(thresholds.moved).toBe(false);
  thresholds.chooseScope(false);
  thresholds.set(null);
  expect([thresholds.moved, thresholdOf(session.state)]).toEqual([false, 0.1]);
  expect(saved.getItem("c3det-plugin:threshold:open")).toBe("null");
});

test("where nothing can be saved they hold as long as the task is open", () => {
  vi.unstubAllGlobals();
  open(1);
  choose(1, 0.6);
  open(2);
  session.map({ id: 2, name: "label 2", color: "red" }, "");
  expect([...session.state.thresholds]).toEqual([[1, 0.6]]);
});
