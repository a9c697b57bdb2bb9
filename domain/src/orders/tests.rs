//! Specifications of products, stock, orders and fulfilment.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::fulfilment::{Cause, Dispatch, react};
use super::order::{self, Line, Placed, Reason};
use super::{Currency, Event, Order, Price, Product, StockItem, product, stock_item};
use crate::actor::{Actor, Role};
use eventsourcing::decider::Decider;
use eventsourcing::given::given;

const ORDER: Uuid = Uuid::from_u128(1);
const CUSTOMER: Uuid = Uuid::from_u128(2);
const HAT: Uuid = Uuid::from_u128(3);
const SHOE: Uuid = Uuid::from_u128(4);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn line(product_id: Uuid, quantity: u32, price: &str) -> Line {
    let sku = "HAT-1".to_owned().try_into().unwrap();
    let price = Price::parse(price).unwrap();
    Line { product_id, sku, name: "Hat".into(), quantity, price }
}

fn eur() -> Currency {
    Currency::parse("EUR").unwrap()
}

fn two_lines() -> Placed {
    let lines = vec![(line(HAT, 2, "9.90"), eur()), (line(SHOE, 1, "50.00"), eur())];
    Placed::new(CUSTOMER, lines, at(60)).unwrap()
}

fn placed() -> order::Event {
    order::Event::OrderPlaced(two_lines())
}

fn confirmed() -> order::Event {
    order::Event::OrderConfirmed {}
}

fn cancelled(reason: Reason) -> order::Event {
    order::Event::OrderCancelled { reason }
}

fn shipped() -> order::Event {
    order::Event::OrderShipped {}
}

fn by(id: Uuid, role: Role) -> order::Command {
    order::Command::Cancel { by: Actor { id, role } }
}

mod products {
    use super::*;
    use product::{Command, Event, Rejection};

    fn added() -> Event {
        Event::ProductAdded {
            sku: "HAT-1".to_owned().try_into().unwrap(),
            name: "Hat".into(),
            price: Price::parse("9.90").unwrap(),
            currency: eur(),
        }
    }

    #[test]
    fn a_product_is_added_once() {
        let Event::ProductAdded { sku, name, price, currency } = added() else { unreachable!() };
        let add = || Command::Add { sku: sku.clone(), name: name.clone(), price, currency };
        given::<Product>([]).when(add()).then([added()]);
        given::<Product>([added()]).when(add()).then_rejected(Rejection::AlreadyAdded);
    }

    #[test]
    fn a_change_holds_only_different_values() {
        let change = |name: &str, price: &str| Command::Change {
            name: Some(name.into()),
            price: Some(Price::parse(price).unwrap()),
        };
        let dearer = Event::ProductChanged { name: None, price: Some(Price::parse("12").unwrap()) };
        given::<Product>([added()]).when(change("Hat", "12")).then([dearer]);
        given::<Product>([added()]).when(change("Hat", "9.90")).then_nothing();
        given::<Product>([]).when(change("Hat", "12")).then_rejected(Rejection::NotFound);
    }
}

mod stock {
    use super::*;
    use stock_item::{Command, Event, Rejection};

    fn received(quantity: u32) -> Event {
        Event::StockReceived { quantity, reason: "delivery".into() }
    }

    fn reserved(quantity: u32) -> Event {
        Event::StockReserved { order_id: ORDER, quantity }
    }

    #[test]
    fn only_available_pieces_are_reserved() {
        let reserve = |quantity| Command::Reserve { order_id: ORDER, quantity };
        given::<StockItem>([received(5)]).when(reserve(5)).then([reserved(5)]);
        given::<StockItem>([received(5), reserved(5)]).when(reserve(5)).then_nothing();
        given::<StockItem>([received(5)]).when(reserve(6)).then([Event::StockRefused {
            order_id: ORDER,
            quantity: 6,
            available: 5,
        }]);
    }

    #[test]
    fn a_reservation_is_released_or_shipped_once() {
        let released = Event::StockReleased { order_id: ORDER, quantity: 5 };
        let shipped = Event::StockShipped { order_id: ORDER, quantity: 5 };
        let release = || Command::Release { order_id: ORDER };
        let ship = || Command::Ship { order_id: ORDER };
        given::<StockItem>([received(5), reserved(5)]).when(release()).then([released.clone()]);
        given::<StockItem>([received(5), reserved(5), released]).when(release()).then_nothing();
        given::<StockItem>([received(5), reserved(5)]).when(ship()).then([shipped.clone()]);
        given::<StockItem>([received(5), reserved(5), shipped]).when(ship()).then_nothing();
        given::<StockItem>([received(5)]).when(release()).then_nothing();
    }

