// The plugin without the mouse, and the exemplars of earlier frames as they are shown.

import { expect, test } from "vitest";
import type { Annotator, Call, Point } from "./annotator";
import { centre, one, openPage, type PageOptions, suite, three, world } from "./suite";
import { TRAINED } from "./world";

/** A job of three frames. */
async function open(
  options: Partial<PageOptions> = {},
  url = world.url("2.80"),
): Promise<Annotator> {
  return openPage(url, {
    viewport: { width: 1366, height: 625 },
    labels: ["round thing", three],
    frames: [0, 1, 0],
    ...options,
  });
}

/** Bring the cursor to a point of the picture by keys alone. */
async function steer(a: Annotator, point: Point): Promise<void> {
  for (const [keys, pixels] of [
    ["Shift+", 64],
    ["", 8],
    ["Control+", 1],
  ] as const) {
    for (const [axis, back, on] of [
      [0, "ArrowLeft", "ArrowRight"],
      [1, "ArrowUp", "ArrowDown"],
    ] as const) {
      const away = ((await a.screen(point))[axis] as number) - ((await a.cursor())?.[axis] ?? 0);
      const steps = Math.round(Math.abs(away) / pixels);
      for (let i = 0; i < steps; i += 1) await a.key(keys + (away < 0 ? back : on));
    }
  }
}

/** What of the panel has the focus: its class and its title or its text. */
async function focusOf(a: Annotator): Promise<string> {
  return a.page.evaluate(() => {
    const focused = document.querySelector("#c3det-plugin")?.shadowRoot?.activeElement;
    const words = focused?.getAttribute("title") || focused?.textContent;
    return focused ? `${focused.className}: ${words}` : "";
  });
}

/** Press a key until the focus of the panel is on something. */
async function reach(a: Annotator, key: string, wanted: RegExp): Promise<void> {
  const seen: string[] = [];
  for (let i = 0; i < 20; i += 1) {
    await a.key(key);
    const focus = await focusOf(a);
    if (wanted.test(focus)) return;
    seen.push(focus);
  }
  throw new Error(`${key} does not lead to ${wanted}, but to ${seen.join(" | ")}`);
}

