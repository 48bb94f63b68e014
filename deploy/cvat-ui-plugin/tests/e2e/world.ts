// What the browser tests run in: the real function, the emulator of CVAT's server in front of it,
// the annotation page, and Chromium.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { accessSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Browser, chromium } from "playwright-core";
import { createServer, type ViteDevServer } from "vite";
import type { Point } from "./annotator";

/** The labels of most jobs: the kinds that `pictures.py` draws. */
export const LABELS = ["nut", "washer", "bolt", "tablet"] as const;

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, "../../../..");
const PYTHON = process.env.PYTHON ?? join(ROOT, ".venv/bin/python");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

export const PROFILES = ["2.15", "2026", "2.80"] as const;
export type Profile = (typeof PROFILES)[number];

/** A function: its weights and its description, from the repository's root. */
interface Deployed {
  readonly weights: string;
  readonly description: string;
}

const OPEN: Deployed = {
  weights: "serverless/weights/open.safetensors",
  description: "function.yaml",
};
const CLOSED: Deployed = {
  weights: "serverless/weights/starter.safetensors",
  description: "deploy/closed/interactor.yaml",
};

/** Classes of the closed function's weights, in their order. */
export const TRAINED: readonly string[] = JSON.parse(
  readFileSync(join(ROOT, CLOSED.weights.replace(".safetensors", ".json")), "utf8"),
).classes;

/** What is in a picture. */
export interface Truth {
  readonly width: number;
  readonly height: number;
  readonly objects: readonly {
    readonly label: string;
    readonly box: readonly [number, number, number, number];
  }[];
}

/** Why the browser tests cannot run here, or null; an error in continuous integration. */
export function whatIsMissing(): string | null {
  for (const [name, path] of [
    ["the environment of the repository (make setup)", PYTHON],
    ["Chromium (apt install chromium, or CHROMIUM=path)", CHROMIUM],
  ] as const) {
    try {
      accessSync(path);
    } catch {
      const reason = `${name} is not at ${path}`;
      if (process.env.CI) throw new Error(reason);
      return reason;
    }
  }
  return null;
}

/** Where the page lies that CVAT's own source was built to, with the plugin in it. */
export const REAL_DIST = process.env.CVAT_UI_DIST;

export class World {
  readonly browser: Browser;
  readonly pictures: string;
  readonly truth: readonly Truth[];
  readonly #processes: ChildProcess[];
  readonly #pages: ReadonlyMap<Profile, ServedPage>;
  readonly #functionUrl: string;
  #hurried: ServedPage | null = null;
  #closed: ServedPage | null = null;
  #both: ServedPage | null = null;
  #closedFunctionUrl: string | null = null;
  readonly #emulators: ReadonlyMap<Profile, string>;

  private constructor(
    browser: Browser,
    pictures: string,
    processes: ChildProcess[],
    pages: ReadonlyMap<Profile, ServedPage>,
    emulators: ReadonlyMap<Profile, string>,
    functionUrl: string,
  ) {
    this.browser = browser;
    this.pictures = pictures;
    this.truth = JSON.parse(readFileSync(join(pictures, "truth.json"), "utf8"));
    this.#processes = processes;
    this.#pages = pages;
    this.#emulators = emulators;
    this.#functionUrl = functionUrl;
  }

