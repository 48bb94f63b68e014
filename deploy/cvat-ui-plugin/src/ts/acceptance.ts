// Makes rectangles of the boxes that are shown, and follows CVAT when it undoes that.

import { type Boxes, SAME_OBJECT, type Shown } from "./boxes";
import type { MadeRectangle, Rectangle, Scene } from "./cvat/host";
import { areaOf, contains, overlap, type Point, smallestAt, surrounds } from "./geometry";
import { sentence } from "./protocol";
import { messageOf, type Session } from "./session";
import { type Click, type Edit, entryOf, isAwaited, newClicksOf } from "./state";

/** Rectangles that a model made, so that a right click may take them away. */
const MADE_BY_MODELS = ["auto", "semi-auto"];

/** Which of the boxes that are shown are accepted: of one label, given by its id, or in view; null: all. */
type Only = number | "in view" | null;

export interface Intent {
  readonly only?: Only;
  /** The next frame is shown then. */
  readonly goOn?: boolean;
}

export class Acceptance {
  readonly #session: Session;
  readonly #boxes: Boxes;
  #running = false;
  /** What "Accept" was chosen for: boxes of one label or of all, and what comes after it. */
  #intent: Intent = {};
  /** Those of the frames' "accepted" whose objects CVAT has shown, and its undo history then. */
  readonly #landed = new WeakMap<object, number>();

  constructor(session: Session, boxes: Boxes) {
    this.#session = session;
    this.#boxes = boxes;
  }

  /** CVAT is making rectangles. */
  get running(): boolean {
    return this.#running;
  }

  accept(intent: Intent): Promise<void> {
    this.#intent = intent;
    return this.acceptNow();
  }

