//! Property test of roles: random interleavings of role changes by administrators with old tokens, of
//! crashes and of repeated requests. Every user who administers in the log was made so by a user who
//! administered at that position, and one administrator remains at every position.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::user::{Authority, Command, Event};
use super::{PasswordHash, Personal, User};
use crate::actor::{Actor, Role};
use eventsourcing::decider::Decider;

const USERS: usize = 4;

/// One step of a schedule. A request is a change of the role of one user by another, and runs as the
/// write side runs it: load the streams of both, decide, append if both are still at these versions.
#[derive(Debug, Clone)]
enum Step {
    /// A request arrives, with a token that was issued when the actor had the role `token`.
    Request { actor: usize, target: usize, role: Role, token: Role },
    /// The subject of a token that is no registered user sends a request.
    KeyHolder { target: usize, role: Role },
    /// A waiting request loads the streams and decides.
    Decide(usize),
    /// A request that has decided appends; after a conflict it waits again.
    Append(usize),
    /// A process crashes before its append: the client repeats the request.
    Crash(usize),
    /// A request arrives a second time.
    Repeat(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let user = 0..USERS;
    let role = prop::sample::select(Role::ALL.to_vec());
    let request = 0..6_usize;
    prop_oneof![
        3 => (user.clone(), user.clone(), role.clone(), role.clone())
            .prop_map(|(actor, target, role, token)| Step::Request { actor, target, role, token }),
        // Two administrators demote each other, with tokens of administrators.
        3 => (user.clone(), user.clone()).prop_map(|(actor, target)| Step::Request {
            actor, target, role: Role::User, token: Role::Admin,
        }),
        1 => (user, role).prop_map(|(target, role)| Step::KeyHolder { target, role }),
        6 => request.clone().prop_map(Step::Decide),
        6 => request.clone().prop_map(Step::Append),
        1 => request.clone().prop_map(Step::Crash),
        1 => request.prop_map(Step::Repeat),
    ]
}

#[derive(Debug, Clone)]
struct Request {
    token: Actor,
    target: usize,
    role: Role,
    decided: Option<Decided>,
}

/// Versions of the actor's and the target's stream, and the events to append on their condition.
#[derive(Debug, Clone)]
struct Decided {
    versions: (usize, usize),
    events: Vec<Event>,
}

struct World {
    streams: BTreeMap<Uuid, Vec<Event>>,
    requests: Vec<Request>,
}

fn id(user: usize) -> Uuid {
    Uuid::from_u128(1 + user as u128)
}

fn registered(role: Role) -> Event {
    let personal = Personal {
        email: "ada@example.org".parse().unwrap(),
        full_name: "Ada Lovelace".parse().unwrap(),
    };
    let password_hash = PasswordHash::new("hash".into());
    let registered_at = chrono::DateTime::UNIX_EPOCH;
    Event::Registered { personal, password_hash, role, registered_at }
}

impl World {
    /// Users 0 and 1 administer.
    fn new() -> Self {
        let role = |user| if user < 2 { Role::Admin } else { Role::User };
        let streams = (0..USERS).map(|user| (id(user), vec![registered(role(user))])).collect();
        Self { streams, requests: Vec::new() }
    }

    fn state(&self, user: Uuid) -> (User, usize) {
        let events = self.streams.get(&user).map_or(&[][..], Vec::as_slice);
        (User::fold(events), events.len())
    }

    fn role(&self, user: Uuid) -> Option<Role> {
        self.state(user).0.account().map(|account| account.role)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Request { actor, target, role, token } => {
                let token = Actor { id: id(actor), role: token };
                self.requests.push(Request { token, target, role, decided: None });
            }
            Step::KeyHolder { target, role } => {
                let token = Actor { id: Uuid::nil(), role: Role::Admin };
                self.requests.push(Request { token, target, role, decided: None });
            }
            Step::Repeat(n) => self.requests.extend(self.requests.get(n).cloned()),
            Step::Crash(n) => {
                if let Some(request) = self.requests.get_mut(n) {
                    request.decided = None;
                }
            }
            Step::Decide(n) => self.decide(n),
            Step::Append(n) => self.append(n),
        }
    }

    fn decide(&mut self, n: usize) {
        let Some(Request { token, target, role, .. }) = self.requests.get(n).cloned() else {
            return;
        };
        let ((acting, version), (state, expected)) = (self.state(token.id), self.state(id(target)));
        let by = Authority::of(token, &acting);
        match state.decide(Command::ChangeRole { id: id(target), role, by }) {
            Ok(events) => {
                self.requests[n].decided = Some(Decided { versions: (version, expected), events });
            }
            Err(_rejection) => drop(self.requests.remove(n)),
        }
    }

    fn append(&mut self, n: usize) {
        let Some(Request { token, target, decided: Some(decided), .. }) = self.requests.get(n)
        else {
            return;
        };
        let (actor, target) = (token.id, id(*target));
        if decided.versions != (self.state(actor).1, self.state(target).1) {
            self.requests[n].decided = None; // A conflict: decided again.
            return;
        }
        let events = decided.events.clone();
        let acted = self.role(actor);
        assert!(
            events.is_empty() || acted.is_none_or(|role| role == Role::Admin),
            "a demoted actor"
        );
        self.streams.entry(target).or_default().extend(events);
        self.requests.remove(n);
        let administrators =
            self.streams.keys().filter(|user| self.role(**user) == Some(Role::Admin)).count();
        assert!(administrators >= 1, "no administrator remains");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn an_administrator_remains_at_every_position(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        while !world.requests.is_empty() {
            world.decide(0);
            world.append(0);
        }
    }
}
