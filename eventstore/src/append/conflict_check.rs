//! The judgement: each request of a batch against the log, and against the requests accepted
//! before it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use eventsourcing::{Position, Version};
use uuid::Uuid;

use crate::append::prepared::{COLUMNS, Prepared, PreparedEvent};
use crate::append::receipt::{NewReceipt, Receipt};
use crate::append::{AppendError, Appended, Outcome};
use crate::chain::Place;
use crate::copy::CopyRows;

/// The end of the log, held under lock.
pub(crate) struct Head {
    pub(crate) position: Position,
    /// The time of this batch; never before that of the last.
    pub(crate) recorded_at: DateTime<Utc>,
    pub(crate) hash: Vec<u8>,
}

impl Head {
    /// Gives `event` the next place, and adds its row in the order of the statement's columns.
    fn put(&mut self, event: &PreparedEvent, version: i64, rows: &mut CopyRows) {
        self.position.0 += 1;
        let place = Place { position: self.position, version, recorded_at: self.recorded_at };
        let hash = place.hash(&self.hash, &event.content);
        rows.row(COLUMNS);
        rows.int8(place.position.0);
        rows.int8(place.version);
        rows.time(place.recorded_at);
        rows.bytes(&hash);
        rows.columns(&event.columns);
        self.hash.clear();
        self.hash.extend_from_slice(&hash);
    }
}

/// What the log says about everything a batch mentions, and what the batch adds to it.
#[derive(Debug, Default)]
pub(crate) struct Known<'a> {
    /// Every stream the batch names.
    pub(crate) versions: HashMap<&'a str, i64>,
    /// Those event ids of the batch that are in the log.
    pub(crate) event_ids: HashMap<Uuid, Position>,
    /// Those idempotency keys of the batch that were used.
    pub(crate) receipts: HashMap<&'a str, Receipt>,
}

/// Judges request after request, each against the log and what was accepted before it.
pub(crate) struct Judge<'a> {
    pub(crate) head: Head,
    pub(crate) rows: CopyRows,
    pub(crate) receipts: Vec<(&'a NewReceipt, Position)>,
    pub(crate) known: Known<'a>,
}

impl<'a> Judge<'a> {
    /// Refuses the request, or gives it its place.
    pub(crate) fn judge(&mut self, request: &'a Prepared) -> Outcome {
        if let Some(new) = &request.receipt
            && let Some(receipt) = self.known.receipts.get(new.key.as_str())
        {
            return if receipt.fingerprint == new.fingerprint {
                Ok(Appended::Replayed(receipt.clone()))
            } else {
                Err(AppendError::KeyReused)
            };
        }
        let seen = request.all_events().find_map(|event| self.known.event_ids.get(&event.id));
        if let Some(position) = seen {
            return Ok(Appended::Duplicate { position: *position });
        }
        for part in &request.streams {
            let actual = Version(self.known.versions[part.stream.as_str()]);
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
            let version = self.known.versions.get_mut(stream).expect("every stream was looked up");
            for event in &part.events {
                *version += 1;
                self.head.put(event, *version, &mut self.rows);
                self.known.event_ids.insert(event.id, self.head.position);
            }
        }
        if let Some(new) = &request.receipt {
            self.receipts.push((new, self.head.position));
            let receipt = Receipt {
                fingerprint: new.fingerprint.to_vec(),
                position: self.head.position,
                response: new.response.clone(),
            };
            self.known.receipts.insert(&new.key, receipt);
        }
    }

    fn outcome(&self, request: &Prepared) -> Appended {
        let version =
            request.streams.first().map_or(0, |part| self.known.versions[part.stream.as_str()]);
        Appended::New { position: self.head.position, version: Version(version) }
    }
}
