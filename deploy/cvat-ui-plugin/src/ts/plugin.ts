// The plugin: CVAT's scene and the person's doings in, requests and rectangles out.

import type { Host, Listener, Rectangle, Scene } from "./adapter";
import { isInside, overlap, type Point, smallestAt, toScreen } from "./geometry";
import { type Choices, ClassMap, keyOf, type Model, type TaskLabel } from "./labels";
import { Panel, type PanelActions, type PanelView } from "./panel";
import { Menu, Tip } from "./popups";
import { Preview, type PreviewBox } from "./preview";
import { AnswerError, type ClassBox, decodeAnswer, encodeClicks, sentence } from "./protocol";
import {
  type Action,
  type Click,
  canRedo,
  canUndo,
  entryOf,
  type Frame,
  frameOf,
  hasToAsk,
  initialState,
  isAnswered,
  overThreshold,
  type Proposal,
  proposalsOf,
  reduce,
  type State,
} from "./state";
import { recall, remember } from "./storage";
import { CANVAS_STYLE, STYLE } from "./style";

/** The function is asked for all boxes down to this score, once; the slider chooses among them. */
const LOWEST_SCORE = 0.05;
const DEFAULT_THRESHOLD = 0.4;
/** Overlap from which a proposal is the object of a rectangle of its label. */
const SAME_OBJECT = 0.5;
/** The second half of a double click is no click of its own. */
const SAME_POINT_PIXELS = 2;

/** A proposal as it is shown. */
interface Shown extends Proposal, PreviewBox {
  /** There is a rectangle of this label already. */
  readonly present: boolean;
}

