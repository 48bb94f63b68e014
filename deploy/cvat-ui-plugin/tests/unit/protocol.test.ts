import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import {
  AnswerError,
  decodeAnswer,
  decodeExemplars,
  encodeClicks,
  encodeExemplarsRequest,
  sentence,
} from "../../src/ts/protocol";

/** An example of the wire, see tests/protocol/README.md of the repository. */
interface Example {
  readonly form: string;
  readonly request?: { readonly pos_points: unknown; readonly neg_points: unknown };
  readonly boxes?: readonly {
    readonly x1: number;
    readonly y1: number;
    readonly x2: number;
    readonly y2: number;
    readonly label: number;
  }[];
  readonly carried?: {
    readonly weights: string;
    readonly exemplars: readonly {
      readonly class: number;
      readonly positive: boolean;
      readonly width: number;
      readonly height: number;
      readonly vector: string;
      readonly thumbnail?: string;
    }[];
  };
  readonly clicks?: readonly { x: number; y: number; label: number; positive: boolean }[];
  readonly answer?: {
    readonly c3det: number;
    readonly boxes?: readonly {
      readonly class: number | null;
      readonly points: readonly number[];
      readonly rotation: number;
      readonly score: number;
      readonly click: number | null;
      readonly clicks?: readonly number[];
      readonly rival?: { readonly class: number; readonly score: number };
    }[];
    readonly error?: {
      readonly message: string;
      readonly code: string;
      readonly field: string | null;
    } | null;
    readonly weights?: string;
    readonly exemplars?: NonNullable<Example["carried"]>["exemplars"];
    readonly progress?: number | null;
    readonly coverage?: number;
    readonly notes?: readonly string[];
    readonly threshold?: number;
  };
}

const FOLDER = join(dirname(fileURLToPath(import.meta.url)), "../../../../tests/protocol");
const all = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".json"))
  .map((name) => [name, JSON.parse(readFileSync(join(FOLDER, name), "utf8")) as Example] as const);
const examples = all.filter(([, { form }]) => form === "plugin");
const ofExemplars = all.filter(([, { form }]) => form === "exemplars");

const exemplarOf = ({
  class: classIndex,
  positive,
  width,
  height,
  vector,
}: NonNullable<Example["carried"]>["exemplars"][number]) => ({
  classIndex,
  positive,
  width,
  height,
  vector,
});

