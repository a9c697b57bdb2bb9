//! Recording readings that programs send over HTTP.

use axum::Json;
use axum::response::IntoResponse;
use chrono::Utc;
use commands::readings::Repeated;
use domain::telemetry::{Batch, Event, InvalidReading, Reading, device_stream};
use eventsourcing::event::CodecError;
use eventsourcing::{Metadata, Position, StreamId};
use eventstore::{Append, AppendError, Appended, ExpectedVersion, NewEvent, Placed, StreamAppend};
use futures::future::try_join_all;
use projections::telemetry::Telemetry;
use serde_json::Value;

use super::super::caller::Owners;
use super::super::extract::RawJson;
use super::super::headers::POSITION;
use super::super::prelude::*;
use crate::metrics::count_unusable;

/// A reading as it is sent. All further members are stored, too.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "read by `domain::telemetry`; this is for the document")]
struct SentReading {
    /// Owner of the device: 1 to 64 letters, digits or `. _ : @ -`.
    user_id: String,
    /// Name of the device: 1 to 64 letters, digits or `. _ : @ -`.
    device_id: String,
    /// Counter of the device.
    sequence_id: i64,
    /// Time of the reading: RFC 3339 with an offset, or milliseconds since the epoch (default the time of
    /// receipt).
    #[schema(value_type = Option<Value>, example = "2026-01-01T00:00:00Z")]
    time: Option<Value>,
    /// Distinguishes a counter that was reset from the one before.
    boot_id: Option<String>,
    /// Temperature, in the unit of the device.
    temperature: Option<f64>,
    /// Battery charge in percent.
    battery: Option<f64>,
}

/// What happened to one reading.
#[derive(Debug, Serialize, ToSchema)]
struct Verdict {
    /// Index of the reading in the request, from 0.
    index: usize,
    /// What happened.
    #[serde(rename = "verdict")]
    outcome: Outcome,
    /// Why the reading was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Position of the reading's event in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<i64>,
}

/// What happened to a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// Recorded now.
    Accepted,
    /// Recorded before; the repetition changed nothing.
    Duplicate,
    /// Not a valid reading.
    Rejected,
}

/// Record readings
///
/// At most 1,000, which are recorded in their order. Each reading has a verdict of its own: an invalid
/// one, or one that exceeds a limit on size, depth, names, number of fields or time, does not affect the
/// others, and one that was sent before is a duplicate, so the request can be repeated. Users send
/// readings of their own devices, operators those of all devices.
///
/// Further members are kept with the digits of their numbers, which are in the range of doubles and have
/// at most 128 characters. A `time`, `temperature` or `battery` that cannot be used is kept like a further
/// member, and the rest of the reading is recorded.
#[utoipa::path(
    post, path = "/api/v1/telemetry", tag = tags::TELEMETRY, request_body = Vec<SentReading>,
    params(("Prefer" = Option<String>, Header, description = "`wait=N`: respond once the read model shows the readings, after at most N seconds (at most 20)")),
    responses((status = 200, description = "A verdict for each reading", body = Page<Verdict>, headers(
        ("Tributary-Position" = i64, description = "Position of the last reading in the log")))),
)]
pub(super) async fn record(
    context: CommandContext,
    RawJson(bytes): RawJson,
) -> Result<Response, Problem> {
    context.api.admission.facts()?;
    let Batch(readings) = Batch::from_json(&context.api.readings, &bytes, Utc::now())
        .map_err(|error| Problem::invalid("invalid_body", error.to_string()))?;
    let owners = context.caller.owners(&context.api).await?;
    let sender = Sender { api: &context.api, owners: &owners, metadata: context.metadata() };
    let prepared = readings.into_iter().map(|item| sender.prepare(item));
    let items = sender.append(prepared.collect::<Result<_, _>>()?).await?;
    let last = items.iter().filter_map(|item| item.position).max();
    let position = Position(last.unwrap_or_default());
    context.api.wait.command(Telemetry::NAME, position, context.wait).await;
    Ok(([(POSITION, position.to_string())], Json(Page { items })).into_response())
}

/// A reading to append, or the reason it is rejected.
type Prepared = Result<(StreamId, NewEvent), String>;

/// Counts a refused reading, and returns the reason in words.
fn refused(error: &InvalidReading) -> String {
    let labels = [("door", "http"), ("reason", error.code())];
    metrics::counter!("tributary_readings_refused_total", &labels).increment(1);
    error.to_string()
}

/// The sender of readings.
struct Sender<'a> {
    api: &'a Api,
    owners: &'a Owners,
    metadata: Metadata,
}

