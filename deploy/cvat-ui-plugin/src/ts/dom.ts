// A shorter way to write elements down.

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

/** A button that gives the keyboard back after it was used, so that CVAT's keys go on working. */
export function button(
  properties: Properties<"button">,
  act: () => void,
  ...children: (Node | string)[]
): HTMLButtonElement {
  const element = h("button", { type: "button", ...properties }, ...children);
  element.addEventListener("click", () => {
    element.blur();
    act();
  });
  return element;
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

/** The colour of a label. */
export function swatch(color: string): HTMLSpanElement {
  return h("span", { className: "swatch", style: `background: ${color}` });
}
