// What the measurements share. They measure the release build: `cargo build --release --bins`.

process.env.TRIBUTARY_EXECUTABLE ??= new URL("../../target/release/tributary", import.meta.url).pathname;
const { Dev, execute } = await import("../tests/system.mjs");
const { repeatLastEvent } = await import("../tests/data.mjs");

/** @typedef {import("../tests/system.mjs").Dev} Dev */

/**
 * Runs `measure` on a system of its own. @param {(dev: Dev) => Promise<void>} measure @param {string[]} options of `tributary dev`
 */
export async function system(measure, options = []) {
  const dev = await Dev.start(...options);
  try {
    await measure(dev);
  } finally {
    await dev.stop();
  }
}

/** @param {number[]} values @param {number} part */
export function quantile(values, part) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}

/** @param {number[]} values */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (/** @type {number} */ (sorted[Math.floor(middle)]) + /** @type {number} */ (sorted[Math.ceil(middle)])) / 2;
}

/**
 * Sends readings of simulated devices over HTTP; returns how many events a second were committed.
 * @param {Dev} dev @param {number} rate readings a second in all @param {number} seconds
 */
export async function load(dev, rate, seconds) {
  const devices = 60;
  const before = await head(dev);
  const started = performance.now();
  await execute(
    ["load", "--mode", "http", "--users", "20", "--devices-per-user", "3", "--rate", String(Math.ceil(rate / devices)), "--duration", `${seconds}s`, "--json"],
    dev.environment,
  );
  return ((await head(dev)) - before) / ((performance.now() - started) / 1000);
}

/**
 * Appends events by SQL, which takes less of the processor than requests do: page views, twenty commits a second. Returns
 * how many events a second were committed.
 * @param {Dev} dev @param {number} rate events a second @param {number} seconds
 */
export async function append(dev, rate, seconds) {
  await dev.post("/api/v1/page-views", [{ path: "/" }]);
  const before = await head(dev);
  const started = performance.now();
  const events = Math.ceil(rate / 20);
  // Not in one transaction, so that each part is visible at once.
  await dev.sql(`
    do $$
    declare due timestamptz := clock_timestamp();
    begin
      for tick in 1..${seconds * 20} loop
        ${repeatLastEvent(events)};
        commit;
        due := due + interval '50 milliseconds';
        perform pg_sleep(greatest(extract(epoch from due - clock_timestamp()), 0));
      end loop;
    end $$`);
  return ((await head(dev)) - before) / ((performance.now() - started) / 1000);
}

/** @param {Dev} dev */
const head = async (dev) => Number(await dev.sql("select position from log.head"));

/**
 * Records the time between two frames of the page in its global `frames`, in milliseconds.
 * @param {import("playwright-core").Page} page
 */
export const recordFrames = (page) =>
  page.evaluate(() => {
    const scope = /** @type {any} */ (globalThis);
    scope.frames = [];
    let last = performance.now();
    const frame = (/** @type {number} */ now) => {
      scope.frames.push(now - last);
      last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