  /** Accept what was chosen last; clicks without an answer are waited for. */
  async acceptNow(): Promise<void> {
    const session = this.#session;
    const { frame: number } = session.state;
    if (this.#running || number === null) return;
    const { only = null, goOn = false } = this.#intent;
    session.notice = null;
    if (!session.scene?.removed && isAwaited(session.state)) {
      session.do({ type: "waits to accept" });
      return;
    }
    const { offered } = this.#boxes;
    const isChosen = this.#choiceOf(only);
    const made = offered.filter(isChosen);
    if (made.length > 0 && this.#boxes.hidden) {
      this.#boxes.hidden = false;
      session.say("The proposals were hidden. Here they are: look, then accept again.");
      return;
    }
    if (made.length === 0) {
      if (goOn) await session.goTo(await session.nextFrame());
      else session.changed();
      return;
    }
    const { clicks, edits } = entryOf(session.frame);
    const unsettled = [
      ...clicks.filter((click) => !isChosen(this.#clickedBy(click))),
      ...edits.filter((edit) => !isChosen(editedBy(edit))),
    ];
    const { jobId } = session;
    const isHere = () => session.jobId === jobId && session.state.frame === number;
    const replaced = this.#replacedBy(made);
    const taken = this.#boxes.shown.filter((box) => box.present || made.includes(box));
    this.#running = true;
    session.changed();
    let isMade = false;
    try {
      const ids = await session.host.create(
        made.map(({ points, rotation, label }): Rectangle => ({ points, rotation, label })),
      );
      isMade = true;
      if (session.jobId === jobId)
        session.do({ type: "accepted", frame: number, clicks, unsettled, ids, taken });
      if (isHere()) await this.#replace(replaced);
    } catch (error) {
      session.say(`CVAT did not take the boxes. ${sentence(messageOf(error))}`, true);
    } finally {
      this.#running = false;
      session.changed();
    }
    if (isMade && goOn && isHere()) await session.goTo(await session.nextFrame());
  }

  /**
   * Bring the proposals back when CVAT undid the objects that "Accept" made of them, and take them
   * away again when it made the objects again.
   *
   * @returns Whether the objects of an "Accept" that stays on the frame are shown for the first time.
   */
  follow({ ids, depth, redoable }: Scene): boolean {
    const { accepted, undone } = this.#session.frame;
    if (undone?.ids.every((id) => ids.has(id))) {
      this.#session.do({ type: "acceptance redone" });
      return false;
    }
    if (accepted === null || accepted.ids.length === 0) return false;
    const landed = this.#landed.get(accepted);
    if (accepted.ids.every((id) => ids.has(id))) {
      this.#landed.set(accepted, landed ?? depth);
      return landed === undefined && !this.#intent.goOn;
    }
    if (landed !== undefined && redoable && depth < landed) {
      if (!accepted.ids.some((id) => ids.has(id))) this.#session.do({ type: "acceptance undone" });
    }
    return false;
  }

  /** The rectangle that a right click at a point means, or null: it means the proposal there. */
  rectangleAt(point: Point): MadeRectangle | null {
    const visible = (this.#session.scene?.rectangles ?? []).filter(({ hidden }) => !hidden);
    const rectangle = smallestAt(visible, point);
    const proposal = this.#boxes.editableAt(point);
    if (rectangle === null || (proposal && areaOf(proposal) <= areaOf(rectangle))) return null;
    return rectangle;
  }

  /** Take a rectangle away that a right click says is none. */
  async remove(rectangle: MadeRectangle, click: Click): Promise<void> {
    const session = this.#session;
    const { clientId, label } = rectangle;
    const name = session.labelOf(label)?.name ?? "";
    const reason = whyItStays(rectangle);
    if (reason !== null || clientId === null) {
      session.say(
        `This rectangle of ${name} stays, as ${reason}: take it away with CVAT's own mouse (Esc) and Del.`,
      );
      return;
    }
    // A proposal for the same object would be offered again.
    const proposed = this.#boxes.shown.some((one) => overlap(one, rectangle) >= SAME_OBJECT);
    if (proposed) session.do({ type: "clicked", clicks: [click] });
    try {
      await session.host.remove(clientId);
      session.say(`Rectangle of ${name} removed. Ctrl+Z brings it back.`);
    } catch (error) {
      session.say(`CVAT did not remove the rectangle. ${sentence(messageOf(error))}`, true);
    }
  }

  /** What tells whether a box is one of those to accept. */
  #choiceOf(only: Only): (box: Rectangle) => boolean {
    if (only === "in view") return this.#boxes.inView();
    return ({ label }) => only === null || label === only;
  }

  /** The box that a click is in, or its mere point where there is none. */
  #clickedBy({ x, y, label }: Click): Rectangle {
    const ofLabel = this.#boxes.offered.filter((box) => box.label === label);
    return smallestAt(ofLabel, [x, y]) ?? { points: [x, y, x, y], rotation: 0, label };
  }

  /** Rectangles of models around objects that were clicked since, which boxes stand for now. */
  #replacedBy(made: readonly Shown[]): readonly MadeRectangle[] {
    const clicks = newClicksOf(this.#session.frame).filter(({ positive }) => positive);
    return (this.#session.scene?.rectangles ?? []).filter((rectangle) => {
      const within = clicks.filter(
        ({ x, y, label }) => label === rectangle.label && contains(rectangle, [x, y]),
      );
      if (within.length === 0 || rectangle.hidden || whyItStays(rectangle) !== null) return false;
      return made.some(
        (box) =>
          box.sure &&
          box.label === rectangle.label &&
          surrounds(rectangle, box) &&
          within.some(({ x, y }) => contains(box, [x, y])),
      );
    });
  }

  async #replace(rectangles: readonly MadeRectangle[]): Promise<void> {
    const [one] = rectangles;
    if (one === undefined) return;
    try {
      for (const { clientId } of rectangles) {
        if (clientId !== null) await this.#session.host.remove(clientId);
      }
    } catch (error) {
      const reason = sentence(messageOf(error));
      this.#session.say(`CVAT did not remove a larger rectangle. ${reason}`, true);
      return;
    }
    const name = this.#session.labelOf(one.label)?.name ?? "";
    const what =
      rectangles.length === 1
        ? `A larger rectangle of ${name} was`
        : `${rectangles.length} larger rectangles were`;
    this.#session.say(`${what} replaced. Ctrl+Z brings it back.`);
  }
}

/** The box that an edit made; one that it dropped, as it was. */
function editedBy({ proposal, label, points = proposal.points }: Edit): Rectangle {
  return { points, rotation: proposal.rotation, label: label ?? proposal.label };
}

/** Why a right click does not take a rectangle away, or null: it does. */
function whyItStays({ clientId, source, locked, tracked }: MadeRectangle): string | null {
  if (clientId === null) return "CVAT is still making it";
  if (locked) return "it is locked";
  if (tracked) return "it belongs to a track";
  return MADE_BY_MODELS.includes(source) ? null : "it was not made by a model";
}
