// Where things are: points, boxes, and the canvas between the picture and the screen.
//
// Points of the picture are (x, y) in its pixels, from its top left corner; pixel (0, 0) covers
// [0, 1) x [0, 1). Points of the screen are in CSS pixels of the window. A box is given by its
// unrotated corners and a clockwise angle about its centre, as CVAT gives rectangles.

export type Point = readonly [x: number, y: number];

/** Corners of a box before it is rotated, in pixels of the picture: x1 <= x2, y1 <= y2. */
export type Corners = readonly [x1: number, y1: number, x2: number, y2: number];

export interface Box {
  readonly points: Corners;
  /** Degrees clockwise about the centre, 0 to 360. */
  readonly rotation: number;
}

/** An upright rectangle of the screen. */
export interface Area {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** Place of the picture on the screen. */
export interface Placement {
  /** Left and top of the canvas element in the window. */
  readonly canvasLeft: number;
  readonly canvasTop: number;
  /** Left and top of the picture in the canvas element, before it is scaled and rotated. */
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  /** Screen pixels per pixel of the picture. */
  readonly scale: number;
  /** Degrees clockwise about the picture's centre. */
  readonly angle: number;
}

const RADIANS = Math.PI / 180;

/** Rotate a point clockwise (y points down) about a centre. */
function rotate([x, y]: Point, [cx, cy]: Point, degrees: number): Point {
  const quarter = degrees / 90;
  // Quarter turns, the only ones of CVAT's canvas, are exact.
  const [cos, sin] = Number.isInteger(quarter)
    ? ([
        [1, 0],
        [0, 1],
        [-1, 0],
        [0, -1],
      ][((quarter % 4) + 4) % 4] as [number, number])
    : [Math.cos(degrees * RADIANS), Math.sin(degrees * RADIANS)];
  return [cx + cos * (x - cx) - sin * (y - cy), cy + sin * (x - cx) + cos * (y - cy)];
}

/** The point of the picture under a point of the screen. */
export function toPicture(placement: Placement, [x, y]: Point): Point {
  const centre: Point = [placement.width / 2, placement.height / 2];
  const fromCentre: Point = [
    (x - placement.canvasLeft - placement.left - centre[0]) / placement.scale,
    (y - placement.canvasTop - placement.top - centre[1]) / placement.scale,
  ];
  return rotate([fromCentre[0] + centre[0], fromCentre[1] + centre[1]], centre, -placement.angle);
}

/** The point of the screen where a point of the picture is shown. */
export function toScreen(placement: Placement, point: Point): Point {
  const centre: Point = [placement.width / 2, placement.height / 2];
  const [x, y] = rotate(point, centre, placement.angle);
  return [
    placement.canvasLeft + placement.left + centre[0] + (x - centre[0]) * placement.scale,
    placement.canvasTop + placement.top + centre[1] + (y - centre[1]) * placement.scale,
  ];
}

/** Whether a point lies in a picture; its edges belong to it. */
export function isInside(placement: Placement, [x, y]: Point): boolean {
  return x >= 0 && y >= 0 && x <= placement.width && y <= placement.height;
}

/** The point of a picture that is nearest to a point. */
export function insideOf({ width, height }: Placement, [x, y]: Point): Point {
  return [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)];
}

/** Whether a point of the screen lies in an area; its edges belong to it. */
export function isWithin({ left, top, right, bottom }: Area, [x, y]: Point): boolean {
  return x >= left && x <= right && y >= top && y <= bottom;
}

/** Whether all of a picture lies in an area of the screen, but for less than a pixel. */
export function isInView(placement: Placement, { left, top, right, bottom }: Area): boolean {
  const area = { left: left - 1, top: top - 1, right: right + 1, bottom: bottom + 1 };
  return cornersOf(placement).every((corner) => isWithin(area, corner));
}

/** The point in the middle of an area of the screen. */
export function middleOf({ left, top, right, bottom }: Area): Point {
  return [(left + right) / 2, (top + bottom) / 2];
}

/** Where the corners of a picture are on the screen. */
function cornersOf(placement: Placement): readonly Point[] {
  const { width, height } = placement;
  return polygonOf({ points: [0, 0, width, height], rotation: 0 }).map((corner) =>
    toScreen(placement, corner),
  );
}

