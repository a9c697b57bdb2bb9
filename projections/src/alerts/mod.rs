//! Alerts as they are asked for, and the rules in force.

mod query;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::alerts::alert::Event as AlertEvent;
use domain::alerts::{Alert, ClearReason, Config, Event, Notice, Raised, Rules, RulesEvent};
use eventsourcing::{Decider, Recorded};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::projection::Projection;

pub use query::{Filter, Row, STATES, get, list, rule_config};

/// The read model of alerts.
#[derive(Debug)]
pub struct Alerts;

/// What a batch of events comes to.
#[derive(Debug, Default)]
pub struct Changes {
    raised: Vec<NewAlert>,
    updates: HashMap<Uuid, Update>,
    configs: HashMap<String, Configured>,
}

#[derive(Debug)]
struct NewAlert {
    id: Uuid,
    raised: Raised,
    position: i64,
}

/// What later events say; what they do not speak of stays as it was.
#[derive(Debug, Default)]
struct Update {
    notice: Option<Notice>,
    breaches: Option<i64>,
    cleared: Option<(DateTime<Utc>, ClearReason)>,
    acknowledged: Option<(String, DateTime<Utc>)>,
    position: i64,
    version: i64,
}

#[derive(Debug)]
struct Configured {
    version: i64,
    config: Config,
    at: DateTime<Utc>,
}

impl Projection for Alerts {
    const NAME: &'static str = "alerts";
    const CATEGORIES: &'static [&'static str] = &[Rules::CATEGORY, Alert::CATEGORY];
    const DDL: &'static str = include_str!("schema.sql");
    type Event = Event;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: Recorded<Event>) {
        match &event.event {
            Event::Rules(RulesEvent::RulesConfigured(configured)) => {
                let now = Configured {
                    version: event.version.0,
                    config: configured.config.clone(),
                    at: event.recorded_at,
                };
                changes.configs.insert(event.stream.key().to_owned(), now);
            }
            Event::Alert(alert) => changes.alert(&event, alert),
        }
    }

    async fn write(changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !changes.raised.is_empty() {
            insert(&changes.raised, connection).await?;
        }
        if !changes.updates.is_empty() {
            update(&changes.updates, connection).await?;
        }
        if !changes.configs.is_empty() {
            configure(&changes.configs, connection).await?;
        }
        Ok(())
    }
}

impl Changes {
    fn alert(&mut self, around: &Recorded<Event>, event: &AlertEvent) {
        // The store gives an alert's stream no other key.
        let Ok(id) = Uuid::parse_str(around.stream.key()) else {
            return;
        };
        if let AlertEvent::AlertRaised(raised) = event {
            let position = around.position.0;
            self.raised.push(NewAlert { id, raised: Raised::clone(raised), position });
            return;
        }
        let update = self.updates.entry(id).or_default();
        (update.position, update.version) = (around.position.0, around.version.0);
        match event {
            AlertEvent::AlertRaised(_) => {}
            AlertEvent::AlertUpdated { notice, breaches } => {
                update.notice = Some(notice.clone());
                update.breaches = i64::try_from(*breaches).ok();
            }
            AlertEvent::AlertCleared { notice, why } => {
                update.cleared = Some((notice.time, *why));
                update.notice = Some(notice.clone());
            }
            AlertEvent::AlertAcknowledged { by, at } => {
                update.acknowledged = Some((by.clone(), *at));
            }
        }
    }
}

fn why(cleared: ClearReason) -> &'static str {
    match cleared {
        ClearReason::Recovered => "recovered",
        ClearReason::RuleChanged => "rule_changed",
    }
}

