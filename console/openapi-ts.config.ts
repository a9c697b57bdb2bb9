import { defineConfig } from "@hey-api/openapi-ts";

// Types only: `tributary openapi > openapi.json && npm run types`.
export default defineConfig({
  input: "openapi.json",
  output: { path: "src/api", clean: true },
  plugins: ["@hey-api/typescript"],
});
