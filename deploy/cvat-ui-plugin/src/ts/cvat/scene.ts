// The scene of CVAT's state: what is on the screen, as values.

import type { GlobalState, Job, Label, MLModel, ObjectState, SavedShape } from "./cvat";
import type { KnownRectangle, Rectangle, Scene } from "./host";

/** Functions that speak the protocol have this in their id or their name. */
const SPEAKS_PROTOCOL = /c3det/i;

export function isOurs({ id, name, kind }: MLModel): boolean {
  return kind === "interactor" && (SPEAKS_PROTOCOL.test(String(id)) || SPEAKS_PROTOCOL.test(name));
}

export function sceneOf(
  job: Job,
  { job: { labels, frameNumbers }, canvas, player, annotations }: GlobalState["annotation"],
  filtered: readonly ObjectState[],
  models: readonly MLModel[],
  absence: string | null,
): Omit<Scene, "elsewhere" | "saved"> {
  const shapes = annotations.states.filter(({ outside }) => !outside);
  const unseen = new Set(filtered.filter(({ outside }) => !outside));
  return {
    jobId: job.id,
    frame: player.frame.number,
    frames: framesOf(job, frameNumbers),
    labels: labels.filter(takesRectangles).map(({ id, name, color }) => ({
      id: id as number,
      name,
      color: color ?? "#ffffff",
    })),
    otherLabels: labels
      .filter((label) => !takesRectangles(label))
      .map(({ name, color, type }) => ({
        name,
        color: color ?? "#ffffff",
        reason: type === undefined ? "not saved yet" : `${type} only`,
      })),
    absence,
    models: models.map(({ id, name, labels: classes }) => ({
      id: String(id),
      name,
      classes: (classes ?? []).map((label) => label.name),
    })),
    rectangles: [...shapes, ...unseen].filter(isShape("rectangle")).map((shape) => ({
      points: cornersOf(shape.points ?? []),
      rotation: shape.rotation ?? 0,
      label: shape.label.id as number,
      clientId: shape.clientID,
      source: shape.source ?? "manual",
      locked: shape.lock === true,
      hidden: shape.hidden === true || unseen.has(shape),
      tracked: shape.objectType !== "shape",
    })),
    points: shapes.filter(isShape("points")).flatMap(({ points, label }) => {
      const numbers = points ?? [];
      return Array.from({ length: numbers.length >> 1 }, (_, i) => ({
        x: numbers[2 * i] as number,
        y: numbers[2 * i + 1] as number,
        label: label.id as number,
        positive: true,
      }));
    }),
    ids: new Set([...annotations.states, ...filtered].flatMap(({ clientID }) => clientID ?? [])),
    depth: annotations.history.undo.length,
    redoable: annotations.history.redo.length > 0,
    busy: canvas.activeControl !== "cursor",
    removed: player.frame.data?.deleted === true,
  };
}

/** Jobs of chosen frames list their numbers, others have only the first and the last one. */
function framesOf({ startFrame, stopFrame }: Job, numbers: unknown): readonly number[] {
  if (Array.isArray(numbers) && numbers.length > 0) return numbers.filter(Number.isInteger);
  if (startFrame === undefined || stopFrame === undefined) return [];
  return Array.from({ length: stopFrame - startFrame + 1 }, (_, i) => startFrame + i);
}

/** The layer of new objects: versions without a selector of layers have no current one. */
export function layerOf({ cur, max }: GlobalState["annotation"]["annotations"]["zLayer"]): number {
  return [cur, max].find(Number.isInteger) ?? 0;
}

function takesRectangles({ id, type }: Label): boolean {
  return id !== undefined && (type === undefined || type === "any" || type === "rectangle");
}

function isShape(type: string): (state: ObjectState) => boolean {
  return ({ objectType, shapeType }) => objectType !== "tag" && shapeType === type;
}

export function rectangleOf({ points, rotation, label_id, source }: SavedShape): KnownRectangle {
  return {
    points: cornersOf(points),
    rotation: rotation ?? 0,
    label: label_id,
    source: source ?? "manual",
  };
}

function cornersOf(points: readonly number[]): Rectangle["points"] {
  const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = points;
  return [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
}