describe("the examples that all sides of the wire read", () => {
  test.each(examples.filter(([, { clicks }]) => clicks))("request: %s", (_, example) => {
    const { request, clicks = [], carried } = example;
    const encoded = encodeClicks(
      clicks.map(({ label, ...at }) => ({ ...at, classIndex: label })),
      carried
        ? { weights: carried.weights, exemplars: carried.exemplars.map(exemplarOf) }
        : undefined,
    );
    expect(encoded).toEqual({
      pos_points: request?.pos_points,
      neg_points: request?.neg_points,
    });
  });

  test.each(examples.filter(([, { answer }]) => answer?.c3det === 1))(
    "answer: %s",
    (_, example) => {
      const { answer } = example;
      if (answer?.error) {
        expect(() => decodeAnswer(answer)).toThrow(AnswerError);
        const { message, field } = answer.error;
        const where = field === null ? "" : `Field "${field}": `;
        expect(() => decodeAnswer(answer)).toThrow(sentence(where + message));
        return;
      }
      const { boxes, progress, notes, threshold } = decodeAnswer(answer);
      expect(boxes).toEqual(
        answer?.boxes?.map(({ class: classIndex, click, clicks, rival, ...box }) => ({
          classIndex,
          points: box.points,
          rotation: box.rotation,
          score: box.score,
          clicks: clicks ?? (click === null ? [] : [click]),
          rival: rival ? { classIndex: rival.class, score: rival.score } : null,
        })),
      );
      expect(progress).toBe(answer?.progress ?? answer?.coverage);
      expect(notes).toEqual((answer?.notes ?? []).map(sentence));
      if (answer?.threshold !== undefined) expect(threshold).toBe(answer.threshold);
    },
  );

  test.each(ofExemplars.filter(([, { boxes }]) => boxes))("exemplars asked: %s", (_, example) => {
    const { request, clicks = [], boxes = [] } = example;
    const encoded = encodeExemplarsRequest(
      clicks.map(({ label, ...at }) => ({ ...at, classIndex: label })),
      boxes.map(({ x1, y1, x2, y2, label }) => ({ points: [x1, y1, x2, y2], classIndex: label })),
    );
    expect(encoded).toEqual({
      pos_points: request?.pos_points,
      neg_points: request?.neg_points,
    });
  });

  test.each(ofExemplars)("exemplars answered: %s", (_, { answer }) => {
    if (answer?.error) {
      const { code } = answer.error;
      expect(() => decodeExemplars(answer)).toThrow(expect.objectContaining({ code }));
      return;
    }
    const { weights, exemplars, progress } = decodeExemplars(answer);
    expect([weights, progress]).toEqual([answer?.weights, answer?.progress]);
    expect(exemplars).toEqual(
      answer?.exemplars?.map((one) => ({ ...exemplarOf(one), thumbnail: one.thumbnail })),
    );
  });

  test("they hold what they have to", () => {
    expect(ofExemplars.filter(([, { answer }]) => answer?.exemplars?.length)).not.toHaveLength(0);
    expect(examples.filter(([, { carried }]) => carried)).not.toHaveLength(0);
    const names = examples.map(([name]) => name);
    expect(names).toEqual(expect.arrayContaining(["plugin-closed.json", "plugin-open.json"]));
    const strange = examples.filter(([, { answer }]) => answer && answer.c3det !== 1);
    expect(strange).not.toHaveLength(0);
    for (const [, { answer }] of strange) {
      expect(() => decodeAnswer(answer)).toThrow(
        /version 2 of the protocol, this plugin version 1/,
      );
    }
  });
});

const answer = (change: object = {}) => ({
  c3det: 1,
  boxes: [
    { class: 2, label: "car", points: [1, 2, 3.5, 4], rotation: 0, score: 0.75, click: 0 },
    { class: 0, label: null, points: [5, 6, 7, 8], rotation: -90, score: 0, click: null },
  ],
  error: null,
  model: "starter",
  timings_ms: { detect: 1 },
  ...change,
});

