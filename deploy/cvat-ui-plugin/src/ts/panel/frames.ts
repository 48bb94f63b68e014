// The panel's section of the job's frames: how far each is, and what of them counts here.

import { button, h, heading, leaveOneTabStop, moveByArrows, refill, release, section } from "./dom";
import type { ExemplarView, FrameStatus, PanelActions, PanelView } from "./view";

/** Cells of the strip of frames, at most; of longer jobs a cell is several frames. */
const MOST_CELLS = 60;

const STATUSES: readonly FrameStatus[] = ["done", "waiting", "untouched", "removed"];

/** How many of some frames are of each status. */
function countsOf(frames: PanelView["frames"]): Record<FrameStatus, number> {
  const counts = { done: 0, waiting: 0, untouched: 0, removed: 0 };
  for (const [, status] of frames) counts[status] += 1;
  return counts;
}

export class FramesSection {
  readonly element: HTMLElement;
  readonly #actions: PanelActions;
  readonly #text = h("span", { className: "value" });
  readonly #cells = h("div", { className: "cells", role: "group", ariaLabel: "Frames of the job" });
  readonly #sources = h("div", {
    className: "sources quiet",
    role: "group",
    ariaLabel: "Frames whose work counts here",
  });
  readonly #exemplars = h("div", {
    className: "exemplars",
    role: "group",
    ariaLabel: "Objects of these frames",
  });
  readonly #asksByItself = h("input", { type: "checkbox" });
  readonly #condition = h("span", {}, ", once one was worked on");
  /** What each group shows, so that it is not made anew under the mouse. */
  readonly #drawn = new Map<HTMLElement, string>();

  constructor(actions: PanelActions) {
    this.#actions = actions;
    this.#asksByItself.addEventListener("change", () => {
      release(this.#asksByItself);
      actions.toggleAsking();
    });
    for (const group of [this.#cells, this.#sources, this.#exemplars]) moveByArrows(group);
    this.element = section(
      heading("Frames", this.#text),
      this.#cells,
      this.#sources,
      this.#exemplars,
      h(
        "label",
        {
          className: "check quiet",
          title: "Ask for the proposals of a frame when it is shown, once others were worked on",
        },
        this.#asksByItself,
        h("span", {}, "Propose on each new frame", this.#condition),
      ),
    );
  }

  draw({ frames, frame, sources, exemplars, asksByItself, begun }: PanelView): void {
    // A frame alone has its own exemplars.
    this.element.hidden = frames.length < 2 && sources.length === 0;
    this.#asksByItself.checked = asksByItself;
    this.#condition.hidden = begun;
    const { done, waiting, untouched, removed } = countsOf(frames);
    this.#text.textContent = `${done} done · ${waiting} waiting`;
    this.#text.title = `${untouched} of ${frames.length} are untouched${removed > 0 ? `, ${removed} removed` : ""}`;
    this.#fill(this.#cells, [frames, frame], () => this.#cellsOf(frames, frame));
    this.#sources.hidden = sources.length === 0;
    this.#fill(this.#sources, sources, () => [
      sources.length > 1 ? "Examples from frames" : "Examples from frame",
      ...sources.map(([number, used]) => this.#source(number, used)),
    ]);
    this.#exemplars.hidden = exemplars.length === 0;
    const states = exemplars.map(({ id, used }) => [id, used]);
    this.#fill(this.#exemplars, states, () => exemplars.map((one) => this.#exemplar(one)));
  }

  #fill(group: HTMLElement, shown: unknown, make: () => (Node | string)[]): void {
    const key = JSON.stringify(shown);
    if (key === this.#drawn.get(group)) return;
    this.#drawn.set(group, key);
    refill(group, ...make());
    leaveOneTabStop(group);
  }

  #cellsOf(frames: PanelView["frames"], frame: number): HTMLElement[] {
    const each = Math.max(1, Math.ceil(frames.length / MOST_CELLS));
    const cells: HTMLElement[] = [];
    for (let at = 0; at < frames.length; at += each) {
      const some = frames.slice(at, at + each);
      const [[first], [last]] = [some[0], some.at(-1)] as [(typeof some)[0], (typeof some)[0]];
      const here = some.some(([number]) => number === frame);
      const counts = countsOf(some);
      const order = ["waiting", "untouched", "done", "removed"] as const;
      const status = order.find((each) => counts[each] > 0);
      const name =
        first === last
          ? `Frame ${first}: ${status}`
          : `Frames ${first} to ${last}: ${STATUSES.filter((each) => counts[each] > 0)
              .map((each) => `${counts[each]} ${each}`)
              .join(", ")}`;
      const cell = button({ className: `cell ${status}`, title: name, ariaLabel: name }, () =>
        this.#actions.goTo(first),
      );
      if (here) cell.ariaCurrent = "true";
      cells.push(cell);
    }
    return cells;
  }

  #source(frame: number, used: boolean): HTMLElement {
    const title = used
      ? `Objects of frame ${frame} are looked for here: click to leave it out`
      : `Frame ${frame} is left out: click to use it`;
    const source = button(
      { className: "source", title },
      () => this.#actions.toggleExemplars(String(frame)),
      String(frame),
    );
    source.ariaPressed = String(used);
    return source;
  }

  #exemplar({ id, frame, label, positive, thumbnail, used }: ExemplarView): HTMLElement {
    const what = `${positive ? "" : "No "}${label.name}, frame ${frame}`;
    const title = `${what}: ${used ? "click to leave it out" : "left out, click to use it"}`;
    const picture = h("img", { alt: "", src: `data:image/png;base64,${thumbnail}` });
    const exemplar = button(
      {
        className: positive ? "exemplar" : "exemplar negative",
        title,
        ariaLabel: title,
        style: `border-color: ${label.color}`,
      },
      () => this.#actions.toggleExemplars(id),
      ...(thumbnail === "" ? [] : [picture]),
    );
    exemplar.ariaPressed = String(used);
    return exemplar;
  }
}
