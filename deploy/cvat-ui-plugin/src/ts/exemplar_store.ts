// The exemplars of a job's frames: which frames give some, and what the function answered for them.

import type { Host, Rectangle } from "./cvat/host";
import {
  type Chosen,
  carriedOf,
  chosenOf,
  type Kept,
  keptOf,
  keyOf,
  type Taken,
  takenOf,
} from "./exemplars";
import type { ClassMap, Model } from "./labels";
import { type Carried, decodeExemplars, encodeExemplarsRequest, LOWEST_SCORE } from "./protocol";
import { entryOf, type State } from "./state";
import { loadFromTab, saveInTab } from "./storage";

/** Frames whose exemplars go with a request, those nearest to the frame on the screen. */
const MOST_SOURCES = 6;
/** Characters of exemplars that are kept of frames, those that were used last: a tab keeps 5 million. */
const MOST_CHARACTERS = 2_000_000;

/** The work on the frames of a job, and the function that is asked. */
export interface Work {
  readonly model: Model;
  readonly classes: ClassMap;
  readonly frames: State["frames"];
  /** Rectangles that frames had when they were shown. */
  readonly rectangles: ReadonlyMap<number, readonly (Rectangle & { readonly source: string })[]>;
  /** Rectangles of frames that were not shown, as the server has them. */
  readonly saved: ReadonlyMap<number, readonly Rectangle[]>;
}

export class ExemplarStore {
  readonly #host: Host;
  #jobId: number | null = null;
  /** The exemplars of frames, as the function answered them; those that were used last at the end. */
  #taken = new Map<number, Taken>();
  /** What was chosen of the work on frames, and from what. Kept: it is asked for often. */
  readonly #choices = new Map<number, { inputs: readonly unknown[]; chosen: Chosen }>();
  /** What the person left out: frames, by their numbers, and exemplars, by their ids. */
  #leftOut = new Set<string>();
  /** Ids of the models that know no exemplars. */
  readonly #unsupported = new Set<string>();

  constructor(host: Host) {
    this.#host = host;
  }

  /** Another job was opened: take what was saved in the tab for it. */
  open(jobId: number): void {
    this.#jobId = jobId;
    this.#choices.clear();
    const leftOut = loadFromTab(`left out:${jobId}`);
    this.#leftOut = new Set(Array.isArray(leftOut) ? leftOut.map(String) : []);
    this.#taken = takenOf(loadFromTab(`exemplars:${jobId}`));
  }