/** The point of an area that is nearest to a point of the screen. */
export function clampedTo({ left, top, right, bottom }: Area, [x, y]: Point): Point {
  return [Math.min(Math.max(x, left), right), Math.min(Math.max(y, top), bottom)];
}

/**
 * How far the picture has to be moved on the screen, so that a point of it is in view: in pixels of
 * the screen, and not so far that there would be more room beside the picture than there is.
 *
 * @param margin Pixels of the screen that the point should be away from the view's edges.
 */
export function shiftInto(placement: Placement, view: Area, point: Point, margin: number): Point {
  const at = toScreen(placement, point);
  const corners = cornersOf(placement);
  const along = (axis: 0 | 1, low: number, high: number): number => {
    const ends = corners.map((corner) => corner[axis]);
    // What of the picture lies beyond the view on either side.
    const [before, after] = [low - Math.min(...ends), Math.max(...ends) - high];
    const room = Math.min(margin, (high - low) / 2);
    if (at[axis] < low + room) return Math.min(low + room - at[axis], Math.max(before, 0));
    if (at[axis] > high - room) return -Math.min(at[axis] - high + room, Math.max(after, 0));
    return 0;
  };
  return [along(0, view.left, view.right), along(1, view.top, view.bottom)];
}

/** The intersection of two areas of the screen. */
export function intersection(a: Area, b: Area): Area {
  return {
    left: Math.max(a.left, b.left),
    top: Math.max(a.top, b.top),
    right: Math.min(a.right, b.right),
    bottom: Math.min(a.bottom, b.bottom),
  };
}

/** The four corners of a box as it lies in the picture, clockwise. */
export function polygonOf(box: Box): readonly Point[] {
  const {
    points: [x1, y1, x2, y2],
    rotation,
  } = box;
  const corners: Point[] = [
    [x1, y1],
    [x2, y1],
    [x2, y2],
    [x1, y2],
  ];
  if (rotation % 360 === 0) return corners;
  return corners.map((corner) => rotate(corner, centreOf(box), rotation));
}

export function centreOf({ points: [x1, y1, x2, y2] }: Box): Point {
  return [(x1 + x2) / 2, (y1 + y2) / 2];
}

export function areaOf({ points: [x1, y1, x2, y2] }: Box): number {
  return (x2 - x1) * (y2 - y1);
}

/** The shorter side of a box, in pixels of the picture. */
export function shortSideOf({ points: [x1, y1, x2, y2] }: Box): number {
  return Math.min(x2 - x1, y2 - y1);
}

/** A box that reaches further by so many pixels of the picture on each side. */
export function grown({ points: [x1, y1, x2, y2], rotation }: Box, by: number): Box {
  return { points: [x1 - by, y1 - by, x2 + by, y2 + by], rotation };
}

/** Whether a box contains a point; its edges belong to it. */
export function contains(box: Box, point: Point): boolean {
  const [x1, y1, x2, y2] = box.points;
  const [x, y] = rotate(point, centreOf(box), -box.rotation);
  return x >= x1 && x <= x2 && y >= y1 && y <= y2;
}

/** An edge of a box, by the position of its number among the corners: x1, y1, x2 or y2. */
export type Edge = 0 | 1 | 2 | 3;

/**
 * The edges of a box that a point is on: one, or two at a corner, none elsewhere.
 *
 * @param within How far from the edge a point may lie, in pixels of the picture.
 */
export function edgesAt(box: Box, point: Point, within: number): readonly Edge[] {
  const [x1, y1, x2, y2] = box.points;
  const [x, y] = rotate(point, centreOf(box), -box.rotation);
  const outside = x < x1 - within || x > x2 + within || y < y1 - within || y > y2 + within;
  if (outside) return [];
  const away = [x - x1, y - y1, x - x2, y - y2].map(Math.abs) as [number, number, number, number];
  const across = ([0, 2] as const).filter((edge) => away[edge] <= within);
  const down = ([1, 3] as const).filter((edge) => away[edge] <= within);
  const nearest = <T extends Edge>(edges: readonly T[]): readonly T[] =>
    edges.length < 2
      ? edges
      : edges
          .filter((edge) => away[edge] === Math.min(...edges.map((each) => away[each])))
          .slice(0, 1);
  return [...nearest(across), ...nearest(down)];
}