impl Sender<'_> {
    /// Checks and encodes a reading.
    fn prepare(&self, item: Result<(Uuid, Reading), InvalidReading>) -> Result<Prepared, Problem> {
        let (id, reading) = match item {
            Ok(reading) => reading,
            Err(error) => {
                return Ok(Err(refused(&error)));
            }
        };
        if !self.owners.include(reading.user_id.as_str()) {
            return Ok(Err("the device belongs to another user".to_owned()));
        }
        count_unusable("http", reading.unusable_fields());
        let stream = device_stream(reading.device());
        match NewEvent::with_id(id, &Event::ReadingRecorded(reading)) {
            Ok(event) => Ok(Ok((stream, event))),
            Err(error @ CodecError::Undecodable(_)) => Ok(Err(error.to_string())),
            Err(error) => Err(AppendError::Codec(error).into()),
        }
    }

    /// Appends the readings of a request at once, in their order, and returns their verdicts. An outage
    /// is not a verdict: the request as a whole fails, and can be repeated.
    async fn append(&self, prepared: Vec<Prepared>) -> Result<Vec<Verdict>, Problem> {
        let readings: Vec<_> = prepared.iter().filter_map(|item| item.as_ref().ok()).collect();
        let mut placed = Vec::with_capacity(readings.len());
        for (place, reading) in self.place(&readings).await?.into_iter().zip(&readings) {
            placed.push(match place {
                Ok(Placed { position, is_new: false }) => self.repeat(reading, position).await?,
                place => place,
            });
        }
        let mut placed = placed.into_iter();
        let verdicts = prepared.iter().enumerate().map(|(index, item)| {
            let recorded = item.as_ref().map_err(String::clone);
            match recorded.and_then(|_| placed.next().unwrap_or(Err(String::new()))) {
                Ok(Placed { position, is_new }) => Verdict {
                    index,
                    outcome: if is_new { Outcome::Accepted } else { Outcome::Duplicate },
                    reason: None,
                    position: Some(position.0),
                },
                Err(reason) => Verdict {
                    index,
                    outcome: Outcome::Rejected,
                    reason: Some(reason),
                    position: None,
                },
            }
        });
        Ok(verdicts.collect())
    }

    /// Decides about a reading whose event id the log has at `position`.
    async fn repeat(
        &self,
        (stream, event): &(StreamId, NewEvent),
        position: Position,
    ) -> Result<Result<Placed, String>, Problem> {
        let repetitions = &self.api.repetitions;
        Ok(match repetitions.settle(stream, event, position, &self.metadata).await? {
            Repeated::Duplicate(position) => Ok(Placed { position, is_new: false }),
            Repeated::Restarted(position) => Ok(Placed { position, is_new: true }),
            Repeated::Conflict(sequence_id, position) => {
                Err(refused(&InvalidReading::Repeated { sequence_id, position }))
            }
        })
    }

    /// Appends readings with one request, and returns where each is, or why the log cannot store it.
    async fn place(
        &self,
        readings: &[&(StreamId, NewEvent)],
    ) -> Result<Vec<Result<Placed, String>>, Problem> {
        if readings.is_empty() {
            return Ok(Vec::new());
        }
        let mut streams: Vec<StreamAppend> = Vec::new();
        for (stream, event) in readings {
            match streams.last_mut() {
                Some(part) if part.stream == *stream => part.events.push(event.clone()),
                _ => streams.push(StreamAppend {
                    stream: stream.clone(),
                    expected: ExpectedVersion::Any,
                    events: vec![event.clone()],
                }),
            }
        }
        let request = Append { streams, metadata: self.metadata.clone(), receipt: None };
        match self.api.store.append(request).await {
            Ok(appended @ Appended::New { .. }) => {
                let ids: Vec<_> = readings.iter().map(|(_, event)| event.id).collect();
                Ok(appended.places(&ids).into_iter().map(Ok).collect())
            }
            // All are in the log, or one cannot be stored: each is asked for alone.
            Ok(Appended::Duplicate { .. } | Appended::Replayed(_))
            | Err(AppendError::BadData(_)) => {
                try_join_all(readings.iter().map(|reading| self.place_one(reading))).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn place_one(
        &self,
        (stream, event): &(StreamId, NewEvent),
    ) -> Result<Result<Placed, String>, Problem> {
        let request = Append::to(stream.clone(), ExpectedVersion::Any, vec![event.clone()])
            .metadata(self.metadata.clone());
        match self.api.store.append(request).await {
            Ok(Appended::New { position, .. }) => Ok(Ok(Placed { position, is_new: true })),
            Ok(Appended::Duplicate { position }) => Ok(Ok(Placed { position, is_new: false })),
            Ok(Appended::Replayed(receipt)) => {
                Ok(Ok(Placed { position: receipt.position, is_new: false }))
            }
            Err(AppendError::BadData(reason)) => Ok(Err(reason)),
            Err(error) => Err(error.into()),
        }
    }
}
