import { expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { path } from "./workers/start.js";

// A test that forgets a process: in its own session, with nobody waiting for it.
test.if(process.env.BUN_PROJECT_ORPHAN === "1")("a worker that is left behind", () => {
  const child = spawn("node", [path("orphan_worker.js")], { detached: true, stdio: "ignore" });
  child.unref();
  expect(child.pid).toBeGreaterThan(0);
});
