// The same plugin in the page that CVAT's own source was built to:
//
//   ./build.sh --bundle CVAT VERSION && CVAT_UI_DIST=CVAT/cvat-ui/dist npm run e2e:cvat

import type { Server } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Annotator, type Point, REAL_PAGE } from "./annotator";
import { serveRealPage } from "./real_page";
import { LABELS, REAL_DIST, World, whatIsMissing } from "./world";

const missing = REAL_DIST ? whatIsMissing() : "CVAT_UI_DIST names no built page of CVAT";
if (missing !== null) throw new Error(`CVAT's own page cannot be driven: ${missing}`);

const [three, one, two] = LABELS;

describe("in CVAT's own page", () => {
  let world: World;
  let page: { server: Server; url: string };

  beforeAll(async () => {
    world = await World.start();
    page = await serveRealPage(REAL_DIST as string, world.emulator("2.15"));
  });

  afterAll(async () => {
    page?.server.close();
    await world?.stop();
  });

  const centre = (label: string, index = 0) => world.centres(label)[index] as Point;

  const open = async (shapes: readonly object[] = []) => {
    const pictures = ["0.png", "1.png"].map((name) => join(world.pictures, name));
    const a = await Annotator.open(world.browser, page.url, {
      labels: LABELS,
      pictures,
      shapes,
      kind: REAL_PAGE,
    });
    await a.page.locator(".cvat-spinner").waitFor({ state: "detached" });
    await a.page.waitForTimeout(500);
    return a;
  };

  const indexOf = (label: string) => (LABELS as readonly string[]).indexOf(label);

  /** The calls for boxes by clicks. A new frame is asked for without any once it was looked at for a
   * moment, after the exemplars of the frame before. */
  const clickCalls = async (a: Annotator) =>
    (await a.calls()).filter(({ pos_points, neg_points: [header, first] }) => {
      const takesExemplars = header?.[1] === 2 && first?.[0] === 1;
      return pos_points.length > 0 && !takesExemplars;
    });

  const items = (a: Annotator) =>
    a.page.locator(".cvat-objects-sidebar-states-header").textContent();

  /** Whether the overlay covers the very rectangle of the screen that the picture does. */
  const misfit = (a: Annotator) =>
    a.page.evaluate(() => {
      const bounds = (selector: string) =>
        (document.querySelector(selector) as Element).getBoundingClientRect();
      const [picture, overlay] = [bounds("#cvat_canvas_background"), bounds("[data-c3det]")];
      return Math.max(
        ...(["left", "top", "right", "bottom"] as const).map((side) =>
          Math.abs(picture[side] - overlay[side]),
        ),
      );
    });

  test("clicks, alignment, accept in one undo step, saved with source and rotation", async () => {
    const a = await open();
    await a.clickOn(centre(three), "1");
    await a.clickOn(centre(one), "2");
    await a.clickOn(centre(two), "3");
    await a.screenshot("cvat-clicked");
    expect((await a.calls()).at(-1)?.neg_points).toEqual([
      [-1, 1],
      [indexOf(three), 1],
      [indexOf(one), 1],
      [indexOf(two), 1],
    ]);
    expect(await misfit(a)).toBeLessThan(0.1);
    await a.key("Control+r");
    await a.page.waitForTimeout(300);
    expect(await misfit(a)).toBeLessThan(0.1);
    const target = centre(one, 2);
    await a.clickOn(target);
    const [x, y] = (await a.calls()).at(-1)?.pos_points.at(-1) ?? [0, 0];
    expect(Math.hypot(x - target[0], y - target[1])).toBeLessThan(1);
    await a.zoom(target, 4);
    expect(await misfit(a)).toBeLessThan(0.1);
    const before = await a.screen(target);
    await a.drag(target, [40, 30]);
    const after = await a.screen(target);
    expect([after[0] - before[0], after[1] - before[1]].map(Math.round)).toEqual([40, 30]);
    expect(await misfit(a)).toBeLessThan(0.1);
    await a.screenshot("cvat-turned");

    const shown = (await a.outlines()).length;
    await a.key("Enter");
    await expect.poll(() => items(a)).toContain(`Items: ${shown}`);
    await a.screenshot("cvat-accepted");
    await a.key("Control+z");
    await expect.poll(() => items(a)).toContain("Items: 0");
    expect(await a.outlines()).toHaveLength(shown);
    await a.key("Enter");
    await expect.poll(() => items(a)).toContain(`Items: ${shown}`);
    // Still armed: a press on an object moves the picture, not the object.
    await a.drag(target, [-40, -30]);
    await a.key("Control+s");
    await expect
      .poll(async () => (await a.get(`api/jobs/${a.job}/annotations`)).shapes.length)
      .toBe(shown);
    const { shapes } = await a.get(`api/jobs/${a.job}/annotations`);
    for (const { type, source } of shapes) {
      expect([type, source]).toEqual(["rectangle", "semi-auto"]);
    }
    expect(a.console.filter((line) => line.startsWith("uncaught"))).toEqual([]);
    await a.close();
  });

  test("a click on the same place again, in a picture as it is, zoomed, turned and moved", async () => {
    const a = await open();
    const [target, noDoubleClick] = [centre(one), 550];
    const points = async () => (await a.calls()).at(-1)?.pos_points ?? [];
    const clicks = () => a.panel.locator("output.quiet").textContent();
    await a.clickOn(target, "2");
    const [first] = await points();
    const shown = (await a.outlines()).length;
    const changes = [
      async () => {},
      () => a.zoom(target, 4),
      () => a.key("Control+r"),
      () => a.drag(target, [40, 30]),
    ];
    const made = [first];
    for (const change of changes) {
      await change();
      await a.page.waitForTimeout(noDoubleClick);
      const [x, y] = await a.screen(target);
      await a.page.mouse.click(x + 2, y - 2);
      await a.settle();
      made.push(first);
      expect([await points(), await clicks()]).toEqual([made, "1"]);
    }
    await a.page.waitForTimeout(noDoubleClick);
    const [x, y] = await a.screen(target);
    await a.page.mouse.dblclick(x, y);
    await a.settle();
    expect([await points(), await clicks()]).toEqual([[...made, first], "1"]);
    for (const _ of made) await a.key("Control+z");
    expect(await clicks()).toBe("1");
    expect(await a.outlines()).toHaveLength(shown);
    await a.key("Control+z");
    expect(await clicks()).toBe("0");
    expect(a.console.filter((line) => line.startsWith("uncaught"))).toEqual([]);
    await a.close();
  });

  test("a frame that the page removes, and brings back", async () => {
    const a = await open();
    const cell = a.panel.locator(".cell").first();
    const title = () => cell.getAttribute("title");
    await a.clickOn(centre(one), "2");
    const shown = (await a.outlines()).length;
    await a.key("Alt+Delete");
    await a.page.getByText("1.png").waitFor();
    await expect.poll(title).toBe("Frame 0: removed");
    await cell.click();
    await a.panel.locator(".notes").getByText("CVAT has this frame as removed").waitFor();
    await a.screenshot("cvat-removed");
    await a.page.locator(".cvat-player-restore-frame").click();
    await expect.poll(title).toBe("Frame 0: waiting");
    expect(await a.outlines()).toHaveLength(shown);
    expect(a.console.filter((line) => line.startsWith("uncaught"))).toEqual([]);
    await a.close();
  });

  test("the cursor that keys move clicks, zooms and takes the picture along", async () => {
    const a = await open();
    await a.key("x");
    const middle = (await a.cursor()) as Point;
    for (let i = 0; i < 6; i += 1) await a.key("z");
    const zoomed = (await a.cursor()) as Point;
    expect(Math.hypot(zoomed[0] - middle[0], zoomed[1] - middle[1])).toBeLessThan(1);
    const before = await a.screen([0, 0]);
    for (let i = 0; i < 12; i += 1) await a.key("Shift+ArrowRight");
    const after = await a.screen([0, 0]);
    expect(after[0]).toBeLessThan(before[0] - 64);
    expect(Math.abs(after[1] - before[1])).toBeLessThan(1);
    expect(await misfit(a)).toBeLessThan(0.1);
    await a.screenshot("cvat-cursor");
    await a.key("Space");
    await a.settle();
    const [clicked] = (await a.calls()).at(-1)?.pos_points ?? [];
    const [x, y] = await a.screen(clicked as Point);
    const at = (await a.cursor()) as Point;
    expect(Math.hypot(x - at[0], y - at[1])).toBeLessThan(1);
    // Neither arrows nor Space went to another frame or played them.
    await a.page.waitForTimeout(500);
    await a.page.getByText("0.png").waitFor();
    // The focus of the panel is not CVAT's either: a cell of the strip is pressed by Space.
    for (let i = 0; i < 4; i += 1) await a.key("i");
    await a.key("ArrowRight");
    await a.key("Space");
    await a.page.getByText("1.png").waitFor();
    await a.page.waitForTimeout(500);
    expect(a.console.filter((line) => line.startsWith("uncaught"))).toEqual([]);
    await a.close();
  });

  test("frames, other tools, existing objects", async () => {
    const box = world.truth[0]?.objects.find(({ label }) => label === one)?.box;
    const a = await open([{ type: "rectangle", label: one, points: box }]);
    // Seen first, the object is active, with its handles.
    await a.hover(centre(one));
    await a.page.waitForTimeout(300);
    await a.clickOn(centre(one), "2");
    expect(await a.panel.locator(".note").textContent()).toMatch(/has its rectangle already/);
    await a.screenshot("cvat-present");
    await a.key("f");
    await a.page.getByText("1.png").waitFor();
    await expect.poll(() => a.outlines()).toEqual([]);
    await a.key("d");
    await a.page.getByText("0.png").waitFor();
    await expect.poll(async () => (await a.outlines()).length).toBeGreaterThan(0);
    expect((await clickCalls(a)).length).toBe(1);

    await a.key("n");
    await expect.poll(() => a.label(one).getAttribute("aria-checked")).toBe("false");
    await a.key("1");
    await expect.poll(() => a.label(three).getAttribute("aria-checked")).toBe("true");
    await a.clickOn(centre(three));
    expect((await clickCalls(a)).length).toBe(2);
    await a.key("Escape");
    await a.hover(centre(three));
    await a.click(centre(three));
    await a.page.locator("#c3det-plugin .menu").waitFor();
    await a.screenshot("cvat-menu");
    await a.key("Delete");
    expect(a.console.filter((line) => line.startsWith("uncaught"))).toEqual([]);
    await a.close();
  });
});