describe("answers", () => {
  test("boxes", () => {
    expect(decodeAnswer(answer()).boxes).toEqual([
      { classIndex: 2, points: [1, 2, 3.5, 4], rotation: 0, score: 0.75, clicks: [0], rival: null },
      { classIndex: 0, points: [5, 6, 7, 8], rotation: 270, score: 0, clicks: [], rival: null },
    ]);
    expect(decodeAnswer(answer({ boxes: [] })).boxes).toEqual([]);
  });

  test.each([
    ["several clicks, the one that decided last", { clicks: [0, 2, 3], click: 2 }, [0, 3, 2]],
    ["one click, by an older function", { click: 4 }, [4]],
    ["none", { clicks: [], click: null }, []],
    ["what is no index is left out", { clicks: [1, -1, "2", 0.5], click: -1 }, [1]],
  ])("a box answers %s", (_, keys, clicks) => {
    const box = { class: 0, points: [5, 6, 7, 8], score: 1, ...keys };
    expect(decodeAnswer(answer({ boxes: [box] })).boxes[0]?.clicks).toEqual(clicks);
  });

  test.each([
    ["a class and a score", { class: 3, score: 0.5 }, { classIndex: 3, score: 0.5 }],
    ["no class", { class: null, score: 0.5 }, null],
    ["no score", { class: 3, score: "0.5" }, null],
    ["no record", 3, null],
  ])("the rival of a box: %s", (_, encoded, rival) => {
    const box = { class: 0, points: [5, 6, 7, 8], score: 0.6, rival: encoded };
    expect(decodeAnswer(answer({ boxes: [box] })).boxes[0]?.rival).toEqual(rival);
  });

  test("how much of the work is done: the searched share, or all, where the answer has neither", () => {
    expect(decodeAnswer(answer({ progress: 0.25, coverage: 0 })).progress).toBe(0.25);
    expect(decodeAnswer(answer({ coverage: 0.25 })).progress).toBe(0.25);
    expect(decodeAnswer(answer()).progress).toBe(1);
    expect(decodeAnswer(answer({ progress: "much", coverage: null })).progress).toBe(1);
  });

  test("notes are sentences, and the weights tell their threshold", () => {
    const { notes, threshold } = decodeAnswer(
      answer({ notes: ["the last click won", "", 3], threshold: 0.42 }),
    );
    expect(notes).toEqual(["The last click won."]);
    expect(threshold).toBe(0.42);
    expect(decodeAnswer(answer()).notes).toEqual([]);
  });

  test.each([
    [
      answer({ error: { code: "outside", message: "it is outside", field: "pos_points[0]" } }),
      'Field "pos_points[0]": it is outside.',
    ],
    [
      answer({ error: { code: "internal", message: "Out of memory.", field: null } }),
      "Out of memory.",
    ],
    [answer({ c3det: 2 }), "The function speaks version 2 of the protocol, this plugin version 1."],
    [answer({ boxes: null }), "The answer of the function has no boxes."],
    [
      answer({ boxes: [{ class: 0, points: [1, 2, 3], score: 1 }] }),
      "Box 0 in the answer of the function is malformed.",
    ],
    [
      answer({ boxes: [{ class: 0, points: [1, 2, 3, "4"], score: 1 }] }),
      "Box 0 in the answer of the function is malformed.",
    ],
    [
      answer({ boxes: [{ class: 0.5, points: [1, 2, 3, 4], score: 1 }] }),
      "Box 0 in the answer of the function is malformed.",
    ],
    [
      answer({ boxes: [{ class: 0, points: [1, 2, 3, 4], score: 1.5 }] }),
      "Box 0 in the answer of the function is malformed.",
    ],
    [{ mask: [[1]] }, "The answer is not of the C3Det protocol: is this function a C3Det model?"],
    [null, "The answer is not of the C3Det protocol: is this function a C3Det model?"],
    ["<html>", "The answer is not of the C3Det protocol: is this function a C3Det model?"],
  ])("%j", (given, message) => {
    expect(() => decodeAnswer(given)).toThrow(AnswerError);
    expect(() => decodeAnswer(given)).toThrow(expect.objectContaining({ message }));
  });

  test.each([
    [{ exemplars: [{ class: 1, positive: true, width: 0, height: 1, vector: "AQID" }] }],
    [{ exemplars: [{ class: 1, positive: true, width: 1, height: 1, vector: "AQ?=" }] }],
    [{ exemplars: [{ class: -1, positive: true, width: 1, height: 1, vector: "AQID" }] }],
    [{ weights: "12" }],
    [{ exemplars: null }],
    [{ c3det: 1 }],
  ])("no exemplars: %j", (change) => {
    const good = { c3det: 2, exemplars: [], weights: "ab".repeat(32), progress: 1 };
    expect(decodeExemplars(good).exemplars).toEqual([]);
    expect(() => decodeExemplars({ ...good, ...change })).toThrow(AnswerError);
  });

  test.each([undefined, 5, "no picture", "AQ?="])(
    "an exemplar counts without its picture: %j",
    (thumbnail) => {
      const one = { class: 1, positive: true, width: 1, height: 1, vector: "AQID", thumbnail };
      const answer = { c3det: 2, exemplars: [one], weights: "ab".repeat(32), progress: 1 };
      expect(decodeExemplars(answer).exemplars[0]?.thumbnail).toBe("");
    },
  );

  test("sentences", () => {
    expect(sentence(" no ")).toBe("No.");
    expect(sentence("Why?")).toBe("Why?");
  });
});
