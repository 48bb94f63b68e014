import { describe, expect, test } from "vitest";
import type { Host, KnownRectangle } from "../../src/ts/cvat/host";
import { ExemplarStore, type Work } from "../../src/ts/exemplar_store";
import {
  carriedOf,
  chosenOf,
  partsOf,
  readStored,
  type StoredExemplar,
  writeStored,
} from "../../src/ts/exemplars";
import { ClassMap } from "../../src/ts/labels";
import type { RequestPoints } from "../../src/ts/protocol";
import { type Click, type Clicks, EMPTY_FRAME } from "../../src/ts/state";

const click = (x: number, label = 1, positive = true): Click => ({ x, y: 5, label, positive });
const box = (x: number, label = 1, source = "manual") =>
  ({ points: [x, 0, x + 10, 10], rotation: 0, label, source }) as const;

/** What is chosen of a frame: its clicks, and its boxes. */
function choose(clicks: Clicks, rectangles: readonly KnownRectangle[]) {
  const chosen = chosenOf(3, clicks, rectangles);
  return {
    clicks: chosen.flatMap((one) => ("click" in one ? [one.click] : [])),
    boxes: chosen.flatMap((one) =>
      "corners" in one ? [{ points: one.corners, label: one.label, clicked: one.clicked }] : [],
    ),
  };
}

describe("what a frame is asked for", () => {
  test("boxes stand for their clicks; clicks without a box and negative ones are kept", () => {
    const clicks = [click(5), click(55), click(5, 2), click(7, 1, false)];
    const { clicks: chosen, boxes } = choose(clicks, [box(0), box(100, 3)]);
    // A box of another label is none of the click's.
    expect(chosen).toEqual([click(55), click(5, 2), click(7, 1, false)]);
    expect(boxes).toEqual([
      { points: [0, 0, 10, 10], label: 1, clicked: true },
      { points: [100, 0, 110, 10], label: 3, clicked: false },
    ]);
  });

  test("of many boxes the clicked ones and some of the others", () => {
    const rectangles = Array.from({ length: 40 }, (_, i) => box(20 * i));
    const { boxes } = choose([click(20 * 39 + 5)], rectangles);
    expect(boxes).toHaveLength(8);
    expect(boxes[0]?.points[0]).toBe(20 * 39);
    const lefts = boxes.slice(1).map(({ points }) => points[0]);
    expect(lefts[0]).toBe(0);
    expect(Math.max(...lefts)).toBeGreaterThan(20 * 30);
  });

  test("of boxes that were accepted with others three at most, where there is room for them", () => {
    const accepted = Array.from({ length: 20 }, (_, i) => box(20 * i, 1, "semi-auto"));
    const drawn = (count: number) => Array.from({ length: count }, (_, i) => box(500 + 20 * i));
    const lefts = (clicks: Clicks, rectangles: readonly KnownRectangle[]) =>
      choose(clicks, rectangles).boxes.map(({ points }) => points[0]);
    expect(lefts([], accepted)).toEqual([0, 120, 260]);
    // A click says that a box is right.
    expect(lefts([click(25), click(45)], accepted)).toEqual([20, 40, 0, 160, 280]);
    expect(lefts([], [...accepted, ...drawn(2)])).toEqual([500, 520, 0, 120, 260]);
    expect(lefts([], [...accepted, ...drawn(7)])).toEqual([500, 520, 540, 560, 580, 600, 620, 0]);
    expect(lefts([], [...accepted, ...drawn(8)])).toHaveLength(8);
    // Of each label.
    expect(lefts([], [...accepted, ...accepted.map((one) => ({ ...one, label: 2 }))])).toHaveLength(
      6,
    );
  });

  test("so many labels, and so many clicks and boxes, as fit in one request", () => {
    const labels = Array.from({ length: 70 }, (_, i) => box(20 * i, i));
    const sizes = (rectangles: readonly KnownRectangle[]) =>
      partsOf(chosenOf(3, [], rectangles)).map((part) => part.length);
    expect(sizes([])).toEqual([]);
    expect(sizes(labels)).toEqual([64, 6]);
    const many = labels.slice(0, 40).flatMap((one) => Array.from({ length: 8 }, () => one));
    expect(sizes(many)).toEqual([256, 64]);
  });

  test("the latest clicks, for each label and sign", () => {
    const clicks = Array.from({ length: 12 }, (_, i) => click(20 * i));
    const { clicks: chosen } = choose([...clicks, click(3, 2)], []);
    expect(chosen).toEqual([...clicks.slice(4), click(3, 2)]);
  });

  test("a click and its repeats are one, of another id with each of them", () => {
    const idsOf = (...clicks: Clicks) => chosenOf(3, clicks, []).map(({ id }) => id);
    const chosen = chosenOf(3, [click(5), click(55), click(5), click(5)], []);
    expect(chosen).toMatchObject([
      { click: click(5), times: 3 },
      { click: click(55), times: 1 },
    ]);
    const ids = [1, 2, 3].flatMap((times) =>
      idsOf(...Array.from({ length: times }, () => click(5))),
    );
    expect(new Set(ids).size).toBe(3);
    expect(ids[2]).toBe(chosen[0]?.id);
    // Of eight, too: places are counted.
    const places = Array.from({ length: 12 }, (_, i) => click(20 * i));
    expect(choose([...places, ...places], []).clicks).toEqual(places.slice(4));
    // A box stands for all of them.
    expect(choose([click(5), click(5)], [box(0)]).clicks).toEqual([]);
  });

  test("a part of a request counts repeats, and has all of a click", () => {
    const times = (count: number, x: number) => Array.from({ length: count }, () => click(x));
    const parts = partsOf(chosenOf(3, [...times(100, 5), ...times(156, 55), ...times(2, 90)], []));
    expect(parts.map((part) => part.map((one) => one.times))).toEqual([[100, 156], [2]]);
    const more = partsOf(chosenOf(3, [...times(100, 5), ...times(157, 55), ...times(2, 90)], []));
    expect(more.map((part) => part.map((one) => one.times))).toEqual([[100], [157, 2]]);
  });

  test("a rotated box is the upright one around it", () => {
    const rotated = { ...box(0), points: [0, 0, 20, 10], rotation: 90 } as const;
    const { boxes } = choose([], [rotated]);
    expect(boxes[0]?.points.map(Math.round)).toEqual([5, -5, 15, 15]);
  });

  test("ids are those of the clicks and boxes, in the order of the request", () => {
    const chosen = chosenOf(3, [click(55), click(7, 1, false)], [box(0)]);
    expect(chosen.map(({ label }) => label)).toEqual([1, 1, 1]);
    expect(new Set(chosen.map(({ id }) => id)).size).toBe(3);
    // The same click is the same exemplar, whatever else was clicked, and another on another frame.
    const [same] = chosenOf(3, [click(55)], []);
    expect(same).toEqual(chosen[0]);
    expect(chosenOf(4, [click(55)], [])[0]?.id).not.toBe(same?.id);
  });
});

