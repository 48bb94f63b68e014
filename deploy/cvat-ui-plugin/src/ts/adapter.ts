// CVAT, as far as the plugin touches it. Nothing else in the plugin knows CVAT.
//
// CVAT has no stable interface for plugins, so everything is looked at before it is used, and no
// version is compared. What is missing switches the plugin off, with one line in the console;
// nothing is thrown into CVAT.

import * as annotationActions from "actions/annotation-actions";

import type {
  BuilderArguments,
  Canvas,
  Core,
  Geometry,
  GlobalState,
  Job,
  Label,
  MLModel,
  ObjectState,
  PluginComponent,
  RequestOptions,
  SavedShape,
} from "./cvat";
import {
  type Area,
  type Box,
  intersection,
  type Placement,
  type Point,
  toPicture,
} from "./geometry";
import type { Model, OtherLabel, TaskLabel } from "./labels";
import { type RequestPoints, sentence } from "./protocol";
import type { Click } from "./state";

const NAME = "C3Det";

/** Functions that speak the protocol have this in their id or their name. */
const SPEAKS_PROTOCOL = /c3det/i;

/** The workspace with free use of the mouse; the others give clicks and digits meanings. */
const WORKSPACE = "Standard";

const BOARD = "#cvat_canvas_attachment_board";
const DRAG_PIXELS = 4;

/** How long CVAT has to find its functions by itself, and how long it takes to look again. */
const FIRST_LOOK_MS = 1500;
const LONGEST_LOOK_MS = 60_000;

/** A rectangle to become part of the annotation. */
export interface Rectangle extends Box {
  /** Id of the label. */
  readonly label: number;
}

/** A rectangle of the annotation. */
export interface MadeRectangle extends Rectangle {
  readonly clientId: number | null;
  /** "manual", "auto", "semi-auto" or "file". */
  readonly source: string;
  readonly locked: boolean;
  /** It is in the annotation, and not shown. */
  readonly hidden: boolean;
  /** It is the object of a track on this frame. */
  readonly tracked: boolean;
}

/** What is on CVAT's screen, as values. */
export interface Scene {
  readonly jobId: number;
  readonly frame: number;
  /** Numbers of the job's frames, in their order. */
  readonly frames: readonly number[];
  /** Rectangles that the server has, by frame, without those of source "auto": nobody checked them. */
  readonly saved: ReadonlyMap<number, readonly Rectangle[]>;
  /** Labels that a rectangle may have. */
  readonly labels: readonly TaskLabel[];
  readonly otherLabels: readonly OtherLabel[];
  readonly models: readonly Model[];
  /** Why no model is known yet, in a sentence; null: one is, or none is expected. */
  readonly absence: string | null;
  /** Rectangles of the frame. */
  readonly rectangles: readonly MadeRectangle[];
  /** Rectangles of the frame that the server has, and that the page has never had. */
  readonly elsewhere: readonly Rectangle[];
  /** Every point of the frame's points shapes. */
  readonly points: readonly Click[];
  /** Client ids of the frame's objects. */
  readonly ids: ReadonlySet<number>;
  /** Length of CVAT's undo history. */
  readonly depth: number;
  /** Something was undone last, and could be redone. */
  readonly redoable: boolean;
  /** Another tool of CVAT has the mouse. */
  readonly busy: boolean;
}

/** What CVAT reports to the plugin. */
export interface Listener {
  /** The scene changed; null: no job is open in which the plugin can work. */
  sceneChanged(scene: Scene | null): void;
  /** The picture was moved, zoomed or rotated on the screen. */
  placementChanged(): void;
  /** Whether a plain click at a point of the picture is the plugin's, not CVAT's. */
  claims(point: Point): boolean;
  /** The mouse is over a point of the picture; null: it left the canvas. */
  hovered(point: Point | null): void;
  clicked(point: Point, button: "left" | "right"): void;
  /** The mouse was pressed at a point; true: what is there is pulled, not the picture. */
  grabs(point: Point): boolean;
  /** What was grabbed is pulled to a point. */
  pulled(point: Point): void;
  /** It was let go; null: where it was. */
  letGo(point: Point | null): void;
  /** A key was pressed; true: it was the plugin's, and CVAT does not get it. */
  pressed(event: KeyboardEvent): boolean;
  /** The plugin was switched off. */
  removed(): void;
}

