// The leak: grows by 4 MB every 10 ms and never lets go. Ends by itself at 1,500 MB or after 60 seconds.
// Started only when BUN_PROJECT_LEAK=1.

import { report } from "./report.js";

const STEP = 4;
const CEILING = 1500;
const MEGABYTE = 1024 * 1024;
const leaked = [];

report("leak");
setTimeout(() => process.exit(0), 60_000);
setInterval(() => {
  leaked.push(Buffer.alloc(STEP * MEGABYTE, 1));
  if (leaked.length * STEP >= CEILING) process.exit(0);
}, 10);
