import type { Locator } from "playwright-core";
import { expect, test } from "vitest";
import type { Annotator, Call, Point } from "./annotator";
import { centre, one, openPage, type PageOptions, suite, three, two, world } from "./suite";
import { LABELS, PROFILES, type Profile, TRAINED } from "./world";

function open(options: Partial<PageOptions> = {}, profile: Profile = "2.15"): Promise<Annotator> {
  return openPage(world.url(profile), {
    labels: LABELS,
    frames: [0, 1],
    ...options,
  });
}

/** A job in front of the closed function, with labels of which it knows all but the last. */
async function openClosed(options: Partial<PageOptions> = {}): Promise<Annotator> {
  return openPage(await world.closedUrl(), {
    labels: [...TRAINED.slice(0, 3), "unheard of"],
    frames: [0, 1],
    ...options,
  });
}

/** The answers get a box more of each of some classes, so that it is there whatever the closed
 * function was trained on. */
async function addBoxes(a: Annotator, classes: readonly number[]): Promise<void> {
  await a.page.route("**/api/lambda/functions/*", async (route) => {
    const response = await route.fetch();
    const { boxes, ...rest } = await response.json();
    const added = classes.map((index) => {
      const [x, y] = [300 + 40 * index, 300];
      const box = { class: index, label: TRAINED[index], points: [x, y, x + 30, y + 30] };
      return { ...box, rotation: 0, score: 0.9, click: null, clicks: [] };
    });
    await route.fulfill({ response, json: { ...rest, boxes: [...boxes, ...added] } });
  });
}

/** How far the corners of a box lie from those of the nearest of some boxes, at most, in pixels. */
function nearest(corners: readonly number[], boxes: readonly (readonly number[])[]): number {
  const apart = (box: readonly number[]) =>
    Math.max(...corners.map((value, k) => Math.abs(value - (box[k] as number))));
  return Math.min(...boxes.map(apart));
}

function indexOf(label: string): number {
  return (LABELS as readonly string[]).indexOf(label);
}

/** What the words for a box of a label look like. */
function says(label: string, rest = " "): RegExp {
  return new RegExp(`^${label}${rest}`);
}

function boxesOf(label: string): readonly (readonly number[])[] {
  return (world.truth[0]?.objects ?? [])
    .filter((each) => each.label === label)
    .map(({ box }) => box);
}

/** Whether CVAT has a rectangle of a label over a point. */
async function isMade(a: Annotator, label: string, [x, y]: Point): Promise<boolean> {
  return (await a.objects()).some(
    ({ label: other, points: [x1 = 0, y1 = 0, x2 = 0, y2 = 0] }) =>
      other === label && x1 <= x && x <= x2 && y1 <= y && y <= y2,
  );
}

/** Wait until the plugin, after the page, has read what the server has of the job. */
async function isRead(a: Annotator): Promise<void> {
  const place = `/api/jobs/${a.job}/annotations`;
  const reads = async () =>
    (await a.get("emulator/requests")).filter(({ path }: { path: string }) => path === place);
  await expect.poll(async () => (await reads()).length).toBeGreaterThanOrEqual(2);
}

