import { describe, expect, test } from "vitest";
import {
  type Box,
  contains,
  edgesAt,
  grown,
  insideOf,
  intersection,
  isInside,
  overlap,
  type Placement,
  type Point,
  polygonOf,
  shiftInto,
  shortSideOf,
  smallestAt,
  stretched,
  toPicture,
  toScreen,
} from "../../src/ts/geometry";

const box = (x1: number, y1: number, x2: number, y2: number, rotation = 0): Box => ({
  points: [x1, y1, x2, y2],
  rotation,
});

/** Rounded, and without the sign of zero. */
const near = (points: readonly Point[]) =>
  points.map(([x, y]) => [Math.round(x * 1e6) / 1e6 + 0, Math.round(y * 1e6) / 1e6 + 0]);

describe("between picture and screen", () => {
  // A picture of 100 x 40 pixels, twice as large on the screen, about its centre at (160, 75).
  const placement: Placement = {
    canvasLeft: 100,
    canvasTop: 50,
    left: 10,
    top: 5,
    width: 100,
    height: 40,
    scale: 2,
    angle: 0,
  };

  test("zoom keeps the picture's centre", () => {
    expect(toScreen(placement, [50, 20])).toEqual([160, 75]);
    expect(toScreen(placement, [0, 0])).toEqual([60, 35]);
    expect(toScreen(placement, [100, 40])).toEqual([260, 115]);
  });

  test("a quarter turn is clockwise", () => {
    const turned = { ...placement, angle: 90 };
    expect(toScreen(turned, [50, 20])).toEqual([160, 75]);
    // The right end comes to lie at the bottom, the top left corner at the top right.
    expect(toScreen(turned, [100, 20])).toEqual([160, 175]);
    expect(toScreen(turned, [0, 0])).toEqual([200, -25]);
  });

  test("the nearest point of the picture", () => {
    expect(insideOf(placement, [-3, 12])).toEqual([0, 12]);
    expect(insideOf(placement, [101, 41])).toEqual([100, 40]);
  });

  describe("a picture is moved so that a point of it is in view", () => {
    // On the screen the picture is from (60, 35) to (260, 115).
    const shift = (point: Point, view: readonly [number, number, number, number], margin = 10) => {
      const [left, top, right, bottom] = view;
      return near([shiftInto(placement, { left, top, right, bottom }, point, margin)])[0];
    };

    test("not at all where the point is in view", () => {
      expect(shift([50, 20], [100, 50, 220, 100])).toEqual([0, 0]);
      expect(shift([0, 0], [0, 0, 400, 400])).toEqual([0, 0]);
    });

    test("until the point is away from the view's edge", () => {
      // (100, 75) on the screen: ten pixels to the right of the view's left edge at 140 is 150.
      expect(shift([20, 20], [140, 0, 240, 200])).toEqual([50, 0]);
      expect(shift([50, 30], [100, 40, 220, 80])).toEqual([0, -25]);
    });

    test("no further than the picture's own edge", () => {
      // The whole picture is 80 pixels to the left of the view, and the corner 90 of the margin.
      expect(shift([0, 20], [140, 0, 240, 200])).toEqual([80, 0]);
      expect(shift([100, 20], [0, 0, 255, 200])).toEqual([-5, 0]);
    });
  });

  test.each([0, 90, 180, 270, 30])("at %i degrees the two ways are inverse", (angle) => {
    const turned = { ...placement, angle, scale: 0.37 };
    const [x, y] = toPicture(turned, toScreen(turned, [12.5, 33]));
    expect(x).toBeCloseTo(12.5, 9);
    expect(y).toBeCloseTo(33, 9);
  });

  test("the edges belong to the picture", () => {
    expect(isInside(placement, [0, 0])).toBe(true);
    expect(isInside(placement, [100, 40])).toBe(true);
    expect(isInside(placement, [100.01, 20])).toBe(false);
    expect(isInside(placement, [50, -0.01])).toBe(false);
  });
});

