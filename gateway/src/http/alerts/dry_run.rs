//! Rules tried out on readings that were recorded.

use std::sync::Arc;

use axum::Json as Answered;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use commands::alerts::{self as alerts, DryRun, Fired};
use domain::alerts::Config;
use domain::alerts::alert::Event;
use domain::telemetry::{DeviceId, DeviceRef, UserId, device_stream};
use projections::telemetry::{DeviceCursor, devices};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::super::caller::Caller;
use super::super::extract::Json;
use super::super::problem::Problem;
use super::super::{Api, tags};
use super::ReadingStep;
use super::config::{Rule, refuse};

/// Readings one dry run judges, at most.
const MAX_READINGS: usize = 100_000;
/// Devices of one dry run, at most.
const MAX_DEVICES: i64 = 500;

/// Rules, and the stretch of history they are tried on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DryRunRequest {
    /// Whose devices; one's own if left out.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._:@-]+$")]
    user_id: Option<UserId>,
    /// Only this device; the first 500 if left out.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._:@-]+$")]
    device_id: Option<DeviceId>,
    /// Readings of then or later.
    from: Option<DateTime<Utc>>,
    /// Readings of before then.
    to: Option<DateTime<Utc>>,
    temperature_max: Option<f64>,
    #[schema(value_type = Option<Vec<Rule>>, max_items = 100)]
    rules: Option<Box<RawValue>>,
}

/// What would have happened.
#[derive(Debug, Serialize, ToSchema)]
struct DryRunResult {
    /// Readings that were judged.
    readings: usize,
    devices: usize,
    /// There were more than the 100,000 a dry run looks at.
    truncated: bool,
    alerts: Vec<WouldBe>,
}

/// What would have happened to an alert.
#[derive(Debug, Serialize, ToSchema)]
struct WouldBe {
    /// `alert_raised`, `alert_updated` or `alert_cleared`.
    what: String,
    device_id: String,
    rule: String,
    severity: String,
    message: String,
    value: Option<Value>,
    time: DateTime<Utc>,
    /// Of the reading it would have followed from.
    position: i64,
    /// For `alert_raised`: why.
    steps: Vec<ReadingStep>,
}

impl WouldBe {
    fn new(fired: Fired) -> Option<Self> {
        let (what, notice) = match fired.outcome.event {
            Event::AlertRaised(raised) => ("alert_raised", raised.notice),
            Event::AlertUpdated { notice, .. } => ("alert_updated", notice),
            Event::AlertCleared { notice, .. } => ("alert_cleared", notice),
            Event::AlertAcknowledged { .. } => return None,
        };
        Some(Self {
            what: what.to_owned(),
            device_id: notice.device_id,
            rule: notice.rule,
            severity: notice.severity.as_str().to_owned(),
            message: notice.message,
            value: notice.value,
            time: notice.time,
            position: notice.because.0,
            steps: fired.steps.into_iter().map(ReadingStep::from).collect(),
        })
    }
}

/// Try rules out
///
/// Runs rules over readings that were recorded, and says what would have fired and why. Nothing is
/// written, and nobody is told.
#[utoipa::path(
    post, path = "/api/v1/alerts/dry-run", tag = tags::ALERTS, request_body = DryRunRequest,
    responses((status = 200, description = "What would have fired", body = DryRunResult),
        (status = 422, description = "Not rules: `invalid_rules`, with a pointer for each fault")),
)]
pub(super) async fn dry_run(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json { value: request, .. }: Json<DryRunRequest>,
) -> Result<Response, Problem> {
    let config = request.config()?;
    let user_id = match request.user_id {
        Some(user_id) => user_id,
        None => UserId::parse(&caller.subject)
            .map_err(|error| Problem::member_at("/user_id", error.to_string()))?,
    };
    if !caller.sees(user_id.as_str()) {
        return Err(Problem::not_found("user"));
    }
    let device_ids = if let Some(device_id) = request.device_id {
        vec![device_id]
    } else {
        let (pool, start) = (api.store.pool(), DeviceCursor::default());
        let rows = devices(pool, Some(user_id.as_str()), None, &start, MAX_DEVICES).await?;
        rows.iter().filter_map(|row| DeviceId::parse(&row.device_id).ok()).collect()
    };
    let run = DryRun {
        user_id: user_id.to_string(),
        config,
        from: request.from,
        to: request.to,
        limit: MAX_READINGS,
    };
    let mut tried = alerts::DryRunResult::default();
    for device_id in &device_ids {
        let stream = device_stream(DeviceRef { user_id: &user_id, device_id });
        alerts::dry_run(&api.store, &stream, &run, &mut tried).await?;
    }
    let result = DryRunResult {
        readings: tried.readings,
        devices: device_ids.len(),
        truncated: tried.truncated,
        alerts: tried.fired.into_iter().filter_map(WouldBe::new).collect(),
    };
    Ok(Answered(result).into_response())
}

impl DryRunRequest {
    fn config(&self) -> Result<Config, Problem> {
        let rules = self.rules.as_ref().map_or("[]", |rules| rules.get());
        let max = serde_json::to_string(&self.temperature_max)
            .map_err(|error| Problem::internal(&error))?;
        let config = format!(r#"{{"temperature_max":{max},"rules":{rules}}}"#);
        Config::parse(config.as_bytes()).map_err(refuse)
    }
}
