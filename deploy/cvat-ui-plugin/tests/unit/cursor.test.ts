import { beforeEach, describe, expect, test } from "vitest";
import { Cursor } from "../../src/ts/cursor";
import type { Host } from "../../src/ts/cvat/host";
import type { Placement, Point } from "../../src/ts/geometry";

const key = (name: string, modifiers: object = {}) =>
  ({
    key: name,
    shiftKey: false,
    ctrlKey: false,
    altKey: false,
    metaKey: false,
    repeat: false,
    ...modifiers,
  }) as KeyboardEvent;

describe("the cursor that keys move", () => {
  // A picture of 200 x 100 pixels, twice as large on the screen, from (0, 0) to (400, 200).
  const flat = {
    canvasLeft: 0,
    canvasTop: 0,
    left: 100,
    top: 50,
    width: 200,
    height: 100,
    scale: 2,
  };
  let placement: Placement;
  let view: { left: number; top: number; right: number; bottom: number };
  let clicks: (readonly [Point, string, number])[];
  let zooms: (readonly [Point, number])[];
  let cursor: Cursor;

  beforeEach(() => {
    placement = { ...flat, angle: 0 };
    view = { left: 0, top: 0, right: 400, bottom: 200 };
    clicks = [];
    zooms = [];
    const host: Partial<Host> = {
      placement: () => placement,
      visible: () => view,
      // This CVAT does not move its picture.
      show: () => {},
      zoom: (at, by) => zooms.push([at, by]),
    };
    cursor = new Cursor(host as Host, {
      moved: () => {},
      clicked: (point, button, at) => clicks.push([point, button, at]),
    });
  });

  test("it takes no key before it is on, and none after it ended", () => {
    expect(cursor.pressed(key("ArrowLeft"))).toBe(false);
    cursor.start();
    expect(cursor.point).toEqual([100, 50]);
    cursor.end();
    expect(cursor.point).toBeNull();
    expect(cursor.pressed(key(" "))).toBe(false);
    expect(clicks).toEqual([]);
  });

  test("arrows go in steps of the screen, further with Shift and by one pixel with Ctrl or Alt", () => {
    cursor.start();
    for (const [name, modifiers, to] of [
      ["ArrowLeft", {}, [96, 50]],
      ["ArrowUp", { shiftKey: true }, [96, 18]],
      ["ArrowDown", { ctrlKey: true }, [96, 18.5]],
      ["ArrowRight", { altKey: true }, [96.5, 18.5]],
    ] as const) {
      expect(cursor.pressed(key(name, modifiers))).toBe(true);
      expect(cursor.point).toEqual(to);
    }
  });

  test("in a turned picture the arrows still point on the screen", () => {
    placement = { ...flat, angle: 90 };
    cursor.start();
    cursor.pressed(key("ArrowRight"));
    // A clockwise quarter turn: what is up in the picture is at the right.
    expect(cursor.point).toEqual([100, 46]);
  });

  test("it stays in the picture and, where that cannot be moved, in view", () => {
    cursor.start();
    for (let i = 0; i < 10; i += 1) cursor.pressed(key("ArrowUp", { shiftKey: true }));
    expect(cursor.point).toEqual([100, 0]);
    view = { left: 0, top: 0, right: 300, bottom: 200 };
    for (let i = 0; i < 10; i += 1) cursor.pressed(key("ArrowRight", { shiftKey: true }));
    expect(cursor.point).toEqual([150, 0]);
  });

  test("Space clicks, once however long it is held, and Shift+Space says that none is there", () => {
    cursor.start();
    cursor.pressed(key(" ", { timeStamp: 7 }));
    cursor.pressed(key(" ", { timeStamp: 8, repeat: true }));
    cursor.pressed(key(" ", { timeStamp: 9, shiftKey: true }));
    expect(clicks).toEqual([
      [[100, 50], "left", 7],
      [[100, 50], "right", 9],
    ]);
  });

  test("Z zooms where it is; the keys of others are left alone", () => {
    cursor.start();
    cursor.pressed(key("z"));
    cursor.pressed(key("Z", { shiftKey: true }));
    expect(zooms).toEqual([
      [[200, 100], 1],
      [[200, 100], -1],
    ]);
    for (const other of [key("z", { ctrlKey: true }), key("f"), key("Enter"), key("1")])
      expect(cursor.pressed(other)).toBe(false);
  });

  test("it starts where it ended, if that is in view", () => {
    cursor.start();
    cursor.moveTo([20, 30]);
    cursor.end();
    cursor.start();
    expect(cursor.point).toEqual([20, 30]);
    cursor.end();
    view = { left: 200, top: 0, right: 400, bottom: 200 };
    cursor.start();
    expect(cursor.point).toEqual([150, 50]);
  });
});
