import { beforeEach, describe, expect, test } from "vitest";
import { Acceptance } from "../../src/ts/acceptance";
import { Boxes } from "../../src/ts/boxes";
import type { Host, Rectangle, Scene } from "../../src/ts/cvat/host";
import { Session } from "../../src/ts/session";
import { type Click, canUndo, newClicksOf, type Proposal } from "../../src/ts/state";

const WASHER = 1;
const BOLT = 2;

const click = (x: number, label: number): Click => ({ x, y: 5, label, positive: true });

function proposal(x: number, label: number): Proposal {
  return { points: [x, 0, x + 10, 10], rotation: 0, label, score: 1, sure: true, rival: null };
}

const SCENE = {
  jobId: 1,
  frame: 0,
  frames: [0],
  labels: [WASHER, BOLT].map((id) => ({ id, name: `label ${id}`, color: "red" })),
  models: [{ id: "open", name: "open", classes: [] }],
  rectangles: [],
  elsewhere: [],
  ids: new Set(),
  depth: 0,
  redoable: false,
} as unknown as Scene;

describe("the boxes of the armed label alone", () => {
  const clicks = [click(5, BOLT), click(55, WASHER), click(105, BOLT)];
  let made: readonly Rectangle[];
  let session: Session;
  let boxes: Boxes;
  let acceptance: Acceptance;

  const offered = () => boxes.offered.map(({ label }) => label);

  beforeEach(() => {
    made = [];
    const host: Partial<Host> = {
      arm: () => {},
      create: async (rectangles) => {
        made = rectangles;
        return rectangles.map((_, i) => i);
      },
    };
    session = new Session(host as Host, () => boxes.update());
    boxes = new Boxes(session);
    acceptance = new Acceptance(session, boxes);
    session.scene = SCENE;
    session.chooseClasses(SCENE);
    session.do({ type: "frame shown", frame: 0 });
    for (const one of clicks) session.do({ type: "clicked", clicks: [one] });
    session.reduce({ type: "sent" });
    session.do({
      type: "answered",
      id: session.state.requests,
      proposals: clicks.map(({ x, label }) => proposal(x - 5, label)),
      notes: [],
      progress: 1,
      threshold: 0.5,
    });
  });

  test("the clicks of others wait with their boxes, until these are accepted", async () => {
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
});
