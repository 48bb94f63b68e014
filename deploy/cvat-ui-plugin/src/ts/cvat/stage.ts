// The canvas of an open job: its mouse, its place on the screen, and what lies over the picture.

import {
  type Area,
  intersection,
  isInView,
  middleOf,
  type Placement,
  type Point,
  shiftInto,
  toPicture,
  toScreen,
} from "../geometry";
import type { Canvas, Geometry } from "./cvat";
import type { Listener } from "./host";
import { need, Unsupported } from "./needs";

const BOARD = "#cvat_canvas_attachment_board";
const DRAG_PIXELS = 4;
/** Modes of the canvas in which a press of the mouse begins nothing. */
const IDLE_MODES = ["idle", "drag_canvas", "zoom_canvas"];
/** How far from the view's edges a point is brought, in pixels of the screen. */
const VIEW_MARGIN = 48;

export class Stage {
  readonly canvas: Canvas;
  readonly #surface: HTMLElement;
  readonly #board: HTMLElement;
  readonly #listener: Listener;
  readonly #guard: (action: () => void) => void;
  readonly #observer: MutationObserver;
  readonly #resized: ResizeObserver;
  readonly #ended = new AbortController();
  #overlay: SVGSVGElement | null = null;
  #press: { event: MouseEvent; point: Point; grabbed: boolean } | null = null;
  #point: Point | null = null;
  /** The last press was the plugin's, and so are the click events that follow it. */
  #claimed = false;
  #passing = false;
  /** The mouse was pressed with the tool that CVAT has chosen. */
  #begun = false;
  /** Pixels that are free at the left. */
  #room = 0;