async fn insert(alerts: &[NewAlert], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    fn column<'a, T>(alerts: &'a [NewAlert], of: impl Fn(&'a NewAlert) -> T) -> Vec<T> {
        alerts.iter().map(of).collect()
    }
    sqlx::query(
        "insert into alert (id, user_id, device_id, rule_id, rule, severity, message, value,
                            threshold, state, raised_at, updated_at, breaches, raised_position,
                            position, version)
         select id, user_id, device_id, rule_id, rule, severity, message, value, threshold,
                'active', raised_at, raised_at, breaches, position, position, 1
         from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[],
                     $7::text[], $8::json[], $9::json[], $10::timestamptz[], $11::bigint[],
                     $12::bigint[])
           as n (id, user_id, device_id, rule_id, rule, severity, message, value, threshold,
                 raised_at, breaches, position)",
    )
    .bind(column(alerts, |alert| alert.id))
    .bind(column(alerts, |alert| alert.raised.notice.user_id.as_str()))
    .bind(column(alerts, |alert| alert.raised.notice.device_id.as_str()))
    .bind(column(alerts, |alert| alert.raised.notice.rule_id))
    .bind(column(alerts, |alert| alert.raised.notice.rule.as_str()))
    .bind(column(alerts, |alert| alert.raised.notice.severity.as_str()))
    .bind(column(alerts, |alert| alert.raised.notice.message.as_str()))
    .bind(column(alerts, |alert| alert.raised.notice.value.as_ref().map(Json)))
    .bind(column(alerts, |alert| alert.raised.notice.threshold.as_ref().map(Json)))
    .bind(column(alerts, |alert| alert.raised.notice.time))
    .bind(column(alerts, |alert| i64::try_from(alert.raised.breaches).unwrap_or(i64::MAX)))
    .bind(column(alerts, |alert| alert.position))
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(
    updates: &HashMap<Uuid, Update>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    fn column<'a, T>(updates: &'a HashMap<Uuid, Update>, of: impl Fn(&'a Update) -> T) -> Vec<T> {
        updates.values().map(of).collect()
    }
    let notice = |update: &Update| update.notice.clone();
    let acknowledged = |update: &Update| update.acknowledged.clone();
    sqlx::query(
        "update alert as a set
           severity = coalesce(n.severity, a.severity),
           message = coalesce(n.message, a.message),
           value = case when n.updated_at is null then a.value else n.value end,
           updated_at = coalesce(n.updated_at, a.updated_at),
           breaches = coalesce(n.breaches, a.breaches),
           state = case when n.cleared_at is null then a.state else 'cleared' end,
           cleared_at = coalesce(n.cleared_at, a.cleared_at),
           cleared_because = coalesce(n.cleared_because, a.cleared_because),
           acknowledged_by = coalesce(n.acknowledged_by, a.acknowledged_by),
           acknowledged_at = coalesce(n.acknowledged_at, a.acknowledged_at),
           position = n.position, version = n.version
         from unnest($1::uuid[], $2::text[], $3::text[], $4::json[], $5::timestamptz[],
                     $6::bigint[], $7::timestamptz[], $8::text[], $9::text[], $10::timestamptz[],
                     $11::bigint[], $12::bigint[])
           as n (id, severity, message, value, updated_at, breaches, cleared_at, cleared_because,
                 acknowledged_by, acknowledged_at, position, version)
         where a.id = n.id",
    )
    .bind(updates.keys().copied().collect::<Vec<_>>())
    .bind(column(updates, |update| notice(update).map(|notice| notice.severity.as_str())))
    .bind(column(updates, |update| notice(update).map(|notice| notice.message)))
    .bind(column(updates, |update| notice(update).and_then(|notice| notice.value).map(Json)))
    .bind(column(updates, |update| notice(update).map(|notice| notice.time)))
    .bind(column(updates, |update| update.breaches))
    .bind(column(updates, |update| update.cleared.map(|(at, _)| at)))
    .bind(column(updates, |update| update.cleared.map(|(_, cleared)| why(cleared))))
    .bind(column(updates, |update| acknowledged(update).map(|(by, _)| by)))
    .bind(column(updates, |update| acknowledged(update).map(|(_, at)| at)))
    .bind(column(updates, |update| update.position))
    .bind(column(updates, |update| update.version))
    .execute(connection)
    .await?;
    Ok(())
}

async fn configure(
    configs: &HashMap<String, Configured>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into config (scope, version, config, configured_at)
         select scope, version, config, at
         from unnest($1::text[], $2::bigint[], $3::json[], $4::timestamptz[])
           as n (scope, version, config, at)
         on conflict (scope) do update set
           version = excluded.version, config = excluded.config,
           configured_at = excluded.configured_at",
    )
    .bind(configs.keys().map(String::as_str).collect::<Vec<_>>())
    .bind(configs.values().map(|config| config.version).collect::<Vec<_>>())
    .bind(configs.values().map(|config| Json(&config.config)).collect::<Vec<_>>())
    .bind(configs.values().map(|config| config.at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
