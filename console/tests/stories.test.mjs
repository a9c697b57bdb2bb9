// What people do with the console, from begin to end.

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { launch, Visitor } from "./browser.mjs";
import { HOSTILE, mend, order, park, readings, repeatLastEvent, user } from "./data.mjs";
import { Dev, eventually } from "./system.mjs";

/** @type {Dev} */
let dev;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  [dev, browser] = await Promise.all([Dev.start("--no-seed"), launch()]);
});
after(async () => {
  await browser?.close();
  await dev?.stop();
});

describe("an administrator", () => {
  /** @type {Visitor} */
  let visitor;
  /** @type {import("playwright-core").Page} */
  let page;
  /** @type {import("playwright-core").Locator} */
  let main;

  before(async () => {
    visitor = await Visitor.enter(browser, dev.url);
    await visitor.openLink(dev.link);
    page = visitor.page;
    main = page.locator("main");
  });
  beforeEach(() => {
    visitor.faults.length = 0;
  });

  test("moves a slider through the past of an order", async () => {
    const { id } = await order(dev, "Desk", 5, 2);
    await dev.post(`/api/v1/orders/${id}/ship`);
    await visitor.go(`/streams/order-${id}`);
    const slider = main.getByRole("slider");
    const after = main.getByRole("region", { name: "After" });
    await after.getByText("shipped").waitFor();
    await slider.focus();
    await page.keyboard.press("Home");
    await page.waitForURL(/[?&]at=1\b/);
    await after.getByText("pending").waitFor();
    assert.equal(await after.getByText("shipped").count(), 0);
    // The address of a version shows that version.
    await page.reload();
    await visitor.settled();
    await after.getByText("pending").waitFor();
    await slider.focus();
    await page.keyboard.press("End");
    await after.getByText("shipped").waitFor();
    nothing(visitor.faults);
  });

  test("sees why a stream is parked, and retries it after it was mended", async () => {
    const { stream: name, position } = await park(dev);
    await visitor.go("/parked");
    await main.locator(`a[title="${name}"]`).click();
    const stream = page.getByRole("dialog", { name: "Parked stream" });
    await stream.getByText(/expected a string/).waitFor();
    const retry = async () => {
      await stream.getByRole("button", { name: "Retry …" }).click();
      await page.getByRole("dialog", { name: "Retry this stream?" }).getByRole("button", { name: "Retry", exact: true }).click();
    };
    await retry();
    await eventually("a second attempt", async () => (await dev.get("/api/v1/parked")).items[0]?.attempts === 2);
    await page.getByRole("dialog", { name: "Retry this stream?" }).waitFor({ state: "hidden" });
    await mend(dev, position);
    await retry();
    await main.getByText("Nothing is parked").waitFor();
    assert.deepEqual((await dev.get("/api/v1/parked")).items, []);
    nothing(visitor.faults);
  });

  test("sees why an order was cancelled", async () => {
    const { id } = await order(dev, "Lamp", 2, 5);
    await visitor.go(`/orders/${id}`);
    const outcome = main.getByRole("region", { name: "Outcome" });
    await outcome.getByText(/cancelled, .*stock/i).waitFor();
    await outcome.getByText("the stock of Lamp had 2 of the 5 wanted").waitFor();
    await main.getByRole("region", { name: "Saga" }).getByText("5 wanted, 2 available").waitFor();
    nothing(visitor.faults);
  });

  test("sees the alert of readings that came late over their chart", async () => {
    await dev.api("PUT", "/api/v1/users/lin/config", { rules: [{ key: "temperature", operator: ">", threshold: 23, times: 2 }] });
    await readings(dev, "lin", "cellar", [20, 21, 25, 26, 22], 1, 3_600_000);
    const alert = await eventually("an alert", async () => (await dev.get("/api/v1/alerts?user_id=lin&device_id=cellar")).items[0]);
    await visitor.go(`/alerts/${alert.id}`);
    await main.getByText("1 alert", { exact: true }).waitFor();
    nothing(visitor.faults);
  });

  test("sees why an alert was raised, and tries another rule before it is saved", async () => {
    const rule = { key: "temperature", operator: ">", threshold: 23, device_id: "oven", times: 2, message: "The oven is too hot" };
    await dev.api("PUT", "/api/v1/users/ada/config", { rules: [rule] });
    await readings(dev, "ada", "oven", [20, 21, 25, 26, 22]);
    const alert = await eventually("an alert", async () => (await dev.get("/api/v1/alerts?user_id=ada&device_id=oven")).items[0]);
    await visitor.go(`/alerts/${alert.id}`);
    const why = main.getByRole("region", { name: "Why" });
    await why.getByText(/breach 1 of 2/).waitFor();
    await why.getByText(/the alert is raised/).waitFor();

    await main.getByRole("link", { name: "Change this rule" }).click();
    const threshold = main.getByLabel("Threshold");
    const run = main.getByRole("button", { name: "Run over recorded readings" });
    await threshold.fill("100");
    await run.click();
    await main.getByText("No alert would have been raised").waitFor();
    await threshold.fill("24");
    await run.click();
    await main.getByText("1 alert would have been raised").waitFor();
    // Nothing was saved until now.
    assert.equal((await dev.get("/api/v1/users/ada/config")).rules[0].threshold, 23);
    await main.getByRole("button", { name: "Save" }).click();
    await page.getByRole("button", { name: "Save 1 rule" }).click();
    await eventually("it is saved", async () => (await dev.get("/api/v1/users/ada/config")).rules[0].threshold === 24);
    nothing(visitor.faults);
  });

  test("sees names that hold markup as text, and long names and ids cut", async () => {
    const [device, long] = ["x".repeat(64), "x".repeat(200)];
    const { id } = await order(dev, HOSTILE, 5, 2);
    await order(dev, long, 5, 2);
    await dev.post("/api/v1/projects", { name: long });
    await dev.post("/api/v1/projects", { name: HOSTILE });
    await readings(dev, device, device, [20, 21]);
    await dev.caughtUp();
    await visitor.appear("light", 360);
    for (const path of ["/stock", "/projects", "/devices", `/devices/${device}/${device}`, `/streams/device-${device}~${device}`, "/events", `/orders/${id}`]) {
      await visitor.go(path);
      await harmless(path);
    }
    nothing(visitor.faults);
    // No device has such an id, which is all that the page has to say.
    visitor.tolerant = true;
    for (const name of [long, encodeURIComponent(HOSTILE)]) {
      await visitor.go(`/devices/ada/${name}`);
      await main.getByRole("alert").first().waitFor();
      await harmless(name);
    }
    visitor.tolerant = false;
    await visitor.appear("light", 1440);
    nothing(visitor.faults);
  });

  /** Fails if the page shows an image, has run what a name says, or is wider than the window. @param {string} where */
  async function harmless(where) {
    assert.equal(await page.locator("img").count(), 0, `an image on ${where}`);
    assert.notEqual(await page.title(), "harmed");
    assert.ok((await visitor.overflow()) <= 0, `${where} is wider than the window by ${await visitor.overflow()} pixels`);
  }

  test("sees faults of a form at their fields, and others in the message", async () => {
    visitor.tolerant = true; // Refusals are the subject.
    await dev.api("PUT", "/api/v1/schemas/titled", { required: ["title"], properties: { title: { type: "string" } } });
    await visitor.go("/documents");
    await main.getByRole("button", { name: "Record a document" }).click();
    const dialog = page.getByRole("dialog", { name: "Record a document" });
    const record = dialog.getByRole("button", { name: "Record" });
    const [json, schema] = [dialog.getByLabel("JSON object"), dialog.getByLabel("Schema")];
    await json.fill("[]");
    await record.click();
    await dialog.getByRole("alert").filter({ hasText: "text in braces" }).waitFor();
    assert.ok(await json.evaluate((element) => element === document.activeElement && element.getAttribute("aria-invalid") === "true"));
    await json.fill('{"title": 7}');
    await schema.fill("unknown");
    await record.click();
    await dialog.getByRole("alert").filter({ hasText: "there is no schema" }).waitFor();
    assert.deepEqual([await json.getAttribute("aria-invalid"), await schema.getAttribute("aria-invalid")], ["false", "true"]);
    nothing(await visitor.axe());
    await schema.fill("titled");
    await record.click();
    await dialog.getByRole("alert").filter({ hasText: "title: " }).waitFor();
    await json.fill('{"title": "A"}');
    await record.click();
    await main.getByText("Valid against titled, version 1").waitFor();
    assert.equal(await dialog.count(), 0);
    visitor.tolerant = false;
    nothing(visitor.faults);
  });

  test("goes everywhere by keys", async () => {
    const { id } = await order(dev, "Shelf", 5, 1);
    await visitor.go("/about");
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keys" }).waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog", { name: "Keys" }).waitFor({ state: "hidden" });
    await page.keyboard.press("g");
    await page.keyboard.press("o");
    await page.waitForURL(/\/console\/orders$/);
    await main.locator("[data-row]").first().waitFor();
    assert.ok(await visitor.tabTo((element) => element.hasAttribute("data-row"), ""), "a row has the focus");
    await page.keyboard.press("j");
    await page.keyboard.press("k");
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/console\/orders\/[0-9a-f-]{36}$/);
    await page.keyboard.press("/");
    await page.keyboard.type(id);
    await page.keyboard.press("Enter");
    await page.waitForURL((address) => address.pathname === `/console/orders/${id}`);
    await visitor.settled();
    nothing(visitor.faults);
  });

  test("keeps its place in a live list while the keyboard is in it", async () => {
    await visitor.go("/events");
    const first = main.locator("[data-row]").first();
    await main.getByText("Live: new events appear at the top.").waitFor();
    const before = await first.innerText();
    await dev.post("/api/v1/page-views", [{ path: "/before-reading" }]);
    await eventually("a new event is shown", async () => (await first.innerText()) !== before);
    assert.ok(await visitor.tabTo((element) => element.hasAttribute("data-row"), ""), "a row has the focus");
    const read = () => page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement).innerText);
    const [focused, newest] = [await read(), await first.innerText()];
    await dev.post("/api/v1/page-views", [{ path: "/while-reading" }]);
    await main.getByText(/newer events? waits?/).waitFor();
    await dev.sql(repeatLastEvent(1000)); // More than the tail shows, so some are left out.
    await main.getByText(/more came faster than they can be read/).waitFor();
    assert.equal(await read(), focused);
    assert.equal(await first.innerText(), newest);
    await page.keyboard.press("/");
    await eventually("the list goes on", async () => (await first.innerText()) !== newest);

    // A page that is left takes the focus with it; the title of the next one has it then.
    assert.ok(await visitor.tabTo((element) => element.hasAttribute("data-row"), ""), "a row has the focus again");
    await visitor.go("/about");
    assert.equal(await read(), "About");
    nothing(visitor.faults);
  });

  test("scrolls through 10,000 rows, of which the document holds few", async () => {
    await dev.post("/api/v1/page-views", [{ path: "/" }]);
    await dev.sql(repeatLastEvent(10_000));
    await visitor.go("/events");
    const rows = main.locator("[data-row]");
    const last = async () => Number(await rows.last().getAttribute("data-row"));
    await rows.first().waitFor();
    await eventually("10,000 rows", async () => {
      await page.keyboard.press("End");
      return Number(await main.locator("[aria-rowcount]").getAttribute("aria-rowcount")) > 10_000;
    });
    await eventually("the last rows are shown", async () => {
      await page.keyboard.press("End");
      return (await last()) > 9_900;
    });
    assert.ok((await rows.count()) < 300, `${await rows.count()} rows in the document`);
    await page.keyboard.press("Home");
    await eventually("the first row is shown", async () => (await rows.first().getAttribute("data-row")) === "0");
    nothing(visitor.faults);
  });
});

