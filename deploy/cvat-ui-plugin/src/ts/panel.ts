// The panel over the annotation page.

import { button, h, icon, swatch } from "./dom";
import type { Area } from "./geometry";
import { keyOf, type Model, type OtherLabel, type TaskLabel } from "./labels";
import { loadSetting, saveSetting } from "./storage";

/**
 * How far the work on a frame is. done: it has rectangles, and nothing waits to be accepted;
 * proposed: clicks or proposals wait.
 */
export type FrameStatus = "done" | "proposed" | "untouched";

/** What the panel shows. */
export interface PanelView {
  readonly models: readonly Model[];
  readonly model: Model;
  /** The labels that can be clicked. */
  readonly labels: readonly TaskLabel[];
  /** All labels that a rectangle may have, each with the name of its class, or "". */
  readonly mapping: readonly { readonly label: TaskLabel; readonly className: string }[];
  /** The task's labels that no rectangle may have. */
  readonly otherLabels: readonly OtherLabel[];
  /** Proposals shown, by label. */
  readonly counts: ReadonlyMap<number, number>;
  readonly armed: number | null;
  /** null: that of the weights, which the first answer gives. */
  readonly threshold: number | null;
  /** Thresholds of single labels, by their ids. */
  readonly thresholds: ReadonlyMap<number, number>;
  /** The threshold is that of the armed label alone. */
  readonly own: boolean;
  /** Ids of the labels whose boxes are hidden. */
  readonly hiddenLabels: ReadonlySet<number>;
  /** Clicks since the last "Accept". */
  readonly clicks: number;
  /** Clicks of before the last "Accept", which still count. */
  readonly earlierClicks: number;
  /** The function can be asked without clicks, and has not answered that yet. */
  readonly canSearch: boolean;
  readonly frame: number;
  /** The job's frames, in their order. */
  readonly frames: readonly (readonly [number: number, status: FrameStatus])[];
  /** Frames whose work is an example for this one, and whether it is used. */
  readonly sources: readonly (readonly [number: number, used: boolean])[];
  /** Frames that nobody has worked on are asked for by themselves. */
  readonly carries: boolean;
  readonly canUndo: boolean;
  readonly canRedo: boolean;
  /** Points of the annotation that could become clicks. */
  readonly takeable: number;
  /** A request is in flight since then, in milliseconds of performance.now(). */
  readonly askedAt: number | null;
  /** Share of the work on a large picture that is done, 0 to 1; null: none yet, or all. */
  readonly progress: number | null;
  readonly trouble: {
    readonly failed: boolean;
    readonly message: string;
    /** Asking again may help. */
    readonly again: boolean;
  } | null;
  /** What the function says of its answer. */
  readonly notes: readonly string[];
  /** Clicks have no answer yet, so "Accept" would wait for it. */
  readonly awaited: boolean;
  /** "Accept" was chosen, and waits. */
  readonly waiting: boolean;
  /** Rectangles of the frame that were saved elsewhere since the page was opened. */
  readonly elsewhere: number;
  /** Rectangles that "Accept" would make. */
  readonly acceptable: number;
  /** Those of the armed label. */
  readonly acceptableOfArmed: number;
  /** Proposals of hidden labels, which it would leave. */
  readonly acceptableHidden: number;
  /** Proposals that it would skip: a rectangle of their label is there. */
  readonly present: number;
  readonly accepting: boolean;
  readonly hidden: boolean;
}

/** What a person does in the panel. */
export interface PanelActions {
  chooseModel(id: string): void;
  arm(label: number): void;
  map(label: TaskLabel, className: string): void;
  /** The threshold of the armed label alone or of all; of all, the label has none of its own. */
  chooseScope(own: boolean): void;
  setThreshold(threshold: number): void;
  /** Look again for a model. */
  look(): void;
  undo(): void;
  redo(): void;
  clear(): void;
  take(): void;
  ask(): void;
  cancel(): void;
  accept(): void;
  acceptArmed(): void;
  acceptInView(): void;
  acceptAndGoOn(): void;
  toggleHidden(): void;
  toggleLabel(label: number): void;
  toggleCarry(): void;
  /** Use the work on a frame as an example for others, or do not. */
  toggleSource(frame: number): void;
  goTo(frame: number): void;
  /** Leave room for the panel beside the picture, in pixels; 0: the panel is over it. */
  makeRoom(pixels: number): void;
}

