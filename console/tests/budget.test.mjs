// How much JavaScript a visitor loads.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const DIST = process.env.CONSOLE_DIST ?? fileURLToPath(new URL("../dist", import.meta.url));
const ASSETS = join(DIST, "assets");
/** Bytes of JavaScript, each file compressed with gzip: of all pages, and of the first one. */
const ALL = 150_000;
const FIRST = 60_000;

/** @param {string[]} names */
const compressed = (names) => names.reduce((sum, name) => sum + gzipSync(readFileSync(join(ASSETS, name)), { level: 9 }).length, 0);

/** Follows what the files import at once. @param {string[]} names */
function closure(names) {
  const found = new Set(names);
  for (const name of found) {
    const imports = readFileSync(join(ASSETS, name), "utf8").matchAll(/(?:from|import)\s*["']\.\/([^"']+\.js)["']/g);
    for (const [, imported] of imports) found.add(/** @type {string} */ (imported));
  }
  return [...found];
}

test("all JavaScript is small", (context) => {
  const size = compressed(readdirSync(ASSETS).filter((name) => name.endsWith(".js")));
  context.diagnostic(`all pages: ${size} bytes compressed`);
  assert.ok(size <= ALL, `${size} bytes compressed, more than ${ALL}`);
});

test("the first page is small", (context) => {
  const html = readFileSync(join(DIST, "index.html"), "utf8");
  const entry = Array.from(html.matchAll(/\/console\/assets\/([^"]+\.js)"/g), ([, name]) => /** @type {string} */ (name));
  const flow = readdirSync(ASSETS).filter((name) => /^Flow-.*\.js$/.test(name));
  assert.ok(entry.length > 0 && flow.length === 1, `${entry} ${flow}`);
  const names = closure([...entry, ...flow]);
  const size = compressed(names);
  context.diagnostic(`Flow: ${size} bytes compressed, ${names.length} files`);
  assert.ok(size <= FIRST, `${size} bytes compressed, more than ${FIRST}`);
});