  static async start(): Promise<World> {
    const pictures = mkdtempSync(join(tmpdir(), "c3det-e2e-"));
    execFileSync(PYTHON, [join(HERE, "pictures.py"), pictures], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const processes: ChildProcess[] = [];
    const functionUrl = await startFunction(processes, OPEN);
    const pages = new Map<Profile, ServedPage>();
    const emulators = new Map<Profile, string>();
    for (const profile of PROFILES) {
      const url = await startEmulator(processes, profile, [`${OPEN.description}=${functionUrl}`]);
      emulators.set(profile, url);
      pages.set(profile, await servePage(url));
    }
    const browser = await chromium.launch({
      executablePath: CHROMIUM,
      // A page's scroll bars take room from it, as they do in front of a person.
      ignoreDefaultArgs: ["--hide-scrollbars"],
      args: ["--no-sandbox", "--disable-dev-shm-usage", "--force-device-scale-factor=1"],
    });
    return new World(browser, pictures, processes, pages, emulators, functionUrl);
  }

  /** Address of the annotation page in front of a version's server. */
  url(profile: Profile): string {
    return (this.#pages.get(profile) as { url: string }).url;
  }

  /** Address of a page whose function answers within a second, with what it has by then. */
  async hurriedUrl(): Promise<string> {
    if (this.#hurried === null) {
      const hurried = { C3DET_TIME_BUDGET_SECONDS: "1" };
      const url = await startFunction(this.#processes, OPEN, hurried);
      const functions = [`${OPEN.description}=${url}`];
      this.#hurried = await servePage(await startEmulator(this.#processes, "2.80", functions));
    }
    return this.#hurried.url;
  }

  /** Address of a page whose server has the closed function. */
  async closedUrl(): Promise<string> {
    if (this.#closed === null) {
      const functions = [await this.#closedFunction()];
      this.#closed = await servePage(await startEmulator(this.#processes, "2.15", functions));
    }
    return this.#closed.url;
  }

  /** Address of a page whose server has the open function, and after it the closed one. */
  async urlOfBoth(): Promise<string> {
    if (this.#both === null) {
      const open = `${OPEN.description}=${this.#functionUrl}`;
      const functions = [open, await this.#closedFunction()];
      this.#both = await servePage(await startEmulator(this.#processes, "2.80", functions));
    }
    return this.#both.url;
  }

  async #closedFunction(): Promise<string> {
    this.#closedFunctionUrl ??= await startFunction(this.#processes, CLOSED);
    return `${CLOSED.description}=${this.#closedFunctionUrl}`;
  }

  /** Address of the emulator of a version's server. */
  emulator(profile: Profile): string {
    return this.#emulators.get(profile) as string;
  }

  /** Centres of a picture's objects of a label. */
  centres(label: string, frame = 0): readonly Point[] {
    return (this.truth[frame]?.objects ?? [])
      .filter((object) => object.label === label)
      .map(({ box: [x1, y1, x2, y2] }) => [(x1 + x2) / 2, (y1 + y2) / 2]);
  }

  async stop(): Promise<void> {
    await this.browser.close();
    for (const { server } of this.#pages.values()) await server.close();
    await this.#hurried?.server.close();
    await this.#closed?.server.close();
    await this.#both?.server.close();
    for (const child of this.#processes) child.kill();
  }
}

interface ServedPage {
  readonly server: ViteDevServer;
  readonly url: string;
}

async function startFunction(
  processes: ChildProcess[],
  { weights }: Deployed,
  settings: object = {},
): Promise<string> {
  const runtime = python("serverless.local", ["--port", "0", "--weights", weights], settings);
  processes.push(runtime);
  const [, url] = await line(runtime, /Open (http:\S+)/);
  return url as string;
}

async function startEmulator(
  processes: ChildProcess[],
  profile: Profile,
  functions: readonly string[],
): Promise<string> {
  const given = functions.flatMap((one) => ["--function", one]);
  const options = ["--profile", profile, ...given, "--with-parent"];
  const emulator = python("tests.emulator", options);
  processes.push(emulator);
  const [, url] = await line(emulator, /"url": "([^"]+)"/);
  return url as string;
}

function python(module: string, options: readonly string[], settings: object = {}): ChildProcess {
  return spawn(PYTHON, ["-m", module, ...options], {
    cwd: ROOT,
    env: { ...process.env, PYTHONUNBUFFERED: "1", ...settings },
    stdio: ["pipe", "pipe", "inherit"],
  });
}

/** Wait for a line of a process's output. */
function line(child: ChildProcess, wanted: RegExp): Promise<RegExpExecArray> {
  return new Promise((resolve, reject) => {
    let output = "";
    child.stdout?.on("data", (data) => {
      output += data;
      const found = wanted.exec(output);
      if (found) resolve(found);
    });
    child.on("exit", (status) => reject(new Error(`it ended with ${status}: ${output}`)));
  });
}

async function servePage(emulator: string): Promise<ServedPage> {
  const server = await createServer({
    root: join(HERE, "../.."),
    configFile: false,
    logLevel: "error",
    cacheDir: join(HERE, "../../node_modules/.vite"),
    resolve: {
      alias: { "actions/annotation-actions": join(HERE, "../cvat/annotation-actions.ts") },
    },
    server: {
      host: "127.0.0.1",
      port: 0,
      hmr: false,
      watch: null,
      proxy: { "/api": emulator, "/emulator": emulator },
    },
  });
  await server.listen();
  return { server, url: server.resolvedUrls?.local[0] as string };
}
