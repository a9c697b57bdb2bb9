import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// The address of a running server, for `npm run dev`.
const server = process.env.TRIBUTARY_URL ?? "http://localhost:8080";
const proxied = ["/api", "/data", "/docs", "/openapi.json", "/readyz", "/storage", "/users"];

export default defineConfig({
  base: "/console/",
  plugins: [svelte()],
  build: {
    target: "es2023",
    // The Content-Security-Policy allows no `data:` scripts or styles.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: Object.fromEntries(proxied.map((path) => [path, server])) },
});
