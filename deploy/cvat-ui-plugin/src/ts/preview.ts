// The proposals and clicks as an SVG over the picture. Its user units are the picture's pixels.
//
// However many boxes there are, they are a few paths, one for each look; what is under the mouse is
// found by geometry, not by the SVG.

import { type Box, grown, type Point, polygonOf, shortSideOf } from "./geometry";
import { groupsOf } from "./values";

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

/** How lines are drawn, by the shorter side of their box as it is shown. */
interface Pen {
  /** For boxes whose shorter side is under this. */
  readonly under: number;
  readonly widths: Readonly<Record<PreviewBox["look"], number>>;
  /** Of each casing, on each side of the line. */
  readonly casing: number;
  /**
   * Of a small object: the line goes around the box, so that it covers nothing of it, and has the
   * inner casing alone, so that it covers little of its neighbours.
   */
  readonly small: boolean;
}

const PENS: readonly Pen[] = [
  { under: 14, widths: { plain: 1, strong: 2, faint: 1 }, casing: 0.5, small: true },
  { under: 36, widths: { plain: 1.5, strong: 3, faint: 1 }, casing: 0.75, small: true },
  {
    under: Number.POSITIVE_INFINITY,
    widths: { plain: 2, strong: 3.5, faint: 1.5 },
    casing: 1,
    small: false,
  },
];
const DARK = "#000";
const LIGHT = "#fff";
const MARK_ARM = 4.5;
const MARK_RING = 8;
const MARK_WIDTH = 1.75;
const MARK_CASING = 1;
const NEGATIVE = "#ff3b30";
const DOT = 4.5;
/** The cursor: a ring, and arms from near its middle, which stays free, to beyond the ring. */
const CURSOR_RING = 11;
const CURSOR_ARMS = [4, 19] as const;

export class Preview {
  readonly element = document.createElementNS(SVG, "svg");
  readonly #boxes = document.createElementNS(SVG, "g");
  readonly #hovered = document.createElementNS(SVG, "g");
  readonly #marks = document.createElementNS(SVG, "g");
  readonly #cursor = document.createElementNS(SVG, "g");
  #shownBoxes: readonly PreviewBox[] = [];
  #shownMarks: readonly Mark[] = [];
  #shownHover: PreviewBox | null = null;
  #shownCursor: { readonly point: Point; readonly color: string } | null = null;
  #scale = 0;

