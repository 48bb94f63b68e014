// What the panel shows of the session.

import type { Acceptance } from "./acceptance";
import type { Boxes } from "./boxes";
import type { Scene } from "./cvat/host";
import type { FrameStatus, PanelView } from "./panel/view";
import { placesOf } from "./repeats";
import type { Requests } from "./requests";
import type { Session } from "./session";
import {
  type Click,
  canRedo,
  canUndo,
  entryOf,
  isAnswered,
  isAwaited,
  isPending,
  newClicksOf,
  thresholdOf,
} from "./state";
import type { Thresholds } from "./thresholds";

const REMOVED = "CVAT has this frame as removed: nothing is proposed on it.";

/** The parts of the plugin that the panel speaks of. */
export interface Parts {
  readonly session: Session;
  readonly boxes: Boxes;
  readonly requests: Requests;
  readonly acceptance: Acceptance;
  readonly thresholds: Thresholds;
}

export function viewOf(
  scene: Scene,
  { session, boxes, requests, acceptance, thresholds }: Parts,
  hasCursor: boolean,
): PanelView {
  const { model, classes, state, frame } = session;
  const counts = new Map<number, number>();
  for (const { label } of boxes.shown) counts.set(label, (counts.get(label) ?? 0) + 1);
  const { clicks, edits } = entryOf(frame);
  const newPlaces = placesOf(newClicksOf(frame)).length;
  const { armed } = state;
  const { offered } = boxes;
  const { exemplars } = requests;
  const trouble = frame.trouble?.clicks === clicks ? frame.trouble : null;
  return {
    models: scene.models,
    model,
    labels: classes.labels,
    mapping: scene.labels.map((label) => ({
      label,
      className: model.classes[classes.classOf(label.id) ?? -1] ?? "",
    })),
    otherLabels: scene.otherLabels,
    counts,
    armed,
    hasCursor,
    threshold: thresholdOf(state, thresholds.own ? armed : null),
    moved: thresholds.moved,
    modelThreshold: state.modelThreshold,
    thresholds: state.thresholds,
    own: thresholds.own,
    hiddenLabels: boxes.hiddenLabels,
    clicks: newPlaces,
    earlierClicks: placesOf(clicks).length - newPlaces,
    canSearch: requests.canSearch && !(frame.open && isAnswered(frame)),
    frame: scene.frame,
    frames: scene.frames.map((number) => [number, statusOf(number, scene, session, boxes)]),
    asksByItself: requests.asksByItself,
    begun: requests.worked.length > 0,
    sources: [...requests.sources]
      .sort((a, b) => a - b)
      .map((number) => [number, exemplars.isUsed(String(number))]),
    exemplars: exemplars.known(scene.frame, requests.work(scene)).flatMap((one) => {
      const label = session.labelOf(one.label);
      const { id, frame: number, positive, thumbnail } = one;
      const used = exemplars.isUsed(id);
      return label ? [{ id, frame: number, label, positive, thumbnail, used }] : [];
    }),
    canUndo: canUndo(frame),
    canRedo: canRedo(frame),
    canClear: clicks.length + edits.length + boxes.shown.length + boxes.hiddenByLabel > 0,
    takeable: takeable(session).length,
    askedAt: requests.since,
    progress: frame.partial?.clicks === clicks ? frame.partial.progress : null,
    trouble: session.notice
      ? { ...session.notice, again: false }
      : trouble && {
          failed: trouble.kind !== "cancelled",
          message: trouble.message,
          again: true,
        },
    notes: scene.removed ? [REMOVED] : frame.shown.notes,
    awaited: isAwaited(state),
    waiting: state.waiting,
    elsewhere: scene.elsewhere.length,
    acceptable: offered.length,
    acceptableOfArmed: offered.filter(({ label }) => label === armed).length,
    acceptableHidden: boxes.hiddenByLabel,
    present: boxes.shown.length - offered.length,
    accepting: acceptance.running,
    hidden: boxes.hidden,
  };
}

/** The frame's points that are no clicks yet; several at one place are no repeats, but one click. */
export function takeable({ scene, classes, frame }: Session): readonly Click[] {
  if (scene?.removed) return [];
  const { clicks } = entryOf(frame);
  const points = (scene?.points ?? []).filter(
    ({ x, y, label }) =>
      classes.classOf(label) !== undefined &&
      !clicks.some((click) => click.x === x && click.y === y && click.label === label),
  );
  return placesOf(points).map(({ click }) => click);
}

function statusOf(number: number, scene: Scene, session: Session, boxes: Boxes): FrameStatus {
  if (session.removed.has(number)) return "removed";
  const frame = session.state.frames.get(number);
  const offered = number === scene.frame && boxes.offered.length > 0;
  if (offered || (frame && isPending(frame))) return "waiting";
  if (session.isDone(number)) return "done";
  return frame && frame.shown.proposals.length > 0 ? "waiting" : "untouched";
}
