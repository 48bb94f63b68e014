// The thresholds that the person chooses: one for all labels, and those of single labels.

import { LOWEST_SCORE } from "./protocol";
import type { Session } from "./session";
import { thresholdOf } from "./state";
import { settings } from "./storage";
import { isRecord } from "./values";

/** What a key adds to a threshold. */
const STEP = 0.05;
const HIGHEST_SCORE = 0.95;

export class Thresholds {
  readonly #session: Session;
  /** The slider is of the armed label alone. */
  #own = false;

  constructor(session: Session) {
    this.#session = session;
  }

  get own(): boolean {
    return this.#own;
  }

  /** The slider is of all labels, and the person has put it where the weights' threshold is not. */
  get moved(): boolean {
    const { threshold, modelThreshold } = this.#session.state;
    return !this.#own && threshold !== null && threshold.toFixed(2) !== modelThreshold?.toFixed(2);
  }

  /** A label is armed: the slider is its own if it has a threshold of its own. */
  follow(label: number | null): void {
    this.#own = label !== null && this.#session.state.thresholds.has(label);
  }

  /** Make the slider that of the armed label or of all; then the label has none of its own. */
  chooseScope(own: boolean): void {
    const { armed } = this.#session.state;
    this.#own = own && armed !== null;
    if (!own && armed !== null) this.set(null, true);
  }

  /**
   * @param threshold null: that of the weights or, of the armed label, that of all.
   * @param own It is that of the armed label alone.
   */
  set(threshold: number | null, own = this.#own): void {
    const { model, state } = this.#session;
    const { armed } = state;
    if (!own || armed === null) {
      settings.save(`threshold:${model.id}`, threshold);
      this.#session.do({ type: "threshold set", threshold });
      return;
    }
    this.#session.do({ type: "threshold set", threshold, label: armed });
    const label = this.#session.labelOf(armed);
    if (label === undefined) return;
    // Labels of other tasks keep theirs.
    const key = `thresholds:${model.id}`;
    const saved = settings.load(key);
    settings.save(key, {
      ...(isRecord(saved) && saved),
      [label.name]: threshold ?? undefined,
    });
  }

  step(by: -1 | 1, own: boolean): void {
    const { state } = this.#session;
    const label = own || this.#own ? state.armed : null;
    const before = thresholdOf(state, label);
    if (before === null) return;
    this.#own = label !== null;
    const wanted = Math.round((before + by * STEP) * 100) / 100;
    this.set(Math.min(Math.max(wanted, LOWEST_SCORE), HIGHEST_SCORE), label !== null);
  }
}
