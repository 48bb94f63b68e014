import { afterEach, expect, test, vi } from "vitest";
import { isDark, Preview, paleOf } from "../../src/ts/preview";

afterEach(() => {
  vi.unstubAllGlobals();
});

test.each([
  ["#000000", true],
  ["#4c4c00", true], // dark olive, as CVAT gives it
  ["#00f", true],
  ["#808080", false],
  ["#ff0000", false],
  ["#fafa37", false],
  ["#ffffff", false],
])("%s is dark: %s", (color, dark) => {
  expect(isDark(color)).toBe(dark);
});

test.each([
  ["#4c4c00", "#ffff80"],
  ["#00f", "#8080ff"],
  ["#204020", "#bfffbf"],
  ["#000000", "#ffffff"],
])("the pale colour beside %s is %s", (color, pale) => {
  expect(paleOf(color)).toBe(pale);
});

test.each([Number.NaN, 0, Number.POSITIVE_INFINITY])(
  "nothing is drawn in the scale %s, which CVAT has while it lays out its page",
  (scale) => {
    const outlines: string[] = [];
    const createElementNS = () => ({
      dataset: {},
      style: { setProperty: () => {} },
      append: () => {},
      replaceChildren: () => {},
      setAttribute: (name: string, value: string) => {
        if (name === "d") outlines.push(value);
      },
    });
    vi.stubGlobal("document", { createElementNS });
    const preview = new Preview();
    preview.scale = scale;
    const click = { x: 5, y: 5, color: "#ff0000" };
    preview.drawMarks([
      { ...click, positive: true, waiting: true },
      { ...click, positive: false, waiting: false },
    ]);
    preview.drawBoxes([{ points: [0, 0, 10, 10], rotation: 0, color: "#00f", look: "strong" }]);
    expect(outlines.length).toBeGreaterThan(0);
    expect(outlines.filter((outline) => /NaN|Infinity/.test(outline))).toEqual([]);
  },
);
