// Starts a worker and returns its exit status and what it answered.

import { spawn } from "node:child_process";
import { join } from "node:path";

export const path = (name) => join(import.meta.dirname, name);

export function startNode(name, ...words) {
  return new Promise((resolve, reject) => {
    const child = spawn("node", [path(name), ...words.map(String)], { stdio: ["ignore", "pipe", "inherit"] });
    let answer = "";
    child.stdout.on("data", (text) => (answer += text));
    child.on("error", reject);
    child.on("close", (status, signal) => resolve({ status, signal, answer }));
  });
}

export async function startBun(name, ...words) {
  const child = Bun.spawn([process.execPath, path(name), ...words.map(String)], { stdin: "ignore", stderr: "inherit" });
  const answer = await new Response(child.stdout).text();
  return { status: await child.exited, signal: child.signalCode, answer };
}
