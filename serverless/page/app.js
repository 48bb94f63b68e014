// The page: a picture, its clicks, and the function's answer to them.

import { classColor, modelClasses, OwnClasses } from "./classes.js";
import { ClickHistory, startsWith } from "./clicks.js";
import { AnswerError, decodeAnswer, encodeRequest } from "./protocol.js";
import { boxText, View } from "./view.js";

// The function is asked for all boxes down to this score, once a click; the slider chooses here.
const LOWEST_SCORE = 0.05;
const DRAG_PIXELS = 4;
// The second half of a double click is no click of its own.
const SAME_POINT_PIXELS = 2;
const FILTER_FROM_CLASSES = 17;
const RESERVED_KEYS = ["f", "h"];
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
let answer = null; // {boxes, progress, grows, notes, clicks: those that the function was asked with}
let requesting = false;
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
    for (const id of ["own", "chosen", "everything-row"]) $(id).hidden = !own;
    $("right-click").textContent = own ? "none of the class here" : "no object here";
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
  const response = await fetch(samplePath(name));
  if (!response.ok) return showError(`The sample picture ${name} cannot be read.`);
  const blob = await response.blob();
  if (token === loads) await openPicture(blob, name);
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
    answer = null;
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
  if (requesting) {
    askAgain = true;
    return;
  }
  requesting = true;
  let goesOn;
  do {
    askAgain = false;
    $("stage").setAttribute("aria-busy", "true");
    goesOn = await askOnce(picture, history.clicks);
  } while (askAgain || goesOn);
  requesting = false;
  $("stage").setAttribute("aria-busy", "false");
}

/** Show the answer to some clicks; returns whether there is more to come for the same ones. */
async function askOnce(askedPicture, clicks) {
  // An answer still counts after more clicks on the same picture, not after an undo.
  const current = () => picture === askedPicture && startsWith(history.clicks, clicks);
  const started = performance.now();
  try {
    const body = encodeRequest(askedPicture.base64, clicks, LOWEST_SCORE);
    if (body.length + REQUEST_OVERHEAD > model.max_body_bytes) {
      throw new AnswerError(
        `${askedPicture.name} is too large: a request may have ${megabytes(model.max_body_bytes)}, ` +
        `this one has ${megabytes(body.length)} (maxRequestBodySize in function.yaml).`,
      );
    }
    const headers = { "Content-Type": "application/json" };
    const response = await fetch(".", { method: "POST", headers, body });
    const { boxes, progress, notes, timings_ms: timings } = decodeAnswer(
      response.status, await response.text(),
    );
    if (!current()) return false;
    const before = answer?.clicks === clicks ? answer.progress : -1;
    const grows = progress > before;
    answer = { boxes, progress, grows, notes, clicks };
    hideError();
    $("round-trip").textContent = `${Math.round(performance.now() - started)} ms`;
    $("stages").textContent = Object.entries(timings ?? {})
      .map(([stage, ms]) => `${stage.replaceAll("_", "\u00a0")}\u00a0${Math.round(ms)}`)
      .join(" · ") || "–";
    update();
    return progress < 1 && grows;
  } catch (error) {
    if (!current()) return false;
    const unreachable = "The function cannot be reached: is the runtime still running?";
    showError(error instanceof AnswerError ? error.message : unreachable);
    return false;
  }
}

function megabytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

// What is shown

function update() {
  const clicks = history.clicks;
  const boxes = shownBoxes();
  view.setScene({ boxes, clicks, answered: answer?.clicks.length ?? 0 });
  $("undo").disabled = !history.canUndo;
  $("redo").disabled = !history.canRedo;
  $("clear").disabled = !clicks.length;
  $("click-count").value = clicks.length;
  $("threshold-value").value = Number($("threshold").value).toFixed(2);
  $("box-count").value = boxes.length;
  showProgress();
  $("canvas").ariaLabel = picture ? `${picture.name} with ${boxes.length} boxes` : "No picture";
  const counts = new Map();
  for (const box of boxes) counts.set(box.class, (counts.get(box.class) ?? 0) + 1);
  for (const button of $("classes").children) {
    const label = Number(button.dataset.class);
    button.setAttribute("aria-checked", label === chosenClass);
    button.querySelector(".count").textContent = counts.get(label) ?? "";
  }
  $("rename").disabled = $("remove").disabled = chosenClass === null;
  $("everything").disabled = clicks.length > 0;
  hover(null);
}

/** How far the function has come with the clicks, and what it says of its answer. */
function showProgress() {
  const { progress, grows, notes } = answer ?? { progress: 1, grows: true, notes: [] };
  const done = Math.floor(progress * 100);
  $("progress").hidden = progress >= 1;
  $("search-on").hidden = grows;
  $("progress-text").textContent = grows
    ? `Searching: ${done} % done.`
    : `The search stops at ${done} %: the function needs a larger C3DET_TIME_BUDGET_SECONDS or ` +
      "C3DET_CACHE_BYTES.";
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
}

function nameOf(label) {
  if (label === null) return "object";
  return classes.find((one) => one.label === label)?.name ?? `class ${label}`;
}

function choose(label) {
  chosenClass = label;
  endRenaming();
  update();
  $("classes").querySelector(`[data-class="${label}"]`).scrollIntoView({ block: "nearest" });
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
  own.remove(removed);
  endRenaming();
  if (answer) {
    const boxes = answer.boxes.filter((box) => stays(box.class));
    answer = { ...answer, boxes, clicks: answer.clicks.filter(({ label }) => stays(label)) };
  }
  listClasses();
  change(() => history.forget(removed));
  update();
}

function element(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

function showError(message) {
  $("error-text").textContent = message;
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

function click(point, positive) {
  if (!picture) return;
  if (chosenClass === null) {
    $("class-name").focus();
    return;
  }
  const [x, y] = view.toPicture(...point);
  if (x < 0 || y < 0 || x >= picture.width || y >= picture.height) return;
  const near = (other) => Math.hypot(other.x - x, other.y - y) * view.scale < SAME_POINT_PIXELS;
  const last = history.clicks.at(-1);
  if (last && near(last) && last.label === chosenClass && last.positive === positive) return;
  history.add({ x, y, label: chosenClass, positive });
  update();
  ask();
}

function change(action) {
  const before = history.clicks;
  action();
  if (history.clicks === before) return;
  update();
  ask();
}

const undo = () => change(() => history.undo());
const redo = () => change(() => history.redo());

function listen() {
  const canvas = $("canvas");
  let pressed = null; // {x, y, button, moved}

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pressed = { x: event.offsetX, y: event.offsetY, button: event.button, moved: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = [event.offsetX, event.offsetY];
    if (!pressed) return hover([x, y]);
    if (pressed.button === 2) return;
    const distance = Math.hypot(x - pressed.x, y - pressed.y);
    if (!pressed.moved && distance <= DRAG_PIXELS) return;
    canvas.classList.add("moving");
    view.move(x - pressed.x, y - pressed.y);
    Object.assign(pressed, { x, y, moved: true });
  });
  canvas.addEventListener("pointerup", (event) => {
    const { button, moved } = pressed ?? { moved: true };
    pressed = null;
    canvas.classList.remove("moving");
    if (moved || button === 1) return;
    click([event.offsetX, event.offsetY], button === 0 && !event.ctrlKey);
  });
  canvas.addEventListener("pointercancel", () => {
    pressed = null;
    canvas.classList.remove("moving");
  });
  canvas.addEventListener("pointerleave", () => {
    $("position").textContent = "";
    hover(null);
  });
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
  $("search-on").addEventListener("click", () => {
    answer = { ...answer, progress: -1 };
    ask();
  });
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
