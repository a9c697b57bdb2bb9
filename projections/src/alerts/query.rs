//! Queries of alerts and rules.

use chrono::{DateTime, Utc};
use domain::alerts::{Config, Scope, Severity, rules_stream};
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{FromRow, PgPool, QueryBuilder, Row as _};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ClearedName, SeverityName, State, StateName};
use crate::by_name::Named;
use crate::list::{Key, Section};

/// An alert.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, ToSchema)]
#[schema(as = Alert)]
pub struct Row {
    /// Id of the alert.
    pub id: Uuid,
    /// Owner of the device.
    pub user_id: String,
    /// Device whose readings breached the rule.
    pub device_id: String,
    /// Id of the rule.
    pub rule_id: Uuid,
    /// Short form of the rule: `battery < 20`.
    pub rule: String,
    /// Severity of the rule.
    pub severity: SeverityName,
    /// Message of the last notification.
    pub message: String,
    /// Value of the field in the reading that raised the alert; null if the field was missing.
    #[sqlx(json(nullable))]
    pub raised_value: Option<Value>,
    /// Value of the field in the reading of the last notification; null if the field was missing.
    #[sqlx(json(nullable))]
    pub value: Option<Value>,
    /// Threshold of the rule; null if the rule has none.
    #[sqlx(json(nullable))]
    pub threshold: Option<Value>,
    /// Whether the condition still holds.
    pub state: StateName,
    /// Whether the alert was acknowledged.
    pub acknowledged: bool,
    /// Time of the reading that raised the alert.
    pub raised_at: DateTime<Utc>,
    /// Time of the reading of the last notification.
    pub updated_at: DateTime<Utc>,
    /// Time of the reading that cleared the alert; null while it is active.
    pub cleared_at: Option<DateTime<Utc>>,
    /// Why the alert was cleared; null while it is active.
    pub cleared_because: Option<ClearedName>,
    /// Consecutive readings that breached the rule, as of the last notification.
    pub breaches: i64,
    /// Subject of the token that acknowledged the alert; null until then.
    pub acknowledged_by: Option<String>,
    /// Null until the alert is acknowledged.
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// Position of the alert's last event in the log.
    pub position: i64,
    /// Position of the event that raised the alert, for cursors.
    #[serde(skip)]
    pub raised_position: i64,
    /// Version of the alert's stream.
    #[serde(skip)]
    pub version: i64,
}

/// Conditions on alerts; `None` is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Owner of the device.
    pub user_id: Option<String>,
    /// Device of the alert.
    pub device_id: Option<String>,
    /// State of the alert.
    pub state: Option<State>,
    /// Severity of the rule.
    pub severity: Option<Severity>,
    /// Whether the alert was acknowledged.
    pub acknowledged: Option<bool>,
}

impl Filter {
    /// What passes of the columns with few values: state, severity and whether it was acknowledged.
    fn each(&self) -> (Vec<&'static str>, Vec<&'static str>, Vec<bool>) {
        let mut each = (Vec::new(), Vec::new(), Vec::new());
        for state in one_or_all(self.state.as_ref(), State::ALL) {
            for severity in one_or_all(self.severity.as_ref(), Severity::ALL) {
                for acknowledged in one_or_all(self.acknowledged.as_ref(), &[false, true]) {
                    each.0.push(state.name());
                    each.1.push(severity.name());
                    each.2.push(*acknowledged);
                }
            }
        }
        each
    }
}

fn one_or_all<'a, T>(one: Option<&'a T>, all: &'a [T]) -> &'a [T] {
    one.map_or(all, std::slice::from_ref)
}

/// Returns the alert of this id.
pub async fn get(pool: &PgPool, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    let sql =
        "select *, acknowledged_at is not null as acknowledged from alerts.alert where id = $1";
    sqlx::query_as(sql).bind(id).fetch_optional(pool).await
}

/// Alerts by the position of the event that raised them: which, in which order, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Only alerts raised after this position.
    pub after: i64,
    /// Only alerts raised before this position.
    pub before: i64,
    /// Whether the last raised comes first.
    pub descending: bool,
    /// Most alerts.
    pub limit: i64,
}

/// Lists alerts of `range`.
pub async fn list(pool: &PgPool, filter: &Filter, range: Range) -> Result<Vec<Row>, sqlx::Error> {
    let Range { after, before, descending, limit } = range;
    let (states, severities, acknowledged) = filter.each();
    let mut query = QueryBuilder::new("select a.*, each.acknowledged from unnest(");
    query.push_bind(states).push(", ").push_bind(severities).push(", ").push_bind(acknowledged);
    query.push(
        ") as each (state, severity, acknowledged) cross join lateral (
           select * from alerts.alert where true",
    );
    let section = Section::default()
        .by_some("user_id", filter.user_id.as_deref().map(Key::Text))
        .by_some("device_id", filter.device_id.as_deref().map(Key::Text))
        .by("state", Key::Sql("each.state"))
        .by("severity", Key::Sql("each.severity"))
        .by("(acknowledged_at is not null)", Key::Sql("each.acknowledged"));
    for (operator, bound) in [(">", after), ("<", before)] {
        section.compare(&mut query, "raised_position", operator, |query| {
            query.push_bind(bound);
        });
    }
    if descending {
        section.descending(&mut query, "raised_position desc", limit);
        query.push(") a order by raised_position desc limit ").push_bind(limit);
    } else {
        section.ascending(&mut query, "raised_position", limit);
        query.push(") a order by raised_position limit ").push_bind(limit);
    }
    query.build_query_as().fetch_all(pool).await
}

/// Returns the rules of `scope` and the version of their stream; `None` if they were never configured.
pub async fn rule_config(
    pool: &PgPool,
    scope: &Scope,
) -> Result<Option<(i64, Config)>, sqlx::Error> {
    let row = sqlx::query("select version, config from alerts.config where scope = $1")
        .bind(rules_stream(scope).key())
        .fetch_optional(pool)
        .await?;
    row.map(|row| {
        let Json(config) = row.try_get("config")?;
        Ok((row.try_get("version")?, config))
    })
    .transpose()
}