const NO_MODEL: Model = { id: "", name: "", classes: [] };

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
  /** Those of the frames' "accepted" whose objects CVAT has shown. */
  readonly #landed = new WeakSet<object>();
  #state: State = initialState(DEFAULT_THRESHOLD);
  #model: Model = NO_MODEL;
  #chosenModel = recall("model");
  #classes = new ClassMap([], NO_MODEL, {});
  #classesKey = "";
  #call: { id: number; since: number; abort: AbortController } | null = null;
  #accepting = false;
  #trouble: string | null = null;
  #hidden = false;
  #shown: readonly Shown[] = [];
  #hovered: Shown | null = null;
  /** What the proposals that are compared with the frame's rectangles came from. */
  #compared: { inputs: readonly unknown[]; proposals: readonly Shown[] } | null = null;

  constructor(host: Host) {
    this.#host = host;
    const actions: PanelActions = {
      chooseModel: (id) => this.#chooseModel(id),
      arm: (label) => this.#arm(this.#state.armed === label ? null : label),
      map: (label, className) => this.#map(label, className),
      setThreshold: (threshold) => {
        remember(`threshold:${this.#model.id}`, threshold);
        this.#do({ type: "threshold set", threshold });
      },
      undo: () => this.#do({ type: "undone" }),
      redo: () => this.#do({ type: "redone" }),
      clear: () => this.#do({ type: "cleared" }),
      take: () => this.#do({ type: "clicked", clicks: this.#takeable() }),
      ask: () => this.#do({ type: "asked" }),
      cancel: () => this.#do({ type: "cancelled" }),
      accept: () => this.#accept(),
      toggleHidden: () => {
        this.#hidden = !this.#hidden;
        this.#draw();
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
  }

  // What CVAT tells

  sceneChanged(scene: Scene | null): void {
    const before = this.#scene;
    this.#scene = scene?.models.length ? scene : null;
    if (this.#scene === null) {
      this.#closeMenu();
      if (this.#state.armed !== null) this.#arm(null);
      this.#do({ type: "frame shown", frame: null });
      return;
    }
    if (this.#jobId !== this.#scene.jobId) this.#do({ type: "job opened" });
    this.#jobId = this.#scene.jobId;
    this.#chooseClasses(this.#scene);
    if (this.#state.frame !== this.#scene.frame) {
      this.#closeMenu();
      this.#do({ type: "frame shown", frame: this.#scene.frame });
    }
    this.#followAcceptance(this.#scene);
    if (this.#scene.busy && !before?.busy && this.#state.armed !== null) this.#arm(null);
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
    return this.#menu.isOpen || this.#editableAt(point) !== null;
  }

  hovered(point: Point | null): void {
    const placement = this.#host.placement();
    const found = point === null || this.#menu.isOpen ? null : this.#editableAt(point);
    if (found !== this.#hovered) {
      this.#hovered = found;
      this.#preview.hover(found);
    }
    const label = found && this.#labelOf(found.label);
    if (found && label && point && placement) {
      this.#tip.show(label, describe(label, found), toScreen(placement, point));
    } else this.#tip.hide();
  }

  clicked(point: Point, button: "left" | "right"): void {
    if (this.#menu.isOpen) {
      this.#closeMenu();
      return;
    }
    const { armed } = this.#state;
    if (armed !== null) {
      this.#click({ x: point[0], y: point[1], label: armed, positive: button === "left" });
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
      if (armed === null) return false;
      const lower = key.toLowerCase();
      const redo = lower === "y" || (lower === "z" && event.shiftKey);
      const frame = frameOf(this.#state);
      // Without a step of its own, the plugin leaves the key to CVAT.
      if (!(redo ? canRedo(frame) : lower === "z" && canUndo(frame))) return false;
      this.#do({ type: redo ? "redone" : "undone" });
      return true;
    }
    if (event.altKey || event.shiftKey) return false;
    if (this.#menu.pressed(key)) return true;
    if (armed !== null && key === "Escape") {
      this.#arm(null);
      return true;
    }
    if (armed !== null && key === "Enter") {
      if (!event.repeat) this.#accept();
      return true;
    }
    if (this.#panel.folded) return false;
    const position = this.#classes.labels.findIndex((_, i) => keyOf(i) === key);
    if (position < 0) return false;
    this.#arm((this.#classes.labels[position] as TaskLabel).id);
    return true;
  }

  removed(): void {
    this.#call?.abort.abort();
    this.#root.remove();
    this.#canvasStyle.remove();
    document.removeEventListener("mousedown", this.#pressedOutside);
    window.removeEventListener("resize", this.#resized);
  }

  // What the person does

  #arm(label: number | null): void {
    this.#closeMenu();
    // The tool goes first: giving up another one is a change of CVAT's scene.
    this.#host.arm(label !== null);
    this.#do({ type: "armed", label });
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
      title: describe(label, proposal),
      label,
      labels: this.#classes.labels,
      choose: (chosen: number | null) =>
        this.#host.safely(() => {
          this.#preview.hover(null);
          if (chosen !== proposal.label) this.#edit(proposal, chosen);
        }),
    };
    this.#menu.open(choice, toScreen(placement, point));
  }

  #edit({ color, look, present, ...proposal }: Shown, label: number | null): void {
    this.#do({ type: "edited", edit: { proposal, label } });
    this.hovered(null);
  }

  #closeMenu(): void {
    this.#menu.close();
    this.hovered(null);
  }

  #chooseModel(id: string): void {
    this.#chosenModel = id;
    remember("model", id);
    if (this.#scene) this.#chooseClasses(this.#scene);
    this.#draw();
  }

  #map(label: TaskLabel, className: string): void {
    const key = `classes:${this.#model.id}`;
    remember(key, { ...choicesOf(recall(key)), [label.name]: className });
    if (this.#scene) this.#chooseClasses(this.#scene);
    this.#draw();
  }

  async #accept(): Promise<void> {
    const rectangles: Rectangle[] = this.#shown
      .filter(({ present }) => !present)
      .map(({ points, rotation, label }) => ({ points, rotation, label }));
    if (rectangles.length === 0 || this.#accepting) return;
    const frame = this.#state.frame;
    this.#accepting = true;
    this.#trouble = null;
    this.#closeMenu();
    this.#draw();
    try {
      const ids = await this.#host.create(rectangles);
      if (this.#state.frame === frame) this.#do({ type: "accepted", ids });
    } catch (error) {
      this.#trouble = `CVAT did not take the boxes. ${sentence(messageOf(error))}`;
    } finally {
      this.#accepting = false;
      this.#draw();
    }
  }

  readonly #pressedOutside = (event: Event): void => {
    if (event.composedPath().includes(this.#menu.element)) return;
    if (this.#menu.isOpen) this.#host.safely(() => this.#closeMenu());
  };

  readonly #resized = (): void => this.#host.safely(() => this.#place());

  // Model and classes

  #chooseClasses({ models, labels }: Scene): void {
    const model = models.find(({ id }) => id === this.#chosenModel) ?? (models[0] as Model);
    const choices = choicesOf(recall(`classes:${model.id}`));
    const key = JSON.stringify([model, labels, choices]);
    if (key === this.#classesKey) return;
    const another = model.id !== this.#model.id;
    this.#classesKey = key;
    this.#model = model;
    this.#classes = new ClassMap(labels, model, choices);
    this.#do({ type: "classes changed" });
    this.#host.arm(false);
    if (another) {
      const threshold = recall(`threshold:${model.id}`);
      const isScore = typeof threshold === "number" && threshold >= 0 && threshold <= 1;
      this.#do({ type: "threshold set", threshold: isScore ? threshold : DEFAULT_THRESHOLD });
    }
  }

  #labelOf(id: number): TaskLabel | undefined {
    return this.#scene?.labels.find((label) => label.id === id);
  }

  /** Bring the proposals back when CVAT undid the objects that "Accept" made of them. */
  #followAcceptance({ ids, redoable }: Scene): void {
    const { accepted } = frameOf(this.#state);
    if (accepted === null || accepted.ids.length === 0) return;
    if (accepted.ids.every((id) => ids.has(id))) this.#landed.add(accepted);
    else if (this.#landed.has(accepted) && redoable && !accepted.ids.some((id) => ids.has(id))) {
      this.#do({ type: "acceptance undone" });
    }
  }

  // Asking

  #do(action: Action): void {
    this.#state = reduce(this.#state, action);
    if (action.type === "clicked" || action.type === "asked") this.#trouble = null;
    if (this.#call && this.#state.request?.id !== this.#call.id) {
      this.#call.abort.abort();
      this.#call = null;
    }
    if (this.#scene !== null && hasToAsk(this.#state)) {
      this.#state = reduce(this.#state, { type: "sent" });
      this.#host.safely(() => this.#ask());
    }
    this.#draw();
  }

  async #ask(): Promise<void> {
    const { request } = this.#state;
    if (request === null) return;
    const call = { id: request.id, since: performance.now(), abort: new AbortController() };
    this.#call = call;
    const [model, classes] = [this.#model, this.#classes];
    const clicks = request.clicks.filter(({ label }) => classes.classOf(label) !== undefined);
    const points = encodeClicks(
      clicks.map(({ x, y, label, positive }) => ({
        x,
        y,
        positive,
        classIndex: classes.classOf(label) as number,
      })),
    );
    try {
      const answer = await this.#host.ask(model.id, points, LOWEST_SCORE, call.abort.signal);
      const { boxes, coverage } = decodeAnswer(answer);
      const proposals = boxes.flatMap((box) => proposalOf(box, clicks, classes));
      this.#do({ type: "answered", id: call.id, proposals, coverage });
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
      this.#shown = [];
      this.hovered(null);
      return;
    }
    const frame = frameOf(this.#state);
    this.#shown = overThreshold(this.#compare(frame, scene), this.#state.threshold) as Shown[];
    this.#panel.show(this.#view(scene, frame));
    this.#preview.drawBoxes(this.#hidden ? [] : this.#shown);
    const { clicks } = entryOf(frame);
    const waiting = !isAnswered(frame);
    this.#preview.drawMarks(
      clicks.map(({ x, y, label, positive }) => ({
        x,
        y,
        positive,
        waiting,
        color: this.#labelOf(label)?.color ?? "#ffffff",
      })),
    );
    this.#host.overlay(this.#preview.element);
    if (this.#hovered && !this.#shown.includes(this.#hovered)) this.hovered(null);
    this.#place();
  }

  /** The frame's proposals, and whether each has its rectangle. Kept: it is asked for often. */
  #compare(frame: Frame, scene: Scene): readonly Shown[] {
    const inputs = [frame.shown, entryOf(frame).edits, scene.rectangles, this.#classes];
    if (this.#compared?.inputs.every((input, i) => input === inputs[i])) {
      return this.#compared.proposals;
    }
    const proposals = proposalsOf(frame).map((proposal): Shown => {
      const present = scene.rectangles.some(
        (other) => other.label === proposal.label && overlap(other, proposal) >= SAME_OBJECT,
      );
      const look = present ? "faint" : proposal.sure ? "strong" : "plain";
      const color = this.#labelOf(proposal.label)?.color ?? "#ffffff";
      return { ...proposal, present, look, color };
    });
    this.#compared = { inputs, proposals };
    return proposals;
  }

  #view(scene: Scene, frame: Frame): PanelView {
    const counts = new Map<number, number>();
    for (const { label } of this.#shown) counts.set(label, (counts.get(label) ?? 0) + 1);
    const { clicks } = entryOf(frame);
    const present = this.#shown.filter((proposal) => proposal.present).length;
    const trouble = frame.trouble?.clicks === clicks ? frame.trouble : null;
    return {
      models: scene.models,
      model: this.#model,
      labels: this.#classes.labels,
      mapping: scene.labels.map((label) => ({
        label,
        className: this.#model.classes[this.#classes.classOf(label.id) ?? -1] ?? "",
      })),
      counts,
      armed: this.#state.armed,
      threshold: this.#state.threshold,
      clicks: clicks.length,
      canUndo: canUndo(frame),
      canRedo: canRedo(frame),
      takeable: this.#takeable().length,
      askedAt: this.#call?.since ?? null,
      searched: frame.partial?.clicks === clicks ? frame.partial.coverage : null,
      trouble: this.#trouble
        ? { failed: true, message: this.#trouble, again: false }
        : trouble && { failed: trouble.kind === "failed", message: trouble.message, again: true },
      acceptable: this.#shown.length - present,
      present,
      accepting: this.#accepting,
      hidden: this.#hidden,
    };
  }

  #place(): void {
    const placement = this.#host.placement();
    if (placement === null) return;
    this.#preview.scale = placement.scale;
    this.#panel.placeAt(placement.canvasLeft, placement.canvasTop);
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

function proposalOf(box: ClassBox, clicks: readonly Click[], classes: ClassMap): Proposal[] {
  const { points, rotation, score } = box;
  const click = box.click === null ? undefined : clicks[box.click];
  const label = click?.label ?? classes.labelOf(box.classIndex)?.id;
  // The task has no label for this class.
  if (label === undefined) return [];
  return [{ points, rotation, score, label, sure: click !== undefined }];
}

function describe(label: TaskLabel, { score, sure }: Proposal): string {
  return `${label.name} ${score.toFixed(2)}${sure ? " · yours" : ""}`;
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

/** Whether a key event goes into a field for text or choices. */
function isTyping(event: Event): boolean {
  const target = event.composedPath()[0];
  return (
    target instanceof HTMLTextAreaElement ||
    target instanceof HTMLSelectElement ||
    (target instanceof HTMLInputElement && target.type !== "range") ||
    (target instanceof HTMLElement && target.isContentEditable)
  );
}