  constructor(canvas: Canvas, listener: Listener, guard: (action: () => void) => void) {
    need(canvas.html, "canvas.html");
    need(canvas.mode, "canvas.mode");
    need(canvas.cancel, "canvas.cancel");
    need(canvas.activate, "canvas.activate");
    const board = canvas.html().querySelector<HTMLElement>(BOARD);
    if (board === null) throw new Unsupported(BOARD);
    const { geometry } = canvas;
    need(geometry, "canvas.geometry", "object");
    const { left, top, scale, angle, offset, image } = geometry as Geometry;
    const numbers = { left, top, scale, angle, offset, width: image?.width, height: image?.height };
    for (const [name, value] of Object.entries(numbers)) {
      need(value, `canvas.geometry.${name}`, "number");
    }
    this.canvas = canvas;
    this.#surface = canvas.html();
    this.#board = board;
    this.#listener = listener;
    this.#guard = guard;
    // CVAT moves, zooms and rotates the board with the picture, whatever the event was.
    this.#observer = new MutationObserver(() =>
      guard(() => {
        this.#placeOverlay();
        listener.placementChanged();
      }),
    );
    this.#observer.observe(board, { attributes: true, attributeFilter: ["style"] });
    // The page is laid out after the canvas exists, and again when its side panels fold.
    this.#resized = new ResizeObserver(() => guard(() => listener.placementChanged()));
    this.#resized.observe(this.#surface);
    this.#listen();
    const { signal } = this.#ended;
    const scrolled = (): void => guard(() => listener.placementChanged());
    window.addEventListener("scroll", scrolled, { capture: true, passive: true, signal });
  }

  placement(): Placement {
    const { left, top, scale, angle, image } = this.canvas.geometry as Geometry;
    const bounds = this.#surface.getBoundingClientRect();
    return {
      canvasLeft: bounds.left + this.#surface.clientLeft,
      canvasTop: bounds.top + this.#surface.clientTop,
      left,
      top,
      width: image.width,
      height: image.height,
      scale,
      angle,
    };
  }

  visible(): Area {
    const { clientWidth, clientHeight } = document.documentElement;
    let area: Area = { left: 0, top: 0, right: clientWidth, bottom: clientHeight };
    let element: HTMLElement | null = this.#surface;
    for (; element !== null && element !== document.body; element = element.parentElement) {
      const { overflowX, overflowY } = getComputedStyle(element);
      const clips = overflowX !== "visible" || overflowY !== "visible";
      if (!clips && element !== this.#surface) continue;
      const bounds = element.getBoundingClientRect();
      const [left, top] = [bounds.left + element.clientLeft, bounds.top + element.clientTop];
      const [right, bottom] = [left + element.clientWidth, top + element.clientHeight];
      area = intersection(area, { left, top, right, bottom });
    }
    return area;
  }

  /** Move the picture so that a point of it is in view. */
  show(point: Point): void {
    this.#drag(...shiftInto(this.placement(), this.visible(), point, VIEW_MARGIN));
  }

  /**
   * Move the picture by pixels of the screen. CVAT has no call for that: the picture is dragged, with
   * Alt, under which CVAT does not look at the objects under the mouse.
   */
  #drag(dx: number, dy: number): void {
    if (this.canvas.mode() !== "idle" || (dx === 0 && dy === 0)) return;
    const from = { bubbles: true, altKey: true, clientX: 0, clientY: 0 };
    this.#pass(new MouseEvent("mousedown", from));
    const to = { ...from, clientX: dx, clientY: dy };
    for (const type of ["mousemove", "mouseup"]) this.#pass(new MouseEvent(type, to));
  }

  /** Zoom as the wheel does. */
  zoom([clientX, clientY]: Point, by: -1 | 1): void {
    this.#pass(new WheelEvent("wheel", { clientX, clientY, deltaY: -by, cancelable: true }));
  }

  overlay(element: SVGSVGElement | null): void {
    if (this.#overlay === element) return;
    this.#overlay?.remove();
    this.#overlay = element;
    if (element === null) return;
    this.#placeOverlay();
    this.#board.append(element);
  }

  arm(armed: boolean): void {
    if (armed && this.canvas.mode() !== "idle") this.canvas.cancel();
    if (armed) this.canvas.activate(null);
    this.#surface.classList.toggle("c3det-armed", armed);
  }

  hasBegun(): boolean {
    return this.#begun && !IDLE_MODES.includes(this.canvas.mode());
  }

  /** CVAT has chosen another tool, or none. */
  toolChanged(): void {
    this.#begun = false;
  }

  showGrip(shown: boolean): void {
    this.#surface.classList.toggle("c3det-grip", shown);
  }

  makeRoom(pixels: number): boolean {
    if (typeof this.canvas.fitCanvas !== "function") return false;
    if (this.#room === pixels) return true;
    this.#room = pixels;
    const [before, view] = [this.placement(), this.visible()];
    const whole = isInView(before, view);
    const middle = toPicture(before, middleOf(view));
    // A border takes from the canvas' own width, and what lies in the canvas starts after it.
    const { style } = this.#surface;
    style.boxSizing = pixels > 0 ? "border-box" : "";
    style.borderLeft = pixels > 0 ? `${pixels}px solid transparent` : "";
    this.canvas.fitCanvas();
    if (whole) this.canvas.fit?.();
    else {
      // What was looked at stays in the middle.
      const [x, y] = toScreen(this.placement(), middle);
      const [toX, toY] = middleOf(this.visible());
      this.#drag(toX - x, toY - y);
    }
    return true;
  }

  remove(): void {
    if (this.#surface.isConnected) this.makeRoom(0);
    this.#ended.abort();
    this.#observer.disconnect();
    this.#resized.disconnect();
    this.#overlay?.remove();
    this.#surface.classList.remove("c3det-armed", "c3det-grip");
  }

  /** The board is larger than the picture by the offset on each side. */
  #placeOverlay(): void {
    const { offset, image } = this.canvas.geometry as Geometry;
    if (this.#overlay === null) return;
    Object.assign(this.#overlay.style, {
      left: `${offset}px`,
      top: `${offset}px`,
      width: `${image.width}px`,
      height: `${image.height}px`,
    });
  }

  #listen(): void {
    const { signal } = this.#ended;
    const on = (target: EventTarget, type: string, react: (event: MouseEvent) => void): void =>
      target.addEventListener(
        type,
        (event) => this.#guard(() => this.#passing || react(event as MouseEvent)),
        { capture: true, signal },
      );
    on(this.#surface, "mousedown", (event) => this.#pressed(event));
    on(window, "mouseup", (event) => this.#released(event));
    on(this.#surface, "mousemove", (event) => {
      this.#point = this.#pointOf(event);
      if (!this.#press?.grabbed) {
        this.#listener.hovered(this.#point);
        return;
      }
      event.stopImmediatePropagation();
      if (this.#isMoved(event)) this.#listener.pulled(this.#point);
    });
    on(this.#surface, "mouseleave", (event) => {
      if (event.target !== this.#surface) return;
      this.#point = null;
      this.#listener.hovered(null);
    });
    // CVAT selects the object under the mouse at this event.
    on(this.#surface, "canvas.moved", (event) => {
      if (this.#claims(this.#point)) event.stopImmediatePropagation();
    });
    for (const type of ["click", "dblclick", "contextmenu"]) {
      on(this.#surface, type, (event) => {
        if (!this.#claimed) return;
        event.stopImmediatePropagation();
        event.preventDefault();
      });
    }
  }

  #pressed(event: MouseEvent): void {
    this.#begun ||= event.button === 0 && !IDLE_MODES.includes(this.canvas.mode());
    const point = this.#pointOf(event);
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
    this.#claimed = plain && event.button !== 1 && this.#claims(point);
    this.#press = null;
    if (!this.#claimed) return;
    const grabbed = event.button === 0 && this.#listener.grabs(point);
    this.#press = { event, point, grabbed };
    event.stopImmediatePropagation();
    if (event.button !== 0 || grabbed) return;
    // The press goes to the canvas, which moves the picture, and not to the objects under the mouse.
    this.#pass(new MouseEvent("mousedown", event));
  }

  /** Give CVAT's canvas an event that is not the plugin's. */
  #pass(event: MouseEvent): void {
    this.#passing = true;
    try {
      this.#surface.dispatchEvent(event);
    } finally {
      this.#passing = false;
    }
  }

  #released(event: MouseEvent): void {
    const press = this.#press;
    if (press === null || event.button !== press.event.button) return;
    const moved = this.#isMoved(event);
    this.#press = null;
    if (press.grabbed) this.#listener.letGo(moved ? this.#pointOf(event) : null);
    if (moved) return;
    const button = event.button === 0 ? "left" : "right";
    this.#listener.clicked(press.point, button, event.timeStamp);
  }

  /** Whether the mouse was moved since it was pressed, so that this is no click. */
  #isMoved({ clientX, clientY }: MouseEvent): boolean {
    const from = this.#press?.event;
    return !!from && Math.hypot(clientX - from.clientX, clientY - from.clientY) > DRAG_PIXELS;
  }

  #claims(point: Point | null): boolean {
    return point !== null && this.canvas.mode() === "idle" && this.#listener.claims(point);
  }

  #pointOf(event: MouseEvent): Point {
    return toPicture(this.placement(), [event.clientX, event.clientY]);
  }
}
