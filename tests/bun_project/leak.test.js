import { expect, test } from "bun:test";
import { startNode } from "./workers/start.js";

// A test whose worker leaks. It passes if nobody stops the worker before it reaches its ceiling.
test.if(process.env.BUN_PROJECT_LEAK === "1")("a worker that leaks", async () => {
  const { status, signal } = await startNode("leak_worker.js");
  expect(signal).toBe(null);
  expect(status).toBe(0);
}, 70_000);
