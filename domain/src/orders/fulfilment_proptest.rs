//! Random schedules of orders, cancellations, corrections, shipments, crashes and redeliveries,
//! played by two fulfilment runners that know nothing of each other. Whatever the order of things:
//! no piece is lost or sold twice, and nothing stays reserved for an order that is over.

use std::collections::{BTreeMap, HashSet, VecDeque};

use chrono::DateTime;
use proptest::prelude::*;
use uuid::Uuid;

use super::fulfilment::{Dispatch, order_of, react};
use super::order::{self, Line, Placed};
use super::{Currency, Event, Order, Price, StockItem, stock_item};
use crate::actor::{Actor, Role};
use eventsourcing::decider::Decider;

const PRODUCTS: u128 = 3;
const RUNNERS: usize = 2;

/// One thing that happens next.
#[derive(Debug, Clone)]
enum Step {
    /// An order of so many of each of these products.
    Place(Vec<(u128, u32)>),
    Cancel(usize),
    Ship(usize),
    Expire(usize),
    Receive(u128, u32),
    Correct(u128, u32),
    /// A runner takes its next event and decides what follows.
    React(usize),
    /// A runner carries out the oldest command that follows, however old the order it looked at.
    Act(usize),
    /// A runner dies: what it was about to do is forgotten, and it starts again from a checkpoint
    /// so many events back.
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
        1 => (product.clone(), 1..6_u32).prop_map(|(product, n)| Step::Receive(product, n)),
        1 => (product, 1..3_u32).prop_map(|(product, n)| Step::Correct(product, n)),
        8 => runner.clone().prop_map(Step::React),
        8 => runner.clone().prop_map(Step::Act),
        1 => (runner, 0..6_usize).prop_map(|(runner, back)| Step::Crash(runner, back)),
    ]
}

/// A command on its way. Place in the log and number are the key that makes it done once.
#[derive(Debug, Clone)]
struct Under {
    position: usize,
    number: usize,
    order_id: Uuid,
    dispatch: Dispatch,
}

/// The log, and all that is folded from it.
#[derive(Default)]
struct World {
    /// Stream key and event, by position.
    log: Vec<(Uuid, Event)>,
    orders: BTreeMap<Uuid, Order>,
    stock: BTreeMap<Uuid, StockItem>,
    received: BTreeMap<Uuid, u64>,
    receipts: HashSet<(usize, usize)>,
    positions: [usize; RUNNERS],
    under_way: [VecDeque<Under>; RUNNERS],
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
                stock_item::Event::StockReserved { .. }
                | stock_item::Event::StockRefused { .. }
                | stock_item::Event::StockReleased { .. }
                | stock_item::Event::StockShipped { .. } => {}
            }
            state = state.evolve(&event);
            // At every event, not in the end only.
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
            let order = self.orders.get(&id).cloned().unwrap_or_default();
            let follows = react(&event, id, Some(key), &order).into_iter().enumerate();
            let under_way = follows.map(|(number, dispatch)| Under {
                position,
                number,
                order_id: id,
                dispatch,
            });
            self.under_way[runner].extend(under_way);
        }
        true
    }

    fn act(&mut self, runner: usize) -> bool {
        let Some(Under { position, number, order_id, dispatch }) =
            self.under_way[runner].pop_front()
        else {
            return false;
        };
        if self.receipts.insert((position, number)) {
            match dispatch {
                Dispatch::Order(command) => self.order(order_id, command),
                Dispatch::Stock(product, command) => self.stock(product, command),
            }
        }
        true
    }

    fn take(&mut self, step: Step) {
        let nth = |n: usize| Uuid::from_u128(1 + n as u128);
        match step {
            Step::Place(lines) => {
                let id = nth(self.orders.len());
                self.order(id, order::Command::Place(placed(&lines)));
            }
            Step::Cancel(n) => {
                let by = Actor { id: Uuid::nil(), role: Role::User };
                self.order(nth(n), order::Command::Cancel { by });
            }
            Step::Ship(n) => self.order(nth(n), order::Command::Ship),
            Step::Expire(n) => {
                self.order(nth(n), order::Command::Expire { now: DateTime::UNIX_EPOCH });
            }
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
                // Its checkpoint never passed an event whose commands were not all done.
                let first = self.under_way[runner].front().map(|under| under.position);
                let done = first.unwrap_or(self.positions[runner]);
                self.under_way[runner].clear();
                self.positions[runner] = done.saturating_sub(back);
            }
        }
        // An order that was never placed is not one.
        self.orders.retain(|_, order| *order != Order::Unplaced);
    }

    /// Everybody finishes what there is to do.
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

fn placed(lines: &[(u128, u32)]) -> Placed {
    let currency = Currency::parse("EUR").unwrap();
    let lines = lines.iter().map(|&(n, quantity)| {
        let sku = "X".to_owned().try_into().unwrap();
        let price = Price::parse("1").unwrap();
        (Line { product_id: product(n), sku, name: "X".into(), quantity, price }, currency)
    });
    Placed::new(Uuid::nil(), lines.collect(), DateTime::UNIX_EPOCH).unwrap()
}

/// Why each command has a key: state alone would let a runner that slept through an order's whole
/// life reserve for it once more.
#[test]
fn a_runner_that_wakes_up_late_reserves_nothing_again() {
    let mut world = World::default();
    world.take(Step::Receive(0, 5));
    world.take(Step::Place(vec![(0, 2)]));
    world.take(Step::React(0)); // The delivery: nothing follows.
    world.take(Step::React(0)); // The order is pending, so it is to reserve; then it falls asleep.
    let asleep = std::mem::take(&mut world.under_way[0]);
    assert_eq!(asleep.len(), 1);
    world.settle();
    world.take(Step::Ship(0));
    world.settle();
    world.under_way[0] = asleep;
    world.settle();
    let stock = &world.stock[&product(0)];
    assert_eq!((stock.available, stock.reserved(), stock.shipped), (3, 0, 2));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_sold_twice_or_kept(steps in prop::collection::vec(step(), 1..250)) {
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
            prop_assert!(!matches!(order, Order::Pending(_)), "order {} was left pending", id);
        }
        for stock in world.stock.values() {
            for id in stock.reserved.keys() {
                prop_assert!(world.orders.contains_key(id), "reserved for nobody");
            }
        }
    }
}
