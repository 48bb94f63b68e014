// What a person does on the annotation page and sees there, with real mouse and keys.
//
// Points are in pixels of the picture.

import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Browser, Locator, Page } from "playwright-core";

const ARTEFACTS = join(dirname(fileURLToPath(import.meta.url)), "../../artefacts");

export type Point = readonly [x: number, y: number];

/** An object of the job, as CVAT has it. */
export interface MadeObject {
  readonly label: string;
  readonly source: string;
  readonly shapeType: string;
  readonly zOrder: number;
  readonly points: readonly number[];
  readonly rotation: number;
}

/** A call of the function, as the emulator noted it. */
export interface Call {
  readonly pos_points: readonly Point[];
  readonly neg_points: readonly Point[];
  readonly threshold?: number;
}

export interface Options {
  readonly labels: readonly (
    | string
    | { readonly name: string; readonly type?: string; readonly color?: string }
  )[];
  /** Files of the frames. */
  readonly pictures: readonly string[];
  /** Shapes that are there before. */
  readonly shapes?: readonly object[];
  /** Parts of CVAT's interface that are not there, such as "core.plugins". */
  readonly missing?: readonly string[];
  /** The page has no current layer. */
  readonly noLayer?: boolean;
  /** What goes wrong while the page is loaded. */
  readonly faults?: readonly object[];
  readonly viewport?: { readonly width: number; readonly height: number };
  /** Changes the list of functions on its way to the page. */
  readonly functions?: (functions: readonly object[]) => readonly object[];
  readonly kind?: typeof OUR_PAGE;
}

const OUR_PAGE = {
  path: (_: number, job: number) => `tests/cvat/index.html?job=${job}`,
  ready: "body[data-ready]",
};

/** The page that CVAT's own source was built to. */
export const REAL_PAGE: typeof OUR_PAGE = {
  path: (task, job) => `tasks/${task}/jobs/${job}`,
  ready: "#c3det-plugin .panel",
};

export class Annotator {
  readonly page: Page;
  job = 0;
  /** Lines in the browser's console, errors that nobody caught among them. */
  readonly console: string[] = [];
  readonly #url: string;
  #earlierCalls = 0;

  private constructor(page: Page, url: string) {
    this.page = page;
    this.#url = url;
    page.on("console", (message) => {
      if (["warning", "error"].includes(message.type())) this.console.push(message.text());
    });
    page.on("pageerror", (error) => this.console.push(`uncaught: ${error.message}`));
  }

  /** Make a task and open its job. */
  static async open(
    browser: Browser,
    url: string,
    { labels, shapes = [], missing = [], faults = [], ...options }: Options,
  ): Promise<Annotator> {
    const { viewport = { width: 1366, height: 800 } } = options;
    const page = await browser.newPage({ viewport });
    // CVAT's page takes this for a login.
    await page.addInitScript(() => localStorage.setItem("token", "some"));
    const annotator = new Annotator(page, url);
    const { pictures, functions, kind = OUR_PAGE } = options;
    if (functions) {
      await page.route("**/api/lambda/functions", async (route) => {
        const response = await route.fetch();
        await route.fulfill({ response, json: functions(await response.json()) });
      });
    }
    const task = await annotator.post("emulator/tasks", {
      name: "task",
      labels,
      pictures: pictures.map((path, i) => ({ name: `${i}.png`, path })),
    });
    const [job] = task.job_ids;
    annotator.job = job;
    annotator.#earlierCalls = (await annotator.get("emulator/calls")).length;
    if (shapes.length > 0) {
      const { results } = await annotator.get(`api/labels?job_id=${job}&page_size=100`);
      const ids = new Map(results.map(({ id, name }: { id: number; name: string }) => [name, id]));
      await annotator.send("PATCH", `api/jobs/${job}/annotations?action=create`, {
        version: 0,
        tags: [],
        tracks: [],
        shapes: shapes.map((shape) => {
          const { label, ...rest } = shape as { label: string };
          const plain = { occluded: false, outside: false, z_order: 0, rotation: 0, group: 0 };
          return { ...plain, frame: 0, attributes: [], label_id: ids.get(label), ...rest };
        }),
      });
    }
    const query = missing.map((path) => `&missing=${path}`).join("");
    const layer = options.noLayer ? "&noLayer=1" : "";
    for (const fault of faults) await annotator.post("emulator/faults", fault);
    await page.goto(url + kind.path(task.id, job) + query + layer);
    await page.locator(kind.ready).waitFor();
    return annotator;
  }

