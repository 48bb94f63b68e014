// Calls of the function for the clicks of a frame, with exemplars.

import type { Scene } from "./cvat/host";
import { ExemplarStore, type Work } from "./exemplar_store";
import type { ClassMap } from "./labels";
import {
  AnswerError,
  type Carried,
  type ClassAnswer,
  type ClassBox,
  type ClassClick,
  decodeAnswer,
  encodeClicks,
  sentence,
} from "./protocol";
import { messageOf, type Session } from "./session";
import { type Click, EMPTY_FRAME, entryOf, hasToAsk, type Proposal } from "./state";
import { settings } from "./storage";

/** A frame is asked for by itself once it was looked at for so long. */
const ASK_AFTER_MS = 200;

/** What was found on a frame. */
interface Found {
  readonly frame: number;
  readonly classes: ClassMap;
  /** What was asked, as JSON. */
  readonly key: string;
  readonly answer: ClassAnswer;
}

/** An answer that is asked for before its frame is shown. */
interface Prefetching {
  readonly frame: number;
  readonly abort: AbortController;
  /** What is asked, as JSON; null: that is not known yet. */
  key: string | null;
  done: Promise<Found | null>;
}

export class Requests {
  readonly exemplars: ExemplarStore;
  readonly #session: Session;
  /** The person does not work with the plugin now. */
  readonly #isAway: () => boolean;
  #call: { id: number; since: number; abort: AbortController } | null = null;
  /** A frame that nobody has worked on is asked for by itself. */
  #asksByItself = settings.load("carry") !== false;
  #timer = 0;
  /** The answer for the next frame, asked for before it is shown. */
  #prefetched: Found | null = null;
  /** What is prefetched now. */
  #prefetching: Prefetching | null = null;
  /** What the server has of the job is known, or cannot be read. */
  #read: Promise<void> = Promise.resolve();
  /** Ends what is read of the job that is open. */
  #reading = new AbortController();

  constructor(session: Session, isAway: () => boolean) {
    this.#session = session;
    this.#isAway = isAway;
    this.exemplars = new ExemplarStore(session.host);
  }

  /** A call is in flight since then, in milliseconds of performance.now(). */
  get since(): number | null {
    return this.#call?.since ?? null;
  }

  get asksByItself(): boolean {
    return this.#asksByItself;
  }

  /** The frames that can give exemplars for the one on the screen, the nearest first. */
  get sources(): readonly number[] {
    const { scene } = this.#session;
    return scene ? this.exemplars.sources(scene.frame, this.work(scene)) : [];
  }

  /** The frames of the job that somebody has worked on, here or before the page was opened. */
  get worked(): readonly number[] {
    const { scene, state, rectangles } = this.#session;
    const known = [...state.frames.keys(), ...rectangles.keys(), ...(scene?.saved.keys() ?? [])];
    return [...new Set(known)].filter((number) => {
      const { open, accepted, history } = state.frames.get(number) ?? EMPTY_FRAME;
      return open || accepted !== null || history.length > 1 || this.#session.isDone(number);
    });
  }

  /** Whether the function can be asked without clicks: an open one only with exemplars. */
  get canSearch(): boolean {
    if (this.#session.scene?.removed) return false;
    const isUsed = (frame: number) => this.exemplars.isUsed(String(frame));
    return this.#session.model.classes.length > 0 || this.sources.some(isUsed);
  }

  work({ saved }: Scene): Work {
    const { model, classes, state, rectangles } = this.#session;
    return { model, classes, frames: state.frames, rectangles, saved };
  }

  openJob(jobId: number): void {
    this.#endJob();
    this.#reading = new AbortController();
    this.exemplars.open(jobId);
    // Which frames are done, without which the plugin works as well.
    const { host } = this.#session;
    host.safely(() => {
      this.#read = host.readSaved(this.#reading.signal).then(
        () => this.askByItself(),
        () => {},
      );
      return this.#read;
    });
  }

