// What all parts of the plugin work on: CVAT's scene, the state, the labels and the model's classes.

import type { Host, MadeRectangle, Scene } from "./cvat/host";
import { type Choices, ClassMap, type Model, type TaskLabel } from "./labels";
import { sentence } from "./protocol";
import { reduce } from "./reducer";
import {
  type Action,
  type Click,
  type Clicks,
  entryOf,
  type Frame,
  frameOf,
  initialState,
  isPending,
  type State,
} from "./state";
import { settings, tab } from "./storage";
import { isFraction, isRecord } from "./values";

/** A sentence about what was done last. */
interface Notice {
  readonly failed: boolean;
  readonly message: string;
}

const NO_MODEL: Model = { id: "", name: "", classes: [] };

/** What a person does, after which a sentence about something earlier is out of date. */
const STEPS: Action["type"][] = ["clicked", "edited", "cleared", "undone", "redone", "asked"];

export class Session {
  readonly host: Host;
  scene: Scene | null = null;
  notice: Notice | null = null;
  /** The rectangles that each frame of the job had when it was shown. */
  readonly rectangles = new Map<number, readonly MadeRectangle[]>();
  /**
   * Frames that CVAT has as removed, of those that were shown, passed over, or kept with clicks.
   * To know it of all others, CVAT would have to be asked for each of them.
   */
  removed = new Set<number>();
  /** Follows what has changed, and shows it. */
  readonly changed: () => void;
  #jobId: number | null = null;
  #state: State = initialState();
  #model: Model = NO_MODEL;
  #chosenModel = settings.load("model");
  #classes = new ClassMap([], NO_MODEL, {});
  #classesKey = "";
  /** As far as is known, the tab keeps the clicks. */
  #keeps = true;

  constructor(host: Host, changed: () => void) {
    this.host = host;
    this.changed = changed;
  }

  get jobId(): number | null {
    return this.#jobId;
  }

  get state(): State {
    return this.#state;
  }

