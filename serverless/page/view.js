// The picture on its canvas: zoom, movement, boxes and clicks.
// Points of the picture are in its pixels, from the top left corner; points of the screen are in
// CSS pixels from the top left corner of the canvas.

import { classColor } from "./classes.js";

const MAX_SCALE = 60;
const EDGE = "#000a";
// A label is written where its box is at least this large on the screen, and where it covers neither
// a smaller box nor another label.
const LABEL_MIN_SIDE = 44;
const LABEL_FONT = "11px system-ui, sans-serif";

export class View {
  scale = 1;
  #left = 0;
  #top = 0;
  #picture = null;
  #scene = { boxes: [], clicks: [], answered: 0, hover: null, hidden: false };
  #fitted = true;
  #frame = 0;

  /** onZoom() is called when the scale changed. */
  constructor(canvas, onZoom) {
    this.canvas = canvas;
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

  /** Change what is drawn over the picture: boxes, clicks, answered, hover, hidden. */
  setScene(change) {
    Object.assign(this.#scene, change);
    this.redraw();
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
    if (this.#scene.hidden) return;
    const shown = this.#scene.boxes
      .map((box) => this.#place(box))
      .filter(({ x, y, w, h }) => x < width && y < height && x + w > 0 && y + h > 0);
    this.#drawBoxes(ctx, shown);
    this.#drawClicks(ctx);
    this.#drawLabels(ctx, shown);
  }

  #place(box) {
    const [x, y] = this.toScreen(box.points[0], box.points[1]);
    const [right, bottom] = this.toScreen(box.points[2], box.points[3]);
    return { box, x, y, w: right - x, h: bottom - y };
  }

  #drawBoxes(ctx, shown) {
    const strength = ({ box }) => (box === this.#scene.hover ? 2 : 0) + (box.click === null ? 1.5 : 3);
    ctx.lineJoin = "miter";
    for (const place of shown) {
      ctx.strokeStyle = EDGE;
      ctx.lineWidth = strength(place) + 1.5;
      ctx.strokeRect(place.x, place.y, place.w, place.h);
    }
    for (const place of shown) {
      ctx.strokeStyle = classColor(place.box.class);
      ctx.lineWidth = strength(place);
      ctx.strokeRect(place.x, place.y, place.w, place.h);
    }
  }

  #drawClicks(ctx) {
    this.#scene.clicks.forEach((click, i) => {
      const [x, y] = this.toScreen(click.x, click.y);
      const mark = new Path2D();
      if (click.positive) {
        mark.moveTo(x - 5, y);
        mark.lineTo(x + 5, y);
        mark.moveTo(x, y - 5);
        mark.lineTo(x, y + 5);
      } else {
        mark.moveTo(x - 5, y - 5);
        mark.lineTo(x + 5, y + 5);
        mark.moveTo(x + 5, y - 5);
        mark.lineTo(x - 5, y + 5);
      }
      if (i >= this.#scene.answered) {
        mark.moveTo(x + 9, y);
        mark.arc(x, y, 9, 0, 2 * Math.PI);
      }
      ctx.strokeStyle = "#000";
      ctx.lineWidth = 4;
      ctx.stroke(mark);
      ctx.strokeStyle = click.positive ? classColor(click.label) : "#ff453a";
      ctx.lineWidth = 2;
      ctx.stroke(mark);
    });
  }

  #drawLabels(ctx, shown) {
    ctx.font = LABEL_FONT;
    ctx.textBaseline = "middle";
    const isSmall = ({ w, h }) => Math.min(w, h) < LABEL_MIN_SIDE;
    const taken = shown.filter(isSmall);
    for (const { box, x, y, w, h } of shown) {
      if (isSmall({ w, h })) continue;
      const text = boxText(box);
      const label = { x: x - 1, y: y < 16 ? y + 2 : y - 16, w: ctx.measureText(text).width + 8, h: 14 };
      if (taken.some((other) => overlap(label, other))) continue;
      taken.push(label);
      ctx.fillStyle = "#000c";
      ctx.fillRect(label.x, label.y, label.w, label.h);
      ctx.fillStyle = classColor(box.class);
      ctx.fillText(text, label.x + 4, label.y + 7.5);
    }
  }
}

/** The label and the score of a box. */
export function boxText(box) {
  const name = box.label ?? `class ${box.class}`;
  return box.click === null ? `${name} ${box.score.toFixed(2)}` : `${name} (clicked)`;
}

function overlap(a, b) {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}
