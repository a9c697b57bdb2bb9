// A device with many readings: how soon its chart is drawn, and how long frames take while it is zoomed from all to raw.
//
// node benches/chart.mjs [READINGS]

import { launch, Visitor } from "../tests/browser.mjs";
import { eventually } from "../tests/system.mjs";
import { quantile, recordFrames, system } from "./bench.mjs";

const readings = Number(process.argv[2] ?? 1_000_000);
const BATCH = 1000;
const YEAR = 365 * 86_400_000;
const PATH = "/devices/ada/meter";

await system(async (dev) => {
  const start = Date.now() - YEAR;
  const before = performance.now();
  for (let at = 0; at < readings; at += BATCH) {
    const items = Array.from({ length: Math.min(BATCH, readings - at) }, (_, offset) => {
      const sequence = at + offset + 1;
      return {
        user_id: "ada", device_id: "meter", sequence_id: sequence, boot_id: "b",
        time: new Date(start + (sequence / readings) * YEAR).toISOString(),
        temperature: Math.round((20 + 5 * Math.sin(sequence / 5000) + Math.random()) * 100) / 100,
      };
    });
    await dev.post("/api/v1/telemetry", items);
  }
  await eventually("all readings", async () => (await dev.get("/api/v1/users/ada/devices/meter")).readings === readings);
  await dev.caughtUp(); // Other projections and the evaluator take the processors, too.
  const autovacuum = "select count(*) from pg_stat_activity where backend_type = 'autovacuum worker'";
  await eventually("the tables are vacuumed", async () => Number(await dev.sql(autovacuum)) === 0);
  console.log(`${readings} readings recorded in ${((performance.now() - before) / 1000).toFixed(0)} s`);

  const browser = await launch();
  const visitor = await Visitor.enter(browser, dev.url);
  const { page } = visitor;
  await visitor.openLink(dev.link);
  await visitor.go("/devices");
  for (const range of ["", "?range=1y"]) {
    await visitor.go("/devices");
    const drawn = await page.evaluate(async (href) => {
      const begun = performance.now();
      const link = document.body.appendChild(Object.assign(document.createElement("a"), { href }));
      link.click();
      link.remove();
      for (;;) {
        const canvas = document.querySelector("main canvas");
        if (canvas instanceof HTMLCanvasElement && inked(canvas)) return performance.now() - begun;
        await new Promise(requestAnimationFrame);
      }
      /** @param {HTMLCanvasElement} canvas */
      function inked(canvas) {
        const pixels = canvas.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height).data;
        return pixels?.some((value) => value !== 0) ?? false;
      }
    }, `/console${PATH}${range}`);
    console.log(`chart drawn ${drawn.toFixed(0)} ms after the link to ${PATH}${range}`);
  }
  await recordFrames(page);
  // By the key that halves the range, from a year to single readings; the last reading stays in view at the right.
  const chart = page.locator("main [role=group]", { has: page.locator("canvas") }).first();
  await chart.focus();
  for (let zoom = 1; zoom <= 16; zoom += 1) {
    const begun = performance.now();
    const answered = page.waitForResponse((response) => response.url().includes("/readings"));
    await page.keyboard.press("+");
    await answered;
    console.log(`zoom ${zoom}: ${(performance.now() - begun).toFixed(0)} ms until the readings are answered   ${page.url().slice(dev.url.length)}`);
  }
  const frames = /** @type {number[]} */ (await page.evaluate("frames.splice(0)"));
  console.log(`zooming: frame p95 ${quantile(frames, 0.95).toFixed(1)} ms, slowest ${Math.max(...frames).toFixed(0)} ms`);
  await browser.close();
}, ["--no-seed"]);
