// Every page of src/pages/index.ts on a living system: in both themes and at two widths it loads, fits, is accessible,
// keeps to its own server and to its Content-Security-Policy; and the keyboard reaches it.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { after, before, describe, test } from "node:test";
import { launch, Visitor } from "./browser.mjs";
import { park } from "./data.mjs";
import { addresses, pages } from "./pages.mjs";
import { Dev } from "./system.mjs";

const PAGES = await pages();
/** Where the pictures of docs/console.md are written, if they are wanted: `CONSOLE_PICTURES=1`. */
const PICTURES = process.env.CONSOLE_PICTURES ? fileURLToPath(new URL("../../docs/images/console", import.meta.url)) : null;

/** @param {string[]} faults */
const nothing = (faults) => assert.ok(faults.length === 0, faults.join("\n"));
/** @param {{ path: string, title: string }} page */
const fileName = (page) => page.title.toLowerCase().replaceAll(" ", "-");

describe("every page", () => {
  /** @type {Dev} */
  let dev;
  /** @type {import("playwright-core").Browser} */
  let browser;
  /** @type {Visitor} */
  let visitor;
  /** @type {Record<string, string>} */
  let places;

  before(async () => {
    [dev, browser] = await Promise.all([Dev.start(), launch()]);
    places = await addresses(dev);
    visitor = await Visitor.enter(browser, dev.url);
    await visitor.openLink(dev.link);
  });
  after(async () => {
    await browser?.close();
    await dev?.stop();
  });

  for (const page of PAGES) {
    test(`${page.title} loads in both themes at two widths`, async () => {
      const place = places[page.path] ?? page.path;
      visitor.faults.length = 0;
      if (page.path === "/parked") await park(dev);
      await visitor.appear("light", 1440);
      await visitor.open(place);
      assert.equal(await visitor.page.locator("main [role=alert] h2").count(), 0, await visitor.page.locator("main").innerText());
      /** @type {string[]} */
      const found = [];
      for (const theme of /** @type {const} */ (["light", "dark"])) {
        for (const width of [1440, 360]) {
          await visitor.appear(theme, width);
          await visitor.settled();
          // The theme changes colours only.
          const violations = await visitor.axe(theme === "dark" ? ["color-contrast"] : []);
          for (const violation of violations) found.push(`${theme} ${width}: ${violation}`);
          if ((await visitor.overflow()) > 0) found.push(`${theme} ${width}: wider than the window by ${await visitor.overflow()} pixels`);
          if ((theme === "light") === (width === 1440)) await visitor.picture(`${fileName(page)}-${theme}-${width}`);
        }
      }
      nothing([...found, ...visitor.faults]);
      if (PICTURES) {
        await visitor.appear("light", 1280);
        await visitor.illustration(`${PICTURES}/${fileName(page)}.webp`);
      }
    });
  }

  for (const page of PAGES) {
    test(`the keyboard reaches ${page.title}`, async () => {
      visitor.faults.length = 0;
      await visitor.appear("light", 1440);
      if (page.nav === "none") await fromItsList(page);
      else await fromTheBar(page);
      nothing(visitor.faults);
    });
  }

  /** Opens a page of the navigation, from another page. @param {import("./pages.mjs").PageEntry} page */
  async function fromTheBar(page) {
    await visitor.go(page.path === "/about" ? "/integrity" : "/about");
    if (page.nav === "more") {
      assert.ok(await visitor.tabTo((element, id) => element.getAttribute("aria-controls") === id, "pages"), "the menu has the focus");
      await visitor.page.keyboard.press("Enter");
    }
    assert.ok(await visitor.tabTo((element, path) => element.getAttribute("href") === path, `/console${page.path}`), "its link has the focus");
    await visitor.page.keyboard.press("Enter");
    await visitor.page.waitForURL((address) => address.pathname === `/console${page.path}`);
    await visitor.page.locator("main h1", { hasText: page.title }).waitFor();
  }

  /** Opens one thing from the list that shows it. @param {import("./pages.mjs").PageEntry} page */
  async function fromItsList(page) {
    const form = new RegExp(`^/console${page.path.replaceAll(/:[a-z]+/g, "[^/?]+")}$`);
    const arrived = async () => form.test(await visitor.page.evaluate(() => location.pathname));
    /** @param {Element} element @param {string} pattern */
    const links = (element, pattern) => element instanceof HTMLAnchorElement && new RegExp(pattern).test(element.pathname);
    await visitor.go(page.under ?? "/");
    await visitor.page.locator("main [data-row]").first().waitFor();
    assert.ok(await visitor.tabTo((element) => element.hasAttribute("data-row"), ""), "a row has the focus");
    await visitor.page.keyboard.press("Enter");
    if (!(await arrived())) {
      // The row was opened within the page: there is a link in what has the focus now.
      await visitor.page.locator(`main a[href*="${page.path.split(":")[0]}"]`).first().waitFor();
      assert.ok(await visitor.tabTo(links, form.source), `a link of the form ${form.source} has the focus`);
      await visitor.page.keyboard.press("Enter");
    }
    await visitor.page.waitForURL((address) => form.test(address.pathname));
    await visitor.settled();
  }
});
