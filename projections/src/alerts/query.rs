//! Questions about alerts and rules.

use chrono::{DateTime, Utc};
use domain::alerts::{Config, Scope, rules_stream};
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{FromRow, PgPool, Row as _};
use utoipa::ToSchema;
use uuid::Uuid;

/// What an alert can be.
pub const STATES: [&str; 2] = ["active", "cleared"];

/// An alert.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, ToSchema)]
#[schema(as = Alert)]
pub struct Row {
    pub id: Uuid,
    pub user_id: String,
    pub device_id: String,
    pub rule_id: Uuid,
    /// The rule in a few words: `battery < 20`.
    pub rule: String,
    /// `critical`, `major`, `minor`, `warning` or `info`.
    pub severity: String,
    pub message: String,
    /// What stood in the field, in the last reading people were told of.
    #[sqlx(json(nullable))]
    pub value: Option<Value>,
    #[sqlx(json(nullable))]
    pub threshold: Option<Value>,
    /// `active` or `cleared`.
    pub state: String,
    pub acknowledged: bool,
    /// By the time of the reading that raised it.
    pub raised_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub cleared_at: Option<DateTime<Utc>>,
    /// `recovered` or `rule_changed`.
    pub cleared_because: Option<String>,
    /// Readings that breached, as far as people were told.
    pub breaches: i64,
    pub acknowledged_by: Option<String>,
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// Of its last event in the log.
    pub position: i64,
    /// For cursors.
    #[serde(skip)]
    pub raised_position: i64,
    #[serde(skip)]
    pub version: i64,
}

/// Which alerts are asked for; what is left out does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub user_id: Option<String>,
    pub device_id: Option<String>,
    pub state: Option<String>,
    pub severity: Option<String>,
    pub acknowledged: Option<bool>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!("select *, acknowledged_at is not null as acknowledged from alerts.alert ", $rest)
    };
}

/// One alert.
pub async fn get(pool: &PgPool, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(select!("where id = $1")).bind(id).fetch_optional(pool).await
}

/// Alerts, the last raised first, of those raised before position `before`.
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
    .bind(&filter.state)
    .bind(&filter.severity)
    .bind(filter.acknowledged)
    .bind(before)
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// The rules of `scope` and their version; none if nobody ever made any.
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