    #[test]
    fn a_correction_never_removes_reserved_pieces() {
        let correct = |quantity| Command::Correct { quantity, reason: "broken".into() };
        given::<StockItem>([received(5), reserved(3)])
            .when(correct(2))
            .then([Event::StockCorrected { quantity: 2, reason: "broken".into() }]);
        given::<StockItem>([received(5), reserved(3)])
            .when(correct(3))
            .then_rejected(Rejection::BelowZero { available: 2 });
    }
}

mod orders {
    use super::*;
    use order::{Command, Rejection};

    #[test]
    fn an_order_is_placed_once_with_the_total_of_its_lines() {
        assert_eq!(two_lines().total.to_string(), "69.80");
        given::<Order>([]).when(Command::Place(two_lines())).then([placed()]);
        given::<Order>([placed()])
            .when(Command::Place(two_lines()))
            .then_rejected(Rejection::AlreadyPlaced);
    }

    #[test]
    fn the_lines_of_an_order_are_in_one_currency() {
        let usd = Currency::parse("USD").unwrap();
        let lines = vec![(line(HAT, 1, "1"), eur()), (line(SHOE, 1, "1"), usd)];
        let refused = Placed::new(CUSTOMER, lines, at(60)).unwrap_err();
        assert_eq!(refused, Rejection::MixedCurrencies { line: 1 });
        assert_eq!(Placed::new(CUSTOMER, vec![], at(60)).unwrap_err(), Rejection::Empty);
    }

    #[test]
    fn a_pending_order_is_confirmed_once() {
        let confirm = || Command::Confirm { now: at(59) };
        given::<Order>([placed()]).when(confirm()).then([confirmed()]);
        given::<Order>([placed(), confirmed()]).when(confirm()).then_nothing();
        given::<Order>([placed(), cancelled(Reason::Expired)])
            .when(confirm())
            .then_rejected(Rejection::NotPending);
    }

    #[test]
    fn an_order_is_not_confirmed_after_its_time() {
        let confirm = || Command::Confirm { now: at(60) };
        given::<Order>([placed()]).when(confirm()).then([cancelled(Reason::Expired)]);
        given::<Order>([placed(), confirmed()]).when(confirm()).then_nothing();
    }

    #[test]
    fn an_order_is_cancelled_by_its_customer_or_an_operator() {
        let requested = || cancelled(Reason::Requested);
        given::<Order>([placed()]).when(by(CUSTOMER, Role::User)).then([requested()]);
        given::<Order>([placed(), confirmed()]).when(by(HAT, Role::Operator)).then([requested()]);
        given::<Order>([placed()]).when(by(HAT, Role::User)).then_rejected(Rejection::NotFound);
        given::<Order>([placed(), requested()]).when(by(CUSTOMER, Role::User)).then_nothing();
        given::<Order>([placed(), confirmed(), shipped()])
            .when(by(CUSTOMER, Role::User))
            .then_rejected(Rejection::Shipped);
    }

    #[test]
    fn an_order_that_is_not_confirmed_in_time_expires() {
        let expire = |seconds| Command::Expire { now: at(seconds) };
        given::<Order>([placed()]).when(expire(59)).then_rejected(Rejection::NotDue);
        given::<Order>([placed()]).when(expire(60)).then([cancelled(Reason::Expired)]);
        given::<Order>([placed(), confirmed()])
            .when(expire(60))
            .then_rejected(Rejection::NotPending);
    }

    #[test]
    fn only_a_confirmed_order_is_shipped() {
        given::<Order>([placed(), confirmed()]).when(Command::Ship).then([shipped()]);
        given::<Order>([placed(), confirmed(), shipped()]).when(Command::Ship).then_nothing();
        given::<Order>([placed()]).when(Command::Ship).then_rejected(Rejection::NotConfirmed);
        given::<Order>([placed(), cancelled(Reason::Requested)])
            .when(Command::Ship)
            .then_rejected(Rejection::Cancelled);
    }
}

mod fulfilment {
    use super::*;

    fn state(events: &[order::Event]) -> Order {
        Order::fold(events)
    }

    fn reserve(product: Uuid, quantity: u32) -> Dispatch {
        Dispatch::Stock(product, stock_item::Command::Reserve { order_id: ORDER, quantity })
    }

