// The list of pages, as src/pages/index.ts has it, and addresses at which each has something to show.

import { readFile } from "node:fs/promises";
import ts from "typescript";
import { eventually } from "./system.mjs";

/** @typedef {{ path: string, title: string, nav: "bar" | "more" | "none", role: string, under?: string }} PageEntry */

/** @returns {Promise<PageEntry[]>} */
export async function pages() {
  const source = await readFile(new URL("../src/pages/index.ts", import.meta.url), "utf8");
  const { outputText } = ts.transpileModule(source, { compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext } });
  return (await import(`data:text/javascript,${encodeURIComponent(outputText)}`)).PAGES;
}

/**
 * Returns the addresses below /console of pages that need parameters to show something. The demo data must be there.
 * @param {import("./system.mjs").System} system
 * @returns {Promise<Record<string, string>>}
 */
export async function addresses(system) {
  /** @param {string} list */
  const first = (list) => eventually(`something in ${list}`, async () => (await system.get(list)).items[0]);
  const [order, work, device] = [await first("/api/v1/orders"), await first("/api/v1/works"), await first("/api/v1/devices")];
  const alert = await first("/api/v1/alerts");
  return {
    "/streams/:id": `/streams/order-${order.id}`,
    "/traces/:id": `/traces/${order.id}`,
    "/projections/:name": "/projections/telemetry",
    "/devices/:user/:device": `/devices/${device.user_id}/${device.device_id}`,
    "/alerts/:id": `/alerts/${alert.id}`,
    "/orders/:id": `/orders/${order.id}`,
    "/works/:id": `/works/${work.id}`,
    "/rules": `/rules?user=${device.user_id}`,
  };
}
