// Keys: which of them are typed into a field, and what digits and arrows mean.

/** Types of input fields in which digits mean nothing. */
const WITHOUT_TEXT = [
  "button",
  "checkbox",
  "color",
  "file",
  "image",
  "radio",
  "range",
  "reset",
  "submit",
];

/** Keys that lead away from a choice of the panel, though a choice takes letters. */
const LEAVING_KEYS = ["Escape", "i", "I"];

/** Where the arrow keys lead, in pixels of the screen. */
export const STEPS_OF_ARROWS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/**
 * Position in a list of labels of the one whose digit was pressed, with Shift too, or -1. Of the row
 * over the letters the place of the key counts: on French keyboards it gives digits with Shift alone.
 */
export function positionOf({ key, code, shiftKey }: KeyboardEvent): number {
  const [, digit] = /^Digit(\d)$/.exec(code) ?? (shiftKey ? null : /^(\d)$/.exec(key)) ?? [];
  return digit === undefined ? -1 : (Number(digit) + 9) % 10;
}

/** Whether a key event goes into text, or into the panel's own choices. */
export function isTyping(event: Event): boolean {
  const [target] = event.composedPath();
  if (target instanceof HTMLInputElement) {
    if (WITHOUT_TEXT.includes(target.type) || target.readOnly) return false;
    // A dropdown of CVAT's is a field too: it keeps the focus after the choice, and is no text then.
    const closed = target.role === "combobox" && target.ariaExpanded !== "true";
    return !closed || target.value !== "";
  }
  if (target instanceof HTMLSelectElement) {
    const leaves = event instanceof KeyboardEvent && LEAVING_KEYS.includes(event.key);
    return target.getRootNode() instanceof ShadowRoot && !leaves;
  }
  return (
    target instanceof HTMLTextAreaElement ||
    (target instanceof HTMLElement && target.isContentEditable)
  );
}

const KEYS_OF_CONTROLS = [" ", "Enter", "Tab", "Home", "End", ...Object.keys(STEPS_OF_ARROWS)];

/** Whether a key presses, moves or turns the panel's control that has the focus. */
export function isForControl(event: KeyboardEvent): boolean {
  const [target] = event.composedPath();
  const inPanel = target instanceof Element && target.getRootNode() instanceof ShadowRoot;
  return inPanel && !event.ctrlKey && !event.metaKey && KEYS_OF_CONTROLS.includes(event.key);
}

/** Whether Enter or Space would press what keys were brought to, such as a button of CVAT's. */
export function isPressing(event: Event): boolean {
  const [target] = event.composedPath();
  return target instanceof Element && target.closest("button, a, [role=button]") !== null;
}

/** Whether a dropdown is open, whose keys are Enter and Escape. */
export function isChoosing(event: Event): boolean {
  const [target] = event.composedPath();
  return (
    target instanceof HTMLElement && target.role === "combobox" && target.ariaExpanded === "true"
  );
}
