//! The execution of one command as a state machine: which step comes next, on which state. It performs
//! no I/O, so the rules are tested without a store; [`Handler`](crate::Handler) performs the steps.
//!
//! 1. A remembered state may be out of date. Events decided on it are safe, because the append checks
//!    the version; a refusal is not, so the stream is loaded and the command decided again.
//! 2. After a conflict the rest of the stream is loaded and the command decided again.

use eventsourcing::{Decider, Kind, Position, Reject, Version};

use crate::error::Error;

/// Decisions per command, at most: each one but the last met a conflict or an outdated state.
pub(crate) const MAX_DECISIONS: usize = 16;

/// The state of a stream, folded up to a version.
#[derive(Debug, Clone, Default)]
pub struct Loaded<D> {
    /// The decider's state.
    pub state: D,
    /// Version of the last event folded; zero for an empty stream.
    pub version: Version,
    /// Position of the last event folded; zero for an empty stream.
    pub position: Position,
}

/// Whether a state includes the last event of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    /// Not to be decided on.
    Outdated,
    /// Remembered from an earlier command.
    Remembered,
    /// Loaded for this decision.
    Fresh,
}

/// A command being executed.
#[derive(Debug)]
pub(crate) struct Execution<D> {
    pub(crate) loaded: Loaded<D>,
    freshness: Freshness,
    decisions: usize,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Step<D: Decider> {
    /// Load the events after the state's version, and call [`Execution::refresh`].
    Load,
    /// Append these events at the state's version; none if the command changes nothing.
    Append(Vec<D::Event>),
    /// Report this error.
    Refuse(Error<D::Rejection>),
    /// Report that concurrent writers won every attempt.
    GiveUp,
}

impl<D: Decider<Command: Clone>> Execution<D> {
    /// Begins with a remembered state, or with none.
    pub(crate) fn new(remembered: Option<Loaded<D>>) -> Self {
        let freshness =
            if remembered.is_some() { Freshness::Remembered } else { Freshness::Outdated };
        Self { loaded: remembered.unwrap_or_default(), freshness, decisions: 0 }
    }

    /// Decides `command`, if the state allows it. `expected` are the versions of which the
    /// caller requires one.
    pub(crate) fn next(&mut self, command: &D::Command, expected: Option<&[Version]>) -> Step<D> {
        if self.decisions == MAX_DECISIONS {
            return Step::GiveUp;
        }
        if self.freshness == Freshness::Outdated {
            return Step::Load;
        }
        self.decisions += 1;
        let outcome = self.decide(command, expected);
        match outcome {
            Ok(events) if !events.is_empty() => Step::Append(events),
            Ok(_) | Err(_) if self.freshness == Freshness::Remembered => {
                self.freshness = Freshness::Outdated;
                self.next(command, expected)
            }
            Ok(events) => Step::Append(events),
            Err(error) => Step::Refuse(error),
        }
    }

    fn decide(
        &self,
        command: &D::Command,
        expected: Option<&[Version]>,
    ) -> Result<Vec<D::Event>, Error<D::Rejection>> {
        let Loaded { state, version, .. } = &self.loaded;
        let outcome = state.decide(command.clone()).map_err(Error::Rejected);
        if expected.is_none_or(|expected| expected.contains(version)) {
            return outcome;
        }
        // The version is not disclosed to callers who may not see or change the stream.
        match outcome {
            Err(Error::Rejected(rejection))
                if matches!(rejection.kind(), Kind::NotFound | Kind::Forbidden) =>
            {
                Err(Error::Rejected(rejection))
            }
            Ok(_) | Err(_) => Err(Error::OtherVersion { actual: *version }),
        }
    }

    /// Continues with the state of the whole stream.
    pub(crate) fn refresh(&mut self, loaded: Loaded<D>) {
        self.loaded = loaded;
        self.freshness = Freshness::Fresh;
    }

    /// Notes that another writer appended first.
    pub(crate) fn conflicted(&mut self) {
        self.freshness = Freshness::Outdated;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, Utc};
    use domain::works::{Command, Event, Rejection, RetryPolicy, Work};

    use super::*;

    /// A stream in memory, with counts of what was done to it.
    #[derive(Default)]
    struct Stream {
        events: Vec<Event>,
        /// Events of other writers, one before each append.
        others: Vec<Event>,
        loads: usize,
        conflicts: usize,
    }

    impl Stream {
        fn of(events: impl IntoIterator<Item = Event>) -> Self {
            Self { events: events.into_iter().collect(), ..Self::default() }
        }

        fn loaded(&self) -> Loaded<Work> {
            let length = i64::try_from(self.events.len()).unwrap();
            let state = Work::fold(&self.events);
            Loaded { state, version: Version(length), position: Position(length) }
        }

