import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// The address of a running server, for `npm run dev`.
const server = process.env.TRIBUTARY_URL ?? "http://localhost:8080";
const proxied = ["/api", "/data", "/docs", "/openapi.json", "/readyz", "/storage", "/users"];

// Few files: what pages share compresses better together. The chart, which is large, is loaded with the first chart.
const pages = (names: string) => new RegExp(`src/pages/(?:${names})(?:\\.svelte|/)`, "i");
const groups = [
  { name: "shared", priority: 1, test: /node_modules\/svelte|src\/(?:lib|components)\/(?!(?:Device)?Chart\b|chart\b)/ },
  { name: "log", test: pages("Events|Stream|Causation|events|stream|causation") },
  { name: "devices", test: pages("Devices?|Alerts?|Rules") },
  { name: "business", test: pages("Orders?|Stock|Works?|Projects|Documents|PageViews|page-views") },
  { name: "operations", test: pages("Projections?|Parked|Hosts|Bus|Integrity|Accounts|About") },
];

export default defineConfig({
  base: "/console/",
  plugins: [svelte()],
  build: {
    target: "es2023",
    // The Content-Security-Policy allows no `data:` scripts or styles.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rolldownOptions: { output: { codeSplitting: { groups } } },
  },
  server: { proxy: Object.fromEntries(proxied.map((path) => [path, server])) },
});
