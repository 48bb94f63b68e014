import { afterEach, describe, expect, test, vi } from "vitest";
import type { Host } from "../../src/ts/cvat/host";
import { ExemplarStore } from "../../src/ts/exemplar_store";
import { Session } from "../../src/ts/session";
import { entryOf } from "../../src/ts/state";
import { SCENE, show, storage } from "./scene";

test("what is said of a step of CVAT's ends when CVAT takes the step back", () => {
  const host: Partial<Host> = { arm: () => {} };
  const session = new Session(host as Host, () => {});
  show(session);
  session.say("Rectangle removed. Ctrl+Z brings it back.");
  session.do({ type: "CVAT stepped", depth: 1 });
  expect(session.notice).not.toBeNull();
  session.do({ type: "CVAT stepped", depth: 0 });
  expect(session.notice).toBeNull();
});

test("removed frames are known once they were passed over, or have clicks", async () => {
  const removed = new Set([1, 2, 4, 6]);
  const host: Partial<Host> = {
    arm: () => {},
    firstKept: async (frames) => frames.find((frame) => !removed.has(frame)),
  };
  const clicks = [{ x: 1, y: 1, label: 1, positive: true }];
  const tab = storage() as unknown as Storage;
  tab.setItem("c3det-plugin:clicks:3", JSON.stringify({ 0: clicks, 4: clicks }));
  vi.stubGlobal("sessionStorage", tab);
  const session = new Session(host as Host, () => {});
  session.openJob(3);
  vi.unstubAllGlobals();
  show(session, { ...SCENE, frames: [0, 1, 2, 3, 4, 5, 6] });
  await session.findRemoved();
  expect([...session.removed]).toEqual([4]);
  expect(await session.nextFrame()).toBe(3);
  expect([...session.removed]).toEqual([4, 1, 2]);
  show(session, { ...SCENE, frame: 5, frames: [0, 1, 2, 3, 4, 5, 6] });
  expect(await session.nextFrame()).toBeUndefined();
  expect(session.removed.has(6)).toBe(true);
  session.openJob(4);
  expect(session.removed.size).toBe(0);
});

describe("clicks that were not accepted", () => {
  const click = { x: 1, y: 1, label: 1, positive: true };
  const exemplars = (job: number) => `c3det-plugin:exemplars:${job}`;
  const kept = (tab: Storage) => JSON.parse(tab.getItem("c3det-plugin:clicks:3") ?? "{}")[0];

  function open(most: number): { session: Session; tab: Storage } {
    const tab = storage(most) as unknown as Storage;
    vi.stubGlobal("sessionStorage", tab);
    for (const job of [1, 3]) tab.setItem(exemplars(job), "x".repeat(400));
    const session = new Session({ arm: () => {} } as unknown as Host, () => {});
    session.openJob(3);
    show(session);
    return { session, tab };
  }

  afterEach(() => {
    vi.unstubAllGlobals();
  });

  test("need the room of the exemplars once the tab is full", () => {
    const { session, tab } = open(820);
    session.do({ type: "clicked", clicks: [click] });
    expect(kept(tab)).toEqual([click]);
    expect([tab.getItem(exemplars(1)), tab.getItem(exemplars(3))]).toEqual([null, null]);
    expect(session.notice).toBeNull();
  });

  test("are repeats when they come back, as they were", () => {
    const { session } = open(820);
    for (let i = 0; i < 2; i += 1) session.do({ type: "clicked", clicks: [{ ...click }] });
    session.openJob(3);
    show(session);
    expect(entryOf(session.frame).clicks).toEqual([click, click]);
  });

  test("that the tab cannot keep are told of, once", () => {
    const { session, tab } = open(820);
    tab.setItem("another", "y".repeat(10));
    tab.setItem(exemplars(1), "");
    tab.setItem(exemplars(3), "");
    tab.setItem("another", "y".repeat(800));
    session.do({ type: "clicked", clicks: [click] });
    expect(session.notice?.message).toMatch(/^The browser keeps no more clicks in this tab/);
    session.do({ type: "clicked", clicks: [click] });
    expect(session.notice).toBeNull();
  });

  test("have the room of other jobs' exemplars as soon as a job is opened", () => {
    const { tab } = open(820);
    new ExemplarStore({} as Host).open(3);
    expect([tab.getItem(exemplars(1)), tab.getItem(exemplars(3))]).toEqual([null, "x".repeat(400)]);
  });
});
