// The panel over the annotation page.

import type { Area } from "../geometry";
import type { Model } from "../labels";
import { settings } from "../storage";
import { button, controlsIn, EYE, h, heading, iconButton, release, section } from "./dom";
import { FramesSection } from "./frames";
import { LabelSection } from "./label_section";
import { count, type PanelActions, type PanelView } from "./view";

const FOLD = "M4.5 7l4.5 4.5L13.5 7";
const DOCK = "M2.5 3.5h13v11h-13ZM7 3.5v11";
const BACK = "M4 4v4h4M4.3 8a5.5 5.5 0 1 1-.3 3.5";
/** From so many boxes on, CVAT is slow: it drew 758 in 12 s. */
const SLOW_BOXES = 250;
const SECONDS_A_BOX = 12 / 758;
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
  #folded = settings.load("folded") === true;
  #place = placeOf(settings.load("place"));

  readonly #labels: LabelSection;
  readonly #frames: FramesSection;
  readonly #models = h("select", {
    className: "model",
    title: "The function that is asked",
    ariaLabel: "The function that is asked",
  });
  #docked = settings.load("docked") !== false;
  readonly #eye = iconButton("Show or hide the proposals (Y)", EYE, () =>
    this.#actions.toggleHidden(),
  );
  readonly #dock = iconButton("Stand beside the picture, or over it (Shift+W)", DOCK, () =>
    this.toggleDock(),
  );
  readonly #fold = iconButton("Fold the panel (W)", FOLD, () => this.toggle());
  readonly #scope = button({ className: "link" }, () => {
    if (this.#view) this.#actions.chooseScope(!this.#view.own);
  });
  readonly #scoreTitle = h("span");
  readonly #threshold = h("input", { type: "range", min: "0.05", max: "0.95", step: "0.01" });
  readonly #thresholdValue = h("output", { className: "value" });
  readonly #reset = iconButton(
    "",
    BACK,
    () => {
      // Without the button the focus of keys has to be somewhere.
      if (this.#reset.matches(":focus")) this.#threshold.focus();
      this.#actions.setThreshold(null);
    },
    "reset",
  );
  readonly #undo = button(
    {
      className: "button",
      title: "Take the last click or edit back (Ctrl+Z, if nothing else was done since)",
    },
    () => this.#actions.do("undone"),
    "Undo",
  );
  readonly #redo = button(
    { className: "button", title: "Ctrl+Shift+Z" },
    () => this.#actions.do("redone"),
    "Redo",
  );
  readonly #clear = button(
    { className: "button", title: "Remove all clicks and proposals (U); can be undone" },
    () => this.#actions.do("cleared"),
    "Clear",
  );
  readonly #clicks = h("output", { className: "value quiet" });
  readonly #take = button(
    { className: "button wide", title: "Take the points of this frame's annotation as clicks" },
    () => this.#actions.take(),
  );
  readonly #ask = button(
    { className: "button wide", title: "Ask for proposals before any click (S)" },
    () => this.#actions.do("asked"),
    "Find without clicks",
  );
  readonly #accept = button(
    { className: "button main", title: "Make rectangles of the boxes that are shown (Enter)" },
    () => this.#actions.accept({}),
  );
  readonly #acceptNext = button(
    {
      className: "button main next",
      title: "Accept, and go to the next frame (A)",
    },
    () => this.#actions.accept({ goOn: true }),
    "Accept, next ",
    h("span", { ariaHidden: "true" }, "→"),
  );
  readonly #acceptRow = h("div", { className: "row" }, this.#accept, this.#acceptNext);
  readonly #acceptArmed = button(
    { className: "button wide", title: "Accept the boxes of this label alone (Shift+Enter)" },
    () => this.#actions.accept({ only: this.#view?.armed ?? null }),
  );
  readonly #acceptInView = button(
    { className: "button wide", title: "Accept the boxes that are in view alone (Shift+A)" },
    () => this.#actions.accept({ only: "in view" }),
  );
  readonly #spinner = h("span", { className: "spinner" });
  readonly #statusWords = h("span");
  /** Not read out each second. */
  readonly #seconds = h("span", { ariaHidden: "true" });
  readonly #statusText = h("span", { className: "text" }, this.#statusWords, this.#seconds);
  readonly #statusLink = button({ className: "link" }, () => {
    if (this.#view === null) this.#actions.look();
    else this.#actions.do(this.#view.askedAt === null ? "asked" : "cancelled");
  });
  readonly #status = h(
    "div",
    { className: "status", role: "status" },
    this.#spinner,
    this.#statusText,
    this.#statusLink,
  );
  readonly #notes = h("div", { className: "notes", role: "status" });
  readonly #note = h("p", { className: "note quiet" });
  readonly #body: HTMLElement;
  readonly #footer = h(
    "footer",
    {},
    h("div", { className: "messages" }, this.#status, this.#notes),
    this.#acceptRow,
    this.#acceptArmed,
    this.#acceptInView,
    this.#note,
  );
  #drawnModels = "";
  #clock = 0;
  /** There is room for it beside the picture. */
  #beside = false;

  constructor(actions: PanelActions) {
    this.#actions = actions;
    this.#models.addEventListener("change", () => {
      release(this.#models);
      actions.chooseModel(this.#models.value);
    });
    this.#threshold.addEventListener("input", () =>
      actions.setThreshold(Number(this.#threshold.value)),
    );
    this.#threshold.addEventListener("change", () => release(this.#threshold));
    this.#labels = new LabelSection(actions);
    this.#frames = new FramesSection(actions);
    const header = h(
      "header",
      {},
      h("h1", {}, "C3Det"),
      this.#models,
      this.#eye,
      this.#dock,
      this.#fold,
    );
    header.addEventListener("pointerdown", (event) => this.#drag(header, event));
    this.#body = h(
      "div",
      { className: "body" },
      this.#labels.element,
      section(
        h(
          "label",
          { className: "heading score" },
          this.#scoreTitle,
          this.#threshold,
          this.#reset,
          this.#thresholdValue,
        ),
        this.#scope,
      ),
      section(
        heading("Clicks", this.#clicks),
        h("div", { className: "row" }, this.#undo, this.#redo, this.#clear),
        this.#take,
        this.#ask,
      ),
      this.#frames.element,
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
    settings.save("folded", this.#folded);
    this.#draw();
    if (!this.#folded) this.#actions.unfolded();
  }

  /** Stand beside the picture, or over it. */
  toggleDock(): void {
    this.#docked = !this.#docked;
    settings.save("docked", this.#docked);
    if (!this.#docked) this.#place = [MARGIN, MARGIN];
    this.#draw();
  }

  /** Put the focus on the first control of the part after the one that has it, or before it. */
  focus(by: -1 | 1): void {
    if (this.#folded) this.toggle();
    const parts = [...this.element.querySelectorAll<HTMLElement>("header, section, footer")]
      .filter((part) => !part.hidden)
      .map((part) => controlsIn(part).find(({ tabIndex }) => tabIndex === 0))
      .filter((control) => control !== undefined);
    const { activeElement } = this.element.getRootNode() as ShadowRoot;
    const part = activeElement?.closest("header, section, footer");
    const at = parts.findIndex((control) => part?.contains(control));
    // The labels are the part to begin with.
    const next = at < 0 ? 1 : (at + by + parts.length) % parts.length;
    parts[next]?.focus();
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
    this.element.classList.toggle("missing", view === null);
    if (view === null) {
      this.#beside = false;
      this.#drawMissing();
      return;
    }
    this.#body.hidden = this.#acceptRow.hidden = this.#folded;
    this.element.classList.toggle("folded", this.#folded);
    this.#dock.hidden = this.#folded;
    this.#dock.ariaPressed = String(this.#docked);
    this.#fold.style.transform = this.#folded ? "" : "rotate(180deg)";
    this.#fold.ariaExpanded = String(!this.#folded);
    this.#eye.ariaPressed = String(!view.hidden);
    this.#drawModels(view);
    this.#labels.draw(view);
    this.#frames.draw(view);
    this.#drawScope(view);
    this.#threshold.disabled = view.threshold === null;
    if (view.threshold !== null) this.#threshold.value = String(view.threshold);
    const { moved, modelThreshold } = view;
    this.#reset.hidden = !moved;
    this.#reset.title = `Back to the model's own threshold${modelThreshold === null ? "" : `: ${modelThreshold.toFixed(2)}`}`;
    this.#reset.ariaLabel = this.#reset.title;
    this.#thresholdValue.value = view.threshold?.toFixed(2) ?? "the model's";
    this.#undo.disabled = !view.canUndo;
    this.#redo.disabled = !view.canRedo;
    this.#clear.disabled = !view.canClear;
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
    this.#acceptNext.hidden = view.frames.length < 2;
    const boxes = count(view.acceptable, "box");
    this.#accept.ariaLabel = view.acceptable === 0 ? "Accept" : `Accept ${boxes}`;
    // Beside the other button there is room for the number alone.
    this.#accept.textContent =
      view.acceptable === 0
        ? "Accept"
        : `Accept ${this.#acceptNext.hidden ? boxes : view.acceptable}`;
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
    this.#scope.textContent = own ? "as all others" : `own threshold for ${name}`;
    this.#scope.title = own
      ? "Give up the threshold of this label"
      : "Give this label a threshold of its own";
  }

  #drawMissing(): void {
    this.#notes.replaceChildren();
    this.#footer.hidden = this.#status.hidden = this.#statusLink.hidden = false;
    this.#spinner.hidden = true;
    this.#status.classList.remove("failed");
    this.#statusWords.textContent = this.#missing;
    this.#seconds.textContent = "";
    this.#statusLink.textContent = "Look now";
    this.#stand();
  }

  #drawModels({ models, model }: PanelView): void {
    const several = models.length > 1;
    this.#models.hidden = !several;
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

  #drawStatus({ askedAt, progress, waiting, trouble }: PanelView): void {
    const asking = askedAt !== null;
    this.#status.hidden = !asking && trouble === null;
    this.#footer.hidden = this.#folded && this.#status.hidden;
    this.#status.classList.toggle("failed", !asking && trouble?.failed === true);
    this.#spinner.hidden = !asking;
    this.#statusLink.hidden = !asking && !trouble?.again;
    this.#statusLink.textContent = asking ? "Cancel" : "Ask again";
    if (!asking) {
      this.#statusWords.textContent = trouble?.message ?? "";
      this.#seconds.textContent = "";
      this.#stand();
      return;
    }
    const waited = performance.now() - askedAt;
    const seconds = waited < SLOW_MS ? "" : ` ${Math.floor(waited / 1000)} s`;
    const share = progress === null ? "" : `${Math.floor(progress * 100)} % done`;
    const doing = waiting
      ? `Waiting for the answer, then accepting${share && `: ${share}`}`
      : share || "Asking the model";
    // The same words are not read out again.
    if (this.#statusWords.textContent !== `${doing} …`)
      this.#statusWords.textContent = `${doing} …`;
    this.#seconds.textContent = seconds;
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
        settings.save("docked", false);
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
        settings.save("place", this.#place);
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

function placeOf(value: unknown): readonly [number, number] {
  const isPlace = Array.isArray(value) && value.length === 2 && value.every(Number.isFinite);
  return isPlace ? (value as [number, number]) : [MARGIN, MARGIN];
}
