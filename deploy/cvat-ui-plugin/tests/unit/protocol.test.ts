import { describe, expect, test } from "vitest";
import { AnswerError, decodeAnswer, encodeClicks, sentence } from "../../src/ts/protocol";

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

describe("requests", () => {
  test("a header, then the class and the sign of each click", () => {
    expect(
      encodeClicks([
        { x: 1.5, y: 2, classIndex: 3, positive: true },
        { x: 7, y: 8, classIndex: 0, positive: false },
      ]),
    ).toEqual({
      pos_points: [
        [1.5, 2],
        [7, 8],
      ],
      neg_points: [
        [-1, 1],
        [3, 1],
        [0, 0],
      ],
    });
  });

  test("no clicks: the header alone", () => {
    expect(encodeClicks([])).toEqual({ pos_points: [], neg_points: [[-1, 1]] });
  });
});

describe("answers", () => {
  test("boxes", () => {
    expect(decodeAnswer(answer()).boxes).toEqual([
      { classIndex: 2, points: [1, 2, 3.5, 4], rotation: 0, score: 0.75, clicks: [0] },
      { classIndex: 0, points: [5, 6, 7, 8], rotation: 270, score: 0, clicks: [] },
    ]);
    expect(decodeAnswer(answer({ boxes: [] })).boxes).toEqual([]);
  });

  test.each([
    ["several clicks, the one that decided last", { clicks: [0, 2, 3], click: 2 }, [0, 3, 2]],
    ["one click, told by a function of before", { click: 4 }, [4]],
    ["none", { clicks: [], click: null }, []],
    ["what is no index is left out", { clicks: [1, -1, "2", 0.5], click: -1 }, [1]],
  ])("a box answers %s", (_, told, clicks) => {
    const box = { class: 0, points: [5, 6, 7, 8], score: 1, ...told };
    expect(decodeAnswer(answer({ boxes: [box] })).boxes[0]?.clicks).toEqual(clicks);
  });

  test("how much of the work is done: the searched share, or all, where it is not told", () => {
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
      "It is outside (pos_points[0]).",
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
    expect(() => decodeAnswer(given)).toThrow(new AnswerError(message));
  });

  test("sentences", () => {
    expect(sentence(" no ")).toBe("No.");
    expect(sentence("Why?")).toBe("Why?");
  });
});