  /** The frames that could give exemplars for a frame, the nearest first. */
  sources(here: number, work: Work): readonly number[] {
    const { model, frames, rectangles, saved } = work;
    if (model.classes.length > 0 || this.#unsupported.has(model.id)) return [];
    const worked = new Set([...frames.keys(), ...rectangles.keys(), ...saved.keys()]);
    const near: number[] = [];
    for (const number of [...worked].sort(
      (a, b) => Math.abs(a - here) - Math.abs(b - here) || a - b,
    )) {
      const { clicks, boxes } = this.#chosenOf(number, work);
      if (number === here || clicks.length + boxes.length === 0) continue;
      near.push(number);
      if (near.length === MOST_SOURCES) break;
    }
    return near;
  }

  /** Whether a frame, by its number, or an exemplar, by its id, is used. */
  isUsed(id: string): boolean {
    return !this.#leftOut.has(id);
  }

  /** Leave a frame or an exemplar out, or take it back. */
  toggle(id: string): void {
    if (!this.#leftOut.delete(id)) this.#leftOut.add(id);
    saveInTab(`left out:${this.#jobId}`, [...this.#leftOut]);
  }

  /** The exemplars of the frames that are used for a frame, as far as they are known. */
  known(here: number, work: Work): readonly (Kept & { readonly frame: number })[] {
    return this.#usedFrames(here, work).flatMap((frame) => {
      const isKnown = this.#taken.get(frame)?.key === this.#keyOf(frame, work);
      const exemplars = (isKnown && this.#taken.get(frame)?.exemplars) || [];
      return exemplars.map((one) => ({ ...one, frame }));
    });
  }

  /** A model knows no exemplars, and is not asked for them again. */
  giveUp(modelId: string): void {
    this.#unsupported.add(modelId);
  }

  /** The function has other weights than those of the exemplars. */
  forget(): void {
    this.#taken.clear();
  }

  /**
   * The exemplars for a frame. Those that are not known yet are asked for.
   *
   * @returns null: there are none.
   * @throws Error The function did not answer them.
   */
  async carried(here: number, work: Work, signal: AbortSignal): Promise<Carried | null> {
    const used = this.#usedFrames(here, work);
    for (const number of used) await this.#take(number, work, signal);
    const taken = used
      .flatMap((number) => this.#taken.get(number) ?? [])
      .map(({ exemplars, ...rest }) => ({
        ...rest,
        exemplars: exemplars.filter(({ id }) => this.isUsed(id)),
      }));
    return carriedOf(taken, (label) => work.classes.classOf(label));
  }

  #usedFrames(here: number, work: Work): readonly number[] {
    return this.sources(here, work).filter((number) => this.isUsed(String(number)));
  }

  #keyOf(number: number, work: Work): string {
    return keyOf(work.model.id, this.#chosenOf(number, work));
  }

  /** The work on a frame, of labels that can be clicked. */
  #chosenOf(number: number, { classes, frames, rectangles, saved }: Work): Chosen {
    const isKnown = ({ label }: { label: number }) => classes.classOf(label) !== undefined;
    const frame = frames.get(number);
    const clicks = frame && entryOf(frame).clicks;
    const [made, onServer] = [rectangles.get(number), saved.get(number)];
    const inputs = [clicks, made, onServer, classes];
    const before = this.#choices.get(number);
    if (before?.inputs.every((input, i) => input === inputs[i])) return before.chosen;
    const checked = made?.filter(({ source }) => source !== "auto") ?? onServer ?? [];
    const chosen = chosenOf({
      clicks: clicks?.filter(isKnown) ?? [],
      rectangles: checked.filter(isKnown),
    });
    this.#choices.set(number, { inputs, chosen });
    return chosen;
  }

  /** Ask for the exemplars of a frame, if they are not known. */
  async #take(number: number, work: Work, signal: AbortSignal): Promise<void> {
    const { model, classes } = work;
    const chosen = this.#chosenOf(number, work);
    const key = this.#keyOf(number, work);
    const before = this.#taken.get(number);
    if (before?.key === key) {
      this.#keep(number, before);
      return;
    }
    const withClass = <T extends { label: number }>({ label, ...one }: T) => ({
      ...one,
      classIndex: classes.classOf(label) as number,
    });
    const points = encodeExemplarsRequest(
      chosen.clicks.map(withClass),
      chosen.boxes.map(withClass),
    );
    let done = -1;
    for (;;) {
      const answer = decodeExemplars(
        await this.#host.ask(model.id, points, LOWEST_SCORE, signal, number),
      );
      if (signal.aborted) return;
      if (answer.progress >= 1) {
        const { weights } = answer;
        const kept = keptOf(number, chosen);
        if (answer.exemplars.length !== kept.length)
          throw new Error(
            `The function did not answer the exemplars of frame ${number} one by one.`,
          );
        const exemplars = answer.exemplars.map(({ classIndex, ...one }, i) => ({
          ...one,
          ...(kept[i] as (typeof kept)[number]),
        }));
        // The function has other weights now, for which earlier exemplars are of no use.
        for (const [other, { weights: its }] of this.#taken)
          if (its !== weights) this.#taken.delete(other);
        this.#keep(number, { key, weights, exemplars });
        saveInTab(`exemplars:${this.#jobId}`, Object.fromEntries(this.#taken));
        return;
      }
      if (answer.progress <= done)
        throw new Error(`The function did not come to the end of frame ${number}.`);
      done = answer.progress;
    }
  }

  /** Keep the exemplars of a frame, and give up those that were not used for the longest. */
  #keep(number: number, taken: Taken): void {
    this.#taken.delete(number);
    this.#taken.set(number, taken);
    const kept = [...this.#taken];
    let size = kept.reduce((sum, [, each]) => sum + sizeOf(each), 0);
    for (const [frame, each] of kept.slice(0, -MOST_SOURCES)) {
      if (size <= MOST_CHARACTERS) return;
      this.#taken.delete(frame);
      size -= sizeOf(each);
    }
  }
}

/** About how many characters the exemplars of a frame are. */
function sizeOf({ key, exemplars }: Taken): number {
  return exemplars.reduce(
    (sum, { id, vector, thumbnail }) => sum + id.length + vector.length + thumbnail.length,
    key.length,
  );
}
