import { expect, test } from "vitest";
import { isDark, paleOf } from "../../src/ts/preview";

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
