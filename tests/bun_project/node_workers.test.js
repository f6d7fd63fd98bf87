import { expect, test } from "bun:test";
import { startNode } from "./workers/start.js";

test("a node worker answers", async () => {
  const { status, answer } = await startNode("worker.js", 20);
  expect(status).toBe(0);
  expect(JSON.parse(answer)).toMatchObject({ megabytes: 20, sum: 210 });
}, 30_000);

test("two node workers at a time", async () => {
  const results = await Promise.all([startNode("worker.js", 15), startNode("worker.js", 15)]);
  expect(results.map((result) => result.status)).toEqual([0, 0]);
}, 30_000);
