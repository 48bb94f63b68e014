// How classes look and which key chooses them.

// Light, saturated colours that stand out from ground, plants and roads under a dark edge.
const COLORS = [
  "#ffd60a", "#22d3ee", "#ff6bf5", "#ff9f0a", "#a3ff12", "#ff6b6b",
  "#bda4ff", "#2ef2c2", "#ffb3d1", "#6fa8ff", "#ffffff", "#d4b483",
];

/** The CSS colour of a class. */
export function classColor(index) {
  if (index < COLORS.length) return COLORS[index];
  return `hsl(${(index * 137.508) % 360} 95% ${index % 2 ? 65 : 75}%)`;
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
  const digits = [..."1234567890"].filter((key) => !taken.has(key));
  return keys.map((key, i) => {
    if (key) return key;
    const letters = [...names[i].toLowerCase()].filter((c) => c >= "a" && c <= "z");
    const free = digits.shift() ?? letters.find((c) => !taken.has(c)) ?? null;
    if (free) taken.add(free);
    return free;
  });
}
