// CVAT, as far as the plugin touches it. Nothing outside this folder knows CVAT.
//
// CVAT has no stable interface for plugins, so everything is looked at before it is used, and no
// version is compared. What is missing switches the plugin off, with one line in the console;
// nothing is thrown into CVAT.

import * as annotationActions from "actions/annotation-actions";

import type { Area, Placement, Point } from "../geometry";
import { LOWEST_SCORE, type RequestPoints, sentence } from "../protocol";
import { groupsOf, isRecord } from "../values";
import type {
  BuilderArguments,
  Core,
  GlobalState,
  Job,
  Label,
  MLModel,
  ObjectState,
  PluginComponent,
  RequestOptions,
  SavedShape,
} from "./cvat";
import type { Host, Listener, Rectangle, Scene } from "./host";
import { need, Unsupported } from "./needs";
import { isOurs, layerOf, rectangleOf, sceneOf } from "./scene";
import { Stage } from "./stage";

const NAME = "C3Det";

/** The workspace with free use of the mouse; the others give clicks and digits meanings. */
const WORKSPACE = "Standard";

/** How long CVAT has to find its functions by itself, and how long it takes to look again. */
const FIRST_LOOK_MS = 1500;
const LONGEST_LOOK_MS = 60_000;

/** The rectangles of a job, by frame. */
interface Saved {
  readonly job: number;
  readonly date: unknown;
  readonly rectangles: ReadonlyMap<number, readonly SavedShape[]>;
  /** Without those of source "auto". Made once: a job may have many thousands. */
  readonly checked: Scene["saved"];
}

const NOTHING_SAVED: Scene["saved"] = new Map();

/** Server ids of the objects of a job that the page has had. */
interface Known {
  readonly job: number | null;
  readonly ids: Set<number>;
  /** What the server has of the job was asked for. */
  wasRead: boolean;
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
  /** The rectangles that the server has of the job, as of the date that it gives. */
  #saved: Saved | null = null;
  #known: Known = { job: null, ids: new Set(), wasRead: false };
  /** Objects of the frame that a filter of CVAT's leaves out. */
  #filtered: { readonly frame: number; readonly objects: readonly ObjectState[] } | null = null;
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

  readonly placement = (): Placement | null => this.#stage?.placement() ?? null;
  readonly visible = (): Area | null => this.#stage?.visible() ?? null;
  readonly show = (point: Point): void => this.#stage?.show(point);
  readonly zoom = (at: Point, by: -1 | 1): void => this.#stage?.zoom(at, by);
  readonly arm = (armed: boolean): void => this.#stage?.arm(armed);
  readonly hasBegun = (): boolean => this.#stage?.hasBegun() ?? false;
  readonly showGrip = (shown: boolean): void => this.#stage?.showGrip(shown);
  readonly makeRoom = (pixels: number): boolean => this.#stage?.makeRoom(pixels) ?? false;

  async firstKept(frames: readonly number[]): Promise<number | undefined> {
    const [first, last] = [frames[0], frames.at(-1)];
    const all = this.#job?.frames;
    if (first === undefined || last === undefined || !all?.search) return first;
    const found = await all.search({ notDeleted: true }, first, last).catch(() => first);
    if (found === null) return undefined;
    return frames.find((frame) => frame === found) ?? first;
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
    signal: AbortSignal,
    frame: number,
  ): Promise<unknown> {
    const job = this.#job;
    if (job === null) throw new Error("No job is open.");
    const data = { task: job.taskId, job: job.id, frame, ...points, threshold: LOWEST_SCORE };
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
    // The first time is when the job was opened: the page has just read the same.
    const known = this.#known;
    const first = !known.wasRead;
    known.wasRead = true;
    // The job is small, its annotation may not be.
    const described = await this.#request(place, { method: "GET", signal });
    const date = isRecord(described) ? described.updated_date : undefined;
    if (this.#saved?.job === job.id && date !== undefined && date === this.#saved.date) return;
    const saved = await this.#request(`${place}/annotations`, { method: "GET", signal });
    const shapes: readonly SavedShape[] =
      isRecord(saved) && Array.isArray(saved.shapes) ? saved.shapes : [];
    if (first)
      addTo(
        known,
        shapes.map(({ id }) => id),
      );
    const rectangles = shapes.filter(({ type }) => type === "rectangle");
    const checked = groupsOf(
      rectangles.filter(({ source }) => source !== "auto"),
      ({ frame }) => frame,
    );
    this.#saved = {
      job: job.id,
      date,
      rectangles: groupsOf(rectangles, ({ frame }) => frame),
      checked: new Map([...checked].map(([frame, each]) => [frame, each.map(rectangleOf)])),
    };
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
      annotation.player.frame.data?.deleted,
      annotation.annotations.states,
      annotation.annotations.filters,
      annotation.annotations.history,
      annotation.annotations.zLayer,
      models?.interactors,
    ];
    if (watched.every((value, i) => value === this.#watched[i])) return;
    const { activeControl } = annotation.canvas;
    if (activeControl !== this.#state?.canvas.activeControl) this.#stage?.toolChanged();
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
    if (this.#job !== job) need(job.annotations?.put, "job.annotations.put");
    this.#job = job;
    // The same job is opened again when another workspace was looked at.
    if (this.#known.job !== job.id) this.#known = { job: job.id, ids: new Set(), wasRead: false };
    addTo(
      this.#known,
      annotation.annotations.states.map(({ serverID }) => serverID),
    );
    this.#notifyOfAll(job, annotation);
    if (!this.#looked && this.#look === null && this.#ours().length === 0) {
      this.#lookLater(FIRST_LOOK_MS);
    }
  }

  /** Tell the scene. What CVAT's filters leave out is there as well: nothing is offered over it. */
  #notifyOfAll(job: Job, state: GlobalState["annotation"]): void {
    const { states, filters } = state.annotations;
    if (!Array.isArray(filters) || filters.length === 0) {
      this.#filtered = null;
      this.#notify();
      return;
    }
    const { number: frame } = state.player.frame;
    this.safely(async () => {
      const all = await job.annotations.get?.(frame, false, []).catch(() => []);
      if (this.#state !== state || this.#job !== job) return;
      const shown = new Set(states.map(({ clientID }) => clientID));
      const objects = (Array.isArray(all) ? (all as readonly ObjectState[]) : []).filter(
        ({ clientID }) => !shown.has(clientID),
      );
      this.#filtered = { frame, objects };
      addTo(
        this.#known,
        objects.map(({ serverID }) => serverID),
      );
      this.#notify();
    });
  }

  #notify(): void {
    const [job, state] = [this.#job, this.#state];
    if (job === null || state === null) return;
    const saved = this.#saved?.job === job.id ? this.#saved : null;
    const isHere = this.#filtered?.frame === state.player.frame.number;
    const filtered = isHere ? (this.#filtered?.objects ?? []) : [];
    const elsewhere = (saved?.rectangles.get(state.player.frame.number) ?? [])
      .filter(({ id }) => id !== undefined && !this.#known.ids.has(id))
      .map(rectangleOf);
    this.#listener?.sceneChanged({
      ...sceneOf(job, state, filtered, this.#ours(), this.#absence),
      elsewhere,
      saved: saved?.checked ?? NOTHING_SAVED,
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

function addTo({ ids }: Known, found: readonly unknown[]): void {
  for (const id of found) {
    if (typeof id === "number") ids.add(id);
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
