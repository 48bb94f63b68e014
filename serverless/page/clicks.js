// The clicks on one picture, with undo and redo. Every state is an array that is never changed.

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

/** Whether the earlier clicks are the first of the clicks. */
export function startsWith(clicks, earlier) {
  return commonStart(clicks, earlier) === earlier.length;
}

/** How many of the first clicks of two lists are the same. */
export function commonStart(clicks, others) {
  const apart = clicks.findIndex((click, i) => click !== others[i]);
  return apart < 0 ? clicks.length : apart;
}
