// The page: a picture, its clicks, and the function's answer to them.

import { classColor, modelClasses, OwnClasses } from "./classes.js";
import { ClickHistory, clickAfter, commonStart, placesOf, startsWith } from "./clicks.js";
import { AnswerError, decodeAnswer, encodeRequest } from "./protocol.js";
import { boxText, View } from "./view.js";

// The function is asked for all boxes down to this score, once a click; the slider chooses here.
const LOWEST_SCORE = 0.05;
const DRAG_PIXELS = 4;
const FILTER_FROM_CLASSES = 17;
const RESERVED_KEYS = ["f", "h"];
// Answers that are kept, so that undo and redo need no request.
const MOST_ANSWERS = 30;
const ARROWS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};
// What an arrow moves the cursor by, in pixels of the screen: alone, with Shift, with Ctrl.
const [STEP, FAR_STEP, NEAR_STEP] = [8, 64, 1];
// How far from the edges of the canvas the cursor stays.
const CURSOR_MARGIN = 24;
const ZOOM_STEP = 1.25;
// What a request holds besides the picture, in bytes, generously.
const REQUEST_OVERHEAD = 4096;

const $ = (id) => document.getElementById(id);
const view = new View($("canvas"), nameOf, () => {
  $("zoom").value = `${Math.round(view.scale * 100)} %`;
});

let model = null;
let own = null; // the classes that the person names, where the model has none; else null
let classes = [];
let chosenClass = null; // a label; null: there is no class
let renaming = null; // the label whose name is in the field for names
let picture = null; // {name, base64, width, height}
let history = new ClickHistory();
// {boxes, progress, notes, clicks: those that the function was asked with, end: why the search ended
// early, "stalled" or "failed", or null}
let answer = null;
let answers = new Map(); // complete ones, by their clicks, the latest last
let clickedAt = -Infinity; // when the last click was made, as events tell it
let cursor = null; // [x, y], a point of the picture that keys move
let request = null; // the AbortController of the one under way
let askAgain = false;
let loads = 0;

async function start() {
  try {
    model = await getJson("model");
    const samples = await getJson("samples");
    if (!model.classes.length) own = new OwnClasses(storage());
    const kinds = own ? "any classes" : `${model.classes.length} classes`;
    $("model").textContent = `${model.name} · ${kinds}`;
    $("model").title = $("model").textContent;
    const threshold = $("threshold");
    threshold.min = LOWEST_SCORE;
    threshold.value = model.threshold;
    for (const id of ["own", "chosen", "everything-row", "again"]) $(id).hidden = !own;
    $("first-step").textContent = own
      ? "Name what you want to find, then click some of it."
      : "Choose a class, then click some objects of it.";
    for (const words of document.getElementsByClassName("none")) {
      words.textContent = own ? "none of the class here" : "no object here";
    }
    listClasses();
    listSamples(samples);
    listen();
    update();
    if (samples.length) await openSample(samples[0].name);
  } catch (error) {
    showError(error.message);
  }
}

async function getJson(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`The runtime answered ${response.status} for ${path}.`);
  return response.json();
}

/** The browser's storage; null where it is forbidden. */
function storage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

// Pictures

function listSamples(samples) {
  if (!samples.length) {
    $("samples").textContent = "No sample pictures here: open or drop your own.";
    return;
  }
  $("samples").replaceChildren(...samples.map(({ name }) => {
    const button = element("button", { type: "button", title: name });
    button.dataset.sample = name;
    const title = name.replace(/^\d+[-_]/, "").replace(/\.[^.]*$/, "").replaceAll(/[-_]/g, " ");
    const image = element("img", { src: samplePath(name), alt: "" });
    button.append(image, element("span", { textContent: title }));
    button.addEventListener("click", () => openSample(name));
    return button;
  }));
}

function samplePath(name) {
  return `samples/${encodeURIComponent(name)}`;
}

async function openSample(name) {
  const token = (loads += 1);
  let blob = null;
  try {
    const response = await fetch(samplePath(name));
    if (response.ok) blob = await response.blob();
  } catch {
    // The runtime is gone.
  }
  if (token !== loads) return;
  if (blob) await openPicture(blob, name);
  else showError(`The sample picture ${name} cannot be read: is the runtime still running?`);
}

