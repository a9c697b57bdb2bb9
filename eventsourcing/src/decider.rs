//! The decider: a state, what it says to a command, and how an event changes it.

use serde::Serialize;
use serde_json::Value;

use crate::event::{CodecError, Event, decode};
use crate::rejection::Reject;

/// What a decider says: the events that follow, or why nothing may.
pub type Decision<D> = Result<Vec<<D as Decider>::Event>, <D as Decider>::Rejection>;

/// One stream's rules. The `Default` is the state of a stream without events.
pub trait Decider: Default + Clone + Serialize + Send + Sync + 'static {
    /// Category of the streams it decides for.
    const CATEGORY: &'static str;
    type Command: Send;
    type Event: Event;
    type Rejection: Reject;

    /// What follows from `command`, given everything that happened before. A request that is
    /// already true returns no events.
    fn decide(&self, command: Self::Command) -> Decision<Self>;

    /// The state after `event`. Total: what happened is not questioned.
    #[must_use]
    fn evolve(self, event: &Self::Event) -> Self;

    /// The state after all of `events`.
    fn fold<'a>(events: impl IntoIterator<Item = &'a Self::Event>) -> Self
    where
        Self::Event: 'a,
    {
        events.into_iter().fold(Self::default(), Self::evolve)
    }
}

/// A decider whose type nobody has to know: for looking at the past of any stream.
#[derive(Debug, Clone, Copy)]
pub struct AnyDecider {
    /// Category of the streams it decides for.
    pub category: &'static str,
    /// The state of a stream without events.
    pub initial_state: fn() -> Box<dyn State>,
}

impl AnyDecider {
    /// `D`, without its type.
    pub const fn of<D: Decider>() -> Self {
        Self { category: D::CATEGORY, initial_state: || Box::new(D::default()) }
    }
}

/// The state of a stream, folded from events as they are stored.
pub trait State: Send {
    fn fold(&mut self, event_type: &str, version: i16, data: &str) -> Result<(), CodecError>;

    /// As people and programs see it.
    fn to_json(&self) -> serde_json::Result<Value>;
}

impl<D: Decider> State for D {
    fn fold(&mut self, event_type: &str, version: i16, data: &str) -> Result<(), CodecError> {
        let event: D::Event = decode(event_type, version, data)?;
        *self = std::mem::take(self).evolve(&event);
        Ok(())
    }

    fn to_json(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }
}

/// One event follows.
pub fn accept<E, R>(event: E) -> Result<Vec<E>, R> {
    Ok(vec![event])
}

/// Nothing follows: what was asked is already so.
pub fn nothing<E, R>() -> Result<Vec<E>, R> {
    Ok(Vec::new())
}

/// The command is refused.
pub fn reject<E, R>(rejection: R) -> Result<Vec<E>, R> {
    Err(rejection)
}
