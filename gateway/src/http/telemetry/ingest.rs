//! Recording readings that programs send over HTTP.

use axum::Json;
use axum::response::IntoResponse;
use chrono::Utc;
use domain::telemetry::{Batch, Event, InvalidReading, Reading, device_stream};
use eventsourcing::event::CodecError;
use eventsourcing::{Metadata, Position};
use eventstore::{Append, AppendError, Appended, ExpectedVersion, NewEvent};
use futures::future::join_all;
use projections::telemetry::Telemetry;
use serde_json::Value;

use super::super::extract::RawJson;
use super::super::headers::POSITION;
use super::super::prelude::*;

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
    /// Time of the reading: RFC 3339, or milliseconds since the epoch (default the time of receipt).
    #[schema(value_type = Option<Value>, example = "2026-01-01T00:00:00Z")]
    time: Option<Value>,
    /// Distinguishes a counter that was reset from the one before.
    boot_id: Option<String>,
    /// Temperature, in the unit of the device.
    temperature: Option<f64>,
    /// Battery charge in percent.
    battery: Option<i32>,
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
/// At most 1,000. Each reading has a verdict of its own: an invalid one, or one that exceeds a limit on
/// size, depth, names, number of fields or time, does not affect the others, and one that was sent before is a duplicate, so the request can be repeated. Users send readings
/// of their own devices, operators those of all devices.
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
    let Batch(readings) = Batch::from_json(&context.api.readings, &bytes, Utc::now())
        .map_err(|error| Problem::invalid("invalid_body", error.to_string()))?;
    // Each reading is an append of its own; the appender commits concurrent appends together.
    let sender =
        Sender { api: &context.api, caller: &context.caller, metadata: context.metadata() };
    let readings = readings.into_iter().enumerate();
    let verdicts = join_all(readings.map(|(index, item)| sender.append(index, item))).await;
    let items = verdicts.into_iter().collect::<Result<Vec<_>, _>>()?;
    let last = items.iter().filter_map(|item| item.position).max();
    let position = Position(last.unwrap_or_default());
    context.api.wait.command(Telemetry::NAME, position, context.wait).await;
    Ok(([(POSITION, position.to_string())], Json(Page { items })).into_response())
}

/// The sender of readings.
struct Sender<'a> {
    api: &'a Api,
    caller: &'a Caller,
    metadata: Metadata,
}

impl Sender<'_> {
    /// Appends one reading and returns its verdict. An outage is not a verdict: the request as a
    /// whole fails, and can be repeated.
    async fn append(
        &self,
        index: usize,
        item: Result<(Uuid, Reading), InvalidReading>,
    ) -> Result<Verdict, Problem> {
        let verdict = |outcome, position: Option<Position>, reason| Verdict {
            index,
            outcome,
            reason,
            position: position.map(|position| position.0),
        };
        let rejected = |reason: String| Ok(verdict(Outcome::Rejected, None, Some(reason)));
        let (id, reading) = match item {
            Ok(reading) => reading,
            Err(error) => {
                let labels = [("door", "http"), ("reason", error.code())];
                metrics::counter!("tributary_readings_refused_total", &labels).increment(1);
                return rejected(error.to_string());
            }
        };
        if !self.caller.sees(reading.user_id.as_str()) {
            return rejected("the device belongs to another user".to_owned());
        }
        let stream = device_stream(reading.device());
        let event = match NewEvent::with_id(id, &Event::ReadingRecorded(reading)) {
            Ok(event) => event,
            Err(error @ CodecError::Undecodable(_)) => return rejected(error.to_string()),
            Err(error) => return Err(AppendError::Codec(error).into()),
        };
        let request =
            Append::to(stream, ExpectedVersion::Any, vec![event]).metadata(self.metadata.clone());
        match self.api.store.append(request).await {
            Ok(Appended::New { position, .. }) => {
                Ok(verdict(Outcome::Accepted, Some(position), None))
            }
            Ok(Appended::Duplicate { position }) => {
                Ok(verdict(Outcome::Duplicate, Some(position), None))
            }
            Ok(Appended::Replayed(receipt)) => {
                Ok(verdict(Outcome::Duplicate, Some(receipt.position), None))
            }
            Err(AppendError::BadData(reason)) => rejected(reason),
            Err(error) => Err(error.into()),
        }
    }
}
