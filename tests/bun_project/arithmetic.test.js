import { expect, test } from "bun:test";

test("adds", () => {
  expect(1 + 2).toBe(3);
});

test("sorts numbers as numbers", () => {
  expect([10, 9, 1].sort((a, b) => a - b)).toEqual([1, 9, 10]);
});
