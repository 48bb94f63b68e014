import { describe, expect, test } from "vitest";
import type { Host } from "../../src/ts/cvat/host";
import { ExemplarStore, type Work } from "../../src/ts/exemplar_store";
import { carriedOf, chosenOf, keptOf, keyOf, type Taken, takenOf } from "../../src/ts/exemplars";
import { ClassMap } from "../../src/ts/labels";
import type { RequestPoints } from "../../src/ts/protocol";
import type { Click } from "../../src/ts/state";

const click = (x: number, label = 1, positive = true): Click => ({ x, y: 5, label, positive });
const box = (x: number, label = 1) => ({ points: [x, 0, x + 10, 10], rotation: 0, label }) as const;

describe("what a frame is asked for", () => {
  test("boxes stand for their clicks; clicks without a box and negative ones are kept", () => {
    const clicks = [click(5), click(55), click(5, 2), click(7, 1, false)];
    const { clicks: chosen, boxes } = chosenOf({ clicks, rectangles: [box(0), box(100, 3)] });
    // A box of another label is none of the click's.
    expect(chosen).toEqual([click(55), click(5, 2), click(7, 1, false)]);
    expect(boxes).toEqual([
      { points: [0, 0, 10, 10], label: 1 },
      { points: [100, 0, 110, 10], label: 3 },
    ]);
  });

  test("of many boxes the clicked ones and some of the others", () => {
    const rectangles = Array.from({ length: 40 }, (_, i) => box(20 * i));
    const { boxes } = chosenOf({ clicks: [click(20 * 39 + 5)], rectangles });
    expect(boxes).toHaveLength(8);
    expect(boxes[0]?.points[0]).toBe(20 * 39);
    const lefts = boxes.slice(1).map(({ points }) => points[0]);
    expect(lefts[0]).toBe(0);
    expect(Math.max(...lefts)).toBeGreaterThan(20 * 30);
  });

  test("the latest clicks, for each label and sign", () => {
    const clicks = Array.from({ length: 12 }, (_, i) => click(20 * i));
    const { clicks: chosen } = chosenOf({ clicks: [...clicks, click(3, 2)], rectangles: [] });
    expect(chosen).toEqual([...clicks.slice(4), click(3, 2)]);
  });

  test("a turned box is the upright one around it", () => {
    const turned = { ...box(0), points: [0, 0, 20, 10], rotation: 90 } as const;
    const { boxes } = chosenOf({ clicks: [], rectangles: [turned] });
    expect(boxes[0]?.points.map(Math.round)).toEqual([5, -5, 15, 15]);
  });

  test("the key changes with the work and with the model", () => {
    const source = chosenOf({ clicks: [click(1)], rectangles: [] });
    expect(keyOf("a", source)).toBe(keyOf("a", chosenOf({ clicks: [click(1)], rectangles: [] })));
    expect(keyOf("a", source)).not.toBe(keyOf("b", source));
    expect(keyOf("a", source)).not.toBe(
      keyOf("a", chosenOf({ clicks: [click(2)], rectangles: [] })),
    );
  });
});

describe("what goes with a request", () => {
  const kept = (label: number, positive = true, width = 1) => ({
    id: "some",
    thumbnail: "",
    label,
    positive,
    width,
    height: 1,
    vector: "AQID",
  });
  const taken = (weights: string, ...exemplars: Taken["exemplars"]): Taken => ({
    key: "",
    weights,
    exemplars,
  });
  const classOf = (label: number) => (label < 10 ? label + 100 : undefined);

  test("those of the labels that can be clicked, as classes", () => {
    expect(carriedOf([taken("a", kept(1), kept(11), kept(2, false))], classOf)).toEqual({
      weights: "a",
      exemplars: [
        { classIndex: 101, positive: true, width: 1, height: 1, vector: "AQID" },
        { classIndex: 102, positive: false, width: 1, height: 1, vector: "AQID" },
      ],
    });
  });

  test("nothing without an object to look for", () => {
    expect(carriedOf([], classOf)).toBeNull();
    expect(carriedOf([taken("a"), taken("a", kept(1, false), kept(11))], classOf)).toBeNull();
  });

  test("one kind of weights, and a bounded number of each label, of the first frames", () => {
    const many = (width: number) => Array.from({ length: 20 }, () => kept(1, true, width));
    const carried = carriedOf(
      [taken("a", ...many(1)), taken("b", kept(2)), taken("a", ...many(2), kept(3))],
      classOf,
    );
    const of = (wanted: number) =>
      carried?.exemplars.filter(({ classIndex, width }) => classIndex === 101 && width === wanted);
    expect([of(1)?.length, of(2)?.length]).toEqual([20, 4]);
    expect(carried?.exemplars.map(({ classIndex }) => classIndex)).not.toContain(102);
    expect(carried?.exemplars.at(-1)?.classIndex).toBe(103);
  });

  test("kept in the tab and read again", () => {
    const value = JSON.parse(JSON.stringify({ 3: taken("a", kept(1)), 4: { key: 1 } }));
    expect([...takenOf(value)]).toEqual([[3, taken("a", kept(1))]]);
    expect(takenOf(null).size).toBe(0);
  });
});

test("the ids of a frame's exemplars, in the order of the request", () => {
  const chosen = chosenOf({ clicks: [click(55), click(7, 1, false)], rectangles: [box(0)] });
  const kept = keptOf(3, chosen);
  expect(kept.map(({ label }) => label)).toEqual([1, 1, 1]);
  expect(new Set(kept.map(({ id }) => id)).size).toBe(3);
  // The same click is the same exemplar, whatever else was clicked, and another on another frame.
  const [same] = keptOf(3, chosenOf({ clicks: [click(55)], rectangles: [] }));
  expect(same).toEqual(kept[0]);
  expect(keptOf(4, chosen).map(({ id }) => id)).not.toContain(same?.id);
});

describe("exemplars of a job's frames", () => {
  const labels = [{ id: 1, name: "bolt", color: "#f00" }];
  const model = { id: "open", name: "open", classes: [] };

  /** A job whose frames have so many boxes each, and a function that answers pictures of a size. */
  function job(frames: number, boxes: number, characters: number) {
    const asked: number[] = [];
    const host = {
      ask: async (_: string, points: RequestPoints, __: number, ___: unknown, frame: number) => {
        asked.push(frame);
        const one = { class: 0, positive: true, width: 1, height: 1, vector: "AQID" };
        const thumbnail = "A".repeat(characters);
        const exemplars = points.neg_points.slice(2).map(() => ({ ...one, thumbnail }));
        return { c3det: 2, exemplars, weights: "ab".repeat(32), progress: 1 };
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
    const carried = (here: number) => store.carried(here, work, new AbortController().signal);
    return { store, work, asked, carried };
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
});
