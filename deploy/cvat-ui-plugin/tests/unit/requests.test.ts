import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Host, MadeRectangle, Scene } from "../../src/ts/cvat/host";
import type { RequestPoints } from "../../src/ts/protocol";
import { Requests } from "../../src/ts/requests";
import { Session } from "../../src/ts/session";
import type { Click } from "../../src/ts/state";
import { SCENE, show } from "./scene";

const rectangle = (source: string): MadeRectangle => ({
  points: [0, 0, 10, 10],
  rotation: 0,
  label: 1,
  clientId: 1,
  source,
  locked: false,
  hidden: false,
  tracked: false,
});

describe("a frame that is asked for by itself", () => {
  const models = {
    open: SCENE.models,
    closed: [{ id: "closed", name: "closed", classes: ["label 1", "label 2"] }],
  };
  let away: boolean;
  /** CVAT looks for removed frames until then. */
  let searched: Promise<void>;
  let session: Session;
  let requests: Requests;
  let asked: {
    readonly frame: number;
    readonly points: RequestPoints;
    readonly signal: AbortSignal;
    /** Answers that nothing was found. */
    readonly answer: () => Promise<unknown>;
  }[];

  /** A job is opened at its second frame; the server has rectangles of others. */
  async function open(
    scene: Partial<Scene>,
    saved: Scene["saved"] = new Map(),
    clicks: readonly Click[] = [],
  ) {
    const opened: Scene = { ...SCENE, frame: 1, frames: [0, 1, 2], ...scene };
    const host: Partial<Host> = {
      arm: () => {},
      safely: (act) => void act(),
      firstKept: async (frames) => {
        await searched;
        return frames[0];
      },
      ask: (_, points, signal, frame) =>
        new Promise((resolve) => {
          const answer = () => {
            resolve({ c3det: 1, boxes: [], progress: 1 });
            return vi.advanceTimersByTimeAsync(1000);
          };
          asked.push({ frame, points, signal, answer });
        }),
      readSaved: async () => {
        await null;
        session.scene = { ...opened, saved };
      },
    };
    session = new Session(host as Host, () => requests.follow());
    requests = new Requests(session, () => away);
    requests.openJob(opened.jobId);
    show(session, opened);
    if (clicks.length > 0) session.do({ type: "clicked", clicks });
    await shown(opened);
  }

  /** The scene is on the screen for a while. */
  async function shown(scene: Scene) {
    session.rectangles.set(scene.frame, scene.rectangles);
    requests.askByItself();
    await vi.advanceTimersByTimeAsync(1000);
  }

  const saved = new Map([[0, [rectangle("manual")]]]);

  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal("window", globalThis);
    away = false;
    searched = Promise.resolve();
    asked = [];
  });

  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  test.each(["open", "closed"] as const)(
    "of a job with rectangles, as soon as it is opened: %s",
    async (name) => {
      await open({ models: models[name] }, saved);
      expect(session.state.request).toMatchObject({ frame: 1, clicks: [] });
    },
  );

  test("is none that CVAT has as removed", async () => {
    await open({ models: models.closed, removed: true }, saved);
    session.do({ type: "clicked", clicks: [{ x: 1, y: 1, label: 1, positive: true }] });
    expect([session.state.request, requests.canSearch, asked]).toEqual([null, false, []]);
  });

  test("after one with rectangles that were drawn by hand", async () => {
    await open({ frame: 0, rectangles: [rectangle("manual")] });
    expect([session.state.request, requests.worked]).toEqual([null, [0]]);
    const next = { ...SCENE, frame: 1 };
    show(session, next);
    await shown(next);
    expect(session.state.request).toMatchObject({ frame: 1, clicks: [] });
  });

  test.each(["open", "closed"] as const)(
    "is none where nobody has worked on another, nor has rectangles: %s",
    async (name) => {
      const here = [rectangle("manual")];
      await open({ models: models[name] });
      expect([session.state.request, requests.worked]).toEqual([null, []]);
      await open({ models: models[name], rectangles: here }, saved);
      expect([session.state.request, requests.worked]).toEqual([null, [1, 0]]);
      // Rectangles that nobody has checked are no work.
      await open({ models: models[name], frame: 0, rectangles: [rectangle("auto")] });
      const next = { ...SCENE, models: models[name], frame: 1 };
      show(session, next);
      await shown(next);
      expect([session.state.request, requests.worked]).toEqual([null, []]);
    },
  );

  test("is none while the person is away, or does not want it", async () => {
    away = true;
    await open({}, saved);
    expect(session.state.request).toBeNull();
    away = false;
    requests.toggleAsking();
    await vi.advanceTimersByTimeAsync(1000);
    expect(session.state.request).toBeNull();
    requests.toggleAsking();
    await vi.advanceTimersByTimeAsync(1000);
    expect(session.state.request).toMatchObject({ frame: 1, clicks: [] });
  });

  /** The second frame was answered, and the third one is asked for ahead. */
  async function ahead() {
    await open({ models: models.closed }, saved);
    await asked[0]?.answer();
    expect(asked.map(({ frame }) => frame)).toEqual([1, 2]);
    const next = { ...SCENE, models: models.closed, frame: 2, frames: [0, 1, 2] };
    show(session, next);
    return next;
  }

  test("was asked for ahead: where that is the same, its answer is waited for", async () => {
    await shown(await ahead());
    expect(session.state.request).toMatchObject({ frame: 2 });
    await asked[1]?.answer();
    expect([asked.length, session.state.request]).toEqual([2, null]);
  });

  test("was asked for ahead: a click does not wait for that", async () => {
    await ahead();
    session.do({ type: "clicked", clicks: [{ x: 5, y: 5, label: 1, positive: true }] });
    await vi.advanceTimersByTimeAsync(0);
    expect(asked.map(({ frame, points }) => [frame, points.pos_points.length])).toEqual([
      [1, 0],
      [2, 0],
      [2, 1],
    ]);
    expect(asked.slice(1).map(({ signal }) => signal.aborted)).toEqual([true, false]);
    await asked[2]?.answer();
    expect(session.state.request).toBeNull();
  });

  test("is not asked for ahead where another one is shown before CVAT has told which", async () => {
    await open({ models: models.closed }, saved);
    let tell = () => {};
    searched = new Promise((resolve) => {
      tell = resolve;
    });
    await asked[0]?.answer();
    show(session, { ...SCENE, models: models.closed, frame: 0, frames: [0, 1, 2] });
    tell();
    await vi.advanceTimersByTimeAsync(1000);
    expect(asked.map(({ frame }) => frame)).toEqual([1]);
  });

  test("is not asked for ahead any more once another job is open", async () => {
    await ahead();
    requests.openJob(2);
    expect(asked[1]?.signal.aborted).toBe(true);
  });

  test("waits, with clicks that are there at once, for the rectangles that give exemplars", async () => {
    const clicks = [{ x: 5, y: 5, label: 2, positive: true }];
    await open({ models: models.closed }, saved, clicks);
    expect(asked).toMatchObject([{ frame: 1, points: { pos_points: [[5, 5]] } }]);
    asked = [];
    await open({}, saved, clicks);
    expect(asked.map(({ frame }) => frame)).toEqual([0]);
  });
});
