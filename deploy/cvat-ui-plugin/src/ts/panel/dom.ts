// A shorter way to write elements down.

import { keyOf } from "../labels";
import { isDark, paleOf } from "../preview";

/** Of an icon: an eye. */
export const EYE =
  "M1.5 9C3.5 5.5 6 4 9 4s5.5 1.5 7.5 5C14.5 12.5 12 14 9 14s-5.5-1.5-7.5-5ZM9 6.8a2.2 2.2 0 1 0 0 4.4a2.2 2.2 0 1 0 0-4.4";

type Properties<K extends keyof HTMLElementTagNameMap> = Partial<
  Omit<HTMLElementTagNameMap[K], "style" | "dataset">
> & {
  readonly role?: string;
  readonly style?: string;
};

/** Make an element with properties and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  { role, style, ...properties }: Properties<K> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  if (role !== undefined) element.setAttribute("role", role);
  if (style !== undefined) element.style.cssText = style;
  element.append(...children);
  return element;
}

/** A button that gives the keyboard back after it was used by the mouse, see `release`. */
export function button(
  properties: Properties<"button">,
  act: () => void,
  ...children: (Node | string)[]
): HTMLButtonElement {
  const element = h("button", { type: "button", ...properties }, ...children);
  element.addEventListener("click", () => {
    release(element);
    act();
  });
  return element;
}

/** A button with a line drawing, see `icon`. */
export function iconButton(
  title: string,
  data: string,
  act: () => void,
  kind = "",
): HTMLButtonElement {
  return button({ className: `icon ${kind}`, title, ariaLabel: title }, act, icon(data));
}

export function section(...children: Node[]): HTMLElement {
  return h("section", { className: "section" }, ...children);
}

/** The first line of a section. */
export function heading(title: string, value: Node): HTMLElement {
  return h("div", { className: "heading" }, h("span", {}, title), value);
}

/** After the mouse the keyboard is CVAT's again; who came to a control by keys stays there. */
export function release(element: HTMLElement): void {
  if (!element.matches(":focus-visible")) element.blur();
}

const CONTROLS = "button, select, input";

/** The controls in an element that can have the focus now. */
export function controlsIn(element: HTMLElement): HTMLElement[] {
  return [...element.querySelectorAll<HTMLElement>(CONTROLS)].filter((control) => {
    const hidden = control.closest("[hidden]");
    return !control.matches(":disabled") && (hidden === null || !element.contains(hidden));
  });
}

/** Put children in the place of others; the focus stays at its place among the controls. */
export function refill(element: HTMLElement, ...children: (Node | string)[]): void {
  const { activeElement } = element.getRootNode() as ShadowRoot;
  const at = controlsIn(element).indexOf(activeElement as HTMLElement);
  element.replaceChildren(...children);
  if (at >= 0) controlsIn(element)[at]?.focus();
}

/**
 * Let the arrows, Home and End move the focus in a group of buttons.
 *
 * @param columns Buttons beside each other.
 */
export function moveByArrows(group: HTMLElement, columns = 1): void {
  const steps = new Map([
    ["ArrowLeft", -1],
    ["ArrowRight", 1],
    ["ArrowUp", -columns],
    ["ArrowDown", columns],
    ["Home", Number.NEGATIVE_INFINITY],
    ["End", Number.POSITIVE_INFINITY],
  ]);
  group.addEventListener("keydown", (event) => {
    const controls = controlsIn(group);
    const at = controls.indexOf(event.target as HTMLElement);
    const step = steps.get(event.key);
    if (step === undefined || at < 0) return;
    controls[Math.min(Math.max(at + step, 0), controls.length - 1)]?.focus();
    leaveOneTabStop(group);
    event.preventDefault();
  });
}

/** Let Tab stop once in a group: at the control with the focus, the current one or the first one. */
export function leaveOneTabStop(group: HTMLElement): void {
  const controls = controlsIn(group);
  const { activeElement } = group.getRootNode() as ShadowRoot;
  const stop =
    controls.find((control) => control === activeElement) ??
    controls.find((one) => one.ariaCurrent === "true" || one.ariaChecked === "true") ??
    controls[0];
  for (const control of controls) control.tabIndex = control === stop ? 0 : -1;
}

/** A line drawing of 18 x 18 units, given by the data of its path. */
export function icon(data: string): SVGSVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 18 18");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", data);
  path.setAttribute("fill", "none");
  path.setAttribute("stroke", "currentColor");
  path.setAttribute("stroke-width", "1.5");
  path.setAttribute("stroke-linecap", "round");
  path.setAttribute("stroke-linejoin", "round");
  svg.append(path);
  return svg;
}

/** The digit of the label at a position, if it has one. */
export function digit(position: number): readonly HTMLElement[] {
  const key = keyOf(position);
  return key === null ? [] : [h("kbd", {}, key)];
}

/** A sample of a label's colour, with the pale casing that the boxes of a dark one have. */
export function swatch(color: string): HTMLSpanElement {
  const ring = isDark(color)
    ? `; box-shadow: 0 0 0 1px #0004, inset 0 0 0 2px ${paleOf(color)}`
    : "";
  return h("span", { className: "swatch", style: `background: ${color}${ring}` });
}
