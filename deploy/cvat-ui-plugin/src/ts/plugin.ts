// The plugin: takes CVAT's scene, the mouse and the keys, and has its parts do the rest.

import { Acceptance, type Intent } from "./acceptance";
import { BoxEditor } from "./box_editor";
import { Boxes } from "./boxes";
import { Cursor } from "./cursor";
import type { Host, Listener, Scene } from "./cvat/host";
import { centreOf, isInside, type Point } from "./geometry";
import { isChoosing, isForControl, isPressing, isTyping, positionOf } from "./keys";
import { Panel } from "./panel/panel";
import { CANVAS_STYLE, STYLE } from "./panel/style";
import type { PanelActions } from "./panel/view";
import { type Parts, takeable, viewOf } from "./panel_view";
import { Preview } from "./preview";
import { clickAfter, placesOf } from "./repeats";
import { Requests } from "./requests";
import { Session } from "./session";
import {
  type Click,
  entryOf,
  isAnswered,
  isAwaited,
  isPending,
  newClicksOf,
  redoesNext,
  undoesNext,
} from "./state";
import { Thresholds } from "./thresholds";

const UNFINISHED = "A digit does not end what you draw: finish it, or press Esc first.";

export class Plugin implements Listener {
  readonly #host: Host;
  readonly #root = document.createElement("div");
  readonly #shadow = this.#root.attachShadow({ mode: "open" });
  readonly #canvasStyle = document.createElement("style");
  readonly #preview = new Preview();
  readonly #parts: Parts;
  readonly #editor: BoxEditor;
  readonly #cursor: Cursor;
  readonly #panel: Panel;
  readonly #removed = new AbortController();
  /** The label that was armed last, for the cursor. */
  #lastArmed: number | null = null;
  /** When the last click was made, as events tell it. */
  #clickedAt = Number.NEGATIVE_INFINITY;

