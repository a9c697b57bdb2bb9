//! Deciders: pure business rules that turn a command and a state into events, and an event and a
//! state into the next state.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::event::{CodecError, Event, decode};
use crate::rejection::Reject;

/// The result of a command: the events to append, or the rejection.
pub type Decision<D> = Result<Vec<<D as Decider>::Event>, <D as Decider>::Rejection>;

/// The business rules of one stream. `Default` is the initial state, before the first event.
///
/// Implementations are pure: times and ids arrive on the command, so folding the same events always
/// yields the same state.
pub trait Decider: Default + Clone + Serialize + Send + Sync + 'static {
    /// Category of the decider's streams.
    const CATEGORY: &'static str;
    /// Requests to change the stream.
    type Command: Send;
    /// Events of the stream.
    type Event: Event;
    /// Reasons to refuse a command.
    type Rejection: Reject;

    /// Decides `command` in this state and returns the events to append. A request that is already
    /// fulfilled returns no events.
    ///
    /// # Errors
    /// Returns the rejection if the command is not allowed in this state.
    fn decide(&self, command: Self::Command) -> Decision<Self>;

    /// Returns the state after `event`. Total: a recorded event is never refused.
    #[must_use]
    fn evolve(self, event: &Self::Event) -> Self;

    /// Returns the state after all of `events`, starting from the initial state.
    fn fold<'a>(events: impl IntoIterator<Item = &'a Self::Event>) -> Self
    where
        Self::Event: 'a,
    {
        events.into_iter().fold(Self::default(), Self::evolve)
    }
}

/// A type-erased decider, used to fold a stream of any category.
#[derive(Debug, Clone, Copy)]
pub struct AnyDecider {
    /// Category of the decider's streams.
    pub category: &'static str,
    /// Returns the initial state: that of a stream without events.
    pub initial_state: fn() -> Box<dyn State>,
}

impl AnyDecider {
    /// Erases the type of the decider `D`.
    pub const fn of<D: Decider>() -> Self {
        Self { category: D::CATEGORY, initial_state: || Box::new(D::default()) }
    }
}

/// A type-erased state of a stream, folded from stored events.
pub trait State: Send {
    /// Decodes one stored event and applies it.
    ///
    /// # Errors
    /// Returns an error, and leaves the state unchanged, if the event cannot be decoded.
    fn fold(&mut self, event_type: &str, version: i16, data: &str) -> Result<(), CodecError>;

    /// Serializes the state to the JSON that the API shows.
    ///
    /// # Errors
    /// Returns an error if the state cannot be serialized.
    fn to_json(&self) -> serde_json::Result<Box<RawValue>>;
}

impl<D: Decider> State for D {
    fn fold(&mut self, event_type: &str, version: i16, data: &str) -> Result<(), CodecError> {
        let event: D::Event = decode(event_type, version, data)?;
        *self = std::mem::take(self).evolve(&event);
        Ok(())
    }

    fn to_json(&self) -> serde_json::Result<Box<RawValue>> {
        to_raw_value(self)
    }
}

/// Accepts a command with one event.
pub fn accept<E, R>(event: E) -> Result<Vec<E>, R> {
    Ok(vec![event])
}

/// Accepts a command without an event: the request is already fulfilled.
pub fn nothing<E, R>() -> Result<Vec<E>, R> {
    Ok(Vec::new())
}

/// Rejects a command.
pub fn reject<E, R>(rejection: R) -> Result<Vec<E>, R> {
    Err(rejection)
}