describe("boxes", () => {
  test("corners go clockwise, and turn clockwise about the centre", () => {
    expect(polygonOf(box(0, 0, 4, 2))).toEqual([
      [0, 0],
      [4, 0],
      [4, 2],
      [0, 2],
    ]);
    expect(near(polygonOf(box(0, 0, 4, 2, 90)))).toEqual([
      [3, -1],
      [3, 3],
      [1, 3],
      [1, -1],
    ]);
    expect(near(polygonOf(box(-1, -1, 1, 1, 45)))[0]).toEqual([
      0,
      -Math.round(Math.SQRT2 * 1e6) / 1e6,
    ]);
  });

  test("containment heeds the rotation", () => {
    expect(contains(box(0, 0, 4, 2), [4, 2])).toBe(true);
    expect(contains(box(0, 0, 4, 2), [2, 2.5])).toBe(false);
    expect(contains(box(0, 0, 4, 2, 90), [2, 2.5])).toBe(true);
    expect(contains(box(0, 0, 4, 2, 90), [3.5, 1])).toBe(false);
  });

  test("grown by pixels on each side; the shorter side", () => {
    expect(grown(box(2, 3, 4, 8, 30), 1.5)).toEqual(box(0.5, 1.5, 5.5, 9.5, 30));
    expect(shortSideOf(box(2, 3, 4, 8))).toBe(2);
  });

  test("what two parts of the screen share", () => {
    const screen = { left: 0, top: 0, right: 100, bottom: 50 };
    expect(intersection(screen, { left: 10, top: -5, right: 200, bottom: 40 })).toEqual({
      left: 10,
      top: 0,
      right: 100,
      bottom: 40,
    });
  });

  test("the smallest box at a point", () => {
    const [large, small] = [box(0, 0, 10, 10), box(2, 2, 4, 4)];
    expect(smallestAt([large, small], [3, 3])).toBe(small);
    expect(smallestAt([large, small], [5, 5])).toBe(large);
    expect(smallestAt([large, small], [11, 5])).toBeNull();
  });

  test.each([
    ["the same", box(0, 0, 4, 2), box(0, 0, 4, 2), 1],
    ["half moved", box(0, 0, 4, 2), box(2, 0, 6, 2), 4 / 12],
    ["apart", box(0, 0, 4, 2), box(5, 0, 6, 2), 0],
    ["touching", box(0, 0, 4, 2), box(4, 0, 6, 2), 0],
    ["one in the other", box(0, 0, 4, 4), box(1, 1, 3, 3), 4 / 16],
    ["crossing at a right angle", box(0, 0, 4, 2), box(0, 0, 4, 2, 90), 4 / 12],
    // A square and the same turned by 45 degrees share a regular octagon: 8 (sqrt 2 - 1).
    ["an octagon", box(-1, -1, 1, 1), box(-1, -1, 1, 1, 45), 3.313708 / (8 - 3.313708)],
    ["empty ones", box(1, 1, 1, 1), box(1, 1, 1, 1), 0],
  ])("overlap: %s", (_, a, b, wanted) => {
    expect(overlap(a, b)).toBeCloseTo(wanted, 5);
    expect(overlap(b, a)).toBeCloseTo(wanted, 5);
  });

  test("overlap as counted on a fine grid", () => {
    // The obvious twin: of the points of a grid, how many lie in both and in either.
    const [a, b] = [box(1, 2, 8, 5, 25), box(2, 1, 6, 6, 300)];
    let [both, either] = [0, 0];
    for (let x = -2; x < 12; x += 0.02) {
      for (let y = -2; y < 12; y += 0.02) {
        const [inA, inB] = [contains(a, [x, y]), contains(b, [x, y])];
        if (inA && inB) both += 1;
        if (inA || inB) either += 1;
      }
    }
    expect(overlap(a, b)).toBeCloseTo(both / either, 2);
  });
});

describe("edges", () => {
  const box = { points: [10, 20, 50, 40], rotation: 0 } as const;

  test.each([
    ["left", [11, 30], [0]],
    ["right, from outside", [52, 30], [2]],
    ["top", [30, 18], [1]],
    ["bottom right corner", [49, 41], [2, 3]],
    ["the middle", [30, 30], []],
    ["beside it", [54, 30], []],
    ["in line with an edge, far away", [30, 60], []],
  ] as const)("at a point: %s", (_, point, edges) => {
    expect(edgesAt(box, point, 3)).toEqual(edges);
  });

  test("of a box as small as the reach, the nearer one", () => {
    expect(edgesAt({ points: [0, 0, 4, 100], rotation: 0 }, [3, 50], 5)).toEqual([2]);
  });

  test("are moved to a point, and may cross the opposite one", () => {
    expect(stretched(box, [2], [70, 0]).points).toEqual([10, 20, 70, 40]);
    expect(stretched(box, [0, 1], [5, 15]).points).toEqual([5, 15, 50, 40]);
    expect(stretched(box, [0], [80, 0]).points).toEqual([50, 20, 80, 40]);
  });

  test("of a turned box: the others stay where they are in the picture", () => {
    const turned = { points: [10, 20, 50, 40], rotation: 90 } as const;
    // Turned clockwise about (30, 30), its right edge is at the bottom: y is 50.
    expect(edgesAt(turned, [30, 51], 3)).toEqual([2]);
    const longer = stretched(turned, [2], [30, 70]);
    expect(longer.rotation).toBe(90);
    const corners = polygonOf(longer).map(([x, y]) => [Math.round(x), Math.round(y)]);
    expect(corners).toEqual([
      [40, 10],
      [40, 70],
      [20, 70],
      [20, 10],
    ]);
  });
});
