// The orphan: outlives the test that started it, by 60 seconds at most.
// Started only when BUN_PROJECT_ORPHAN=1.

import { report } from "./report.js";

report("orphan");
setTimeout(() => process.exit(0), 60_000);
