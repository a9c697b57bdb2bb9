//! Property test of refreshes: random interleavings of tabs that refresh at once, of lost answers, of
//! repeated requests and of time. A token of the current generation, or the one before it within its
//! grace period, never ends the session and gets the current generation; any other one ends it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use eventsourcing::decider::Decider;
use proptest::prelude::*;
use uuid::Uuid;

use super::Session;
use super::session::{Command, Event, Reason};

const GRACE: i64 = 10;

#[derive(Debug, Clone)]
enum Step {
    /// A request arrives with the token that a tab holds; the tab is one of three.
    Send(usize),
    /// A waiting request loads the stream and decides.
    Decide(usize),
    /// A request that has decided appends, or is decided again after a conflict. Its answer arrives,
    /// or is lost.
    Append(usize, bool),
    /// Seconds pass.
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_usize).prop_map(Step::Send),
        4 => (0..4_usize).prop_map(Step::Decide),
        4 => (0..4_usize, prop::bool::weighted(0.8)).prop_map(|(n, arrives)| Step::Append(n, arrives)),
        1 => (0..8_i64).prop_map(Step::Pass),
    ]
}

#[derive(Debug, Clone)]
struct Request {
    tab: usize,
    generation: u32,
    /// Version of the stream and time when the request was decided, and the events that followed.
    decided: Option<(usize, i64, Vec<Event>)>,
}

struct World {
    events: Vec<Event>,
    requests: Vec<Request>,
    /// The generation that each tab holds.
    tabs: [u32; 3],
    now: i64,
    /// What the session must be: its generation and the time since which it has it; none once ended.
    expected: Option<(u32, i64)>,
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

impl World {
    fn new() -> Self {
        let (user_id, password_number) = (Uuid::nil(), 1);
        let begin = Command::Begin { user_id, password_number, sign_outs: 0, now: at(0) };
        let events = Session::default().decide(begin).unwrap();
        // Long before: the first token is current, and none was replaced.
        Self { events, requests: Vec::new(), tabs: [0; 3], now: 1_000, expected: Some((0, 0)) }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Send(tab) => {
                let generation = self.tabs[tab];
                self.requests.push(Request { tab, generation, decided: None });
            }
            Step::Decide(n) => self.decide(n),
            Step::Append(n, arrives) => self.append(n, arrives),
            Step::Pass(seconds) => self.now += seconds,
        }
    }

    fn decide(&mut self, n: usize) {
        let Some(request) = self.requests.get_mut(n) else { return };
        let grace = Duration::from_secs(GRACE.unsigned_abs());
        let (generation, now) = (request.generation, at(self.now));
        let command = Command::Refresh { generation, password_number: 1, sign_outs: 0, now, grace };
        match Session::fold(&self.events).decide(command) {
            Ok(events) => request.decided = Some((self.events.len(), self.now, events)),
            Err(_ended) => drop(self.requests.remove(n)),
        }
    }

    fn append(&mut self, n: usize, arrives: bool) {
        let Some(request) = self.requests.get_mut(n) else { return };
        let Some((version, decided_at, events)) = request.decided.take() else { return };
        if version != self.events.len() {
            return; // A conflict: decided again.
        }
        let Request { tab, generation, .. } = self.requests.remove(n);
        let (current, since) = self.expected.expect("an ended session decides nothing");
        self.events.extend(events.clone());
        if generation == current {
            self.expected = Some((current + 1, decided_at));
        } else if generation + 1 == current && decided_at < since + GRACE {
            assert!(events.is_empty(), "the current generation is given again");
        } else {
            assert_eq!(events, [Event::SessionRevoked { reason: Reason::Reuse }]);
            self.expected = None;
        }
        if let Some((current, _)) = self.expected.filter(|_| arrives) {
            self.tabs[tab] = current;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn only_a_token_older_than_its_grace_ends_the_session(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        let generation = match Session::fold(&world.events) {
            Session::Live(live) => Some(live.generation),
            Session::NotBegun | Session::Revoked => None,
        };
        prop_assert_eq!(generation, world.expected.map(|(current, _)| current));
    }

    #[test]
    fn tabs_that_refresh_within_the_grace_never_end_the_session(
        order in prop::collection::vec((0..4_usize, any::<bool>()), 1..60),
    ) {
        let mut world = World::new();
        for tab in 0..3 {
            world.take(&Step::Send(tab));
        }
        for (n, decide) in order {
            world.take(&if decide { Step::Decide(n) } else { Step::Append(n, true) });
        }
        while !world.requests.is_empty() {
            world.take(&Step::Decide(0));
            world.take(&Step::Append(0, true));
        }
        prop_assert_eq!(world.tabs, [1; 3]);
    }
}
