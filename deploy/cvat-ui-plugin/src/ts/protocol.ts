// The protocol between the plugin and the function: clicks with their class go in, boxes come back.
// CVAT passes only pairs of numbers to a function, so each click's class and sign travel in
// neg_points, behind a header that no click can equal.

import type { Corners } from "./geometry";
import { isFraction, isRecord } from "./values";

const VERSION = 1;
/** Of requests for exemplars or with them. */
const EXEMPLARS_VERSION = 2;
const HEADER_MARK = -1;
/** First number after the header of version 2: exemplars are asked for, or come along. */
const [TAKE, CARRY] = [1, 2];
/** Bytes of a vector in one number, which is exact below 2 ** 53. */
const BYTES_PACKED = 6;
/** Hexadecimal digits of the weights' SHA-256 that identify the weights. */
const DIGEST_DIGITS = 12;
/** Different labels in one request to an open function. */
export const MOST_LABELS = 64;
/** Exemplars in one request or answer. */
export const MOST_EXEMPLARS = 256;
/** The function is asked for all boxes down to this score, once; the person's threshold chooses among them. */
export const LOWEST_SCORE = 0.05;
/** For older functions, whose answers have no threshold. */
const DEFAULT_THRESHOLD = 0.4;

/** A click as the function counts it. */
export interface ClassClick {
  readonly x: number;
  readonly y: number;
  /** Position of the class in the model's list. */
  readonly classIndex: number;
  /** false: there is no object of the class at this point. */
  readonly positive: boolean;
}

/** The class that a box is nearly as likely of. */
interface Rival {
  readonly classIndex: number;
  /** 0 to 1. */
  readonly score: number;
}

/** A box as the function answers it. */
export interface ClassBox {
  /** null: of no class, as an open model answers without clicks. */
  readonly classIndex: number | null;
  readonly points: Corners;
  readonly rotation: number;
  /** 0 to 1. */
  readonly score: number;
  /** Indices of the clicks that the box answers, the one that decided its class last. */
  readonly clicks: readonly number[];
  readonly rival: Rival | null;
}

/** What the function answers. */
export interface ClassAnswer {
  readonly boxes: readonly ClassBox[];
  /** Share of all work for these clicks that is done, 0 to 1; a further request goes on with it. */
  readonly progress: number;
  /** Short sentences for people. */
  readonly notes: readonly string[];
  /** From which score on the weights want boxes to be shown, 0 to 1. */
  readonly threshold: number;
}

export interface RequestPoints {
  readonly pos_points: readonly (readonly [number, number])[];
  readonly neg_points: readonly (readonly [number, number])[];
}

/** What the model takes an object for, to find the like on other pictures. */
export interface Exemplar {
  readonly classIndex: number;
  /** false: it is no such object. */
  readonly positive: boolean;
  /** Of its box, in pixels. */
  readonly width: number;
  readonly height: number;
  /** base64; the model's own. */
  readonly vector: string;
}

/** An exemplar with a picture for people. */
export interface AnsweredExemplar extends Exemplar {
  /** A small PNG as base64; "": the function gave none. */
  readonly thumbnail: string;
}

/** Exemplars that go with a request, all of the same weights. */
export interface Carried {
  /** SHA-256 of the weights. */
  readonly weights: string;
  readonly exemplars: readonly Exemplar[];
}

interface ExemplarsAnswer {
  /** SHA-256 of the weights. */
  readonly weights: string;
  /** Of the clicks, then of the boxes, in the order of the request. */
  readonly exemplars: readonly AnsweredExemplar[];
  /** Below 1 there are none yet; the same request goes on. */
  readonly progress: number;
}

/** Why there are no boxes, in a sentence for the person at the screen. */
export class AnswerError extends Error {
  /** The function's code of the error, such as "other_weights". */
  readonly code: string | null;

  constructor(message: string, code: string | null = null) {
    super(message);
    this.code = code;
  }
}

/** The points of a request; those with exemplars are of version 2. */
export function encodeClicks(
  clicks: readonly ClassClick[],
  carried: Carried | null = null,
): RequestPoints {
  const header: RequestPoints["neg_points"] =
    carried === null
      ? [[HEADER_MARK, VERSION]]
      : [
          [HEADER_MARK, EXEMPLARS_VERSION],
          [CARRY, carried.exemplars.length],
          [
            Number.parseInt(carried.weights.slice(0, DIGEST_DIGITS), 16),
            atob(carried.exemplars[0]?.vector ?? "").length,
          ],
        ];
  return {
    pos_points: clicks.map(({ x, y }) => [x, y]),
    neg_points: [
      ...header,
      ...clicks.map(signed),
      ...(carried?.exemplars ?? []).flatMap((one) => [
        signed(one),
        [one.width, one.height] as const,
        ...packed(atob(one.vector)),
      ]),
    ],
  };
}

/** The points of a request for the exemplars of a picture. */
export function encodeExemplarsRequest(
  clicks: readonly ClassClick[],
  boxes: readonly { readonly points: Corners; readonly classIndex: number }[],
): RequestPoints {
  return {
    pos_points: [
      ...clicks.map(({ x, y }) => [x, y] as const),
      ...boxes.flatMap(({ points: [x1, y1, x2, y2] }) => [[x1, y1] as const, [x2, y2] as const]),
    ],
    neg_points: [
      [HEADER_MARK, EXEMPLARS_VERSION],
      [TAKE, boxes.length],
      ...clicks.map(signed),
      ...boxes.map(({ classIndex }) => signed({ classIndex, positive: true })),
    ],
  };
}