const EYE =
  "M1.5 9C3.5 5.5 6 4 9 4s5.5 1.5 7.5 5C14.5 12.5 12 14 9 14s-5.5-1.5-7.5-5ZM9 6.8a2.2 2.2 0 1 0 0 4.4a2.2 2.2 0 1 0 0-4.4";
const FOLD = "M4.5 7l4.5 4.5L13.5 7";
const DOCK = "M2.5 3.5h13v11h-13ZM7 3.5v11";
/** The keys, and what they do. */
const KEYS = [
  ["1 … 0", "label; over a box: its label"],
  ["Enter", "accept (⇧: armed label only)"],
  ["A", "accept, next frame (⇧: only in view)"],
  ["S", "find without clicks"],
  ["Y", "hide or show (⇧ digit: a label)"],
  ["[ ]", "threshold (⇧: armed label's)"],
  ["B", "least sure box (⇧: back)"],
  ["← ↑ → ↓", "its right, lower edge (⇧: left, upper)"],
  ["Del", "drop the box"],
  ["U", "clear the clicks"],
  ["W", "fold (⇧: beside or over the picture)"],
] as const;
/** Cells of the strip of frames, at most; of longer jobs a cell is several frames. */
const MOST_CELLS = 60;
/** From so many boxes on, CVAT is slow: it drew 758 in 12 s. */
const SLOW_BOXES = 250;
const SECONDS_A_BOX = 12 / 758;
const FILTER_FROM_LABELS = 13;
/** A request that takes longer than this shows its seconds. */
const SLOW_MS = 1000;
const MARGIN = 10;
const WIDTH = 244;
/** How far it is dragged from beside the picture before it comes off. */
const UNDOCKING_PIXELS = 12;
const SMALLEST_HEIGHT = 160;
/** Under this the hint leaves its room to the labels. */
const LOW_HEIGHT = 540;

export class Panel {
  readonly element: HTMLElement;
  readonly #actions: PanelActions;
  #view: PanelView | null = null;
  /** Why there is no model, where nothing else can be shown. */
  #missing: string | null = null;
  #area: Area | null = null;
  #folded = loadSetting("folded") === true;
  #mapping = false;
  #place = placeOf(loadSetting("place"));

