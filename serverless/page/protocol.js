// The plugin protocol between the page and the function: clicks with their class go in, boxes come
// back. A click is {x, y, label, positive}, in pixels of the picture; a box is
// {class, label, points: [x1, y1, x2, y2], rotation, score, click, clicks} and, where another class
// is nearly as likely, rival: {class, score}. The class is null where the box is of none.

const VERSION = 1;

/** What the function answered instead of boxes, in words for the person at the page. */
export class AnswerError extends Error {}

/** Build the body of a request; the pairs of neg_points carry each click's class and sign. */
export function encodeRequest(image, clicks, threshold) {
  return JSON.stringify({
    image,
    pos_points: clicks.map((click) => [click.x, click.y]),
    neg_points: [[-1, VERSION], ...clicks.map((click) => [click.label, click.positive ? 1 : 0])],
    obj_bbox: null,
    threshold,
  });
}

/**
 * Read an answer. Returns {boxes, threshold, timings_ms, progress: 0 to 1, notes, ...}; throws
 * AnswerError. Older functions have no threshold, and no progress, but a coverage, or neither: then
 * the work is done.
 */
export function decodeAnswer(status, text) {
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    answer = null;
  }
  const error = answer?.error;
  if (error) {
    const field = error.field ? `Field "${error.field}": ` : "";
    const message = field + (error.message ?? String(error));
    const end = /[.!?…]$/.test(message) ? "" : ".";
    throw new AnswerError(message[0].toUpperCase() + message.slice(1) + end);
  }
  if (status === 503) throw new AnswerError("The function is busy; try again.");
  if (status !== 200) {
    const lines = text.trim().split("\n");
    // The last line of a traceback is the one that names the error.
    throw new AnswerError(`The function failed with status ${status}. ${lines.at(-1)}`.trim());
  }
  if (answer?.c3det !== VERSION) {
    throw new AnswerError(
      `The function speaks version ${answer?.c3det} of the protocol, this page version ${VERSION}.`,
    );
  }
  if (!Array.isArray(answer.boxes)) throw new AnswerError("The function's answer has no boxes.");
  return {
    ...answer,
    progress: [answer.progress, answer.coverage].find(Number.isFinite) ?? 1,
    notes: Array.isArray(answer.notes) ? answer.notes : [],
  };
}
