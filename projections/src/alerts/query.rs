//! Queries of alerts and rules.

use chrono::{DateTime, Utc};
use domain::alerts::{Config, Scope, Severity, rules_stream};
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{FromRow, PgPool, Row as _};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ClearedName, SeverityName, State, StateName};
use crate::by_name::Named;

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

macro_rules! select {
    ($rest:literal) => {
        concat!("select *, acknowledged_at is not null as acknowledged from alerts.alert ", $rest)
    };
}

/// Returns the alert of this id.
pub async fn get(pool: &PgPool, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(select!("where id = $1")).bind(id).fetch_optional(pool).await
}

/// Lists alerts, the last raised first; only those raised before the position `before`, if given.
pub async fn list(
    pool: &PgPool,
    filter: &Filter,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(select!(
        "where ($1::text is null or user_id = $1) and ($2::text is null or device_id = $2)
           and ($3::text is null or state = $3) and ($4::text is null or severity = $4)
           and ($5::boolean is null or (acknowledged_at is not null) = $5)
           and ($6::bigint is null or raised_position < $6)
         order by raised_position desc limit $7"
    ))
    .bind(&filter.user_id)
    .bind(&filter.device_id)
    .bind(filter.state.map(Named::name))
    .bind(filter.severity.map(Named::name))
    .bind(filter.acknowledged)
    .bind(before)
    .bind(limit)
    .fetch_all(pool)
    .await
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
