// The store of cvat-ui as the plugin meets it: its state, and thunks that change it.

import { Canvas } from "./canvas";
import type { Job, MLModel, ObjectState } from "./core";

export interface PluginEntry {
  name: string;
  destructor: () => void;
  globalStateDidUpdate?: (state: unknown) => void;
}

export interface State {
  annotation: {
    workspace: string;
    canvas: { instance: Canvas | null; activeControl: string; ready: boolean };
    job: { instance: Job | null; labels: Job["labels"] };
    player: {
      frame: { number: number; data: { deleted: boolean } };
      frameAngles: Record<number, number>;
    };
    annotations: {
      states: ObjectState[];
      /** Logic of the filters; here the names of the labels that are let through. */
      filters: readonly string[];
      activatedStateID: number | null;
      history: { undo: readonly unknown[]; redo: readonly unknown[] };
      /** Pages of 2.73 and later may have no current layer. */
      zLayer: { min: number; max: number; cur?: number };
    };
  };
  models: { interactors: MLModel[] };
  plugins: { current: Record<string, PluginEntry> };
}

let state: State = {
  annotation: {
    workspace: "Standard",
    canvas: { instance: null, activeControl: "cursor", ready: false },
    job: { instance: null, labels: [] },
    player: { frame: { number: 0, data: { deleted: false } }, frameAngles: {} },
    annotations: {
      states: [],
      filters: [],
      activatedStateID: null,
      history: { undo: [], redo: [] },
      zLayer: { min: 0, max: 0, cur: 0 },
    },
  },
  models: { interactors: [] },
  plugins: { current: {} },
};

const subscribers: (() => void)[] = [];

type Thunk = (dispatch: typeof store.dispatch, getState: () => State) => unknown;

export const store = {
  getState: (): State => state,
  subscribe: (subscriber: () => void): void => {
    subscribers.push(subscriber);
  },
  /** Run a thunk, or put in the place of parts of the state what a change says of them. */
  dispatch: (action: Thunk | ((state: State) => State) | unknown, plain = false): unknown => {
    if (typeof action !== "function") throw new Error(`not an action: ${JSON.stringify(action)}`);
    if (!plain) return action(store.dispatch, store.getState);
    state = action(state);
    for (const subscriber of subscribers) subscriber();
    for (const plugin of Object.values(state.plugins.current)) plugin.globalStateDidUpdate?.(state);
    return undefined;
  },
};

type Parts = { [K in keyof State["annotation"]]?: Partial<State["annotation"][K]> | string };

/** Change parts of the annotation's state. */
export function change(parts: Parts): void {
  store.dispatch((before: State): State => {
    const annotation: Record<string, unknown> = { ...before.annotation };
    for (const [name, part] of Object.entries(parts)) {
      const old = annotation[name] as object;
      annotation[name] = typeof part === "string" ? part : { ...old, ...part };
    }
    return { ...before, annotation: annotation as State["annotation"] };
  }, true);
}

const pictures = new Map<string, Promise<HTMLImageElement>>();

/** The picture of a frame, decoded. */
function pictureOf(job: Job, frame: number): Promise<HTMLImageElement> {
  const url = `/api/jobs/${job.id}/data?type=frame&quality=original&number=${frame}`;
  const loaded =
    pictures.get(url) ??
    (async () => {
      const image = new Image();
      image.src = url;
      await image.decode();
      return image;
    })();
  pictures.set(url, loaded);
  return loaded;
}

export function openJob(job: Job): void {
  const canvas = new Canvas();
  document.querySelector(".cvat-canvas-container")?.replaceChildren(canvas.html());
  canvas.fitCanvas();
  canvas
    .html()
    .addEventListener("canvas.canceled", () => change({ canvas: { activeControl: "cursor" } }));
  canvas.html().addEventListener("canvas.moved", (event) => {
    const { x, y, states } = (event as CustomEvent).detail;
    const found = (states as ObjectState[]).find(
      ({ points: [x1 = 0, y1 = 0, x2 = 0, y2 = 0] }) => x >= x1 && x <= x2 && y >= y1 && y <= y2,
    );
    if (!found || found.clientID === state.annotation.annotations.activatedStateID) return;
    change({ annotations: { activatedStateID: found.clientID } });
    canvas.activate(found.clientID);
  });
  canvas
    .html()
    .addEventListener("canvas.deactivated", () =>
      change({ annotations: { activatedStateID: null } }),
    );
  canvas.html().addEventListener("canvas.edited", async (event) => {
    const { state: moved, points } = (event as CustomEvent).detail;
    await job.annotations.move(moved.clientID, points, moved.frame);
    store.dispatch(fetchAnnotationsAsync());
  });
  change({ canvas: { instance: canvas }, job: { instance: job, labels: job.labels } });
}

export function closeJob(): void {
  state.annotation.canvas.instance?.destroy();
  document.querySelector(".cvat-canvas-container")?.replaceChildren();
  change({ canvas: { instance: null }, job: { instance: null, labels: [] } });
}

/** Read the frame's objects and the history anew. */
export function fetchAnnotationsAsync(): Thunk {
  return async () => {
    const { job, player, canvas, annotations } = state.annotation;
    if (job.instance === null) return;
    const { filters } = annotations;
    const states = await job.instance.annotations.get(player.frame.number, false, filters);
    const history = await job.instance.actions.get();
    change({ annotations: { states, history } });
    canvas.instance?.setup(null, states);
  };
}

export function changeFrameAsync(frame: number): Thunk {
  return async () => {
    const { job, canvas, player, annotations } = state.annotation;
    if (job.instance === null || canvas.instance?.mode() !== "idle") return;
    if (frame < job.instance.startFrame || frame > job.instance.stopFrame) return;
    const picture = await pictureOf(job.instance, frame);
    const states = await job.instance.annotations.get(frame, false, annotations.filters);
    const history = await job.instance.actions.get();
    const data = await job.instance.frames.get(frame);
    change({ player: { frame: { number: frame, data } }, annotations: { states, history } });
    canvas.instance.rotate(player.frameAngles[frame] ?? 0);
    canvas.instance.setup(picture, states);
  };
}

/** Undo or redo a step, on the frame where it was made. */
export function historyAsync(direction: "undo" | "redo"): Thunk {
  return async () => {
    const { job, annotations, player } = state.annotation;
    const last = annotations.history[direction].at(-1) as readonly [string, number] | undefined;
    if (job.instance === null || last === undefined) return;
    await job.instance.actions[direction]();
    const away = last[1] !== player.frame.number;
    await store.dispatch(away ? changeFrameAsync(last[1]) : fetchAnnotationsAsync());
  };
}

export function rotateFrame(by: number): void {
  const { canvas, player } = state.annotation;
  const frame = player.frame.number;
  const angle = ((player.frameAngles[frame] ?? 0) + by + 360) % 360;
  change({ player: { frameAngles: { ...player.frameAngles, [frame]: angle } } });
  canvas.instance?.rotate(angle);
  canvas.instance?.fit();
}
