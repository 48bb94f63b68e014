import { beforeEach, describe, expect, test, vi } from "vitest";
import { BoxEditor } from "../../src/ts/box_editor";
import { Boxes } from "../../src/ts/boxes";
import type { Host } from "../../src/ts/cvat/host";
import type { Preview } from "../../src/ts/preview";
import { Session } from "../../src/ts/session";
import type { Proposal } from "../../src/ts/state";
import { answer, SCENE, show } from "./scene";

vi.mock("../../src/ts/panel/popups", () => ({
  Tip: class {
    text = "";
    after = 0;
    show = (_: unknown, text: string, _at: unknown, after: number) => {
      this.text = text;
      this.after = after;
    };
    hide = () => {
      this.text = "";
    };
  },
  Menu: class {
    isOpen = false;
    open = () => {
      this.isOpen = true;
    };
    close = () => {
      this.isOpen = false;
    };
  },
}));

const key = (name: string) =>
  ({ key: name, code: `Digit${name}`, shiftKey: false }) as unknown as KeyboardEvent;

function proposal(x: number, score = 0.5): Proposal {
  return { points: [x, 0, x + 10, 10], rotation: 0, label: 1, score, sure: false, rival: null };
}

describe("the box that keys are for", () => {
  const placement = {
    canvasLeft: 0,
    canvasTop: 0,
    left: 0,
    top: 0,
    width: 200,
    height: 100,
    scale: 1,
    angle: 0,
  };
  let left: number;
  let session: Session;
  let boxes: Boxes;
  let editor: BoxEditor;

  const answered = (...proposals: Proposal[]) => {
    session.do({ type: "exemplars changed" });
    answer(session, proposals);
  };
  const offered = () => boxes.offered.map(({ points, label }) => [points[0], label]);
  const text = () => Reflect.get(editor.tip, "text") as string;

  beforeEach(() => {
    left = 0;
    const host: Partial<Host> = {
      placement: () => ({ ...placement, left }),
      visible: () => ({ left: 0, top: 0, right: 200, bottom: 100 }),
      arm: () => {},
      show: () => {},
      showGrip: () => {},
    };
    session = new Session(host as Host, () => {
      boxes.update();
      editor.follow(null);
    });
    boxes = new Boxes(session);
    editor = new BoxEditor(session, boxes, { hover: () => {} } as unknown as Preview);
    show(session);
    session.do({ type: "asked" });
    answered(proposal(0), proposal(50));
  });

  test("after an undo it is the one under the mouse, which was not moved", () => {
    editor.hovered([5, 5]);
    expect(editor.pressed(key("Delete"))).toBe(true);
    expect(offered()).toEqual([[50, 1]]);
    expect(editor.pressed(key("Delete"))).toBe(false);
    for (let i = 0; i < 2; i += 1) {
      session.do({ type: "undone" });
      expect(text()).toBe("label 1 0.50");
      expect(editor.pressed(key("2"))).toBe(true);
      expect(offered()).toEqual([
        [0, 2],
        [50, 1],
      ]);
    }
  });

  test("after an answer too, and what lay under a box that was dropped", () => {
    editor.hovered([105, 5]);
    expect(editor.pressed(key("Delete"))).toBe(false);
    answered(proposal(100), { ...proposal(98), points: [98, 0, 130, 30] });
    expect(editor.pressed(key("Delete"))).toBe(true);
    expect(offered()).toEqual([[98, 1]]);
    expect(editor.pressed(key("Delete"))).toBe(true);
    expect(offered()).toEqual([]);
  });

  test("it is looked for where the mouse is on the screen, and not once the mouse has left", () => {
    editor.hovered([5, 5]);
    left = -50;
    editor.placementChanged();
    answered(proposal(0), proposal(50, 0.6));
    editor.pressed(key("Delete"));
    expect(offered()).toEqual([[0, 1]]);
    editor.hovered(null);
    session.do({ type: "undone" });
    expect(editor.pressed(key("Delete"))).toBe(false);
  });

  test("its words wait while a label is armed, and do not come with an answer", () => {
    const words = () => [text(), Reflect.get(editor.tip, "after")];
    editor.hovered([5, 5]);
    expect(words()).toEqual(["label 1 0.50", 0]);
    session.do({ type: "armed", label: 1 });
    editor.hovered([6, 5]);
    expect(words()).toEqual(["label 1 0.50", 500]);
    answered(proposal(0), proposal(50, 0.6));
    expect(text()).toBe("");
    // A key asks for them.
    editor.pick(1);
    expect(words()).toEqual(["label 1 0.50", 0]);
    answered(proposal(0), proposal(50, 0.7));
    expect(text()).toBe("label 1 0.50");
  });

  test("nothing is looked for while the boxes stay, or under an open menu", () => {
    editor.hovered([5, 5]);
    editor.close();
    session.changed();
    // The same boxes, made anew.
    session.scene = { ...SCENE, rectangles: [] };
    session.changed();
    expect(editor.pressed(key("Delete"))).toBe(false);
    editor.clicked([5, 5], "left");
    answered(proposal(0), proposal(50, 0.6));
    expect(editor.pressed(key("Delete"))).toBe(false);
  });

  test("one that a key went to is not left for the one under the mouse", () => {
    answered(proposal(0), proposal(50, 0.4));
    editor.hovered([5, 5]);
    editor.pick(1);
    answered(proposal(0), proposal(50, 0.3));
    expect(editor.pressed(key("2"))).toBe(true);
    session.do({ type: "undone" });
    expect(text()).toBe("label 1 0.30");
    expect(editor.pressed(key("2"))).toBe(true);
    expect(offered()).toEqual([
      [0, 1],
      [50, 2],
    ]);
    // It is gone: the mouse was not where the keys were.
    answered(proposal(0));
    session.do({ type: "undone" });
    expect(editor.pressed(key("ArrowRight"))).toBe(false);
  });
});
