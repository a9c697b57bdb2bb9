// The console while parts of the system are away: roles are processes of their own here, which a test kills. NATS and
// the broker are not reachable.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { launch, Visitor } from "./browser.mjs";
import { Dev, Roles } from "./system.mjs";

const EMAIL = "operator@example.org";
const PASSWORD = "a password of the tests";

describe("while parts of the system are away", () => {
  /** @type {Dev} */
  let dev;
  /** @type {Roles} */
  let roles;
  /** @type {import("playwright-core").Browser} */
  let browser;
  /** @type {Visitor} */
  let visitor;
  /** @type {import("playwright-core").Page} */
  let page;

  before(async () => {
    [dev, browser] = await Promise.all([Dev.start("--no-seed"), launch()]);
    roles = await dev.roles();
    const file = join(dev.folder, "password");
    await writeFile(file, PASSWORD);
    await roles.run("users", "create-admin", "--email", EMAIL, "--password-file", file);
    await roles.serve("http", "http", "worker");
    visitor = await Visitor.enter(browser, roles.url);
    page = visitor.page;
    visitor.tolerant = true;
  });
  after(async () => {
    await browser?.close();
    await roles?.stop();
    await dev?.stop();
  });

  test("the console opens without NATS, without the broker and without a projector, and names them", async () => {
    await page.goto(`${roles.url}/console/`);
    await visitor.signIn(EMAIL, PASSWORD);
    await visitor.settled();
    const main = page.locator("main");
    await main.getByText("NATS is not connected.").waitFor();
    await visitor.go("/bus");
    await main.getByText("not connected").first().waitFor();
    await visitor.go("/projections/telemetry");
    await main.getByText("never run").first().waitFor();
  });

  test("a killed projector is shown as stalled, and as live after its restart", async () => {
    await roles.serve("projector", "projector");
    await visitor.go("/projections/telemetry");
    const state = (/** @type {string} */ word) => page.locator("main .mark", { hasText: new RegExp(`^\\s*${word}`) }).first().waitFor();
    await state("live");
    await roles.kill("projector");
    // The last heartbeat is made older than the ten seconds after which a consumer counts as stalled.
    await roles.sql("update log.checkpoint set heartbeat_at = heartbeat_at - interval '1 minute'");
    await roles.post("/api/v1/telemetry", [{ user_id: "ada", device_id: "attic", sequence_id: 1, temperature: 20 }]);
    await state("stalled");
    await visitor.go("/");
    await page.locator("main").getByText("telemetry is stalled.").waitFor();
    await roles.serve("projector", "projector");
    await page.locator("main").getByText("telemetry is stalled.").waitFor({ state: "detached" });
    await visitor.go("/projections/telemetry");
    await state("live");
  });

  test("a lost server and an ended session are shown, and nothing that was typed is lost", async () => {
    const typed = "A name that took long to find";
    await visitor.go("/");
    await page.locator("main .vital").first().waitFor();
    await roles.kill("http");
    await page.locator("main [role=alert]", { hasText: "The connection is lost" }).waitFor();
    await roles.serve("http", "http", "worker");
    await page.locator("main [role=alert]", { hasText: "The connection is lost" }).waitFor({ state: "detached" });

    await visitor.go("/projects");
    await page.getByRole("button", { name: "New project" }).click();
    const form = page.getByRole("dialog", { name: "New project" });
    await form.getByLabel("Name").fill(typed);
    // The list is not renewed meanwhile: it would notice the end of the session before the form is sent.
    const list = "**/api/v1/projects?*";
    await page.route(list, (route) => route.abort());
    await roles.kill("http");
    // Tokens that another key has signed are not valid any more, as after a rotation of the key.
    await roles.newKey();
    await roles.serve("http", "http", "worker");
    await form.getByRole("button", { name: "Create" }).click();
    const signIn = page.getByRole("dialog", { name: "Sign in" });
    await signIn.getByText("Your session has ended").waitFor();
    await visitor.signIn(EMAIL, PASSWORD);
    await signIn.waitFor({ state: "detached" });
    await page.unroute(list);
    assert.equal(await form.getByLabel("Name").inputValue(), typed);
    await form.getByRole("button", { name: "Create" }).click();
    await page.locator("main option", { hasText: typed }).waitFor({ state: "attached" });
  });
});
