// Whether the live tail slows the browser: Events is open while devices send at a high rate. Prints, each half minute,
// the rate of the log, the 95th percentile of the time between two frames, and the heap after a garbage collection.
//
// node benches/tail.mjs [EVENTS A SECOND] [MINUTES] [PATH]

import { launch, Visitor } from "../tests/browser.mjs";
import { load, quantile, recordFrames, system } from "./bench.mjs";

const [rate, minutes, path] = [Number(process.argv[2] ?? 18_000), Number(process.argv[3] ?? 5), process.argv[4] ?? "/events"];
const PERIOD = 30;

await system(async (dev) => {
  const browser = await launch();
  const visitor = await Visitor.enter(browser, dev.url);
  const { page } = visitor;
  await visitor.openLink(dev.link);
  await visitor.go(path);
  const session = await page.context().newCDPSession(page);
  await recordFrames(page);
  for (let period = 0; period < (minutes * 60) / PERIOD; period += 1) {
    const events = await load(dev, rate, PERIOD);
    const frames = /** @type {number[]} */ (await page.evaluate("frames.splice(0)"));
    await session.send("HeapProfiler.collectGarbage");
    const { usedSize } = await session.send("Runtime.getHeapUsage");
    console.log(
      `${String((period + 1) * PERIOD).padStart(4)} s   ${events.toFixed(0).padStart(6)} events/s   frame p95 ${quantile(frames, 0.95).toFixed(1)} ms, ` +
        `slowest ${Math.max(...frames).toFixed(0)} ms   heap ${(usedSize / 1e6).toFixed(1)} MB`,
    );
  }
  await browser.close();
}, ["--no-seed"]);
