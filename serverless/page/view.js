// The picture on its canvas: zoom, movement, boxes and clicks.
// Points of the picture are in its pixels, from the top left corner; points of the screen are in
// CSS pixels from the top left corner of the canvas.

import { classColor, isDeep } from "./classes.js";
import { placesOf } from "./clicks.js";

const MAX_SCALE = 60;
// How boxes are drawn, by the shorter side of the box on the screen. A light line has a dark edge, and
// that of a deep line a light one: two tones, of which one stands out from any ground. Around a small
// object the line covers nothing of it.
const PENS = [
  { under: 18, plain: 1, clicked: 3, outside: true },
  { under: 40, plain: 2, clicked: 4, outside: true },
  { under: Infinity, plain: 2, clicked: 4, outside: false },
];
const EDGE = 1;
const DARK = "#000";
const LIGHT = "#fff";
const NEGATIVE = "#ff453a";
// A label is written where its box is at least this large on the screen, and where it covers neither
// a smaller box nor another label.
const LABEL_MIN_SIDE = 44;
const LABEL_FONT = "11px system-ui, sans-serif";

export class View {
  scale = 1;
  #left = 0;
  #top = 0;
  #picture = null;
  #scene = { boxes: [], clicks: [], answered: 0, hover: null, cursor: null, hidden: false };
  #fitted = true;
  #frame = 0;