async function openPicture(blob, name) {
  const token = (loads += 1);
  const url = URL.createObjectURL(blob);
  try {
    const image = new Image();
    image.src = url;
    const [base64] = await Promise.all([readBase64(blob), image.decode()]);
    if (token !== loads) return;
    picture = { name, base64, width: image.naturalWidth, height: image.naturalHeight };
    history = new ClickHistory();
    answer = cursor = null;
    answers = new Map();
    for (const button of $("samples").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", button.dataset.sample === name);
    }
    hideError();
    $("hint").hidden = true;
    $("round-trip").textContent = $("stages").textContent = "–";
    $("canvas").dataset.picture = `${picture.width}x${picture.height}`;
    view.setPicture(image);
    update();
    ask();
  } catch {
    if (token === loads) showError(`The browser cannot show ${name}: it wants a JPEG, PNG or WebP.`);
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** The very bytes of the file, as CVAT sends them. */
function readBase64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

// Asking the function

/**
 * Ask for the boxes of the latest clicks, and on as long as the function comes further with them: it
 * stops at its time budget, and goes on there when the same clicks come again. One request is under
 * way at a time.
 */
async function ask() {
  if (request) {
    askAgain = true;
    return;
  }
  if (answer?.end) {
    answer = { ...answer, end: null };
    showProgress();
  }
  let before = null; // how far the function came with the same clicks
  do {
    askAgain = false;
    $("stage").setAttribute("aria-busy", "true");
    before = await askOnce(picture, history.clicks, before);
  } while (!isAnswered() && (askAgain || before));
  request = null;
  $("stage").setAttribute("aria-busy", "false");
}

/** Ask for the latest clicks anew, after a fault or where the search came no further. */
function tryAgain() {
  hideError();
  ask();
}

/** Whether the latest clicks have all of their answer. */
function isAnswered() {
  return answer?.clicks === history.clicks && answer.progress >= 1;
}

/**
 * Show the answer to some clicks. before: what the last call returned; returns how far the function
 * came with the clicks, {clicks, progress}, where there is more to come for the same ones, or null.
 */
async function askOnce(askedPicture, clicks, before) {
  // An answer still counts after more clicks on the same picture, not after an undo.
  const current = () =>
    picture === askedPicture && startsWith(history.clicks, clicks) && !isAnswered();
  request = new AbortController();
  const { signal } = request;
  const started = performance.now();
  const body = encodeRequest(askedPicture.base64, clicks, LOWEST_SCORE);
  if (body.length + REQUEST_OVERHEAD > model.max_body_bytes) {
    showError(
      `${askedPicture.name} is too large: a request may have ${megabytes(model.max_body_bytes)}, ` +
      `this one has ${megabytes(body.length)} (maxRequestBodySize in function.yaml).`,
    );
    return null;
  }
  try {
    const headers = { "Content-Type": "application/json" };
    const response = await fetch(".", { method: "POST", headers, body, signal });
    const { boxes, progress, notes, timings_ms: timings } = decodeAnswer(
      response.status, await response.text(),
    );
    if (picture === askedPicture && progress >= 1) {
      answers.set(clicks, { boxes, progress, notes, clicks, end: null });
      if (answers.size > MOST_ANSWERS) answers.delete(answers.keys().next().value);
    }
    if (!current()) return null;
    const grows = progress > (before?.clicks === clicks ? before.progress : -1);
    answer = { boxes, progress, notes, clicks, end: grows ? null : "stalled" };
    hideError();
    $("round-trip").textContent = `${Math.round(performance.now() - started)} ms`;
    $("stages").textContent = Object.entries(timings ?? {})
      .map(([stage, ms]) => `${stage.replaceAll("_", "\u00a0")}\u00a0${Math.round(ms)}`)
      .join(" · ") || "–";
    update();
    return progress < 1 && grows ? { clicks, progress } : null;
  } catch (error) {
    if (!current()) return null;
    const reason = signal.aborted
      ? "Cancelled: the latest clicks have no answer yet."
      : "The function cannot be reached: is the runtime still running?";
    showError(error instanceof AnswerError ? error.message : reason, true);
    if (answer) answer = { ...answer, end: "failed" };
    update();
    return null;
  }
}

function cancel() {
  askAgain = false;
  request?.abort();
}

function megabytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

// What is shown

function update() {
  const clicks = history.clicks;
  const boxes = shownBoxes();
  const answered = answer ? commonStart(clicks, answer.clicks) : 0;
  view.setScene({ boxes, clicks, answered, cursor });
  $("undo").disabled = !history.canUndo;
  $("redo").disabled = !history.canRedo;
  $("clear").disabled = !clicks.length;
  $("click-count").value = placesOf(clicks).length;
  $("threshold-value").value = Number($("threshold").value).toFixed(2);
  $("box-count").value = boxes.length;
  showProgress();
  $("canvas").ariaLabel = picture
    ? `${picture.name} with ${boxes.length} boxes; arrows move a cursor, Space clicks there`
    : "No picture";
  $("first-step").hidden = clicks.length > 0;
  const counts = new Map();
  for (const box of boxes) counts.set(box.class, (counts.get(box.class) ?? 0) + 1);
  for (const button of $("classes").children) {
    const label = Number(button.dataset.class);
    button.setAttribute("aria-checked", label === chosenClass);
    button.querySelector(".count").textContent = counts.get(label) ?? "";
  }
  leaveOneTabStop();
  $("rename").disabled = $("remove").disabled = chosenClass === null;
  $("everything").disabled = clicks.length > 0;
  hover(null);
}

/** How far the function has come with the clicks, and what it says of its answer. */
function showProgress() {
  const { progress, end, notes } = answer ?? { progress: 1, end: null, notes: [] };
  const done = Math.floor(progress * 100);
  $("progress").hidden = progress >= 1;
  $("search-on").hidden = end === null;
  $("progress-text").textContent = {
    stalled: `The search stops at ${done} %: the function needs a larger ` +
      "C3DET_TIME_BUDGET_SECONDS or C3DET_CACHE_BYTES.",
    failed: `The search ended at ${done} %: boxes may be missing.`,
  }[end] ?? `Searching: ${done} % done.`;
  $("notes").hidden = !notes.length;
  $("notes").textContent = notes.map((note) => `${note}.`).join(" ");
}

/** The boxes over the threshold, and all that answer a click; those of no class where asked for. */
function shownBoxes() {
  const threshold = Number($("threshold").value);
  return answer?.boxes.filter((box) =>
    box.click !== null || (box.score >= threshold && (box.class !== null || $("everything").checked))
  ) ?? [];
}

// Classes

function listClasses() {
  classes = own ? own.list : modelClasses(model.classes, RESERVED_KEYS);
  if (!classes.some(({ label }) => label === chosenClass)) chosenClass = classes[0]?.label ?? null;
  $("classes").replaceChildren(...classes.map(({ label, name, key }) => {
    const button = element("button", { type: "button", title: name });
    button.setAttribute("role", "radio");
    button.dataset.class = label;
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = classColor(label);
    button.append(
      swatch,
      element("span", { className: "name", textContent: name }),
      element("span", { className: "count" }),
      ...(key ? [element("kbd", { textContent: key.toUpperCase() })] : []),
    );
    button.addEventListener("click", () => choose(label));
    if (own) button.addEventListener("dblclick", startRenaming);
    return button;
  }));
  $("class-filter").hidden = classes.length < FILTER_FROM_CLASSES;
  filterClasses();
}

function filterClasses() {
  const wanted = $("class-filter").hidden ? "" : $("class-filter").value.toLowerCase();
  for (const button of $("classes").children) {
    button.hidden = !button.title.toLowerCase().includes(wanted);
  }
  leaveOneTabStop();
}

/** Let Tab stop once in the classes: at the chosen one, or at the first one that is shown. */
function leaveOneTabStop() {
  const buttons = [...$("classes").children];
  const shown = buttons.filter((button) => !button.hidden);
  const stop = shown.find((one) => Number(one.dataset.class) === chosenClass) ?? shown[0];
  for (const button of buttons) button.tabIndex = button === stop ? 0 : -1;
}

function nameOf(label) {
  if (label === null) return "object";
  return classes.find((one) => one.label === label)?.name ?? `class ${label}`;
}

function choose(label) {
  chosenClass = label;
  endRenaming();
  update();
  buttonOf(label).scrollIntoView({ block: "nearest" });
}

function buttonOf(label) {
  return $("classes").querySelector(`[data-class="${label}"]`);
}

/** Let arrows, Home and End go through the classes, as through the choices of one field. */
function chooseByKey(event) {
  const buttons = [...$("classes").children].filter((button) => !button.hidden);
  const at = buttons.indexOf(event.target);
  const [dx, dy] = ARROWS[event.key] ?? [0, 0];
  const to = { Home: 0, End: buttons.length - 1 }[event.key] ?? at + dx + dy;
  if (at < 0 || to === at) return;
  event.preventDefault();
  const button = buttons[(to + buttons.length) % buttons.length];
  choose(Number(button.dataset.class));
  button.focus();
}

/** Add a class of the name in the field, or give it to the class that is renamed. */
function nameClass() {
  const field = $("class-name");
  const refusal = own.refuses(field.value, renaming);
  field.setCustomValidity(refusal);
  if (!field.reportValidity()) return;
  let label = renaming;
  if (label === null) label = own.add(field.value);
  else own.rename(label, field.value);
  field.value = "";
  listClasses();
  choose(label);
}

function startRenaming() {
  renaming = chosenClass;
  $("class-name").value = nameOf(renaming);
  $("name-class").textContent = "Rename";
  $("class-name").setCustomValidity("");
  $("class-name").select();
}

function endRenaming() {
  if (renaming === null) return;
  renaming = null;
  $("class-name").value = "";
  $("name-class").textContent = "Add";
}

/** Remove the chosen class, its clicks on this picture and its boxes. */
function removeClass() {
  const removed = chosenClass;
  const stays = (label) => label !== removed;
  const clicked = placesOf(history.clicks.filter(({ label }) => !stays(label))).length;
  const clicks = clicked === 1 ? "1 click" : `${clicked} clicks`;
  const question = `Remove ${nameOf(removed)} and its ${clicks}? That cannot be undone.`;
  if (clicked && !window.confirm(question)) return;
  own.remove(removed);
  endRenaming();
  if (answer) {
    const boxes = answer.boxes.filter((box) => stays(box.class));
    const left = answer.clicks.filter(({ label }) => stays(label));
    const asked = answer.clicks;
    answer = { ...answer, boxes, clicks: left.length === asked.length ? asked : left };
  }
  listClasses();
  change(() => history.forget(removed));
  update();
}

function element(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

/** again: asking the function again may help. */
function showError(message, again = false) {
  $("error-text").textContent = message;
  $("error-again").hidden = !again;
  $("error").hidden = false;
}

function hideError() {
  $("error").hidden = true;
}

/** Say what the box under a point of the screen is; null takes the words away. */
function hover(point) {
  let found = null;
  if (point) {
    const [x, y] = view.toPicture(...point);
    const area = ({ points: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
    for (const box of shownBoxes()) {
      const [x1, y1, x2, y2] = box.points;
      const inside = x >= x1 && x < x2 && y >= y1 && y < y2;
      if (inside && (!found || area(box) < area(found))) found = box;
    }
    const on = picture && x >= 0 && y >= 0 && x < picture.width && y < picture.height;
    $("position").textContent = on ? `x ${x.toFixed(1)}  y ${y.toFixed(1)}` : "";
  }
  view.setScene({ hover: found });
  const tip = $("tip");
  tip.hidden = !found;
  if (!found) return;
  const [x1, y1, x2, y2] = found.points;
  tip.textContent = `${boxText(found, nameOf)} · ${Math.round(x2 - x1)} × ${Math.round(y2 - y1)} px`;
  const [left, bottom] = view.toScreen(x1, y2);
  tip.style.left = `${Math.max(0, Math.min(left, $("canvas").clientWidth - tip.offsetWidth))}px`;
  tip.style.top = `${Math.min(bottom + 5, $("canvas").clientHeight - 20)}px`;
}

// What the person does

/** Click a point of the picture; at: when, as events tell it. */
function click([x, y], positive, at) {
  if (!picture) return;
  if (chosenClass === null) {
    $("class-name").focus();
    return;
  }
  if (x < 0 || y < 0 || x >= picture.width || y >= picture.height) return;
  const made = clickAfter(
    history.clicks,
    { x, y, label: chosenClass, positive },
    { scale: view.scale, sinceLast: at - clickedAt, repeats: own !== null },
  );
  if (!made) return;
  clickedAt = at;
  history.add(made);
  update();
  ask();
}

function change(action) {
  const before = history.clicks;
  action();
  if (history.clicks === before) return;
  answer = answers.get(history.clicks) ?? answer;
  update();
  if (!isAnswered()) return ask();
  hideError();
  cancel();
}

/** Move the cursor by pixels of the screen, or put it into the middle; the picture goes along. */
function moveCursor(dx, dy) {
  const { clientWidth: width, clientHeight: height } = $("canvas");
  const [x, y] = cursor ? view.toScreen(...cursor) : [width / 2 - dx, height / 2 - dy];
  const within = (value, most) => Math.min(Math.max(value, 0), most - 0.01);
  const [px, py] = view.toPicture(x + dx, y + dy);
  cursor = [within(px, picture.width), within(py, picture.height)];
  const beyond = (value, room) =>
    Math.max(CURSOR_MARGIN - value, 0) - Math.max(value - room + CURSOR_MARGIN, 0);
  const [atX, atY] = view.toScreen(...cursor);
  const [byX, byY] = [beyond(atX, width), beyond(atY, height)];
  if (!view.fitted && (byX || byY)) view.move(byX, byY);
  view.setScene({ cursor });
  hover(view.toScreen(...cursor));
}

/** Keys on the picture; returns whether it was one of them. */
function pressOnPicture({ key, shiftKey, ctrlKey, repeat, timeStamp }) {
  if (!picture) return false;
  const arrow = ARROWS[key];
  if (arrow) {
    const by = ctrlKey ? NEAR_STEP : shiftKey ? FAR_STEP : STEP;
    moveCursor(arrow[0] * by, arrow[1] * by);
  } else if (key === " " && !ctrlKey) {
    if (!cursor) moveCursor(0, 0);
    else if (!repeat) click(cursor, !shiftKey, timeStamp);
  } else if (["+", "-"].includes(key) && !ctrlKey) {
    if (!cursor) moveCursor(0, 0);
    view.zoom(key === "+" ? ZOOM_STEP : 1 / ZOOM_STEP, ...view.toScreen(...cursor));
  } else return false;
  return true;
}

function endCursor() {
  cursor = null;
  view.setScene({ cursor });
}

const undo = () => change(() => history.undo());
const redo = () => change(() => history.redo());

function listen() {
  const canvas = $("canvas");
  let pressed = null; // {x, y, button, moved, point: of the picture, positive}

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    endCursor();
    const { offsetX: x, offsetY: y, button } = event;
    const positive = button === 0 && !event.ctrlKey;
    pressed = { x, y, button, moved: false, point: view.toPicture(x, y), positive };
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = [event.offsetX, event.offsetY];
    if (!pressed) return hover([x, y]);
    const distance = Math.hypot(x - pressed.x, y - pressed.y);
    if (!pressed.moved && distance <= DRAG_PIXELS) return;
    pressed.moved = true;
    if (pressed.button === 2) return;
    canvas.classList.add("moving");
    view.move(x - pressed.x, y - pressed.y);
    Object.assign(pressed, { x, y });
  });
  canvas.addEventListener("pointerup", ({ timeStamp }) => {
    const { button, moved, point, positive } = pressed ?? { moved: true };
    pressed = null;
    canvas.classList.remove("moving");
    if (!moved && button !== 1) click(point, positive, timeStamp);
  });
  canvas.addEventListener("pointercancel", () => {
    pressed = null;
    canvas.classList.remove("moving");
  });
  canvas.addEventListener("pointerleave", () => {
    $("position").textContent = "";
    hover(null);
  });
  canvas.addEventListener("blur", endCursor);
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const step = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 33 : 1;
    view.zoom(Math.exp(-event.deltaY * step * 0.002), event.offsetX, event.offsetY);
    hover([event.offsetX, event.offsetY]);
  }, { passive: false });

  $("fit").addEventListener("click", () => view.fit());
  $("undo").addEventListener("click", undo);
  $("redo").addEventListener("click", redo);
  $("clear").addEventListener("click", () => change(() => history.clear()));
  for (const id of ["search-on", "error-again"]) $(id).addEventListener("click", tryAgain);
  $("cancel").addEventListener("click", cancel);
  $("classes").addEventListener("keydown", chooseByKey);
  $("threshold").addEventListener("input", update);
  $("everything").addEventListener("change", update);
  $("error-close").addEventListener("click", hideError);
  $("class-filter").addEventListener("input", filterClasses);
  $("own").addEventListener("submit", (event) => {
    event.preventDefault();
    nameClass();
  });
  $("class-name").addEventListener("input", () => $("class-name").setCustomValidity(""));
  $("class-name").addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    endRenaming();
    $("class-name").blur();
  });
  $("rename").addEventListener("click", startRenaming);
  $("remove").addEventListener("click", removeClass);

  $("open").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) openPicture(file, file.name);
    event.target.value = "";
  });
  window.addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop").hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) $("drop").hidden = true;
  });
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").hidden = true;
    const [file] = event.dataTransfer.files;
    if (file) openPicture(file, file.name);
  });

  window.addEventListener("keydown", onKey);
  window.addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() === "h") view.setScene({ hidden: false });
  });
  window.addEventListener("blur", () => view.setScene({ hidden: false }));
}

function onKey(event) {
  if (event.target.matches("input[type=search], input[type=text]")) return;
  if (event.target === $("canvas") && !event.altKey && !event.metaKey && pressOnPicture(event)) {
    event.preventDefault();
    return;
  }
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    if (key === "y" || event.shiftKey) redo();
    else undo();
    return;
  }
  if (event.altKey) return;
  if (key === "f") view.fit();
  else if (key === "h") view.setScene({ hidden: true });
  else {
    const chosen = classes.find((one) => one.key === key);
    if (chosen) choose(chosen.label);
  }
}

start();
