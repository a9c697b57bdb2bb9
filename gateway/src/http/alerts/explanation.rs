//! Why an alert was raised: its rule, and the readings that breached it.

use chrono::{DateTime, Utc};
use commands::alerts::explain_raised;
use domain::alerts::alert::{Event, Raised};
use domain::alerts::{Step, alert_stream};
use eventsourcing::Version;
use eventstore::RawEvent;
use projections::alerts::Alerts;
use serde_json::Value;

use super::super::prelude::*;
use super::alert::visible;
use super::config::Rule;

/// Why an alert was raised.
#[derive(Debug, Serialize, ToSchema)]
struct Explanation {
    /// Id of the alert.
    id: Uuid,
    /// The rule, as it was when the alert was raised.
    #[schema(value_type = Rule)]
    rule: domain::alerts::Rule,
    /// Version of the rules that held the rule.
    rules_version: i64,
    /// Whether the rule applies to all users, or is one of the user's own rules.
    of_everybody: bool,
    /// Time of the first reading in a row that breached the rule.
    since: DateTime<Utc>,
    /// Number of readings in a row that breached the rule until the alert was raised.
    breaches: u64,
    /// Those readings, the last of which raised the alert; of many, the first and the last eight.
    steps: Vec<ReadingStep>,
}

/// A reading, and how the rule judged it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReadingStep {
    /// Position of the reading's event in the log.
    position: i64,
    /// Time of the reading.
    time: DateTime<Utc>,
    /// Value of the rule's field; missing if the reading has no such field.
    value: Option<Value>,
    /// How the rule judged the value, in words.
    verdict: String,
}

impl From<Step> for ReadingStep {
    fn from(step: Step) -> Self {
        let Step { position, time, value, verdict } = step;
        Self { position: position.0, time, value, verdict }
    }
}

/// Explain an alert
///
/// The readings that raised the alert, the version of the rule, and how it judged each reading.
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}/explanation", tag = tags::ALERTS,
    params(("id" = Uuid, Path), QueryHeaders),
    responses((status = 200, description = "Why the alert was raised", body = Explanation)),
)]
pub(super) async fn explanation(
    caller: Caller,
    context: QueryContext,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let position = context.wait(Alerts::NAME).await?;
    let row = visible(&context.api, &caller, id).await?;
    let raised = raised(&context.api, id).await?;
    let steps = explain_raised(&context.api.store, &raised).await?;
    let explanation = Explanation {
        id,
        rules_version: raised.rules_version,
        of_everybody: raised.of_everybody,
        since: raised.since,
        breaches: raised.breaches,
        steps: steps.into_iter().map(ReadingStep::from).collect(),
        rule: raised.definition,
    };
    Ok(page::one(explanation, Some(row.version), position))
}

/// The first event of an alert.
async fn raised(api: &Api, id: Uuid) -> Result<Raised, Problem> {
    let events = api.store.read_stream(&alert_stream(id), Version::NONE, 1).await?;
    match events.first().map(RawEvent::event::<Event>).transpose() {
        Ok(Some(Event::AlertRaised(raised))) => Ok(*raised),
        Ok(_) => Err(Problem::not_found("alert")),
        Err(error) => Err(Problem::internal(&error)),
    }
}
