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

/** What the arrow keys add to the right and lower edges of a box, in pixels of the screen. */
export const STEPS_OF_ARROWS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** Position in a list of labels of the one whose digit was pressed, with Shift too, or -1. */
export function positionOf({ key, code, shiftKey }: KeyboardEvent): number {
  const digit = shiftKey ? code.replace(/^Digit/, "") : key;
  return /^\d$/.test(digit) ? (Number(digit) + 9) % 10 : -1;
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
  if (target instanceof HTMLSelectElement) return target.getRootNode() instanceof ShadowRoot;
  return (
    target instanceof HTMLTextAreaElement ||
    (target instanceof HTMLElement && target.isContentEditable)
  );
}

/** Whether a dropdown is open, whose keys are Enter and Escape. */
export function isChoosing(event: Event): boolean {
  const [target] = event.composedPath();
  return (
    target instanceof HTMLElement && target.role === "combobox" && target.ariaExpanded === "true"
  );
}