interface Bounds {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

async function bounds(locator: Locator): Promise<Bounds> {
  return locator.evaluate((element) => {
    const { left, top, right, bottom } = element.getBoundingClientRect();
    return { left, top, right, bottom };
  });
}

function isWithin(inner: Bounds, outer: Bounds): boolean {
  const [low, high] = [inner.left >= outer.left, inner.right <= outer.right];
  return low && high && inner.top >= outer.top && inner.bottom <= outer.bottom;
}

async function lastCall(a: Annotator): Promise<Call> {
  return (await a.calls()).at(-1) as Call;
}

/** Class and sign of a call's clicks, after its header and before the exemplars that it carries. */
function signsOf({ pos_points, neg_points }: Call): readonly Point[] {
  const header = neg_points[0]?.[1] === 1 ? 1 : 3;
  return neg_points.slice(header, header + pos_points.length);
}

suite("the plugin in the browser", () => {
  test.each(PROFILES)("three classes, accept, undo: %s", async (profile) => {
    const a = await open({}, profile);
    expect(await a.panel.locator(".label").allTextContents()).toEqual([
      `${three}1`,
      `${one}2`,
      `${two}3`,
      "tablet4",
    ]);
    await a.screenshot(`${profile}-opened`);
    await a.clickOn(centre(three), "1");
    await a.clickOn(centre(one), "2");
    await a.clickOn(centre(two), "3");
    await a.screenshot(`${profile}-clicked`);
    const sent = await lastCall(a);
    expect(sent.neg_points).toEqual([
      [-1, 1],
      [indexOf(three), 1],
      [indexOf(one), 1],
      [indexOf(two), 1],
    ]);
    sent.pos_points.forEach(([x, y], i) => {
      const [wantedX, wantedY] = centre([three, one, two][i] as string);
      expect(Math.hypot(x - wantedX, y - wantedY)).toBeLessThan(1);
    });
    const shown = (await a.outlines()).length;
    expect(shown).toBeGreaterThan(20);

    await a.button(`Accept ${shown} boxes`).click();
    await expect.poll(() => a.says("count")).toBe(String(shown));
    const objects = await a.objects();
    expect(new Set(objects.map(({ label }) => label))).toEqual(new Set([three, one, two]));
    expect(
      objects.every(({ source, shapeType }) => source === "semi-auto" && shapeType === "rectangle"),
    ).toBe(true);
    expect(await a.says("undo")).toBe("Created objects");
    expect(await a.outlines()).toEqual([]);
    await a.screenshot(`${profile}-accepted`);

    await a.key("Control+z");
    await expect.poll(() => a.says("count")).toBe("0");
    expect(await a.outlines()).toHaveLength(shown);
    expect(await a.panel.locator("output.quiet").textContent()).toBe("3");
  });

  test("the panel keeps to the corner of the canvas when the page is laid out anew", async () => {
    const a = await open();
    const lefts = async () => {
      const canvas = await a.page.locator("#cvat_canvas_wrapper").boundingBox();
      const panel = await a.panel.boundingBox();
      return [canvas?.x ?? Number.NaN, (panel?.x ?? Number.NaN) - (canvas?.x ?? Number.NaN)];
    };
    const [canvas, corner] = (await lefts()) as [number, number];
    expect(corner).toBeGreaterThan(0);
    await a.page.addStyleTag({ content: "main { margin-left: 120px }" });
    await expect.poll(lefts).toEqual([canvas + 120, corner]);
  });

  test("undo, redo, right click, double click, Escape", async () => {
    const a = await open();
    await a.clickOn(centre(one), "2");
    await a.click(centre(one, 1), "right");
    await a.settle();
    expect((await lastCall(a)).neg_points.slice(1)).toEqual([
      [indexOf(one), 1],
      [indexOf(one), 0],
    ]);
    await a.screenshot("none-here");
    const calls = (await a.calls()).length;

    await a.key("Control+z");
    await a.settle();
    expect(await a.panel.locator("output.quiet").textContent()).toBe("1");
    await a.key("Control+Shift+z");
    await a.settle();
    expect(await a.panel.locator("output.quiet").textContent()).toBe("2");
    expect((await a.calls()).length).toBe(calls);

    const [x, y] = await a.screen(centre(one, 2));
    await a.page.mouse.dblclick(x, y);
    await a.settle();
    expect(await a.panel.locator("output.quiet").textContent()).toBe("3");

    expect(await a.keysOfCvat()).toBe("");
    await a.key("Escape");
    expect(await a.label(one).getAttribute("aria-checked")).toBe("false");
    await a.key("n");
    expect(await a.keysOfCvat()).toBe("n");
    expect(await a.says("tool")).toBe("draw_rectangle");
    await a.key("1");
    expect(await a.says("tool")).toBe("cursor");
    expect(await a.label(three).getAttribute("aria-checked")).toBe("true");
    await a.key("n");
    expect(await a.label(three).getAttribute("aria-checked")).toBe("false");
  });

  test("a click on the same place again is sent twice, has one mark, and is taken back alone", async () => {
    const a = await open();
    const clicks = () => a.panel.locator("output.quiet").textContent();
    const marks = () =>
      a.page
        .locator('[data-c3det="preview"] > g:nth-of-type(3) path[data-layer=line]')
        .evaluateAll((paths) => paths.map((path) => path.getAttribute("d")));
    await a.clickOn(centre(one), "2");
    const [first] = (await lastCall(a)).pos_points;
    const [mark, boxes] = [await marks(), await a.outlines()];
    const [x, y] = await a.screen(centre(one));
    const noDoubleClick = 550;
    await a.page.waitForTimeout(noDoubleClick);
    await a.page.mouse.click(x + 2, y - 2);
    await a.settle();
    const sent = await lastCall(a);
    expect(sent.pos_points).toEqual([first, first]);
    expect(signsOf(sent)).toEqual([
      [indexOf(one), 1],
      [indexOf(one), 1],
    ]);
    expect([await marks(), await clicks()]).toEqual([mark, "1"]);
    await a.screenshot("again");

    const calls = (await a.calls()).length;
    await a.key("Control+z");
    expect([await marks(), await clicks()]).toEqual([mark, "1"]);
    expect(await a.outlines()).toEqual(boxes);
    expect((await a.calls()).length).toBe(calls);
    await a.key("Control+z");
    expect([await marks(), await clicks()]).toEqual([[], "0"]);

    // By keys, too, in the middle of the picture.
    await a.key("x");
    for (let times = 1; times <= 2; times += 1) {
      await a.page.waitForTimeout(noDoubleClick);
      await a.key("Space");
      await a.settle();
      const points = (await lastCall(a)).pos_points;
      expect(points).toEqual(Array.from({ length: times }, () => points[0]));
    }
    expect(await clicks()).toBe("1");
  });

  test("the preview lies on the picture, zoomed, rotated and moved", async () => {
    const a = await open();
    await a.key("2");
    const clicked = centre(one);
    await a.clickOn(clicked);
    const check = async (name: string) => {
      const found = await a.outlines();
      // The boxes in the picture's pixels, from what CVAT was given, are where the browser shows them.
      const boxes = await a.page.evaluate(() =>
        [...document.querySelectorAll('[data-c3det="preview"] g:first-of-type path')]
          .map((path) => path.getAttribute("d") ?? "")
          .join(""),
      );
      const corners = [...boxes.matchAll(/M(-?[\d.]+) (-?[\d.]+)/g)].map(
        ([, x, y]) => [Number(x), Number(y)] as const,
      );
      expect(found.length).toBeGreaterThan(0);
      for (const [first] of found.slice(0, 10)) {
        const screens = await Promise.all(corners.slice(0, 60).map((corner) => a.screen(corner)));
        const nearest = Math.min(
          ...screens.map(([x, y]) => Math.hypot(x - (first?.[0] ?? 0), y - (first?.[1] ?? 0))),
        );
        expect(nearest).toBeLessThan(0.5);
      }
      await a.screenshot(`aligned-${name}`);
    };
    await check("fitted");
    await a.zoom(clicked, 7);
    await check("zoomed");
    await a.key("Control+r");
    await a.zoom(clicked, 5);
    await check("turned");
    const calls = (await a.calls()).length;
    const before = await a.screen(clicked);
    await a.drag(clicked, [60, -40]);
    const after = await a.screen(clicked);
    expect(after[0] - before[0]).toBeCloseTo(60, 0);
    expect(after[1] - before[1]).toBeCloseTo(-40, 0);
    await check("moved");
    expect((await a.calls()).length).toBe(calls);
    // A click on the rotated and zoomed picture is where the person sees it.
    await a.clickOn([clicked[0] + 3, clicked[1] - 2]);
    const [x, y] = (await lastCall(a)).pos_points.at(-1) as Point;
    expect(Math.hypot(x - clicked[0] - 3, y - clicked[1] + 2)).toBeLessThan(0.3);
  });

  test("the pixels of a box's line are where its edge is", async () => {
    const a = await open();
    const clicked = centre(one);
    await a.clickOn(clicked, "2");
    await a.key("Escape");
    await a.zoom(clicked, 9);
    const [x, y] = await a.screen(clicked);
    const around = (await a.outlines()).filter(([p, , q]) => {
      return p && q && p[0] < x && x < q[0] && p[1] < y && y < q[1];
    });
    const [[left, top], [right]] = around.at(-1) as [Point, Point];
    const swatch = a.label(one).locator(".swatch");
    const color = await swatch.evaluate((element) => getComputedStyle(element).backgroundColor);
    const wanted = color.match(/\d+/g)?.map(Number) as number[];
    const column = await a.pixels(left + (right - left) * 0.2, top - 8, 16);
    const distances = column.map((pixel) =>
      Math.hypot(...pixel.map((value, i) => value - (wanted[i] as number))),
    );
    const line = distances.flatMap((distance, i) => (distance < 40 ? [i] : []));
    // The line is 2 or 3.5 pixels wide, and its middle is the edge.
    expect(line.length).toBeGreaterThanOrEqual(1);
    expect(line.length).toBeLessThanOrEqual(4);
    const middle = line.reduce((sum, i) => sum + i + 0.5, 0) / line.length;
    expect(Math.abs(middle - 8)).toBeLessThanOrEqual(1);
  });

  test("hover, drop, another class, threshold without a request", async () => {
    const a = await open();
    await a.clickOn(centre(one), "2");
    await a.key("Escape");
    await a.hover(centre(one));
    const tip = a.page.locator("#c3det-plugin .tip");
    expect(await tip.textContent()).toMatch(says(one, " \\d\\.\\d\\d · yours$"));
    await a.screenshot("hover");
    const calls = (await a.calls()).length;
    const shown = (await a.outlines()).length;

    await a.click(centre(one));
    await a.page.locator("#c3det-plugin .menu").waitFor();
    await a.screenshot("menu");
    await a.key("3");
    await a.hover([2, 2]);
    await a.hover(centre(one));
    expect(await tip.textContent()).toMatch(says(two));

    await a.click(centre(one), "right");
    expect((await a.outlines()).length).toBe(shown - 1);
    await a.button("Undo").click();
    await a.button("Undo").click();
    await a.hover([2, 2]);
    await a.hover(centre(one));
    expect(await tip.textContent()).toMatch(says(one));

    const slider = a.panel.getByRole("slider");
    await slider.focus();
    await slider.press("Home");
    const all = (await a.outlines()).length;
    await slider.press("End");
    const few = (await a.outlines()).length;
    expect(all).toBeGreaterThan(shown);
    expect(few).toBeLessThan(shown);
    expect(few).toBeGreaterThan(0);
    expect((await a.calls()).length).toBe(calls);
  });

  test("objects under an armed click stay as they are; accepted ones are skipped", async () => {
    const box = world.truth[0]?.objects.find(({ label }) => label === one)
      ?.box as readonly number[];
    const a = await open({ shapes: [{ type: "rectangle", label: one, points: box }] });
    await a.hover(centre(one));
    await a.key("2");
    await a.drag(centre(one), [30, 0]);
    await a.clickOn(centre(one));
    expect((await a.objects())[0]?.points).toEqual(box);
    expect(await a.panel.locator(".note").textContent()).toMatch(/has its rectangle already/);
    const shown = (await a.outlines()).length;
    await a.screenshot("present");
    await a.key("Enter");
    await expect.poll(() => a.says("count")).toBe(String(shown));
    await a.key("Escape");
    await a.hover(centre(one));
    await a.drag(centre(one), [30, 0]);
    expect((await a.objects())[0]?.points).not.toEqual(box);
  });

  test("clicks stay with their frame; an answer for another frame is dropped", async () => {
    const a = await open();
    await a.panel.getByLabel("Propose on each new frame").uncheck();
    await a.clickOn(centre(one), "2");
    const shown = (await a.outlines()).length;
    await a.fault({ delay_s: 1.5 });
    await a.click(centre(one, 1));
    await a.status.getByText("Asking the model").waitFor();
    await a.key("f");
    await expect.poll(() => a.says("frame")).toBe("1");
    expect(await a.outlines()).toEqual([]);
    expect(await a.panel.locator("output.quiet").textContent()).toBe("0");
    await a.page.waitForTimeout(2500);
    expect(await a.outlines()).toEqual([]);
    await a.clickOn(centre(three, 0, 1), "1");
    expect((await a.outlines()).length).toBeGreaterThan(0);
    await a.screenshot("other-frame");
    await a.key("d");
    await expect.poll(() => a.says("frame")).toBe("0");
    await a.settle();
    expect(await a.panel.locator("output.quiet").textContent()).toBe("2");
    expect((await a.outlines()).length).toBeGreaterThanOrEqual(shown - 5);
  });

  test("a slow answer shows its seconds and can be cancelled; the latest clicks win", async () => {
    const a = await open();
    await a.key("2");
    await a.fault({ delay_s: 3 });
    await a.click(centre(one));
    await a.status.getByText(/Asking the model … [12] s/).waitFor();
    // The seconds are not read out, and nothing turns for who does not want it.
    expect(await a.status.locator("[aria-hidden=true]").textContent()).toMatch(/^ [12] s$/);
    const turns = () =>
      a.panel.locator(".spinner").evaluate((spinner) => getComputedStyle(spinner).animationName);
    expect(await turns()).toBe("rotate");
    await a.page.emulateMedia({ reducedMotion: "reduce" });
    expect(await turns()).toBe("none");
    await a.screenshot("slow");
    await a.button("Cancel").click();
    await a.status.getByText("Cancelled.").waitFor();
    expect(await a.panel.locator("output.quiet").textContent()).toBe("1");
    await a.button("Ask again").click();
    await a.settle();
    expect((await a.outlines()).length).toBeGreaterThan(0);

    await expect.poll(async () => (await a.calls()).length).toBe(2);
    await a.fault({ delay_s: 1 });
    for (const index of [1, 2, 3]) await a.click(centre(one, index));
    const counts = async () =>
      (await a.calls()).slice(2).map(({ pos_points }) => pos_points.length);
    await expect.poll(counts, { timeout: 10_000 }).toEqual([2, 4]);
    await a.settle();
    expect(await counts()).toEqual([2, 4]);
  });

  test("errors show their sentence and lose no click", async () => {
    const a = await open();
    await a.key("2");
    await a.fault({ status: 500 });
    await a.click(centre(one));
    await a.status
      .getByText(
        "The function is stopped, restarting or busy. Your clicks are kept. Ask again in a moment, or tell whoever runs CVAT.",
      )
      .waitFor();
    await a.screenshot("failed");
    expect(await a.panel.locator("output.quiet").textContent()).toBe("1");
    await a.fault({ cut: true });
    await a.button("Ask again").click();
    await a.status.getByText(/^(The function is stopped|CVAT cannot be reached)/).waitFor();
    await a.button("Ask again").click();
    await a.settle();
    expect((await a.outlines()).length).toBeGreaterThan(0);
    // The function's own sentence: it takes a thousand clicks.
    const points = Array.from({ length: 1001 }, (_, i) => [
      5 + (i % 100) * 4,
      5 + Math.floor(i / 100),
    ]);
    await a.close();
    const b = await open({ shapes: [{ type: "points", label: one, points: points.flat() }] });
    await b.button("Take 1001 points as clicks").click();
    await b.status
      .getByText("pos_points holds 1001 points, at most 1000 fit", { exact: false })
      .waitFor({ timeout: 20_000 });
    expect(await b.panel.locator("output.quiet").textContent()).toBe("1001");
    a.console.splice(0);
    b.console.splice(0);
  });

  test("clicks taken from points; a thousand boxes stay fluid", async () => {
    const objects = (world.truth[2]?.objects ?? []).slice(0, 1000);
    const names = [...new Set(objects.map(({ label }) => label))];
    const shapes = names.map((label) => ({
      type: "points",
      label,
      points: objects
        .filter((object) => object.label === label)
        .flatMap(({ box: [x1, y1, x2, y2] }) => [(x1 + x2) / 2, (y1 + y2) / 2]),
    }));
    const a = await open({ labels: names, frames: [2], shapes });
    const frames = async (name: string, act: () => Promise<void>) => {
      await a.page.evaluate(() => {
        const times: number[] = [];
        Object.assign(window, { frameTimes: times, counting: true });
        let last = performance.now();
        const tick = (now: number) => {
          times.push(now - last);
          last = now;
          // biome-ignore lint/suspicious/noExplicitAny: the test's own handle
          if ((window as any).counting) requestAnimationFrame(tick);
        };
        requestAnimationFrame(tick);
      });
      await act();
      const times: number[] = await a.page.evaluate(() => {
        Object.assign(window, { counting: false });
        // biome-ignore lint/suspicious/noExplicitAny: as above
        return (window as any).frameTimes;
      });
      const sorted = times.slice(2).sort((p, q) => p - q);
      const at = (part: number) => sorted[Math.floor(part * (sorted.length - 1))] as number;
      const measured = { median: at(0.5), p95: at(0.95), frames: sorted.length };
      process.stderr.write(
        `${name}: median ${measured.median.toFixed(1)} ms, 95 % ${measured.p95.toFixed(1)} ms, ${measured.frames} frames\n`,
      );
      return measured;
    };
    const act = async () => {
      const middle: Point = [672, 672];
      const [x, y] = await a.screen(middle);
      await a.page.mouse.move(x, y);
      for (let i = 0; i < 6; i += 1) {
        await a.page.mouse.wheel(0, -100);
        await a.page.waitForTimeout(40);
      }
      await a.page.mouse.down();
      for (let i = 0; i < 40; i += 1) await a.page.mouse.move(x + 3 * i, y + 2 * i);
      await a.page.mouse.up();
      for (let i = 0; i < 40; i += 1) await a.page.mouse.move(x + 5 * i, y + 3 * i);
      for (let i = 0; i < 6; i += 1) {
        await a.page.mouse.wheel(0, 100);
        await a.page.waitForTimeout(40);
      }
    };
    const empty = await frames("without boxes", act);
    await a.button("Take 1000 points as clicks").click();
    await a.page.waitForTimeout(200);
    await a.panel.locator(".spinner").waitFor({ state: "hidden", timeout: 110_000 });
    const slider = a.panel.getByRole("slider");
    await slider.focus();
    await slider.press("Home");
    expect((await a.outlines()).length).toBeGreaterThanOrEqual(1000);
    await a.screenshot("thousand");
    const full = await frames("with 1000 boxes", act);
    expect(full.median).toBeLessThan(empty.median + 25);
    await a.screenshot("thousand-after");
  });

  test("labels that the model does not know can be mapped, and it is remembered", async () => {
    const [first, second] = TRAINED as [string, string];
    const written = first === first.toUpperCase() ? first.toLowerCase() : first.toUpperCase();
    const a = await openClosed({ labels: [written, "five", "unheard of"] });
    expect(await a.panel.locator(".label .name").allTextContents()).toEqual([written]);
    await a.button("2 other labels…").click();
    await a.panel.getByRole("combobox", { name: "Class of five" }).selectOption(second);
    await a.screenshot("mapping");
    await a.button("done").click();
    expect(await a.panel.locator(".label .name").allTextContents()).toEqual([written, "five"]);
    await a.clickOn(centre(one), "2");
    expect((await lastCall(a)).neg_points).toEqual([
      [-1, 1],
      [TRAINED.indexOf(second), 1],
    ]);
    await a.page.reload();
    await a.page.locator("body[data-ready]").waitFor();
    expect(await a.panel.locator(".label .name").allTextContents()).toEqual([written, "five"]);
  });

  test.each([
    ["core.server.request", "core.server.request"],
    ["core.classes.ObjectState", "core.classes.ObjectState"],
  ])("a CVAT without %s: off, with one line", async (path, named) => {
    const a = await open({ missing: [path] });
    expect(await a.page.locator("#c3det-plugin").count()).toBe(0);
    expect(a.console.splice(0)).toEqual([`C3Det plugin is off: this CVAT has no ${named}`]);
    await a.key("f");
    await expect.poll(() => a.says("frame")).toBe("1");
  });

  test("rotated boxes are accepted as they are shown", async () => {
    const a = await open();
    // The function's own answer, its boxes turned on the way.
    await a.page.route("**/api/lambda/functions/*", async (route) => {
      const response = await route.fetch();
      const answer = await response.json();
      for (const box of answer.boxes) box.rotation = 30;
      await route.fulfill({ response, json: answer });
    });
    await a.clickOn(centre(one), "2");
    // So large, all lines are on the edges of their boxes.
    await a.zoom(centre(one), 14);
    await a.screenshot("rotated");
    const shown = (await a.outlines()).map((corners) => corners.flat());
    await a.key("Enter");
    await expect.poll(() => a.says("count")).toBe(String(shown.length));
    expect((await a.objects()).every(({ rotation }) => rotation === 30)).toBe(true);
    const made = (await a.shapes()).map((corners) => corners.flat());
    expect(made).toHaveLength(shown.length);
    for (const [some, others] of [
      [made, shown],
      [shown, made],
    ] as const) {
      for (const corners of some) expect(nearest(corners, others)).toBeLessThan(0.5);
    }
  });

  /** The one label that the closed function knows of those that `openBoth` has. */
  const known = TRAINED.at(-1) as string;

  /** A page whose server has both functions. */
  async function openBoth(): Promise<Annotator> {
    return openPage(await world.urlOfBoth(), {
      labels: ["round thing", { name: "outline", type: "polygon" }, known, "long thing", "rest"],
      frames: [0],
    });
  }

  test("an open function takes all labels at once, beside a closed one that takes its own", async () => {
    const a = await openBoth();
    const names = a.panel.locator(".label .name");
    expect(await a.says("interactors")).toBe(
      "Find all like these (C3Det), C3Det (trained classes)",
    );
    const models = a.panel.locator("select.model");
    expect(await models.locator("option").allTextContents()).toEqual([
      "Find all like these",
      "(trained classes)",
    ]);
    expect(await names.allTextContents()).toEqual(["round thing", known, "long thing", "rest"]);
    expect(await a.button("Find without clicks").isVisible()).toBe(false);
    await a.clickOn(centre(one), "1");
    await a.clickOn(centre(three), "2");
    await a.clickOn(centre(two), "3");
    await a.key("1");
    await a.click(centre(two, 1), "right");
    await a.settle();
    // Positions among the labels that rectangles may have.
    expect((await lastCall(a)).neg_points).toEqual([
      [-1, 1],
      [0, 1],
      [1, 1],
      [2, 1],
      [0, 0],
    ]);
    expect((await lastCall(a)).pos_points).toHaveLength(4);
    const dot = a.page.locator('[data-c3det="preview"] [data-layer="dot"]');
    expect(await dot.count()).toBe(1);
    await a.screenshot("open");
    const shown = (await a.outlines()).length;
    expect(shown).toBeGreaterThanOrEqual(3);
    await a.button(`Accept ${shown} boxes`).click();
    await expect.poll(() => a.says("count")).toBe(String(shown));
    for (const [label, kind] of [
      ["round thing", one],
      [known, three],
      ["long thing", two],
    ] as const) {
      expect(await isMade(a, label, centre(kind))).toBe(true);
    }

    await models.selectOption({ label: "(trained classes)" });
    expect(await names.allTextContents()).toEqual([known]);
    await a.clickOn(centre(three, 1), "1");
    // The earlier click still counts.
    expect((await lastCall(a)).neg_points).toEqual([
      [-1, 1],
      [TRAINED.indexOf(known), 1],
      [TRAINED.indexOf(known), 1],
    ]);
    await models.selectOption({ label: "Find all like these" });
    expect(await names.allTextContents()).toHaveLength(4);
  });

  test("while a label is armed, words stand beside the mouse once it rests, and not after a click", async () => {
    const a = await open();
    const tip = a.page.locator("#c3det-plugin .tip");
    await a.clickOn(centre(one), "2");
    await a.page.waitForTimeout(800);
    expect(await tip.isVisible()).toBe(false);
    await a.hover(centre(one, 1));
    expect(await tip.isVisible()).toBe(false);
    await tip.waitFor();
    expect(await tip.textContent()).toMatch(says(one));
    const [x, y] = await a.screen(centre(one, 1));
    await a.page.mouse.move(x + 2, y);
    expect(await tip.isVisible()).toBe(false);
    await tip.waitFor();
    await a.clickOn(centre(one, 1));
    expect(await tip.isVisible()).toBe(false);
    await a.page.waitForTimeout(800);
    expect(await tip.isVisible()).toBe(false);
  });

  test("a box that two labels compete for tells both names, until one is chosen", async () => {
    const a = await openBoth();
    await a.page.route("**/api/lambda/functions/*", async (route) => {
      const response = await route.fetch();
      const box = { class: 0, label: null, points: boxesOf(one)[1], rotation: 0, score: 0.6 };
      const boxes = [{ ...box, click: null, clicks: [], rival: { class: 2, score: 0.55 } }];
      await route.fulfill({ response, json: { ...(await response.json()), boxes } });
    });
    await a.clickOn(centre(one), "1");
    await a.key("Escape");
    await a.hover(centre(one, 1));
    const tip = a.page.locator("#c3det-plugin .tip");
    expect(await tip.textContent()).toBe("round thing 0.60 or long thing 0.55");
    await a.screenshot("compete");
    await a.click(centre(one, 1));
    await a.key("3");
    await a.hover([2, 2]);
    await a.hover(centre(one, 1));
    expect(await tip.textContent()).toBe("long thing 0.60 · yours");
  });

  test("Enter waits for the answer in flight, and the last click is accepted too", async () => {
    const a = await open();
    await a.clickOn(centre(one), "2");
    await a.fault({ delay_s: 1.5 });
    await a.click(centre(one, 1));
    await a.key("Enter");
    await a.status.getByText(/^Waiting for the answer, then accepting …/).waitFor();
    await a.screenshot("waiting");
    expect(await a.says("count")).toBe("0");
    await expect.poll(() => a.says("count"), { timeout: 10_000 }).not.toBe("0");
    for (const index of [0, 1]) expect(await isMade(a, one, centre(one, index))).toBe(true);
    expect(await a.outlines()).toEqual([]);
    expect(await a.panel.locator("output.quiet").textContent()).toBe("0 + 2 accepted");
    expect(await a.says("undo")).toBe("Created objects");

    // Without an answer nothing is accepted, and that is said; the click is there to be asked again.
    await a.clickOn(centre(two), "3");
    await a.fault({ delay_s: 0.5, status: 502 });
    await a.click(centre(two, 1));
    const before = await a.says("count");
    await a.key("Enter");
    await a.status.getByText("Nothing was accepted.", { exact: false }).waitFor();
    expect(await a.says("count")).toBe(before);
    expect(await a.panel.locator("output.quiet").textContent()).toBe("2 + 2 accepted");
    await a.key("Enter");
    await expect.poll(() => isMade(a, two, centre(two, 1)), { timeout: 10_000 }).toBe(true);
    a.console.splice(0);
  });

  test("undo and redo go through clicks, acceptances and CVAT's steps in their order", async () => {
    const a = await open();
    await a.clickOn(centre(one), "2");
    await a.clickOn(centre(one, 1));
    const shown = (await a.outlines()).length;
    const clicks = () => a.panel.locator("output.quiet").textContent();
    await a.key("Enter");
    await expect.poll(() => a.says("count")).toBe(String(shown));
    await a.key("Escape");
    // No label is armed from here on.
    for (let i = 0; i < 2; i += 1) {
      await a.key("Control+z");
      await expect.poll(() => a.says("count")).toBe("0");
      expect(await a.outlines()).toHaveLength(shown);
      expect(await clicks()).toBe("2");
      await a.key("Control+Shift+z");
      await expect.poll(() => a.says("count")).toBe(String(shown));
      expect(await a.outlines()).toEqual([]);
      expect(await clicks()).toBe("0 + 2 accepted");
      expect(await a.panel.locator(".note").isVisible()).toBe(false);
    }
    await a.key("Control+z");
    await expect.poll(() => a.says("count")).toBe("0");
    await a.key("Control+z");
    await expect.poll(clicks).toBe("1");
    expect(await a.says("undo")).toBe("");
    await a.key("Control+Shift+z");
    await expect.poll(clicks).toBe("2");

    // An edit by the menu, and then CVAT's own step.
    await a.click(centre(one), "right");
    expect(await a.outlines()).toHaveLength(shown - 1);
    await a.key("Control+z");
    expect(await a.outlines()).toHaveLength(shown);
    await a.key("Control+Shift+z");
    await a.key("2");
    await a.key("Enter");
    await expect.poll(() => a.says("count")).toBe(String(shown - 1));
    await a.clickOn(centre(three), "1");
    await a.key("Escape");
    await a.key("Control+z");
    await expect.poll(clicks).toBe("0 + 2 accepted");
    expect(await a.says("count")).toBe(String(shown - 1));
    await a.key("Control+z");
    await expect.poll(() => a.says("count")).toBe("0");
  });

  test("a step of CVAT's after a click is taken back before it, with a label armed or not", async () => {
    const [box] = boxesOf(one);
    const a = await open({ shapes: [{ type: "rectangle", label: one, points: box }] });
    const points = async () => (await a.objects())[0]?.points;
    const clicks = () => a.panel.locator("output.quiet").textContent();
    await a.clickOn(centre(two), "3");
    await a.key("Escape");
    await a.hover(centre(one));
    await a.drag(centre(one), [40, 0]);
    expect(await a.says("undo")).toBe("Changed points");
    await a.key("3");
    await a.key("Control+z");
    await expect.poll(points).toEqual(box);
    expect(await clicks()).toBe("1");
    await a.key("Control+z");
    await expect.poll(clicks).toBe("0");
    await a.key("Escape");
    await a.key("Control+Shift+z");
    await expect.poll(clicks).toBe("1");
    expect(await points()).toEqual(box);
    await a.key("Control+Shift+z");
    await expect.poll(points).not.toEqual(box);
    // CVAT has nothing to make again, and neither has the plugin: the key is CVAT's.
    const keys = await a.keysOfCvat();
    await a.key("Control+Shift+z");
    await expect.poll(() => a.keysOfCvat()).toBe(`${keys} ctrl+z`);
  });

  test("another tool ends the wait, and nothing is made under it", async () => {
    const a = await open();
    await a.fault({ delay_s: 1 });
    await a.key("2");
    await a.click(centre(one));
    await a.key("Enter");
    await a.status.getByText(/^Waiting for the answer/).waitFor();
    await a.key("n");
    expect(await a.says("tool")).toBe("draw_rectangle");
    await a.status.getByText("Another tool was chosen: nothing was accepted.").waitFor();
    expect((await a.outlines()).length).toBeGreaterThan(0);
    expect(await a.says("count")).toBe("0");
  });

  test("while another tool has the mouse, boxes are faint, and neither mouse nor keys are theirs", async () => {
    const a = await open();
    await a.clickOn(centre(one), "2");
    await a.key("Escape");
    const shown = (await a.outlines()).length;
    const faint = () =>
      a.page.locator('[data-c3det="preview"]').evaluate((svg) => getComputedStyle(svg).opacity);
    // A box that keys went to is left when the tool is chosen: Escape is the tool's at once.
    await a.key("b");
    await a.page.locator("#c3det-plugin .tip").waitFor();
    await a.key("n");
    expect([await a.says("tool"), await faint()]).toEqual(["draw_rectangle", "0.3"]);
    expect(await a.page.locator("#c3det-plugin .tip").isVisible()).toBe(false);
    await a.hover(centre(one));
    expect(await a.page.locator("#c3det-plugin .tip").isVisible()).toBe(false);
    const [edge] = boxesOf(one) as [readonly [number, number, number, number]];
    await a.zoom(centre(one), 4);
    await a.hover([edge[0], (edge[1] + edge[3]) / 2]);
    expect(await a.page.locator(".c3det-grip").count()).toBe(0);
    await a.hover(centre(one));
    await a.key("Delete");
    expect(await a.outlines()).toHaveLength(shown);
    await a.key("Escape");
    expect([await a.says("tool"), await faint()]).toEqual(["cursor", "1"]);
    await a.hover(centre(one));
    await a.key("Delete");
    expect(await a.outlines()).toHaveLength(shown - 1);
  });

  test("a digit takes the mouse from another tool, but not what was begun with it", async () => {
    const a = await open();
    const armed = () => a.label(one).getAttribute("aria-checked");
    await a.key("n");
    await a.key("2");
    expect([await a.says("tool"), await armed()]).toEqual(["cursor", "true"]);
    await a.key("n");
    await a.click(centre(two));
    await a.key("2");
    await a.status.getByText(/^A digit does not end what you draw/).waitFor();
    expect([await a.says("tool"), await armed()]).toEqual(["draw_rectangle", "false"]);
    await a.key("Escape");
    expect(await a.status.isVisible()).toBe(false);
    // What is begun then is another thing.
    await a.key("n");
    await a.key("2");
    expect([await a.says("tool"), await armed()]).toEqual(["cursor", "true"]);
  });

  test("a frame that CVAT has as removed is passed over, and nothing is proposed on it", async () => {
    const a = await open({ frames: [0, 1, 2] });
    const remove = (removed: boolean) =>
      a.page.evaluate(async (isRemoved) => {
        // biome-ignore lint/suspicious/noExplicitAny: the emulator's own handle
        const { store, change } = (window as any).cvatEmulator;
        const { frames } = store.getState().annotation.job.instance;
        await (isRemoved ? frames.delete(1) : frames.restore(1));
        const { number } = store.getState().annotation.player.frame;
        change({ player: { frame: { number, data: await frames.get(number) } } });
      }, removed);
    const goTo = async (key: string, frame: string) => {
      await a.key(key);
      await expect.poll(() => a.says("frame")).toBe(frame);
    };
    await a.clickOn(centre(one), "2");
    await goTo("f", "1");
    await a.clickOn(centre(one, 0, 1), "2");
    expect((await a.outlines()).length).toBeGreaterThan(0);
    await remove(true);
    await a.panel.locator(".notes").getByText("CVAT has this frame as removed").waitFor();
    expect(await a.outlines()).toEqual([]);
    const cell = a.panel.locator(".cell").nth(1);
    expect(await cell.getAttribute("title")).toBe("Frame 1: removed");
    await a.panel.getByText("0 done · 1 waiting").waitFor();
    await a.screenshot("removed-frame");
    // The mouse and Accept do nothing on it.
    const calls = (await a.calls()).length;
    await a.clickOn(centre(one, 1, 1), "2");
    await a.key("Enter");
    expect([await a.says("count"), (await a.calls()).length]).toEqual(["0", calls]);
    await remove(false);
    await expect.poll(async () => (await a.outlines()).length).toBeGreaterThan(0);
    expect(await cell.getAttribute("title")).toBe("Frame 1: waiting");
    await remove(true);
    await goTo("d", "0");
    expect(await cell.getAttribute("title")).toBe("Frame 1: removed");
    await goTo("a", "2");
    await a.settle();
  });

  test("what the eye hides is shown before it is accepted", async () => {
    const a = await open();
    await a.clickOn(centre(one), "2");
    const shown = (await a.outlines()).length;
    await a.panel.getByTitle("Show or hide the proposals").click();
    expect(await a.outlines()).toEqual([]);
    await a.key("Enter");
    await a.status.getByText("The proposals were hidden.", { exact: false }).waitFor();
    expect(await a.outlines()).toHaveLength(shown);
    expect(await a.says("count")).toBe("0");
    await a.key("Enter");
    await expect.poll(() => a.says("count")).toBe(String(shown));
  });

  test("a right click takes a rectangle away that a model made, and no other", async () => {
    const [first, second] = boxesOf(one);
    const a = await open({
      shapes: [
        { type: "rectangle", label: one, points: first, source: "auto" },
        { type: "rectangle", label: one, points: second, source: "manual" },
      ],
    });
    await a.key("2");
    await a.click(centre(one, 0), "right");
    await expect.poll(() => a.says("count")).toBe("1");
    await a.status.getByText(`Rectangle of ${one} removed. Ctrl+Z brings it back.`).waitFor();
    await a.screenshot("removed");
    expect(await a.calls()).toHaveLength(0);
    await a.key("Control+z");
    await expect.poll(() => a.says("count")).toBe("2");
    await a.click(centre(one, 1), "right");
    await a.status.getByText("it was not made by a model", { exact: false }).waitFor();
    expect(await a.says("count")).toBe("2");
    expect(await a.panel.locator("output.quiet").textContent()).toBe("0");
    // With a proposal on it, the click is sent as well, so that it is not offered again.
    await a.clickOn(centre(one, 2));
    await a.click(centre(one, 0), "right");
    await a.settle();
    await expect.poll(() => a.says("count")).toBe("1");
    // The rectangle that a person made goes along as an exemplar.
    const sent = await lastCall(a);
    expect(sent.neg_points.slice(0, 2)).toEqual([
      [-1, 2],
      [2, 1],
    ]);
    expect(signsOf(sent)).toEqual([
      [indexOf(one), 1],
      [indexOf(one), 0],
    ]);
    await a.hover(centre(one, 0));
    expect(await a.page.locator("#c3det-plugin .tip").isVisible()).toBe(false);
    await a.key("Control+z");
    await expect.poll(() => a.says("count")).toBe("2");
  });

  test("labels that no rectangle may have are named, with the reason", async () => {
    const a = await open({
      labels: [three, { name: one, type: "polygon" }, { name: two, type: "points" }],
    });
    expect(await a.panel.locator(".label .name").allTextContents()).toEqual([three]);
    await a.button("2 other labels…").click();
    const texts = await a.panel.locator(".mapping select:disabled").allTextContents();
    expect(texts).toEqual(["polygon only", "points only"]);
    await a.screenshot("other-labels");
    await a.close();
    const b = await open({ labels: [{ name: three, type: "polygon" }] });
    await b.panel
      .getByText("No label of this task may have rectangles", { exact: false })
      .waitFor();
  });

  test("digits arm in front of a dropdown, and are text in a field", async () => {
    const a = await open();
    const armed = (label: string) => a.label(label).getAttribute("aria-checked");
    await a.page.locator("#dropdown").focus();
    await a.key("1");
    expect(await armed(three)).toBe("true");
    await a.page.locator("#search").focus();
    await a.key("2");
    expect(await armed(one)).toBe("true");
    await a.page.locator("#search").evaluate((input) => {
      input.ariaExpanded = "true";
    });
    await a.key("3");
    await a.page.locator("#text").focus();
    await a.key("1");
    expect(await armed(one)).toBe("true");
    expect(await a.page.locator("#search").inputValue()).toBe("3");
    expect(await a.page.locator("#text").inputValue()).toBe("1");
  });

  test("digits without Shift arm and choose on a French keyboard, which gives signs for them", async () => {
    const a = await open();
    const french = (key: string, code: string) =>
      a.page.evaluate(
        (init) =>
          document.activeElement?.dispatchEvent(
            new KeyboardEvent("keydown", { ...init, bubbles: true, composed: true }),
          ),
        { key, code },
      );
    await a.key("n");
    await french("é", "Digit2");
    expect(await a.label(one).getAttribute("aria-checked")).toBe("true");
    await a.clickOn(centre(one));
    await a.key("Escape");
    await a.click(centre(one));
    await a.page.locator("#c3det-plugin .menu").waitFor();
    await french("&", "Digit1");
    await a.page.locator("#c3det-plugin .menu").waitFor({ state: "hidden" });
    await a.hover([2, 2]);
    await a.hover(centre(one));
    expect(await a.page.locator("#c3det-plugin .tip").textContent()).toMatch(says(three));
  });

  test("Nuclio down when the page is loaded: a line, and another look", async () => {
    const fault = { path: "lambda/functions$", method: "GET", status: 503 };
    const a = await open({ faults: [{ ...fault, times: 2 }] });
    await a.status.getByText("CVAT gets no answer from its functions", { exact: false }).waitFor();
    await a.screenshot("no-functions");
    expect(await a.button("Accept").isVisible()).toBe(false);
    await a.label(three).waitFor({ timeout: 10_000 });
    await a.clickOn(centre(three), "1");
    expect((await a.outlines()).length).toBeGreaterThan(0);
    a.console.splice(0);
  });

  test("the threshold is the weights' until it is chosen", async () => {
    const a = await open();
    const value = a.panel.locator("label output");
    expect(await value.textContent()).toBe("the model's");
    const answers = a.page.waitForResponse("**/api/lambda/functions/*");
    await a.clickOn(centre(one), "2");
    const { threshold, boxes } = await (await answers).json();
    expect(threshold).toBeGreaterThan(0.05);
    expect(await value.textContent()).toBe(threshold.toFixed(2));
    const over = boxes.filter(
      ({ score, class: index }: { score: number; class: number }) =>
        score >= threshold && index === indexOf(one),
    );
    expect(await a.outlines()).toHaveLength(over.length);

    // There is a way back, by keys too, which is not left behind when it goes.
    const back = a.button(`Back to the model's own threshold: ${threshold.toFixed(2)}`);
    expect(await back.isVisible()).toBe(false);
    for (let i = 0; i < 3; i += 1) await a.key("[");
    expect(await value.textContent()).toBe((threshold - 0.15).toFixed(2));
    await a.screenshot("threshold-moved");
    await back.focus();
    await a.key("Enter");
    expect(await value.textContent()).toBe(threshold.toFixed(2));
    expect(await back.isVisible()).toBe(false);
    expect(await a.panel.locator("input[type=range]:focus").count()).toBe(1);
    expect(await a.outlines()).toHaveLength(over.length);
    // What was chosen holds in the next job, before an answer tells the model's own.
    await a.key("Escape");
    await a.key("]");
    await a.page.evaluate(() => sessionStorage.clear());
    a.page.on("dialog", (dialog) => dialog.accept());
    await a.page.reload();
    await a.page.locator("body[data-ready]").waitFor();
    await a.button("Back to the model's own threshold").click();
    expect(await value.textContent()).toBe("the model's");
  });

  test("a closed function's boxes of classes without a click are shown, if the job has their labels", async () => {
    const a = await openClosed();
    const [first, second] = TRAINED as [string, string];
    // The job has labels for the first three classes.
    await addBoxes(a, [0, 3]);
    const answers = a.page.waitForResponse("**/api/lambda/functions/*");
    await a.clickOn(centre(one), "2");
    const { threshold, boxes } = await (await answers).json();
    const over: { class: number; label: string }[] = boxes.filter(
      ({ score }: { score: number }) => score >= threshold,
    );
    const known = over.filter(({ class: index }) => index < 3);
    expect(known.length).toBeLessThan(over.length);
    expect(await a.outlines()).toHaveLength(known.length);
    await a.key("Enter");
    await expect.poll(() => a.says("count")).toBe(String(known.length));
    const made = (await a.objects()).map(({ label }) => label);
    expect(made.sort()).toEqual(known.map(({ label }) => label).sort());
    expect(made).toContain(first);
    expect(made).toContain(second);
  });

  test("a large picture is asked on while the work goes on, and notes are shown", async () => {
    const a = await open();
    let steps = [0, 0.3, 0.62, 1];
    let release = () => {};
    const isReleased = new Promise<void>((resolve) => (release = resolve));
    await a.page.route("**/api/lambda/functions/*", async (route) => {
      const response = await route.fetch();
      const progress = steps.shift() ?? 1;
      const answer = await response.json();
      const part = { progress, coverage: progress === 1 ? 1 : 0, notes: ["two classes: the last"] };
      if (progress === 1) await isReleased;
      await route.fulfill({ response, json: { ...answer, ...part } });
    });
    await a.key("2");
    await a.click(centre(one));
    await a.status.getByText("62 % done …").waitFor();
    await a.screenshot("progress");
    release();
    await a.settle();
    expect(await a.calls()).toHaveLength(4);
    expect(await a.panel.locator(".notes").textContent()).toBe("Two classes: the last.");
    await a.screenshot("notes");

    steps = [0.5, 0.5];
    await a.click(centre(one, 1));
    await a.status.getByText("The function came no further than 50 %", { exact: false }).waitFor();
    expect(await a.calls()).toHaveLength(6);
    expect((await a.outlines()).length).toBeGreaterThan(0);
    await a.button("Ask again").click();
    await a.settle();
    expect(await a.status.isVisible()).toBe(false);
  });

  test("a picture that takes the function many seconds is searched whole before it is accepted", async () => {
    const clicked = world.centres("tablet", 3).slice(0, 20);
    const a = await openPage(await world.hurriedUrl(), {
      labels: ["tablet", three],
      frames: [3],
      shapes: [{ type: "points", label: "tablet", points: clicked.flat() }],
    });
    const answers: { progress?: number; coverage: number }[] = [];
    a.page.on("response", async (response) => {
      if (/lambda\/functions\/./.test(response.url())) answers.push(await response.json());
    });
    await a.key("1");
    await a.button("Take 20 points as clicks").click();
    await a.status.getByText(/% done/).waitFor({ timeout: 60_000 });
    const partly = (await a.outlines()).length;
    await a.screenshot("searching");
    await a.key("Enter");
    await a.status.getByText(/^Waiting for the answer, then accepting/).waitFor();
    await expect.poll(() => a.says("count"), { timeout: 100_000 }).not.toBe("1");
    // The page may have read the last answer before this test has.
    await expect.poll(() => answers.at(-1)?.coverage).toBe(1);
    expect(answers.length).toBeGreaterThan(2);
    const done = answers.map(({ progress, coverage }) => progress ?? coverage);
    for (const [i, share] of done.slice(1).entries())
      expect(share).toBeGreaterThan(done[i] as number);
    expect(Number(await a.says("count"))).toBeGreaterThan(partly);
    for (const point of clicked) expect(await isMade(a, "tablet", point)).toBe(true);
  });

  test("a box that answers several clicks is one box, of the last click's label", async () => {
    const a = await open();
    await a.page.route("**/api/lambda/functions/*", async (route) => {
      const response = await route.fetch();
      const answer = await response.json();
      const { pos_points } = route.request().postDataJSON();
      const clicks = pos_points.map((_: unknown, i: number) => i);
      const box = {
        class: indexOf(two),
        label: two,
        points: boxesOf(one)[0],
        rotation: 0,
        score: 1,
      };
      const boxes = [{ ...box, clicks, click: clicks.at(-1) }];
      await route.fulfill({ response, json: { ...answer, boxes } });
    });
    await a.clickOn(centre(one), "2");
    await a.clickOn(centre(one), "3");
    expect(await a.outlines()).toHaveLength(1);
    await a.key("Enter");
    await expect.poll(() => a.says("count")).toBe("1");
    expect((await a.objects())[0]?.label).toBe(two);
  });

  test("nothing is offered over rectangles that were saved since the page was opened", async () => {
    const a = await open();
    await isRead(a);
    const { results } = await a.get(`api/labels?job_id=${a.job}&page_size=100`);
    const { id } = results.find(({ name }: { name: string }) => name === one);
    const shapes = boxesOf(one).map((points) => ({
      type: "rectangle",
      frame: 0,
      label_id: id,
      points,
      source: "semi-auto",
    }));
    const place = `api/jobs/${a.job}/annotations?action=create`;
    await a.send("PATCH", place, { version: 0, tags: [], tracks: [], shapes });
    await a.clickOn(centre(one), "2");
    const said = `${shapes.length} rectangles of this frame were saved elsewhere`;
    await a.panel.locator(".notes").getByText(said, { exact: false }).waitFor();
    await a.screenshot("saved-elsewhere");
    await a.clickOn(centre(two), "3");
    await a.key("Enter");
    await expect.poll(() => isMade(a, two, centre(two))).toBe(true);
    for (const point of world.centres(one)) expect(await isMade(a, one, point)).toBe(false);
    // Saved by this page, they are known to it.
    await a.page.reload();
    await a.page.locator("body[data-ready]").waitFor();
    await a.clickOn(centre(one), "2");
    expect(await a.panel.locator(".notes").textContent()).toBe("");
  });

  test("rectangles that this page has taken away were not saved elsewhere", async () => {
    const shapes = [0, 1].flatMap((frame) =>
      world.truth[frame]?.objects
        .filter(({ label }) => label === one)
        .map(({ box }) => ({ type: "rectangle", label: one, points: box, frame })),
    );
    const a = await open({ shapes: shapes as object[] });
    await isRead(a);
    await a.page.evaluate(async () => {
      // biome-ignore lint/suspicious/noExplicitAny: the emulator's own handle
      const { store, change, fetchAnnotationsAsync } = (window as any).cvatEmulator;
      await store.getState().annotation.job.instance.annotations.clear();
      await store.dispatch(fetchAnnotationsAsync());
      change({ workspace: "Review" });
      change({ workspace: "Standard" });
    });
    expect(await a.says("count")).toBe("0");
    for (const frame of [0, 1]) {
      await expect.poll(() => a.says("frame")).toBe(String(frame));
      await a.clickOn(centre(one, 0, frame), "2");
      expect(await a.panel.locator(".notes").textContent()).toBe("");
      expect((await a.outlines()).length).toBeGreaterThan(0);
      await a.key("f");
    }
  });

  test("nothing is offered over rectangles that a filter of CVAT's leaves out", async () => {
    const shapes = boxesOf(one).map((points) => ({ type: "rectangle", label: one, points }));
    const a = await open({ shapes });
    const filter = (labels: readonly string[]) =>
      a.page.evaluate(async (filters) => {
        // biome-ignore lint/suspicious/noExplicitAny: the emulator's own handle
        const { store, change, fetchAnnotationsAsync } = (window as any).cvatEmulator;
        change({ annotations: { filters } });
        await store.dispatch(fetchAnnotationsAsync());
      }, labels);
    await filter([two]);
    expect(await a.says("count")).toBe("0");
    await a.clickOn(centre(one), "2");
    await a.panel.locator(".note").getByText("already", { exact: false }).waitFor();
    await a.clickOn(centre(two), "3");
    expect(await a.panel.locator(".notes").textContent()).toBe("");
    await a.key("Enter");
    await expect.poll(() => isMade(a, two, centre(two))).toBe(true);
    await filter([]);
    const made = (await a.objects()).filter(({ label }) => label === one);
    const over = ([x, y]: Point) =>
      made.filter(
        ({ points: [x1 = 0, y1 = 0, x2 = 0, y2 = 0] }) => x1 <= x && x <= x2 && y1 <= y && y <= y2,
      );
    for (const point of world.centres(one)) expect(over(point)).toHaveLength(1);
  });

  test("what the server has is looked through once, not at each change of the page", async () => {
    const a = await open();
    await a.page.evaluate(() => {
      // biome-ignore lint/suspicious/noExplicitAny: the emulator's own handle
      const { server } = (window as any).cvatEmulator.core;
      const request = server.request.bind(server);
      document.body.dataset.looks = "0";
      server.request = async (url: string, options: object) => {
        const response = await request(url, options);
        const { shapes = [] } = response.data ?? response;
        for (const shape of shapes) {
          const { source } = shape;
          Object.defineProperty(shape, "source", {
            get: () => {
              document.body.dataset.looks = String(Number(document.body.dataset.looks) + 1);
              return source;
            },
          });
        }
        return response;
      };
    });
    const looks = () => a.page.locator("body").getAttribute("data-looks");
    const { results } = await a.get(`api/labels?job_id=${a.job}&page_size=100`);
    const shape = { type: "rectangle", frame: 1, label_id: results[0].id, points: [1, 1, 9, 9] };
    const place = `api/jobs/${a.job}/annotations?action=create`;
    const shapes = [{ ...shape, source: "manual" }];
    await a.send("PATCH", place, { version: 0, tags: [], tracks: [], shapes });
    await a.clickOn(centre(one), "2");
    await expect.poll(looks).not.toBe("0");
    expect(await a.panel.locator(".cell").nth(1).getAttribute("class")).toBe("cell done");
    const before = await looks();
    await a.key("Enter");
    await expect.poll(() => a.says("count")).not.toBe("0");
    await a.key("Control+z");
    await expect.poll(() => a.says("count")).toBe("0");
    expect(await looks()).toBe(before);
  });

  test("without a current layer new objects go to the highest one", async () => {
    const a = await open({ noLayer: true }, "2.80");
    await a.clickOn(centre(one), "2");
    await a.key("Enter");
    await expect.poll(() => a.says("count")).not.toBe("0");
    expect(new Set((await a.objects()).map(({ zOrder }) => zOrder))).toEqual(new Set([2]));
  });

  test.each([
    [1366, 625],
    [1920, 1080],
  ])(
    "the panel is whole on a page of %i x %i, scroll bars and an error included",
    async (width, height) => {
      for (const count of [9, 40]) {
        const names = Array.from({ length: count }, (_, i) => LABELS[i] ?? `label ${i}`);
        const a = await open({
          labels: names,
          viewport: { width, height },
          functions: (functions) => functions.map((each) => ({ ...each, labels_v2: [] })),
        });
        await a.page.addStyleTag({
          content:
            "html { overflow: scroll } body { min-width: 1280px; grid-template-rows: 102px 1fr }",
        });
        await a.key("1");
        for (const state of ["plain", "clicked", "failed"]) {
          if (state === "failed") await a.fault({ status: 500 });
          if (state !== "plain") await a.clickOn(centre(three, state === "clicked" ? 0 : 1));
          await a.screenshot(`panel-${width}-${count}-${state}`);
          const canvas = await bounds(a.page.locator(".cvat-canvas-container"));
          const panel = await bounds(a.panel);
          const [client, bar] = await a.page.evaluate(() => [
            document.documentElement.clientHeight,
            window.innerHeight - document.documentElement.clientHeight,
          ]);
          expect(bar).toBeGreaterThan(0);
          expect(panel.left).toBeGreaterThanOrEqual(canvas.left);
          expect(panel.top).toBeGreaterThanOrEqual(canvas.top);
          expect(panel.right).toBeLessThanOrEqual(canvas.right);
          expect(panel.bottom).toBeLessThanOrEqual(Math.min(canvas.bottom, client as number));
          const parts = [a.button(/^Accept( \d+ boxes)?$/), a.panel.locator("header")];
          if (state === "failed") parts.push(a.status);
          for (const part of parts) expect(isWithin(await bounds(part), panel)).toBe(true);
          // Every label can be reached by scrolling.
          const last = a.label(names.at(-1) as string);
          await last.scrollIntoViewIfNeeded();
          expect(isWithin(await bounds(last), panel)).toBe(true);
        }
        // Dragged to the far corner, it is not under the scroll bars.
        const header = await bounds(a.panel.locator("header"));
        await a.page.mouse.move(header.left + 20, header.top + 12);
        await a.page.mouse.down();
        await a.page.mouse.move(width - 5, height - 5, { steps: 3 });
        await a.page.mouse.up();
        const { right, bottom } = await bounds(a.panel);
        const [clientWidth, clientHeight] = await a.page.evaluate(() => [
          document.documentElement.clientWidth,
          document.documentElement.clientHeight,
        ]);
        expect([right <= (clientWidth as number), bottom <= (clientHeight as number)]).toEqual([
          true,
          true,
        ]);
        a.console.splice(0);
        if (count === 9) await a.close();
      }
    },
  );

  test.each([
    ["dark", "brightness(0.12)"],
    ["bright", "brightness(0.2) invert(1)"],
  ])("lines are visible on %s ground, whatever the label's colour", async (name, filter) => {
    const a = await open({
      labels: [
        { name: one, color: "#3a3a00" },
        { name: two, color: "#fff7b0" },
      ],
    });
    await a.page.addStyleTag({ content: `#cvat_canvas_background { filter: ${filter} }` });
    await a.clickOn(centre(one), "1");
    await a.clickOn(centre(two), "2");
    await a.key("Escape");
    for (const label of [one, two]) {
      await a.zoom(centre(label), 8);
      await a.screenshot(`lines-${name}-${label}`);
      const [x, y] = await a.screen(centre(label));
      const around = (await a.outlines()).find(
        ([p, , q]) => p && q && p[0] < x && x < q[0] && p[1] < y && y < q[1],
      );
      const [[left, top], [right]] = around as [Point, Point];
      const column = await a.pixels(left + (right - left) * 0.3, top - 12, 24);
      const light = column.map(([r = 0, g = 0, b = 0]) => 0.2126 * r + 0.7152 * g + 0.0722 * b);
      const ground = [light[0], light[1], light[22], light[23]] as number[];
      const away = light
        .slice(6, 18)
        .map((value) => Math.min(...ground.map((other) => Math.abs(value - other))));
      expect(Math.max(...away)).toBeGreaterThan(100);
      // The label's own colour is there, too.
      const color = a.label(label).locator(".swatch");
      const wanted = await color.evaluate((element) => getComputedStyle(element).backgroundColor);
      const rgb = wanted.match(/\d+/g)?.map(Number) as number[];
      const distances = column.map((pixel) =>
        Math.hypot(...pixel.map((value, i) => value - (rgb[i] as number))),
      );
      expect(Math.min(...distances)).toBeLessThan(60);
      // So is, for a dark one, the pale casing in the list of labels, as the boxes have it.
      const ring = await color.evaluate((element) => getComputedStyle(element).boxShadow);
      expect(ring.includes("rgb(255, 255, 128)")).toBe(label === one);
      await a.zoom(centre(label), -8);
    }
  });

  test("lines cover nothing of a small object", async () => {
    const a = await open({
      labels: ["tablet", three],
      frames: [2],
    });
    await a.clickOn(centre("tablet", 0, 2), "1");
    await a.key("Escape");
    await a.hover([2, 2]);
    await a.screenshot("small");
    const eye = a.panel.getByTitle("Show or hide the proposals");
    const lines = (await a.outlines()).map(([p, , q]) => [p, q] as [Point, Point]);
    const panel = await bounds(a.panel);
    // The line's own half and its casings are around the object, less than 2 pixels together.
    const inside = lines
      .map(([p, q]) => ({
        x: p[0] + 2,
        y: p[1] + 2,
        width: q[0] - p[0] - 4,
        height: q[1] - p[1] - 4,
      }))
      .filter(({ x, width, height }) => Math.min(width, height) < 14 && x > panel.right);
    const alone = inside.filter(
      (box) =>
        lines.filter(
          ([p, q]) =>
            p[0] - 4 < box.x + box.width &&
            q[0] + 4 > box.x &&
            p[1] - 4 < box.y + box.height &&
            q[1] + 4 > box.y,
        ).length === 1,
    );
    expect(alone.length).toBeGreaterThan(0);
    for (const { x, y, width, height } of alone.slice(0, 5)) {
      const clip = {
        x: Math.ceil(x + 0.5),
        y: Math.ceil(y + 0.5),
        width: Math.max(1, Math.floor(width - 1)),
        height: Math.max(1, Math.floor(height - 1)),
      };
      const drawn = await a.page.screenshot({ clip });
      await eye.click();
      await a.hover([2, 2]);
      expect((await a.page.screenshot({ clip })).equals(drawn)).toBe(true);
      await eye.click();
      await a.hover([2, 2]);
    }
  });

  const low = { viewport: { width: 1366, height: 625 } };
  const clicksShown = (a: Annotator) => a.panel.locator("output.quiet").textContent();
  const countOf = async (a: Annotator, label: string) =>
    Number(await a.label(label).locator(".count").textContent());

  test("of a whole picture with a thousand boxes most is seen, and each box on any ground", async () => {
    const colors = ["#3a3a00", "#fff7b0", "#fa3253", "#33ddff"];
    const labels = LABELS.map((name, i) => ({ name, color: colors[i] as string }));
    const a = await open({ labels, frames: [2], ...low });
    const objects = world.truth[2]?.objects ?? [];
    const boxes = objects.map(({ label, box }, i) => {
      const clicks = i === 0 ? [0] : [];
      return { class: indexOf(label), points: box, rotation: 0, score: 0.9, clicks };
    });
    await a.page.route("**/api/lambda/functions/*", (route) =>
      route.fulfill({ json: { c3det: 1, boxes, progress: 1, threshold: 0.3 } }),
    );
    const { label } = objects[0] as { label: string };
    await a.clickOn(centre(label, 0, 2), String(indexOf(label) + 1));
    await a.key("Escape");
    await a.hover([-9, 2]);
    expect((await a.outlines()).length).toBeGreaterThan(1000);
    await a.screenshot("many");

    const side = 250;
    const [left, top] = await a.screen([0, 0]);
    const picture = () => a.pixels(left, top, side, side);
    const apart = (p: readonly number[] = [], q: readonly number[] = []) =>
      Math.max(...p.map((value, i) => Math.abs(value - (q[i] as number))));
    const eye = a.panel.getByTitle("Show or hide the proposals");
    const shown = await picture();
    await eye.click();
    const alone = await picture();
    await eye.click();
    const covered = shown.filter((pixel, i) => apart(pixel, alone[i]) > 40).length;
    expect(covered / side ** 2).toBeLessThan(0.33);

    for (const [name, filter, ground] of [
      ["dark", "brightness(0.12)", [10, 10, 10]],
      ["bright", "brightness(0.2) invert(1)", [235, 235, 235]],
    ] as const) {
      await a.page.addStyleTag({ content: `#cvat_canvas_background { filter: ${filter} }` });
      await a.screenshot(`many-${name}`);
      const pixels = await picture();
      for (const { box } of objects.slice(0, 400)) {
        const [x, y] = await a.screen([(box[0] + box[2]) / 2, box[1]]);
        const [column, row] = [Math.round(x - left), Math.round(y - top)];
        if (column >= side || row >= side) continue;
        const line = [-3, -2, -1, 0].map((by) => pixels[(row + by) * side + column]);
        expect(Math.max(...line.map((pixel) => apart(pixel, ground)))).toBeGreaterThan(100);
      }
    }
  });

  test("what is in view is accepted alone, and the rest waits", async () => {
    const a = await open();
    await a.clickOn(centre(three), "1");
    const all = (await a.outlines()).length;
    const button = a.button(/^Only in view/);
    expect(await button.isVisible()).toBe(false);
    await a.zoom(centre(three, 0), 5);
    // Without the border, which is the panel's room.
    const area = await a.page.locator("#cvat_canvas_wrapper").evaluate((canvas) => {
      const { left, top } = canvas.getBoundingClientRect();
      const [x, y] = [left + canvas.clientLeft, top + canvas.clientTop];
      return { left: x, top: y, right: x + canvas.clientWidth, bottom: y + canvas.clientHeight };
    });
    const inView = (await a.outlines()).filter((corners) => {
      const [[x1, y1], , [x2, y2]] = corners as [Point, Point, Point, Point];
      const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
      return isWithin({ left: x, right: x, top: y, bottom: y }, area);
    }).length;
    expect(inView).toBeGreaterThan(0);
    expect(inView).toBeLessThan(all);
    await a.button(`Only in view: ${inView}`).waitFor();
    await a.screenshot("in-view");
    await a.key("Shift+A");
    await expect.poll(() => a.says("count")).toBe(String(inView));
    await expect.poll(async () => (await a.outlines()).length).toBe(all - inView);
    await button.waitFor({ state: "hidden" });
    await a.key("Enter");
    await expect.poll(() => a.says("count")).toBe(String(all));
  });

  test("one label alone is accepted, hidden, or has a threshold of its own, by keys", async () => {
    const a = await open(low);
    await a.clickOn(centre(three), "1");
    await a.clickOn(centre(one), "2");
    await a.clickOn(centre(two), "3");
    const [threes, ones, twos] = await Promise.all(
      [three, one, two].map((name) => countOf(a, name)),
    );
    const shown = (await a.outlines()).length;
    expect((threes as number) + (ones as number) + (twos as number)).toBe(shown);
    const calls = (await a.calls()).length;

    // An eye for each label: what it hides is not accepted.
    const eyes = () =>
      a.panel
        .locator(".eye")
        .evaluateAll((all) =>
          all.map((eye) => [eye.getAttribute("aria-pressed"), getComputedStyle(eye).opacity]),
        );
    const seen = ["true", "1"];
    expect(await eyes()).toEqual([seen, seen, seen, seen]);
    await a.key("Shift+Digit1");
    expect(await eyes()).toEqual([["false", "1"], seen, seen, seen]);
    const all = a.panel.getByTitle("Show or hide the proposals");
    expect(await all.getAttribute("aria-pressed")).toBe("true");
    expect(await a.outlines()).toHaveLength(shown - (threes as number));
    expect(await a.label(three).textContent()).toBe(`${three}hidden1`);
    await a.panel.locator(".notes").getByText("of hidden labels will not be accepted").waitFor();
    await a.screenshot("low-eye");
    await a.key("y");
    expect(await a.outlines()).toEqual([]);
    await a.key("y");

    // A threshold for the armed label alone; sure boxes stay.
    for (let i = 0; i < 14; i += 1) await a.key("Shift+PageUp");
    const fewer = await countOf(a, two);
    expect(fewer).toBeLessThan(twos as number);
    expect(fewer).toBeGreaterThan(0);
    expect(await countOf(a, one)).toBe(ones);
    await a.panel.locator(".label .own").getByText("≥ 0.95").waitFor();
    await a.screenshot("low-threshold");
    await a.button("as all others").click();
    await a.button(`own threshold for ${two}`).waitFor();
    expect(await countOf(a, two)).toBe(twos);
    const before = (await a.outlines()).length;
    for (let i = 0; i < 6; i += 1) await a.key("[");
    expect((await a.outlines()).length).toBeGreaterThan(before);
    for (let i = 0; i < 14; i += 1) await a.key("PageUp");
    await a.key("Shift+Digit1");
    expect((await a.calls()).length).toBe(calls);

    await a.button(`Only ${two}: ${await countOf(a, two)}`).waitFor();
    const wanted = await countOf(a, two);
    await a.key("Shift+Enter");
    await expect.poll(() => a.says("count")).toBe(String(wanted));
    expect(new Set((await a.objects()).map(({ label }) => label))).toEqual(new Set([two]));
    expect(await countOf(a, one)).toBeGreaterThan(0);
    expect(await countOf(a, two)).toBe(0);
    // The clicks of the other labels are none of these, and can be taken back.
    expect(await clicksShown(a)).toBe("2 + 1 accepted");
    expect(await a.button("Undo").isEnabled()).toBe(true);
    // With no label armed, Enter takes the others.
    await a.key("Escape");
    const rest = (await a.outlines()).length;
    await a.key("Enter");
    await expect.poll(() => a.says("count")).toBe(String(wanted + rest));
    expect(await clicksShown(a)).toBe("0 + 3 accepted");
    // The earlier clicks count on; all of them can be cleared.
    await a.clickOn(centre(one, 1), "2");
    expect((await lastCall(a)).pos_points).toHaveLength(4);
    await a.key("u");
    expect(await clicksShown(a)).toBe("0");
    await a.key("Control+z");
    expect(await clicksShown(a)).toBe("1 + 3 accepted");
  });

  test("accept and go on: the next frame proposes by itself, and the strip tells how far it is", async () => {
    const a = await openClosed(low);
    await addBoxes(a, [0]);
    const cells = () =>
      a.panel
        .locator(".cell")
        .evaluateAll((all) =>
          all.map((cell) => `${cell.className} ${cell.ariaCurrent ?? ""}`.trim()),
        );
    const condition = a.panel.getByText(", once one was worked on");
    expect(await cells()).toEqual(["cell untouched true", "cell untouched"]);
    expect(await condition.isVisible()).toBe(true);
    await a.screenshot("low-untouched");
    await a.key("s");
    await a.settle();
    expect((await lastCall(a)).pos_points).toEqual([]);
    expect(await condition.isVisible()).toBe(false);
    expect(await cells()).toEqual(["cell waiting true", "cell untouched"]);
    await a.key("a");
    await expect.poll(() => a.says("frame")).toBe("1");
    expect(await cells()).toEqual(["cell done", expect.stringMatching(/true$/)]);
    await expect.poll(async () => (await a.outlines()).length).toBeGreaterThan(0);
    await a.settle();
    // What was found ahead is the answer: nothing has changed since for this function.
    expect((await a.calls()).length).toBe(2);
    expect(await cells()).toEqual(["cell done", "cell waiting true"]);
    await a.screenshot("low-next-frame");
    await a.key("a");
    await a.status.getByText("This is the last frame of the job.").waitFor();
    expect(await cells()).toEqual(["cell done", "cell done true"]);
    await a.panel.locator(".cell").first().click();
    await expect.poll(() => a.says("frame")).toBe("0");
  });

  test("in a job with rectangles a new frame is proposed for at once, but not behind a folded panel", async () => {
    const box = world.truth[1]?.objects[0]?.box as readonly number[];
    const a = await open({
      ...low,
      shapes: [{ type: "rectangle", label: three, frame: 1, points: box }],
    });
    const headers = async () =>
      (await a.calls()).map(({ neg_points }) => JSON.stringify(neg_points.slice(0, 2)));
    // Without a click: the rectangle is asked for as an exemplar, once, and goes along.
    const [asked, carrying] = ["[[-1,2],[1,1]]", "[[-1,2],[2,1]]"];
    await expect.poll(async () => (await a.outlines()).length).toBeGreaterThan(0);
    expect(await headers()).toEqual([asked, carrying]);
    expect((await lastCall(a)).pos_points).toEqual([]);
    await a.key("w");
    await a.page.reload();
    await a.page.locator("body[data-ready]").waitFor();
    await a.page.waitForTimeout(1000);
    expect(await a.outlines()).toEqual([]);
    expect(await a.calls()).toHaveLength(2);
    await a.key("w");
    await expect.poll(async () => (await a.outlines()).length).toBeGreaterThan(0);
    expect(await headers()).toEqual([asked, carrying, carrying]);
  });

  test("clicks that were not accepted are kept through a reload, with a warning before", async () => {
    const a = await open(low);
    await a.clickOn(centre(one), "2");
    await a.clickOn(centre(one, 1));
    const shown = (await a.outlines()).length;
    const dialogs: string[] = [];
    a.page.on("dialog", (dialog) => {
      dialogs.push(dialog.type());
      dialog.accept();
    });
    const load = async () => {
      await a.page.reload();
      await a.page.locator("body[data-ready]").waitFor();
      await a.settle();
    };
    await load();
    expect(dialogs).toEqual(["beforeunload"]);
    expect(await clicksShown(a)).toBe("2");
    await expect.poll(async () => (await a.outlines()).length).toBe(shown);
    await a.key("Enter");
    await expect.poll(() => a.says("count")).toBe(String(shown));
    await load();
    expect(dialogs).toHaveLength(1);
    expect(await clicksShown(a)).toBe("0");
  });

  test("a box is corrected by a pull at its edge, by a digit, and by keys alone", async () => {
    const a = await open(low);
    const tip = a.page.locator("#c3det-plugin .tip");
    await a.clickOn(centre(one), "2");
    await a.zoom(centre(one), 6);
    const [x, y] = await a.screen(centre(one));
    const boxAt = async () =>
      (await a.outlines()).find(
        ([p, , q]) => p && q && p[0] < x && x < q[0] && p[1] < y && y < q[1],
      ) as readonly Point[];
    const before = await boxAt();
    const [[left], [right, top], [, bottom]] = before as [Point, Point, Point];
    // The right edge is pulled, the others stay; the picture does not move.
    await a.page.mouse.move(right, (top + bottom) / 2);
    expect(
      await a.page
        .locator("#cvat_canvas_wrapper")
        .evaluate((e) => e.classList.contains("c3det-grip")),
    ).toBe(true);
    await a.page.mouse.down();
    await a.page.mouse.move(right + 10, (top + bottom) / 2);
    await a.page.mouse.move(right + 24, (top + bottom) / 2);
    await a.screenshot("low-pull");
    await a.page.mouse.up();
    const [[left2], [right2, top2], [, bottom2]] = (await boxAt()) as [Point, Point, Point];
    expect(left2).toBeCloseTo(left, 0);
    expect(top2).toBeCloseTo(top, 0);
    expect(bottom2).toBeCloseTo(bottom, 0);
    expect(Math.abs(right2 - right - 24)).toBeLessThan(1.5);
    expect(await clicksShown(a)).toBe("1");
    await a.key("Control+z");
    expect((await boxAt())[1]?.[0]).toBeCloseTo(right, 0);
    await a.key("Control+Shift+z");

    // No label armed: the digit is for the box under the mouse.
    await a.key("Escape");
    await a.hover(centre(one));
    await a.key("3");
    expect(await tip.textContent()).toMatch(says(two));

    // Keys alone: the least sure box, its label, its edge, away with it.
    const count = (await a.outlines()).length;
    const picked = () =>
      a.page.locator('[data-c3det="preview"] g').nth(1).locator("path").first().getAttribute("d");
    await a.key("b");
    const first = await picked();
    await a.screenshot("low-picked");
    await a.key("b");
    expect(await picked()).not.toBe(first);
    await a.key("Shift+B");
    expect(await picked()).toBe(first);
    await a.key("1");
    expect(await tip.textContent()).toMatch(says(three, " .* yours$"));
    for (let i = 0; i < 5; i += 1) await a.key("ArrowRight");
    await a.key("Shift+ArrowUp");
    await a.key("Delete");
    expect(await a.outlines()).toHaveLength(count - 1);
    await a.key("Escape");
    expect(await tip.isVisible()).toBe(false);
    await a.key("Enter");
    await expect.poll(() => a.says("count")).toBe(String(count - 1));
    const corrected = (await a.objects()).filter(({ label }) => label === two);
    expect(corrected).toHaveLength(1);
  });

  test("a box is given a label that the model does not know, by its digit", async () => {
    const a = await openClosed(low);
    expect(await a.label("unheard of").count()).toBe(0);
    await a.clickOn(centre(one), "2");
    await a.key("Escape");
    await a.hover(centre(one));
    await a.key("4");
    const tip = a.page.locator("#c3det-plugin .tip");
    expect(await tip.textContent()).toMatch(says("unheard of"));
    await a.screenshot("low-unheard");
    const count = (await a.outlines()).length;
    await a.key("Enter");
    await expect.poll(() => a.says("count")).toBe(String(count));
    const unheard = (await a.objects()).filter(({ label }) => label === "unheard of");
    expect(unheard).toHaveLength(1);
  });

  test("a click in a larger rectangle of a model replaces it, and no other rectangle", async () => {
    const [x1, y1, x2, y2] = boxesOf(one)[0] as [number, number, number, number];
    const large = [x1 - 14, y1 - 14, x2 + 14, y2 + 14];
    const a = await open({
      ...low,
      shapes: [
        { type: "rectangle", label: one, points: large, source: "auto" },
        {
          type: "rectangle",
          label: one,
          points: large.map((value) => value + 1),
          source: "manual",
        },
        { type: "rectangle", label: two, points: large, source: "auto" },
      ],
    });
    await a.clickOn(centre(one), "2");
    const shown = (await a.outlines()).length;
    await a.key("Shift+Enter");
    await a.status
      .getByText(`A larger rectangle of ${one} was replaced.`, { exact: false })
      .waitFor();
    const larger = async () =>
      (await a.objects())
        .filter(({ points }) => large.every((value, i) => Math.abs(value - (points[i] ?? 0)) < 2))
        .map(({ label, source }) => `${label} ${source}`);
    await expect.poll(larger).toEqual([`${one} manual`, `${two} auto`]);
    expect(await isMade(a, one, centre(one))).toBe(true);
    await a.key("Control+z");
    await expect.poll(larger).toHaveLength(3);
    await a.key("Control+z");
    await expect.poll(() => a.says("count")).toBe("3");
    expect(await a.outlines()).toHaveLength(shown);
  });

  test("the panel stands beside the picture, and is folded and moved by keys and mouse", async () => {
    const a = await open(low);
    const picture = a.page.locator("#cvat_canvas_background");
    const apart = async () => (await bounds(picture)).left - (await bounds(a.panel)).right;
    await expect.poll(apart).toBeGreaterThan(0);
    await a.button("keys…").click();
    await a.screenshot("low-keys");
    const beside = await bounds(picture);
    await a.key("w");
    await expect
      .poll(async () => (await bounds(a.panel)).bottom - (await bounds(a.panel)).top)
      .toBeLessThan(60);
    expect((await bounds(picture)).left).toBeLessThan(beside.left);
    await a.screenshot("low-folded");
    await a.key("1");
    expect(await a.label(three).getAttribute("aria-checked")).toBe("false");
    await a.key("w");
    await expect.poll(apart).toBeGreaterThan(0);
    await a.key("Shift+W");
    await expect.poll(apart).toBeLessThan(0);
    await a.page.reload();
    await a.page.locator("body[data-ready]").waitFor();
    expect(await apart()).toBeLessThan(0);
    await a.key("Shift+W");
    await expect.poll(apart).toBeGreaterThan(0);
    // Dragged, it comes off, and is over the picture where it was left.
    const { left, top } = await bounds(a.panel.locator("header"));
    await a.page.mouse.move(left + 20, top + 12);
    await a.page.mouse.down();
    await a.page.mouse.move(left + 120, top + 30, { steps: 4 });
    await a.page.mouse.move(left + 420, top + 60, { steps: 4 });
    await a.page.mouse.up();
    expect(Math.abs((await bounds(a.panel)).left - left - 400)).toBeLessThan(3);
    expect(await apart()).toBeLessThan(0);
  });

  test("what is looked at stays in the middle when the panel takes or gives room; a whole picture fits", async () => {
    const a = await open(low);
    const canvas = a.page.locator("#cvat_canvas_wrapper");
    const picture = a.page.locator("#cvat_canvas_background");
    /** Where a point of the picture is against the middle of its canvas, and the picture's width. */
    const seen = async (point: Point) => {
      const [x, y] = await a.screen(point);
      const [middleX, middleY] = await canvas.evaluate((element) => {
        const { left, top } = element.getBoundingClientRect();
        return [
          left + element.clientLeft + element.clientWidth / 2,
          top + element.clientTop + element.clientHeight / 2,
        ] as const;
      });
      const { left, right } = await bounds(picture);
      return [x - middleX, y - middleY, right - left].map(Math.round);
    };
    await a.zoom(centre(one), 6);
    await a.drag(centre(one), [20, 10]);
    const before = await seen(centre(one));
    for (const key of ["w", "w", "Shift+W"]) {
      await a.key(key);
      const after = await seen(centre(one));
      after.forEach((value, i) => {
        expect(Math.abs(value - (before[i] as number))).toBeLessThan(2);
      });
    }
    await a.page.mouse.dblclick(...(await a.screen(centre(one))));
    const fitted = (await seen(centre(one)))[2] as number;
    await a.key("Shift+W");
    expect(isWithin(await bounds(picture), await bounds(canvas))).toBe(true);
    expect((await seen(centre(one)))[2]).not.toBe(before[2]);
    expect(fitted).toBeGreaterThan(0);
  });

  test("in another workspace the canvas has its whole size again", async () => {
    const a = await open(low);
    const sizes = () =>
      a.page.evaluate(() => {
        // biome-ignore lint/suspicious/noExplicitAny: the emulator's own handle
        const { instance } = (window as any).cvatEmulator.store.getState().annotation.canvas;
        const { clientWidth, offsetWidth } = instance.html();
        return [instance.geometry.canvas.width, clientWidth, offsetWidth];
      });
    await expect.poll(async () => (await sizes())[1] < (await sizes())[2]).toBe(true);
    await a.page.evaluate(() => {
      // biome-ignore lint/suspicious/noExplicitAny: the emulator's own handle
      const { store } = (window as any).cvatEmulator;
      // biome-ignore lint/suspicious/noExplicitAny: as above
      const leave = ({ annotation, ...rest }: any) => ({
        ...rest,
        annotation: { ...annotation, workspace: "Attribute annotation" },
      });
      store.dispatch(leave, true);
    });
    expect(await a.panel.isVisible()).toBe(false);
    const [drawn, inner, outer] = await sizes();
    expect([drawn, inner]).toEqual([outer, outer]);
  });

  test("with the open function, the work on earlier frames goes along to the next", async () => {
    const a = await openPage(world.url("2.80"), {
      ...low,
      labels: ["round thing", three],
      frames: [0, 1, 0],
    });
    await a.clickOn(centre(one), "1");
    await a.clickOn(centre(three), "2");
    await a.key("a");
    await expect.poll(() => a.says("frame")).toBe("1");
    await expect.poll(() => a.says("count")).toBe("0");
    // One request tells the exemplars of the frame that was left, the next one carries them, and
    // so does that for the frame after this one, which is asked for ahead.
    await expect.poll(async () => (await a.calls()).length, { timeout: 60_000 }).toBe(5);
    await a.settle();
    const [asked, carrying, ahead] = (await a.calls()).slice(2) as [Call, Call, Call];
    expect(ahead.neg_points).toEqual(carrying.neg_points);
    expect(asked.neg_points[0]).toEqual([-1, 2]);
    expect(asked.neg_points[1]?.[0]).toBe(1);
    expect(carrying.pos_points).toEqual([]);
    expect(carrying.neg_points.slice(0, 2)).toEqual([
      [-1, 2],
      [2, asked.neg_points.length - 2],
    ]);
    const sources = a.panel.locator(".source");
    expect(await sources.allTextContents()).toEqual(["0"]);
    expect(await a.status.isVisible()).toBe(false);
    await a.screenshot("low-exemplars");

    // A click here counts beside them, and is an example for the frame after this one.
    await a.clickOn(centre(three, 0, 1), "2");
    expect((await lastCall(a)).pos_points).toHaveLength(1);
    expect((await lastCall(a)).neg_points.slice(0, 2)).toEqual(carrying.neg_points.slice(0, 2));
    await a.key("a");
    await expect.poll(() => a.says("frame")).toBe("2");
    await expect.poll(async () => (await a.calls()).length, { timeout: 60_000 }).toBe(8);
    await a.settle();
    expect(await sources.allTextContents()).toEqual(["0", "1"]);
    const both = (await lastCall(a)).neg_points[1]?.[1] as number;
    expect(both).toBeGreaterThan(carrying.neg_points[1]?.[1] as number);
    expect((await a.outlines()).length).toBeGreaterThan(0);
    await a.screenshot("low-exemplars-two");

    // A frame can be left out, and taken back, without asking for its exemplars again.
    await sources.first().click();
    await a.settle();
    expect((await a.calls()).length).toBe(9);
    expect((await lastCall(a)).neg_points[1]?.[1]).toBeLessThan(both);
    expect(await sources.first().getAttribute("aria-pressed")).toBe("false");
    await sources.first().click();
    await a.settle();
    expect((await lastCall(a)).neg_points[1]).toEqual([2, both]);

    // Exemplars of other weights are taken again, of both frames, and the question is asked anew.
    let refused = false;
    await a.page.route("**/api/lambda/functions/*", async (route) => {
      const response = await route.fetch();
      if (refused || route.request().postDataJSON().neg_points[1][0] !== 2) {
        await route.fulfill({ response });
        return;
      }
      refused = true;
      const error = { code: "other_weights", message: "take them again", field: "neg_points" };
      await route.fulfill({ response, json: { c3det: 1, boxes: [], error } });
    });
    const before = (await a.calls()).length;
    await sources.last().click();
    await a.settle();
    expect((await a.calls()).length).toBe(before + 3);
    expect(await a.status.isVisible()).toBe(false);
  });

  test("the panel says that a function is older than exemplars, and each frame begins with its own clicks", async () => {
    const a = await openPage(world.url("2.80"), {
      labels: ["round thing", three],
      frames: [0, 1],
    });
    await a.page.route("**/api/lambda/functions/*", async (route) => {
      const response = await route.fetch();
      const [[, version]] = route.request().postDataJSON().neg_points;
      const error = { code: "unsupported", message: "this function speaks version 1", field: null };
      await route.fulfill(
        version === 1 ? { response } : { response, json: { c3det: 1, boxes: [], error } },
      );
    });
    await a.clickOn(centre(one), "1");
    await a.key("a");
    await expect.poll(() => a.says("frame")).toBe("1");
    await a.status
      .getByText("deployed before examples of other frames", { exact: false })
      .waitFor();
    await a.screenshot("of-before");
    await a.clickOn(centre(three, 0, 1), "2");
    expect((await lastCall(a)).neg_points[0]).toEqual([-1, 1]);
    expect(await a.panel.locator(".source").count()).toBe(0);
  });

  test("all words of the panel stand out from their ground", async () => {
    const a = await open(low);
    await a.button("keys…").click();
    await a.clickOn(centre(one), "2");
    for (const selector of [".button.main:enabled", ".link", "[aria-checked=true]"]) {
      expect(await a.panel.locator(selector).count()).toBeGreaterThan(0);
    }
    const faint = await a.panel.evaluate((panel) => {
      const channels = (color: string) => (color.match(/[\d.]+/g) ?? []).map(Number);
      const luminance = (color: readonly number[]) =>
        [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
          const value = (color[i] as number) / 255;
          return (
            sum + weight * (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
          );
        }, 0);
      const groundOf = (element: Element | null): number[] => {
        if (element === null) return [255, 255, 255];
        const [r = 0, g = 0, b = 0, alpha = 1] = channels(
          getComputedStyle(element).backgroundColor,
        );
        if (alpha === 1) return [r, g, b];
        const below = groundOf(element.parentElement);
        return [r, g, b].map((value, i) => alpha * value + (1 - alpha) * (below[i] as number));
      };
      return [...panel.querySelectorAll<HTMLElement>("*")].flatMap((element) => {
        const words = [...element.childNodes].some(
          (node) => node instanceof Text && node.data.trim() !== "",
        );
        if (!words || !element.checkVisibility()) return [];
        const [a, b] = [channels(getComputedStyle(element).color), groundOf(element)]
          .map(luminance)
          .sort((x, y) => y - x) as [number, number];
        const contrast = (a + 0.05) / (b + 0.05);
        return contrast < 4.5 ? [`${element.textContent}: ${contrast.toFixed(2)}`] : [];
      });
    });
    expect(faint).toEqual([]);
  });

  test("the panel's head names the function only where there are several; to accept and go on is said in words", async () => {
    const a = await open(low);
    expect(await a.panel.locator("header").textContent()).toBe("C3Det");
    expect(await a.panel.locator("select.model").isVisible()).toBe(false);
    await a.clickOn(centre(one), "2");
    const next = a.button("Accept, next");
    expect(await next.textContent()).toBe("Accept, next →");
    const accept = a.button(/^Accept \d+ boxes$/);
    await accept.evaluate((button) => {
      button.textContent = "Accept 1000";
    });
    for (const button of [next, accept]) {
      expect(await button.evaluate((one) => one.scrollWidth - one.clientWidth)).toBe(0);
    }
    expect(isWithin(await bounds(next), await bounds(a.panel))).toBe(true);
  });

  test("in a long job a part of the strip says how far its frames are, by a pattern and in words", async () => {
    const a = await open({ frames: Array.from({ length: 65 }, () => 0) });
    await a.clickOn(centre(one), "2");
    const cells = a.panel.locator(".cell");
    expect(await cells.count()).toBe(33);
    expect(await cells.first().getAttribute("title")).toBe("Frames 0 to 1: 1 waiting, 1 untouched");
    expect(await cells.last().getAttribute("title")).toBe("Frame 64: untouched");
    const grounds = await cells.evaluateAll((all) =>
      all.slice(0, 2).map((cell) => getComputedStyle(cell).backgroundImage.slice(0, 6)),
    );
    expect(grounds).toEqual(["linear", "none"]);
    await a.panel.getByText("0 done · 1 waiting").waitFor();
  });

  test("leaving the job takes the panel and the preview away", async () => {
    const a = await open();
    await a.clickOn(centre(one), "2");
    await a.page.locator("#leave").click();
    expect(await a.panel.isVisible()).toBe(false);
    expect(await a.page.locator('[data-c3det="preview"]').count()).toBe(0);
  });
});