/** What the plugin can do in CVAT. */
export interface Host {
  /** Run what the browser or a timer calls; a fault switches the plugin off. */
  safely(action: () => void | Promise<void>): void;
  /** Lay an SVG over the picture whose user units are the picture's pixels; null takes it away. */
  overlay(element: SVGSVGElement | null): void;
  placement(): Placement | null;
  /** The area of the canvas that is on the screen, without scroll bars. */
  visible(): Area | null;
  /** Ask CVAT at once for the functions that it has not found. */
  look(): void;
  /** Take the mouse from CVAT's other tools, and show that clicks are the plugin's. */
  arm(armed: boolean): void;
  /** Show that what is under the mouse can be pulled. */
  showGrip(shown: boolean): void;
  /** Leave so many pixels of the screen free at the left of the canvas; false: CVAT cannot. */
  makeRoom(pixels: number): boolean;
  /**
   * Show another frame of the job.
   *
   * @throws Error This CVAT lets no plugin do that; a sentence for the person at the screen.
   */
  goTo(frame: number): Promise<void>;
  /**
   * Call the function for a frame of the job.
   *
   * @param frame Number of the frame; without it, the one on the screen.
   * @returns The body of the answer.
   * @throws Error Its message is a sentence for the person at the screen.
   */
  ask(
    modelId: string,
    points: RequestPoints,
    threshold: number,
    signal: AbortSignal,
    frame?: number,
  ): Promise<unknown>;
  /**
   * Make rectangles on the frame on the screen, in one step of CVAT's undo history.
   *
   * @returns Their client ids, empty where this CVAT does not return them.
   */
  create(rectangles: readonly Rectangle[]): Promise<readonly number[]>;
  /**
   * Remove an object from the frame on the screen, in one step of CVAT's undo history.
   *
   * @throws Error Its message is a sentence for the person at the screen.
   */
  remove(clientId: number): Promise<void>;
  /**
   * Read what the server has of the job: somebody else may have saved rectangles since the page was
   * opened, which CVAT shows only when it is loaded anew. They become part of the scene.
   *
   * @throws Error CVAT does not answer.
   */
  readSaved(signal: AbortSignal): Promise<void>;
}

/** Wait for CVAT to take plugins, then start this one. */
export function register(start: (host: Host) => Listener): void {
  window.addEventListener(
    "plugins.ready",
    () => {
      try {
        need(window.cvatUI?.registerComponent, "window.cvatUI.registerComponent");
        window.cvatUI?.registerComponent((builderArguments) =>
          new Adapter(builderArguments).start(start),
        );
      } catch (error) {
        switchedOff(error);
      }
    },
    { once: true },
  );
}

class Unsupported extends Error {}

/** Look whether CVAT has what is to be used. */
function need(value: unknown, path: string, type = "function"): void {
  if (value === null || typeof value !== type) throw new Unsupported(path);
}

function switchedOff(error: unknown): void {
  const reason =
    error instanceof Unsupported ? `this CVAT has no ${error.message}` : `it failed: ${error}`;
  // biome-ignore lint/suspicious/noConsole: the one line that says why the plugin is not there
  console.warn(`${NAME} plugin is off: ${reason}`);
}

class Adapter implements Host {
  readonly #dispatch: BuilderArguments["dispatch"];
  readonly #core: Core;
  #listener: Listener | null = null;
  /** Models that CVAT knows, and those that only the plugin's own look has found. */
  #models: GlobalState["models"] | undefined;
  #found: readonly MLModel[] = [];
  #absence: string | null = null;
  #look: { timer: number; wait: number } | null = null;
  /** No function of ours is there, or CVAT has none at all: there is nothing to look for. */
  #looked = false;
  /** What the server has of the job, as of the date that it gives. */
  #saved: { job: number; date: unknown; shapes: readonly SavedShape[] } | null = null;
  /** Server ids of the job's objects that the page has had. */
  readonly #known = new Set<number>();
  /** The members of CVAT's state that the scene is made of, as of the last update. */
  #watched: readonly unknown[] = [];
  #state: GlobalState["annotation"] | null = null;
  #job: Job | null = null;
  #stage: Stage | null = null;
  #overlay: SVGSVGElement | null = null;
  /** CVAT reads the frame's objects anew. */
  #fetching: unknown = null;

