import { expect, test } from "vitest";
import { ClassMap, keyOf, type Model, type TaskLabel } from "../../src/ts/labels";

const labels: readonly TaskLabel[] = ["car", "Tree", "boat", "van"].map((name, i) => ({
  id: 10 + i,
  name,
  color: "#fff",
}));
const closed: Model = { id: "c3det", name: "C3Det", classes: ["tree", "car", "ship"] };
const open: Model = { id: "open", name: "open", classes: [] };

const names = (list: readonly TaskLabel[]) => list.map(({ name }) => name);

test("by name, whatever the case", () => {
  const map = new ClassMap(labels, closed, {});
  expect(names(map.labels)).toEqual(["car", "Tree"]);
  expect(names(map.others)).toEqual(["boat", "van"]);
  expect([10, 11, 12].map((id) => map.classOf(id))).toEqual([1, 0, undefined]);
  expect(map.labelOf(0)?.name).toBe("Tree");
  expect(map.labelOf(2)).toBeUndefined();
});

test("choices come first; a class of several labels is shown as the first of them", () => {
  const map = new ClassMap(labels, closed, { boat: "ship", van: "car", Tree: "", car: "gone" });
  expect(names(map.labels)).toEqual(["car", "boat", "van"]);
  expect(map.classOf(13)).toBe(1);
  expect(map.labelOf(1)?.name).toBe("car");
});

test("the exact name comes before another case of its letters", () => {
  const map = new ClassMap(labels, { ...closed, classes: ["TREE", "Tree"] }, {});
  expect(map.classOf(11)).toBe(1);
});

test("an open model takes the task's labels by their position", () => {
  const map = new ClassMap(labels, open, { car: "" });
  expect(names(map.labels)).toEqual(names(labels));
  expect(map.classOf(12)).toBe(2);
  expect(map.labelOf(3)?.name).toBe("van");
  expect(map.labelOf(null)).toBeUndefined();
});

test("an open model takes no label after the 256th", () => {
  const many = Array.from({ length: 257 }, (_, i) => ({
    id: i,
    name: `label ${i}`,
    color: "#fff",
  }));
  const map = new ClassMap(many, open, {});
  expect(map.classOf(255)).toBe(255);
  expect(map.classOf(256)).toBeUndefined();
  expect(names(map.others)).toEqual(["label 256"]);
});

test("ten keys", () => {
  expect([0, 8, 9, 10].map(keyOf)).toEqual(["1", "9", "0", null]);
});
