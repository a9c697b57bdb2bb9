//! Property tests of fulfilment: random schedules of orders, cancellations, corrections, shipments,
//! crashes and redeliveries, executed by two independent runners. In every schedule no piece is lost
//! or sold twice, stock is reserved for pending orders only, at every position, and no reservation
//! outlives its order.

use std::collections::{BTreeMap, HashMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use super::fulfilment::{Cause, Dispatch, order_of, react};
use super::order::{self, Line, Placed};
use super::{Currency, Event, Order, Price, StockItem, stock_item};
use crate::actor::{Actor, Role};
use eventsourcing::StreamId;
use eventsourcing::decider::Decider;

const PRODUCTS: u128 = 3;
const RUNNERS: usize = 2;
/// Time in which an order is to be confirmed, in seconds.
const TTL: i64 = 20;

/// One step of a schedule.
#[derive(Debug, Clone)]
enum Step {
    /// Places an order of these products and quantities.
    Place(Vec<(u128, u32)>),
    Cancel(usize),
    Ship(usize),
    Expire(usize),
    /// So many seconds pass.
    Wait(i64),
    Receive(u128, u32),
    Correct(u128, u32),
    /// A runner reads its next event and queues the commands that follow.
    React(usize),
    /// A runner executes its oldest queued command, even if the order has changed since.
    Act(usize),
    /// A runner crashes: its queue is lost, and it restarts from a checkpoint the given number of
    /// events back.
    Crash(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let product = 0..PRODUCTS;
    let runner = 0..RUNNERS;
    prop_oneof![
        2 => prop::collection::btree_map(product.clone(), 1..4_u32, 1..=3)
            .prop_map(|lines| Step::Place(lines.into_iter().collect())),
        1 => (0..8_usize).prop_map(Step::Cancel),
        1 => (0..8_usize).prop_map(Step::Ship),
        1 => (0..8_usize).prop_map(Step::Expire),
        1 => (1..TTL).prop_map(Step::Wait),
        1 => (product.clone(), 1..6_u32).prop_map(|(product, n)| Step::Receive(product, n)),
        1 => (product, 1..3_u32).prop_map(|(product, n)| Step::Correct(product, n)),
        8 => runner.clone().prop_map(Step::React),
        8 => runner.clone().prop_map(Step::Act),
        1 => (runner, 0..6_usize).prop_map(|(runner, back)| Step::Crash(runner, back)),
    ]
}

/// A queued command. Position and target form its idempotency key.
#[derive(Debug, Clone)]
struct Queued {
    position: usize,
    /// Version of the order when the runner reacted.
    version: usize,
    order_id: Uuid,
    dispatch: Dispatch,
}

/// The log and the state folded from it.
#[derive(Default)]
struct World {
    /// Stream key and event, by position.
    log: Vec<(Uuid, Event)>,
    orders: BTreeMap<Uuid, Order>,
    stock: BTreeMap<Uuid, StockItem>,
    received: BTreeMap<Uuid, u64>,
    /// Keys and contents of executed commands.
    receipts: HashMap<(usize, StreamId), String>,
    /// Seconds since the first step.
    now: i64,
    positions: [usize; RUNNERS],
    queues: [VecDeque<Queued>; RUNNERS],
}

fn product(n: u128) -> Uuid {
    Uuid::from_u128(0x1000 + n)
}

impl World {
    fn order(&mut self, id: Uuid, command: order::Command) {
        let state = self.orders.remove(&id).unwrap_or_default();
        let events = state.decide(command).unwrap_or_default();
        let state = events.iter().fold(state, Order::evolve);
        self.orders.insert(id, state);
        self.log.extend(events.into_iter().map(|event| (id, Event::Order(event))));
    }

    fn stock(&mut self, id: Uuid, command: stock_item::Command) {
        let mut state = self.stock.remove(&id).unwrap_or_default();
        for event in state.decide(command).unwrap_or_default() {
            let received = self.received.entry(id).or_default();
            match &event {
                stock_item::Event::StockReceived { quantity, .. } => {
                    *received += u64::from(*quantity);
                }
                stock_item::Event::StockCorrected { quantity, .. } => {
                    *received -= u64::from(*quantity);
                }
                stock_item::Event::StockReserved { order_id, .. } => {
                    let order = self.orders.get(order_id);
                    assert!(matches!(order, Some(Order::Pending(_))), "reserved for {order:?}");
                }
                stock_item::Event::StockRefused { .. }
                | stock_item::Event::StockReleased { .. }
                | stock_item::Event::StockShipped { .. } => {}
            }
            state = state.evolve(&event);
            // The invariant holds after every event, not only at the end.
            assert_eq!(*received, state.available + state.reserved() + state.shipped);
            self.log.push((id, Event::Stock(event)));
        }
        self.stock.insert(id, state);
    }

    fn react(&mut self, runner: usize) -> bool {
        let position = self.positions[runner];
        let Some((key, event)) = self.log.get(position).cloned() else {
            return false;
        };
        self.positions[runner] += 1;
        if let Some(id) = order_of(&event, &key.to_string()) {
            let queued = self.follows(position, id);
            self.queues[runner].extend(queued);
        }
        true
    }

    /// The commands that follow from the event at `position` in the current state of its order.
    fn follows(&self, position: usize, order_id: Uuid) -> Vec<Queued> {
        let (key, event) = &self.log[position];
        let order = self.orders.get(&order_id).cloned().unwrap_or_default();
        let version = self.version(order_id);
        let cause = Cause { event, order_id, product: Some(*key) };
        let queued = |dispatch| Queued { position, version, order_id, dispatch };
        react(cause, &order, at(self.now)).into_iter().map(queued).collect()
    }

    fn version(&self, order: Uuid) -> usize {
        self.log.iter().filter(|(key, _)| *key == order).count()
    }

    fn act(&mut self, runner: usize) -> bool {
        let Some(queued) = self.queues[runner].pop_front() else {
            return false;
        };
        let Queued { position, version, order_id, dispatch } = queued;
        let key = (position, dispatch.target());
        if let Some(content) = self.receipts.get(&key) {
            assert_eq!(*content, dispatch.content(), "another command under the same key");
            return true;
        }
        if dispatch.is_reservation() && self.version(order_id) != version {
            // The append is refused: the order has changed. The runner reacts again.
            for again in self.follows(position, order_id).into_iter().rev() {
                self.queues[runner].push_front(again);
            }
            return true;
        }
        self.receipts.insert(key, dispatch.content());
        match dispatch {
            Dispatch::Order(id, command) => self.order(id, command),
            Dispatch::Stock(product, command) => self.stock(product, command),
        }
        true
    }

    fn take(&mut self, step: Step) {
        let nth = |n: usize| Uuid::from_u128(1 + n as u128);
        match step {
            Step::Place(lines) => {
                let id = nth(self.orders.len());
                self.order(id, order::Command::Place(placed(&lines, self.now)));
            }
            Step::Cancel(n) => {
                let by = Actor { id: Uuid::nil(), role: Role::User };
                self.order(nth(n), order::Command::Cancel { by });
            }
            Step::Ship(n) => self.order(nth(n), order::Command::Ship),
            Step::Expire(n) => {
                self.order(nth(n), order::Command::Expire { now: at(self.now) });
            }
            Step::Wait(seconds) => self.now += seconds,
            Step::Receive(n, quantity) => {
                let reason = "delivery".into();
                self.stock(product(n), stock_item::Command::Receive { quantity, reason });
            }
            Step::Correct(n, quantity) => {
                let reason = "broken".into();
                self.stock(product(n), stock_item::Command::Correct { quantity, reason });
            }
            Step::React(runner) => drop(self.react(runner)),
            Step::Act(runner) => drop(self.act(runner)),
            Step::Crash(runner, back) => {
                // A checkpoint never passes an event whose commands are not all executed.
                let first = self.queues[runner].front().map(|queued| queued.position);
                let done = first.unwrap_or(self.positions[runner]);
                self.queues[runner].clear();
                self.positions[runner] = done.saturating_sub(back);
            }
        }
        // A refused command leaves an unplaced order; it does not exist.
        self.orders.retain(|_, order| *order != Order::Unplaced);
    }

    /// Runs all runners until no event and no command is left.
    fn settle(&mut self) {
        loop {
            let mut busy = false;
            for runner in 0..RUNNERS {
                while self.act(runner) {
                    busy = true;
                }
                busy |= self.react(runner);
            }
            if !busy {
                return;
            }
        }
    }
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
}

fn placed(lines: &[(u128, u32)], now: i64) -> Placed {
    let currency = Currency::parse("EUR").unwrap();
    let lines = lines.iter().map(|&(n, quantity)| {
        let sku = "X".to_owned().try_into().unwrap();
        let price = Price::parse("1").unwrap();
        (Line { product_id: product(n), sku, name: "X".into(), quantity, price }, currency)
    });
    Placed::new(Uuid::nil(), lines.collect(), at(now + TTL)).unwrap()
}

/// The state of the stock alone would let a runner that is delayed past the shipment reserve for the
/// order again. The version of the order prevents it, also when the receipts have expired.
#[test]
fn a_delayed_runner_does_not_reserve_twice() {
    let mut world = World::default();
    world.take(Step::Receive(0, 5));
    world.take(Step::Place(vec![(0, 2)]));
    world.take(Step::React(0)); // The receipt of stock: no command follows.
    world.take(Step::React(0)); // The pending order: the reservation is queued, then delayed.
    let delayed = std::mem::take(&mut world.queues[0]);
    assert_eq!(delayed.len(), 1);
    world.settle();
    world.take(Step::Ship(0));
    world.settle();
    world.queues[0] = delayed;
    world.receipts.clear();
    world.settle();
    let stock = &world.stock[&product(0)];
    assert_eq!((stock.available, stock.reserved(), stock.shipped), (3, 0, 2));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_piece_is_lost_sold_twice_or_left_reserved(steps in prop::collection::vec(step(), 1..250)) {
        let mut world = World::default();
        for step in steps {
            world.take(step);
        }
        world.settle();
        for (id, order) in &world.orders {
            let Some(placed) = order.placed() else { continue };
            for line in &placed.lines {
                let stock = world.stock.get(&line.product_id).cloned().unwrap_or_default();
                let reserved = stock.reserved.get(id).copied();
                let expected = matches!(order, Order::Confirmed(_)).then_some(line.quantity);
                prop_assert_eq!(reserved, expected, "order {} is {:?}", id, order);
            }
            prop_assert!(!matches!(order, Order::Pending(_)), "order {} stayed pending", id);
        }
        let reserved = world.log.iter().filter(|(_, event)| {
            matches!(event, Event::Stock(stock_item::Event::StockReserved { .. }))
        });
        let keys: Vec<_> = reserved.map(|(product, event)| (product, order_of(event, ""))).collect();
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        prop_assert_eq!(keys.len(), distinct.len(), "reserved twice for one order");
        for stock in world.stock.values() {
            for id in stock.reserved.keys() {
                prop_assert!(world.orders.contains_key(id), "reserved for an unknown order");
            }
        }
    }

    /// Orders of the same products, one piece of each in stock, in carts of any order.
    #[test]
    fn of_several_carts_over_the_same_pieces_exactly_one_is_confirmed(
        carts in prop::collection::vec(Just((0..PRODUCTS).collect::<Vec<_>>()).prop_shuffle(), 2..4),
        steps in prop::collection::vec((any::<bool>(), 0..RUNNERS), 0..100),
    ) {
        let mut world = World::default();
        (0..PRODUCTS).for_each(|product| world.take(Step::Receive(product, 1)));
        for cart in carts {
            world.take(Step::Place(cart.into_iter().map(|product| (product, 1)).collect()));
        }
        for (react, runner) in steps {
            world.take(if react { Step::React(runner) } else { Step::Act(runner) });
        }
        world.settle();
        let confirmed = |order: &&Order| matches!(order, Order::Confirmed(_));
        prop_assert_eq!(world.orders.values().filter(confirmed).count(), 1);
    }
}
