// All pages: their address, their place in the navigation, and who may see them. Each is loaded when it
// is first opened, or when the browser is idle after that.

import type { Component } from "svelte";

export interface PageEntry {
  /** Path below /console; parts that begin with `:` are parameters, given to the page as properties. */
  path: string;
  title: string;
  /** In the bar, under More, or only reached by links. */
  nav: "bar" | "more" | "none";
  role: "user" | "operator" | "admin";
  /** The page in whose navigation entry this one is shown. */
  under?: string;
  load: () => Promise<{ default: Component<Record<string, string>> }>;
}

type Loaded = ReturnType<PageEntry["load"]>;
const page = (
  path: string, title: string, nav: PageEntry["nav"], role: PageEntry["role"], load: () => Promise<unknown>, under?: string,
): PageEntry => ({ path, title, nav, role, load: load as () => Loaded, ...(under ? { under } : {}) });

export const PAGES: PageEntry[] = [
  page("/", "Flow", "bar", "operator", () => import("./Flow.svelte")),
  page("/events", "Events", "bar", "operator", () => import("./Events.svelte")),
  page("/streams/:id", "Stream", "none", "user", () => import("./Stream.svelte"), "/events"),
  page("/traces/:id", "Causation", "none", "operator", () => import("./Causation.svelte"), "/events"),
  page("/projections", "Projections", "bar", "operator", () => import("./Projections.svelte")),
  page("/projections/:name", "Projection", "none", "operator", () => import("./Projection.svelte"), "/projections"),
  page("/parked", "Parked", "more", "operator", () => import("./Parked.svelte")),
  page("/devices", "Devices", "bar", "user", () => import("./Devices.svelte")),
  page("/devices/:user/:device", "Device", "none", "user", () => import("./Device.svelte"), "/devices"),
  page("/alerts", "Alerts", "bar", "user", () => import("./Alerts.svelte")),
  page("/alerts/:id", "Alert", "none", "user", () => import("./Alert.svelte"), "/alerts"),
  page("/rules", "Rules", "more", "user", () => import("./Rules.svelte")),
  page("/orders", "Orders", "bar", "user", () => import("./Orders.svelte")),
  page("/orders/:id", "Order", "none", "user", () => import("./Order.svelte"), "/orders"),
  page("/stock", "Stock", "more", "user", () => import("./Stock.svelte")),
  page("/works", "Works", "bar", "user", () => import("./Works.svelte")),
  page("/works/:id", "Work", "none", "user", () => import("./Work.svelte"), "/works"),
  page("/projects", "Projects and tasks", "more", "user", () => import("./Projects.svelte")),
  page("/documents", "Documents", "more", "user", () => import("./Documents.svelte")),
  page("/page-views", "Page views", "more", "user", () => import("./PageViews.svelte")),
  page("/hosts", "Hosts", "more", "operator", () => import("./Hosts.svelte")),
  page("/bus", "Bus and broker", "more", "operator", () => import("./Bus.svelte")),
  page("/integrity", "Integrity", "more", "operator", () => import("./Integrity.svelte")),
  page("/accounts", "Accounts", "more", "user", () => import("./Accounts.svelte")),
  page("/about", "About", "more", "user", () => import("./About.svelte")),
];
