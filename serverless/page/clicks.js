// The clicks on one picture, with undo and redo. Every state is an array that is never changed.
// A click that is repeated at the very same point asks the open model for the next likeliest box there;
// it stands in the array as often as it was made.

// How near an earlier click has to be to be repeated, in pixels of the screen.
const REPEAT_PIXELS = 4;
// How near the last click has to be, where there are no repeats: then one more is none.
const SAME_POINT_PIXELS = 2;
// The second half of a double click, as systems take it, is no click of its own.
const DOUBLE_CLICK_MS = 500;

export class ClickHistory {
  #states = [[]];
  #index = 0;

  get clicks() {
    return this.#states[this.#index];
  }

  get canUndo() {
    return this.#index > 0;
  }

  get canRedo() {
    return this.#index < this.#states.length - 1;
  }

  add(click) {
    this.#push([...this.clicks, click]);
  }

  clear() {
    if (this.clicks.length) this.#push([]);
  }

  /** Take all clicks of a label out of every state, so that they cannot come back. */
  forget(label) {
    let dropped = 0;
    const states = this.#states.map((clicks) => {
      const left = clicks.filter((click) => click.label !== label);
      return left.length === clicks.length ? clicks : left;
    });
    const same = (a, b) => a.length === b.length && startsWith(a, b);
    this.#states = states.filter((clicks, i) => {
      const again = i > 0 && same(clicks, states[i - 1]);
      if (again && i <= this.#index) dropped += 1;
      return !again;
    });
    this.#index -= dropped;
  }

  undo() {
    if (this.canUndo) this.#index -= 1;
  }

  redo() {
    if (this.canRedo) this.#index += 1;
  }

  #push(state) {
    this.#states.splice(this.#index + 1, Infinity, state);
    this.#index += 1;
  }
}

/**
 * What a click becomes after the earlier ones; null: it is none.
 * scale: pixels of the screen per pixel of the picture; sinceLast: milliseconds since the last
 * click; repeats: whether the model has another box for a repeat. Only positive clicks are repeated.
 */
export function clickAfter(earlier, click, { scale, sinceLast, repeats }) {
  const isAlike = ({ label, positive }) => label === click.label && positive === click.positive;
  const away = ({ x, y }) => Math.hypot(x - click.x, y - click.y) * scale;
  const last = earlier.at(-1);
  const fromLast = last && isAlike(last) ? away(last) : Infinity;
  if (!repeats || !click.positive) return fromLast < SAME_POINT_PIXELS ? null : click;
  if (fromLast <= REPEAT_PIXELS && sinceLast < DOUBLE_CLICK_MS) return null;
  const near = earlier.filter((one) => isAlike(one) && away(one) <= REPEAT_PIXELS);
  const { x, y } = near.sort((a, b) => away(a) - away(b))[0] ?? click;
  return { ...click, x, y };
}

/** The places of clicks, each as [click, index of its last repeat], in the order of the first ones. */
export function placesOf(clicks) {
  const places = new Map();
  clicks.forEach((click, i) => {
    const { x, y, label, positive } = click;
    places.set([x, y, label, positive].join(" "), [click, i]);
  });
  return [...places.values()];
}

/** Whether the earlier clicks are the first of the clicks. */
export function startsWith(clicks, earlier) {
  return commonStart(clicks, earlier) === earlier.length;
}

/** How many of the first clicks of two lists are the same. */
export function commonStart(clicks, others) {
  const apart = clicks.findIndex((click, i) => click !== others[i]);
  return apart < 0 ? clicks.length : apart;
}
