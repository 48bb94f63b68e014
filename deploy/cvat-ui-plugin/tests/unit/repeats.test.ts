import { describe, expect, test } from "vitest";
import { clickAfter, placesOf } from "../../src/ts/repeats";
import type { Click } from "../../src/ts/state";

const click = (x: number, y = 0, label = 1, positive = true): Click => ({ x, y, label, positive });

const slow = { scale: 1, sinceLast: 500, repeats: true };
const quick = { ...slow, sinceLast: 499 };
const closed = { ...slow, repeats: false };

describe("a click where one was made before", () => {
  test("is made at the very same point, where that is within 4 pixels of the screen", () => {
    expect(clickAfter([], click(14), slow)).toEqual(click(14));
    expect(clickAfter([click(10)], click(14), slow)).toEqual(click(10));
    expect(clickAfter([click(10)], click(14.1), slow)).toEqual(click(14.1));
    expect(clickAfter([click(10)], click(10), slow)).toEqual(click(10));
    // 3 and 4 pixels away along the sides, 5 across.
    expect(clickAfter([click(10)], click(13, 4), slow)).toEqual(click(13, 4));
    for (const [scale, x] of [
      [4, 10],
      [4.1, 11],
      [0.1, 10],
    ] as const)
      expect(clickAfter([click(10)], click(11), { ...slow, scale })).toEqual(click(x));
  });

  test("is a click of its own: what was accepted before it stays so", () => {
    const first = click(10);
    expect(clickAfter([first], click(10), slow)).not.toBe(first);
  });

  test("repeats the nearest one, however long ago it was made", () => {
    const earlier = [click(10), click(15), click(90)];
    expect(clickAfter(earlier, click(12), slow)).toEqual(click(10));
    expect(clickAfter(earlier, click(13), slow)).toEqual(click(15));
    expect(clickAfter(earlier, click(91), slow)).toEqual(click(90));
  });

  test("repeats only a positive one of its label", () => {
    const others = [click(10, 0, 2), click(10, 0, 1, false)];
    expect(clickAfter(others, click(11), slow)).toEqual(click(11));
    expect(clickAfter([click(9), ...others], click(11), slow)).toEqual(click(9));
  });

  test("is none as the second half of a double click", () => {
    expect(clickAfter([click(10)], click(13), quick)).toBeNull();
    expect(clickAfter([click(10), click(15)], click(12), quick)).toBeNull();
    // Elsewhere, of another label, or after a click elsewhere it is none of these halves.
    expect(clickAfter([click(10)], click(15), quick)).toEqual(click(15));
    expect(clickAfter([click(10)], click(10, 0, 2), quick)).toEqual(click(10, 0, 2));
    expect(clickAfter([click(10), click(90)], click(11), quick)).toEqual(click(10));
  });

  test.each([
    ["says again that none is there", click(10, 0, 1, false), slow],
    ["is one more for a closed function", click(10), closed],
  ])("is none, however late, if it %s", (_, one, how) => {
    const at = (x: number): Click => ({ ...one, x });
    expect(clickAfter([one], at(11.9), how)).toBeNull();
    expect(clickAfter([one], at(12), how)).toEqual(at(12));
    // As ever, the last click alone counts.
    expect(clickAfter([one, click(90)], at(11), how)).toEqual(at(11));
  });
});

test("places are clicks with their repeats, in the order of the first ones", () => {
  const [a, b, c] = [click(1), click(1, 0, 2), click(1, 0, 1, false)];
  expect(placesOf([a, b, { ...a }, c, { ...a }])).toEqual([
    { click: a, times: 3 },
    { click: b, times: 1 },
    { click: c, times: 1 },
  ]);
  expect(placesOf([])).toEqual([]);
});
