// Tells whoever asked by BUN_PROJECT_PIDS=FILE which process this is: one line, "kind pid".

import { appendFileSync } from "node:fs";

export function report(kind) {
  const file = process.env.BUN_PROJECT_PIDS;
  if (file) appendFileSync(file, `${kind} ${process.pid}\n`);
}
