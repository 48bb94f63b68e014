import { beforeEach, describe, expect, test } from "vitest";
import { Acceptance } from "../../src/ts/acceptance";
import { Boxes } from "../../src/ts/boxes";
import type { Host, Rectangle } from "../../src/ts/cvat/host";
import { Session } from "../../src/ts/session";
import { type Click, canUndo, newClicksOf, type Proposal } from "../../src/ts/state";
import { answer, SCENE, show } from "./scene";

const WASHER = 1;
const BOLT = 2;

const click = (x: number, label: number, positive = true): Click => ({ x, y: 5, label, positive });

function proposal(x: number, label: number, width = 10): Proposal {
  const points = [x, 0, x + width, 10] as const;
  return { points, rotation: 0, label, score: 1, sure: true, rival: null };
}

describe("some of the boxes alone", () => {
  const clicks = [click(5, BOLT), click(55, WASHER), click(105, BOLT)];
  const proposals = clicks.map(({ x, label }) => proposal(x - 5, label));
  let made: readonly Rectangle[];
  /** The right edge of what is on the screen. */
  let right: number;
  let session: Session;
  let boxes: Boxes;
  let acceptance: Acceptance;

  const offered = () => boxes.offered.map(({ label }) => label);
  const lefts = () => boxes.offered.map(({ points }) => points[0]);

  beforeEach(() => {
    made = [];
    right = 1000;
    const flat = { canvasLeft: 0, canvasTop: 0, left: 0, top: 0, scale: 1, angle: 0 };
    const host: Partial<Host> = {
      arm: () => {},
      placement: () => ({ ...flat, width: 1000, height: 100 }),
      visible: () => ({ left: 0, top: 0, right, bottom: 100 }),
      create: async (rectangles) => {
        made = rectangles;
        return rectangles.map((_, i) => i);
      },
    };
    session = new Session(host as Host, () => boxes.update());
    boxes = new Boxes(session);
    acceptance = new Acceptance(session, boxes);
    show(session);
    for (const one of clicks) session.do({ type: "clicked", clicks: [one] });
    answer(session, proposals);
  });

  test("of one label: the clicks of others wait with their boxes, until these are accepted", async () => {
    await acceptance.accept({ only: WASHER });
    expect(made.map(({ label }) => label)).toEqual([WASHER]);
    expect(offered()).toEqual([BOLT, BOLT]);
    expect(newClicksOf(session.frame)).toEqual([clicks[0], clicks[2]]);
    expect(canUndo(session.frame)).toBe(true);
    await acceptance.accept({});
    expect(made.map(({ label }) => label)).toEqual([BOLT, BOLT]);
    expect([offered(), newClicksOf(session.frame)]).toEqual([[], []]);
    expect(canUndo(session.frame)).toBe(false);
  });

  test("undone in CVAT, all is as it was", async () => {
    await acceptance.accept({ only: WASHER });
    acceptance.follow({ ...SCENE, ids: new Set([0]), depth: 1 });
    acceptance.follow({ ...SCENE, redoable: true });
    expect(offered()).toEqual([BOLT, WASHER, BOLT]);
    expect(newClicksOf(session.frame)).toEqual(clicks);
    acceptance.follow({ ...SCENE, ids: new Set([0]), depth: 1 });
    expect(newClicksOf(session.frame)).toEqual([clicks[0], clicks[2]]);
  });

  test("in view: the clicks of those out of view wait, and can be taken back", async () => {
    right = 80;
    await acceptance.accept({ only: "in view" });
    expect(made.map(({ points }) => points[0])).toEqual([0, 50]);
    expect(lefts()).toEqual([100]);
    expect(newClicksOf(session.frame)).toEqual([clicks[2]]);
    session.do({ type: "undone" });
    expect([newClicksOf(session.frame), canUndo(session.frame)]).toEqual([[], false]);
    session.do({ type: "redone" });
    right = 1000;
    await acceptance.accept({ only: "in view" });
    expect([lefts(), newClicksOf(session.frame)]).toEqual([[], []]);
  });

  test("in view: a click goes with its box, wherever it is itself, and one without a box by its point", async () => {
    // The centre of one box is on the screen and its click is not; of the other, the other way round.
    const [out, inside] = [click(215, BOLT), click(185, WASHER)];
    const none = [click(150, BOLT, false), click(300, BOLT, false)];
    session.do({ type: "clicked", clicks: [out, inside, ...none] });
    answer(session, [...proposals, proposal(180, BOLT, 36), proposal(180, WASHER, 80)]);
    right = 200;
    await acceptance.accept({ only: "in view" });
    expect(boxes.offered).toMatchObject([{ points: [180, 0, 260, 10], label: WASHER }]);
    expect(newClicksOf(session.frame)).toEqual([inside, none[1]]);
  });

  test("in view: what was said of boxes out of view waits with them", async () => {
    const [first, , last] = proposals as [Proposal, Proposal, Proposal];
    session.do({ type: "edited", edit: { proposal: last, label: null } });
    session.do({ type: "edited", edit: { proposal: first, label: WASHER } });
    right = 80;
    await acceptance.accept({ only: "in view" });
    expect(made.map(({ points, label }) => [points[0], label])).toEqual([
      [0, WASHER],
      [50, WASHER],
    ]);
    session.do({ type: "undone" });
    expect(lefts()).toEqual([100]);
    expect(newClicksOf(session.frame)).toEqual([clicks[2]]);
  });
});
