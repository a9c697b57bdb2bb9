// What open consoles cost the server: rounds with none and with ten readers of the console stream, in alternation, while
// devices send more than the server can take. Prints the committed events a second of each round, and the ratio.
// The readers take what the server sends and show nothing, so that no browser competes for the processors.
//
// node benches/consoles.mjs [ROUNDS] [SECONDS] [EVENTS A SECOND]

import { load, median, system } from "./bench.mjs";

const [rounds, seconds, rate] = [Number(process.argv[2] ?? 6), Number(process.argv[3] ?? 20), Number(process.argv[4] ?? 30_000)];
const CONSOLES = 10;

await system(async (dev) => {
  await load(dev, rate, 5); // Warms up.
  /** @type {number[][]} */
  const rates = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    // The order of the two changes, so that a log that grows favours neither.
    for (const open of round % 2 === 0 ? [0, 1] : [1, 0]) {
      const end = new AbortController();
      const readers = Array.from({ length: open * CONSOLES }, () => read(dev, end.signal));
      /** @type {number[]} */ (rates[open]).push(await load(dev, rate, seconds));
      end.abort();
      const received = await Promise.all(readers);
      console.log(`${open * CONSOLES} consoles: ${rates[open]?.at(-1)?.toFixed(0)} events/s${open ? `, each got ${(Math.max(...received) / seconds / 1000).toFixed(1)} kB/s` : ""}`);
    }
  }
  const [without, ten] = rates.map(median);
  console.log(`medians: ${without?.toFixed(0)} without, ${ten?.toFixed(0)} with ${CONSOLES}; ratio ${(/** @type {number} */ (ten) / /** @type {number} */ (without)).toFixed(3)}`);
}, ["--no-seed"]);

/** Reads the console stream to its end; returns the bytes. @param {import("./bench.mjs").Dev} dev @param {AbortSignal} signal */
async function read(dev, signal) {
  let bytes = 0;
  try {
    const response = await fetch(`${dev.url}/api/v1/console/stream`, { signal, headers: { Authorization: `Bearer ${dev.environment.TRIBUTARY_TOKEN}` } });
    if (!response.ok || !response.body) throw new Error(`${response.status}`);
    for await (const chunk of response.body) bytes += chunk.length;
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return bytes;
}
