// The plugin: CVAT's scene and the person's doings in, requests and rectangles out.

import type { Host, Listener, MadeRectangle, Rectangle, Scene } from "./adapter";
import { areaOf, isInside, overlap, type Point, smallestAt, toScreen } from "./geometry";
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
  isAwaited,
  overThreshold,
  type Proposal,
  proposalsOf,
  redoesNext,
  reduce,
  type State,
  thresholdOf,
  undoesNext,
} from "./state";
import { recall, remember } from "./storage";
import { CANVAS_STYLE, STYLE } from "./style";

/** The function is asked for all boxes down to this score, once; the slider chooses among them. */
const LOWEST_SCORE = 0.05;
/** Overlap from which a proposal is the object of a rectangle of its label. */
const SAME_OBJECT = 0.5;
/** The second half of a double click is no click of its own. */
const SAME_POINT_PIXELS = 2;

/** Rectangles that a model made, so that a right click may take them away. */
const MADE_BY_MODELS = ["auto", "semi-auto"];

/** A sentence about what was done last. */
interface Notice {
  readonly failed: boolean;
  readonly message: string;
}

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

/** Types of input fields in which digits mean nothing. */
const WITHOUT_TEXT = [
  "button",
  "checkbox",
  "color",
  "file",
  "image",
  "radio",
  "range",
  "reset",
  "submit",
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
  #chosenModel = recall("model");
  #classes = new ClassMap([], NO_MODEL, {});
  #classesKey = "";
  #call: { id: number; since: number; abort: AbortController } | null = null;
  #accepting = false;
  #notice: Notice | null = null;
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
      look: () => this.#host.look(),
      undo: () => this.#do({ type: "undone" }),
      redo: () => this.#do({ type: "redone" }),
      clear: () => this.#do({ type: "cleared" }),
      take: () => this.#do({ type: "clicked", clicks: this.#takeable() }),
      ask: () => this.#do({ type: "asked" }),
      cancel: () => this.#do({ type: "cancelled" }),
      accept: () => this.#accept(),
      toggleHidden: () => {
        this.#hidden = !this.#hidden;
        this.#notice = null;
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
      if (scene?.absence) {
        this.#panel.miss(scene.absence);
        this.#place();
      }
      return;
    }
    if (this.#jobId !== this.#scene.jobId) {
      this.#notice = null;
      this.#do({ type: "job opened" });
    }
    this.#jobId = this.#scene.jobId;
    this.#chooseClasses(this.#scene);
    this.#do({ type: "CVAT stepped", depth: this.#scene.depth });
    if (this.#state.frame !== this.#scene.frame) {
      this.#closeMenu();
      this.#notice = null;
      this.#do({ type: "frame shown", frame: this.#scene.frame });
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
      this.#tip.show(label, this.#describe(label, found), toScreen(placement, point));
    } else this.#tip.hide();
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
    if (event.altKey || event.shiftKey) return false;
    if (isChoosing(event) && !/^\d$/.test(key)) return false;
    if (this.#menu.pressed(key)) return true;
    if (this.#state.waiting && key === "Escape") {
      this.#do({ type: "waits no more" });
      return true;
    }
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
      labels: this.#classes.labels,
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
    const seen = (this.#scene?.rectangles ?? []).filter(({ hidden }) => !hidden);
    const rectangle = smallestAt(seen, point);
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
    const { frame } = this.#state;
    if (this.#accepting || frame === null) return;
    this.#notice = null;
    if (isAwaited(this.#state)) {
      this.#do({ type: "waits to accept" });
      return;
    }
    const rectangles: Rectangle[] = this.#shown
      .filter(({ present }) => !present)
      .map(({ points, rotation, label }) => ({ points, rotation, label }));
    if (rectangles.length > 0 && this.#hidden) {
      this.#hidden = false;
      const message = "The proposals were hidden. Here they are: look, then accept again.";
      this.#say({ failed: false, message });
      return;
    }
    if (rectangles.length === 0) {
      this.#draw();
      return;
    }
    const { clicks } = entryOf(frameOf(this.#state));
    const job = this.#jobId;
    this.#accepting = true;
    this.#closeMenu();
    this.#draw();
    try {
      const ids = await this.#host.create(rectangles);
      if (this.#jobId === job) this.#do({ type: "accepted", frame, clicks, ids });
    } catch (error) {
      const message = `CVAT did not take the boxes. ${sentence(messageOf(error))}`;
      this.#notice = { failed: true, message };
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
      this.#do({ type: "threshold set", threshold: isScore ? threshold : null });
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
    this.#state = reduce(this.#state, action);
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
    if (answered) this.#host.safely(() => this.#accept());
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
    const { signal } = call.abort;
    const first = frameOf(this.#state).partial?.clicks !== request.clicks;
    try {
      const [answer] = await Promise.all([
        this.#host.ask(model.id, points, LOWEST_SCORE, signal),
        // Without this answer boxes may be offered twice, but nothing else is wrong.
        first && this.#host.readSaved(signal).catch(() => {}),
      ]);
      const { boxes, ...told } = decodeAnswer(answer);
      if (signal.aborted) return;
      const proposals = boxes.flatMap((box) => proposalOf(box, clicks, classes));
      this.#do({ type: "answered", id: call.id, proposals, ...told });
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
    const threshold = thresholdOf(this.#state) ?? 0;
    this.#shown = overThreshold(this.#compare(frame, scene), threshold) as Shown[];
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
    const rectangles = [...scene.rectangles, ...scene.elsewhere];
    const inputs = [frame.shown, entryOf(frame).edits, scene.rectangles, this.#classes];
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
      otherLabels: scene.otherLabels,
      counts,
      armed: this.#state.armed,
      threshold: thresholdOf(this.#state),
      clicks: clicks.length,
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
    const area = this.#host.visible();
    if (area !== null) this.#panel.placeIn(area);
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

function choicesOf(value: unknown): Choices {
  if (typeof value !== "object" || value === null) return {};
  return Object.fromEntries(
    Object.entries(value).filter(([, className]) => typeof className === "string"),
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whether a key event goes into text, or into the panel's own choices. */
function isTyping(event: Event): boolean {
  const [target] = event.composedPath();
  if (target instanceof HTMLInputElement) {
    if (WITHOUT_TEXT.includes(target.type) || target.readOnly) return false;
    // A dropdown of CVAT's is a field too: it keeps the focus after the choice, and is no text then.
    const closed = target.role === "combobox" && target.ariaExpanded !== "true";
    return !closed || target.value !== "";
  }
  if (target instanceof HTMLSelectElement) return target.getRootNode() instanceof ShadowRoot;
  return (
    target instanceof HTMLTextAreaElement ||
    (target instanceof HTMLElement && target.isContentEditable)
  );
}

/** Whether a dropdown is open, whose keys are Enter and Escape. */
function isChoosing(event: Event): boolean {
  const [target] = event.composedPath();
  return (
    target instanceof HTMLElement && target.role === "combobox" && target.ariaExpanded === "true"
  );
}
