// What unit tests of the plugin's parts share: a scene, and a function that answers for it.

import type { Scene } from "../../src/ts/cvat/host";
import type { Session } from "../../src/ts/session";
import type { Proposal } from "../../src/ts/state";

/** A frame without rectangles, in a job with two labels and an open function. */
export const SCENE: Scene = {
  jobId: 1,
  frame: 0,
  frames: [0],
  saved: new Map(),
  labels: [1, 2].map((id) => ({ id, name: `label ${id}`, color: "red" })),
  otherLabels: [],
  models: [{ id: "open", name: "open", classes: [] }],
  absence: null,
  rectangles: [],
  elsewhere: [],
  points: [],
  ids: new Set(),
  depth: 0,
  redoable: false,
  busy: false,
  removed: false,
};

/** The scene is on the screen. */
export function show(session: Session, scene = SCENE): void {
  session.scene = scene;
  session.chooseClasses(scene);
  session.do({ type: "frame shown", frame: scene.frame });
}

/** The clicks of the frame are sent, and answered. */
export function answer(session: Session, proposals: readonly Proposal[]): void {
  session.reduce({ type: "sent" });
  const id = session.state.requests;
  session.do({ type: "answered", id, proposals, notes: [], progress: 1, threshold: 0.1 });
}

/** Storage of a browser that takes so many characters. */
export function storage(most = Number.POSITIVE_INFINITY) {
  const items = new Map<string, string>();
  const sizeWithout = (key: string) =>
    [...items].reduce((sum, [other, value]) => sum + (other === key ? 0 : value.length), 0);
  return {
    get length() {
      return items.size;
    },
    key: (index: number) => [...items.keys()][index] ?? null,
    getItem: (key: string) => items.get(key) ?? null,
    setItem: (key: string, value: string) => {
      if (sizeWithout(key) + value.length > most) throw new Error("QuotaExceededError");
      items.set(key, value);
    },
    removeItem: (key: string) => void items.delete(key),
  };
}
