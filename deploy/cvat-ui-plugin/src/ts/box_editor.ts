// Changes single boxes before they are accepted: by the mouse over them, a menu, and keys.

import type { Boxes, Shown } from "./boxes";
import {
  areaOf,
  type Box,
  type Corners,
  centreOf,
  type Edge,
  edgesAt,
  insideOf,
  type Point,
  shortSideOf,
  stretched,
  toPicture,
  toScreen,
} from "./geometry";
import { positionOf, STEPS_OF_ARROWS } from "./keys";
import type { TaskLabel } from "./labels";
import { Menu, Tip } from "./panel/popups";
import type { Preview } from "./preview";
import type { Session } from "./session";

/** How near the mouse has to be to an edge to pull it, and which boxes are too small for that. */
const EDGE_PIXELS = 5;
const SMALLEST_PULLED_PIXELS = 20;

/** So long the mouse rests before words cover neighbours that may be clicked next. */
const REST_MS = 500;

/** Edges of a box under the mouse. */
interface Pull {
  readonly proposal: Shown;
  readonly edges: readonly Edge[];
}

export class BoxEditor {
  readonly tip = new Tip();
  readonly menu = new Menu();
  readonly #session: Session;
  readonly #boxes: Boxes;
  readonly #preview: Preview;
  /** The box that keys are for: the one under the mouse, or the one that a key went to. */
  #aimed: Shown | null = null;
  #picked = false;
  /** Where the mouse rests, on the screen; null: not on the picture. */
  #mouse: Point | null = null;
  /** The boxes that could be changed when the one for keys was last looked for. */
  #known: readonly Shown[] = [];
  #pull: Pull | null = null;
  /** The boxes that keys go through, and the position of the one that they went to. */
  #round: readonly Shown[] = [];
  #at = 0;

  constructor(session: Session, boxes: Boxes, preview: Preview) {
    this.#session = session;
    this.#boxes = boxes;
    this.#preview = preview;
  }