        /// Executes `command` as the handler does.
        fn execute(
            &mut self,
            remembered: Option<Loaded<Work>>,
            command: &Command,
            expected: Option<&[Version]>,
        ) -> Result<usize, Option<Error<Rejection>>> {
            let mut execution = Execution::new(remembered);
            loop {
                match execution.next(command, expected) {
                    Step::Load => {
                        self.loads += 1;
                        execution.refresh(self.loaded());
                    }
                    Step::Append(events) => {
                        self.events.extend(self.others.pop());
                        if execution.loaded.version == self.loaded().version {
                            let appended = events.len();
                            self.events.extend(events);
                            return Ok(appended);
                        }
                        self.conflicts += 1;
                        execution.conflicted();
                    }
                    Step::Refuse(error) => return Err(Some(error)),
                    Step::GiveUp => return Err(None),
                }
            }
        }
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn demanded() -> Event {
        Event::WorkDemanded { work_code: "api-1".into(), add_up_to: 4 }
    }

    fn claimed(attempt: u32) -> Event {
        Event::WorkClaimed { worker: "other".into(), attempt, lease_until: at(60) }
    }

    fn failed(attempt: u32) -> Event {
        Event::WorkFailed { attempt, reason: "stopped".into(), retry_at: at(0) }
    }

    fn claim() -> Command {
        let retry = RetryPolicy { max_attempts: 99, backoff: Duration::ZERO };
        let lease = Duration::from_mins(1);
        Command::Claim { worker: "this".into(), now: at(1), lease, retry }
    }

    #[test]
    fn a_stream_that_is_not_remembered_is_loaded_once() {
        let mut stream = Stream::of([demanded()]);
        assert_eq!(stream.execute(None, &claim(), None).unwrap(), 1);
        assert_eq!((stream.loads, stream.conflicts), (1, 0));
    }

    #[test]
    fn events_are_decided_on_a_remembered_state_without_loading() {
        let mut stream = Stream::of([demanded()]);
        let remembered = Some(stream.loaded());
        assert_eq!(stream.execute(remembered, &claim(), None).unwrap(), 1);
        assert_eq!((stream.loads, stream.conflicts), (0, 0));
    }

    #[test]
    fn a_command_is_refused_on_a_fresh_state_only() {
        let mut stream = Stream::of([demanded(), claimed(1)]);
        let remembered = Some(stream.loaded());
        let refused = stream.execute(remembered.clone(), &claim(), None);
        assert!(matches!(refused, Err(Some(Error::Rejected(Rejection::Leased)))));
        assert_eq!(stream.loads, 1, "the refusal was confirmed");

        stream.events.push(failed(1));
        assert_eq!(stream.execute(remembered, &claim(), None).unwrap(), 1, "no longer refused");
        assert_eq!((stream.loads, stream.conflicts), (2, 0));
    }

    #[test]
    fn a_command_that_changes_nothing_is_confirmed_on_a_fresh_state() {
        let mut stream = Stream::of([demanded()]);
        let command = Command::Demand { work_code: "api-1".into(), add_up_to: 4 };
        let remembered = Some(stream.loaded());
        assert_eq!(stream.execute(remembered, &command, None).unwrap(), 0);
        assert_eq!(stream.loads, 1);
    }

    #[test]
    fn a_conflict_is_decided_again_on_the_loaded_state() {
        let mut stream = Stream::of([demanded(), claimed(1), failed(1)]);
        let remembered = Some(stream.loaded());
        stream.others = vec![claimed(2)];
        let refused = stream.execute(remembered, &claim(), None);
        assert!(matches!(refused, Err(Some(Error::Rejected(Rejection::Leased)))));
        assert_eq!((stream.loads, stream.conflicts), (1, 1));
    }

    #[test]
    fn conflicts_without_end_are_given_up() {
        let mut stream = Stream::of([demanded(), claimed(1), failed(1)]);
        stream.others = (0..2 * MAX_DECISIONS).map(|_| failed(1)).collect();
        assert!(matches!(stream.execute(None, &claim(), None), Err(None)));
        assert_eq!((stream.loads, stream.conflicts), (MAX_DECISIONS, MAX_DECISIONS));
    }

    #[test]
    fn an_unexpected_version_refuses_the_command() {
        let mut stream = Stream::of([demanded()]);
        let behind = Some(Loaded::default());
        let expected = [Version(7), Version(1)];
        assert_eq!(stream.execute(behind, &claim(), Some(&expected)).unwrap(), 1);
        let refused = stream.execute(None, &claim(), Some(&expected));
        assert!(matches!(refused, Err(Some(Error::OtherVersion { actual: Version(2) }))));
        let refused = stream.execute(None, &claim(), Some(&[]));
        assert!(matches!(refused, Err(Some(Error::OtherVersion { actual: Version(2) }))));
    }

    #[test]
    fn the_version_of_a_stream_that_is_not_found_is_not_disclosed() {
        let refused = Stream::default().execute(None, &claim(), Some(&[Version(7)]));
        assert!(matches!(refused, Err(Some(Error::Rejected(Rejection::NotDemanded)))));
    }
}