    fn release(product: Uuid) -> Dispatch {
        Dispatch::Stock(product, stock_item::Command::Release { order_id: ORDER })
    }

    fn of(event: order::Event, order: &Order) -> Vec<Dispatch> {
        let event = &Event::Order(event);
        react(Cause { event, order_id: ORDER, product: None }, order, at(1))
    }

    fn of_stock(event: stock_item::Event, product: Uuid, order: &Order) -> Vec<Dispatch> {
        let event = &Event::Stock(event);
        react(Cause { event, order_id: ORDER, product: Some(product) }, order, at(1))
    }

    #[test]
    fn lines_are_reserved_one_after_the_other_and_then_the_order_is_confirmed() {
        let pending = state(&[placed()]);
        let reserved = |quantity| stock_item::Event::StockReserved { order_id: ORDER, quantity };
        assert_eq!(of(placed(), &pending), [reserve(HAT, 2)]);
        assert_eq!(of_stock(reserved(2), HAT, &pending), [reserve(SHOE, 1)]);
        let confirm = Dispatch::Order(ORDER, order::Command::Confirm { now: at(1) });
        assert_eq!(of_stock(reserved(1), SHOE, &pending), [confirm]);
    }

    #[test]
    fn a_refused_line_cancels_the_order_and_the_cancellation_releases_all_lines() {
        let refused =
            stock_item::Event::StockRefused { order_id: ORDER, quantity: 1, available: 0 };
        let refuse = order::Command::Refuse { product_id: SHOE, wanted: 1, available: 0 };
        let pending = state(&[placed()]);
        assert_eq!(of_stock(refused, SHOE, &pending), [Dispatch::Order(ORDER, refuse)]);
        let reason = Reason::OutOfStock { product_id: SHOE, wanted: 1, available: 0 };
        let over = state(&[placed(), cancelled(reason.clone())]);
        assert_eq!(of(cancelled(reason), &over), [release(HAT), release(SHOE)]);
    }

    #[test]
    fn a_reservation_recorded_after_the_cancellation_is_released() {
        let reserved = stock_item::Event::StockReserved { order_id: ORDER, quantity: 2 };
        let over = state(&[placed(), cancelled(Reason::Requested)]);
        assert_eq!(of_stock(reserved, HAT, &over), [release(HAT)]);
        assert_eq!(of(placed(), &over), []);
    }

    #[test]
    fn lines_are_reserved_by_product_id_whatever_the_order_of_the_cart() {
        let cart = |products: [Uuid; 2]| {
            let lines = products.map(|product| (line(product, 1, "1"), eur()));
            Placed::new(CUSTOMER, lines.into(), at(60)).unwrap()
        };
        assert_eq!(cart([HAT, SHOE]), cart([SHOE, HAT]));
        // An order of an earlier build keeps the order of its lines.
        let mut old = cart([HAT, SHOE]);
        old.lines.reverse();
        let placed = order::Event::OrderPlaced(old);
        assert_eq!(of(placed.clone(), &state(&[placed])), [reserve(SHOE, 1)]);
    }

    /// Both are stored in receipts and must not change.
    #[test]
    fn target_and_content_of_a_command() {
        let refuse = order::Command::Refuse { product_id: SHOE, wanted: 2, available: 1 };
        for (dispatch, target, content) in [
            (reserve(HAT, 2), format!("stock-{HAT}"), format!("reserve {ORDER} 2")),
            (release(HAT), format!("stock-{HAT}"), format!("release {ORDER}")),
            (
                Dispatch::Stock(HAT, stock_item::Command::Ship { order_id: ORDER }),
                format!("stock-{HAT}"),
                format!("ship {ORDER}"),
            ),
            (
                Dispatch::Order(ORDER, order::Command::Confirm { now: at(1) }),
                format!("order-{ORDER}"),
                "confirm".into(),
            ),
            (
                Dispatch::Order(ORDER, refuse),
                format!("order-{ORDER}"),
                format!("refuse {SHOE} 2 1"),
            ),
        ] {
            assert_eq!((dispatch.target().to_string(), dispatch.content()), (target, content));
        }
    }

    #[test]
    fn a_shipped_order_ships_its_reserved_pieces() {
        let gone = state(&[placed(), confirmed(), shipped()]);
        let ship =
            |product| Dispatch::Stock(product, stock_item::Command::Ship { order_id: ORDER });
        assert_eq!(of(shipped(), &gone), [ship(HAT), ship(SHOE)]);
    }
}
