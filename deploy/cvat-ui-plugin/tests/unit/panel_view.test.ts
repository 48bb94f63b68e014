import { describe, expect, test } from "vitest";
import { Acceptance } from "../../src/ts/acceptance";
import { Boxes } from "../../src/ts/boxes";
import type { Host } from "../../src/ts/cvat/host";
import { takeable, viewOf } from "../../src/ts/panel_view";
import { Requests } from "../../src/ts/requests";
import { Session } from "../../src/ts/session";
import { type Click, entryOf, type Proposal } from "../../src/ts/state";
import { Thresholds } from "../../src/ts/thresholds";
import { answer, SCENE, show } from "./scene";

/** A session, and what the panel shows of it. */
function panel() {
  const host: Partial<Host> = { arm: () => {} };
  const session = new Session(host as Host, () => boxes.update());
  const boxes = new Boxes(session);
  const requests = new Requests(session, () => false);
  const acceptance = new Acceptance(session, boxes);
  const parts = { session, boxes, requests, acceptance, thresholds: new Thresholds(session) };
  show(session);
  return { session, view: () => viewOf(SCENE, parts, false) };
}

test("all that was proposed without a click can be cleared", () => {
  const { session, view } = panel();
  const canClear = () => view().canClear;
  expect(canClear()).toBe(false);
  session.do({ type: "asked" });
  const points = [0, 0, 10, 10] as const;
  const proposal: Proposal = { points, rotation: 0, label: 1, score: 1, sure: false, rival: null };
  answer(session, [proposal]);
  expect(canClear()).toBe(true);
  session.do({ type: "cleared" });
  expect(canClear()).toBe(false);
  session.do({ type: "clicked", clicks: [{ x: 5, y: 5, label: 1, positive: true }] });
  expect(canClear()).toBe(true);
});

test("a frame that CVAT has as removed is not waiting, and is again what it was when it comes back", () => {
  const { session, view } = panel();
  const status = () => view().frames;
  session.do({ type: "clicked", clicks: [{ x: 5, y: 5, label: 1, positive: true }] });
  expect(status()).toEqual([[0, "waiting"]]);
  session.removed.add(0);
  expect(status()).toEqual([[0, "removed"]]);
  session.removed.delete(0);
  expect(status()).toEqual([[0, "waiting"]]);
});

describe("a click that was repeated", () => {
  const click = (x: number, label = 1): Click => ({ x, y: 5, label, positive: true });

  test("counts once, accepted or not", () => {
    const { session, view } = panel();
    const counts = () => [view().clicks, view().earlierClicks];
    session.do({ type: "clicked", clicks: [click(1), click(9), click(1)] });
    expect(counts()).toEqual([2, 0]);
    const { clicks } = entryOf(session.frame);
    const nothing = { unsettled: [], ids: [], taken: [] };
    session.do({ type: "accepted", frame: 0, clicks, ...nothing });
    expect(counts()).toEqual([0, 2]);
    session.do({ type: "clicked", clicks: [click(1)] });
    expect(counts()).toEqual([1, 1]);
  });

  test("does not come of the annotation's points", () => {
    const { session } = panel();
    session.scene = { ...SCENE, points: [click(1), click(9), click(9), click(9, 2)] };
    session.do({ type: "clicked", clicks: [click(1), click(1)] });
    expect(takeable(session)).toEqual([click(9), click(9, 2)]);
    session.do({ type: "clicked", clicks: takeable(session) });
    expect(takeable(session)).toEqual([]);
  });
});
