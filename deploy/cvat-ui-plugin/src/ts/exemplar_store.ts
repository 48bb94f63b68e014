// The exemplars of a job's frames: which frames give some, and what the function answered for them.

import type { Host, KnownRectangle } from "./cvat/host";
import {
  type Candidate,
  carriedOf,
  chosenOf,
  partsOf,
  readStored,
  type Stored,
  type StoredExemplar,
  writeStored,
} from "./exemplars";
import type { ClassMap, Model } from "./labels";
import { type Carried, decodeExemplars, encodeExemplarsRequest } from "./protocol";
import { entryOf, type State } from "./state";
import { tab } from "./storage";

/** Frames whose exemplars go with a request: those nearest to the frame on the screen, and itself. */
const MOST_SOURCES = 6;
/** Characters of exemplars that are kept of frames, those that were used last: a tab keeps 5 million. */
const MOST_CHARACTERS = 2_000_000;

/** The work on the frames of a job, and the function that is asked. */
export interface Work {
  readonly model: Model;
  readonly classes: ClassMap;
  readonly frames: State["frames"];
  /** Rectangles that frames had when they were shown. */
  readonly rectangles: ReadonlyMap<number, readonly KnownRectangle[]>;
  /** Rectangles of frames that were not shown, as the server has them. */
  readonly saved: ReadonlyMap<number, readonly KnownRectangle[]>;
}

