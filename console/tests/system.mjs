// A real system for the tests: `tributary dev` with private servers in a directory of its own, and roles as separate
// processes that a test may kill.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, existsSync, readFileSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify, stripVTControlCharacters } from "node:util";

const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));
/** The executable under test. */
const executable = () => process.env.TRIBUTARY_EXECUTABLE ?? join(REPOSITORY, "target/debug/tributary");
/** Logs and screenshots, kept after the tests. */
export const ARTIFACTS = process.env.CONSOLE_ARTIFACTS ?? join(REPOSITORY, "target/console");
/** Longest wait for a condition, in milliseconds. */
const DEADLINE = 180_000;
/** Milliseconds between two looks at a condition that nothing announces. */
const LOOK = 100;

/**
 * Waits until `condition` returns something that is neither null, undefined nor false, and returns it.
 * @template T
 * @param {string} what
 * @param {() => Promise<T | null | undefined | false> | T | null | undefined | false} condition
 * @returns {Promise<T>}
 */
export async function eventually(what, condition) {
  const end = Date.now() + DEADLINE;
  for (;;) {
    const value = await condition();
    if (value !== null && value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`not within ${DEADLINE / 1000} s: ${what}`);
    await new Promise((done) => setTimeout(done, LOOK));
  }
}

/**
 * Runs `tributary ARGS`, which must succeed; returns what it prints.
 * @param {string[]} args
 * @param {Record<string, string>} environment
 */
export async function execute(args, environment) {
  const options = { env: { ...process.env, ...environment }, maxBuffer: 1 << 26 };
  return (await promisify(execFile)(executable(), args, options)).stdout.trim();
}

/** A process of the executable. */
export class Process {
  /** What it has written to stdout and stderr. */
  output = "";

  /**
   * @param {string[]} args
   * @param {Record<string, string>} environment
   * @param {string} log name of the log among the artifacts
   */
  constructor(args, environment, log) {
    this.child = spawn(executable(), args, { env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
    this.ended = once(this.child, "exit");
    const file = createWriteStream(join(ARTIFACTS, `${log}.log`), { flags: "a" });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on("data", (/** @type {Buffer} */ data) => {
        this.output += stripVTControlCharacters(String(data));
        file.write(data);
      });
    }
  }

  /** Waits until it has written `text`. @param {string | RegExp} text */
  async wrote(text) {
    return eventually(`${text} in the output`, () => {
      const found = this.output.match(text);
      if (found === null && this.child.exitCode !== null) throw new Error(`ended without ${text}:\n${this.output}`);
      return found;
    });
  }

  /** Ends it, with SIGKILL by default, and waits. @param {NodeJS.Signals} signal */
  async kill(signal = "SIGKILL") {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill(signal);
      await this.ended;
    }
  }
}

/** A database, an address and an administrator. */
export class System {
  /** @param {Record<string, string>} environment variables as `dev.env` names them */
  constructor(environment) {
    this.environment = environment;
  }

  get url() {
    return /** @type {string} */ (this.environment.TRIBUTARY_URL).replace(/\/$/, "");
  }