  constructor(host: Host) {
    this.#host = host;
    const session = new Session(host, () => this.#follow());
    const boxes = new Boxes(session);
    this.#parts = {
      session,
      boxes,
      requests: new Requests(session, () => this.#isAway),
      acceptance: new Acceptance(session, boxes),
      thresholds: new Thresholds(session),
    };
    this.#editor = new BoxEditor(session, boxes, this.#preview);
    this.#cursor = new Cursor(host, {
      moved: (point) => this.#cursorMoved(point),
      clicked: (point, button, at) => this.clicked(point, button, at),
    });
    this.#panel = new Panel(safely(host, this.#actions()));
    this.#canvasStyle.textContent = CANVAS_STYLE;
    document.head.append(this.#canvasStyle);
    this.#root.id = "c3det-plugin";
    const style = document.createElement("style");
    style.textContent = STYLE;
    const { menu, tip } = this.#editor;
    this.#shadow.append(style, this.#panel.element, menu.element, tip.element);
    // Keys for the panel's fields and controls are not CVAT's shortcuts.
    for (const type of ["keydown", "keypress", "keyup"] as const) {
      this.#root.addEventListener(type, (event) => {
        if (isTyping(event) || isForControl(event)) event.stopPropagation();
      });
    }
    document.body.append(this.#root);
    const { signal } = this.#removed;
    document.addEventListener("mousedown", (event) => this.#pressedOutside(event), { signal });
    window.addEventListener("resize", () => host.safely(() => this.#place()), { signal });
    window.addEventListener("beforeunload", (event) => this.#leaving(event), { signal });
  }

  #actions(): PanelActions {
    const { session, requests, acceptance, thresholds } = this.#parts;
    return {
      chooseModel: (id) => session.chooseModel(id),
      arm: (label) => this.#arm(session.state.armed === label ? null : label),
      map: (label, className) => session.map(label, className),
      setThreshold: (threshold) => thresholds.set(threshold),
      chooseScope: (own) => {
        thresholds.chooseScope(own);
        this.#draw();
      },
      look: () => this.#host.look(),
      do: (type) => session.do({ type }),
      take: () => session.do({ type: "clicked", clicks: takeable(session) }),
      accept: (intent) => acceptance.accept(intent),
      toggleHidden: () => this.#toggleHidden(),
      toggleLabel: (label) => this.#toggleLabel(label),
      toggleAsking: () => requests.toggleAsking(),
      unfolded: () => requests.askByItself(),
      goTo: (frame) => session.goTo(frame),
      toggleExemplars: (id) => requests.toggleExemplars(id),
      makeRoom: (pixels) => {
        if (!this.#host.makeRoom(pixels)) this.#panel.stayOver();
      },
    };
  }

  // What CVAT reports

  sceneChanged(scene: Scene | null): void {
    const { session, boxes, requests, acceptance } = this.#parts;
    const before = session.scene;
    session.scene = scene?.models.length ? scene : null;
    if (session.scene === null) {
      this.#editor.close();
      if (session.state.armed !== null) this.#arm(null);
      requests.stopWaiting();
      session.do({ type: "frame shown", frame: null });
      if (scene?.absence) {
        this.#panel.miss(scene.absence);
        this.#place();
      }
      return;
    }
    const { jobId, frame, rectangles, depth, busy, removed } = session.scene;
    if (session.jobId !== jobId) {
      boxes.hiddenLabels.clear();
      session.openJob(jobId);
      requests.openJob(jobId);
      this.#host.safely(() => session.findRemoved());
    }
    session.rectangles.set(frame, rectangles);
    if (removed) session.removed.add(frame);
    else session.removed.delete(frame);
    session.chooseClasses(session.scene);
    session.do({ type: "CVAT stepped", depth });
    if (session.state.frame !== frame) {
      this.#editor.close();
      session.notice = null;
      session.do({ type: "frame shown", frame });
      requests.askByItself();
    }
    if (acceptance.follow(session.scene) && boxes.offered.length > 0) requests.askForOthers();
    if (busy && !before?.busy) this.#giveWay();
    if (!busy && session.notice?.message === UNFINISHED) session.notice = null;
    this.#draw();
  }

  placementChanged(): void {
    if (this.#cursor.point !== null) this.#cursorMoved(this.#cursor.point);
    else this.#editor.placementChanged();
    this.#place();
  }

  claims(point: Point): boolean {
    const placement = this.#host.placement();
    const { scene, state } = this.#parts.session;
    if (scene === null || scene.removed || placement === null) return false;
    return state.armed !== null ? isInside(placement, point) : this.#editor.claims(point);
  }

  hovered(point: Point | null): void {
    const { scene } = this.#parts.session;
    this.#editor.hovered(scene?.busy ? null : point);
  }

  readonly grabs = (point: Point): boolean => this.#editor.grabs(point);
  readonly pulled = (point: Point): void => this.#editor.pulled(point);
  readonly letGo = (point: Point | null): void => this.#editor.letGo(point);

  clicked(point: Point, button: "left" | "right", at: number): void {
    if (this.#editor.menu.isOpen) {
      this.#editor.close();
      return;
    }
    const { session, acceptance } = this.#parts;
    if (session.scene?.removed) return;
    const { armed } = session.state;
    if (armed === null) {
      this.#editor.clicked(point, button);
      return;
    }
    this.#editor.tip.hide();
    const click = { x: point[0], y: point[1], label: armed, positive: button === "left" };
    const rectangle = button === "right" ? acceptance.rectangleAt(point) : null;
    if (rectangle === null) this.#click(click, at);
    else this.#host.safely(() => acceptance.remove(rectangle, click));
  }

  pressed(event: KeyboardEvent): boolean {
    const { session } = this.#parts;
    const { scene, state } = session;
    const focused = this.#shadow.activeElement;
    const { key } = event;
    if (scene === null || isTyping(event) || isForControl(event)) return false;
    const control = event.ctrlKey || event.metaKey;
    const isCursors = () => !scene.busy && this.#cursor.pressed(event);
    if (control && !event.altKey) {
      const lower = key.toLowerCase();
      const redo = lower === "y" || (lower === "z" && event.shiftKey);
      if (!redo && lower !== "z") return isCursors();
      // Where the last step is CVAT's, so is the key.
      if (!(redo ? redoesNext(state, scene.redoable) : undoesNext(state))) return false;
      this.#editor.stop();
      session.do({ type: redo ? "redone" : "undone" });
      return true;
    }
    if (event.altKey) return isCursors();
    if (isChoosing(event) && positionOf(event) < 0) return false;
    if (!event.shiftKey && this.#editor.menu.pressed(event)) return true;
    if (state.waiting && key === "Escape") {
      session.do({ type: "waits no more" });
      return true;
    }
    if (key === "Escape" && focused instanceof HTMLElement) {
      focused.blur();
      return true;
    }
    if (!(key === " " && isPressing(event)) && isCursors()) return true;
    if (!scene.busy && this.#editor.pressed(event)) return true;
    if (state.armed !== null && key === "Escape") {
      this.#arm(null);
      return true;
    }
    if (key === "Enter") return this.#pressedEnter(event);
    if (scene.busy && positionOf(event) < 0) return false;
    if (key.toLowerCase() === "w") {
      if (event.repeat) return true;
      if (event.shiftKey) this.#panel.toggleDock();
      else this.#panel.toggle();
      return true;
    }
    if (this.#isAway) return false;
    const act = this.#actionOf(event);
    if (act !== null) {
      act();
      return true;
    }
    const label = session.classes.labels[positionOf(event)];
    if (label === undefined) return false;
    if (event.shiftKey) this.#toggleLabel(label.id);
    else if (scene.busy && this.#host.hasBegun()) session.say(UNFINISHED);
    else this.#arm(label.id);
    return true;
  }

  removed(): void {
    this.#parts.requests.stop();
    this.#root.remove();
    this.#canvasStyle.remove();
    this.#removed.abort();
  }

  /** Folded and with no label armed the plugin leaves the keys to CVAT, and asks for nothing by itself. */
  get #isAway(): boolean {
    return this.#panel.folded && this.#parts.session.state.armed === null;
  }

  // Keys

  /** What a key does that needs no label and no box, or null. */
  #actionOf({ key, shiftKey, repeat }: KeyboardEvent): (() => void) | null {
    const { session, requests, thresholds } = this.#parts;
    const once = (act: () => void) => (repeat ? () => {} : act);
    if (["[", "{", "PageDown"].includes(key)) return () => thresholds.step(-1, shiftKey);
    if (["]", "}", "PageUp"].includes(key)) return () => thresholds.step(1, shiftKey);
    const actions: Readonly<Record<string, () => void>> = {
      a: once(() => this.#accept({ goOn: true })),
      "Shift+a": once(() => this.#accept({ only: "in view" })),
      b: () => this.#goToBox(1),
      "Shift+b": () => this.#goToBox(-1),
      i: () => this.#panel.focus(1),
      "Shift+i": () => this.#panel.focus(-1),
      s: once(() => requests.search()),
      u: once(() => session.do({ type: "cleared" })),
      x: once(() => this.#startCursor()),
      y: once(() => this.#toggleHidden()),
    };
    // Whatever Caps Lock makes of it.
    return actions[`${shiftKey ? "Shift+" : ""}${key.toLowerCase()}`] ?? null;
  }

  /** Enter accepts; with no label armed only where there is something to accept. */
  #pressedEnter(event: KeyboardEvent): boolean {
    const { session, boxes } = this.#parts;
    const { armed } = session.state;
    if (armed === null) {
      const accepts = isAwaited(session.state) || boxes.offered.length > 0;
      const away = session.scene?.busy || this.#panel.folded;
      if (isPressing(event) || away || !accepts) return false;
    }
    if (!event.repeat) this.#accept({ only: event.shiftKey ? armed : null });
    return true;
  }

  #accept(intent: Intent): void {
    this.#host.safely(() => this.#parts.acceptance.accept(intent));
  }

  #startCursor(): void {
    const { session } = this.#parts;
    const { labels } = session.classes;
    const label = labels.find(({ id }) => id === this.#lastArmed) ?? labels[0];
    if (label === undefined) return;
    if (session.state.armed === null) this.#arm(label.id);
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
    this.#cursor.start();
    this.#draw();
  }

  #cursorMoved(point: Point): void {
    this.#editor.aim(this.#parts.boxes.editableAt(point), point);
    this.#drawCursor();
  }

  #goToBox(by: -1 | 1): void {
    if (this.#parts.boxes.hidden) this.#toggleHidden();
    if (this.#cursor.point === null) {
      this.#editor.pick(by);
      return;
    }
    const box = this.#editor.next(by);
    if (box === null) return;
    this.#cursor.moveTo(centreOf(box));
    this.#editor.aim(box, centreOf(box));
  }

  // What the person does

  #arm(label: number | null): void {
    const { session, thresholds } = this.#parts;
    this.#editor.close();
    // The tool goes first: giving up another one is a change of CVAT's scene.
    this.#host.arm(label !== null);
    thresholds.follow(label);
    if (label !== null) this.#lastArmed = label;
    session.do({ type: "armed", label });
  }

  #toggleLabel(label: number): void {
    this.#parts.boxes.toggleLabel(label);
    this.#draw();
  }

  #toggleHidden(): void {
    const { session, boxes } = this.#parts;
    boxes.hidden = !boxes.hidden;
    session.notice = null;
    this.#draw();
  }

  /** Another tool of CVAT has taken the mouse. */
  #giveWay(): void {
    const { session } = this.#parts;
    this.#editor.close();
    if (session.state.armed !== null) this.#arm(null);
    if (!session.state.waiting) return;
    // Objects made now would end what is being drawn.
    session.do({ type: "waits no more" });
    session.say("Another tool was chosen: nothing was accepted.");
  }

  #click(click: Click, at: number): void {
    const { session } = this.#parts;
    const made = clickAfter(entryOf(session.frame).clicks, click, {
      scale: this.#host.placement()?.scale ?? 1,
      sinceLast: at - this.#clickedAt,
      repeats: session.model.classes.length === 0,
    });
    if (made === null) return;
    this.#clickedAt = at;
    session.do({ type: "clicked", clicks: [made] });
  }

  #pressedOutside(event: Event): void {
    const { menu } = this.#editor;
    if (event.composedPath().includes(menu.element)) return;
    if (menu.isOpen) this.#host.safely(() => this.#editor.close());
  }

  /** Clicks are kept while the tab is open, and end with it. */
  #leaving(event: BeforeUnloadEvent): void {
    const { state, removed } = this.#parts.session;
    const waits = [...state.frames].some(
      ([number, frame]) => isPending(frame) && !removed.has(number),
    );
    if (!waits) return;
    event.preventDefault();
    // Browsers older than 2023 need this.
    event.returnValue = true;
  }

  // What follows

  /** Send, accept and show what has to be after a change. */
  #follow(): void {
    const { session, requests, acceptance } = this.#parts;
    requests.follow();
    const answered = session.state.waiting && !isAwaited(session.state);
    if (answered) session.reduce({ type: "waits no more" });
    this.#draw();
    if (answered) this.#host.safely(() => acceptance.acceptNow());
  }

  #draw(): void {
    const { session, boxes, acceptance } = this.#parts;
    const { scene, frame, state } = session;
    boxes.update();
    if (state.armed === null) this.#cursor.end();
    if (acceptance.running) this.#editor.close();
    if (scene === null) {
      this.#panel.show(null);
      this.#host.overlay(null);
      this.#host.makeRoom(0);
      this.#editor.aim(null);
      return;
    }
    this.#panel.show(viewOf(scene, this.#parts, this.#cursor.point !== null));
    this.#preview.dimmed = scene.busy;
    this.#preview.drawBoxes(boxes.hidden ? [] : boxes.shown);
    const waiting = !isAnswered(frame);
    this.#preview.drawMarks(
      placesOf(newClicksOf(frame)).map(({ click: { x, y, label, positive } }) => ({
        x,
        y,
        positive,
        waiting,
        color: session.labelOf(label)?.color ?? "#ffffff",
      })),
    );
    this.#drawCursor();
    this.#host.overlay(this.#preview.element);
    if (!acceptance.running && !scene.busy) this.#editor.follow(this.#cursor.point);
    this.#place();
  }

  #drawCursor(): void {
    const { session } = this.#parts;
    const { armed } = session.state;
    const color = (armed === null ? undefined : session.labelOf(armed)?.color) ?? "#ffffff";
    const { point } = this.#cursor;
    this.#preview.drawCursor(point && { point, color });
  }

  #place(): void {
    const placement = this.#host.placement();
    if (placement === null) return;
    this.#preview.scale = placement.scale;
    const area = this.#host.visible();
    if (area !== null) this.#panel.placeIn(area);
    const { boxes } = this.#parts;
    this.#panel.showInView(boxes.offered.filter(boxes.inView()).length);
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