  constructor({ dispatch, core }: BuilderArguments) {
    this.#dispatch = dispatch;
    this.#core = core;
  }

  start(start: (host: Host) => Listener): PluginComponent {
    try {
      need(this.#dispatch, "dispatch");
      need(this.#core?.server?.request, "core.server.request");
      need(this.#core?.classes?.ObjectState, "core.classes.ObjectState");
      need(fetchAnnotations(), "fetchAnnotationsAsync in actions/annotation-actions");
      this.#listener = start(this);
      window.addEventListener("keydown", this.#pressed, { capture: true });
    } catch (error) {
      this.#switchOff(error);
    }
    return {
      name: NAME,
      destructor: () => this.#guard(() => this.#remove()),
      globalStateDidUpdate: (state) => this.#guard(() => this.#update(state)),
    };
  }

  // What the plugin can do in CVAT

  safely(action: () => void | Promise<void>): void {
    this.#guard(() => {
      Promise.resolve(action()).catch((error) => this.#switchOff(error));
    });
  }

  overlay(element: SVGSVGElement | null): void {
    this.#overlay = element;
    this.#stage?.overlay(element);
  }

  placement(): Placement | null {
    return this.#stage?.placement() ?? null;
  }

  visible(): Area | null {
    return this.#stage?.visible() ?? null;
  }

  arm(armed: boolean): void {
    this.#stage?.arm(armed);
  }

  showGrip(shown: boolean): void {
    this.#stage?.showGrip(shown);
  }

  makeRoom(pixels: number): boolean {
    return this.#stage?.makeRoom(pixels) ?? false;
  }

  async goTo(frame: number): Promise<void> {
    const change = fromCvat("changeFrameAsync");
    if (!change) throw new Error("This CVAT lets no plugin change the frame: press F.");
    // Objects that CVAT is reading still would be shown on the frame that comes.
    await this.#fetching;
    await this.#dispatch(change(frame));
  }

  async ask(
    modelId: string,
    points: RequestPoints,
    threshold: number,
    signal: AbortSignal,
    frame?: number,
  ): Promise<unknown> {
    const [job, state] = [this.#job, this.#state];
    if (job === null || state === null) throw new Error("No job is open.");
    const data = {
      task: job.taskId,
      job: job.id,
      frame: frame ?? state.player.frame.number,
      ...points,
      threshold,
    };
    try {
      // Not core.lambda.call: other plugins hook into it and misread this answer.
      return await this.#request(`lambda/functions/${encodeURIComponent(modelId)}`, {
        method: "POST",
        data,
        signal,
      });
    } catch (error) {
      throw new Error(explain(error));
    }
  }

  async create(rectangles: readonly Rectangle[]): Promise<readonly number[]> {
    const [job, state] = [this.#job, this.#state];
    if (job === null || state === null) throw new Error("No job is open.");
    const labels = new Map(state.job.labels.map((label) => [label.id, label]));
    const objects = rectangles.map(
      ({ points, rotation, label }) =>
        new this.#core.classes.ObjectState({
          frame: state.player.frame.number,
          objectType: "shape",
          shapeType: "rectangle",
          points: [...points],
          rotation,
          label: labels.get(label) as Label,
          source: "semi-auto",
          occluded: false,
          zOrder: layerOf(state.annotations.zLayer),
          attributes: {},
        }),
    );
    const ids = await job.annotations.put(objects);
    this.#fetch();
    return Array.isArray(ids) ? ids.filter(Number.isInteger) : [];
  }

  async remove(clientId: number): Promise<void> {
    const state = this.#state;
    const object = state?.annotations.states.find(({ clientID }) => clientID === clientId);
    if (!state || !object?.delete) throw new Error("This CVAT lets no plugin remove it.");
    await object.delete(state.player.frame.number, false);
    this.#fetch();
  }

  #fetch(): void {
    this.#fetching = Promise.resolve(this.#dispatch(fetchAnnotations()?.())).catch(() => {});
  }

