// Uses the generated TypeScript client as an application would: registers a user, works on a project,
// buys a hat, follows the order as a browser does, demands a work and reads telemetry back. Exits with an
// error at the first surprise.

import { createClient } from './client/client/index.js';
import * as api from './client/index.js';

const env = (name: string): string => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
};

const baseUrl = env('TRIBUTARY_URL');
const shown = { Prefer: 'wait=10' }; // Responds once the read model shows the effect.

type Answer<T> = { data?: T; error?: unknown; response?: Response };

/** The body of a successful response with this status. */
const ok = <T>(answer: Answer<T>, status: number): NonNullable<T> => {
  if (answer.response?.status !== status) {
    throw new Error(`${answer.response?.status} instead of ${status}: ${JSON.stringify(answer.error)}`);
  }
  return answer.data as NonNullable<T>;
};

const check = (holds: boolean, what: unknown): void => {
  if (!holds) throw new Error(`unexpected: ${JSON.stringify(what)}`);
};

/** Waits until `find` returns something, and returns it. */
const until = async <T>(what: string, find: () => Promise<T | undefined>): Promise<T> => {
  for (let attempt = 0; attempt < 150; attempt++) {
    const found = await find();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`timeout: ${what}`);
};

const anyone = createClient({ baseUrl });
const email = `${crypto.randomUUID()}@example.org`;
const password = 'correct horse battery';
const user = { email, password, full_name: 'Ada Lovelace' };
ok(await api.registerUser({ client: anyone, body: user, headers: shown }), 201);
const form = { username: email, password, grant_type: 'password' as const };
const tokens = ok(await api.signIn({ client: anyone, body: form }), 200);
const client = createClient({ baseUrl, auth: () => tokens.access_token });
const me = ok(await api.getCurrentUser({ client }), 200);
check(me.email === email, me);

const project = ok(await api.createProject({ client, body: { name: 'Move house' }, headers: shown }), 201);
const title = 'Pack the books';
const body = { project_id: project.id, title, assignee_id: me.id };
const task = ok(await api.createTask({ client, body, headers: shown }), 201);
const path = { id: task.id };
ok(await api.changeTask({ client, path, body: { status: 'InProgress' }, headers: shown }), 204);
check(ok(await api.getTask({ client, path }), 200).status === 'InProgress', task);
const tasks = ok(await api.listTasks({ client, query: { project_id: project.id } }), 200);
check(tasks.items.length === 1 && tasks.items[0]?.title === title, tasks);

// The clerk has the role `admin`.
const clerk = createClient({ baseUrl, auth: () => env('TRIBUTARY_TOKEN') });
const product = { sku: crypto.randomUUID(), name: 'Hat', price: '9.90', currency: 'EUR' };
const hat = ok(await api.addProduct({ client: clerk, body: product }), 201);
const move = { quantity: 5, reason: 'delivery' };
ok(await api.moveStock({ client: clerk, path: { id: hat.id }, body: move }), 204);
const cart = { items: [{ product_id: hat.id, quantity: 2 }] };
const keyed = { ...shown, 'Idempotency-Key': crypto.randomUUID() };
const order = ok(await api.placeOrder({ client, body: cart, headers: keyed }), 202);
const again = ok(await api.placeOrder({ client, body: cart, headers: keyed }), 202);
check(order.id === again.id && order.total === '19.80', [order, again]);

// A browser's event stream: a ticket in place of a header, and messages without a type.
const { ticket } = ok(await api.createEventTicket({ client }), 200);
const query = { ticket, after: 0, stream: `order-${order.id}`, events: 'message' as const };
const events = await api.streamEvents({ client: anyone, query, sseMaxRetryAttempts: 1 });
const seen: string[] = [];
for await (const event of events.stream) {
  seen.push((event as unknown as api.Event).type);
  if (seen.includes('order_confirmed')) break;
}
check(seen.join() === 'order_placed,order_confirmed', seen);
const confirmed = await until('the order is confirmed', async () => {
  const found = ok(await api.getOrder({ client, path: { id: order.id } }), 200);
  return found.status === 'confirmed' ? found : undefined;
});
check(confirmed.reason === null, confirmed);
const refused = await api.placeOrder({ client, body: { items: [] } });
check(refused.response?.status === 422 && refused.error?.errors[0]?.pointer === '/items', refused.error);

const demand = await api.demandWork({ client, body: { add_up_to: 4 } });
const work = ok(demand, 202);
const position = Number(demand.response?.headers.get('Tributary-Position'));
const done = await until('the work is done', async () => {
  const headers = { 'Tributary-Min-Position': position };
  const found = ok(await api.getWork({ client, path: { id: work.id }, headers }), 200);
  return found.done ? found : undefined;
});
check(done.result === 10, done);

const reading = { user_id: me.id, device_id: 'attic', sequence_id: 1, temperature: 21.5, humidity: 40 };
const sent = ok(await api.recordReadings({ client, body: [reading], headers: shown }), 200);
check(sent.items[0]?.verdict === 'accepted', sent);
const device = { user_id: me.id, device_id: 'attic' };
const readings = ok(await api.listReadings({ client, path: device }), 200);
check(readings.items.length === 1 && JSON.stringify(readings).includes('21.5'), readings);

const view = { path: '/pricing', referrer: '' };
check(ok(await api.recordPageViews({ client: anyone, body: view }), 202).accepted === 1, view);
console.log('the TypeScript client works');
process.exit(0);