/** A box with some edges moved to a point, the others where they were in the picture. */
export function stretched(box: Box, edges: readonly Edge[], point: Point): Box {
  const centre = centreOf(box);
  const [x, y] = rotate(point, centre, -box.rotation);
  const moved = box.points.map((value, i) =>
    edges.includes(i as Edge) ? (i % 2 === 0 ? x : y) : value,
  ) as unknown as [number, number, number, number];
  const [left, right] = [Math.min(moved[0], moved[2]), Math.max(moved[0], moved[2])];
  const [top, bottom] = [Math.min(moved[1], moved[3]), Math.max(moved[1], moved[3])];
  // A rotated box rotates about its own centre, which has moved along its own axes.
  const [cx, cy] = rotate([(left + right) / 2, (top + bottom) / 2], centre, box.rotation);
  const [w, h] = [(right - left) / 2, (bottom - top) / 2];
  return { points: [cx - w, cy - h, cx + w, cy + h], rotation: box.rotation };
}

/** The smallest of the boxes that contain a point, or null: small objects lie on large ones. */
export function smallestAt<T extends Box>(boxes: readonly T[], point: Point): T | null {
  let found: T | null = null;
  for (const box of boxes) {
    if (contains(box, point) && (found === null || areaOf(box) < areaOf(found))) found = box;
  }
  return found;
}

/** Share of the inner of two boxes from which the larger one is around it. */
const AROUND = 0.8;

/** Whether a box is a larger one around another. */
export function surrounds(larger: Box, smaller: Box): boolean {
  if (areaOf(smaller) >= areaOf(larger) || !contains(larger, centreOf(smaller))) return false;
  const union = overlap(smaller, larger);
  const common = (union * (areaOf(smaller) + areaOf(larger))) / (1 + union);
  return common >= AROUND * areaOf(smaller);
}

/** Intersection over union of two boxes, rotated ones included; 0 if both are empty. */
export function overlap(a: Box, b: Box): number {
  if (!circlesMeet(a, b)) return 0;
  const common = polygonArea(clip(polygonOf(a), polygonOf(b)));
  const union = areaOf(a) + areaOf(b) - common;
  return union > 0 ? common / union : 0;
}

/** A quick test: whether the circles around two boxes meet. */
function circlesMeet({ points: a }: Box, { points: b }: Box): boolean {
  const centres = Math.hypot(a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]) / 2;
  const radii = (Math.hypot(a[2] - a[0], a[3] - a[1]) + Math.hypot(b[2] - b[0], b[3] - b[1])) / 2;
  return centres < radii;
}

/** The intersection of a polygon with a convex one, by Sutherland and Hodgman (both clockwise). */
function clip(polygon: readonly Point[], convex: readonly Point[]): readonly Point[] {
  let clipped = polygon;
  for (let i = 0; i < convex.length && clipped.length > 0; i += 1) {
    const from = convex[i] as Point;
    const to = convex[(i + 1) % convex.length] as Point;
    // Positive to the right of the edge, which is inside when the corners go clockwise.
    const side = ([x, y]: Point) =>
      (to[0] - from[0]) * (y - from[1]) - (to[1] - from[1]) * (x - from[0]);
    const next: Point[] = [];
    clipped.forEach((corner, k) => {
      const previous = clipped[(k + clipped.length - 1) % clipped.length] as Point;
      const [before, here] = [side(previous), side(corner)];
      if (before < 0 !== here < 0) {
        const t = before / (before - here);
        next.push([
          previous[0] + t * (corner[0] - previous[0]),
          previous[1] + t * (corner[1] - previous[1]),
        ]);
      }
      if (here >= 0) next.push(corner);
    });
    clipped = next;
  }
  return clipped;
}

function polygonArea(polygon: readonly Point[]): number {
  let twice = 0;
  polygon.forEach(([x, y], k) => {
    const [nextX, nextY] = polygon[(k + 1) % polygon.length] as Point;
    twice += x * nextY - nextX * y;
  });
  return Math.abs(twice) / 2;
}
