// A cursor on the picture that keys move and click with, where the mouse is not used.

import type { Host } from "./cvat/host";
import {
  clampedTo,
  insideOf,
  isWithin,
  middleOf,
  type Point,
  toPicture,
  toScreen,
} from "./geometry";
import { STEPS_OF_ARROWS } from "./keys";

/** What an arrow moves the cursor by, in pixels of the screen: alone, with Shift, with Ctrl. */
const [STEP, FAR_STEP, NEAR_STEP] = [8, 64, 1];

/** What the cursor does on the picture. */
interface CursorActions {
  moved(point: Point): void;
  /** @param at When, as events tell it. */
  clicked(point: Point, button: "left" | "right", at: number): void;
}

export class Cursor {
  readonly #host: Host;
  readonly #actions: CursorActions;
  #point: Point | null = null;
  /** Where it was when it ended. */
  #last: Point | null = null;

  constructor(host: Host, actions: CursorActions) {
    this.#host = host;
    this.#actions = actions;
  }

  /** Where it is, in pixels of the picture; null: it is not on. */
  get point(): Point | null {
    return this.#point;
  }

  /** Start where it ended, if that is on the screen, or in the middle of what is. */
  start(): void {
    const [placement, view] = [this.#host.placement(), this.#host.visible()];
    if (placement === null || view === null) return;
    const isLastSeen = this.#last !== null && isWithin(view, toScreen(placement, this.#last));
    this.moveTo(isLastSeen ? (this.#last as Point) : toPicture(placement, middleOf(view)));
  }

  end(): void {
    this.#last = this.#point ?? this.#last;
    this.#point = null;
  }

  /** Go to a point of the picture or the nearest one in it, and take the picture along. */
  moveTo(wanted: Point): void {
    const placement = this.#host.placement();
    if (placement === null) return;
    this.#point = insideOf(placement, wanted);
    this.#host.show(this.#point);
    const [after, view] = [this.#host.placement(), this.#host.visible()];
    if (after !== null && view !== null) {
      // Where the picture cannot be moved, the cursor stops at the edge of the view.
      const at = toScreen(after, this.#point);
      if (!isWithin(view, at)) this.#point = insideOf(after, toPicture(after, clampedTo(view, at)));
    }
    this.#actions.moved(this.#point);
  }

  /** Take a key while the cursor is on; true: it was the cursor's. */
  pressed(event: KeyboardEvent): boolean {
    const { key, shiftKey, ctrlKey, altKey, metaKey, repeat, timeStamp } = event;
    const placement = this.#host.placement();
    if (this.#point === null || placement === null || metaKey) return false;
    const near = ctrlKey || altKey;
    const step = STEPS_OF_ARROWS[key];
    if (step !== undefined) {
      const by = near ? NEAR_STEP : shiftKey ? FAR_STEP : STEP;
      const [x, y] = toScreen(placement, this.#point);
      this.moveTo(toPicture(placement, [x + step[0] * by, y + step[1] * by]));
      return true;
    }
    if (near) return false;
    if (key === " ") {
      if (!repeat) this.#actions.clicked(this.#point, shiftKey ? "right" : "left", timeStamp);
      return true;
    }
    if (key.toLowerCase() !== "z") return false;
    this.#host.zoom(toScreen(placement, this.#point), shiftKey ? -1 : 1);
    return true;
  }
}
