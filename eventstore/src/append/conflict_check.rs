//! The judgement: each request of a batch against the log, and against the requests accepted
//! before it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use eventsourcing::{Position, Version};
use uuid::Uuid;

use crate::append::prepared::{COLUMNS, Prepared, PreparedEvent};
use crate::append::receipt::{NewReceipt, Receipt};
use crate::append::{AppendError, Appended, Outcome};
use crate::copy::CopyRows;
use crate::hash_chain::Assignment;

/// The end of the log, held under lock.
pub(crate) struct LockedHead {
    pub(crate) position: Position,
    /// The time of this batch; never before that of the last.
    pub(crate) recorded_at: DateTime<Utc>,
    pub(crate) hash: Vec<u8>,
}

impl LockedHead {
    /// Gives `event` the next assigned, and adds its row in the order of the statement's columns.
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

/// What the log says about everything a batch mentions, and what the batch adds to it.
#[derive(Debug, Default)]
pub(crate) struct LogState<'a> {
    /// Every stream the batch names.
    pub(crate) versions: HashMap<&'a str, i64>,
    /// Those event ids of the batch that are in the log.
    pub(crate) event_ids: HashMap<Uuid, Position>,
    /// Those idempotency keys of the batch that were used.
    pub(crate) receipts: HashMap<&'a str, Receipt>,
}

/// Judges request after request, each against the log and what was accepted before it.
pub(crate) struct ConflictCheck<'a> {
    pub(crate) head: LockedHead,
    pub(crate) rows: CopyRows,
    pub(crate) receipts: Vec<(&'a NewReceipt, Position)>,
    pub(crate) state: LogState<'a>,
}

impl<'a> ConflictCheck<'a> {
    /// Refuses the request, or gives it its assigned.
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
        let seen = request.all_events().find_map(|event| self.state.event_ids.get(&event.id));
        if let Some(position) = seen {
            return Ok(Appended::Duplicate { position: *position });
        }
        for part in &request.streams {
            let actual = Version(self.state.versions[part.stream.as_str()]);
            if !part.expected.allows(actual) {
                let stream = part.stream.clone();
                return Err(AppendError::Conflict { stream, expected: part.expected, actual });
            }
        }
        self.accept(request);
        Ok(self.outcome(request))
    }

    fn accept(&mut self, request: &'a Prepared) {
        for part in &request.streams {
            let stream = part.stream.as_str();
            let version = self.state.versions.get_mut(stream).expect("every stream was looked up");
            for event in &part.events {
                *version += 1;
                self.head.assign(event, *version, &mut self.rows);
                self.state.event_ids.insert(event.id, self.head.position);
            }
        }
        if let Some(new) = &request.receipt {
            self.receipts.push((new, self.head.position));
            let receipt = Receipt {
                fingerprint: new.fingerprint.to_vec(),
                position: self.head.position,
                response: new.response.clone(),
            };
            self.state.receipts.insert(&new.key, receipt);
        }
    }

    fn outcome(&self, request: &Prepared) -> Appended {
        let version =
            request.streams.first().map_or(0, |part| self.state.versions[part.stream.as_str()]);
        Appended::New { position: self.head.position, version: Version(version) }
    }
}