  /** The frame on the screen. */
  get frame(): Frame {
    return frameOf(this.#state);
  }

  get model(): Model {
    return this.#model;
  }

  get classes(): ClassMap {
    return this.#classes;
  }

  /** Do something, and all that follows from it. */
  do(action: Action): void {
    this.reduce(action);
    this.changed();
  }

  /** Do something, and leave to the caller what follows from it. */
  reduce(action: Action): void {
    const { frames, depth } = this.#state;
    this.#state = reduce(this.#state, action);
    // As a step does, one that CVAT takes back makes it out of date: it may be what it speaks of.
    if (STEPS.includes(action.type) || this.#state.depth < depth) this.notice = null;
    if (this.#state.frames !== frames && action.type !== "job opened") this.#keepClicks();
  }

  /** Begin another job, with the clicks that the tab kept of it. */
  openJob(jobId: number): void {
    this.notice = null;
    this.rectangles.clear();
    this.removed = new Set();
    this.#keeps = true;
    this.#jobId = jobId;
    this.do({ type: "job opened", clicks: clicksOf(tab.load(`clicks:${jobId}`)) });
  }

  say(message: string, failed = false): void {
    this.notice = { failed, message };
    this.changed();
  }

  /** Whether a frame has rectangles that count: nobody has checked those of source auto. */
  isDone(number: number): boolean {
    const made = this.rectangles.get(number)?.filter(({ source }) => source !== "auto");
    return made ? made.length > 0 : (this.scene?.saved.has(number) ?? false);
  }

  /** The frame of the job after the one on the screen that is not removed, or undefined. */
  async nextFrame(): Promise<number | undefined> {
    if (this.scene === null) return undefined;
    const { frame, frames } = this.scene;
    return this.#firstKept(frames.slice(frames.indexOf(frame) + 1));
  }

  /** Learn which of the frames with clicks were removed before the page was loaded. */
  async findRemoved(): Promise<void> {
    await Promise.all([...this.#state.frames.keys()].map((frame) => this.#firstKept([frame])));
    if (this.removed.size > 0) this.changed();
  }

  async #firstKept(frames: readonly number[]): Promise<number | undefined> {
    // Another job has another set.
    const { removed } = this;
    const found = await this.host.firstKept(frames);
    const passed = found === undefined ? frames : frames.slice(0, frames.indexOf(found));
    for (const frame of passed) removed.add(frame);
    return found;
  }

  /** Show another frame; none is there after the last one. */
  async goTo(frame: number | undefined): Promise<void> {
    if (frame === undefined) {
      this.say("This is the last frame of the job.");
      return;
    }
    try {
      await this.host.goTo(frame);
    } catch (error) {
      this.say(sentence(messageOf(error)), true);
    }
  }

  labelOf(id: number): TaskLabel | undefined {
    return this.scene?.labels.find((label) => label.id === id);
  }

  chooseModel(id: string): void {
    this.#chosenModel = id;
    settings.save("model", id);
    this.#chooseAnew();
  }

  /** Say which class of the model a label is. */
  map(label: TaskLabel, className: string): void {
    const key = `classes:${this.#model.id}`;
    settings.save(key, { ...choicesOf(settings.load(key)), [label.name]: className });
    this.#chooseAnew();
  }

  /** Take the scene's models and labels. */
  chooseClasses({ models, labels }: Scene): void {
    const model = models.find(({ id }) => id === this.#chosenModel) ?? (models[0] as Model);
    const choices = choicesOf(settings.load(`classes:${model.id}`));
    const key = JSON.stringify([model, labels, choices]);
    if (key === this.#classesKey) return;
    const another = model.id !== this.#model.id;
    this.#classesKey = key;
    this.#model = model;
    this.#classes = new ClassMap(labels, model, choices);
    this.do({ type: "classes changed" });
    this.host.arm(false);
    if (another) {
      const threshold = settings.load(`threshold:${model.id}`);
      this.do({ type: "threshold set", threshold: isFraction(threshold) ? threshold : null });
    }
    const saved = settings.load(`thresholds:${model.id}`);
    const own = isRecord(saved) ? saved : {};
    const thresholds = labels.flatMap(({ id, name }) => {
      const value = own[name] ?? (another ? undefined : this.#state.thresholds.get(id));
      return isFraction(value) ? [[id, value] as const] : [];
    });
    this.do({ type: "thresholds set", thresholds: new Map(thresholds) });
  }

  #chooseAnew(): void {
    if (this.scene) this.chooseClasses(this.scene);
    this.changed();
  }

  /** Keep the clicks that were not accepted, for a page that is loaded anew. */
  #keepClicks(): void {
    const kept = [...this.#state.frames]
      .filter(([, frame]) => isPending(frame))
      .map(([number, frame]) => [number, entryOf(frame).clicks]);
    const save = () => tab.save(`clicks:${this.#jobId}`, Object.fromEntries(kept));
    if (save()) return;
    // The exemplars can be asked for again.
    tab.clear("exemplars:");
    if (save() || !this.#keeps) return;
    this.#keeps = false;
    const message =
      "The browser keeps no more clicks in this tab: accept the boxes before you leave or load the page.";
    this.notice = { failed: true, message };
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Clicks of frames as they were kept. */
function clicksOf(value: unknown): ReadonlyMap<number, Clicks> {
  const clicks = new Map<number, Clicks>();
  for (const [number, list] of Object.entries(isRecord(value) ? value : {})) {
    if (Array.isArray(list) && list.every(isClick)) clicks.set(Number(number), list);
  }
  return clicks;
}

function isClick(value: unknown): value is Click {
  const { x, y, label, positive } = isRecord(value) ? value : {};
  return [x, y, label].every(Number.isFinite) && typeof positive === "boolean";
}

function choicesOf(value: unknown): Choices {
  const isName = (pair: [string, unknown]): pair is [string, string] => typeof pair[1] === "string";
  return Object.fromEntries(Object.entries(isRecord(value) ? value : {}).filter(isName));
}
