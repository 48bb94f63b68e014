// The plugin: takes CVAT's scene and what the person does, makes requests and rectangles.

import type { Host, Listener, MadeRectangle, Rectangle, Scene } from "./cvat/host";
import { ExemplarStore, type Work } from "./exemplar_store";
import {
  areaOf,
  type Box,
  type Corners,
  centreOf,
  contains,
  type Edge,
  edgesAt,
  isInside,
  overlap,
  type Point,
  shortSideOf,
  smallestAt,
  stretched,
  surrounds,
  toScreen,
} from "./geometry";
import { isChoosing, isTyping, positionOf, STEPS_OF_ARROWS } from "./keys";
import { type Choices, ClassMap, type Model, type TaskLabel } from "./labels";
import { type FrameStatus, Panel, type PanelActions, type PanelView } from "./panel";
import { Menu, Tip } from "./popups";
import { Preview, type PreviewBox } from "./preview";
import {
  AnswerError,
  type Carried,
  type ClassBox,
  decodeAnswer,
  encodeClicks,
  LOWEST_SCORE,
  type RequestPoints,
  sentence,
} from "./protocol";
import {
  type Action,
  type Click,
  type Clicks,
  canRedo,
  canUndo,
  entryOf,
  type Frame,
  frameOf,
  hasToAsk,
  initialState,
  isAnswered,
  isAwaited,
  isPending,
  newClicksOf,
  overThreshold,
  type Proposal,
  proposalsOf,
  redoesNext,
  reduce,
  type State,
  thresholdOf,
  undoesNext,
} from "./state";
import { loadFromTab, loadSetting, saveInTab, saveSetting } from "./storage";
import { CANVAS_STYLE, STYLE } from "./style";

/** Overlap from which a proposal is the object of a rectangle of its label. */
const SAME_OBJECT = 0.5;
/** The second half of a double click is no click of its own. */
const SAME_POINT_PIXELS = 2;
/** How near the mouse has to be to an edge to pull it, and which boxes are too small for that. */
const EDGE_PIXELS = 5;
const SMALLEST_PULLED_PIXELS = 20;
/** What a key adds to a threshold. */
const THRESHOLD_STEP = 0.05;
const HIGHEST_SCORE = 0.95;
/** A frame is asked for by itself once it was looked at for so long. */
const CARRY_MS = 200;

/** Rectangles that a model made, so that a right click may take them away. */
const MADE_BY_MODELS = ["auto", "semi-auto"];

/** A sentence about what was done last. */
interface Notice {
  readonly failed: boolean;
  readonly message: string;
}

interface Intent {
  /** Which of the boxes that are shown are accepted: of one label, given by its id, or in view. */
  readonly only: number | "in view" | null;
  /** The next frame is shown then. */
  readonly goOn: boolean;
}

const ACCEPT_ALL: Intent = { only: null, goOn: false };
const ACCEPT_IN_VIEW: Intent = { only: "in view", goOn: false };

/** A proposal as it is shown. */
interface Shown extends Proposal, PreviewBox {
  /** There is a rectangle of this label already. */
  readonly present: boolean;
}

const NO_MODEL: Model = { id: "", name: "", classes: [] };

/** What a person does, after which a sentence about something earlier is out of date. */
const STEPS: readonly Action["type"][] = [
  "clicked",
  "edited",
  "cleared",
  "undone",
  "redone",
  "asked",
];

export class Plugin implements Listener {
  readonly #host: Host;
  readonly #root = document.createElement("div");
  readonly #canvasStyle = document.createElement("style");
  readonly #preview = new Preview();
  readonly #tip = new Tip();
  readonly #menu = new Menu();
  readonly #panel: Panel;
  #scene: Scene | null = null;
  #jobId: number | null = null;
  /** Those of the frames' "accepted" whose objects CVAT has shown, and its undo history then. */
  readonly #landed = new WeakMap<object, number>();
  #state: State = initialState();
  #model: Model = NO_MODEL;
  #chosenModel = loadSetting("model");
  #classes = new ClassMap([], NO_MODEL, {});
  #classesKey = "";
  #call: { id: number; since: number; abort: AbortController } | null = null;
  #accepting = false;
  /** What "Accept" was chosen for: boxes of one label or of all, and what comes after it. */
  #intent = ACCEPT_ALL;
  #notice: Notice | null = null;
  #hidden = false;
  /** Ids of the labels whose boxes are not shown, and not accepted. */
  readonly #hiddenLabels = new Set<number>();
  /** The slider is of the armed label alone. */
  #own = false;
  /** A frame that nobody has worked on is asked for by itself. */
  #carries = loadSetting("carry") !== false;
  #carry = 0;
  /** The rectangles that each frame of the job had when it was shown. */
  readonly #rectangles = new Map<number, readonly MadeRectangle[]>();
  readonly #exemplars: ExemplarStore;
  #shown: readonly Shown[] = [];
  /** The box that keys are for: the one under the mouse, or the one that a key went to. */
  #hovered: Shown | null = null;
  #picked = false;
  #pull: { readonly proposal: Shown; readonly edges: readonly Edge[] } | null = null;
  /** Ends what is asked beside the function. */
  readonly #left = new AbortController();
  /** What the proposals that are compared with the frame's rectangles came from. */
  #compared: { inputs: readonly unknown[]; proposals: readonly Shown[] } | null = null;