  readonly #models = h("select", { className: "model", title: "The function that is asked" });
  readonly #modelName = h("span", { className: "model" });
  #docked = loadSetting("docked") !== false;
  #helps = false;
  #drawnCells = "";
  readonly #dock: HTMLButtonElement;
  readonly #help = h(
    "dl",
    { className: "keys" },
    ...KEYS.flatMap(([key, does]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, does)]),
  );
  readonly #helpLink: HTMLButtonElement;
  readonly #framesSection: HTMLElement;
  readonly #framesText = h("span", { className: "value" });
  readonly #cells = h("div", { className: "cells", role: "group", ariaLabel: "Frames of the job" });
  readonly #sources = h("div", { className: "sources quiet" });
  #drawnSources = "";
  readonly #carry = h("input", { type: "checkbox" });
  readonly #scope: HTMLButtonElement;
  readonly #scoreTitle = h("span");
  readonly #acceptArmed: HTMLButtonElement;
  readonly #acceptInView: HTMLButtonElement;
  readonly #acceptNext: HTMLButtonElement;
  readonly #eye: HTMLButtonElement;
  readonly #fold: HTMLButtonElement;
  readonly #body: HTMLElement;
  readonly #footer: HTMLElement;
  readonly #acceptRow: HTMLElement;
  readonly #filter = h("input", {
    type: "search",
    className: "filter",
    placeholder: "Find a label",
  });
  readonly #labels = h("div", {
    className: "labels",
    role: "radiogroup",
    ariaLabel: "Label of the next click",
  });
  readonly #mappingLink: HTMLButtonElement;
  readonly #mappingTable = h("div", { className: "mapping" });
  readonly #hint = h("p", { className: "hint quiet" });
  readonly #threshold = h("input", { type: "range", min: "0.05", max: "0.95", step: "0.01" });
  readonly #thresholdValue = h("output", { className: "value" });
  readonly #undo: HTMLButtonElement;
  readonly #redo: HTMLButtonElement;
  readonly #clear: HTMLButtonElement;
  readonly #clicks = h("output", { className: "value quiet" });
  readonly #take: HTMLButtonElement;
  readonly #status: HTMLElement;
  readonly #spinner = h("span", { className: "spinner" });
  readonly #statusText = h("span", { className: "text" });
  readonly #statusLink: HTMLButtonElement;
  readonly #accept: HTMLButtonElement;
  readonly #ask: HTMLButtonElement;
  readonly #notes = h("div", { className: "notes", role: "status" });
  readonly #note = h("p", { className: "note quiet" });
  #rows: readonly TaskLabel[] = [];
  #drawnModels = "";
  #drawnMapping = "";
  #clock = 0;
  /** There is room for it beside the picture. */
  #beside = false;

  constructor(actions: PanelActions) {
    this.#actions = actions;
    this.#eye = button(
      { className: "icon", title: "Show or hide the proposals (Y)" },
      () => actions.toggleHidden(),
      icon(EYE),
    );
    this.#fold = button(
      { className: "icon", title: "Fold the panel (W)" },
      () => this.toggle(),
      icon(FOLD),
    );
    this.#dock = button(
      { className: "icon", title: "Stand beside the picture, or over it (Shift+W)" },
      () => this.toggleDock(),
      icon(DOCK),
    );
    this.#helpLink = button({ className: "link", title: "What the keys do" }, () => {
      this.#helps = !this.#helps;
      this.#draw();
    });
    this.#scope = button({ className: "link" }, () => {
      if (this.#view) actions.chooseScope(!this.#view.own);
    });
    this.#carry.addEventListener("change", () => {
      this.#carry.blur();
      actions.toggleCarry();
    });
    this.#mappingLink = button({ className: "link" }, () => {
      this.#mapping = !this.#mapping;
      this.#draw();
    });
    const small = (text: string, title: string, act: () => void) =>
      button({ className: "button", title }, act, text);
    this.#undo = small(
      "Undo",
      "Take the last click or edit back (Ctrl+Z, if nothing else was done since)",
      () => actions.undo(),
    );
    this.#redo = small("Redo", "Ctrl+Shift+Z", () => actions.redo());
    this.#clear = small("Clear", "Remove all clicks of this frame (U); can be undone", () =>
      actions.clear(),
    );
    this.#take = small("", "Take the points shapes of this frame as clicks", () => actions.take());
    this.#ask = small("Find without clicks", "Ask for proposals before any click (S)", () =>
      actions.ask(),
    );
    for (const wide of [this.#take, this.#ask]) wide.classList.add("wide");
    this.#accept = button(
      {
        className: "button main",
        title: "Make rectangles of the boxes that are shown (Enter)",
      },
      () => actions.accept(),
    );
    this.#acceptNext = button(
      { className: "button main next", title: "Accept, and go to the next frame (A)" },
      () => actions.acceptAndGoOn(),
      "→",
    );
    this.#acceptArmed = small("", "Accept the boxes of this label alone (Shift+Enter)", () =>
      actions.acceptArmed(),
    );
    this.#acceptInView = small("", "Accept the boxes that are in view alone (Shift+A)", () =>
      actions.acceptInView(),
    );
    for (const wide of [this.#acceptArmed, this.#acceptInView]) wide.classList.add("wide");
    this.#statusLink = button({ className: "link" }, () => {
      if (this.#view === null) actions.look();
      else if (this.#view.askedAt === null) actions.ask();
      else actions.cancel();
    });
    this.#status = h(
      "div",
      { className: "status", role: "status" },
      this.#spinner,
      this.#statusText,
      this.#statusLink,
    );
    this.#models.addEventListener("change", () => {
      this.#models.blur();
      actions.chooseModel(this.#models.value);
    });
    this.#threshold.addEventListener("input", () =>
      actions.setThreshold(Number(this.#threshold.value)),
    );
    this.#threshold.addEventListener("change", () => this.#threshold.blur());
    this.#filter.addEventListener("input", () => this.#applyFilter());
    this.#filter.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        this.#filter.value = "";
        this.#applyFilter();
      }
      if (event.key === "Escape" || event.key === "Enter") this.#filter.blur();
    });

    const header = h(
      "header",
      {},
      h("h1", {}, "C3Det"),
      this.#modelName,
      this.#models,
      this.#eye,
      this.#dock,
      this.#fold,
    );
    header.addEventListener("pointerdown", (event) => this.#drag(header, event));
    this.#framesSection = h(
      "section",
      { className: "section" },
      h("div", { className: "heading" }, h("span", {}, "Frames"), this.#framesText),
      this.#cells,
      this.#sources,
      h(
        "label",
        {
          className: "check quiet",
          title: "Ask for the proposals of a frame when it is shown, once others were worked on",
        },
        this.#carry,
        "Propose on each new frame",
      ),
    );
    this.#body = h(
      "div",
      { className: "body" },
      h(
        "section",
        { className: "section choice" },
        h("div", { className: "heading" }, h("span", {}, "Click objects of"), this.#mappingLink),
        this.#filter,
        this.#labels,
        this.#mappingTable,
        this.#hint,
        h("div", { className: "row" }, this.#helpLink),
        this.#help,
      ),
      h(
        "section",
        { className: "section" },
        h(
          "label",
          { className: "heading score" },
          this.#scoreTitle,
          this.#threshold,
          this.#thresholdValue,
        ),
        this.#scope,
      ),
      h(
        "section",
        { className: "section" },
        h(
          "div",
          { className: "heading", style: "margin-bottom: 6px" },
          h("span", {}, "Clicks"),
          this.#clicks,
        ),
        h("div", { className: "row" }, this.#undo, this.#redo, this.#clear),
        this.#take,
        this.#ask,
      ),
      this.#framesSection,
    );
    this.#acceptRow = h("div", { className: "row accepting" }, this.#accept, this.#acceptNext);
    this.#footer = h(
      "footer",
      {},
      h("div", { className: "messages" }, this.#status, this.#notes),
      this.#acceptRow,
      this.#acceptArmed,
      this.#acceptInView,
      this.#note,
    );
    this.#threshold.ariaLabel = "Score threshold";
    this.#threshold.title = "Proposals of a lower score are hidden";
    this.element = h(
      "aside",
      { className: "panel", ariaLabel: "C3Det" },
      header,
      this.#body,
      this.#footer,
    );
    this.element.hidden = true;
  }

  get folded(): boolean {
    return this.#folded;
  }

  /** Show a view; null hides the panel. */
  show(view: PanelView | null): void {
    this.#view = view;
    this.#missing = null;
    this.#draw();
  }

  /** Say why there is no model, and show nothing else. */
  miss(reason: string): void {
    this.#view = null;
    this.#missing = reason;
    this.#draw();
  }

  /** Stand in the top left corner of the visible area of the canvas, or where the panel was dragged to. */
  placeIn(area: Area): void {
    this.#area = area;
    this.#stand();
  }

  /** Show how many of the boxes that "Accept" would take are in view. */
  showInView(boxes: number): void {
    const view = this.#view;
    if (view === null) return;
    this.#acceptInView.hidden = this.#folded || boxes === 0 || boxes === view.acceptable;
    this.#acceptInView.disabled = view.accepting || view.waiting;
    this.#acceptInView.textContent = `Only in view: ${boxes}`;
  }

  toggle(): void {
    this.#folded = !this.#folded;
    saveSetting("folded", this.#folded);
    this.#draw();
  }

  /** Stand beside the picture, or over it. */
  toggleDock(): void {
    this.#docked = !this.#docked;
    saveSetting("docked", this.#docked);
    if (!this.#docked) this.#place = [MARGIN, MARGIN];
    this.#draw();
  }

  /** There is no room beside the picture. */
  stayOver(): void {
    if (!this.#docked) return;
    this.#docked = false;
    this.#draw();
  }

  #stand(): void {
    if (this.#area === null || this.element.hidden) return;
    const beside = this.#docked && !this.#folded && this.#view !== null;
    this.#beside = beside;
    // If that moves the canvas, placeIn is called again with its new area.
    this.#actions.makeRoom(beside ? WIDTH + 2 * MARGIN : 0);
    const { left, top, bottom } = this.#area;
    const [dx, dy] = beside ? [-WIDTH - MARGIN, MARGIN] : this.#place;
    const { style } = this.element;
    const room = bottom - top - 2 * MARGIN;
    style.maxHeight = `${Math.max(room, SMALLEST_HEIGHT)}px`;
    this.element.classList.toggle("low", room < LOW_HEIGHT);
    // The window without its scroll bars, under which the panel would be out of reach.
    const { clientWidth, clientHeight } = document.documentElement;
    const { width, height } = this.element.getBoundingClientRect();
    style.left = `${Math.max(0, Math.min(left + dx, clientWidth - width))}px`;
    style.top = `${Math.max(0, Math.min(top + dy, clientHeight - height))}px`;
  }

  #draw(): void {
    const view = this.#view;
    this.element.hidden = view === null && this.#missing === null;
    window.clearTimeout(this.#clock);
    this.#eye.hidden = this.#fold.hidden = this.#dock.hidden = view === null;
    if (view === null) {
      this.#beside = false;
      this.#drawMissing();
      return;
    }
    this.#body.hidden = this.#acceptRow.hidden = this.#folded;
    this.element.classList.toggle("folded", this.#folded);
    this.#dock.hidden = this.#folded;
    this.#dock.ariaPressed = String(this.#docked);
    this.#help.hidden = !this.#helps;
    this.#helpLink.textContent = this.#helps ? "hide the keys" : "keys…";
    this.#drawFrames(view);
    this.#fold.style.transform = this.#folded ? "" : "rotate(180deg)";
    this.#fold.ariaExpanded = String(!this.#folded);
    this.#eye.ariaPressed = String(!view.hidden);
    this.#drawModels(view);
    this.#drawLabels(view);
    this.#drawMapping(view);
    this.#hint.textContent = hintOf(view);
    this.#drawScope(view);
    this.#threshold.disabled = view.threshold === null;
    if (view.threshold !== null) this.#threshold.value = String(view.threshold);
    this.#thresholdValue.value = view.threshold?.toFixed(2) ?? "the model's";
    this.#undo.disabled = !view.canUndo;
    this.#redo.disabled = !view.canRedo;
    this.#clear.disabled = view.clicks + view.earlierClicks === 0;
    this.#clicks.value =
      view.earlierClicks === 0
        ? String(view.clicks)
        : `${view.clicks} + ${view.earlierClicks} accepted`;
    this.#clicks.title = view.earlierClicks === 0 ? "" : "The accepted ones still count";
    this.#take.hidden = view.takeable === 0;
    this.#take.textContent = `Take ${count(view.takeable, "point")} as ${view.takeable === 1 ? "a click" : "clicks"}`;
    this.#ask.hidden = view.clicks + view.earlierClicks > 0 || !view.canSearch;
    this.#ask.disabled = view.askedAt !== null;
    this.#accept.disabled =
      view.accepting || view.waiting || (view.acceptable === 0 && !view.awaited);
    this.#accept.textContent =
      view.acceptable === 0 ? "Accept" : `Accept ${count(view.acceptable, "box")}`;
    this.#acceptNext.hidden = view.frames.length < 2;
    this.#acceptNext.disabled = view.accepting || view.waiting;
    const { acceptableOfArmed: some, armed } = view;
    this.#acceptArmed.hidden = this.#folded || some === 0 || some === view.acceptable;
    this.#acceptArmed.disabled = view.accepting || view.waiting;
    const name = view.labels.find(({ id }) => id === armed)?.name ?? "";
    this.#acceptArmed.textContent = `Only ${name}: ${some}`;
    this.#notes.replaceChildren(
      ...notesOf(view).map((note) => h("p", { className: "quiet", textContent: note })),
    );
    this.#note.hidden = view.present === 0 || this.#folded;
    this.#note.textContent = `${count(view.present, "more box")} ${view.present === 1 ? "has its rectangle" : "have their rectangles"} already`;
    this.#drawStatus(view);
  }

  #drawScope({ own, armed, labels }: PanelView): void {
    const name = labels.find(({ id }) => id === armed)?.name;
    this.#scoreTitle.textContent = own && name !== undefined ? `Score of ${name}` : "Score";
    this.#scope.hidden = name === undefined;
    this.#scope.textContent = own ? "as all others" : `another for ${name}`;
    this.#scope.title = own
      ? "Give up the threshold of this label"
      : "Give this label a threshold of its own";
  }

  #drawSources({ sources }: PanelView): void {
    this.#sources.hidden = sources.length === 0;
    const key = JSON.stringify(sources);
    if (key === this.#drawnSources) return;
    this.#drawnSources = key;
    this.#sources.replaceChildren(
      sources.length > 1 ? "From frames" : "From frame",
      ...sources.map(([frame, used]) => {
        const title = used
          ? `Objects of frame ${frame} are looked for here: click to leave it out`
          : `Frame ${frame} is left out: click to use it`;
        const source = button(
          { className: "source", title },
          () => this.#actions.toggleSource(frame),
          String(frame),
        );
        source.ariaPressed = String(used);
        return source;
      }),
    );
  }

  #drawFrames(view: PanelView): void {
    const { frames, frame, carries } = view;
    this.#drawSources(view);
    this.#framesSection.hidden = frames.length < 2;
    this.#carry.checked = carries;
    const of = (wanted: FrameStatus) => frames.filter(([, status]) => status === wanted).length;
    const [done, proposed] = [of("done"), of("proposed")];
    this.#framesText.textContent = `${done} done · ${proposed} proposed`;
    this.#framesText.title = `${frames.length - done - proposed} of ${frames.length} are untouched`;
    const key = JSON.stringify([frames, frame]);
    if (key === this.#drawnCells) return;
    this.#drawnCells = key;
    const each = Math.max(1, Math.ceil(frames.length / MOST_CELLS));
    const cells: HTMLElement[] = [];
    for (let at = 0; at < frames.length; at += each) {
      const some = frames.slice(at, at + each);
      const [[first], [last]] = [some[0], some.at(-1)] as [(typeof some)[0], (typeof some)[0]];
      const here = some.some(([number]) => number === frame);
      const status = (["proposed", "untouched", "done"] as const).find((wanted) =>
        some.some(([, other]) => other === wanted),
      );
      const name = first === last ? `Frame ${first}: ${status}` : `Frames ${first} to ${last}`;
      const cell = button({ className: `cell ${status}`, title: name, ariaLabel: name }, () =>
        this.#actions.goTo(first),
      );
      if (here) cell.ariaCurrent = "true";
      cells.push(cell);
    }
    this.#cells.replaceChildren(...cells);
  }

  #drawMissing(): void {
    this.#acceptArmed.hidden = this.#acceptInView.hidden = true;
    this.#body.hidden = this.#acceptRow.hidden = this.#note.hidden = true;
    this.#models.hidden = true;
    this.#modelName.hidden = false;
    this.#modelName.textContent = this.#modelName.title = "";
    this.#notes.replaceChildren();
    this.#footer.hidden = this.#status.hidden = this.#statusLink.hidden = false;
    this.#spinner.hidden = true;
    this.#status.classList.remove("failed");
    this.#statusText.textContent = this.#missing;
    this.#statusLink.textContent = "Look now";
    this.#stand();
  }

  #drawModels({ models, model }: PanelView): void {
    const several = models.length > 1;
    this.#models.hidden = !several;
    this.#modelName.hidden = several;
    this.#modelName.textContent = shortNameOf(model);
    this.#modelName.title = model.name;
    if (!several) return;
    // A list that is open must not be made anew under the mouse.
    const key = JSON.stringify(models);
    if (key !== this.#drawnModels) {
      this.#models.replaceChildren(
        ...models.map((each) =>
          h("option", { value: each.id, textContent: shortNameOf(each) || each.name }),
        ),
      );
    }
    this.#drawnModels = key;
    this.#models.value = model.id;
  }

  #drawLabels({ labels, counts, armed, thresholds, hiddenLabels }: PanelView): void {
    if (labels !== this.#rows) {
      this.#rows = labels;
      this.#labels.replaceChildren(...labels.map((label, i) => this.#row(label, i)));
      this.#filter.hidden = labels.length < FILTER_FROM_LABELS;
      if (this.#filter.hidden) this.#filter.value = "";
      this.#applyFilter();
    }
    labels.forEach(({ id }, i) => {
      const line = this.#labels.children[i] as HTMLElement;
      const [row, eye] = line.children as unknown as [HTMLElement, HTMLElement];
      const hidden = hiddenLabels.has(id);
      const own = thresholds.get(id);
      row.ariaChecked = String(id === armed);
      const text = hidden ? "hidden" : String(counts.get(id) ?? "");
      (row.querySelector(".count") as HTMLElement).textContent = text;
      (row.querySelector(".own") as HTMLElement).textContent =
        own === undefined ? "" : `≥ ${own.toFixed(2)}`;
      line.classList.toggle("off", hidden);
      eye.ariaPressed = String(hidden);
    });
  }

  #row(label: TaskLabel, position: number): HTMLElement {
    const key = keyOf(position);
    const row = button(
      { className: "label", title: label.name, role: "radio" },
      () => this.#actions.arm(label.id),
      swatch(label.color),
      h("span", { className: "name" }, label.name),
      h("span", { className: "own quiet" }),
      h("span", { className: "count" }),
      ...(key === null ? [] : [h("kbd", {}, key)]),
    );
    const title = `Show or hide boxes of ${label.name}${key === null ? "" : ` (Shift+${key})`}`;
    const eye = button(
      { className: "icon eye", title, ariaLabel: title },
      () => this.#actions.toggleLabel(label.id),
      icon(EYE),
    );
    return h("div", { className: "line" }, row, eye);
  }

  #applyFilter(): void {
    const wanted = this.#filter.value.toLowerCase();
    this.#rows.forEach(({ name }, i) => {
      (this.#labels.children[i] as HTMLElement).hidden = !name.toLowerCase().includes(wanted);
    });
  }

  #drawMapping({ mapping, labels, otherLabels, model }: PanelView): void {
    const mapped = model.classes.length > 0 ? mapping : [];
    const others = mapping.length - labels.length + otherLabels.length;
    const closed = mapped.length + otherLabels.length > 0;
    this.#mappingLink.hidden = !closed;
    this.#mappingLink.textContent = this.#mapping
      ? "done"
      : others > 0
        ? `${count(others, "other label")}…`
        : "classes…";
    this.#mappingLink.title = "Which label of the task is which class of the model";
    this.#mappingTable.hidden = !closed || !this.#mapping;
    this.#labels.hidden = closed && this.#mapping;
    const key = JSON.stringify([mapping, otherLabels, model]);
    if (this.#mappingTable.hidden || key === this.#drawnMapping) return;
    this.#drawnMapping = key;
    this.#mappingTable.replaceChildren(
      ...mapped.flatMap(({ label, className }) => {
        const choice = h(
          "select",
          { ariaLabel: `Class of ${label.name}` },
          h("option", { value: "", textContent: "– none –" }),
          ...model.classes.map((name) => h("option", { value: name, textContent: name })),
        );
        choice.value = className;
        choice.addEventListener("change", () => {
          choice.blur();
          this.#actions.map(label, choice.value);
        });
        return [h("span", { className: "name", title: label.name }, label.name), choice];
      }),
      ...otherLabels.flatMap(({ name, reason }) => {
        const title = `${name}: CVAT lets no rectangle have this label (${reason})`;
        return [
          h("span", { className: "name quiet", title }, name),
          h("select", { disabled: true, title, ariaLabel: title }, h("option", {}, reason)),
        ];
      }),
    );
  }

  #drawStatus({ askedAt, progress, waiting, trouble }: PanelView): void {
    const asking = askedAt !== null;
    this.#status.hidden = !asking && trouble === null;
    this.#footer.hidden = this.#folded && this.#status.hidden;
    this.#status.classList.toggle("failed", !asking && trouble?.failed === true);
    this.#spinner.hidden = !asking;
    this.#statusLink.hidden = !asking && !trouble?.again;
    this.#statusLink.textContent = asking ? "Cancel" : "Ask again";
    this.#statusText.textContent = trouble?.message ?? "";
    this.#stand();
    if (!asking) return;
    const waited = performance.now() - askedAt;
    const seconds = waited < SLOW_MS ? "" : ` ${Math.floor(waited / 1000)} s`;
    const share = progress === null ? "" : `${Math.floor(progress * 100)} % done`;
    const doing = waiting
      ? `Waiting for the answer, then accepting${share && `: ${share}`}`
      : share || "Asking the model";
    this.#statusText.textContent = `${doing} …${seconds}`;
    this.#stand();
    this.#clock = window.setTimeout(
      () => this.#view && this.#drawStatus(this.#view),
      SLOW_MS - (waited % SLOW_MS),
    );
  }

  #drag(header: HTMLElement, event: PointerEvent): void {
    if (event.button !== 0 || (event.target as Element).closest("button, select")) return;
    const { left, top } = this.element.getBoundingClientRect();
    header.setPointerCapture(event.pointerId);
    const move = ({ clientX, clientY }: PointerEvent): void => {
      const [x, y] = [clientX - event.clientX, clientY - event.clientY];
      // Dragged away from beside the picture, it is over it.
      if (this.#beside && Math.hypot(x, y) > UNDOCKING_PIXELS) {
        this.#docked = false;
        saveSetting("docked", false);
        this.#draw();
      }
      if (this.#beside) return;
      const { left: fromLeft, top: fromTop } = this.#area ?? { left: 0, top: 0 };
      this.#place = [left - fromLeft + x, top - fromTop + y];
      this.#stand();
    };
    header.addEventListener("pointermove", move);
    header.addEventListener(
      "lostpointercapture",
      () => {
        header.removeEventListener("pointermove", move);
        saveSetting("place", this.#place);
      },
      { once: true },
    );
  }
}