  get panel(): Locator {
    return this.page.locator("#c3det-plugin .panel");
  }

  get status(): Locator {
    return this.panel.locator(".status");
  }

  button(name: string | RegExp): Locator {
    return this.panel.getByRole("button", { name });
  }

  label(name: string): Locator {
    return this.panel.locator(`.label[title="${name}"]`);
  }

  /** Where a point of the picture is on the screen, measured on the picture itself. */
  async screen([x, y]: Point): Promise<Point> {
    // The picture's element has its own transform; a mark in it is measured by the browser.
    return this.page.evaluate(
      ([px, py]) => {
        const picture = document.querySelector("#cvat_canvas_background") as HTMLCanvasElement;
        const box = new DOMMatrix(getComputedStyle(picture).transform);
        const bounds = picture.getBoundingClientRect();
        const centre = [bounds.left + bounds.width / 2, bounds.top + bounds.height / 2] as const;
        const away = new DOMPoint(px - picture.width / 2, py - picture.height / 2);
        const { x: dx, y: dy } = away.matrixTransform(box);
        return [centre[0] + dx, centre[1] + dy] as const;
      },
      [x, y] as const,
    );
  }

  async click(point: Point, button: "left" | "right" = "left"): Promise<void> {
    const [x, y] = await this.screen(point);
    await this.page.mouse.click(x, y, { button });
  }

  /** Arm a label by its key, if one is given, click a point, and wait for the answer. */
  async clickOn(point: Point, key?: string): Promise<void> {
    if (key) await this.key(key);
    await this.click(point);
    await this.settle();
  }

  async hover(point: Point): Promise<void> {
    const [x, y] = await this.screen(point);
    await this.page.mouse.move(x, y, { steps: 3 });
  }

  /** Press a key, such as "Control+z". */
  async key(key: string): Promise<void> {
    await this.page.keyboard.press(key);
  }

  /** Zoom by notches of the wheel at a point. */
  async zoom(point: Point, notches: number): Promise<void> {
    const [x, y] = await this.screen(point);
    await this.page.mouse.move(x, y);
    for (let i = 0; i < Math.abs(notches); i += 1) {
      await this.page.mouse.wheel(0, notches > 0 ? -100 : 100);
    }
    await this.page.waitForTimeout(100);
  }

  /** Press at a point, move by screen pixels, release. */
  async drag(point: Point, [dx, dy]: Point): Promise<void> {
    const [x, y] = await this.screen(point);
    await this.page.mouse.move(x, y);
    await this.page.mouse.down();
    await this.page.mouse.move(x + dx / 2, y + dy / 2);
    await this.page.mouse.move(x + dx, y + dy);
    await this.page.mouse.up();
  }

  /** Wait until no request is in flight. */
  async settle(): Promise<void> {
    await this.page.waitForTimeout(50);
    await this.panel.locator(".spinner").waitFor({ state: "hidden", timeout: 110_000 });
  }

  /** The outlines of the preview: for each box its corners on the screen. */
  async outlines(): Promise<readonly (readonly Point[])[]> {
    return this.page.evaluate(() => {
      const svg = document.querySelector('[data-c3det="preview"]') as SVGSVGElement | null;
      const lines = "g:first-of-type path[data-layer=line]";
      return [...(svg?.querySelectorAll<SVGPathElement>(lines) ?? [])].flatMap((path) => {
        const matrix = path.getScreenCTM() as DOMMatrix;
        return (path.getAttribute("d") ?? "").split("Z").flatMap((outline) => {
          const numbers = outline.match(/-?[\d.]+/g)?.map(Number) ?? [];
          if (numbers.length === 0) return [];
          const corners: [number, number][] = [];
          for (let i = 0; i < numbers.length; i += 2) {
            const point = new DOMPoint(numbers[i], numbers[i + 1]).matrixTransform(matrix);
            corners.push([point.x, point.y]);
          }
          return [corners];
        });
      });
    });
  }

