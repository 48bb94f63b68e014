// The annotation page: CVAT around the plugin. The address names the job: ?job=1.

import { core, Job, type MLModel } from "./core";
import {
  change,
  changeFrameAsync,
  closeJob,
  fetchAnnotationsAsync,
  historyAsync,
  openJob,
  type PluginEntry,
  rotateFrame,
  type State,
  store,
} from "./store";

const $ = <T extends HTMLElement>(selector: string): T => document.querySelector(selector) as T;

// Names of the cvat interface to leave out, to be a version of CVAT that the plugin does not know.
const missing = new URLSearchParams(location.search).getAll("missing");

function without(root: object): object {
  const copy: Record<string, unknown> = { ...root };
  for (const path of missing) {
    const [first = "", ...rest] = path.split(".");
    let node = copy;
    let key = first;
    for (const part of rest) {
      node[key] = { ...(node[key] as object) };
      node = node[key] as Record<string, unknown>;
      key = part;
    }
    delete node[key];
  }
  return copy;
}

function takePlugins(): void {
  Object.defineProperty(window, "cvatUI", {
    value: Object.freeze({
      registerComponent: (builder: (given: object) => PluginEntry) => {
        const { core: given } = without({ core }) as { core: object };
        const plugin = builder({ dispatch: store.dispatch, core: given });
        store.dispatch(
          (state: State): State => ({
            ...state,
            plugins: { current: { ...state.plugins.current, [plugin.name]: plugin } },
          }),
          true,
        );
      },
    }),
  });
  document.dispatchEvent(new CustomEvent("plugins.ready", { bubbles: true }));
}

/** Once, as CVAT does: without an answer there are no models until the page is loaded again. */
async function fetchModels(): Promise<void> {
  const { models } = await core.lambda.list().catch(() => ({ models: [] }));
  const interactors = models.filter(({ kind }: MLModel) => kind === "interactor");
  store.dispatch((state: State): State => ({ ...state, models: { interactors } }), true);
}

function showState(): void {
  const { annotation, models } = store.getState();
  const { states, history } = annotation.annotations;
  $("#frame").textContent = String(annotation.player.frame.number);
  $("#count").textContent = String(states.length);
  $("#tool").textContent = annotation.canvas.activeControl;
  $("#undo").textContent = history.undo.map((step) => (step as string[])[0]).join(", ");
  $("#interactors").textContent = models.interactors.map(({ name }) => name).join(", ");
  $("#objects").replaceChildren(
    ...states.map(({ label, shapeType, source }) => {
      const item = document.createElement("li");
      item.textContent = `${label.name} · ${shapeType} · ${source}`;
      item.style.borderLeftColor = label.color;
      return item;
    }),
  );
}

function onKey(event: KeyboardEvent): void {
  if (event.target instanceof HTMLInputElement) return;
  const key = event.key.toLowerCase();
  if (["control", "shift", "alt", "meta"].includes(key)) return;
  const { player } = store.getState().annotation;
  const pressed = document.body.dataset;
  pressed.keys = `${pressed.keys ?? ""} ${event.ctrlKey ? "ctrl+" : ""}${key}`.trim();
  if (event.ctrlKey && key === "z") {
    event.preventDefault();
    store.dispatch(historyAsync(event.shiftKey ? "redo" : "undo"));
  } else if (event.ctrlKey && key === "r") {
    event.preventDefault();
    rotateFrame(event.shiftKey ? -90 : 90);
  } else if (event.ctrlKey && key === "s") {
    event.preventDefault();
    void store.getState().annotation.job.instance?.annotations.save();
  } else if (key === "f") store.dispatch(changeFrameAsync(player.frame.number + 1));
  else if (key === "d") store.dispatch(changeFrameAsync(player.frame.number - 1));
  else if (key === "n") {
    store.getState().annotation.canvas.instance?.draw();
    change({ canvas: { activeControl: "draw_rectangle" } });
  } else if (key === "escape") store.getState().annotation.canvas.instance?.cancel();
}

async function main(): Promise<void> {
  store.subscribe(showState);
  if (new URLSearchParams(location.search).has("noLayer")) {
    change({ annotations: { zLayer: { min: 0, max: 2 } } });
  }
  document.addEventListener("keydown", onKey);
  $("#leave").addEventListener("click", closeJob);
  await import("../../src/ts/index");
  takePlugins();
  await fetchModels();
  const job = await Job.load(Number(new URLSearchParams(location.search).get("job")));
  openJob(job);
  await store.dispatch(changeFrameAsync(job.startFrame));
  document.body.dataset.ready = "true";
}

Object.assign(window, { cvatEmulator: { store, core, change, fetchAnnotationsAsync } });
void main();
