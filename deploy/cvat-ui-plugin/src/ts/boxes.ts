// The proposals that are shown: those over the threshold, of labels that are not hidden.

import type { Rectangle } from "./cvat/host";
import {
  type Box,
  centreOf,
  isWithin,
  overlap,
  type Point,
  smallestAt,
  toScreen,
} from "./geometry";
import type { PreviewBox } from "./preview";
import type { Session } from "./session";
import { entryOf, overThreshold, type Proposal, proposalsOf, thresholdOf } from "./state";

/** Overlap from which a proposal is the object of a rectangle of its label. */
export const SAME_OBJECT = 0.5;

/** A proposal as it is shown. */
export interface Shown extends Proposal, PreviewBox {
  /** There is a rectangle of this label already. */
  readonly present: boolean;
}

export class Boxes {
  readonly #session: Session;
  /** None is drawn. */
  hidden = false;
  /** Ids of the labels whose boxes are not shown, and not accepted. */
  readonly hiddenLabels = new Set<number>();
  #shown: readonly Shown[] = [];
  #hiddenByLabel = 0;
  /** What the proposals that are compared with the frame's rectangles came from. */
  #compared: { inputs: readonly unknown[]; proposals: readonly Shown[] } | null = null;

  constructor(session: Session) {
    this.#session = session;
  }

  get shown(): readonly Shown[] {
    return this.#shown;
  }

  /** Those that have no rectangle yet. */
  get offered(): readonly Shown[] {
    return this.#shown.filter(({ present }) => !present);
  }

  /** How many would be offered if no label were hidden. */
  get hiddenByLabel(): number {
    return this.#hiddenByLabel;
  }

  update(): void {
    const { scene, state } = this.#session;
    const threshold = thresholdOf(state) ?? 0;
    const over =
      scene && !scene.removed ? overThreshold(this.#compare(), threshold, state.thresholds) : [];
    const isHidden = ({ label }: Shown) => this.hiddenLabels.has(label);
    this.#shown = over.filter((box) => !isHidden(box));
    this.#hiddenByLabel = over.filter((box) => !box.present && isHidden(box)).length;
  }

  /** Show or hide the boxes of one label. */
  toggleLabel(label: number): void {
    if (!this.hiddenLabels.delete(label)) this.hiddenLabels.add(label);
  }

  /** What tells whether the centre of a box is on the screen, as that is now. */
  inView(): (box: Box) => boolean {
    const { host } = this.#session;
    const [placement, view] = [host.placement(), host.visible()];
    return (box) => {
      if (placement === null || view === null) return false;
      return isWithin(view, toScreen(placement, centreOf(box)));
    };
  }

  /** The smallest box at a point that a person can still change. */
  editableAt(point: Point): Shown | null {
    return this.hidden ? null : smallestAt(this.offered, point);
  }

  /** The frame's proposals, and whether each has its rectangle. Kept: it is asked for often. */
  #compare(): readonly Shown[] {
    const { scene, frame, classes } = this.#session;
    const rectangles: readonly Rectangle[] = [
      ...(scene?.rectangles ?? []),
      ...(scene?.elsewhere ?? []),
    ];
    const { edits, clicks } = entryOf(frame);
    const inputs = [frame.shown, frame.taken, edits, clicks, scene?.rectangles, classes];
    if (this.#compared?.inputs.every((input, i) => input === inputs[i])) {
      return this.#compared.proposals;
    }
    const proposals = proposalsOf(frame).map((proposal): Shown => {
      const present = rectangles.some((other) => isSame(other, proposal));
      const look = present ? "faint" : proposal.sure ? "strong" : "plain";
      const color = this.#session.labelOf(proposal.label)?.color ?? "#ffffff";
      return { ...proposal, present, look, color };
    });
    this.#compared = { inputs, proposals };
    return proposals;
  }
}

function isSame(rectangle: Rectangle, { label, ...box }: Proposal): boolean {
  return rectangle.label === label && overlap(rectangle, box) >= SAME_OBJECT;
}
