// The classes that can be clicked: how they look, which key chooses them, and, for a model without
// classes of its own, which there are. A class is {label, name, key}; the label is what requests and
// answers call it.

// Colours that are far from each other for the eye. Most are light, and stand out from any ground with
// a dark edge; the deep ones want a light edge around that.
const COLORS = [
  "#ffd60a", "#3cc3ff", "#f000ff", "#2dff00", "#3c5aff", "#2dffe1",
  "#ffa5ff", "#966900", "#00b400", "#a54b96", "#0087a5", "#ffffff",
];
const DEEP = ["#3c5aff", "#966900", "#00b400", "#a54b96", "#0087a5"];
const NO_CLASS_COLOR = "#d8dce0";

/** So many labels fit in a request to a model without classes. */
export const MOST_CLASSES = 64;

const DIGITS = [..."1234567890"];
const FIRST_NAME = "object";
const STORED = "c3det.classes";

/** The CSS colour of a label; null: of no class. */
export function classColor(label) {
  if (label === null) return NO_CLASS_COLOR;
  if (label < COLORS.length) return COLORS[label];
  return `hsl(${(label * 137.508) % 360} 95% ${label % 2 ? 65 : 75}%)`;
}

/** Whether the colour of a label is one for which a dark edge is not enough. */
export function isDeep(label) {
  return DEEP.includes(classColor(label));
}

/** The classes of a model that has some, whose labels are their places. */
export function modelClasses(names, reserved) {
  const keys = assignKeys(names, reserved);
  return names.map((name, label) => ({ label, name, key: keys[label] }));
}

/**
 * Give classes a key each, as far as keys go: a name of one character is its own key, then come the
 * digits in order, then the letters of the class's name. Reserved keys are left out.
 */
export function assignKeys(names, reserved) {
  const taken = new Set(reserved);
  const keys = names.map((name) => {
    const key = name.toLowerCase();
    if (key.length !== 1 || taken.has(key)) return null;
    taken.add(key);
    return key;
  });
  const digits = DIGITS.filter((key) => !taken.has(key));
  return keys.map((key, i) => {
    if (key) return key;
    const letters = [...names[i].toLowerCase()].filter((c) => c >= "a" && c <= "z");
    const free = digits.shift() ?? letters.find((c) => !taken.has(c)) ?? null;
    if (free) taken.add(free);
    return free;
  });
}

/**
 * Classes that the person names, saved in the browser. A class keeps its label, and so its
 * colour, for as long as it is there; the first ten have a digit.
 */
export class OwnClasses {
  #names; // [label, name], in the order of the list
  #storage;

  /** storage: getItem and setItem, as localStorage has them, or null: nothing is saved. */
  constructor(storage) {
    this.#storage = storage;
    this.#names = savedNames(storage) ?? [[0, FIRST_NAME]];
  }

  get list() {
    return this.#names.map(([label, name], i) => ({ label, name, key: DIGITS[i] ?? null }));
  }

  /** Why there can be no class of this name, in a sentence, or "". */
  refuses(name, label = null) {
    if (this.#names.some(([other, taken]) => taken === name.trim() && other !== label)) {
      return "There is a class of this name already.";
    }
    if (label === null && this.#names.length >= MOST_CLASSES) {
      return `There are ${MOST_CLASSES} classes, and no more fit in a request: remove one first.`;
    }
    return name.trim() ? "" : "Type the name of a class.";
  }

  /** Add a class of a name that is not refused; returns its label. */
  add(name) {
    const taken = new Set(this.#names.map(([label]) => label));
    let label = 0;
    while (taken.has(label)) label += 1;
    this.#set([...this.#names, [label, name.trim()]]);
    return label;
  }

  rename(label, name) {
    this.#set(this.#names.map((one) => (one[0] === label ? [label, name.trim()] : one)));
  }

  remove(label) {
    this.#set(this.#names.filter(([other]) => other !== label));
  }

  #set(names) {
    this.#names = names;
    try {
      this.#storage?.setItem(STORED, JSON.stringify(names));
    } catch {
      // Full or forbidden: the names hold until the page is left.
    }
  }
}

/** Labels and names as they were saved; null: none, or something else. */
function savedNames(storage) {
  try {
    const saved = JSON.parse(storage?.getItem(STORED) ?? "null");
    // Earlier pages saved the names alone.
    const pairs = saved.map((one, label) => (typeof one === "string" ? [label, one] : one));
    const sound = pairs.every(
      ([label, name]) => Number.isInteger(label) && label >= 0 && label < MOST_CLASSES &&
        typeof name === "string" && name,
    );
    const isNew = (pair, i, place) => pairs.findIndex((one) => one[place] === pair[place]) === i;
    return sound ? pairs.filter((pair, i) => isNew(pair, i, 0) && isNew(pair, i, 1)) : null;
  } catch {
    return null;
  }
}