const kept = (label: number, positive = true, width = 1): StoredExemplar => ({
  id: `${label} ${positive} ${width}`,
  thumbnail: "",
  label,
  positive,
  width,
  height: 1,
  vector: "AQID",
});

describe("what goes with a request", () => {
  const classOf = (label: number) => (label < 10 ? label + 100 : undefined);

  test("those of the labels that can be clicked, as classes", () => {
    expect(carriedOf("a", [kept(1), kept(11), kept(2, false)], classOf, [])).toEqual({
      weights: "a",
      exemplars: [
        { classIndex: 101, positive: true, width: 1, height: 1, vector: "AQID" },
        { classIndex: 102, positive: false, width: 1, height: 1, vector: "AQID" },
      ],
    });
  });

  test("nothing without an object to look for", () => {
    expect(carriedOf("a", [], classOf, [])).toBeNull();
    expect(carriedOf("a", [kept(1, false), kept(11)], classOf, [])).toBeNull();
  });

  test("a bounded number of each label, of the first frames", () => {
    const many = (width: number) => Array.from({ length: 20 }, () => kept(1, true, width));
    const carried = carriedOf("a", [...many(1), ...many(2), kept(3)], classOf, []);
    const of = (wanted: number) =>
      carried?.exemplars.filter(({ classIndex, width }) => classIndex === 101 && width === wanted);
    expect([of(1)?.length, of(2)?.length]).toEqual([20, 4]);
    expect(carried?.exemplars.at(-1)?.classIndex).toBe(103);
  });

  test("of 64 labels at most, first of those that are clicked", () => {
    const all = Array.from({ length: 100 }, (_, i) => kept(i));
    const labels = (clicked: readonly number[]) =>
      carriedOf("a", all, (label) => label, clicked)?.exemplars.map(({ classIndex }) => classIndex);
    expect(labels([])).toEqual(Array.from({ length: 64 }, (_, i) => i));
    expect(labels([80, 99, 120])).toEqual([...Array.from({ length: 61 }, (_, i) => i), 80, 99]);
  });

  test("kept in the tab and read again", () => {
    const frames = new Map([[3, new Map([[kept(1).id, kept(1)]])]]);
    const taken = { model: "open", weights: "a", frames };
    const value = JSON.parse(JSON.stringify(writeStored(taken)));
    expect(readStored(value)).toEqual(taken);
    for (const other of [null, { ...value, frames: [[4, { key: 1 }]] }, { ...value, model: 1 }])
      expect(readStored(other).frames.size).toBe(0);
  });
});

