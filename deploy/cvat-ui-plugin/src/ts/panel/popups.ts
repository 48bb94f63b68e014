// What stands beside the mouse: the words for a box, and the menu to edit it.

import type { Point } from "../geometry";
import { positionOf } from "../keys";
import type { TaskLabel } from "../labels";
import { button, digit, h, swatch } from "./dom";

const GAP = 14;

/** Says what the box under the mouse is. */
export class Tip {
  readonly element = h("div", { className: "tip", role: "tooltip", hidden: true });
  #timer = 0;

  /** Show the words beside a point of the screen, after so many milliseconds if not at once. */
  show(label: TaskLabel, text: string, [x, y]: Point, after = 0): void {
    window.clearTimeout(this.#timer);
    const appear = () => {
      this.element.replaceChildren(swatch(label.color), text);
      this.element.hidden = false;
      place(this.element, x + GAP, y + GAP);
    };
    if (after > 0) this.#timer = window.setTimeout(appear, after);
    else appear();
  }

  hide(): void {
    window.clearTimeout(this.#timer);
    this.element.hidden = true;
  }
}

interface Choice {
  readonly title: string;
  readonly label: TaskLabel;
  readonly labels: readonly TaskLabel[];
  /** Another label, or null to drop the box. */
  choose(label: number | null): void;
}

/** Changes the label of a box, or drops it. */
export class Menu {
  readonly element = h("div", { className: "menu", role: "menu", hidden: true });
  #choice: Choice | null = null;

  get isOpen(): boolean {
    return this.#choice !== null;
  }

  open(choice: Choice, [x, y]: Point): void {
    this.#choice = choice;
    const rows = choice.labels.map((label, i) => {
      const row = button(
        { className: "label", role: "menuitemradio", title: label.name },
        () => this.#choose(label.id),
        swatch(label.color),
        h("span", { className: "name" }, label.name),
        ...digit(i),
      );
      row.ariaChecked = String(label.id === choice.label.id);
      return row;
    });
    this.element.replaceChildren(
      h("div", { className: "title" }, choice.title),
      h("div", { className: "labels" }, ...rows),
      button(
        { className: "label drop", role: "menuitem" },
        () => this.#choose(null),
        h("span", { className: "name" }, "Drop"),
        h("kbd", {}, "Del"),
      ),
    );
    this.element.hidden = false;
    place(this.element, x + 4, y + 4);
  }

  close(): void {
    this.#choice = null;
    this.element.hidden = true;
  }

  /** Take a key while the menu is open; true: it was the menu's. */
  pressed(event: KeyboardEvent): boolean {
    if (this.#choice === null) return false;
    const { key } = event;
    const label = this.#choice.labels[positionOf(event)];
    if (label) this.#choose(label.id);
    else if (key === "Delete" || key === "Backspace") this.#choose(null);
    else if (key === "Escape") this.close();
    else return false;
    return true;
  }

  #choose(label: number | null): void {
    const choice = this.#choice;
    this.close();
    choice?.choose(label);
  }
}

/** Place an element at a point of the screen, and whole on the screen. */
function place(element: HTMLElement, x: number, y: number): void {
  const { offsetWidth, offsetHeight } = element;
  element.style.left = `${Math.max(0, Math.min(x, window.innerWidth - offsetWidth - 4))}px`;
  element.style.top = `${Math.max(0, Math.min(y, window.innerHeight - offsetHeight - 4))}px`;
}