  async readSaved(signal: AbortSignal): Promise<void> {
    const job = this.#job;
    if (job === null) return;
    const place = `jobs/${job.id}`;
    // The job is small, its annotation may not be.
    const described = await this.#request(place, { method: "GET", signal });
    const date = isRecord(described) ? described.updated_date : undefined;
    if (this.#saved?.job === job.id && date !== undefined && date === this.#saved.date) return;
    const saved = await this.#request(`${place}/annotations`, { method: "GET", signal });
    const shapes = isRecord(saved) && Array.isArray(saved.shapes) ? saved.shapes : [];
    this.#saved = { job: job.id, date, shapes: shapes as readonly SavedShape[] };
    this.#notify();
  }

  look(): void {
    window.clearTimeout(this.#look?.timer);
    this.#look = { timer: 0, wait: FIRST_LOOK_MS };
    this.safely(() => this.#lookForModels());
  }

  async #request(path: string, options: RequestOptions): Promise<unknown> {
    const root = this.#core.config?.backendAPI ?? "/api";
    const response = await this.#core.server.request(`${root}/${path}`, options);
    return isRecord(response) && "data" in response ? response.data : response;
  }

  // What CVAT does

  /** CVAT asks for its functions once, when the page is loaded; whoever was down then is missed. */
  #lookLater(wait: number): void {
    const timer = window.setTimeout(() => this.safely(() => this.#lookForModels()), wait);
    this.#look = { timer, wait };
  }

  async #lookForModels(): Promise<void> {
    const wait = this.#look?.wait ?? FIRST_LOOK_MS;
    const list = this.#core.lambda?.list;
    if (this.#listener === null || this.#job === null || this.#ours().length > 0 || !list) {
      this.#look = null;
      return;
    }
    if (this.#models?.fetching) {
      this.#lookLater(wait);
      return;
    }
    try {
      const result = await list.call(this.#core.lambda);
      const models = isRecord(result) && Array.isArray(result.models) ? result.models : [];
      this.#found = (models as readonly MLModel[]).filter(isOurs);
      this.#absence = null;
      this.#look = null;
      this.#looked = true;
    } catch (error) {
      const code = isRecord(error) ? error.code : undefined;
      // This CVAT has no functions, or none for this person.
      this.#looked = code === 401 || code === 403 || code === 404;
      this.#absence = this.#looked
        ? null
        : "CVAT gets no answer from its functions: Nuclio is stopped or starting. This panel looks again by itself.";
      this.#look = null;
      if (!this.#looked) this.#lookLater(Math.min(2 * wait, LONGEST_LOOK_MS));
    }
    this.#notify();
  }

  /** The models that speak the protocol, whoever has found them. */
  #ours(): readonly MLModel[] {
    const ours = (this.#models?.interactors ?? []).filter(isOurs);
    for (const model of this.#found) {
      if (ours.every(({ id }) => id !== model.id)) ours.push(model);
    }
    return ours;
  }

  #update(globalState: unknown): void {
    if (this.#listener === null) return;
    const { annotation, models } = globalState as GlobalState;
    this.#models = models;
    need(annotation?.job, "state.annotation.job", "object");
    need(annotation.canvas, "state.annotation.canvas", "object");
    need(annotation.player?.frame, "state.annotation.player.frame", "object");
    need(annotation.annotations, "state.annotation.annotations", "object");
    const watched = [
      annotation.job.instance,
      annotation.job.labels,
      annotation.canvas.instance,
      annotation.canvas.activeControl,
      annotation.workspace,
      annotation.player.frame.number,
      annotation.annotations.states,
      annotation.annotations.history,
      annotation.annotations.zLayer,
      models?.interactors,
    ];
    if (watched.every((value, i) => value === this.#watched[i])) return;
    this.#watched = watched;
    this.#state = annotation;
    const { instance: job } = annotation.job;
    const { instance: canvas } = annotation.canvas;
    const usable =
      job && canvas && annotation.workspace === WORKSPACE && (job.dimension ?? "2d") === "2d";
    if (!usable) {
      this.#close();
      return;
    }
    if (this.#stage?.canvas !== canvas) {
      this.#stage?.remove();
      this.#stage = new Stage(canvas, this.#listener, this.#guard);
      this.#stage.overlay(this.#overlay);
    }
    if (this.#job !== job) {
      need(job.annotations?.put, "job.annotations.put");
      this.#known.clear();
    }
    this.#job = job;
    for (const { serverID } of annotation.annotations.states) {
      if (typeof serverID === "number") this.#known.add(serverID);
    }
    this.#notify();
    if (!this.#looked && this.#look === null && this.#ours().length === 0) {
      this.#lookLater(FIRST_LOOK_MS);
    }
  }

  #notify(): void {
    const [job, state] = [this.#job, this.#state];
    if (job === null || state === null) return;
    const { number } = state.player.frame;
    const saved = this.#saved?.job === job.id ? this.#saved.shapes : [];
    const rectangles = saved.filter(({ type }) => type === "rectangle");
    const checked = new Map<number, Rectangle[]>();
    for (const shape of rectangles) {
      if (shape.source === "auto") continue;
      const others = checked.get(shape.frame);
      if (others) others.push(rectangleOf(shape));
      else checked.set(shape.frame, [rectangleOf(shape)]);
    }
    const elsewhere = rectangles
      .filter(({ frame }) => frame === number)
      .filter(({ id }) => id !== undefined && !this.#known.has(id))
      .map(rectangleOf);
    this.#listener?.sceneChanged({
      ...sceneOf(job, state, this.#ours(), this.#absence),
      elsewhere,
      saved: checked,
    });
  }

  readonly #pressed = (event: KeyboardEvent): void =>
    this.#guard(() => {
      if (this.#job === null || !this.#listener || isModalOpen()) return;
      if (this.#listener.pressed(event)) {
        event.preventDefault();
        event.stopImmediatePropagation();
      }
    });

  /** No job in which the plugin can work is on the screen. */
  #close(): void {
    window.clearTimeout(this.#look?.timer);
    this.#look = null;
    this.#job = null;
    this.#stage?.remove();
    this.#stage = null;
    this.#listener?.sceneChanged(null);
  }

  #remove(): void {
    window.removeEventListener("keydown", this.#pressed, { capture: true });
    window.clearTimeout(this.#look?.timer);
    const listener = this.#listener;
    this.#listener = null;
    this.#stage?.remove();
    this.#stage = null;
    listener?.removed();
  }

  /** Run what CVAT calls; a fault switches the plugin off instead of reaching CVAT. */
  readonly #guard = (action: () => void): void => {
    try {
      action();
    } catch (error) {
      this.#switchOff(error);
    }
  };

  #switchOff(error: unknown): void {
    switchedOff(error);
    try {
      this.#remove();
    } catch {
      // The one line has been written, and there is nothing more to take away.
    }
  }
}

/** The canvas of an open job: its mouse, its place on the screen, and what lies over the picture. */
class Stage {
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

  showGrip(shown: boolean): void {
    this.#surface.classList.toggle("c3det-grip", shown);
  }

  makeRoom(pixels: number): boolean {
    if (typeof this.canvas.fitCanvas !== "function") return false;
    if (this.#room === pixels) return true;
    this.#room = pixels;
    // A border takes from the canvas' own width, and what lies in the canvas starts after it.
    const { style } = this.#surface;
    style.boxSizing = pixels > 0 ? "border-box" : "";
    style.borderLeft = pixels > 0 ? `${pixels}px solid transparent` : "";
    this.canvas.fitCanvas();
    this.canvas.fit?.();
    return true;
  }

  remove(): void {
    this.#ended.abort();
    this.#observer.disconnect();
    this.#resized.disconnect();
    this.#overlay?.remove();
    this.#surface.classList.remove("c3det-armed", "c3det-grip");
    this.#surface.style.borderLeft = this.#surface.style.boxSizing = "";
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
    this.#passing = true;
    try {
      this.#surface.dispatchEvent(new MouseEvent("mousedown", event));
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
    this.#listener.clicked(press.point, event.button === 0 ? "left" : "right");
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

function fetchAnnotations(): (() => unknown) | undefined {
  return fromCvat("fetchAnnotationsAsync");
}

/** Looked up at run time, so that a version without it switches the plugin off, not the build. */
function fromCvat<K extends keyof typeof annotationActions>(
  name: K,
): (typeof annotationActions)[K] | undefined {
  return Reflect.get(annotationActions, name);
}

function isOurs({ id, name, kind }: MLModel): boolean {
  return kind === "interactor" && (SPEAKS_PROTOCOL.test(String(id)) || SPEAKS_PROTOCOL.test(name));
}

function sceneOf(
  job: Job,
  { job: { labels, frameNumbers }, canvas, player, annotations }: GlobalState["annotation"],
  models: readonly MLModel[],
  absence: string | null,
): Omit<Scene, "elsewhere" | "saved"> {
  const shapes = annotations.states.filter(({ outside }) => !outside);
  return {
    jobId: job.id,
    frame: player.frame.number,
    frames: framesOf(job, frameNumbers),
    labels: labels.filter(takesRectangles).map(({ id, name, color }) => ({
      id: id as number,
      name,
      color: color ?? "#ffffff",
    })),
    otherLabels: labels
      .filter((label) => !takesRectangles(label))
      .map(({ name, color, type }) => ({
        name,
        color: color ?? "#ffffff",
        reason: type === undefined ? "not saved yet" : `${type} only`,
      })),
    absence,
    models: models.map(({ id, name, labels: classes }) => ({
      id: String(id),
      name,
      classes: (classes ?? []).map((label) => label.name),
    })),
    rectangles: shapes.filter(isShape("rectangle")).map((shape) => ({
      points: cornersOf(shape.points ?? []),
      rotation: shape.rotation ?? 0,
      label: shape.label.id as number,
      clientId: shape.clientID,
      source: shape.source ?? "manual",
      locked: shape.lock === true,
      hidden: shape.hidden === true,
      tracked: shape.objectType !== "shape",
    })),
    points: shapes.filter(isShape("points")).flatMap(({ points, label }) => {
      const numbers = points ?? [];
      return Array.from({ length: numbers.length >> 1 }, (_, i) => ({
        x: numbers[2 * i] as number,
        y: numbers[2 * i + 1] as number,
        label: label.id as number,
        positive: true,
      }));
    }),
    ids: new Set(annotations.states.flatMap(({ clientID }) => clientID ?? [])),
    depth: annotations.history.undo.length,
    redoable: annotations.history.redo.length > 0,
    busy: canvas.activeControl !== "cursor",
  };
}

/** Jobs of chosen frames list their numbers, others have only the first and the last one. */
function framesOf({ startFrame, stopFrame }: Job, numbers: unknown): readonly number[] {
  if (Array.isArray(numbers) && numbers.length > 0) return numbers.filter(Number.isInteger);
  if (startFrame === undefined || stopFrame === undefined) return [];
  return Array.from({ length: stopFrame - startFrame + 1 }, (_, i) => startFrame + i);
}

/** The layer of new objects: versions without a selector of layers have no current one. */
function layerOf({ cur, max }: GlobalState["annotation"]["annotations"]["zLayer"]): number {
  return [cur, max].find(Number.isInteger) ?? 0;
}

function takesRectangles({ id, type }: Label): boolean {
  return id !== undefined && (type === undefined || type === "any" || type === "rectangle");
}

function isShape(type: string): (state: ObjectState) => boolean {
  return ({ objectType, shapeType }) => objectType !== "tag" && shapeType === type;
}

function rectangleOf({ points, rotation, label_id }: SavedShape): Rectangle {
  return { points: cornersOf(points), rotation: rotation ?? 0, label: label_id };
}

function cornersOf(points: readonly number[]): Rectangle["points"] {
  const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = points;
  return [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
}

/**
 * What an annotator can do about an error of CVAT's. The function's own words are lost on the way,
 * unless its status is 200, and what CVAT says instead is an address.
 */
function explain(error: unknown): string {
  const { code, message } = isRecord(error) ? error : { code: undefined, message: undefined };
  const kept = "Your clicks are kept.";
  const report = "tell whoever runs CVAT";
  if (typeof code !== "number" || code === 0)
    return `CVAT cannot be reached. ${kept} Look at your connection, then ask again.`;
  if (code === 504 || code === 408)
    return `The function did not answer in time. ${kept} Ask again, or ${report}.`;
  if (code === 413) return `The picture is too large for the function. ${kept} ${sentence(report)}`;
  if (code === 401 || code === 403) return `CVAT does not let you use this function: ${report}.`;
  if (code === 404) return `CVAT does not find this function any more: ${report}. ${kept}`;
  if (code >= 500)
    return `The function is stopped, restarting or busy. ${kept} Ask again in a moment, or ${report}.`;
  const [line = ""] = String(message ?? error)
    .trim()
    .split("\n");
  const reason = sentence(line.replace(/ for url:.*/, ""));
  return `CVAT refused the request: ask again, or ${report}. ${kept} ${reason}`;
}

function isModalOpen(): boolean {
  return [...document.querySelectorAll<HTMLElement>(".ant-modal-wrap")].some(
    (modal) => modal.style.display !== "none",
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
