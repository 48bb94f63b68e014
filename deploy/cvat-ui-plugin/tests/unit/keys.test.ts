import { expect, test } from "vitest";
import { positionOf } from "../../src/ts/keys";

test.each([
  ["1", "Digit1", false, 0],
  ["0", "Digit0", false, 9],
  ["!", "Digit1", true, 0],
  // On a French keyboard the row gives signs, and digits with Shift.
  ["&", "Digit1", false, 0],
  ["à", "Digit0", false, 9],
  ["2", "Digit2", true, 1],
  ["3", "Numpad3", false, 2],
  ["End", "Numpad1", false, -1],
  ["a", "KeyA", false, -1],
])("%s of the key %s, with Shift: %s, is the label at %s", (key, code, shiftKey, position) => {
  expect(positionOf({ key, code, shiftKey } as KeyboardEvent)).toBe(position);
});
