// A click where one was made before: what it becomes, and the places of clicks.
//
// A click that is repeated at the very same point asks an open function for the next likeliest box there.
// It stands among the frame's clicks as often as it was made; undo takes one of them back.

import type { Click, Clicks } from "./state";
import { groupsOf } from "./values";

/** How near an earlier click has to be to be repeated, in pixels of the screen. */
const REPEAT_PIXELS = 4;
/** How near the last click has to be, where there are no repeats: then one more is none. */
const SAME_POINT_PIXELS = 2;
/** The second half of a double click, as systems take it, is no click of its own. */
const DOUBLE_CLICK_MS = 500;

/** A click, and how often it was made: of one label and sign, at the very same point. */
interface Place {
  readonly click: Click;
  readonly times: number;
}

/**
 * What a click becomes after the earlier ones of its frame; null: it is none.
 *
 * @param scale Screen pixels per pixel of the picture.
 * @param sinceLast Milliseconds since the last click.
 * @param repeats Whether the function has another box for a repeat. Only positive clicks are repeated.
 */
export function clickAfter(
  earlier: Clicks,
  click: Click,
  { scale, sinceLast, repeats }: { scale: number; sinceLast: number; repeats: boolean },
): Click | null {
  const isAlike = ({ label, positive }: Click) =>
    label === click.label && positive === click.positive;
  const away = ({ x, y }: Click) => Math.hypot(x - click.x, y - click.y) * scale;
  const last = earlier.at(-1);
  const fromLast = last && isAlike(last) ? away(last) : Number.POSITIVE_INFINITY;
  if (!repeats || !click.positive) return fromLast < SAME_POINT_PIXELS ? null : click;
  if (fromLast <= REPEAT_PIXELS && sinceLast < DOUBLE_CLICK_MS) return null;
  const near = earlier.filter((one) => isAlike(one) && away(one) <= REPEAT_PIXELS);
  const { x, y } = near.sort((a, b) => away(a) - away(b))[0] ?? click;
  return { ...click, x, y };
}

/** The places of clicks, in the order of their first ones. */
export function placesOf(clicks: Clicks): readonly Place[] {
  const groups = groupsOf(clicks, ({ x, y, label, positive }) => [x, y, label, positive].join(" "));
  return [...groups.values()].flatMap(([click, ...repeats]) =>
    click ? [{ click, times: 1 + repeats.length }] : [],
  );
}
