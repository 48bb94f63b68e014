import { expect, test } from "vitest";
import type { SavedShape } from "../../src/ts/cvat/cvat";
import { rectangleOf } from "../../src/ts/cvat/scene";

test.each([
  ["semi-auto", "semi-auto"],
  // Servers of before sources were kept.
  [undefined, "manual"],
])("a rectangle that the server has says who made it: %s", (source, wanted) => {
  const shape = { frame: 3, type: "rectangle", label_id: 7, points: [9, 8, 1, 2], source };
  expect(rectangleOf(shape as SavedShape)).toEqual({
    points: [1, 2, 9, 8],
    rotation: 0,
    label: 7,
    source: wanted,
  });
});
