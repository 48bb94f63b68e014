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

/** The paths that a preview has made. */
function drawn(draw: (preview: Preview) => void) {
  const made = (name: string) => ({
    name,
    d: "",
    dataset: {},
    style: { setProperty: () => {}, strokeWidth: "" },
    append: () => {},
    replaceChildren: () => {},
    setAttribute(attribute: string, value: string) {
      if (attribute === "d") this.d = value;
    },
  });
  const elements: ReturnType<typeof made>[] = [];
  const createElementNS = (_: unknown, name: string) => {
    const element = made(name);
    elements.push(element);
    return element;
  };
  vi.stubGlobal("document", { createElementNS });
  draw(new Preview());
  return elements.filter(({ name }) => name === "path");
}

test.each([
  [10, "plain", 0, 2],
  [10, "strong", 0, 3],
  [30, "plain", 0, 3],
  [30, "strong", 0, 4.5],
  [40, "plain", -3, 3],
  [40, "strong", -3.75, 3.75],
] as const)(
  "the lines of a box of %d pixels that is %s reach from %d to %d pixels beyond its edge",
  (side, look, from, to) => {
    // Two pixels of the screen for one of the picture.
    const paths = drawn((preview) => {
      preview.scale = 2;
      const points = [0, 0, side / 2, side / 2] as const;
      preview.drawBoxes([{ points, rotation: 0, color: "#00f", look }]);
    });
    const reaches = paths.map(({ d, style }) => {
      const middle = -2 * Number(/M(\S+)/.exec(d)?.[1]);
      const half = Number(/calc\((\S+)/.exec(style.strokeWidth)?.[1]) / 2;
      return [middle - half, middle + half];
    });
    expect(Math.min(...reaches.map(([low]) => low as number))).toBeCloseTo(from, 1);
    expect(Math.max(...reaches.map(([, high]) => high as number))).toBeCloseTo(to, 1);
  },
);

test.each([Number.NaN, 0, Number.POSITIVE_INFINITY])(
  "nothing is drawn in the scale %s, which CVAT has while it lays out its page",
  (scale) => {
    const outlines = drawn((preview) => {
      preview.scale = scale;
      const click = { x: 5, y: 5, color: "#ff0000" };
      preview.drawMarks([
        { ...click, positive: true, waiting: true },
        { ...click, positive: false, waiting: false },
      ]);
      preview.drawBoxes([{ points: [0, 0, 10, 10], rotation: 0, color: "#00f", look: "strong" }]);
    }).map(({ d }) => d);
    expect(outlines.length).toBeGreaterThan(0);
    expect(outlines.filter((outline) => /NaN|Infinity/.test(outline))).toEqual([]);
  },
);