suite("the plugin without the mouse", () => {
  test("a frame from the opened page to its saved rectangles", async () => {
    const a = await open();
    await a.page.evaluate(() => {
      document.body.dataset.mouse = "0";
      for (const type of ["mousedown", "mousemove", "wheel", "pointerdown"])
        window.addEventListener(
          type,
          ({ isTrusted }) => {
            if (isTrusted) document.body.dataset.mouse += ` ${type}`;
          },
          true,
        );
    });
    await a.key("x");
    expect(await a.label("round thing").getAttribute("aria-checked")).toBe("true");
    expect(await a.panel.locator(".hint").textContent()).toContain("Space clicks");
    await steer(a, centre(one));
    await a.screenshot("keys-cursor");
    await a.key(" ");
    await a.settle();
    const [first] = await a.calls();
    const [x, y] = first?.pos_points[0] ?? [0, 0];
    expect(Math.hypot(x - centre(one)[0], y - centre(one)[1])).toBeLessThan(2);
    expect(first?.neg_points).toEqual([
      [-1, 1],
      [0, 1],
    ]);

    // Zoomed in, the picture goes along with the cursor.
    const width = async () =>
      (await a.page.locator("#cvat_canvas_background").boundingBox())?.width ?? 0;
    const before = await width();
    for (let i = 0; i < 5; i += 1) await a.key("z");
    expect(await width()).toBeGreaterThan(2 * before);
    await a.key("2");
    await steer(a, centre(three));
    const [cx, cy] = (await a.cursor()) as Point;
    const [tx, ty] = await a.screen(centre(three));
    expect(Math.hypot(cx - tx, cy - ty)).toBeLessThan(2);
    const area = await a.page.locator(".cvat-canvas-container").boundingBox();
    expect(cx).toBeGreaterThan(area?.x ?? 0);
    expect(cx).toBeLessThan((area?.x ?? 0) + (area?.width ?? 0));
    await a.screenshot("keys-zoomed");
    await a.key(" ");
    await a.settle();
    expect((await a.calls()).at(-1)?.pos_points).toHaveLength(2);
    for (let i = 0; i < 5; i += 1) await a.key("Shift+Z");

    // The least sure box: there is none of it.
    await a.key("b");
    await a.screenshot("keys-least-sure");
    const [bx, by] = (await a.cursor()) as Point;
    const shown = async () =>
      (await a.outlines()).filter((outline) => {
        const xs = outline.map(([x]) => x);
        const ys = outline.map(([, y]) => y);
        const inX = Math.min(...xs) <= bx && bx <= Math.max(...xs);
        return inX && Math.min(...ys) <= by && by <= Math.max(...ys);
      }).length;
    expect(await shown()).toBeGreaterThan(0);
    await a.key("Shift+Space");
    await a.settle();
    expect((await a.calls()).at(-1)?.neg_points.at(-1)).toEqual([1, 0]);
    expect(await shown()).toBe(0);

    const boxes = (await a.outlines()).length;
    await a.key("Enter");
    await expect.poll(() => a.says("count")).toBe(String(boxes));
    await a.key("Escape");
    expect(await a.cursor()).toBeNull();
    expect(await a.label(three).getAttribute("aria-checked")).toBe("false");
    await a.key("Control+s");
    const saved = async () => (await a.get(`api/jobs/${a.job}/annotations`)).shapes;
    await expect.poll(async () => (await saved()).length).toBe(boxes);
    expect(new Set((await saved()).map(({ source }: { source: string }) => source))).toEqual(
      new Set(["semi-auto"]),
    );
    // Of all keys CVAT got that for saving.
    expect((await a.keysOfCvat()).split(" ")).toEqual(["ctrl+s"]);
    expect(await a.page.locator("body").getAttribute("data-mouse")).toBe("0");
  });

  test("frames, the function, classes and thresholds, by the focus in the panel", async () => {
    // The closed function, the second of the two, knows all labels but the last.
    const [first, second] = TRAINED as [string, string];
    const rest = "unheard of";
    const a = await open({ labels: [first, second, rest] }, await world.urlOfBoth());
    await a.key("x");
    await steer(a, centre(one));
    await a.key("2");
    await a.key(" ");
    await a.settle();
    await a.key("a");
    await expect.poll(() => a.says("frame")).toBe("1");
    const carried = async () => (await a.calls()).at(-1)?.neg_points[1]?.[0];
    await expect.poll(carried, { timeout: 60_000 }).toBe(2);
    await a.settle();

    // Leave the frame out, and take it back.
    await reach(a, "i", /^cell/);
    await a.screenshot("keys-focus");
    await a.key("Tab");
    expect(await focusOf(a)).toMatch(/^source: Objects of frame 0/);
    await a.key("Enter");
    expect(await focusOf(a)).toMatch(/^source: Frame 0 is left out/);
    await a.key("Space");
    await a.settle();
    expect(await focusOf(a)).toMatch(/^source: Objects of frame 0/);

    // Go to another frame by the strip; the focus stays where it was.
    await reach(a, "Shift+Tab", /^cell/);
    expect(await focusOf(a)).toContain("Frame 1");
    await a.key("ArrowRight");
    await a.key("Enter");
    await expect.poll(() => a.says("frame")).toBe("2");
    expect(await focusOf(a)).toContain("Frame 2");
    await a.key("Home");
    await a.key("Space");
    await expect.poll(() => a.says("frame")).toBe("0");

    // A label by arrows.
    await reach(a, "i", /^label/);
    await a.key("End");
    await a.key("ArrowLeft");
    await a.key("Enter");
    expect(await a.label(rest).getAttribute("aria-checked")).toBe("true");
    await a.key("Home");
    expect(await focusOf(a)).toContain(first);

    // The function, and the class of a label.
    await reach(a, "Shift+I", /^model/);
    await reach(a, "i", /^link: Which label|^label/);
    await reach(a, "Shift+I", /^model/);
    await a.key("ArrowDown");
    await expect.poll(() => a.label(rest).count()).toBe(0);
    await reach(a, "Tab", /^link: Which label/);
    await a.key("Enter");
    await a.screenshot("keys-mapping");
    await a.key("Tab");
    const mapping = a.panel.locator(".mapping select");
    await a.key("Tab");
    await a.key("Tab");
    await a.key("ArrowDown");
    await expect.poll(() => mapping.nth(2).inputValue()).toBe(first);
    await reach(a, "Shift+Tab", /^link: Which label/);
    await a.key("Enter");
    expect(await a.label(rest).count()).toBe(1);

    // Escape leads back to the picture, and digits are labels.
    await a.key("Escape");
    expect(await focusOf(a)).toBe("");
    await a.key("2");
    expect(await a.label(second).getAttribute("aria-checked")).toBe("true");
    expect(await a.keysOfCvat()).toBe("");
  });

  test.each([
    ["dark", "brightness(0.12)", "#3a3a00"],
    ["bright", "brightness(0.2) invert(1)", "#fff7b0"],
  ])("the cursor is visible on %s ground, in a colour like it", async (name, filter, color) => {
    for (const viewport of [
      { width: 1366, height: 625 },
      { width: 1920, height: 1080 },
    ]) {
      const a = await open({ viewport, labels: [{ name: one, color }] });
      await a.page.addStyleTag({ content: `#cvat_canvas_background { filter: ${filter} }` });
      await a.key("x");
      await steer(a, centre(one, 1));
      await a.screenshot(`cursor-${name}-${viewport.width}`);
      const [x, y] = (await a.cursor()) as Point;
      // Across its right arm: the line and its casings differ from the ground, the middle is free.
      const across = async (at: number) => {
        const column = await a.pixels(x + at, y - 12, 24);
        return column.map(([r = 0, g = 0, b = 0]) => 0.2126 * r + 0.7152 * g + 0.0722 * b);
      };
      const range = (light: readonly number[]) => Math.max(...light) - Math.min(...light);
      expect(range(await across(15))).toBeGreaterThan(100);
      expect(range((await across(0)).slice(10, 14))).toBeLessThan(60);
      if (viewport.width < 1920) await a.close();
    }
  });

  test("exemplars are shown as thumbnails, dropped and taken back", async () => {
    const a = await open();
    await a.clickOn(centre(one), "1");
    await a.clickOn(centre(three), "2");
    const rejected = centre(one, 2);
    await a.key("1");
    await a.click(rejected, "right");
    await a.settle();
    await a.key("Escape");
    await a.key("a");
    await expect.poll(() => a.says("frame")).toBe("1");
    const carried = async () => (await a.calls()).at(-1)?.neg_points[1];
    await expect.poll(async () => (await carried())?.[0], { timeout: 60_000 }).toBe(2);
    await a.settle();
    const all = (await carried())?.[1] as number;

    const thumbnails = a.panel.locator(".exemplar");
    expect(await thumbnails.count()).toBe(all);
    const sizes = await thumbnails
      .locator("img")
      .evaluateAll((images) => images.map((image) => (image as HTMLImageElement).naturalWidth));
    expect(sizes).toEqual(Array.from({ length: all }, () => 32));
    const titles = await thumbnails.evaluateAll((each) =>
      each.map((thumbnail) => thumbnail.getAttribute("title")),
    );
    expect(titles).toContain("No round thing, frame 0: click to leave it out");
    expect(titles).toContain("round thing, frame 0: click to leave it out");
    expect(titles).toContain(`${three}, frame 0: click to leave it out`);
    await a.screenshot("thumbnails");

    // By a click, and by a key; the other exemplars still go along.
    await thumbnails.first().click();
    await a.settle();
    expect(await carried()).toEqual([2, all - 1]);
    await reach(a, "i", /^cell/);
    await reach(a, "Tab", /^exemplar/);
    expect(await focusOf(a)).toContain("left out, click to use it");
    await a.key("ArrowRight");
    await a.key("Space");
    await a.settle();
    expect(await carried()).toEqual([2, all - 2]);
    await a.screenshot("thumbnails-dropped");

    // They are kept with the tab; nothing is asked for again but the frame.
    const pressed = () =>
      thumbnails.evaluateAll((each) => each.map((thumbnail) => thumbnail.ariaPressed));
    expect((await pressed()).slice(0, 3)).toEqual(["false", "false", "true"]);
    await a.key("Enter");
    await a.settle();
    expect(await carried()).toEqual([2, all - 1]);
    await a.key("Escape");
    await thumbnails.first().click();
    await a.settle();
    expect(await carried()).toEqual([2, all]);
    expect(await pressed()).toEqual(Array.from({ length: all }, () => "true"));
    // A frame that is left out takes its thumbnails along.
    await a.panel.locator(".source").click();
    await expect.poll(() => thumbnails.count()).toBe(0);
  });

  test("boxes that were accepted are exemplars on their own frame, once, and are dropped for good", async () => {
    const a = await open();
    await a.clickOn(centre(three), "2");
    await a.clickOn(centre(one), "1");
    // The round things alone: the other kind is left, which is asked for again with them.
    await a.key("Shift+Enter");
    await expect.poll(async () => (await a.calls()).length, { timeout: 60_000 }).toBe(4);
    await a.settle();
    const [asked, carrying] = (await a.calls()).slice(2) as [Call, Call];
    const boxes = asked.neg_points[1]?.[1] as number;
    expect(asked.neg_points.slice(0, 2)).toEqual([
      [-1, 2],
      [1, boxes],
    ]);
    // The box that answers a click is not among them, nor are the clicks.
    expect(asked.pos_points).toHaveLength(2 * boxes);
    const [x, y] = centre(one);
    const corners = asked.pos_points;
    for (let i = 0; i < corners.length; i += 2) {
      const [[x1, y1], [x2, y2]] = [corners[i], corners[i + 1]] as [Point, Point];
      expect(x >= x1 && x <= x2 && y >= y1 && y <= y2).toBe(false);
    }
    expect(carrying.neg_points[1]).toEqual([2, boxes]);
    expect(carrying.pos_points).toHaveLength(2);
    expect(await a.panel.locator(".source").allTextContents()).toEqual(["0"]);
    const thumbnails = a.panel.locator(".exemplar");
    expect(await thumbnails.count()).toBe(boxes);
    await a.screenshot("own-exemplars");

    // What is dropped stays dropped; more clicks ask for no exemplars again.
    await thumbnails.first().click();
    await a.settle();
    await a.clickOn(centre(three, 1), "2");
    expect((await a.calls()).length).toBe(6);
    expect((await a.calls()).at(-1)?.neg_points[1]).toEqual([2, boxes - 1]);
    expect(await thumbnails.first().getAttribute("aria-pressed")).toBe("false");
  });

  test("the next frame is asked for ahead: its proposals are there when it is shown", async () => {
    const a = await open();
    let answered = 0;
    a.page.on("requestfinished", (request) => {
      if (request.url().includes("/lambda/functions/")) answered += 1;
    });
    await a.clickOn(centre(one), "1");
    await a.key("a");
    await expect.poll(() => a.says("frame")).toBe("1");
    // The click, its exemplars, frame 1 and, before anybody looks at it, frame 2.
    await expect.poll(() => answered, { timeout: 60_000 }).toBe(4);
    expect(await a.calls()).toHaveLength(4);
    await a.settle();
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    await a.page.route("**/api/lambda/functions/*", async (route) => {
      await released;
      await route.continue();
    });
    await a.key("a");
    await expect.poll(() => a.says("frame")).toBe("2");
    await expect.poll(async () => (await a.outlines()).length).toBeGreaterThan(0);
    await a.panel.locator(".spinner").waitFor();
    await a.screenshot("ahead");
    // It is asked for again with the exemplars of frame 1, and that answer counts.
    release();
    await a.settle();
    expect((await a.calls()).length).toBe(6);
    expect((await a.outlines()).length).toBeGreaterThan(0);
    expect(await a.panel.locator(".source").allTextContents()).toEqual(["0", "1"]);
  });

  test("B moves the picture to a box that is out of view", async () => {
    const a = await open({ frames: [2], labels: [three, one] });
    await a.clickOn(centre(three, 0, 2), "1");
    await a.key("Escape");
    await a.zoom(centre(three, 0, 2), 10);
    await a.hover([1, 1]);
    const view = await a.page.locator("#cvat_canvas_wrapper").boundingBox();
    const panel = await a.panel.boundingBox();
    const [left, right] = [
      (panel?.x ?? 0) + (panel?.width ?? 0),
      (view?.x ?? 0) + (view?.width ?? 0),
    ];
    const [top, bottom] = [view?.y ?? 0, (view?.y ?? 0) + (view?.height ?? 0)];
    const inView = ([x, y]: Point) => x > left && x < right && y > top && y < bottom;
    const centres = (await a.outlines()).map(([p, , q]): Point => {
      const [[x1, y1], [x2, y2]] = [p, q] as [Point, Point];
      return [(x1 + x2) / 2, (y1 + y2) / 2];
    });
    const near = centres.filter(inView).length;
    expect(near).toBeLessThan(centres.length);
    const from = await a.screen([0, 0]);
    for (let i = 0; i <= near; i += 1) {
      await a.key("b");
      const aimed = a.page.locator("[data-c3det=preview] g").nth(1);
      const { x, y, width, height } = (await aimed.boundingBox()) as {
        x: number;
        y: number;
        width: number;
        height: number;
      };
      expect(inView([x + width / 2, y + height / 2])).toBe(true);
      await a.page.locator("#c3det-plugin .tip").waitFor();
    }
    const to = await a.screen([0, 0]);
    expect(Math.hypot(to[0] - from[0], to[1] - from[1])).toBeGreaterThan(20);
    await a.screenshot("keys-moved");
  });
});
