// Holds some memory for a moment and answers on standard output. Runs under node and under bun.
// usage: worker.js MEGABYTES

const MEGABYTE = 1024 * 1024;
const size = Number(process.argv[2] ?? 10);

const blocks = Array.from({ length: size }, (_, index) => Buffer.alloc(MEGABYTE, index + 1));
const sum = blocks.reduce((total, block) => total + block[MEGABYTE - 1], 0);

setTimeout(() => {
  console.log(JSON.stringify({ pid: process.pid, megabytes: blocks.length, sum }));
}, 200);
