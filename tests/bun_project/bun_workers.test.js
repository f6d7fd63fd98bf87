import { expect, test } from "bun:test";
import { startBun } from "./workers/start.js";

test("a bun worker answers", async () => {
  const { status, answer } = await startBun("worker.js", 20);
  expect(status).toBe(0);
  expect(JSON.parse(answer)).toMatchObject({ megabytes: 20, sum: 210 });
}, 30_000);

test("two bun workers at a time", async () => {
  const results = await Promise.all([startBun("worker.js", 15), startBun("worker.js", 15)]);
  expect(results.map((result) => result.status)).toEqual([0, 0]);
}, 30_000);