  /** Where the cursor that keys move is on the screen; null: it is not on. */
  async cursor(): Promise<Point | null> {
    return this.page.evaluate(() => {
      const cursor = document.querySelector('[data-c3det="cursor"]') as Element;
      const { left, right, top, bottom } = cursor.getBoundingClientRect();
      return right > left ? ([(left + right) / 2, (top + bottom) / 2] as const) : null;
    });
  }

  /** The rectangles that CVAT draws: for each its corners on the screen. */
  async shapes(): Promise<readonly (readonly Point[])[]> {
    return this.page.evaluate(() =>
      [...document.querySelectorAll<SVGRectElement>("rect.cvat_canvas_shape")].map((rect) => {
        const matrix = rect.getScreenCTM() as DOMMatrix;
        const { x, y, width, height } = rect.getBBox();
        const corners: [number, number][] = [];
        for (const [dx, dy] of [
          [0, 0],
          [width, 0],
          [width, height],
          [0, height],
        ] as const) {
          const point = new DOMPoint(x + dx, y + dy).matrixTransform(matrix);
          corners.push([point.x, point.y]);
        }
        return corners;
      }),
    );
  }

  /** The objects of the frame, as CVAT has them. */
  async objects(): Promise<readonly MadeObject[]> {
    return this.page.evaluate(() => {
      // biome-ignore lint/suspicious/noExplicitAny: the emulator's own handle
      const { store } = (window as any).cvatEmulator;
      return store.getState().annotation.annotations.states.map(
        // biome-ignore lint/suspicious/noExplicitAny: as above
        ({ label, source, shapeType, points, rotation, zOrder }: any) => ({
          label: label.name,
          source,
          shapeType,
          zOrder,
          points,
          rotation,
        }),
      );
    });
  }

  /** What CVAT's page says: its frame, its tool, its history. */
  async says(id: "frame" | "tool" | "undo" | "count" | "interactors"): Promise<string> {
    return (await this.page.locator(`#${id}`).textContent()) ?? "";
  }

  /** Keys that reached CVAT. */
  async keysOfCvat(): Promise<string> {
    return (await this.page.locator("body").getAttribute("data-keys")) ?? "";
  }

  /** The calls of the function since the job was opened. */
  async calls(): Promise<readonly Call[]> {
    return (await this.get("emulator/calls")).slice(this.#earlierCalls);
  }

  /** Let something go wrong with the next call of the function. */
  async fault(fault: object): Promise<void> {
    await this.post("emulator/faults", { path: "lambda/functions/", method: "POST", ...fault });
  }

  /** Red, green and blue of the pixels below a point of the screen, row by row. */
  async pixels(x: number, y: number, height: number, width = 1): Promise<number[][]> {
    const clip = { x: Math.round(x), y: Math.round(y), width, height };
    const png = await this.page.screenshot({ clip });
    const data = await this.page.evaluate(async (base64) => {
      const image = new Image();
      image.src = `data:image/png;base64,${base64}`;
      await image.decode();
      const canvas = document.createElement("canvas");
      Object.assign(canvas, { width: image.width, height: image.height });
      const context = canvas.getContext("2d") as CanvasRenderingContext2D;
      context.drawImage(image, 0, 0);
      return [...context.getImageData(0, 0, image.width, image.height).data];
    }, png.toString("base64"));
    return Array.from({ length: width * height }, (_, i) => data.slice(4 * i, 4 * i + 3));
  }

  async screenshot(name: string): Promise<void> {
    mkdirSync(ARTEFACTS, { recursive: true });
    await this.page.screenshot({ path: join(ARTEFACTS, `${name}.png`) });
  }

  async close(): Promise<void> {
    await this.page.close();
  }

  // biome-ignore lint/suspicious/noExplicitAny: JSON
  async get(path: string): Promise<any> {
    return (await fetch(this.#url + path)).json();
  }

  // biome-ignore lint/suspicious/noExplicitAny: JSON
  async post(path: string, data: object): Promise<any> {
    return this.send("POST", path, data);
  }

  // biome-ignore lint/suspicious/noExplicitAny: JSON
  async send(method: string, path: string, data: object): Promise<any> {
    const headers = { "Content-Type": "application/json" };
    const response = await fetch(this.#url + path, { method, headers, body: JSON.stringify(data) });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }
}