  /** Whether a click at a point edits a box, while no label is armed. */
  claims(point: Point): boolean {
    if (this.menu.isOpen || this.#boxes.editableAt(point) !== null) return true;
    return this.#edgesAt(point) !== null;
  }

  /** The mouse is over a point; null: it left the picture. */
  hovered(point: Point | null): void {
    this.#rest(point);
    const onEdge = point !== null && !this.menu.isOpen && this.#edgesAt(point) !== null;
    this.#session.host.showGrip(onEdge);
    const found = point === null || this.menu.isOpen ? null : this.#boxes.editableAt(point);
    // A box that a key went to is left for another one only.
    if (this.#picked && found === null && point !== null) return;
    this.aim(found, point);
  }

  grabs(point: Point): boolean {
    this.#pull = this.menu.isOpen ? null : this.#edgesAt(point);
    return this.#pull !== null;
  }

  pulled(point: Point): void {
    if (this.#pull === null) return;
    this.#rest(point);
    this.tip.hide();
    this.#preview.hover({ ...this.#pull.proposal, ...this.#stretch(this.#pull, point) });
  }

  letGo(point: Point | null): void {
    const pull = this.#pull;
    this.#pull = null;
    if (pull === null || point === null) return;
    const box = this.#stretch(pull, point);
    this.#preview.hover(null);
    if (shortSideOf(box) >= 1) this.edit(pull.proposal, pull.proposal.label, box.points);
  }

  /** A click at a point while no label is armed. */
  clicked(point: Point, button: "left" | "right"): void {
    const found = this.#boxes.editableAt(point);
    if (found === null) return;
    if (button === "right") this.edit(found, null);
    else this.#openMenu(found, point);
  }

  /** Keys for the box under the mouse while no label is armed, or for the one that a key went to. */
  pressed(event: KeyboardEvent): boolean {
    const box = this.#aimed;
    if (box === null || (!this.#picked && this.#session.state.armed !== null)) return false;
    const { key, shiftKey } = event;
    const label = shiftKey ? undefined : this.#choosable()[positionOf(event)];
    if (label !== undefined && (this.#picked || label.id !== box.label)) {
      this.#editByKey(box, label.id);
      return true;
    }
    if (key === "Delete" || key === "Backspace") {
      const picked = this.#picked;
      this.edit(box, null);
      if (picked) this.pick(1);
      return true;
    }
    if (!this.#picked) return false;
    if (key === "Escape") {
      this.aim(null);
      return true;
    }
    const step = STEPS_OF_ARROWS[key];
    if (step === undefined) return false;
    const by = 1 / (this.#session.host.placement()?.scale ?? 1);
    const [x1, y1, x2, y2] = box.points;
    const [dx, dy] = [step[0] * by, step[1] * by];
    const points: Corners = shiftKey
      ? [Math.min(x1 + dx, x2 - by), Math.min(y1 + dy, y2 - by), x2, y2]
      : [x1, y1, Math.max(x2 + dx, x1 + by), Math.max(y2 + dy, y1 + by)];
    this.#editByKey(box, box.label, points);
    return true;
  }

  /** Go to another box: the least sure one in view first, and those out of view at last. */
  next(by: -1 | 1): Shown | null {
    if (this.#aimed === null || this.#round[this.#at] !== this.#aimed) {
      const { offered } = this.#boxes;
      const inView = new Set(offered.filter(this.#boxes.inView()));
      this.#round = [...offered].sort(
        (a, b) =>
          Number(inView.has(b)) - Number(inView.has(a)) ||
          Number(a.sure) - Number(b.sure) ||
          a.score - b.score,
      );
      this.#at = by > 0 ? -1 : 0;
    }
    const { length } = this.#round;
    this.#at = (this.#at + by + length) % length;
    return this.#round[this.#at] ?? null;
  }

  /** Go to another box; keys are for it then. */
  pick(by: -1 | 1): void {
    const box = this.next(by);
    this.menu.close();
    if (box) this.#session.host.show(centreOf(box));
    this.#pick(box);
  }

  /** Mark a box, for which keys are; its words stand beside a point of the picture. */
  aim(box: Shown | null, point: Point | null = null): void {
    if (box !== this.#aimed) {
      this.#aimed = box;
      this.#preview.hover(box);
    }
    this.#picked = false;
    this.tip.hide();
    if (box && point) this.#showTip(box, point, this.#session.state.armed === null ? 0 : REST_MS);
  }

  /** The picture was moved: only a box that a key went to is still meant. */
  placementChanged(): void {
    if (this.#picked) this.#placeTip();
    else if (this.menu.isOpen || this.#aimed) this.close();
  }

  /** Once the boxes have changed, find the one that keys are for again, where mouse or cursor is. */
  follow(cursor: Point | null): void {
    const boxes = this.#boxes.hidden ? [] : this.#boxes.offered;
    const known = this.#known;
    if (boxes.length === known.length && boxes.every((box, i) => isAlike(box, known[i]))) return;
    this.#known = boxes;
    const aimed = this.#aimed;
    if (aimed && this.#picked) {
      const alike = boxes.filter(({ points }) => areSame(points, aimed.points));
      this.#pick(alike.find(({ label }) => label === aimed.label) ?? alike[0] ?? null);
    } else if (this.#pull || this.menu.isOpen) {
      if (aimed && !boxes.some((box) => isAlike(box, aimed))) this.aim(null);
    } else if (cursor) {
      this.aim(this.#boxes.editableAt(cursor), cursor);
    } else {
      const placement = this.#session.host.placement();
      this.hovered(this.#mouse && placement && toPicture(placement, this.#mouse));
    }
    // After the answer to a click, the next object is looked for.
    if (this.#session.state.armed !== null && !this.#picked) this.tip.hide();
  }

  close(): void {
    this.stop();
    this.aim(null);
  }

  /** End what the mouse does to a box; what keys are for stays. */
  stop(): void {
    this.menu.close();
    this.#pull = null;
  }

  edit({ color, look, present, ...proposal }: Shown, label: number | null, points?: Corners): void {
    this.aim(null);
    this.#session.do({ type: "edited", edit: { proposal, label, ...(points && { points }) } });
  }

  /** Change a box by a key; the keys are for what it has become, then. */
  #editByKey(box: Shown, label: number, points = box.points): void {
    const picked = this.#picked;
    this.edit(box, label, points);
    const same = (other: Shown) => other.label === label && areSame(other.points, points);
    const edited = this.#boxes.shown.find(same) ?? null;
    if (picked) this.#pick(edited);
    else if (edited) {
      this.aim(edited);
      this.#placeTip();
    }
  }

  #pick(box: Shown | null): void {
    this.aim(box);
    this.#picked = box !== null;
    this.#placeTip();
  }

  #rest(point: Point | null): void {
    const placement = this.#session.host.placement();
    this.#mouse = point && placement && toScreen(placement, point);
  }

  #placeTip(): void {
    if (this.#aimed) this.#showTip(this.#aimed, [this.#aimed.points[2], this.#aimed.points[1]]);
  }

  /** The box whose edges are at a point, the smallest one; none is so small that a click is meant. */
  #edgesAt(point: Point): Pull | null {
    const placement = this.#session.host.placement();
    if (placement === null || this.#boxes.hidden) return null;
    const { scale } = placement;
    let found: Pull | null = null;
    for (const proposal of this.#boxes.offered) {
      if (shortSideOf(proposal) * scale < SMALLEST_PULLED_PIXELS) continue;
      if (found !== null && areaOf(found.proposal) <= areaOf(proposal)) continue;
      const edges = edgesAt(proposal, point, EDGE_PIXELS / scale);
      if (edges.length > 0) found = { proposal, edges };
    }
    return found;
  }

  /** A box with edges pulled to a point, not beyond the picture. */
  #stretch({ proposal, edges }: Pull, point: Point): Box {
    const placement = this.#session.host.placement();
    return stretched(proposal, edges, placement ? insideOf(placement, point) : point);
  }

  /** The labels that a box may have, those first that can be clicked: their digits are the same. */
  #choosable(): readonly TaskLabel[] {
    const { labels, others } = this.#session.classes;
    return [...labels, ...others];
  }

  #openMenu(proposal: Shown, point: Point): void {
    const { host } = this.#session;
    const placement = host.placement();
    const label = this.#session.labelOf(proposal.label);
    if (placement === null || label === undefined) return;
    this.tip.hide();
    const choice = {
      title: this.#describe(label, proposal),
      label,
      labels: this.#choosable(),
      choose: (chosen: number | null) =>
        host.safely(() => {
          this.#preview.hover(null);
          if (chosen !== proposal.label) this.edit(proposal, chosen);
        }),
    };
    this.menu.open(choice, toScreen(placement, point));
  }

  #showTip(box: Shown, point: Point, after = 0): void {
    const [label, placement] = [this.#session.labelOf(box.label), this.#session.host.placement()];
    if (label && placement)
      this.tip.show(label, this.#describe(label, box), toScreen(placement, point), after);
  }

  #describe(label: TaskLabel, { score, sure, rival }: Shown): string {
    const other = rival && this.#session.labelOf(rival.label);
    const or = rival && other ? ` or ${other.name} ${rival.score.toFixed(2)}` : "";
    return `${label.name} ${score.toFixed(2)}${or}${sure ? " · yours" : ""}`;
  }
}

/** Whether a box is shown as another was; each look at CVAT's scene makes them anew. */
function isAlike(one: Shown, other: Shown | undefined): boolean {
  if (other === undefined) return false;
  const { label, score, sure, points } = other;
  return (
    one.label === label && one.score === score && one.sure === sure && areSame(one.points, points)
  );
}

function areSame(one: Corners, other: Corners): boolean {
  return one.every((value, i) => value === other[i]);
}
