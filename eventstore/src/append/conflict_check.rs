//! The conflict check: tests each request of a batch against the log and against the requests of
//! the batch accepted before it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use chrono::{DateTime, Utc};
use eventsourcing::{Position, Version};
use uuid::Uuid;

use crate::append::outcome::{AppendError, Appended, Known, Outcome};
use crate::append::prepared::{COLUMNS, Prepared, PreparedEvent};
use crate::append::receipt::{NewReceipt, Receipt};
use crate::copy::CopyRows;
use crate::hash_chain::Assignment;

/// The head of the log, locked until the batch is committed.
pub(crate) struct LockedHead {
    pub(crate) position: Position,
    /// Time of this batch; never before that of the batch before.
    pub(crate) recorded_at: DateTime<Utc>,
    pub(crate) hash: Vec<u8>,
}

impl LockedHead {
    /// Assigns the next position to `event` and adds its row, in the column order of `COPY_EVENTS`.
    fn assign(&mut self, event: &PreparedEvent, version: i64, rows: &mut CopyRows) {
        self.position.0 += 1;
        let assigned =
            Assignment { position: self.position, version, recorded_at: self.recorded_at };
        let hash = assigned.hash(&self.hash, &event.content);
        rows.row(COLUMNS);
        rows.int8(assigned.position.0);
        rows.int8(assigned.version);
        rows.time(assigned.recorded_at);
        rows.bytes(&hash);
        rows.columns(&event.columns);
        self.hash.clear();
        self.hash.extend_from_slice(&hash);
    }
}

/// The state of the log that a batch is checked against, including what the batch added so far.
#[derive(Debug, Default)]
pub(crate) struct LogState<'a> {
    /// Version of every stream that the batch names.
    pub(crate) versions: HashMap<&'a str, i64>,
    /// Positions of the batch's event ids that the log has.
    pub(crate) event_ids: HashMap<Uuid, Position>,
    /// Receipts of the batch's idempotency keys that were used.
    pub(crate) receipts: HashMap<&'a str, Receipt>,
}

/// Checks requests one after the other and collects the rows of those accepted.
pub(crate) struct ConflictCheck<'a> {
    pub(crate) head: LockedHead,
    pub(crate) rows: CopyRows,
    pub(crate) receipts: Vec<(&'a NewReceipt, Position)>,
    pub(crate) state: LogState<'a>,
}

impl<'a> ConflictCheck<'a> {
    /// Accepts the request and assigns its positions, or refuses it.
    pub(crate) fn check(&mut self, request: &'a Prepared) -> Outcome {
        if let Some(new) = &request.receipt
            && let Some(receipt) = self.state.receipts.get(new.key.as_str())
        {
            return if receipt.fingerprint == new.fingerprint {
                Ok(Appended::Replayed(receipt.clone()))
            } else {
                Err(AppendError::KeyReused)
            };
        }
        if let Some(position) = request.duplicate_of(&self.state.event_ids) {
            return Ok(Appended::Duplicate { position });
        }
        for part in &request.streams {
            let actual = Version(self.state.versions[part.stream.as_str()]);
            if !part.expected.allows(actual) {
                let stream = part.stream.clone();
                return Err(AppendError::Conflict { stream, expected: part.expected, actual });
            }
        }
        let known = self.accept(request);
        Ok(self.outcome(request, known))
    }

    /// Adds the events that the log does not have, and returns the others.
    fn accept(&mut self, request: &'a Prepared) -> Vec<Known> {
        let mut known = Vec::new();
        for part in &request.streams {
            let stream = part.stream.as_str();
            let version = self.state.versions.get_mut(stream).expect("every stream was looked up");
            for event in &part.events {
                match self.state.event_ids.entry(event.id) {
                    Entry::Occupied(at) => known.push(Known { id: event.id, position: *at.get() }),
                    Entry::Vacant(new) => {
                        *version += 1;
                        self.head.assign(event, *version, &mut self.rows);
                        new.insert(self.head.position);
                    }
                }
            }
        }
        if let Some(new) = &request.receipt {
            self.receipts.push((new, self.head.position));
            let receipt = Receipt {
                fingerprint: new.fingerprint.to_vec(),
                position: self.head.position,
                recorded_at: self.head.recorded_at,
                response: new.response.clone(),
            };
            self.state.receipts.insert(&new.key, receipt);
        }
        known
    }

    fn outcome(&self, request: &Prepared, known: Vec<Known>) -> Appended {
        let version =
            request.streams.first().map_or(0, |part| self.state.versions[part.stream.as_str()]);
        let LockedHead { position, recorded_at, .. } = self.head;
        Appended::New { position, version: Version(version), recorded_at, known }
    }
}
