//! Dry runs: rules over recorded readings, without effects.

use std::sync::Arc;

use axum::Json as JsonResponse;
use axum::extract::State;
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use commands::alerts::{self as alerts, DryRun, Fired};
use domain::alerts::Config;
use domain::alerts::alert::Event;
use domain::telemetry::{DeviceId, DeviceRef, UserId, device_stream};
use eventsourcing::Version;
use projections::telemetry::{DeviceCursor, devices};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::prelude::*;
use super::config::{Rule, invalid};
use super::explanation::ReadingStep;

/// Most devices of one dry run.
const MAX_DEVICES: i64 = 500;

/// The rules of a dry run, and the readings they run over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DryRunRequest {
    /// The user whose devices are included (default the caller).
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._:@-]+$")]
    user_id: Option<UserId>,
    /// Only this device. The default are the first 500 devices of the user.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._:@-]+$")]
    device_id: Option<DeviceId>,
    /// Only readings of this time or later (RFC 3339).
    from: Option<DateTime<Utc>>,
    /// Only readings before this time (RFC 3339).
    to: Option<DateTime<Utc>>,
    /// Short form of the rule `temperature > …`.
    temperature_max: Option<f64>,
    /// The rules, at most 100.
    #[schema(value_type = Option<Vec<Rule>>, max_items = 100)]
    rules: Option<Box<RawValue>>,
}

/// The result of a dry run.
#[derive(Debug, Serialize, ToSchema)]
struct DryRunResult {
    /// Number of readings that the rules ran over.
    readings: usize,
    /// Number of devices of those readings.
    devices: usize,
    /// Whether the dry run ended early: there are more readings or changes of alerts than a dry run
    /// may have, by default 100,000 and 1,000.
    truncated: bool,
    /// The changes of alerts that the rules would have caused.
    alerts: Vec<AlertChange>,
}

/// A change of an alert that rules would have caused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WouldBe)]
struct AlertChange {
    /// `alert_raised`, `alert_updated`, `alert_cleared` or `alert_suppressed`.
    what: &'static str,
    /// The device.
    device_id: String,
    /// The rule in short form: `battery < 20`.
    rule: String,
    /// `critical`, `major`, `minor`, `warning` or `info`.
    severity: &'static str,
    /// Text of the alert.
    message: String,
    /// Value of the field in the reading.
    value: Option<Value>,
    /// Time of the reading.
    time: DateTime<Utc>,
    /// Position of the reading that would have caused the change.
    position: i64,
    /// For `alert_raised`: the readings that breached the rule.
    steps: Vec<ReadingStep>,
}

impl AlertChange {
    fn new(fired: Fired) -> Option<Self> {
        let (what, notice) = match fired.outcome.event {
            Event::AlertRaised(raised) => ("alert_raised", raised.notice),
            Event::AlertUpdated { notice, .. } => ("alert_updated", notice),
            Event::AlertCleared { notice, .. } => ("alert_cleared", notice),
            Event::AlertSuppressed { notice, .. } => ("alert_suppressed", notice),
            Event::AlertAcknowledged { .. } => return None,
        };
        Some(Self {
            what,
            device_id: notice.device_id,
            rule: notice.rule,
            severity: notice.severity.as_str(),
            message: notice.message,
            value: notice.value,
            time: notice.time,
            position: notice.because.0,
            steps: fired.steps.into_iter().map(ReadingStep::from).collect(),
        })
    }
}

/// Run rules over recorded readings
///
/// Returns the alerts that the rules would have raised, and why. Nothing is stored or published. A
/// process runs few dry runs at a time, by default 2; a further one is answered with 503 `busy`.
#[utoipa::path(
    post, path = "/api/v1/alerts/dry-run", tag = tags::ALERTS, request_body = DryRunRequest,
    responses((status = 200, description = "The result", body = DryRunResult),
        (status = 404, description = "The devices of this user are not visible to this caller"),
        (status = 422, description = "The rules are invalid (`invalid_rules`, with a pointer for each fault)")),
)]
pub(super) async fn dry_run(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Json { value: request }: Json<DryRunRequest>,
) -> Result<Response, Problem> {
    let Ok(_permit) = api.dry_runs.permits.try_acquire() else {
        metrics::counter!("tributary_dry_runs_refused_total").increment(1);
        let detail = "too many dry runs of rules at a time; retry later";
        return Err(Problem::unavailable("busy", detail));
    };
    let config = request.config()?;
    let user_id = request.user(&api, &caller).await?;
    let device_ids = match request.device_id {
        Some(device_id) => {
            let stream = device_stream(DeviceRef { user_id: &user_id, device_id: &device_id });
            if api.store.read_stream(&stream, Version::NONE, 1).await?.is_empty() {
                let detail = "the user has no such device";
                return Err(Problem::member_at("/device_id", detail));
            }
            vec![device_id]
        }
        None => devices_of(&api, &user_id).await?,
    };
    let (from, to) = (request.from, request.to);
    let limits = api.dry_runs.limits;
    let run = DryRun { user_id: user_id.to_string(), config, from, to, limits };
    let mut tried = alerts::DryRunResult::default();
    for device_id in &device_ids {
        let stream = device_stream(DeviceRef { user_id: &user_id, device_id });
        alerts::dry_run(&api.store, &stream, &run, &mut tried).await?;
        if tried.truncated {
            break;
        }
    }
    Ok(JsonResponse(DryRunResult::new(tried, device_ids.len())).into_response())
}

impl DryRunResult {
    fn new(tried: alerts::DryRunResult, devices: usize) -> Self {
        Self {
            readings: tried.readings,
            devices,
            truncated: tried.truncated,
            alerts: tried.fired.into_iter().filter_map(AlertChange::new).collect(),
        }
    }
}

async fn devices_of(api: &Api, user_id: &UserId) -> Result<Vec<DeviceId>, Problem> {
    let (pool, start) = (api.store.pool(), DeviceCursor::default());
    let rows = devices(pool, Some(user_id.as_str()), None, &start, MAX_DEVICES).await?;
    Ok(rows.iter().filter_map(|row| DeviceId::stored(&row.device_id).ok()).collect())
}

impl DryRunRequest {
    /// The user whose devices are included, if the caller may see them; else 404.
    async fn user(&self, api: &Api, caller: &Caller) -> Result<UserId, Problem> {
        let user_id = match &self.user_id {
            Some(user_id) => user_id.clone(),
            None => UserId::parse(&caller.subject)
                .map_err(|error| Problem::member_at("/user_id", error.to_string()))?,
        };
        if caller.sees_devices_of(api, user_id.as_str()).await? {
            Ok(user_id)
        } else {
            Err(Problem::not_found("user"))
        }
    }

    fn config(&self) -> Result<Config, Problem> {
        let rules = self.rules.as_ref().map_or("[]", |rules| rules.get());
        let max = serde_json::to_string(&self.temperature_max)
            .map_err(|error| Problem::internal(&error))?;
        let config = format!(r#"{{"temperature_max":{max},"rules":{rules}}}"#);
        Config::parse(config.as_bytes()).map_err(invalid)
    }
}