function signed({ classIndex, positive }: { classIndex: number; positive: boolean }) {
  return [classIndex, positive ? 1 : 0] as const;
}

/** Bytes as pairs of numbers, six each, the first the highest; zeros fill the last pair. */
function packed(bytes: string): (readonly [number, number])[] {
  const number = (at: number): number => {
    let value = 0;
    for (let i = at; i < at + BYTES_PACKED; i += 1)
      value = value * 256 + (i < bytes.length ? bytes.charCodeAt(i) : 0);
    return value;
  };
  const pairs: (readonly [number, number])[] = [];
  for (let at = 0; at < bytes.length; at += 2 * BYTES_PACKED)
    pairs.push([number(at), number(at + BYTES_PACKED)]);
  return pairs;
}

/**
 * Read an answer to a request for exemplars.
 *
 * @throws AnswerError The answer is an error of the function, or no such answer.
 */
export function decodeExemplars(answer: unknown): ExemplarsAnswer {
  if (!isRecord(answer) || (answer.c3det !== EXEMPLARS_VERSION && !isRecord(answer.error)))
    throw new AnswerError("The function answered no exemplars.");
  raiseError(answer.error);
  const { weights, exemplars, progress } = answer;
  if (typeof weights !== "string" || !/^[0-9a-f]{64}$/.test(weights) || !Array.isArray(exemplars))
    throw new AnswerError("The answer of the function has no exemplars.");
  return {
    weights,
    exemplars: exemplars.map(decodeExemplar),
    progress: isFraction(progress) ? progress : 1,
  };
}

function decodeExemplar(exemplar: unknown, index: number): AnsweredExemplar {
  if (
    !isRecord(exemplar) ||
    !isIndex(exemplar.class) ||
    typeof exemplar.positive !== "boolean" ||
    !isSide(exemplar.width) ||
    !isSide(exemplar.height) ||
    !isBase64(exemplar.vector)
  )
    throw new AnswerError(`Exemplar ${index} in the answer of the function is malformed.`);
  const { positive, width, height, vector } = exemplar;
  // A picture is for people alone: the exemplar counts without it.
  const thumbnail = isBase64(exemplar.thumbnail) ? exemplar.thumbnail : "";
  return { classIndex: exemplar.class, positive, width, height, vector, thumbnail };
}

/**
 * Read an answer.
 *
 * @throws AnswerError The answer is an error of the function, or none of the protocol.
 */
export function decodeAnswer(answer: unknown): ClassAnswer {
  if (!isRecord(answer) || answer.c3det !== VERSION) {
    throw new AnswerError(
      isRecord(answer) && typeof answer.c3det === "number"
        ? `The function speaks version ${answer.c3det} of the protocol, this plugin version ${VERSION}.`
        : "The answer is not of the C3Det protocol: is this function a C3Det model?",
    );
  }
  raiseError(answer.error);
  if (!Array.isArray(answer.boxes))
    throw new AnswerError("The answer of the function has no boxes.");
  return {
    boxes: answer.boxes.map((box, index) => decodeBox(box, index)),
    // Older functions have no progress, but the share of the picture that was searched.
    progress: [answer.progress, answer.coverage].find(isFraction) ?? 1,
    notes: Array.isArray(answer.notes) ? answer.notes.filter(isText).map(sentence) : [],
    threshold: isFraction(answer.threshold) ? answer.threshold : DEFAULT_THRESHOLD,
  };
}

function raiseError(error: unknown): void {
  if (!isRecord(error)) return;
  const { code, message, field } = error;
  const where = isText(field) ? `Field "${field}": ` : "";
  throw new AnswerError(
    sentence(`${where}${message ?? "the function gives no reason"}`),
    isText(code) ? code : null,
  );
}

/** A message with a capital letter and a full stop. */
export function sentence(message: string): string {
  const text = message.trim();
  const end = /[.!?…]$/.test(text) ? "" : ".";
  return text.charAt(0).toUpperCase() + text.slice(1) + end;
}

function decodeBox(box: unknown, index: number): ClassBox {
  const points = isRecord(box) && Array.isArray(box.points) ? box.points : [];
  if (
    !isRecord(box) ||
    !(box.class === null || isIndex(box.class)) ||
    !isFraction(box.score) ||
    points.length !== 4 ||
    !points.every(Number.isFinite)
  ) {
    throw new AnswerError(`Box ${index} in the answer of the function is malformed.`);
  }
  return {
    classIndex: box.class,
    points: points as unknown as Corners,
    rotation: Number.isFinite(box.rotation) ? (((box.rotation as number) % 360) + 360) % 360 : 0,
    score: box.score,
    clicks: clicksOf(box),
    rival: rivalOf(box.rival),
  };
}

function rivalOf(rival: unknown): Rival | null {
  if (!isRecord(rival) || !isIndex(rival.class) || !isFraction(rival.score)) return null;
  return { classIndex: rival.class, score: rival.score };
}

/** Older functions have `click` alone: there a box answers one click at most. */
function clicksOf({ click, clicks }: Record<string, unknown>): readonly number[] {
  const all = Array.isArray(clicks) ? clicks.filter(isIndex) : [];
  return isIndex(click) ? [...all.filter((index) => index !== click), click] : all;
}

function isIndex(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}

function isSide(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value > 0;
}

function isBase64(value: unknown): value is string {
  return (
    typeof value === "string" && /^[A-Za-z0-9+/]+={0,2}$/.test(value) && value.length % 4 === 0
  );
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.trim() !== "";
}