  /** nameOf(label) returns the name of a class; onZoom() is called when the scale changed. */
  constructor(canvas, nameOf, onZoom) {
    this.canvas = canvas;
    this.nameOf = nameOf;
    this.onZoom = onZoom;
    new ResizeObserver(() => {
      if (this.#fitted) this.fit();
      this.redraw();
    }).observe(canvas);
  }

  /** Show a decoded image, fitted into the canvas. */
  setPicture(image) {
    this.#picture = image;
    this.fit();
  }

  /** Change what is drawn over the picture: boxes, clicks, answered, hover, cursor, hidden. */
  setScene(change) {
    Object.assign(this.#scene, change);
    this.redraw();
  }

  /** The whole picture is shown, as large as it can be. */
  get fitted() {
    return this.#fitted;
  }

  fit() {
    if (!this.#picture) return;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const { naturalWidth, naturalHeight } = this.#picture;
    this.scale = Math.min(width / naturalWidth, height / naturalHeight, MAX_SCALE);
    this.#left = (width - naturalWidth * this.scale) / 2;
    this.#top = (height - naturalHeight * this.scale) / 2;
    this.#moved(true);
  }

  /** Zoom by a factor; the point (x, y) of the screen stays where it is. */
  zoom(factor, x, y) {
    if (!this.#picture) return;
    const { naturalWidth, naturalHeight } = this.#picture;
    const smallest = Math.min(1, 100 / Math.max(naturalWidth, naturalHeight));
    const scale = Math.min(MAX_SCALE, Math.max(smallest, this.scale * factor));
    this.#left = x - ((x - this.#left) * scale) / this.scale;
    this.#top = y - ((y - this.#top) * scale) / this.scale;
    this.scale = scale;
    this.#moved(false);
  }

  /** Move the picture; some of it stays on the canvas. */
  move(dx, dy) {
    if (!this.#picture) return;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const keep = (start, length, room) => Math.min(room - 40, Math.max(40 - length, start));
    this.#left = keep(this.#left + dx, this.#picture.naturalWidth * this.scale, width);
    this.#top = keep(this.#top + dy, this.#picture.naturalHeight * this.scale, height);
    this.#moved(false);
  }

  toPicture(x, y) {
    return [(x - this.#left) / this.scale, (y - this.#top) / this.scale];
  }

  toScreen(x, y) {
    return [x * this.scale + this.#left, y * this.scale + this.#top];
  }

  redraw() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #moved(fitted) {
    this.#fitted = fitted;
    this.onZoom();
    this.redraw();
  }

  #draw() {
    const { canvas } = this;
    const { clientWidth: width, clientHeight: height } = canvas;
    const ratio = window.devicePixelRatio || 1;
    const [pixelWidth, pixelHeight] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== pixelWidth || canvas.height !== pixelHeight) {
      canvas.width = pixelWidth;
      canvas.height = pixelHeight;
    }
    const ctx = canvas.getContext("2d");
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, width, height);
    if (!this.#picture) return;
    const { naturalWidth, naturalHeight } = this.#picture;
    ctx.imageSmoothingEnabled = this.scale * ratio < 4;
    ctx.imageSmoothingQuality = "high";
    ctx.drawImage(
      this.#picture, this.#left, this.#top, naturalWidth * this.scale, naturalHeight * this.scale,
    );
    if (!this.#scene.hidden) {
      const shown = this.#scene.boxes
        .map((box) => this.#place(box))
        .filter(({ x, y, w, h }) => x < width && y < height && x + w > 0 && y + h > 0);
      this.#drawBoxes(ctx, shown);
      this.#drawClicks(ctx);
      this.#drawLabels(ctx, shown);
    }
    this.#drawCursor(ctx);
  }

  #place(box) {
    const [x, y] = this.toScreen(box.points[0], box.points[1]);
    const [right, bottom] = this.toScreen(box.points[2], box.points[3]);
    return { box, x, y, w: right - x, h: bottom - y };
  }

  #drawBoxes(ctx, shown) {
    ctx.lineJoin = "miter";
    const lines = shown.map((place) => this.#lineOf(place));
    // All edges come first: none covers another box's line.
    for (const layer of [2, 1, 0]) {
      for (const { x, y, w, h, strokes } of lines) {
        if (!strokes[layer]) continue;
        [ctx.strokeStyle, ctx.lineWidth] = strokes[layer];
        ctx.strokeRect(x, y, w, h);
      }
    }
  }

  /** Where the line of a box is drawn, and its strokes, the colour first. */
  #lineOf({ box, x, y, w, h }) {
    const pen = PENS.find(({ under }) => Math.min(w, h) < under);
    const width = (box.click === null ? pen.plain : pen.clicked) + (box === this.#scene.hover ? 2 : 0);
    const strokes = [[classColor(box.class), width], [DARK, width + 2 * EDGE]];
    if (isDeep(box.class)) strokes.push([LIGHT, width + 4 * EDGE]);
    const by = pen.outside ? strokes.at(-1)[1] / 2 : 0;
    // On whole pixels, where edges of one pixel are sharp.
    const snap = (value) => Math.round(value - (width % 2) / 2) + (width % 2) / 2;
    const [left, top] = [snap(x - by), snap(y - by)];
    return { x: left, y: top, w: snap(x + w + by) - left, h: snap(y + h + by) - top, strokes };
  }

  #drawClicks(ctx) {
    for (const [click, last] of placesOf(this.#scene.clicks)) {
      const [x, y] = this.toScreen(click.x, click.y);
      const mark = new Path2D();
      if (click.positive) {
        mark.moveTo(x - 5, y);
        mark.lineTo(x + 5, y);
        mark.moveTo(x, y - 5);
        mark.lineTo(x, y + 5);
      } else {
        mark.moveTo(x - 6, y - 6);
        mark.lineTo(x + 6, y + 6);
        mark.moveTo(x + 6, y - 6);
        mark.lineTo(x - 6, y + 6);
      }
      if (last >= this.#scene.answered) {
        mark.moveTo(x + 9, y);
        mark.arc(x, y, 9, 0, 2 * Math.PI);
      }
      const color = classColor(click.label);
      const strokes = [[LIGHT, 6], [DARK, 4], [click.positive ? color : NEGATIVE, 2]];
      for (const [style, width] of strokes) {
        ctx.strokeStyle = style;
        ctx.lineWidth = width;
        ctx.stroke(mark);
      }
      if (click.positive) continue;
      // The dot has the colour of the class that is not here.
      ctx.beginPath();
      ctx.arc(x, y, 3, 0, 2 * Math.PI);
      ctx.strokeStyle = DARK;
      ctx.lineWidth = 2;
      ctx.stroke();
      ctx.fillStyle = color;
      ctx.fill();
    }
  }

  /** A ring and four arms, whose middle stays free. */
  #drawCursor(ctx) {
    if (!this.#scene.cursor) return;
    const [x, y] = this.toScreen(...this.#scene.cursor);
    const mark = new Path2D();
    mark.arc(x, y, 11, 0, 2 * Math.PI);
    for (const side of [-1, 1]) {
      mark.moveTo(x + side * 4, y);
      mark.lineTo(x + side * 19, y);
      mark.moveTo(x, y + side * 4);
      mark.lineTo(x, y + side * 19);
    }
    for (const [style, width] of [[LIGHT, 5], [DARK, 3], [LIGHT, 1.5]]) {
      ctx.strokeStyle = style;
      ctx.lineWidth = width;
      ctx.stroke(mark);
    }
  }

  #drawLabels(ctx, shown) {
    ctx.font = LABEL_FONT;
    ctx.textBaseline = "middle";
    const isSmall = ({ w, h }) => Math.min(w, h) < LABEL_MIN_SIDE;
    const taken = shown.filter(isSmall);
    for (const { box, x, y, w, h } of shown) {
      if (isSmall({ w, h })) continue;
      const text = boxText(box, this.nameOf);
      const width = ctx.measureText(text).width + 18;
      const left = Math.max(0, Math.min(x - 1, this.canvas.clientWidth - width));
      const label = { x: left, y: y < 18 ? y + 4 : y - 18, w: width, h: 14 };
      if (taken.some((other) => overlap(label, other))) continue;
      taken.push(label);
      ctx.fillStyle = "#000c";
      ctx.fillRect(label.x, label.y, label.w, label.h);
      ctx.fillStyle = classColor(box.class);
      ctx.fillRect(label.x + 3, label.y + 3, 8, 8);
      ctx.fillStyle = LIGHT;
      ctx.fillText(text, label.x + 14, label.y + 7.5);
    }
  }
}

/**
 * The class and the score of a box, and of the class that it is nearly as likely of.
 * nameOf(label) returns the name of a class.
 */
export function boxText({ class: label, score, click, rival }, nameOf) {
  if (click !== null) return `${nameOf(label)} (clicked)`;
  const other = rival ? ` or ${nameOf(rival.class)} ${rival.score.toFixed(2)}` : "";
  return `${nameOf(label)} ${score.toFixed(2)}${other}`;
}

function overlap(a, b) {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}