  constructor(host: Host) {
    this.#host = host;
    this.#exemplars = new ExemplarStore(host);
    const actions: PanelActions = {
      chooseModel: (id) => this.#chooseModel(id),
      arm: (label) => this.#arm(this.#state.armed === label ? null : label),
      map: (label, className) => this.#map(label, className),
      setThreshold: (threshold) => this.#setThreshold(threshold, this.#own),
      chooseScope: (own) => this.#chooseScope(own),
      look: () => this.#host.look(),
      undo: () => this.#do({ type: "undone" }),
      redo: () => this.#do({ type: "redone" }),
      clear: () => this.#do({ type: "cleared" }),
      take: () => this.#do({ type: "clicked", clicks: this.#takeable() }),
      ask: () => this.#do({ type: "asked" }),
      cancel: () => this.#do({ type: "cancelled" }),
      accept: () => this.#accept(ACCEPT_ALL),
      acceptArmed: () => this.#accept({ only: this.#state.armed, goOn: false }),
      acceptInView: () => this.#accept(ACCEPT_IN_VIEW),
      acceptAndGoOn: () => this.#accept({ only: null, goOn: true }),
      toggleHidden: () => this.#toggleHidden(),
      toggleLabel: (label) => this.#toggleLabel(label),
      toggleCarry: () => {
        this.#carries = !this.#carries;
        saveSetting("carry", this.#carries);
        this.#carryOn();
        this.#draw();
      },
      goTo: (frame) => this.#goTo(frame),
      toggleSource: (frame) => this.#toggleSource(frame),
      makeRoom: (pixels) => {
        if (!this.#host.makeRoom(pixels)) this.#panel.stayOver();
      },
    };
    this.#panel = new Panel(safely(host, actions));
    this.#canvasStyle.textContent = CANVAS_STYLE;
    document.head.append(this.#canvasStyle);
    this.#root.id = "c3det-plugin";
    const style = document.createElement("style");
    style.textContent = STYLE;
    this.#root
      .attachShadow({ mode: "open" })
      .append(style, this.#panel.element, this.#menu.element, this.#tip.element);
    // Keys typed into the panel's fields are not CVAT's shortcuts.
    for (const type of ["keydown", "keypress", "keyup"]) {
      this.#root.addEventListener(type, (event) => {
        if (isTyping(event)) event.stopPropagation();
      });
    }
    document.body.append(this.#root);
    document.addEventListener("mousedown", this.#pressedOutside);
    window.addEventListener("resize", this.#resized);
    window.addEventListener("beforeunload", this.#leaving);
  }

  // What CVAT reports

  sceneChanged(scene: Scene | null): void {
    const before = this.#scene;
    this.#scene = scene?.models.length ? scene : null;
    if (this.#scene === null) {
      this.#closeMenu();
      if (this.#state.armed !== null) this.#arm(null);
      window.clearTimeout(this.#carry);
      this.#do({ type: "frame shown", frame: null });
      if (scene?.absence) {
        this.#panel.miss(scene.absence);
        this.#place();
      }
      return;
    }
    if (this.#jobId !== this.#scene.jobId) {
      this.#notice = null;
      this.#rectangles.clear();
      this.#hiddenLabels.clear();
      this.#exemplars.open(this.#scene.jobId);
      this.#jobId = this.#scene.jobId;
      this.#do({ type: "job opened", clicks: clicksOf(loadFromTab(`clicks:${this.#jobId}`)) });
      // Which frames are done, without which the plugin works as well.
      this.#host.safely(() => this.#host.readSaved(this.#left.signal).catch(() => {}));
    }
    this.#rectangles.set(this.#scene.frame, this.#scene.rectangles);
    this.#chooseClasses(this.#scene);
    this.#do({ type: "CVAT stepped", depth: this.#scene.depth });
    if (this.#state.frame !== this.#scene.frame) {
      this.#closeMenu();
      this.#notice = null;
      this.#do({ type: "frame shown", frame: this.#scene.frame });
      this.#carryOn();
    }
    this.#followAcceptance(this.#scene);
    if (this.#scene.busy && !before?.busy) this.#giveWay();
    this.#draw();
  }

  placementChanged(): void {
    if (this.#menu.isOpen || this.#hovered) this.#closeMenu();
    this.#place();
  }

  claims(point: Point): boolean {
    const placement = this.#host.placement();
    if (this.#scene === null || placement === null) return false;
    if (this.#state.armed !== null) return isInside(placement, point);
    if (this.#menu.isOpen || this.#editableAt(point) !== null) return true;
    return this.#edgesAt(point) !== null;
  }

  hovered(point: Point | null): void {
    const placement = this.#host.placement();
    const found = point === null || this.#menu.isOpen ? null : this.#editableAt(point);
    this.#host.showGrip(point !== null && !this.#menu.isOpen && this.#edgesAt(point) !== null);
    // A box that a key went to is left for another one only.
    if (this.#picked && found === null && point !== null) return;
    this.#aimAt(found, false);
    if (found && point && placement) this.#showTip(found, toScreen(placement, point));
  }

  grabs(point: Point): boolean {
    this.#pull = this.#menu.isOpen ? null : this.#edgesAt(point);
    return this.#pull !== null;
  }

  pulled(point: Point): void {
    if (this.#pull === null) return;
    this.#tip.hide();
    this.#preview.hover({ ...this.#pull.proposal, ...this.#stretch(this.#pull, point) });
  }

  letGo(point: Point | null): void {
    const pull = this.#pull;
    this.#pull = null;
    if (pull === null || point === null) return;
    const box = this.#stretch(pull, point);
    this.#preview.hover(null);
    if (shortSideOf(box) >= 1) this.#edit(pull.proposal, pull.proposal.label, box.points);
  }

  clicked(point: Point, button: "left" | "right"): void {
    if (this.#menu.isOpen) {
      this.#closeMenu();
      return;
    }
    const { armed } = this.#state;
    if (armed !== null) {
      const click = { x: point[0], y: point[1], label: armed, positive: button === "left" };
      const rectangle = button === "right" ? this.#rectangleAt(point) : null;
      if (rectangle === null) this.#click(click);
      else this.#host.safely(() => this.#remove(rectangle, click));
      return;
    }
    const found = this.#editableAt(point);
    if (found === null) return;
    if (button === "right") this.#edit(found, null);
    else this.#openMenu(found, point);
  }

  pressed(event: KeyboardEvent): boolean {
    if (this.#scene === null || isTyping(event)) return false;
    const { key } = event;
    const { armed } = this.#state;
    const control = event.ctrlKey || event.metaKey;
    if (control && !event.altKey) {
      const lower = key.toLowerCase();
      const redo = lower === "y" || (lower === "z" && event.shiftKey);
      if (!redo && lower !== "z") return false;
      // Where the last step is CVAT's, so is the key.
      const ours = redo ? redoesNext(this.#state, this.#scene.redoable) : undoesNext(this.#state);
      if (!ours) return false;
      this.#closeMenu();
      this.#do({ type: redo ? "redone" : "undone" });
      return true;
    }
    if (event.altKey) return false;
    if (isChoosing(event) && !/^\d$/.test(key)) return false;
    if (!event.shiftKey && this.#menu.pressed(key)) return true;
    if (this.#state.waiting && key === "Escape") {
      this.#do({ type: "waits no more" });
      return true;
    }
    if (this.#pressedOnBox(event)) return true;
    if (armed !== null && key === "Escape") {
      this.#arm(null);
      return true;
    }
    if (key === "Enter") return this.#pressedEnter(event);
    if (this.#scene.busy && !/^\d$/.test(key)) return false;
    if (key.toLowerCase() === "w") {
      if (event.repeat) return true;
      if (event.shiftKey) this.#panel.toggleDock();
      else this.#panel.toggle();
      return true;
    }
    // Folded and with no label armed it leaves the keys to CVAT.
    if (this.#panel.folded && armed === null) return false;
    const act = this.#actionOf(event);
    if (act !== null) {
      act();
      return true;
    }
    const label = this.#classes.labels[positionOf(event)];
    if (label === undefined) return false;
    if (event.shiftKey) this.#toggleLabel(label.id);
    else this.#arm(label.id);
    return true;
  }

  /** What a key does that needs no label and no box, or null. */
  #actionOf({ key, shiftKey, repeat }: KeyboardEvent): (() => void) | null {
    const once = (act: () => void) => (repeat ? () => {} : act);
    if (["[", "{", "PageDown"].includes(key)) return () => this.#stepThreshold(-1, shiftKey);
    if (["]", "}", "PageUp"].includes(key)) return () => this.#stepThreshold(1, shiftKey);
    // Whatever Caps Lock makes of it.
    const letter = key.toLowerCase();
    if (shiftKey) {
      if (letter === "a") return once(() => this.#host.safely(() => this.#accept(ACCEPT_IN_VIEW)));
      return letter === "b" ? () => this.#pick(-1) : null;
    }
    switch (letter) {
      case "a":
        return once(() => this.#host.safely(() => this.#accept({ only: null, goOn: true })));
      case "b":
        return () => this.#pick(1);
      case "s":
        return once(() => this.#search());
      case "u":
        return once(() => this.#do({ type: "cleared" }));
      case "y":
        return once(() => this.#toggleHidden());
      default:
        return null;
    }
  }

  /** Enter accepts; with no label armed only where there is something to accept. */
  #pressedEnter(event: KeyboardEvent): boolean {
    const { armed } = this.#state;
    if (armed === null) {
      const [target] = event.composedPath();
      const pressesIt = target instanceof Element && target.closest("button, a, [role=button]");
      const accepts = isAwaited(this.#state) || this.#shown.some(({ present }) => !present);
      if (pressesIt || this.#scene?.busy || this.#panel.folded || !accepts) return false;
    }
    const only = event.shiftKey ? armed : null;
    if (!event.repeat) this.#host.safely(() => this.#accept({ only, goOn: false }));
    return true;
  }

  /** Keys for the box under the mouse while no label is armed, or for the one that a key went to. */
  #pressedOnBox(event: KeyboardEvent): boolean {
    const box = this.#hovered;
    if (box === null || (!this.#picked && this.#state.armed !== null)) return false;
    const { key, shiftKey } = event;
    const label = shiftKey ? undefined : this.#choosable()[positionOf(event)];
    if (label !== undefined && (this.#picked || label.id !== box.label)) {
      this.#editByKey(box, label.id);
      return true;
    }
    if (key === "Delete" || key === "Backspace") {
      const picked = this.#picked;
      this.#edit(box, null);
      if (picked) this.#pick(1);
      return true;
    }
    if (!this.#picked) return false;
    if (key === "Escape") {
      this.#aimAt(null, false);
      return true;
    }
    const step = STEPS_OF_ARROWS[key];
    if (step === undefined) return false;
    const by = 1 / (this.#host.placement()?.scale ?? 1);
    const [x1, y1, x2, y2] = box.points;
    const [dx, dy] = [step[0] * by, step[1] * by];
    const points: Corners = shiftKey
      ? [Math.min(x1 + dx, x2 - by), Math.min(y1 + dy, y2 - by), x2, y2]
      : [x1, y1, Math.max(x2 + dx, x1 + by), Math.max(y2 + dy, y1 + by)];
    this.#editByKey(box, box.label, points);
    return true;
  }

  removed(): void {
    this.#call?.abort.abort();
    this.#left.abort();
    window.clearTimeout(this.#carry);
    this.#host.makeRoom(0);
    this.#root.remove();
    this.#canvasStyle.remove();
    document.removeEventListener("mousedown", this.#pressedOutside);
    window.removeEventListener("resize", this.#resized);
    window.removeEventListener("beforeunload", this.#leaving);
  }

  // What the person does

  #arm(label: number | null): void {
    this.#closeMenu();
    // The tool goes first: giving up another one is a change of CVAT's scene.
    this.#host.arm(label !== null);
    this.#own = label !== null && this.#state.thresholds.has(label);
    this.#do({ type: "armed", label });
  }

  #toggleHidden(): void {
    this.#hidden = !this.#hidden;
    this.#notice = null;
    this.#draw();
  }

  /** Show or hide the boxes of one label. */
  #toggleLabel(label: number): void {
    if (!this.#hiddenLabels.delete(label)) this.#hiddenLabels.add(label);
    this.#draw();
  }

  #search(): void {
    const { clicks } = entryOf(frameOf(this.#state));
    if (clicks.length === 0 && this.#canSearch()) this.#do({ type: "asked" });
    else if (clicks.length === 0)
      this.#say({
        failed: false,
        message: "There are no examples on other frames yet: click an object first.",
      });
  }

  /** Whether the function can be asked without clicks: an open one only with other frames' work. */
  #canSearch(): boolean {
    return this.#model.classes.length > 0 || this.#used().length > 0;
  }

  /** Ask for a frame that nobody has worked on, once others of the job were. */
  #carryOn(): void {
    window.clearTimeout(this.#carry);
    const { frame } = this.#state;
    const worked = [...this.#state.frames].some(
      ([number, { open, accepted, history }]) =>
        number !== frame && (open || accepted !== null || history.length > 1),
    );
    if (!this.#carries || !worked || !this.#canSearch()) return;
    this.#carry = window.setTimeout(() => {
      const { open, taken } = frameOf(this.#state);
      const { clicks } = entryOf(frameOf(this.#state));
      const isNew = !open && clicks.length + taken.length === 0;
      if (frame === this.#state.frame && isNew && this.#scene?.rectangles.length === 0)
        this.#host.safely(() => this.#do({ type: "asked" }));
    }, CARRY_MS);
  }

  async #goTo(frame: number | undefined): Promise<void> {
    if (frame === undefined) {
      this.#say({ failed: false, message: "This is the last frame of the job." });
      return;
    }
    try {
      await this.#host.goTo(frame);
    } catch (error) {
      this.#say({ failed: true, message: sentence(messageOf(error)) });
    }
  }

  // Exemplars of other frames

  /** The frames whose exemplars are used for the one on the screen. */
  #used(): readonly number[] {
    const { frame } = this.#state;
    return frame === null || this.#scene === null
      ? []
      : this.#exemplars.used(frame, this.#work(this.#scene));
  }

  #work({ saved }: Scene): Work {
    return {
      model: this.#model,
      classes: this.#classes,
      frames: this.#state.frames,
      rectangles: this.#rectangles,
      saved,
    };
  }

  #toggleSource(frame: number): void {
    this.#exemplars.toggle(frame);
    this.#do({ type: "exemplars changed" });
  }

  /**
   * The exemplars of other frames; null: there are none.
   *
   * @throws Error The function did not answer them.
   */
  async #carried(signal: AbortSignal): Promise<Carried | null> {
    const { frame } = this.#state;
    if (frame === null || this.#scene === null) return null;
    const work = this.#work(this.#scene);
    try {
      return await this.#exemplars.carried(frame, work, signal);
    } catch (error) {
      if (!(error instanceof AnswerError && error.code === "unsupported")) throw error;
      this.#exemplars.giveUp(work.model.id);
      const message =
        "This function was deployed before examples of other frames: each frame begins with its own clicks.";
      this.#notice = { failed: false, message };
      return null;
    }
  }

  /** Ask with the exemplars of other frames, and take them again if they are of other weights. */
  async #askWith(
    encode: (carried: Carried | null) => RequestPoints,
    signal: AbortSignal,
  ): Promise<ReturnType<typeof decodeAnswer> | null> {
    const ask = async (): Promise<ReturnType<typeof decodeAnswer> | null> => {
      const carried = await this.#carried(signal);
      const points = encode(carried);
      if (signal.aborted) return null;
      // An open model finds nothing that is of a label, without clicks and examples.
      const empty = this.#model.classes.length === 0 && carried === null;
      if (empty && points.pos_points.length === 0)
        throw new Error("There are no examples on other frames: click an object first.");
      return decodeAnswer(await this.#host.ask(this.#model.id, points, LOWEST_SCORE, signal));
    };
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof AnswerError && error.code === "other_weights")) throw error;
      this.#exemplars.forget();
      return ask();
    }
  }

  // Thresholds

  #chooseScope(own: boolean): void {
    const { armed } = this.#state;
    this.#own = own && armed !== null;
    if (!own && armed !== null) this.#setThreshold(null, true);
    this.#draw();
  }

  /** @param own It is that of the armed label alone; null gives its own one up. */
  #setThreshold(threshold: number | null, own: boolean): void {
    const { armed } = this.#state;
    if (!own || armed === null) {
      saveSetting(`threshold:${this.#model.id}`, threshold);
      this.#do({ type: "threshold set", threshold });
      return;
    }
    this.#do({ type: "threshold set", threshold, label: armed });
    const named = [...this.#state.thresholds].flatMap(([id, value]) => {
      const label = this.#labelOf(id);
      return label ? [[label.name, value] as const] : [];
    });
    saveSetting(`thresholds:${this.#model.id}`, Object.fromEntries(named));
  }

  #stepThreshold(by: -1 | 1, own: boolean): void {
    const label = own || this.#own ? this.#state.armed : null;
    const before = thresholdOf(this.#state, label);
    if (before === null) return;
    this.#own = label !== null;
    const wanted = Math.round((before + by * THRESHOLD_STEP) * 100) / 100;
    const threshold = Math.min(Math.max(wanted, LOWEST_SCORE), HIGHEST_SCORE);
    this.#setThreshold(threshold, label !== null);
  }

  // Boxes

  #aimAt(box: Shown | null, picked: boolean): void {
    if (box !== this.#hovered) {
      this.#hovered = box;
      this.#preview.hover(box);
    }
    this.#picked = picked && box !== null;
    if (box === null) this.#tip.hide();
  }

  #showTip(box: Shown, place: Point): void {
    const label = this.#labelOf(box.label);
    if (label) this.#tip.show(label, this.#describe(label, box), place);
  }

  /** Those of the boxes whose centres are on the screen. */
  #inView(boxes: readonly Shown[]): Shown[] {
    const [placement, view] = [this.#host.placement(), this.#host.visible()];
    return boxes.filter((box) => {
      if (placement === null || view === null) return false;
      const [x, y] = toScreen(placement, centreOf(box));
      return x >= view.left && x <= view.right && y >= view.top && y <= view.bottom;
    });
  }

  /** Go to another box of those in view, if there are any: the least sure one first. */
  #pick(by: -1 | 1): void {
    if (this.#hidden) this.#toggleHidden();
    const placement = this.#host.placement();
    const all = this.#shown.filter(({ present }) => !present);
    const inView = this.#inView(all);
    const boxes = (inView.length > 0 ? inView : all).sort(
      (a, b) => Number(a.sure) - Number(b.sure) || a.score - b.score,
    );
    const at = this.#picked && this.#hovered ? boxes.indexOf(this.#hovered) : by > 0 ? -1 : 0;
    const box = boxes[(at + by + boxes.length) % boxes.length];
    this.#menu.close();
    this.#aimAt(box ?? null, true);
    if (!box || !placement) return;
    this.#showTip(box, toScreen(placement, [box.points[2], box.points[1]]));
  }

  /** Change a box by a key; the keys are for what it has become, then. */
  #editByKey(box: Shown, label: number, points = box.points): void {
    const picked = this.#picked;
    this.#edit(box, label, points);
    const same = (other: Shown) =>
      other.label === label && other.points.every((value, i) => value === points[i]);
    const edited = this.#shown.find(same) ?? null;
    this.#aimAt(edited, picked);
    const placement = this.#host.placement();
    if (edited && placement) this.#showTip(edited, toScreen(placement, [points[2], points[1]]));
  }

  /** The box whose edges are at a point, the smallest one; none is so small that a click is meant. */
  #edgesAt(point: Point): { proposal: Shown; edges: readonly Edge[] } | null {
    const placement = this.#host.placement();
    if (placement === null || this.#hidden) return null;
    const { scale } = placement;
    let found: { proposal: Shown; edges: readonly Edge[] } | null = null;
    for (const proposal of this.#shown) {
      if (proposal.present || shortSideOf(proposal) * scale < SMALLEST_PULLED_PIXELS) continue;
      if (found !== null && areaOf(found.proposal) <= areaOf(proposal)) continue;
      const edges = edgesAt(proposal, point, EDGE_PIXELS / scale);
      if (edges.length > 0) found = { proposal, edges };
    }
    return found;
  }

  /** A box with edges pulled to a point, not beyond the picture. */
  #stretch({ proposal, edges }: { proposal: Shown; edges: readonly Edge[] }, [x, y]: Point): Box {
    const { width, height } = this.#host.placement() ?? { width: x, height: y };
    const inside: Point = [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)];
    return stretched(proposal, edges, inside);
  }

  /** The labels that a box may have, those first that can be clicked: their digits are the same. */
  #choosable(): readonly TaskLabel[] {
    return [...this.#classes.labels, ...this.#classes.others];
  }

  /** Another tool of CVAT has taken the mouse. */
  #giveWay(): void {
    if (this.#state.armed !== null) this.#arm(null);
    if (!this.#state.waiting) return;
    // Objects made now would end what is being drawn.
    this.#do({ type: "waits no more" });
    this.#say({ failed: false, message: "Another tool was chosen: nothing was accepted." });
  }

  #click(click: Click): void {
    const placement = this.#host.placement();
    const last = entryOf(frameOf(this.#state)).clicks.at(-1);
    const near = last && Math.hypot(last.x - click.x, last.y - click.y) * (placement?.scale ?? 1);
    const same = last?.label === click.label && last.positive === click.positive;
    if (same && near !== undefined && near < SAME_POINT_PIXELS) return;
    this.#do({ type: "clicked", clicks: [click] });
  }

  #openMenu(proposal: Shown, point: Point): void {
    const placement = this.#host.placement();
    const label = this.#labelOf(proposal.label);
    if (placement === null || label === undefined) return;
    this.#tip.hide();
    const choice = {
      title: this.#describe(label, proposal),
      label,
      labels: this.#choosable(),
      choose: (chosen: number | null) =>
        this.#host.safely(() => {
          this.#preview.hover(null);
          if (chosen !== proposal.label) this.#edit(proposal, chosen);
        }),
    };
    this.#menu.open(choice, toScreen(placement, point));
  }

  /** The rectangle that a right click at a point means, or null: it means the proposal there. */
  #rectangleAt(point: Point): MadeRectangle | null {
    const visible = (this.#scene?.rectangles ?? []).filter(({ hidden }) => !hidden);
    const rectangle = smallestAt(visible, point);
    const proposal = this.#editableAt(point);
    if (rectangle === null || (proposal && areaOf(proposal) <= areaOf(rectangle))) return null;
    return rectangle;
  }

  /** Take a rectangle away that a right click says is none. */
  async #remove(rectangle: MadeRectangle, click: Click): Promise<void> {
    const { clientId, label } = rectangle;
    const name = this.#labelOf(label)?.name ?? "";
    const reason = whyItStays(rectangle);
    if (reason !== null || clientId === null) {
      const message = `This rectangle of ${name} stays, as ${reason}: take it away with CVAT's own mouse (Esc) and Del.`;
      this.#say({ failed: false, message });
      return;
    }
    // A proposal for the same object would be offered again.
    const proposed = this.#shown.some((one) => overlap(one, rectangle) >= SAME_OBJECT);
    if (proposed) this.#click(click);
    try {
      await this.#host.remove(clientId);
      this.#say({ failed: false, message: `Rectangle of ${name} removed. Ctrl+Z brings it back.` });
    } catch (error) {
      this.#say({
        failed: true,
        message: `CVAT did not remove the rectangle. ${sentence(messageOf(error))}`,
      });
    }
  }

  #say(notice: Notice): void {
    this.#notice = notice;
    this.#draw();
  }

  #edit(
    { color, look, present, ...proposal }: Shown,
    label: number | null,
    points?: Corners,
  ): void {
    this.#do({ type: "edited", edit: { proposal, label, ...(points && { points }) } });
    this.#aimAt(null, false);
  }

  #closeMenu(): void {
    this.#menu.close();
    this.#pull = null;
    this.#aimAt(null, false);
  }

  #chooseModel(id: string): void {
    this.#chosenModel = id;
    saveSetting("model", id);
    if (this.#scene) this.#chooseClasses(this.#scene);
    this.#draw();
  }

  #map(label: TaskLabel, className: string): void {
    const key = `classes:${this.#model.id}`;
    saveSetting(key, { ...choicesOf(loadSetting(key)), [label.name]: className });
    if (this.#scene) this.#chooseClasses(this.#scene);
    this.#draw();
  }

  #accept(intent: Intent): Promise<void> {
    this.#intent = intent;
    return this.#acceptNow();
  }

  async #acceptNow(): Promise<void> {
    const { frame } = this.#state;
    if (this.#accepting || frame === null) return;
    const { only, goOn } = this.#intent;
    this.#notice = null;
    if (isAwaited(this.#state)) {
      this.#do({ type: "waits to accept" });
      return;
    }
    const all = this.#shown.filter(({ present }) => !present);
    const made =
      only === "in view"
        ? this.#inView(all)
        : all.filter(({ label }) => only === null || label === only);
    if (made.length > 0 && this.#hidden) {
      this.#hidden = false;
      const message = "The proposals were hidden. Here they are: look, then accept again.";
      this.#say({ failed: false, message });
      return;
    }
    if (made.length === 0) {
      if (goOn) await this.#goTo(this.#nextFrame());
      else this.#draw();
      return;
    }
    const { clicks } = entryOf(frameOf(this.#state));
    const job = this.#jobId;
    const replaced = this.#replacedBy(made);
    const taken = this.#shown.filter((proposal) => proposal.present || made.includes(proposal));
    this.#accepting = true;
    this.#closeMenu();
    this.#draw();
    let isMade = false;
    try {
      const ids = await this.#host.create(
        made.map(({ points, rotation, label }): Rectangle => ({ points, rotation, label })),
      );
      isMade = true;
      if (this.#jobId === job) this.#do({ type: "accepted", frame, clicks, ids, taken });
      if (this.#state.frame === frame) await this.#replace(replaced);
    } catch (error) {
      const message = `CVAT did not take the boxes. ${sentence(messageOf(error))}`;
      this.#notice = { failed: true, message };
    } finally {
      this.#accepting = false;
      this.#draw();
    }
    const stays = this.#jobId !== job || this.#state.frame !== frame;
    if (isMade && goOn && !stays) await this.#goTo(this.#nextFrame());
  }

  /** Rectangles of models around objects that were clicked since, which boxes stand for now. */
  #replacedBy(made: readonly Shown[]): readonly MadeRectangle[] {
    const clicks = newClicksOf(frameOf(this.#state)).filter(({ positive }) => positive);
    return (this.#scene?.rectangles ?? []).filter((rectangle) => {
      const within = clicks.filter(
        ({ x, y, label }) => label === rectangle.label && contains(rectangle, [x, y]),
      );
      if (within.length === 0 || rectangle.hidden || whyItStays(rectangle) !== null) return false;
      return made.some(
        (box) =>
          box.sure &&
          box.label === rectangle.label &&
          surrounds(rectangle, box) &&
          within.some(({ x, y }) => contains(box, [x, y])),
      );
    });
  }

  async #replace(rectangles: readonly MadeRectangle[]): Promise<void> {
    if (rectangles.length === 0) return;
    try {
      for (const { clientId } of rectangles) {
        if (clientId !== null) await this.#host.remove(clientId);
      }
    } catch (error) {
      const message = `CVAT did not remove a larger rectangle. ${sentence(messageOf(error))}`;
      this.#notice = { failed: true, message };
      return;
    }
    const [one] = rectangles as [MadeRectangle];
    const name = this.#labelOf(one.label)?.name ?? "";
    const what =
      rectangles.length === 1
        ? `A larger rectangle of ${name} was`
        : `${rectangles.length} larger rectangles were`;
    this.#notice = { failed: false, message: `${what} replaced. Ctrl+Z brings it back.` };
  }

  /** The frame of the job after the one on the screen, or undefined. */
  #nextFrame(): number | undefined {
    const { frame, frames } = this.#scene as Scene;
    return frames[frames.indexOf(frame) + 1];
  }

  readonly #pressedOutside = (event: Event): void => {
    if (event.composedPath().includes(this.#menu.element)) return;
    if (this.#menu.isOpen) this.#host.safely(() => this.#closeMenu());
  };

  readonly #resized = (): void => this.#host.safely(() => this.#place());

  /** Clicks are kept while the tab is open, and end with it. */
  readonly #leaving = (event: BeforeUnloadEvent): void => {
    if (![...this.#state.frames.values()].some(isPending)) return;
    event.preventDefault();
    // Browsers older than 2023 need this.
    event.returnValue = true;
  };

  // Model and classes

  #chooseClasses({ models, labels }: Scene): void {
    const model = models.find(({ id }) => id === this.#chosenModel) ?? (models[0] as Model);
    const choices = choicesOf(loadSetting(`classes:${model.id}`));
    const key = JSON.stringify([model, labels, choices]);
    if (key === this.#classesKey) return;
    const another = model.id !== this.#model.id;
    this.#classesKey = key;
    this.#model = model;
    this.#classes = new ClassMap(labels, model, choices);
    this.#do({ type: "classes changed" });
    this.#host.arm(false);
    if (another) {
      const threshold = loadSetting(`threshold:${model.id}`);
      this.#do({ type: "threshold set", threshold: isScore(threshold) ? threshold : null });
    }
    if (another || this.#state.thresholds.size === 0) {
      const own = loadSetting(`thresholds:${model.id}`) ?? {};
      const thresholds = labels.flatMap(({ id, name }) => {
        const value = Reflect.get(own, name);
        return isScore(value) ? [[id, value] as const] : [];
      });
      this.#do({ type: "thresholds set", thresholds: new Map(thresholds) });
    }
  }

  #labelOf(id: number): TaskLabel | undefined {
    return this.#scene?.labels.find((label) => label.id === id);
  }

  #describe(label: TaskLabel, { score, sure, rival }: Proposal): string {
    const other = rival && this.#labelOf(rival.label);
    const or = rival && other ? ` or ${other.name} ${rival.score.toFixed(2)}` : "";
    return `${label.name} ${score.toFixed(2)}${or}${sure ? " · yours" : ""}`;
  }

  /**
   * Bring the proposals back when CVAT undid the objects that "Accept" made of them, and take them
   * away again when it made the objects again.
   */
  #followAcceptance({ ids, depth, redoable }: Scene): void {
    const { accepted, undone } = frameOf(this.#state);
    if (undone?.ids.every((id) => ids.has(id))) {
      this.#do({ type: "acceptance redone" });
      return;
    }
    if (accepted === null || accepted.ids.length === 0) return;
    const landed = this.#landed.get(accepted);
    if (accepted.ids.every((id) => ids.has(id))) this.#landed.set(accepted, landed ?? depth);
    else if (landed !== undefined && redoable && depth < landed) {
      if (!accepted.ids.some((id) => ids.has(id))) this.#do({ type: "acceptance undone" });
    }
  }

  // Asking

  #do(action: Action): void {
    const { frames } = this.#state;
    this.#state = reduce(this.#state, action);
    if (this.#state.frames !== frames && action.type !== "job opened") this.#keepClicks();
    if (STEPS.includes(action.type)) this.#notice = null;
    if (this.#call && this.#state.request?.id !== this.#call.id) {
      this.#call.abort.abort();
      this.#call = null;
    }
    if (this.#scene !== null && hasToAsk(this.#state)) {
      this.#state = reduce(this.#state, { type: "sent" });
      this.#host.safely(() => this.#ask());
    }
    const answered = this.#state.waiting && !isAwaited(this.#state);
    if (answered) this.#state = reduce(this.#state, { type: "waits no more" });
    this.#draw();
    if (answered) this.#host.safely(() => this.#acceptNow());
  }

  /** Keep the clicks that were not accepted, for a page that is loaded anew. */
  #keepClicks(): void {
    const kept = [...this.#state.frames]
      .filter(([, frame]) => isPending(frame))
      .map(([number, frame]) => [number, entryOf(frame).clicks]);
    saveInTab(`clicks:${this.#jobId}`, Object.fromEntries(kept));
  }

  async #ask(): Promise<void> {
    const { request } = this.#state;
    if (request === null) return;
    const call = { id: request.id, since: performance.now(), abort: new AbortController() };
    this.#call = call;
    const classes = this.#classes;
    const clicks = request.clicks.filter(({ label }) => classes.classOf(label) !== undefined);
    const classClicks = clicks.map(({ x, y, label, positive }) => ({
      x,
      y,
      positive,
      classIndex: classes.classOf(label) as number,
    }));
    const { signal } = call.abort;
    const first = frameOf(this.#state).partial?.clicks !== request.clicks;
    try {
      const [answer] = await Promise.all([
        this.#askWith((carried) => encodeClicks(classClicks, carried), signal),
        // Without this answer boxes may be offered twice, but nothing else is wrong.
        first && this.#host.readSaved(signal).catch(() => {}),
      ]);
      if (answer === null || signal.aborted) return;
      const { boxes, ...rest } = answer;
      const proposals = boxes.flatMap((box) => proposalOf(box, clicks, classes));
      this.#do({ type: "answered", id: call.id, proposals, ...rest });
    } catch (error) {
      if (call.abort.signal.aborted) return;
      const message = error instanceof AnswerError ? error.message : sentence(messageOf(error));
      this.#do({ type: "failed", id: call.id, message });
    }
  }

  // What is shown

  #draw(): void {
    const scene = this.#scene;
    if (scene === null) {
      this.#panel.show(null);
      this.#host.overlay(null);
      this.#host.makeRoom(0);
      this.#shown = [];
      this.#aimAt(null, false);
      return;
    }
    const frame = frameOf(this.#state);
    const threshold = thresholdOf(this.#state) ?? 0;
    const over = overThreshold(this.#compare(frame, scene), threshold, this.#state.thresholds);
    this.#shown = over.filter(({ label }) => !this.#hiddenLabels.has(label));
    const hidden = over.filter(({ label, present }) => !present && this.#hiddenLabels.has(label));
    this.#panel.show({ ...this.#view(scene, frame), acceptableHidden: hidden.length });
    this.#preview.drawBoxes(this.#hidden ? [] : this.#shown);
    const waiting = !isAnswered(frame);
    this.#preview.drawMarks(
      newClicksOf(frame).map(({ x, y, label, positive }) => ({
        x,
        y,
        positive,
        waiting,
        color: this.#labelOf(label)?.color ?? "#ffffff",
      })),
    );
    this.#host.overlay(this.#preview.element);
    if (this.#hovered && !this.#shown.includes(this.#hovered)) this.#aimAt(null, false);
    this.#place();
  }

  /** The frame's proposals, and whether each has its rectangle. Kept: it is asked for often. */
  #compare(frame: Frame, scene: Scene): readonly Shown[] {
    const rectangles = [...scene.rectangles, ...scene.elsewhere];
    const { edits, clicks } = entryOf(frame);
    const inputs = [frame.shown, frame.taken, edits, clicks, scene.rectangles, this.#classes];
    if (this.#compared?.inputs.every((input, i) => input === inputs[i])) {
      return this.#compared.proposals;
    }
    const proposals = proposalsOf(frame).map((proposal): Shown => {
      const present = rectangles.some((other) => isSame(other, proposal));
      const look = present ? "faint" : proposal.sure ? "strong" : "plain";
      const color = this.#labelOf(proposal.label)?.color ?? "#ffffff";
      return { ...proposal, present, look, color };
    });
    this.#compared = { inputs, proposals };
    return proposals;
  }

  #view(scene: Scene, frame: Frame): Omit<PanelView, "acceptableHidden"> {
    const counts = new Map<number, number>();
    for (const { label } of this.#shown) counts.set(label, (counts.get(label) ?? 0) + 1);
    const { clicks } = entryOf(frame);
    const { armed, thresholds } = this.#state;
    const acceptable = this.#shown.filter(({ present }) => !present);
    const trouble = frame.trouble?.clicks === clicks ? frame.trouble : null;
    return {
      models: scene.models,
      model: this.#model,
      labels: this.#classes.labels,
      mapping: scene.labels.map((label) => ({
        label,
        className: this.#model.classes[this.#classes.classOf(label.id) ?? -1] ?? "",
      })),
      otherLabels: scene.otherLabels,
      counts,
      armed,
      threshold: thresholdOf(this.#state, this.#own ? armed : null),
      thresholds,
      own: this.#own,
      hiddenLabels: this.#hiddenLabels,
      clicks: newClicksOf(frame).length,
      earlierClicks: clicks.length - newClicksOf(frame).length,
      canSearch: this.#canSearch() && !(frame.open && isAnswered(frame)),
      frame: scene.frame,
      frames: scene.frames.map((number) => [number, this.#statusOf(number, scene)]),
      carries: this.#carries,
      sources: [...this.#exemplars.sources(scene.frame, this.#work(scene))]
        .sort((a, b) => a - b)
        .map((number) => [number, this.#exemplars.isUsed(number)]),
      canUndo: canUndo(frame),
      canRedo: canRedo(frame),
      takeable: this.#takeable().length,
      askedAt: this.#call?.since ?? null,
      progress: frame.partial?.clicks === clicks ? frame.partial.progress : null,
      trouble: this.#notice
        ? { ...this.#notice, again: false }
        : trouble && {
            failed: trouble.kind !== "cancelled",
            message: trouble.message,
            again: true,
          },
      notes: frame.shown.notes,
      awaited: isAwaited(this.#state),
      waiting: this.#state.waiting,
      elsewhere: scene.elsewhere.length,
      acceptable: acceptable.length,
      acceptableOfArmed: acceptable.filter(({ label }) => label === armed).length,
      present: this.#shown.length - acceptable.length,
      accepting: this.#accepting,
      hidden: this.#hidden,
    };
  }

  #statusOf(number: number, scene: Scene): FrameStatus {
    const frame = this.#state.frames.get(number);
    const offered = number === scene.frame && this.#shown.some(({ present }) => !present);
    if (offered || (frame && isPending(frame))) return "proposed";
    // Nobody has checked rectangles of source auto: they alone do not make a frame done.
    const rectangles = this.#rectangles.get(number)?.filter(({ source }) => source !== "auto");
    if (rectangles ? rectangles.length > 0 : scene.saved.has(number)) return "done";
    return frame && frame.shown.proposals.length > 0 ? "proposed" : "untouched";
  }

  #place(): void {
    const placement = this.#host.placement();
    if (placement === null) return;
    this.#preview.scale = placement.scale;
    const area = this.#host.visible();
    if (area !== null) this.#panel.placeIn(area);
    this.#panel.showInView(this.#inView(this.#shown.filter(({ present }) => !present)).length);
  }

  /** The frame's points that are no clicks yet. */
  #takeable(): readonly Click[] {
    const { clicks } = entryOf(frameOf(this.#state));
    return (this.#scene?.points ?? []).filter(
      ({ x, y, label }) =>
        this.#classes.classOf(label) !== undefined &&
        !clicks.some((click) => click.x === x && click.y === y && click.label === label),
    );
  }

  /** The smallest box at a point that a person can still change. */
  #editableAt(point: Point): Shown | null {
    if (this.#hidden) return null;
    return smallestAt(
      this.#shown.filter(({ present }) => !present),
      point,
    );
  }
}

/** The same actions, whose faults switch the plugin off instead of reaching CVAT. */
function safely(host: Host, actions: PanelActions): PanelActions {
  const wrap =
    (act: (...given: never[]) => void | Promise<void>) =>
    (...given: never[]): void =>
      host.safely(() => act(...given));
  const entries = Object.entries(actions).map(([name, act]) => [name, wrap(act)]);
  return Object.fromEntries(entries) as unknown as PanelActions;
}

/** Why a right click does not take a rectangle away, or null: it does. */
function whyItStays({ clientId, source, locked, tracked }: MadeRectangle): string | null {
  if (clientId === null) return "CVAT is still making it";
  if (locked) return "it is locked";
  if (tracked) return "it belongs to a track";
  return MADE_BY_MODELS.includes(source) ? null : "it was not made by a model";
}

function isSame(rectangle: Rectangle, { label, ...box }: Proposal): boolean {
  return rectangle.label === label && overlap(rectangle, box) >= SAME_OBJECT;
}

function proposalOf(box: ClassBox, clicks: readonly Click[], classes: ClassMap): Proposal[] {
  const { points, rotation, score } = box;
  // Of several clicks on one object, the last one says what it is.
  const click = box.clicks.flatMap((index) => clicks[index] ?? []).at(-1);
  const label = click?.label ?? classes.labelOf(box.classIndex)?.id;
  // The task has no label for this class, or the box is of none.
  if (label === undefined) return [];
  const second = box.rival && classes.labelOf(box.rival.classIndex);
  const rival = box.rival && second ? { label: second.id, score: box.rival.score } : null;
  return [{ points, rotation, score, label, sure: click !== undefined, rival }];
}

function isScore(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value <= 1;
}

/** Clicks of frames as they were kept. */
function clicksOf(value: unknown): ReadonlyMap<number, Clicks> {
  const clicks = new Map<number, Clicks>();
  if (typeof value !== "object" || value === null) return clicks;
  for (const [number, list] of Object.entries(value)) {
    if (Array.isArray(list) && list.every(isClick)) clicks.set(Number(number), list);
  }
  return clicks;
}

function isClick(value: unknown): value is Click {
  if (typeof value !== "object" || value === null) return false;
  const { x, y, label, positive } = value as Record<string, unknown>;
  return [x, y, label].every(Number.isFinite) && typeof positive === "boolean";
}

function choicesOf(value: unknown): Choices {
  if (typeof value !== "object" || value === null) return {};
  return Object.fromEntries(
    Object.entries(value).filter(([, className]) => typeof className === "string"),
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
