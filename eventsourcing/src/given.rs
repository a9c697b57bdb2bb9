//! Given, when, then: a decider's behaviour in sentences. `then` also stores and reloads every
//! event, so each behaviour test is a storage test too.

use std::fmt::Debug;

use crate::decider::Decider;
use crate::event::{decode, encode};

/// The history a command meets.
pub fn given<D: Decider>(events: impl IntoIterator<Item = D::Event>) -> Given<D> {
    Given(events.into_iter().fold(D::default(), |state, event| state.evolve(&event)))
}

pub struct Given<D: Decider>(D);

impl<D: Decider> Given<D> {
    /// The command that is judged.
    pub fn when(self, command: D::Command) -> When<D> {
        When(self.0.decide(command))
    }
}

pub struct When<D: Decider>(crate::Decision<D>);

impl<D: Decider<Event: PartialEq + Debug, Rejection: PartialEq + Debug>> When<D> {
    /// Exactly these events follow, and survive storage.
    pub fn then(self, expected: impl IntoIterator<Item = D::Event>) {
        let events = self.0.expect("the command is accepted");
        assert_eq!(events, expected.into_iter().collect::<Vec<_>>());
        for event in events {
            let stored = encode(&event).expect("the event can be stored");
            let reloaded: D::Event =
                decode(&stored.event_type, stored.schema_version, &stored.data)
                    .expect("the event can be read back");
            assert_eq!(reloaded, event, "storage changed the event");
        }
    }

    /// Nothing follows: it was so already.
    pub fn then_nothing(self) {
        self.then([]);
    }

    /// The command is refused for this reason.
    pub fn then_rejected(self, expected: D::Rejection) {
        assert_eq!(self.0.expect_err("the command is refused"), expected);
    }
}
