// The protocol between the plugin and the function: clicks with their class go in, boxes come back.
// CVAT passes only pairs of numbers to a function, so each click's class and sign travel in
// neg_points, behind a header that no click can equal.

import type { Corners } from "./geometry";

const VERSION = 1;
const HEADER_MARK = -1;
/** For functions of before the answer told the threshold of its weights. */
const UNTOLD_THRESHOLD = 0.4;

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
export interface Rival {
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

/** Why there are no boxes, in a sentence for the person at the screen. */
export class AnswerError extends Error {}

/** The points of a request. */
export function encodeClicks(clicks: readonly ClassClick[]): RequestPoints {
  return {
    pos_points: clicks.map(({ x, y }) => [x, y]),
    neg_points: [
      [HEADER_MARK, VERSION],
      ...clicks.map(({ classIndex, positive }) => [classIndex, positive ? 1 : 0] as const),
    ],
  };
}

/**
 * Read an answer.
 *
 * @throws AnswerError The function tells an error, or this is no answer of the protocol.
 */
export function decodeAnswer(answer: unknown): ClassAnswer {
  if (!isRecord(answer) || answer.c3det !== VERSION) {
    throw new AnswerError(
      isRecord(answer) && typeof answer.c3det === "number"
        ? `The function speaks version ${answer.c3det} of the protocol, this plugin version ${VERSION}.`
        : "The answer is not of the C3Det protocol: is this function a C3Det model?",
    );
  }
  if (isRecord(answer.error)) {
    const { message, field } = answer.error;
    const where = typeof field === "string" && field !== "" ? ` (${field})` : "";
    throw new AnswerError(sentence(`${message ?? "the function tells no reason"}${where}`));
  }
  if (!Array.isArray(answer.boxes))
    throw new AnswerError("The answer of the function has no boxes.");
  return {
    boxes: answer.boxes.map((box, index) => decodeBox(box, index)),
    // Functions of before progress was told tell the share of the picture that was searched.
    progress: [answer.progress, answer.coverage].find(isFraction) ?? 1,
    notes: Array.isArray(answer.notes) ? answer.notes.filter(isText).map(sentence) : [],
    threshold: isFraction(answer.threshold) ? answer.threshold : UNTOLD_THRESHOLD,
  };
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

function rivalOf(told: unknown): Rival | null {
  if (!isRecord(told) || !isIndex(told.class) || !isFraction(told.score)) return null;
  return { classIndex: told.class, score: told.score };
}

/** Functions of before a box could answer several clicks tell `click` alone. */
function clicksOf({ click, clicks }: Record<string, unknown>): readonly number[] {
  const all = Array.isArray(clicks) ? clicks.filter(isIndex) : [];
  return isIndex(click) ? [...all.filter((index) => index !== click), click] : all;
}

function isIndex(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.trim() !== "";
}

function isFraction(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value <= 1;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
