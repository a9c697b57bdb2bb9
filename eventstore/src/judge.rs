//! The judgement: each request of a batch against the log, and against the requests accepted
//! before it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::{Position, Version};
use uuid::Uuid;

use crate::append::{Append, AppendError, Appended, Outcome};
use crate::chain::Link;
use crate::copy::CopyRows;
use crate::receipt::{NewReceipt, Receipt};

/// The end of the log, held under lock.
pub(crate) struct Head {
    pub(crate) position: Position,
    /// The time of this batch; never before that of the last.
    pub(crate) recorded_at: DateTime<Utc>,
    pub(crate) hash: Vec<u8>,
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
    /// Refuses the request, or gives it its place. The outer error is a defect of ours.
    pub(crate) fn judge(&mut self, request: &'a Append) -> Result<Outcome, sqlx::Error> {
        if let Some(new) = &request.receipt
            && let Some(receipt) = self.known.receipts.get(new.key.as_str())
        {
            return Ok(if receipt.fingerprint == new.fingerprint {
                Ok(Appended::Replayed(receipt.clone()))
            } else {
                Err(AppendError::KeyReused)
            });
        }
        let seen = request.all_events().find_map(|event| self.known.event_ids.get(&event.id));
        if let Some(position) = seen {
            return Ok(Ok(Appended::Duplicate { position: *position }));
        }
        for part in &request.streams {
            let actual = Version(self.known.versions[part.stream.as_str()]);
            if !part.expected.allows(actual) {
                let stream = part.stream.clone();
                return Ok(Err(AppendError::Conflict { stream, expected: part.expected, actual }));
            }
        }
        let metadata = serde_json::to_string(&request.metadata)
            .map_err(|error| sqlx::Error::Encode(error.into()))?;
        self.accept(request, &metadata);
        Ok(Ok(self.outcome(request)))
    }

    fn accept(&mut self, request: &'a Append, metadata: &str) {
        for part in &request.streams {
            let stream = part.stream.as_str();
            let version = self.known.versions.get_mut(stream).expect("every stream was looked up");
            for event in &part.events {
                self.head.position.0 += 1;
                *version += 1;
                let link = Link {
                    position: self.head.position,
                    version: *version,
                    recorded_at_micros: self.head.recorded_at.timestamp_micros(),
                    id: event.id.as_bytes(),
                    schema_version: event.encoded.schema_version,
                    event_type: &event.encoded.event_type,
                    stream,
                    data: &event.encoded.data,
                    metadata,
                };
                let hash = link.hash(&self.head.hash);
                push(&mut self.rows, &link, self.head.recorded_at, &hash);
                self.head.hash.clear();
                self.head.hash.extend_from_slice(&hash);
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

    fn outcome(&self, request: &Append) -> Appended {
        let version =
            request.streams.first().map_or(0, |part| self.known.versions[part.stream.as_str()]);
        Appended::New { position: self.head.position, version: Version(version) }
    }
}

pub(crate) const COPY_EVENTS: &str =
    "copy log.event (position, version, recorded_at, event_id, schema_version,
                                       event_type, stream_id, data, metadata, hash)
                       from stdin (format binary)";

/// Adds a row in the order of [`COPY_EVENTS`].
fn push(rows: &mut CopyRows, event: &Link<'_>, recorded_at: DateTime<Utc>, hash: &[u8; 32]) {
    rows.row(10);
    rows.int8(event.position.0);
    rows.int8(event.version);
    rows.time(recorded_at);
    rows.bytes(event.id);
    rows.int2(event.schema_version);
    rows.text(event.event_type);
    rows.text(event.stream);
    rows.text(event.data);
    rows.text(event.metadata);
    rows.bytes(hash);
}
