// Chromium, and what every page must be: accessible, silent in the console of the browser, within its
// Content-Security-Policy, and content with its own server.

import { existsSync, readFileSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { delimiter, dirname, extname, join } from "node:path";
import { chromium } from "playwright-core";
import { ARTIFACTS } from "./system.mjs";

/** @typedef {import("playwright-core").Page} Page */
/** @typedef {import("playwright-core").Locator} Locator */
/** @typedef {"light" | "dark"} Theme */

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Folder with a build that is tested instead of the one in the executable. */
const DIST = process.env.CONSOLE_DIST;
const POLICY =
  "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; object-src 'none'; " +
  "base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/** @type {Record<string, string>} */
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
/** Longest wait for an element, in milliseconds. */
const DEADLINE = 20_000;

/** Starts the installed browser. It has no sandbox, which root and some systems do not allow: it visits own pages only. */
export function launch() {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const names = ["chromium", "google-chrome", "chromium-browser"];
  const executablePath = names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path));
  if (!executablePath) throw new Error("Chromium is not installed: run .ci/install.sh chromium");
  return chromium.launch({ executablePath, args: ["--no-sandbox"] });
}

/** A browser's visitor of one server, who notes what goes wrong on its pages. */
export class Visitor {
  /**
   * What the pages did that they must not do.
   * @type {string[]}
   */
  faults = [];
  /** Whether the server is expected to fail now, so that failed requests are no fault. */
  tolerant = false;

  /** @param {Page} page @param {string} url */
  constructor(page, url) {
    this.page = page;
    this.url = url;
  }

  /**
   * @param {import("playwright-core").Browser} browser
   * @param {string} url address of the server
   */
  static async enter(browser, url) {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", colorScheme: "light" });
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    if (DIST) await context.route(`${url}/console/**`, (route) => fromFolder(DIST, route));
    const page = await context.newPage();
    page.setDefaultTimeout(DEADLINE);
    const visitor = new Visitor(page, url);
    await visitor.#watch();
    return visitor;
  }

  async #watch() {
    const { page } = this;
    // The violation is written to the console, where the next listener finds it.
    await page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        console.error(`Content-Security-Policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
      });
    });
    page.on("console", (message) => {
      const expected = this.tolerant && message.text().startsWith("Failed to load resource");
      if (["error", "warning"].includes(message.type()) && !expected) this.#fault(`${message.text()} (${message.location().url})`);
    });
    page.on("pageerror", (error) => this.#fault(`uncaught: ${error.stack ?? error}`));
    page.on("dialog", (dialog) => {
      this.#fault(`a dialog of the browser: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on("request", (request) => {
      const { protocol, origin } = new URL(request.url());
      if (protocol.startsWith("http") && origin !== this.url) this.#fault(`a request to ${origin}`);
    });
  }

  /** @param {string} what */
  #fault(what) {
    const path = this.page.url().slice(this.url.length);
    this.faults.push(`${path}: ${what}`);
  }

  /** Opens the console with a one-time code, which signs in. @param {string} link */
  async openLink(link) {
    await this.page.goto(link);
    await this.settled();
  }

  /** Signs in by the form. @param {string} email @param {string} password */
  async signIn(email, password) {
    await this.page.getByLabel("E-mail address").fill(email);
    await this.page.getByLabel("Password").fill(password);
    await this.page.getByRole("button", { name: "Sign in" }).click();
    await this.page.getByRole("navigation", { name: "Pages" }).waitFor();
  }

  /** Opens a page by its address. @param {string} path below /console */
  async open(path) {
    await this.page.goto(`${this.url}/console${path}`);
    await this.settled();
  }

  /** Goes to a page of the console as a link does, without loading the document again. @param {string} path */
  async go(path) {
    await this.page.evaluate((href) => {
      const link = document.body.appendChild(Object.assign(document.createElement("a"), { href }));
      link.click();
      link.remove();
    }, `/console${path}`);
    await this.settled();
  }

  /** Waits until the page has a title and has loaded what it shows first. */
  async settled() {
    await this.page.locator("#main h1").first().waitFor();
    await this.page.waitForFunction(() => document.querySelector("#main [aria-label=Loading]") === null);
  }

  /** @param {Theme} theme @param {number} width */
  async appear(theme, width) {
    await this.page.emulateMedia({ colorScheme: theme, reducedMotion: "reduce" });
    await this.page.setViewportSize({ width, height: 900 });
  }

  /**
   * What axe finds on the page as it is now. @param {string[]} rules only these; all by default @returns {Promise<string[]>}
   */
  async axe(rules = []) {
    if (!(await this.page.evaluate("Boolean(globalThis.axe)"))) await this.page.evaluate(AXE);
    const options = { resultTypes: ["violations"], ...(rules.length > 0 ? { runOnly: rules } : {}) };
    const violations = /** @type {import("axe-core").Result[]} */ (
      await this.page.evaluate(`axe.run(document, ${JSON.stringify(options)}).then((results) => results.violations)`)
    );
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 200)} ${node.failureSummary ?? ""}`));
  }

  /** How far the page is wider than the window, in pixels. */
  overflow() {
    return this.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  }

  /** Keeps a picture of the whole page. @param {string} name */
  async picture(name) {
    const path = join(ARTIFACTS, "screenshots", `${name}.png`);
    await mkdir(dirname(path), { recursive: true });
    await this.page.screenshot({ path, fullPage: true, animations: "disabled" });
  }

  /** Writes a small picture of the window, as WebP. @param {string} path */
  async illustration(path) {
    const session = await this.page.context().newCDPSession(this.page);
    const { data } = await session.send("Page.captureScreenshot", { format: "webp", quality: 60 });
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, Buffer.from(data, "base64"));
    await session.detach();
  }

  /**
   * Presses Tab until the focused element satisfies `wanted`; returns whether one did before the focus came around.
   * @param {(element: Element, argument: string) => boolean} wanted runs in the page
   * @param {string} argument
   */
  async tabTo(wanted, argument) {
    const most = 250;
    let around = 0;
    for (let presses = 0; presses < most && around < 2; presses += 1) {
      await this.page.keyboard.press("Tab");
      const state = await this.page.evaluate(
        ([source, value]) => {
          const element = document.activeElement;
          if (!element || element === document.body) return "left";
          return /** @type {boolean} */ (new Function(`return (${source})`)()(element, value)) ? "found" : "on";
        },
        /** @type {[string, string]} */ ([String(wanted), argument]),
      );
      if (state === "found") return true;
      if (state === "left") around += 1;
    }
    return false;
  }

  async leave() {
    await this.page.context().close();
  }
}

/**
 * Answers a request for the console from a folder, as the server does from its executable.
 * @param {string} folder
 * @param {import("playwright-core").Route} route
 */
async function fromFolder(folder, route) {
  const path = new URL(route.request().url()).pathname.slice("/console/".length);
  const name = extname(path) === "" ? "index.html" : path;
  const body = await readFile(join(folder, name)).catch(() => null);
  if (body === null) return route.fulfill({ status: 404 });
  return route.fulfill({ body, contentType: TYPES[extname(name)] ?? "application/octet-stream", headers: { "Content-Security-Policy": POLICY } });
}
