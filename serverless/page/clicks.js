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

/** Whether the clicks begin with all of the earlier ones. */
export function startsWith(clicks, earlier) {
  return earlier.length <= clicks.length && earlier.every((click, i) => click === clicks[i]);
}
