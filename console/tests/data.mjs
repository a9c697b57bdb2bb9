// What the tests put into a system.

import { eventually } from "./system.mjs";

/** @typedef {import("./system.mjs").System} System */

/** A name that would run a script where it is not escaped. */
export const HOSTILE = `<img src=x onerror="document.title='harmed'">`;

/** Makes an order of one product, of which there are `stock`. @param {System} system @param {string} name @param {number} stock @param {number} wanted */
export async function order(system, name, stock, wanted) {
  const sku = `T-${Math.random().toString(36).slice(2, 10).toUpperCase()}`;
  const product = await system.post("/api/v1/products", { sku, name, price: "9.90", currency: "EUR" });
  if (stock > 0) await system.post(`/api/v1/products/${product.id}/stock`, { quantity: stock, reason: "delivery" });
  const placed = await system.post("/api/v1/orders", { items: [{ product_id: product.id, quantity: wanted }] });
  await eventually("the order is decided", async () => (await system.get(`/api/v1/orders/${placed.id}`)).status !== "pending");
  return { id: /** @type {string} */ (placed.id), product: /** @type {string} */ (product.id) };
}

/**
 * Readings of one device, one second apart.
 * @param {System} system @param {string} user @param {string} device @param {number[]} temperatures @param {number} [from] first sequence id
 * @param {number} [late] milliseconds by which they come late
 */
export async function readings(system, user, device, temperatures, from = 1, late = 0) {
  const start = Date.now() - late - temperatures.length * 1000;
  const items = temperatures.map((temperature, at) => ({
    user_id: user, device_id: device, sequence_id: from + at, boot_id: "test", time: new Date(start + at * 1000).toISOString(), temperature,
  }));
  for (let at = 0; at < items.length; at += 500) await system.post("/api/v1/telemetry", items.slice(at, at + 500));
}

/**
 * Registers a user and returns how to sign in.
 * @param {System} system @param {string} name
 */
export async function user(system, name) {
  const [email, password] = [`${name}@example.org`, `the password of ${name}`];
  const { id } = await system.post("/api/v1/users", { email, password, full_name: name });
  return { id: /** @type {string} */ (id), email, password };
}

/** Makes a work whose stream is parked. Returns its stream, and the position of the event that cannot be applied. @param {System} system */
export async function park(system) {
  const { id } = await system.post("/api/v1/works", { add_up_to: 1 });
  const position = await inject(system, `work-${id}`);
  await eventually("it is parked", async () => (await system.get("/api/v1/parked")).items.length > 0);
  return { stream: `work-${id}`, position };
}

/** Keeps others from appending until the transaction ends. The statement after it sees all that they appended. */
const LOCK = "update log.head set position = position;";

/**
 * Appends an event that no projection can apply: a claim whose worker is a number. It is not in the hash chain.
 * @param {System} system @param {string} stream
 */
function inject(system, stream) {
  return system.sql(`${LOCK}
    with head as (update log.head set position = position + 1 returning position, recorded_at)
    insert into log.event (position, version, recorded_at, event_id, schema_version, event_type, stream_id, data, metadata, hash)
    select position, 1 + coalesce((select max(version) from log.event where stream_id = '${stream}'), 0), recorded_at,
           gen_random_uuid(), 1, 'work_claimed', '${stream}', '{"worker": 7}', '{}', '' from head returning position`);
}

/** SQL that appends the last event again and again. These events are not in the hash chain. @param {number} times */
export const repeatLastEvent = (times) => `${LOCK}
    with last as (select * from log.event order by position desc limit 1),
         head as (update log.head set position = position + ${times}, recorded_at = greatest(recorded_at, clock_timestamp())
                  returning position, recorded_at)
    insert into log.event (position, version, recorded_at, event_id, schema_version, event_type, stream_id, data, metadata, hash)
    select head.position - ${times} + n, last.version + n, head.recorded_at, gen_random_uuid(), last.schema_version, last.event_type,
           last.stream_id, last.data, last.metadata, '' from last, head, generate_series(1, ${times}) n`;

/** Mends the event, as a mended version would read it. @param {System} system @param {string} position */
export function mend(system, position) {
  const data = JSON.stringify({ worker: "w", attempt: 1, lease_until: "2036-01-01T00:00:30Z" });
  return system.sql(`update log.event set data = '${data}' where position = ${position}`);
}