describe("a user", () => {
  /** @type {Visitor} */
  let visitor;
  /** @type {import("playwright-core").Page} */
  let page;

  before(async () => {
    await dev.caughtUp();
    const grace = await user(dev, "grace");
    await dev.api("PUT", `/api/v1/users/${grace.id}/namespace`, { namespace: "grace" });
    await readings(dev, "grace", "desk", [17.25]);
    await readings(dev, "ada", "kitchen", [23.75]);
    visitor = await Visitor.enter(browser, dev.url);
    visitor.tolerant = true; // Refusals are the subject.
    page = visitor.page;
  });

  test("signs in by a form that names a wrong password", async () => {
    await page.goto(`${dev.url}/console/devices`);
    for (const theme of /** @type {const} */ (["light", "dark"])) {
      await visitor.appear(theme, 360);
      await page.getByLabel("Password").waitFor();
      nothing(await visitor.axe());
    }
    await visitor.appear("light", 1440);
    await page.getByLabel("E-mail address").fill("grace@example.org");
    await page.getByLabel("Password").fill("a wrong password");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").filter({ hasText: /password/i }).waitFor();
    await visitor.signIn("grace@example.org", "the password of grace");
    await visitor.settled();
    await page.locator("main").getByText("desk").first().waitFor();
  });

  test("does not see the device of another user by its link", async () => {
    await visitor.open("/devices/grace/desk");
    await page.locator("main").getByText(/17\.25/).first().waitFor();
    await visitor.open("/devices/ada/kitchen");
    await page.locator("main [role=alert]").first().waitFor();
    assert.ok(!(await page.locator("main").innerText()).includes("23.75"));
    await visitor.open("/streams/device-ada~kitchen");
    await page.locator("main [role=alert]").first().waitFor();
  });

  test("is not offered pages of operators, and is refused them by link", async () => {
    await visitor.open("/");
    await page.waitForURL(/\/console\/devices$/);
    assert.equal(await page.getByRole("link", { name: "Projections" }).count(), 0);
    await visitor.page.goto(`${dev.url}/console/projections`);
    await page.locator("main [role=alert]", { hasText: "operator" }).waitFor();
  });

  test("ends the session of another sign-in", async () => {
    const send = (/** @type {string} */ path, /** @type {Record<string, string> | URLSearchParams} */ body) =>
      fetch(`${dev.url}/api/v1/auth/${path}`, body instanceof URLSearchParams ? { method: "POST", body } : {
        method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
      });
    const credentials = new URLSearchParams({ username: "grace@example.org", password: "the password of grace" });
    const { refresh_token } = await (await send("login/access-token", credentials)).json();
    await dev.caughtUp();
    await visitor.open("/accounts");
    const sessions = page.getByRole("table", { name: "Sessions" });
    await sessions.getByText("this session").waitFor();
    await visitor.appear("light", 360);
    nothing(await visitor.axe());
    await visitor.appear("light", 1440);
    await sessions.getByRole("button", { name: "End …" }).click();
    await page.getByRole("dialog", { name: "End this session?" }).getByRole("button", { name: "End the session" }).click();
    await eventually("one session is left", async () => (await sessions.locator("[data-row]").count()) === 1);
    await sessions.getByText("this session").waitFor();
    const refreshed = await send("refresh", { refresh_token });
    assert.equal(refreshed.status, 401);
    assert.equal((await refreshed.json()).code, "session_ended");
  });

  test("signs out", async () => {
    await page.getByRole("button", { name: /^Account of/ }).click();
    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    const password = page.getByRole("form", { name: "Sign in" }).getByLabel("Password");
    await password.waitFor();
    await page.reload();
    await password.waitFor();
    nothing(visitor.faults);
  });
});

/** @param {string[]} faults */
function nothing(faults) {
  assert.ok(faults.length === 0, faults.join("\n"));
}
