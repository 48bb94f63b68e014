import { expect, test } from "vitest";
import type { Host } from "../../src/ts/cvat/host";
import { Session } from "../../src/ts/session";
import { show } from "./scene";

test("what is said of a step of CVAT's ends when CVAT takes the step back", () => {
  const host: Partial<Host> = { arm: () => {} };
  const session = new Session(host as Host, () => {});
  show(session);
  session.say("Rectangle removed. Ctrl+Z brings it back.");
  session.do({ type: "CVAT stepped", depth: 1 });
  expect(session.notice).not.toBeNull();
  session.do({ type: "CVAT stepped", depth: 0 });
  expect(session.notice).toBeNull();
});