export class ExemplarStore {
  readonly #host: Host;
  #jobId: number | null = null;
  #stored: Stored = readStored(null);
  /** What was chosen of the work on frames, and from what. Kept: it is asked for often. */
  readonly #choices = new Map<
    number,
    { inputs: readonly unknown[]; chosen: readonly Candidate[] }
  >();
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
    // A tab has room for those of two jobs, and its clicks need some too.
    tab.clear("exemplars:", `exemplars:${jobId}`);
    const leftOut = tab.load(`left out:${jobId}`);
    this.#leftOut = new Set(Array.isArray(leftOut) ? leftOut.map(String) : []);
    this.#stored = readStored(tab.load(`exemplars:${jobId}`));
  }

  /** The frames that can give exemplars for a frame, itself included, the nearest first. */
  sources(here: number, work: Work): readonly number[] {
    const { model, frames, rectangles, saved } = work;
    if (model.classes.length > 0 || this.#unsupported.has(model.id)) return [];
    const worked = new Set([...frames.keys(), ...rectangles.keys(), ...saved.keys()]);
    return [...worked]
      .filter((number) => this.#candidates(number, here, work).length > 0)
      .sort((a, b) => Math.abs(a - here) - Math.abs(b - here) || a - b)
      .slice(0, MOST_SOURCES);
  }

  /** Whether a frame, by its number, or an exemplar, by its id, is used. */
  isUsed(id: string): boolean {
    return !this.#leftOut.has(id);
  }

  /** Leave a frame or an exemplar out, or take it back. */
  toggle(id: string): void {
    if (!this.#leftOut.delete(id)) this.#leftOut.add(id);
    tab.save(`left out:${this.#jobId}`, [...this.#leftOut]);
  }

  /** The exemplars of the frames that are used for a frame, as far as they are known. */
  known(here: number, work: Work): readonly (StoredExemplar & { readonly frame: number })[] {
    return this.#usedFrames(here, work).flatMap((frame) =>
      this.#candidates(frame, here, work).flatMap(({ id }) => {
        const kept = this.#keptOf(frame, work.model)?.get(id);
        return kept ? [{ ...kept, frame }] : [];
      }),
    );
  }

  /** A model knows no exemplars, and is not asked for them again. */
  giveUp(modelId: string): void {
    this.#unsupported.add(modelId);
  }

  /** The function has other weights than those of the exemplars. */
  forget(): void {
    this.#stored.frames.clear();
  }

  /**
   * The exemplars for a frame. Those that are not known yet are asked for.
   *
   * @param clicked Classes of the clicks that they go along with.
   * @returns null: there are none.
   * @throws Error The function did not answer them.
   */
  async carried(
    here: number,
    work: Work,
    signal: AbortSignal,
    clicked: Iterable<number>,
  ): Promise<Carried | null> {
    for (const number of this.#usedFrames(here, work))
      await this.#fetch(number, here, work, signal);
    const used = this.known(here, work).filter(({ id }) => this.isUsed(id));
    return carriedOf(this.#stored.weights, used, (label) => work.classes.classOf(label), clicked);
  }

  #usedFrames(here: number, work: Work): readonly number[] {
    return this.sources(here, work).filter((number) => this.isUsed(String(number)));
  }

  #keptOf(number: number, { id }: Model): ReadonlyMap<string, StoredExemplar> | undefined {
    return this.#stored.model === id ? this.#stored.frames.get(number) : undefined;
  }

  /**
   * What a frame can give to the one on the screen. That frame itself gives boxes that no click of it
   * says, as its clicks are asked about anyway.
   */
  #candidates(number: number, here: number, work: Work): readonly Candidate[] {
    const chosen = this.#chosenOf(number, work);
    return number === here ? chosen.filter((one) => "corners" in one && !one.clicked) : chosen;
  }

  /** The work on a frame, of labels that can be clicked. */
  #chosenOf(number: number, { classes, frames, rectangles, saved }: Work): readonly Candidate[] {
    const isKnown = ({ label }: { label: number }) => classes.classOf(label) !== undefined;
    const frame = frames.get(number);
    const clicks = frame && entryOf(frame).clicks;
    const [made, onServer] = [rectangles.get(number), saved.get(number)];
    const inputs = [clicks, made, onServer, classes];
    const before = this.#choices.get(number);
    if (before?.inputs.every((input, i) => input === inputs[i])) return before.chosen;
    const checked = made?.filter(({ source }) => source !== "auto") ?? onServer ?? [];
    const chosen = chosenOf(number, clicks?.filter(isKnown) ?? [], checked.filter(isKnown));
    this.#choices.set(number, { inputs, chosen });
    return chosen;
  }

  /** Ask for the exemplars of a frame that are not known. */
  async #fetch(number: number, here: number, work: Work, signal: AbortSignal): Promise<void> {
    const known = this.#keptOf(number, work.model) ?? new Map<string, StoredExemplar>();
    const missing = this.#candidates(number, here, work).filter(({ id }) => !known.has(id));
    if (missing.length === 0) this.#keep(number, known);
    for (const part of partsOf(missing)) {
      if (!signal.aborted) await this.#fetchPart(number, part, work, signal);
    }
  }

  async #fetchPart(
    number: number,
    missing: readonly Candidate[],
    work: Work,
    signal: AbortSignal,
  ): Promise<void> {
    const { model, classes } = work;
    const classIndexOf = (label: number) => classes.classOf(label) as number;
    const asked = missing.flatMap((one) => Array.from({ length: one.times }, () => one));
    const points = encodeExemplarsRequest(
      asked.flatMap((one) =>
        "click" in one ? [{ ...one.click, classIndex: classIndexOf(one.label) }] : [],
      ),
      asked.flatMap((one) =>
        "corners" in one ? [{ points: one.corners, classIndex: classIndexOf(one.label) }] : [],
      ),
    );
    let progress = -1;
    for (;;) {
      const answer = decodeExemplars(await this.#host.ask(model.id, points, signal, number));
      if (signal.aborted) return;
      if (answer.progress >= 1) {
        if (answer.exemplars.length !== asked.length)
          throw new Error(
            `The function did not answer the exemplars of frame ${number} one by one.`,
          );
        const { weights } = answer;
        // The function has other weights now, for which earlier exemplars are of no use.
        if (this.#stored.model !== model.id || this.#stored.weights !== weights)
          this.#stored = { model: model.id, weights, frames: new Map() };
        const chosen = new Set(this.#chosenOf(number, work).map(({ id }) => id));
        const kept = [...(this.#stored.frames.get(number) ?? [])].filter(([id]) => chosen.has(id));
        const added = answer.exemplars.map(({ classIndex, ...one }, i) => {
          const { id, label } = asked[i] as Candidate;
          return [id, { ...one, id, label }] as const;
        });
        // All repeats of a click have the same answer, of which one is kept.
        this.#keep(number, new Map([...kept, ...added]));
        tab.save(`exemplars:${this.#jobId}`, writeStored(this.#stored));
        return;
      }
      if (answer.progress <= progress)
        throw new Error(`The function did not come to the end of frame ${number}.`);
      progress = answer.progress;
    }
  }

  /** Keep the exemplars of a frame, and give up those that were not used for the longest. */
  #keep(number: number, exemplars: ReadonlyMap<string, StoredExemplar>): void {
    const { frames } = this.#stored;
    frames.delete(number);
    frames.set(number, exemplars);
    const kept = [...frames];
    let size = kept.reduce((sum, [, each]) => sum + sizeOf(each), 0);
    for (const [frame, each] of kept.slice(0, -MOST_SOURCES)) {
      if (size <= MOST_CHARACTERS) return;
      frames.delete(frame);
      size -= sizeOf(each);
    }
  }
}

/** About how many characters exemplars are. */
function sizeOf(exemplars: ReadonlyMap<string, StoredExemplar>): number {
  return [...exemplars.values()].reduce(
    (sum, { id, vector, thumbnail }) => sum + id.length + vector.length + thumbnail.length,
    0,
  );
}
