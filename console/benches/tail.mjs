// Whether the live tail slows the browser: Events is open while devices send at a high rate. The browser has a processor
// of its own, as that of a visitor has, and the servers and the load share another one. Prints, each half minute, the
// rate of the log, the 95th percentile of the time between two frames, and the heap after a garbage collection; first
// without load.
//
// The load is readings over HTTP, or, with `sql`, events that are appended in the database, which reaches higher rates.
//
// node benches/tail.mjs [EVENTS A SECOND] [MINUTES] [PATH] [http | sql]

import { execFileSync } from "node:child_process";
import { launch, Visitor } from "../tests/browser.mjs";
import { append, load, quantile, recordFrames, system } from "./bench.mjs";

const [rate, minutes, path] = [Number(process.argv[2] ?? 18_000), Number(process.argv[3] ?? 5), process.argv[4] ?? "/events"];
const send = process.argv[5] === "sql" ? append : load;
const PERIOD = 30;

/** Runs a process on one processor; its later children too. @param {number} pid @param {number} processor */
const pin = (pid, processor) => execFileSync("taskset", ["-acp", String(processor), String(pid)], { stdio: "ignore" });

/** The processes of Chromium. */
function browserProcesses() {
  const lines = execFileSync("ps", ["-eo", "pid=,comm="], { encoding: "utf8" }).trim().split("\n");
  return lines.map((line) => line.trim().split(/\s+/)).filter(([, name]) => /^(chrom|headless)/.test(name ?? "")).map(([pid]) => Number(pid));
}

pin(process.pid, 0);
await system(async (dev) => {
  const browser = await launch();
  for (const pid of browserProcesses()) pin(pid, 1);
  const visitor = await Visitor.enter(browser, dev.url);
  const { page } = visitor;
  await visitor.openLink(dev.link);
  await visitor.go(path);
  const session = await page.context().newCDPSession(page);
  await recordFrames(page);
  for (let period = 0; period <= (minutes * 60) / PERIOD; period += 1) {
    const events = period === 0 ? await new Promise((done) => setTimeout(done, 10_000, 0)) : await send(dev, rate, PERIOD);
    const frames = /** @type {number[]} */ (await page.evaluate("frames.splice(0)"));
    await session.send("HeapProfiler.collectGarbage");
    const { usedSize } = await session.send("Runtime.getHeapUsage");
    console.log(
      `${String(period * PERIOD).padStart(4)} s   ${events.toFixed(0).padStart(6)} events/s   frame p95 ${quantile(frames, 0.95).toFixed(1)} ms, ` +
        `slowest ${Math.max(...frames).toFixed(0)} ms   heap ${(usedSize / 1e6).toFixed(1)} MB`,
    );
  }
  await browser.close();
}, ["--no-seed"]);