/** The name of a model without that of the panel, beside which it stands. */
function shortNameOf({ name }: Model): string {
  return name.replace(/\(C3Det\)|C3Det/, "").trim();
}

function notesOf({
  notes: ofAnswer,
  elsewhere,
  acceptableHidden,
  acceptable,
}: PanelView): readonly string[] {
  const notes = [...ofAnswer];
  if (acceptableHidden > 0)
    notes.push(`${count(acceptableHidden, "box")} of hidden labels will not be accepted.`);
  if (acceptable >= SLOW_BOXES) {
    const seconds = Math.round(acceptable * SECONDS_A_BOX);
    notes.push(
      `CVAT itself may take ${seconds} s and more to draw so many boxes. Zoom in and press Shift+A to accept those in view alone.`,
    );
  }
  if (elsewhere === 0) return notes;
  const made = elsewhere === 1 ? "was" : "were";
  return [
    ...notes,
    `${count(elsewhere, "rectangle")} of this frame ${made} saved elsewhere: load the page again to see ${elsewhere === 1 ? "it" : "them"}. Nothing is offered there.`,
  ];
}

function hintOf({ labels, mapping, otherLabels, armed }: PanelView): string {
  if (mapping.length === 0 && otherLabels.length > 0)
    return "No label of this task may have rectangles: add one of type rectangle or any to the task.";
  if (labels.length === 0)
    return "No label of this task is a class of the model: choose which is which above.";
  if (armed === null)
    return "Choose a label or press its digit, then click objects. Click a box to edit it.";
  return "Click objects · right click: none here · Enter accepts · Esc ends";
}

/** A number with its noun, in the plural where it has to be. */
function count(number: number, noun: string): string {
  const plural = noun.endsWith("x") ? "es" : "s";
  return `${number} ${noun}${number === 1 ? "" : plural}`;
}

function placeOf(value: unknown): readonly [number, number] {
  const isPlace = Array.isArray(value) && value.length === 2 && value.every(Number.isFinite);
  return isPlace ? (value as [number, number]) : [MARGIN, MARGIN];
}