  constructor() {
    this.element.dataset.c3det = "preview";
    // Visible overflow keeps boxes at the picture's edges whole, and asks for no bitmap of its own.
    this.element.style.cssText = "position: absolute; overflow: visible; pointer-events: none;";
    this.#cursor.dataset.c3det = "cursor";
    for (const group of [this.#boxes, this.#hovered, this.#marks, this.#cursor]) {
      group.setAttribute("fill", "none");
      this.element.append(group);
    }
    this.scale = 1;
  }

  /** Screen pixels per pixel of the picture; lines keep their width on the screen. */
  set scale(scale: number) {
    // Movement alone changes nothing here, and while CVAT lays out its page there is no scale.
    if (scale === this.#scale || !(scale > 0 && Number.isFinite(scale))) return;
    this.#scale = scale;
    this.element.style.setProperty("--c3det-px", `${1 / scale}px`);
    this.drawBoxes();
    this.drawMarks();
    this.hover();
    this.drawCursor();
  }

  /** Faint, while another tool has the mouse. */
  set dimmed(dimmed: boolean) {
    this.element.style.opacity = dimmed ? "0.3" : "";
  }

  // Without a value, what is shown is drawn again.

  /** Show the cursor that keys move, in the colour of the label that it clicks. */
  drawCursor(cursor = this.#shownCursor): void {
    this.#shownCursor = cursor;
    this.#cursor.replaceChildren();
    if (cursor === null) return;
    const [x, y] = cursor.point;
    const [from, to] = CURSOR_ARMS.map((arm) => arm / this.#scale) as [number, number];
    const arms = [-1, 1]
      .map(
        (side) =>
          `M${x + side * from} ${y}H${x + side * to}M${x} ${y + side * from}V${y + side * to}`,
      )
      .join("");
    const outline = arms + ringOf(x, y, CURSOR_RING / this.#scale);
    this.#cursor.append(...stacked([cased(outline, cursor.color, MARK_WIDTH, MARK_CASING, 1)]));
  }

  /** Mark the box under the mouse. */
  hover(box = this.#shownHover): void {
    this.#shownHover = box;
    this.#hovered.replaceChildren();
    if (box === null) return;
    const pen = penOf(box, this.#scale);
    const width = pen.widths.strong + 0.5;
    const outline = this.#outlineOf(box, pen);
    const layers = cased(outline, box.color, width, pen.casing, 1, !pen.small);
    const [line] = layers;
    line.setAttribute("fill", box.color);
    line.setAttribute("fill-opacity", "0.25");
    this.#hovered.append(...stacked([layers]));
  }

  drawBoxes(boxes = this.#shownBoxes): void {
    this.#shownBoxes = boxes;
    const groups = groupsOf(
      boxes,
      (box) => `${penOf(box, this.#scale).under} ${box.look} ${box.color}`,
    );
    const layers = [...groups.values()].map((group) => {
      const [{ look, color }] = group as [PreviewBox];
      const pen = penOf(group[0] as PreviewBox, this.#scale);
      const outline = group.map((box) => this.#outlineOf(box, pen)).join("");
      const opacity = look === "faint" ? 0.45 : 1;
      return cased(outline, color, pen.widths[look], pen.casing, opacity, !pen.small);
    });
    this.#boxes.replaceChildren(...stacked(layers));
  }

  drawMarks(marks = this.#shownMarks): void {
    this.#shownMarks = marks;
    const outlines = new Map<string, string>();
    for (const mark of marks) {
      const color = mark.positive ? mark.color : NEGATIVE;
      outlines.set(color, (outlines.get(color) ?? "") + this.#signOf(mark));
    }
    const layers = [...outlines].map(([color, outline]) =>
      cased(outline, color, MARK_WIDTH, MARK_CASING, 1),
    );
    // A dot has the colour of the label that is not there.
    const dots = marks
      .filter(({ positive }) => !positive)
      .map(({ x, y, color }) => path(`M${x} ${y}h0`, color, DOT, 1));
    for (const dot of dots) {
      dot.setAttribute("stroke-linecap", "round");
      dot.dataset.layer = "dot";
    }
    this.#marks.replaceChildren(...stacked(layers), ...dots);
  }

  /** The outline of a box as a pen draws it: on its edge or, so that it hides nothing, around it. */
  #outlineOf(box: PreviewBox, { widths, casing, small }: Pen): string {
    const by = small ? (widths[box.look] / 2 + casing) / this.#scale : 0;
    const corners = polygonOf(grown(box, by));
    return `M${corners.map(([x, y]: Point) => `${round(x)} ${round(y)}`).join("L")}Z`;
  }

  /** A plus or, for "none here", a cross; a ring around it while it waits. */
  #signOf({ x, y, positive, waiting }: Mark): string {
    const arm = (positive ? MARK_ARM : MARK_ARM * Math.SQRT1_2 * 1.2) / this.#scale;
    const sign = positive
      ? `M${x - arm} ${y}H${x + arm}M${x} ${y - arm}V${y + arm}`
      : `M${x - arm} ${y - arm}L${x + arm} ${y + arm}M${x + arm} ${y - arm}L${x - arm} ${y + arm}`;
    if (!waiting) return sign;
    return sign + ringOf(x, y, MARK_RING / this.#scale);
  }
}

function ringOf(x: number, y: number, r: number): string {
  return `M${x + r} ${y}a${r} ${r} 0 1 1 ${-2 * r} 0a${r} ${r} 0 1 1 ${2 * r} 0`;
}

function penOf(box: Box, scale: number): Pen {
  const side = shortSideOf(box) * scale;
  return PENS.find(({ under }) => side < under) as Pen;
}

/** The line, the inner casing and the outer one, if there are both. */
type Layers = readonly [SVGPathElement, SVGPathElement, SVGPathElement?];

/**
 * A line with a light and a dark casing, of which one stands out from any ground; the inner one is
 * that from which the line's own colour stands out, so the two do for a small box. Beside a dark
 * colour it is a pale one of the same kind, so that dark labels can be distinguished on dark ground.
 */
function cased(
  d: string,
  color: string,
  width: number,
  casing: number,
  opacity: number,
  both = true,
): Layers {
  const [inner, outer] = isDark(color) ? [paleOf(color), DARK] : [DARK, LIGHT];
  const line = path(d, color, width, opacity);
  line.dataset.layer = "line";
  const around = path(d, inner, width + 2 * casing, opacity);
  return both ? [line, around, path(d, outer, width + 4 * casing, 0.8 * opacity)] : [line, around];
}

/** All casings come first: none covers another box's line. */
function stacked(layers: readonly Layers[]): readonly SVGPathElement[] {
  return [2, 1, 0].flatMap((layer) => layers.flatMap((paths) => paths[layer] ?? []));
}

/** Whether a colour, "#rgb" or "#rrggbb", is nearer to black than to white for the eye. */
export function isDark(color: string): boolean {
  const [r = 0, g = 0, b = 0] = channelsOf(color);
  const linear = (value: number) => value ** 2.2;
  const luminance = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  // Where black and white are of the same contrast: (1 + 0.05) / (L + 0.05) = (L + 0.05) / 0.05.
  return luminance < 0.179;
}

/** The brightest colour of a colour's hue, half-way to white; white for black. */
export function paleOf(color: string): string {
  const channels = channelsOf(color);
  const most = Math.max(...channels);
  const pale = channels.map((value) => Math.round((most > 0 ? value / most + 1 : 2) * 127.5));
  return `#${pale.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

/** Red, green and blue, 0 to 1, of "#rgb" or "#rrggbb". */
function channelsOf(color: string): number[] {
  const digits = color.replace("#", "");
  const pairs = digits.length < 6 ? [...digits].map((digit) => digit + digit) : digits.match(/../g);
  return (pairs ?? []).map((pair) => Number.parseInt(pair, 16) / 255);
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
