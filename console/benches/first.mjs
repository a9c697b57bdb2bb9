// How soon the first page is there after the one-time link is opened, with an empty cache of the browser.
// The browser has shown a page of its own before, as that of a visitor has. Prints the milliseconds until something is painted, until the page can be used (the navigation is there and no task of
// more than 50 ms follows), and until Flow shows live figures.
//
// node benches/first.mjs [RUNS]

import { launch, Visitor } from "../tests/browser.mjs";
import { median, system } from "./bench.mjs";

const runs = Number(process.argv[2] ?? 10);
await system(async (dev) => {
  const browser = await launch();
  const blank = await browser.newPage();
  await blank.goto("data:text/html,<p>The browser runs.");
  await blank.evaluate(() => new Promise(requestAnimationFrame));
  /** @type {Record<string, number[]>} */
  const times = { paint: [], interactive: [], live: [] };
  for (let run = 0; run < runs; run += 1) {
    // The link is good for one visit; further ones sign in by the form first, and then load the page again.
    const visitor = await Visitor.enter(browser, dev.url);
    const { page } = visitor;
    await page.addInitScript(observe);
    if (run === 0) await page.goto(dev.link);
    else {
      await page.goto(`${dev.url}/console/`);
      await visitor.signIn(dev.environment.TRIBUTARY_EMAIL ?? "", dev.environment.TRIBUTARY_PASSWORD ?? "");
      const session = await page.context().newCDPSession(page);
      await session.send("Network.clearBrowserCache");
      await page.goto("about:blank");
      await page.goto(`${dev.url}/console/`);
    }
    await page.waitForFunction(() => /** @type {any} */ (globalThis).times?.live !== undefined);
    const found = /** @type {Record<string, number>} */ (await page.evaluate("finish()"));
    for (const name of Object.keys(times)) /** @type {number[]} */ (times[name]).push(/** @type {number} */ (found[name]));
    await visitor.leave();
  }
  await browser.close();
  for (const [name, values] of Object.entries(times)) {
    console.log(`${name.padEnd(12)} first visit ${values[0]?.toFixed(0)} ms   median ${median(values).toFixed(0)} ms   slowest ${Math.max(...values).toFixed(0)} ms`);
  }
});

/** Runs in the page: notes when the navigation and the first live figure appear, and when long tasks end. */
function observe() {
  const scope = /** @type {any} */ (globalThis);
  /** @type {Record<string, number>} */
  const times = (scope.times = {});
  let busy = 0;
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) busy = Math.max(busy, task.startTime + task.duration);
  }).observe({ type: "longtask", buffered: true });
  const look = () => {
    if (document.querySelector("header nav")) times.usable ??= performance.now();
    if (document.querySelector("main h1") && /\d/.test(document.querySelector("main")?.textContent ?? "")) times.live ??= performance.now();
  };
  new MutationObserver(look).observe(document, { childList: true, subtree: true, characterData: true });
  scope.finish = () => ({
    paint: performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
    interactive: Math.max(/** @type {number} */ (times.usable), busy < /** @type {number} */ (times.live) ? busy : 0),
    live: times.live,
  });
}
