// The panel's section of the labels: which one is clicked next, and which class of the model it is.

import { keyOf, type TaskLabel } from "../labels";
import {
  button,
  digit,
  EYE,
  h,
  heading,
  iconButton,
  leaveOneTabStop,
  moveByArrows,
  refill,
  release,
  section,
  swatch,
} from "./dom";
import { count, type PanelActions, type PanelView } from "./view";

const FILTER_FROM_LABELS = 13;
/** The keys, and what they do. */
const KEYS = [
  ["1 … 0", "label; over a box: its label"],
  ["X", "cursor on the picture, moved by keys"],
  ["← ↑ → ↓", "move it (⇧: far, Ctrl: 1 pixel)"],
  ["Space", "click there, again: the next box (⇧: none here)"],
  ["Z", "zoom in there (⇧: out)"],
  ["Enter", "accept (⇧: armed label only)"],
  ["A", "accept, next frame (⇧: only in view)"],
  ["S", "find without clicks"],
  ["Y", "hide or show (⇧ digit: a label)"],
  ["[ ]", "threshold (⇧: armed label's)"],
  ["B", "least sure box (⇧: back)"],
  ["← ↑ → ↓", "its right, lower edge (⇧: left, upper)"],
  ["Del", "drop the box"],
  ["U", "clear the clicks"],
  ["I", "into this panel, next part (⇧: back)"],
  ["W", "fold (⇧: beside or over the picture)"],
  ["Esc", "back to CVAT's own mouse and keys"],
] as const;

export class LabelSection {
  readonly element: HTMLElement;
  readonly #actions: PanelActions;
  #view: PanelView | null = null;
  #maps = false;
  #helps = false;
  readonly #filter = h("input", {
    type: "search",
    className: "filter",
    placeholder: "Find a label",
    ariaLabel: "Find a label",
  });
  readonly #labels = h("div", {
    className: "labels",
    role: "radiogroup",
    ariaLabel: "Label of the next click",
  });
  readonly #mappingLink = button({ className: "link" }, () => {
    this.#maps = !this.#maps;
    if (this.#view) this.draw(this.#view);
  });
  readonly #mapping = h("div", { className: "mapping" });
  readonly #hint = h("p", { className: "hint quiet" });
  readonly #helpLink = button({ className: "link", title: "What the keys do" }, () => {
    this.#helps = !this.#helps;
    if (this.#view) this.draw(this.#view);
  });
  readonly #help = h(
    "dl",
    { className: "keys" },
    ...KEYS.flatMap(([key, does]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, does)]),
  );
  #rows: readonly TaskLabel[] = [];
  #drawnMapping = "";

  constructor(actions: PanelActions) {
    this.#actions = actions;
    moveByArrows(this.#labels, 2);
    this.#filter.addEventListener("input", () => this.#applyFilter());
    this.#filter.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        this.#filter.value = "";
        this.#applyFilter();
      }
      if (event.key === "Escape" || event.key === "Enter") this.#filter.blur();
    });
    this.element = section(
      heading("Click objects of", this.#mappingLink),
      this.#filter,
      this.#labels,
      this.#mapping,
      this.#hint,
      h("div", { className: "row" }, this.#helpLink),
      this.#help,
    );
    this.element.classList.add("choice");
  }

  draw(view: PanelView): void {
    this.#view = view;
    this.#help.hidden = !this.#helps;
    this.#helpLink.textContent = this.#helps ? "hide the keys" : "keys…";
    this.#helpLink.ariaExpanded = String(this.#helps);
    this.#hint.textContent = hintOf(view);
    this.#drawLabels(view);
    this.#drawMapping(view);
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
      eye.ariaPressed = String(!hidden);
    });
    leaveOneTabStop(this.#labels);
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
      ...digit(position),
    );
    const title = `Show or hide boxes of ${label.name}${key === null ? "" : ` (Shift+${key})`}`;
    const eye = iconButton(title, EYE, () => this.#actions.toggleLabel(label.id), "eye");
    return h("div", { className: "line" }, row, eye);
  }

  #applyFilter(): void {
    const wanted = this.#filter.value.toLowerCase();
    this.#rows.forEach(({ name }, i) => {
      (this.#labels.children[i] as HTMLElement).hidden = !name.toLowerCase().includes(wanted);
    });
    leaveOneTabStop(this.#labels);
  }

  #drawMapping({ mapping, labels, otherLabels, model }: PanelView): void {
    const mapped = model.classes.length > 0 ? mapping : [];
    const others = mapping.length - labels.length + otherLabels.length;
    const closed = mapped.length + otherLabels.length > 0;
    this.#mappingLink.hidden = !closed;
    this.#mappingLink.textContent = this.#maps
      ? "done"
      : others > 0
        ? `${count(others, "other label")}…`
        : "classes…";
    this.#mappingLink.title = "Which label of the task is which class of the model";
    this.#mapping.hidden = !closed || !this.#maps;
    this.#labels.hidden = closed && this.#maps;
    const key = JSON.stringify([mapping, otherLabels, model]);
    if (this.#mapping.hidden || key === this.#drawnMapping) return;
    this.#drawnMapping = key;
    refill(
      this.#mapping,
      ...mapped.flatMap(({ label, className }) => {
        const choice = h(
          "select",
          { ariaLabel: `Class of ${label.name}` },
          h("option", { value: "", textContent: "– none –" }),
          ...model.classes.map((name) => h("option", { value: name, textContent: name })),
        );
        choice.value = className;
        choice.addEventListener("change", () => {
          release(choice);
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
}

function hintOf(view: PanelView): string {
  const { labels, mapping, otherLabels, armed, hasCursor, model } = view;
  if (mapping.length === 0 && otherLabels.length > 0)
    return "No label of this task may have rectangles: add one of type rectangle or any to the task.";
  if (labels.length === 0)
    return "No label of this task is a class of the model: choose which is which above.";
  if (armed === null)
    return "Choose a label or press its digit, then click objects. Click a box to edit it.";
  if (hasCursor)
    return "Arrows move · Space clicks (⇧: none here) · Z zooms (⇧: out) · Enter accepts · Esc ends";
  const again = model.classes.length === 0 ? ", again: the next box" : "";
  return `Click objects${again} · right click: none here · Enter accepts · Esc ends`;
}
