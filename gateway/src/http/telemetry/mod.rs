//! Telemetry over HTTP: readings in, devices and their readings out.

mod presence;
mod readings;

use std::sync::Arc;

use axum::Json as Answered;
use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use domain::telemetry::{Batch, Event, InvalidReading, Reading, device_stream};
use eventsourcing::{Metadata, Position};
use eventstore::{Append, AppendError, Appended, ExpectedVersion, NewEvent};
use futures::future::join_all;
use projections::telemetry::{self, Device, DeviceCursor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Caller;
use super::extract::{Path, Query, RawJson};
use super::page::{self, Cursor, Limit, Page};
use super::problem::Problem;
use super::receipt::{Asked, POSITION};
use super::wait::{self, QueryHeaders};
use super::{Api, tags};

/// The projection that answers here.
const PROJECTION: &str = "telemetry";

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(record))
        .routes(routes!(devices))
        .routes(routes!(device))
        .routes(routes!(readings::list))
        .routes(routes!(presence::configure, presence::get))
}

/// A reading as it is sent. Every further field is kept.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "read by `domain::telemetry`; this is for the document")]
struct SentReading {
    /// 1 to 64 letters, digits or `. _ : @ -`.
    user_id: String,
    /// 1 to 64 letters, digits or `. _ : @ -`.
    device_id: String,
    /// The device's own counter.
    sequence_id: i64,
    /// RFC 3339, or milliseconds since the epoch; the time of receipt if left out.
    #[schema(value_type = Option<Value>, example = "2026-01-01T00:00:00Z")]
    time: Option<Value>,
    /// Tells a restarted counter from the one before.
    boot_id: Option<String>,
    temperature: Option<f64>,
    /// Per cent.
    battery: Option<i32>,
}

/// What became of one reading.
#[derive(Debug, Serialize, ToSchema)]
struct Verdict {
    /// Its place in what was sent, from 0.
    index: usize,
    #[serde(rename = "verdict")]
    outcome: Outcome,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Of its event in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// Written now.
    Accepted,
    /// Written before; sending it again changes nothing.
    Duplicate,
    /// Not a reading, or not one we can keep.
    Rejected,
}

/// Record readings
///
/// At most 1,000. Each has a verdict of its own: one that is wrong does not spoil the others, and
/// one that was sent before is a duplicate, so sending all of them again is harmless. Users send
/// readings of their own devices, operators of anybody's.
#[utoipa::path(
    post, path = "/api/v1/telemetry", tag = tags::TELEMETRY, request_body = Vec<SentReading>,
    params(("Prefer" = Option<String>, Header, description = "`wait=N`: answer once the read model shows them, after at most N seconds")),
    responses((status = 200, description = "A verdict for each", body = Page<Verdict>, headers(
        ("Tributary-Position" = i64, description = "Position of the last one in the log")))),
)]
async fn record(
    State(api): State<Arc<Api>>,
    asked: Asked,
    RawJson(bytes): RawJson,
) -> Result<Response, Problem> {
    let Batch(readings) = Batch::from_json(&bytes, Utc::now())
        .map_err(|error| Problem::invalid("invalid_body", error.to_string()))?;
    // Each is a request of its own; the appender commits together what arrives together.
    let sender = Sender { api: &api, caller: &asked.caller, metadata: asked.metadata() };
    let items = readings.into_iter().enumerate();
    let verdicts = join_all(items.map(|(index, item)| sender.append(index, item))).await;
    let items = verdicts.into_iter().collect::<Result<Vec<_>, _>>()?;
    let last = items.iter().filter_map(|item| item.position).max();
    let position = Position(last.unwrap_or_default());
    api.wait.command(PROJECTION, position, asked.wait).await;
    Ok(([(POSITION, position.to_string())], Answered(Page { items })).into_response())
}

/// Who sends readings.
struct Sender<'a> {
    api: &'a Api,
    caller: &'a Caller,
    metadata: Metadata,
}

impl Sender<'_> {
    /// The verdict on one reading. An outage is not one: then the whole request fails, and can be
    /// sent again.
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
            Err(error) => return rejected(error.to_string()),
        };
        if !self.caller.sees(reading.user_id.as_str()) {
            return rejected("not a device of yours".to_owned());
        }
        let stream = device_stream(reading.device());
        let event =
            NewEvent::with_id(id, &Event::ReadingRecorded(reading)).map_err(AppendError::Codec)?;
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

/// Which devices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DevicesQuery {
    /// Only those of this user.
    user_id: Option<String>,
    /// Only those that are known to be online, or known not to be.
    online: Option<bool>,
    /// Items on the page: 1 to 500, 100 if not said.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where to go on, from the `Link` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List devices, by user and name
///
/// One's own; operators see everybody's.
#[utoipa::path(
    get, path = "/api/v1/devices", tag = tags::TELEMETRY, params(DevicesQuery, QueryHeaders),
    responses((status = 200, description = "A page of devices", body = Page<Device>, headers(
        ("Tributary-Position" = i64, description = "How far the read model is"),
        ("Link" = String, description = "The next page, `rel=\"next\"`")))),
)]
async fn devices(
    State(api): State<Arc<Api>>,
    OriginalUri(uri): OriginalUri,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<DevicesQuery>,
) -> Result<Response, Problem> {
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let after = query.cursor.map(|cursor| cursor.read()).transpose()?;
    let (user_id, device_id) = after.unwrap_or_default();
    let after = DeviceCursor { user_id, device_id };
    let user = query.user_id.as_deref();
    let own = (!caller.sees_all()).then_some(caller.subject.as_str());
    let rows = match (user, own) {
        (Some(user), Some(own)) if user != own => Vec::new(),
        (user, own) => {
            let user = user.or(own);
            let limit = query.limit.into();
            telemetry::devices(api.store.pool(), user, query.online, &after, limit).await?
        }
    };
    page::full(&uri, rows, query.limit, position, |last| {
        (last.user_id.clone(), last.device_id.clone())
    })
}

/// Show one device
#[utoipa::path(
    get, path = "/api/v1/users/{user_id}/devices/{device_id}", tag = tags::TELEMETRY,
    params(("user_id" = String, Path), ("device_id" = String, Path), QueryHeaders),
    responses((status = 200, description = "The device", body = Device, headers(
        ("Tributary-Position" = i64, description = "How far the read model is"))),
        (status = 404, description = "There is no such device")),
)]
async fn device(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    Path((user_id, device_id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let device = telemetry::device(api.store.pool(), &user_id, &device_id).await?;
    let device = device.filter(|_| caller.sees(&user_id));
    let device = device.ok_or_else(|| Problem::not_found("device"))?;
    Ok(page::one(device, None, position))
}
