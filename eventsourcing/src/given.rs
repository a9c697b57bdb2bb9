//! Given/when/then: specifications of deciders for tests. [`When::then`] also encodes and decodes
//! every event, so each specification tests storage too.

use std::fmt::Debug;

use crate::decider::Decider;
use crate::event::{decode, encode};

/// Starts a specification with the events that were recorded before the command.
pub fn given<D: Decider>(events: impl IntoIterator<Item = D::Event>) -> Given<D> {
    Given(events.into_iter().fold(D::default(), |state, event| state.evolve(&event)))
}

/// A specification with a history. Continue with [`Given::when`].
pub struct Given<D: Decider>(D);

impl<D: Decider> Given<D> {
    /// Decides the command in the state after the history.
    pub fn when(self, command: D::Command) -> When<D> {
        When(self.0.decide(command))
    }
}

/// A specification with a decided command. End with one of the `then` methods.
pub struct When<D: Decider>(crate::Decision<D>);

impl<D: Decider<Event: PartialEq + Debug, Rejection: PartialEq + Debug>> When<D> {
    /// Asserts that the command returned exactly these events, and that each is unchanged after
    /// encoding and decoding.
    ///
    /// # Panics
    /// Panics if the command was rejected, the events differ, or storage changes one.
    pub fn then(self, expected: impl IntoIterator<Item = D::Event>) {
        let events = self.0.expect("the command must be accepted");
        assert_eq!(events, expected.into_iter().collect::<Vec<_>>());
        for event in events {
            let stored = encode(&event).expect("the event must be encodable");
            let reloaded: D::Event =
                decode(&stored.event_type, stored.schema_version, &stored.data)
                    .expect("the stored event must be decodable");
            assert_eq!(reloaded, event, "storage changed the event");
        }
    }

    /// Asserts that the command was accepted without an event.
    ///
    /// # Panics
    /// Panics if the command was rejected or returned an event.
    pub fn then_nothing(self) {
        self.then([]);
    }

    /// Asserts that the command was rejected for this reason.
    ///
    /// # Panics
    /// Panics if the command was accepted or rejected for another reason.
    pub fn then_rejected(self, expected: D::Rejection) {
        assert_eq!(self.0.expect_err("the command must be rejected"), expected);
    }
}