describe("exemplars of a job's frames", () => {
  const labels = [{ id: 1, name: "bolt", color: "#f00" }];
  const model = { id: "open", name: "open", classes: [] };

  /** A job whose frames have so many boxes each, and a function that answers pictures of a size. */
  function job(frames: number, boxes: number, characters: number) {
    const asked: number[] = [];
    const requests: RequestPoints[] = [];
    const served = { weights: "ab".repeat(32) };
    const host = {
      ask: async (_: string, points: RequestPoints, __: unknown, frame: number) => {
        asked.push(frame);
        requests.push(points);
        const one = { class: 0, positive: true, width: 1, height: 1, vector: "AQID" };
        const thumbnail = "A".repeat(characters);
        const exemplars = points.neg_points
          .slice(2)
          .map((_, i) => ({ ...one, width: i + 1, thumbnail }));
        return { c3det: 2, exemplars, ...served, progress: 1 };
      },
    } as unknown as Host;
    const rectangles = Array.from({ length: boxes }, (_, i) => box(20 * i));
    const saved = new Map(Array.from({ length: frames }, (_, i) => [i, rectangles]));
    const work: Work = {
      model,
      classes: new ClassMap(labels, model, {}),
      frames: new Map(),
      rectangles: new Map(),
      saved,
    };
    const store = new ExemplarStore(host);
    store.open(1);
    const carried = (here: number, other: Partial<Work> = {}) =>
      store.carried(
        here,
        { ...work, rectangles: new Map([[here, []]]), ...other },
        new AbortController().signal,
        [],
      );
    return { store, work, asked, requests, served, carried };
  }

  test("each is shown, dropped and taken back, without asking again", async () => {
    const { store, work, asked, carried } = job(3, 2, 4);
    expect(store.known(2, work)).toEqual([]);
    expect((await carried(2))?.exemplars).toHaveLength(4);
    const known = store.known(2, work);
    expect(known.map(({ frame, label, thumbnail }) => [frame, label, thumbnail])).toEqual([
      [1, 1, "AAAA"],
      [1, 1, "AAAA"],
      [0, 1, "AAAA"],
      [0, 1, "AAAA"],
    ]);
    const { id } = known[1] as (typeof known)[0];
    store.toggle(id);
    expect((await carried(2))?.exemplars).toHaveLength(3);
    expect(store.known(2, work).map((one) => store.isUsed(one.id))).toEqual([
      true,
      false,
      true,
      true,
    ]);
    store.toggle(id);
    expect((await carried(2))?.exemplars).toHaveLength(4);
    expect(asked).toEqual([1, 0]);
  });

  test("of many frames those are kept that were used last", async () => {
    const { asked, carried } = job(40, 8, 20_000);
    for (let here = 0; here < 40; here += 1) await carried(here);
    expect(new Set(asked).size).toBe(40);
    const before = asked.length;
    await carried(39);
    expect(asked).toHaveLength(before);
    // 2,000,000 characters are the exemplars of some twelve frames: the first ones are asked anew.
    await carried(0);
    expect(asked.slice(before).sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  /** The frames of a job, of which one has clicks. */
  const clicked = (frame: number, ...clicks: Clicks) =>
    new Map([[frame, { ...EMPTY_FRAME, history: [{ clicks, edits: [], depth: 0 }] }]]);

  const rectangle = (x: number, source: string) => box(x, 1, source);

  test("of the frame that is shown go the boxes that no click says, and each is asked for once", async () => {
    const { store, work, asked, requests, carried } = job(2, 1, 4);
    const made = [rectangle(0, "semi-auto"), rectangle(20, "manual"), rectangle(40, "auto")];
    const rectangles = new Map([[0, made]]);
    // The box at 0 answers a click that still counts; nobody has checked the one at 40.
    const frames = clicked(0, click(5), click(90));
    const shown = { frames, rectangles };
    expect((await carried(0, shown))?.exemplars).toHaveLength(2);
    expect(asked).toEqual([0, 1]);
    expect(requests[0]?.pos_points).toEqual([
      [20, 0],
      [30, 10],
    ]);
    const [own] = store.known(0, { ...work, ...shown });
    expect(own).toMatchObject({ frame: 0, label: 1 });

    // More clicks ask for nothing more, another box for itself alone.
    await carried(0, { ...shown, frames: clicked(0, click(5), click(90), click(95)) });
    expect(asked).toEqual([0, 1]);
    const more = new Map([[0, [...made, rectangle(60, "manual")]]]);
    expect((await carried(0, { frames, rectangles: more }))?.exemplars).toHaveLength(3);
    expect(requests[2]?.pos_points).toEqual([
      [60, 0],
      [70, 10],
    ]);
    expect(asked).toEqual([0, 1, 0]);

    // What was dropped here is dropped for the next frame too, for which only the rest is asked.
    store.toggle(own?.id as string);
    expect((await carried(0, { frames, rectangles: more }))?.exemplars).toHaveLength(2);
    expect((await carried(1, { frames, rectangles: more }))?.exemplars).toHaveLength(4);
    expect(asked).toEqual([0, 1, 0, 0]);
    expect(requests[3]?.pos_points).toEqual([
      [90, 5],
      [0, 0],
      [10, 10],
    ]);
    const known = store.known(1, { ...work, frames, rectangles: more });
    expect(known.filter(({ id }) => !store.isUsed(id)).map(({ id }) => id)).toEqual([own?.id]);
  });

  test("a click is sent as often as it was made, and gives one exemplar", async () => {
    const { store, work, requests, carried } = job(0, 0, 4);
    const made = new Map([[0, [rectangle(90, "manual")]]]);
    const shown = (...clicks: Clicks) => ({ frames: clicked(0, ...clicks), rectangles: made });
    const once = shown(click(5), click(55));
    expect((await carried(1, once))?.exemplars).toHaveLength(3);
    const again = shown(click(5), click(55), click(5));
    expect((await carried(1, again))?.exemplars).toHaveLength(3);
    // The box of the click is another one now: it alone is asked for.
    expect(requests).toHaveLength(2);
    expect(requests[1]?.pos_points).toEqual([
      [5, 5],
      [5, 5],
    ]);
    expect(store.known(1, { ...work, ...again })).toHaveLength(3);

    store.forget();
    await carried(1, again);
    expect(requests[2]?.pos_points).toEqual([
      [5, 5],
      [5, 5],
      [55, 5],
      [90, 0],
      [100, 10],
    ]);
    // Of the first two answers, which are the same one in truth, one is kept.
    expect(store.known(1, { ...work, ...again }).map(({ width }) => width)).toEqual([2, 3, 4]);
  });

  test("a frame alone has its own boxes, and none without them", async () => {
    const { store, work, carried } = job(0, 0, 4);
    const drawn = { rectangles: new Map([[0, [rectangle(0, "manual")]]]) };
    expect(store.sources(0, { ...work, ...drawn })).toEqual([0]);
    expect((await carried(0, drawn))?.exemplars).toHaveLength(1);
    const frames = clicked(0, click(5));
    expect(store.sources(0, { ...work, ...drawn, frames })).toEqual([]);
    expect(await carried(0, { ...drawn, frames })).toBeNull();
  });

  test("those of other weights or of another function are asked for again", async () => {
    const { store, asked, served, carried } = job(3, 1, 4);
    await carried(2, { saved: new Map([[1, [box(0)]]]) });
    expect(asked).toEqual([1]);
    // Frame 0 is answered with other weights: those of frame 1 go, and are asked for the next time.
    served.weights = "cd".repeat(32);
    const mixed = await carried(2);
    expect([mixed?.weights, mixed?.exemplars.length]).toEqual([served.weights, 1]);
    expect((await carried(2))?.exemplars).toHaveLength(2);
    expect(asked).toEqual([1, 0, 1]);
    await carried(2, { model: { ...model, id: "another" } });
    expect(asked.slice(3)).toEqual([1, 0]);
    store.forget();
    await carried(2, { model: { ...model, id: "another" } });
    expect(asked.slice(5)).toEqual([1, 0]);
  });
});
