// The proposals and clicks as an SVG over the picture. Its user units are the picture's pixels.
//
// However many boxes there are, they are a few paths, one for each look; what is under the mouse is
// found by geometry, not by the SVG.

import { type Box, type Point, polygonOf } from "./geometry";

export interface PreviewBox extends Box {
  /** A CSS colour. */
  readonly color: string;
  /** faint: accepting would skip it; strong: a click or an edit stands behind it. */
  readonly look: "plain" | "strong" | "faint";
}

export interface Mark {
  readonly x: number;
  readonly y: number;
  readonly color: string;
  readonly positive: boolean;
  /** The function has not answered this click yet. */
  readonly waiting: boolean;
}

const SVG = "http://www.w3.org/2000/svg";

// Widths and sizes are in pixels of the screen.
const WIDTHS = { plain: 2, strong: 3.5, faint: 1.5 };
const EDGE = 1.5;
const MARK_ARM = 4.5;
const MARK_RING = 8;
const NEGATIVE = "#ff3b30";

export class Preview {
  readonly element = document.createElementNS(SVG, "svg");
  readonly #boxes = document.createElementNS(SVG, "g");
  readonly #hovered = document.createElementNS(SVG, "g");
  readonly #marks = document.createElementNS(SVG, "g");
  #shownMarks: readonly Mark[] = [];
  #scale = 0;

  constructor() {
    this.element.dataset.c3det = "preview";
    // Visible overflow keeps boxes at the picture's edges whole, and asks for no bitmap of its own.
    this.element.style.cssText = "position: absolute; overflow: visible; pointer-events: none;";
    for (const group of [this.#boxes, this.#hovered, this.#marks]) {
      group.setAttribute("fill", "none");
      this.element.append(group);
    }
    this.scale = 1;
  }

  /** Screen pixels per pixel of the picture; lines keep their width on the screen. */
  set scale(scale: number) {
    // Movement alone changes nothing here.
    if (scale === this.#scale) return;
    this.#scale = scale;
    this.element.style.setProperty("--c3det-px", `${1 / scale}px`);
    this.#drawMarks();
  }

  drawBoxes(boxes: readonly PreviewBox[]): void {
    const groups = new Map<string, PreviewBox[]>();
    for (const box of boxes) {
      const key = `${box.look} ${box.color}`;
      const group = groups.get(key);
      if (group) group.push(box);
      else groups.set(key, [box]);
    }
    // All edges come first: no edge covers another box's line.
    const edges: SVGPathElement[] = [];
    const lines: SVGPathElement[] = [];
    for (const group of groups.values()) {
      const { look, color } = group[0] as PreviewBox;
      const outline = group.map(outlineOf).join("");
      const opacity = look === "faint" ? 0.45 : 1;
      edges.push(path(outline, "#000", WIDTHS[look] + EDGE, 0.55 * opacity));
      lines.push(path(outline, color, WIDTHS[look], opacity));
    }
    this.#boxes.replaceChildren(...edges, ...lines);
  }

  drawMarks(marks: readonly Mark[]): void {
    this.#shownMarks = marks;
    this.#drawMarks();
  }

  /** Mark the box under the mouse. */
  hover(box: PreviewBox | null): void {
    if (box === null) {
      this.#hovered.replaceChildren();
      return;
    }
    const outline = outlineOf(box);
    const line = path(outline, box.color, WIDTHS.strong + 0.5, 1);
    line.setAttribute("fill", box.color);
    line.setAttribute("fill-opacity", "0.25");
    this.#hovered.replaceChildren(path(outline, "#000", WIDTHS.strong + 2.5, 0.55), line);
  }

  #drawMarks(): void {
    const outlines = new Map<string, string>();
    for (const mark of this.#shownMarks) {
      const color = mark.positive ? mark.color : NEGATIVE;
      outlines.set(color, (outlines.get(color) ?? "") + this.#signOf(mark));
    }
    const whole = [...outlines.values()].join("");
    this.#marks.replaceChildren(
      path(whole, "#000", 4, 0.75),
      ...[...outlines].map(([color, outline]) => path(outline, color, 1.75, 1)),
    );
  }

  /** A plus or, for "none here", a cross; a ring around it while it waits. */
  #signOf({ x, y, positive, waiting }: Mark): string {
    const arm = (positive ? MARK_ARM : MARK_ARM * Math.SQRT1_2 * 1.2) / this.#scale;
    const sign = positive
      ? `M${x - arm} ${y}H${x + arm}M${x} ${y - arm}V${y + arm}`
      : `M${x - arm} ${y - arm}L${x + arm} ${y + arm}M${x + arm} ${y - arm}L${x - arm} ${y + arm}`;
    if (!waiting) return sign;
    const r = MARK_RING / this.#scale;
    return `${sign}M${x + r} ${y}a${r} ${r} 0 1 1 ${-2 * r} 0a${r} ${r} 0 1 1 ${2 * r} 0`;
  }
}

function outlineOf(box: Box): string {
  return `M${polygonOf(box)
    .map(([x, y]: Point) => `${round(x)} ${round(y)}`)
    .join("L")}Z`;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/** A path whose lines are so many pixels wide on the screen. */
function path(d: string, stroke: string, width: number, opacity: number): SVGPathElement {
  const element = document.createElementNS(SVG, "path");
  element.setAttribute("d", d);
  element.setAttribute("stroke", stroke);
  element.setAttribute("stroke-opacity", String(opacity));
  element.setAttribute("stroke-linejoin", "round");
  element.style.strokeWidth = `calc(${width} * var(--c3det-px))`;
  return element;
}
