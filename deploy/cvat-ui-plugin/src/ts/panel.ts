// The panel over the annotation page.

import { button, h, icon, swatch } from "./dom";
import type { Area } from "./geometry";
import { keyOf, type Model, type OtherLabel, type TaskLabel } from "./labels";
import { recall, remember } from "./storage";

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
  /** null: that of the weights, which the first answer tells. */
  readonly threshold: number | null;
  readonly clicks: number;
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
  toggleHidden(): void;
}

const EYE =
  "M1.5 9C3.5 5.5 6 4 9 4s5.5 1.5 7.5 5C14.5 12.5 12 14 9 14s-5.5-1.5-7.5-5ZM9 6.8a2.2 2.2 0 1 0 0 4.4a2.2 2.2 0 1 0 0-4.4";
const FOLD = "M4.5 7l4.5 4.5L13.5 7";
const FILTER_FROM_LABELS = 13;
/** A request that takes longer than this shows its seconds. */
const SLOW_MS = 1000;
const MARGIN = 10;
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
  #folded = recall("folded") === true;
  #mapping = false;
  #place = placeOf(recall("place"));

  readonly #models = h("select", { className: "model", title: "The function that is asked" });
  readonly #modelName = h("span", { className: "model" });
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

  constructor(actions: PanelActions) {
    this.#actions = actions;
    this.#eye = button(
      { className: "icon", title: "Show or hide the proposals" },
      () => actions.toggleHidden(),
      icon(EYE),
    );
    this.#fold = button(
      { className: "icon", title: "Fold the panel" },
      () => this.#toggle(),
      icon(FOLD),
    );
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
    this.#clear = small("Clear", "Remove all clicks of this frame; can be undone", () =>
      actions.clear(),
    );
    this.#take = small("", "Take the points shapes of this frame as clicks", () => actions.take());
    this.#ask = small("Find without clicks", "Ask for proposals before any click", () =>
      actions.ask(),
    );
    for (const wide of [this.#take, this.#ask]) wide.classList.add("wide");
    this.#accept = button(
      {
        className: "button main",
        title: "Make rectangles of the proposals (Enter while a label is armed)",
      },
      () => actions.accept(),
    );
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
      this.#fold,
    );
    header.addEventListener("pointerdown", (event) => this.#drag(header, event));
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
      ),
      h(
        "section",
        { className: "section" },
        h(
          "label",
          { className: "heading score" },
          h("span", {}, "Score", h("span", { className: "roomy" }, " threshold")),
          this.#threshold,
          this.#thresholdValue,
        ),
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
    );
    this.#acceptRow = h("div", { className: "row" }, this.#accept);
    this.#footer = h(
      "footer",
      {},
      h("div", { className: "told" }, this.#status, this.#notes),
      this.#acceptRow,
      this.#note,
    );
    this.#threshold.ariaLabel = "Score threshold";
    this.#threshold.title = "Proposals of a lower score are hidden";
    const parts = [header, this.#body, this.#footer];
    this.element = h("aside", { className: "panel", ariaLabel: "C3Det" }, ...parts);
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

  /** Stand in the top left corner of the canvas' visible part, or where the panel was dragged to. */
  placeIn(area: Area): void {
    this.#area = area;
    this.#stand();
  }

  #stand(): void {
    if (this.#area === null || this.element.hidden) return;
    const { left, top, bottom } = this.#area;
    const [dx, dy] = this.#place;
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
    this.#eye.hidden = this.#fold.hidden = view === null;
    if (view === null) {
      this.#drawMissing();
      return;
    }
    this.#body.hidden = this.#acceptRow.hidden = this.#folded;
    this.#fold.style.transform = this.#folded ? "" : "rotate(180deg)";
    this.#fold.ariaExpanded = String(!this.#folded);
    this.#eye.ariaPressed = String(!view.hidden);
    this.#drawModels(view);
    this.#drawLabels(view);
    this.#drawMapping(view);
    this.#hint.textContent = hintOf(view);
    this.#threshold.disabled = view.threshold === null;
    if (view.threshold !== null) this.#threshold.value = String(view.threshold);
    this.#thresholdValue.value = view.threshold?.toFixed(2) ?? "the model's";
    this.#undo.disabled = !view.canUndo;
    this.#redo.disabled = !view.canRedo;
    this.#clear.disabled = view.clicks === 0;
    this.#clicks.value = String(view.clicks);
    this.#take.hidden = view.takeable === 0;
    this.#take.textContent = `Take ${count(view.takeable, "point")} as ${view.takeable === 1 ? "a click" : "clicks"}`;
    // Without clicks, an open model's boxes are of no label.
    this.#ask.hidden = view.clicks > 0 || view.model.classes.length === 0;
    this.#ask.disabled = view.askedAt !== null;
    this.#accept.disabled =
      view.accepting || view.waiting || (view.acceptable === 0 && !view.awaited);
    this.#accept.textContent =
      view.acceptable === 0 ? "Accept" : `Accept ${count(view.acceptable, "box")}`;
    this.#notes.replaceChildren(
      ...notesOf(view).map((note) => h("p", { className: "quiet", textContent: note })),
    );
    this.#note.hidden = view.present === 0 || this.#folded;
    this.#note.textContent = `${count(view.present, "more box")} ${view.present === 1 ? "has its rectangle" : "have their rectangles"} already`;
    this.#drawStatus(view);
  }

  #drawMissing(): void {
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

  #drawLabels({ labels, counts, armed }: PanelView): void {
    if (labels !== this.#rows) {
      this.#rows = labels;
      this.#labels.replaceChildren(...labels.map((label, i) => this.#row(label, i)));
      this.#filter.hidden = labels.length < FILTER_FROM_LABELS;
      if (this.#filter.hidden) this.#filter.value = "";
      this.#applyFilter();
    }
    labels.forEach(({ id }, i) => {
      const row = this.#labels.children[i] as HTMLElement;
      row.ariaChecked = String(id === armed);
      (row.querySelector(".count") as HTMLElement).textContent = String(counts.get(id) ?? "");
    });
  }

  #row(label: TaskLabel, position: number): HTMLButtonElement {
    const key = keyOf(position);
    const row = button(
      { className: "label", title: label.name, role: "radio" },
      () => this.#actions.arm(label.id),
      swatch(label.color),
      h("span", { className: "name" }, label.name),
      h("span", { className: "count" }),
      ...(key === null ? [] : [h("kbd", {}, key)]),
    );
    return row;
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

  #toggle(): void {
    this.#folded = !this.#folded;
    remember("folded", this.#folded);
    this.#draw();
  }

  #drag(header: HTMLElement, event: PointerEvent): void {
    if (event.button !== 0 || (event.target as Element).closest("button, select")) return;
    const { left, top } = this.element.getBoundingClientRect();
    const { left: fromLeft, top: fromTop } = this.#area ?? { left: 0, top: 0 };
    const [dx, dy] = [left - fromLeft, top - fromTop];
    header.setPointerCapture(event.pointerId);
    const move = ({ clientX, clientY }: PointerEvent): void => {
      this.#place = [dx + clientX - event.clientX, dy + clientY - event.clientY];
      this.#stand();
    };
    header.addEventListener("pointermove", move);
    header.addEventListener(
      "lostpointercapture",
      () => {
        header.removeEventListener("pointermove", move);
        remember("place", this.#place);
      },
      { once: true },
    );
  }
}

/** The name of a model without that of the panel, beside which it stands. */
function shortNameOf({ name }: Model): string {
  return name.replace(/\(C3Det\)|C3Det/, "").trim();
}

function notesOf({ notes, elsewhere }: PanelView): readonly string[] {
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
