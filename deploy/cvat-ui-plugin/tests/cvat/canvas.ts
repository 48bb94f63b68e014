// cvat-canvas as the plugin meets it: elements, geometry, mouse, events, modes.
//
// The elements and the place of the picture follow CVAT 2.15: the picture, the objects and the
// attachment board lie in one wrapper, are scaled and then turned about the picture's centre, and
// the SVG of the objects and the board reach beyond the picture by an offset on each side.

import type { ObjectState } from "./core";

const SVG = "http://www.w3.org/2000/svg";
const SMALLEST = 0.1;
const LARGEST = 30;

export class Canvas {
  readonly #wrapper = document.createElement("div");
  readonly #background = document.createElement("canvas");
  readonly #content = document.createElementNS(SVG, "svg");
  readonly #board = document.createElement("div");
  #geometry = {
    angle: 0,
    canvas: { width: 0, height: 0 },
    image: { width: 0, height: 0 },
    left: 0,
    top: 0,
    offset: 0,
    scale: 1,
  };
  #mode = "idle";
  #objects: readonly ObjectState[] = [];
  #active: number | null = null;
  #drag: readonly [number, number] | null = null;
  #moved: { id: number; x: number; y: number; from: number[] } | null = null;

  constructor() {
    this.#wrapper.id = "cvat_canvas_wrapper";
    this.#background.id = "cvat_canvas_background";
    this.#content.id = "cvat_canvas_content";
    this.#board.id = "cvat_canvas_attachment_board";
    this.#wrapper.append(this.#background, this.#content, this.#board);
    for (const type of ["wheel", "mousedown", "dblclick", "contextmenu"]) {
      this.#board.addEventListener(type, (event) => event.stopPropagation());
    }
    this.#content.addEventListener("contextmenu", (event) => event.preventDefault());
    this.#wrapper.addEventListener("dblclick", () => this.fit());
    this.#wrapper.addEventListener("mousedown", (event) => {
      const free = this.#mode === "idle" || event.button === 1 || event.altKey;
      if (event.button !== 2 && free) this.#drag = [event.clientX, event.clientY];
    });
    this.#wrapper.addEventListener("mousemove", (event) => this.#mouseMoved(event));
    this.#wrapper.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    document.addEventListener("mouseup", this.#mouseUp);
  }

  html(): HTMLDivElement {
    return this.#wrapper;
  }

  mode(): string {
    return this.#mode;
  }

  get geometry() {
    const { canvas, image } = this.#geometry;
    return { ...this.#geometry, canvas: { ...canvas }, image: { ...image } };
  }

  /** Show a frame with its objects. */
  setup(picture: HTMLImageElement | null, objects: readonly ObjectState[]): void {
    this.#objects = objects;
    if (picture !== null) {
      const { naturalWidth: width, naturalHeight: height } = picture;
      const sameSize = this.#geometry.image.width === width;
      this.#geometry.image = { width, height };
      Object.assign(this.#background, { width, height });
      this.#background.getContext("2d")?.drawImage(picture, 0, 0);
      if (!sameSize) this.fit();
    }
    this.#draw();
    this.#emit("canvas.setup");
  }

  fitCanvas(): void {
    const { clientWidth: width, clientHeight: height } = this.#wrapper;
    this.#geometry.canvas = { width, height };
    this.#geometry.offset = Math.floor(Math.max(width, height) / SMALLEST);
    this.#place();
  }

  fit(): void {
    const { canvas, image, angle } = this.#geometry;
    const [width, height] = angle % 180 ? [image.height, image.width] : [image.width, image.height];
    const scale = Math.min(canvas.width / width, canvas.height / height);
    this.#geometry.scale = Math.min(Math.max(scale, SMALLEST), LARGEST);
    this.#geometry.left = (canvas.width - image.width) / 2;
    this.#geometry.top = (canvas.height - image.height) / 2;
    this.#place();
    this.#emit("canvas.fit");
  }

  rotate(angle: number): void {
    this.#geometry.angle = ((angle % 360) + 360) % 360;
    this.#place();
  }

  /** Start a tool of CVAT, such as drawing. */
  draw(): void {
    this.#mode = "draw";
  }

  cancel(): void {
    this.#mode = "idle";
    this.#emit("canvas.canceled");
  }

  activate(clientID: number | null): void {
    if (this.#active === clientID) return;
    const before = this.#objects.find((object) => object.clientID === this.#active);
    this.#active = clientID;
    this.#draw();
    if (before) this.#emit("canvas.deactivated", { state: before });
  }

  destroy(): void {
    document.removeEventListener("mouseup", this.#mouseUp);
  }

  #emit(type: string, detail: unknown = null): void {
    this.#wrapper.dispatchEvent(
      new CustomEvent(type, { bubbles: false, cancelable: true, detail }),
    );
  }

  /** A point of the window in pixels of the picture. */
  #toPicture({ clientX, clientY }: MouseEvent): readonly [number, number] {
    const matrix = (this.#content.getScreenCTM() as DOMMatrix).inverse();
    const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(matrix);
    return [x - this.#geometry.offset, y - this.#geometry.offset];
  }

  #mouseMoved(event: MouseEvent): void {
    if (this.#moved) {
      const [x, y] = this.#toPicture(event);
      const state = this.#objects.find(({ clientID }) => clientID === this.#moved?.id);
      const { from } = this.#moved;
      const by = [x - this.#moved.x, y - this.#moved.y] as const;
      if (state) state.points = from.map((value, i) => value + (by[i % 2] as number));
      this.#draw();
      return;
    }
    if (this.#drag) {
      this.#geometry.left += event.clientX - this.#drag[0];
      this.#geometry.top += event.clientY - this.#drag[1];
      this.#drag = [event.clientX, event.clientY];
      this.#place();
    }
    if (this.#mode !== "idle" || event.ctrlKey || event.altKey) return;
    const [x, y] = this.#toPicture(event);
    this.#emit("canvas.moved", { x, y, states: this.#objects });
  }

  readonly #mouseUp = (event: MouseEvent): void => {
    if (event.button === 2) return;
    this.#drag = null;
    const moved = this.#moved;
    this.#moved = null;
    if (moved === null) return;
    this.#mode = "idle";
    const state = this.#objects.find(({ clientID }) => clientID === moved.id);
    if (state) this.#emit("canvas.edited", { state, points: state.points });
  };

  #wheel(event: WheelEvent): void {
    if (event.ctrlKey) return;
    event.preventDefault();
    const { image, scale, angle } = this.#geometry;
    const [x, y] = this.#toPicture(event);
    const wanted = event.deltaY > 0 ? (scale * 5) / 6 : (scale * 6) / 5;
    const next = Math.min(Math.max(wanted, SMALLEST), LARGEST);
    // The picture's point under the mouse stays there.
    const radians = (angle * Math.PI) / 180;
    const [dx, dy] = [x - image.width / 2, y - image.height / 2];
    this.#geometry.left += (Math.cos(radians) * dx - Math.sin(radians) * dy) * (scale - next);
    this.#geometry.top += (Math.sin(radians) * dx + Math.cos(radians) * dy) * (scale - next);
    this.#geometry.scale = next;
    this.#place();
    this.#draw();
    this.#emit("canvas.zoom");
  }

  #place(): void {
    const { left, top, offset, image, scale, angle } = this.#geometry;
    Object.assign(this.#background.style, {
      left: `${left}px`,
      top: `${top}px`,
      width: `${image.width}px`,
      height: `${image.height}px`,
    });
    for (const element of [this.#content, this.#board]) {
      Object.assign(element.style, {
        left: `${left - offset}px`,
        top: `${top - offset}px`,
        width: `${image.width + 2 * offset}px`,
        height: `${image.height + 2 * offset}px`,
      });
    }
    for (const element of [this.#background, this.#content, this.#board]) {
      element.style.transform = `scale(${scale}) rotate(${angle}deg)`;
    }
  }

  #draw(): void {
    const { offset, scale } = this.#geometry;
    this.#content.replaceChildren(
      ...this.#objects.map((state) => {
        const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = state.points;
        const points = state.shapeType === "points";
        const element = document.createElementNS(SVG, points ? "circle" : "rect");
        const attributes = points
          ? { cx: x1 + offset, cy: y1 + offset, r: 4 / scale }
          : {
              x: x1 + offset,
              y: y1 + offset,
              width: x2 - x1,
              height: y2 - y1,
              transform: `rotate(${state.rotation} ${(x1 + x2) / 2 + offset} ${(y1 + y2) / 2 + offset})`,
            };
        for (const [name, value] of Object.entries(attributes)) {
          element.setAttribute(name, String(value));
        }
        element.id = `cvat_canvas_shape_${state.clientID}`;
        element.setAttribute("class", "cvat_canvas_shape");
        element.setAttribute("fill", state.label.color);
        element.setAttribute("fill-opacity", state.clientID === this.#active ? "0.4" : "0.12");
        element.setAttribute("stroke", state.label.color);
        element.setAttribute("stroke-width", String(1.75 / scale));
        element.addEventListener("mousedown", (event) => this.#grab(state, event as MouseEvent));
        return element;
      }),
    );
  }

  /** Only an active object can be moved. */
  #grab(state: ObjectState, event: MouseEvent): void {
    if (event.button !== 0 || this.#mode !== "idle" || state.clientID !== this.#active) return;
    event.stopPropagation();
    const [x, y] = this.#toPicture(event);
    this.#mode = "drag";
    this.#moved = { id: state.clientID as number, x, y, from: state.points };
  }
}