  /** Send what has to be asked, and end a call that nobody waits for any more. */
  follow(): void {
    const session = this.#session;
    if (this.#call && session.state.request?.id !== this.#call.id) {
      this.#call.abort.abort();
      this.#call = null;
    }
    if (session.scene === null || session.scene.removed || !hasToAsk(session.state)) return;
    session.reduce({ type: "sent" });
    session.host.safely(() => this.#ask());
  }

  /** Ask before the first click. */
  search(): void {
    if (entryOf(this.#session.frame).clicks.length > 0) return;
    if (this.#session.scene?.removed) return;
    if (this.canSearch) this.#session.do({ type: "asked" });
    else this.#session.say("There are no examples yet: click an object first.");
  }

  toggleAsking(): void {
    this.#asksByItself = !this.#asksByItself;
    settings.save("carry", this.#asksByItself);
    this.askByItself();
    this.#session.changed();
  }

  /** Use a frame or an exemplar, or do not. */
  toggleExemplars(id: string): void {
    this.exemplars.toggle(id);
    this.#session.do({ type: "exemplars changed" });
  }

  /** Boxes of the frame have become rectangles: ask again for the others, with these as exemplars. */
  askForOthers(): void {
    const frame = this.#session.state.frame ?? -1;
    if (this.sources.includes(frame) && this.exemplars.isUsed(String(frame)))
      this.#session.do({ type: "exemplars changed" });
  }

  /** Ask for a frame that nobody has worked on, once others of the job were. */
  askByItself(): void {
    this.stopWaiting();
    const session = this.#session;
    const { frame: number } = session.state;
    if (!this.#asksByItself || this.#isAway()) return;
    this.#showPrefetched();
    if (!this.canSearch || !this.worked.some((other) => other !== number)) return;
    this.#timer = window.setTimeout(() => {
      const { open, taken } = session.frame;
      const isNew = !open && entryOf(session.frame).clicks.length + taken.length === 0;
      if (number === session.state.frame && isNew && session.scene?.rectangles.length === 0)
        session.host.safely(() => session.do({ type: "asked" }));
    }, ASK_AFTER_MS);
  }

  /** Ask for nothing by itself. */
  stopWaiting(): void {
    window.clearTimeout(this.#timer);
  }

  stop(): void {
    this.stopWaiting();
    this.#call?.abort.abort();
    this.#endJob();
  }

  /** End what nobody on the screen waits for. */
  #endJob(): void {
    this.#reading.abort();
    this.#prefetching?.abort.abort();
    this.#prefetching = this.#prefetched = null;
  }

  async #ask(): Promise<void> {
    const session = this.#session;
    const { classes } = session;
    const { request } = session.state;
    if (request === null) return;
    const call = { id: request.id, since: performance.now(), abort: new AbortController() };
    this.#call = call;
    const { signal } = call.abort;
    const clicks = request.clicks.filter(({ label }) => classes.classOf(label) !== undefined);
    const classClicks = clicks.map(({ x, y, label, positive }) => ({
      x,
      y,
      positive,
      classIndex: classes.classOf(label) as number,
    }));
    const first = session.frame.partial?.clicks !== request.clicks;
    try {
      const [found] = await Promise.all([
        this.#askWith(classClicks, signal, request.frame),
        // Without this answer boxes may be offered twice, but nothing else is wrong.
        first && session.host.readSaved(signal).catch(() => {}),
      ]);
      if (found === null || signal.aborted) return;
      if (this.#prefetched?.frame === request.frame) this.#prefetched = null;
      const { boxes, ...rest } = found.answer;
      const proposals = boxes.flatMap((box) => proposalOf(box, clicks, classes));
      session.do({ type: "answered", id: call.id, proposals, ...rest });
      if (clicks.length === 0 && rest.progress >= 1) await this.#prefetchNext();
    } catch (error) {
      if (signal.aborted) return;
      const message = error instanceof AnswerError ? error.message : sentence(messageOf(error));
      session.do({ type: "failed", id: call.id, message });
    }
  }

  /** Whoever looks at the proposals of a frame that nobody clicked on will look at the next one. */
  async #prefetchNext(): Promise<void> {
    const session = this.#session;
    const { scene } = session;
    if (!this.#asksByItself || scene === null) return;
    const frame = await session.nextFrame();
    const isThere = session.scene?.jobId === scene.jobId && session.scene.frame === scene.frame;
    if (frame === undefined || !isThere) return;
    const known = session.rectangles.get(frame) ?? scene.saved.get(frame) ?? [];
    if (session.state.frames.has(frame) || known.length > 0) return;
    if ([this.#prefetched?.frame, this.#prefetching?.frame].includes(frame)) return;
    const abort = new AbortController();
    const prefetching: Prefetching = { frame, abort, key: null, done: Promise.resolve(null) };
    this.#prefetching?.abort.abort();
    this.#prefetching = prefetching;
    // It is asked for again when it is shown: an error now is none for the person.
    prefetching.done = this.#askWith([], abort.signal, frame, prefetching).catch(() => null);
    const found = await prefetching.done;
    if (this.#prefetching !== prefetching) return;
    this.#prefetching = null;
    if (found !== null) this.#prefetched = found;
  }

  /** The prefetched answer, if it is one to the same; what is prefetched for another one ends. */
  async #prefetchedFor(frame: number, key: string): Promise<Found | null> {
    const prefetching = this.#prefetching;
    let found = this.#prefetched;
    if (prefetching?.frame === frame) {
      if (prefetching.key === key) found = await prefetching.done;
      else {
        prefetching.abort.abort();
        this.#prefetching = null;
      }
    }
    const { classes } = this.#session;
    return found?.frame === frame && found.classes === classes && found.key === key ? found : null;
  }

  /** Show the prefetched answer, until the frame on the screen has its own answer. */
  #showPrefetched(): void {
    const session = this.#session;
    const prefetched = this.#prefetched;
    if (prefetched === null || prefetched.frame !== session.state.frame) return;
    const { classes, frame, answer } = prefetched;
    if (classes !== session.classes || session.scene?.rectangles.length !== 0) return;
    const proposals = answer.boxes.flatMap((box) => proposalOf(box, [], classes));
    session.do({ type: "prefetched", frame, proposals, notes: answer.notes });
  }

  /**
   * Ask with exemplars, and take them again if they are of other weights.
   *
   * @param own That this is, if it is one.
   */
  async #askWith(
    clicks: readonly ClassClick[],
    signal: AbortSignal,
    frame: number,
    own: Prefetching | null = null,
  ): Promise<Found | null> {
    const { host, model, classes } = this.#session;
    const ask = async (): Promise<Found | null> => {
      const carried = await this.#carried(frame, clicks, signal);
      if (signal.aborted) return null;
      // An open model finds nothing that is of a label, without clicks and exemplars.
      if (model.classes.length === 0 && carried === null && clicks.length === 0)
        throw new Error("There are no examples: click an object first.");
      const points = encodeClicks(clicks, carried);
      const key = JSON.stringify(points);
      if (own !== null) own.key = key;
      else {
        const prefetched = await this.#prefetchedFor(frame, key);
        if (prefetched !== null) return prefetched;
        if (signal.aborted) return null;
      }
      const body = await host.ask(model.id, points, signal, frame);
      return { frame, classes, key, answer: decodeAnswer(body) };
    };
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof AnswerError && error.code === "other_weights")) throw error;
      this.exemplars.forget();
      return ask();
    }
  }

  /**
   * The exemplars for a frame; null: there are none.
   *
   * @throws Error The function did not answer them.
   */
  async #carried(
    frame: number,
    clicks: readonly ClassClick[],
    signal: AbortSignal,
  ): Promise<Carried | null> {
    const { model } = this.#session;
    // Clicks that the tab kept are sent as soon as the job is opened.
    if (model.classes.length === 0) await this.#read;
    const { scene } = this.#session;
    if (scene === null || signal.aborted) return null;
    try {
      const clicked = clicks.map(({ classIndex }) => classIndex);
      return await this.exemplars.carried(frame, this.work(scene), signal, clicked);
    } catch (error) {
      if (!(error instanceof AnswerError && error.code === "unsupported")) throw error;
      this.exemplars.giveUp(model.id);
      this.#session.say(
        "This function was deployed before examples of other frames: each frame begins with its own clicks.",
      );
      return null;
    }
  }
}

function proposalOf(box: ClassBox, clicks: readonly Click[], classes: ClassMap): Proposal[] {
  const { points, rotation, score } = box;
  // Of several clicks on one object, the last one says what it is.
  const click = box.clicks.flatMap((index) => clicks[index] ?? []).at(-1);
  const label = click?.label ?? classes.labelOf(box.classIndex)?.id;
  // The task has no label for this class, or the box is of none.
  if (label === undefined) return [];
  const second = box.rival && classes.labelOf(box.rival.classIndex);
  const rival = box.rival && second ? { label: second.id, score: box.rival.score } : null;
  return [{ points, rotation, score, label, sure: click !== undefined, rival }];
}
