import { defineConfig } from "vitest/config";

const browser = {
  // A file of tests starts functions and a browser: one at a time.
  poolOptions: { forks: { singleFork: true } },
  testTimeout: 180_000,
  hookTimeout: 240_000,
  expect: { poll: { timeout: 15_000 } },
};

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["tests/unit/*.test.ts"] } },
      { test: { name: "e2e", include: ["tests/e2e/{plugin,keys}.test.ts"], ...browser } },
      { test: { name: "cvat", include: ["tests/e2e/real_cvat.test.ts"], ...browser } },
    ],
  },
});