  /**
   * Sends a request that must succeed; returns the JSON.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @param {string} [token] that of the administrator by default
   * @returns {Promise<any>}
   */
  async api(method, path, body, token = this.environment.TRIBUTARY_TOKEN) {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json", Prefer: "wait=10" };
    const response = await fetch(this.url + path, { method, headers, body: body === undefined ? null : JSON.stringify(body) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === "" ? undefined : JSON.parse(text);
  }

  /** @param {string} path */
  get(path) {
    return this.api("GET", path);
  }

  /** @param {string} path @param {unknown} [body] @param {string} [token] */
  post(path, body, token) {
    return this.api("POST", path, body ?? {}, token);
  }

  /** Runs SQL as the owner of the database; returns what it prints. @param {string} text */
  async sql(text) {
    const args = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command", text];
    const run = promisify(execFile)("psql", [...args, /** @type {string} */ (this.environment.DATABASE_ADMIN_URL)]);
    return (await run).stdout.trim();
  }

  /** Runs `tributary ARGS`, which must succeed; returns what it prints. @param {string[]} args */
  async run(...args) {
    return execute(args, this.environment);
  }

  /** Waits until every consumer that runs has reached what is the head of the log now. */
  async caughtUp() {
    const head = Number(await this.sql("select position from log.head"));
    await eventually("all projections at the head", async () => {
      const { items } = await this.get("/api/v1/projections");
      return items.every((/** @type {any} */ one) => one.position >= head || one.state === "never_run" || one.state === "stalled");
    });
  }
}

/** `tributary dev`. */
export class Dev extends System {
  /** @param {Process} process @param {string} folder @param {Record<string, string>} environment */
  constructor(process, folder, environment) {
    super(environment);
    this.process = process;
    this.folder = folder;
  }

  /** Starts it on a free port. @param {string[]} options */
  static async start(...options) {
    await mkdir(ARTIFACTS, { recursive: true });
    const folder = await mkdtemp(join(tmpdir(), "tributary-console-"));
    await chmod(folder, 0o755); // Or a server that does not run as root has its data elsewhere, where it stays.
    const process = new Process(["dev", "--directory", join(folder, "data"), ...options], { PORT: "0" }, "dev");
    await process.wrote("Ctrl-C stops it");
    return new Dev(process, folder, variables(join(folder, "data/dev.env")));
  }

  /** The link with a one-time code that it has printed. It is good for one sign-in. */
  get link() {
    const link = this.process.output.match(/http:\S*\/console\/#code=\S+/)?.[0];
    if (!link) throw new Error(`no link to the console in:\n${this.process.output}`);
    return link;
  }

  /**
   * Makes a second database, for roles that run as processes of their own. NATS and the broker are not reachable from
   * there.
   */
  async roles() {
    await this.sql("create database roles");
    const port = String(await freePort());
    const other = (/** @type {string} */ name) => /** @type {string} */ (this.environment[name]).replace(/\/tributary\b(?=$|\?)/, "/roles");
    const roles = new Roles({
      TRIBUTARY_URL: `http://localhost:${port}/`,
      PORT: port,
      DATABASE_URL: other("DATABASE_URL"),
      DATABASE_ADMIN_URL: other("DATABASE_ADMIN_URL"),
      NATS_URL: "nats://127.0.0.1:9",
      MQTT_URL: "mqtt://127.0.0.1:9",
      MQTT_ALLOW_ANONYMOUS: "true",
      TRIBUTARY_SIGNING_KEY_FILE: join(this.folder, "key.pem"),
    });
    await roles.newKey();
    await roles.run("migrate");
    return roles;
  }

  async stop() {
    await this.process.kill("SIGTERM");
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Roles as processes of their own. */
export class Roles extends System {
  /** @type {Map<string, Process>} */
  #running = new Map();

  /** Starts roles in a process that is called `name`. @param {string} name @param {string[]} roles */
  async serve(name, ...roles) {
    const process = new Process(["serve", ...roles], this.environment, name);
    this.#running.set(name, process);
    if (roles.includes("http")) await process.wrote("HTTP server listening");
    return process;
  }

  /** @param {string} name */
  async kill(name) {
    await this.#running.get(name)?.kill();
  }

  /** Makes a key with which no token was signed, and a token of a program with it. */
  async newKey() {
    const file = /** @type {string} */ (this.environment.TRIBUTARY_SIGNING_KEY_FILE);
    await rm(file, { force: true });
    await promisify(execFile)("openssl", ["genpkey", "-algorithm", "ed25519", "-out", file]);
    this.environment.TRIBUTARY_TOKEN = await this.run("token", "--role", "admin");
  }

  async stop() {
    for (const process of this.#running.values()) await process.kill("SIGTERM");
  }
}

/** @param {string} file @returns {Record<string, string>} */
function variables(file) {
  if (!existsSync(file)) throw new Error(`${file} is missing`);
  const lines = readFileSync(file, "utf8").matchAll(/^([A-Z_]+)='(.*)'$/gm);
  return Object.fromEntries(Array.from(lines, ([, name, value]) => [name, value]));
}

/** A free port outside the range from which the system takes the ports of outgoing connections. */
async function freePort() {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 17_000);
    const server = createServer().listen(port, "127.0.0.1");
    // Rejects if the port is taken.
    const free = await once(server, "listening").then(() => true, () => false);
    if (!free) continue;
    server.close();
    await once(server, "close");
    return port;
  }
}
