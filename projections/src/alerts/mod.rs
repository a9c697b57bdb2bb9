//! Alerts of devices, and the rules of every scope.

mod names;
mod query;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::alerts::alert::Event as AlertEvent;
use domain::alerts::{Alert, ClearReason, Config, Event, Notice, Raised, Rules, RulesEvent};
use eventsourcing::{Decider, Recorded};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::by_name::Named;
use crate::columns::Columns;
use crate::projection::Projection;

pub use names::{ClearedName, SeverityName, State, StateName};
pub use query::{Filter, Range, Row, get, list, rule_config};

/// The read model of alerts.
#[derive(Debug)]
pub struct Alerts;

/// The changes of a batch of events.
#[derive(Debug, Default)]
pub struct Changes {
    raised: Vec<NewAlert>,
    updates: HashMap<Uuid, Update>,
    /// By key of the scope's stream.
    configs: HashMap<String, Configured>,
}

#[derive(Debug, PartialEq)]
struct NewAlert {
    id: Uuid,
    raised: Raised,
    position: i64,
}

/// What later events change; `None` leaves a column as it is.
#[derive(Debug, Default, PartialEq)]
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
    /// 2 changed indexes, 3 added the value that raised an alert.
    const VERSION: i32 = 3;
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
        insert(&changes.raised, connection).await?;
        update(changes.updates, connection).await?;
        let configs: Vec<_> = changes.configs.into_iter().collect();
        Columns::of(&configs)
            .column("scope", |(scope, _)| scope.as_str())
            .column("version", |(_, now)| now.version)
            .cast("config", "json", |(_, now)| Json(&now.config))
            .column("configured_at", |(_, now)| now.at)
            .insert(
                "config",
                "on conflict (scope) do update set
                   version = excluded.version, config = excluded.config,
                   configured_at = excluded.configured_at",
                connection,
            )
            .await
    }
}

impl Changes {
    fn alert(&mut self, recorded: &Recorded<Event>, event: &AlertEvent) {
        // Keys of this category are ids: alerts' streams are named that way only.
        let Ok(id) = Uuid::parse_str(recorded.stream.key()) else {
            return;
        };
        if let AlertEvent::AlertRaised(raised) = event {
            let position = recorded.position.0;
            self.raised.push(NewAlert { id, raised: Raised::clone(raised), position });
            return;
        }
        let update = self.updates.entry(id).or_default();
        (update.position, update.version) = (recorded.position.0, recorded.version.0);
        match event {
            AlertEvent::AlertRaised(_) | AlertEvent::AlertSuppressed { .. } => {}
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

async fn insert(alerts: &[NewAlert], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    Columns::of(alerts)
        .column("id", |alert| alert.id)
        .column("user_id", |alert| alert.raised.notice.user_id.as_str())
        .column("device_id", |alert| alert.raised.notice.device_id.as_str())
        .column("rule_id", |alert| alert.raised.notice.rule_id)
        .column("rule", |alert| alert.raised.notice.rule.as_str())
        .column("severity", |alert| alert.raised.notice.severity.name())
        .column("message", |alert| alert.raised.notice.message.as_str())
        .cast("raised_value", "json", |alert| alert.raised.notice.value.as_ref().map(Json))
        .cast("value", "json", |alert| alert.raised.notice.value.as_ref().map(Json))
        .cast("threshold", "json", |alert| alert.raised.notice.threshold.as_ref().map(Json))
        .column("state", |_| State::Active.name())
        .column("raised_at", |alert| alert.raised.notice.time)
        .column("updated_at", |alert| alert.raised.notice.time)
        .column("breaches", |alert| i64::try_from(alert.raised.breaches).unwrap_or(i64::MAX))
        .column("raised_position", |alert| alert.position)
        .column("position", |alert| alert.position)
        .column("version", |_| 1_i64)
        .insert("alert", "", connection)
        .await
}

async fn update(
    updates: HashMap<Uuid, Update>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    fn notice<'a, T>(of: &'a Update, value: impl Fn(&'a Notice) -> T) -> Option<T> {
        of.notice.as_ref().map(value)
    }
    let updates: Vec<_> = updates.into_iter().collect();
    Columns::of(&updates)
        .column("id", |(id, _)| *id)
        .column("severity", |(_, update)| notice(update, |notice| notice.severity.name()))
        .column("message", |(_, update)| notice(update, |notice| notice.message.as_str()))
        .column("value", |(_, update)| {
            update.notice.as_ref().and_then(|notice| notice.value.as_ref()).map(Json)
        })
        .column("updated_at", |(_, update)| notice(update, |notice| notice.time))
        .column("breaches", |(_, update)| update.breaches)
        .column("state", |(_, update)| update.cleared.map(|_| State::Cleared.name()))
        .column("cleared_at", |(_, update)| update.cleared.map(|(at, _)| at))
        .column("cleared_because", |(_, update)| update.cleared.map(|(_, why)| why.name()))
        .column("acknowledged_by", |(_, update)| {
            update.acknowledged.as_ref().map(|(by, _)| by.as_str())
        })
        .column("acknowledged_at", |(_, update)| update.acknowledged.as_ref().map(|(_, at)| *at))
        .column("position", |(_, update)| update.position)
        .column("version", |(_, update)| update.version)
        .execute(
            "update alert as a set
               severity = coalesce(n.severity, a.severity),
               message = coalesce(n.message, a.message),
               value = case when n.updated_at is null then a.value else n.value::json end,
               updated_at = coalesce(n.updated_at, a.updated_at),
               breaches = coalesce(n.breaches, a.breaches),
               state = coalesce(n.state, a.state),
               cleared_at = coalesce(n.cleared_at, a.cleared_at),
               cleared_because = coalesce(n.cleared_because, a.cleared_because),
               acknowledged_by = coalesce(n.acknowledged_by, a.acknowledged_by),
               acknowledged_at = coalesce(n.acknowledged_at, a.acknowledged_at),
               position = n.position, version = n.version
             from {n} where a.id = n.id",
            connection,
        )
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, fold, golden};
    use domain::alerts::{Scope, alert_stream, rules_stream};

    #[test]
    fn later_events_of_a_batch_end_in_one_update() {
        let id = Uuid::from_u128(1);
        let raised: AlertEvent = golden("alerts", "alert_raised");
        let updated: AlertEvent = golden("alerts", "alert_updated");
        let cleared: AlertEvent = golden("alerts", "alert_cleared");
        let acknowledged = AlertEvent::AlertAcknowledged { by: "ada".into(), at: at(50) };
        let AlertEvent::AlertCleared { notice, why } = cleared.clone() else { unreachable!() };
        let events = [raised, updated, cleared, acknowledged];
        let changes = fold::<Alerts>(events.map(|event| (alert_stream(id), Event::Alert(event))));
        assert_eq!(changes.raised.len(), 1);
        assert_eq!((changes.raised[0].id, changes.raised[0].position), (id, 1));
        let update = &changes.updates[&id];
        assert_eq!(update.cleared, Some((notice.time, why)));
        assert_eq!(update.notice, Some(notice));
        assert_eq!(update.acknowledged, Some(("ada".into(), at(50))));
        assert_eq!((update.position, update.version), (4, 4));
        assert!(update.breaches.is_some());
    }

    #[test]
    fn the_last_rules_of_a_scope_count() {
        let stream = rules_stream(&Scope::User("ada".into()));
        let configured: RulesEvent = golden("alerts", "rules_configured");
        let event = Event::Rules(configured);
        let changes = fold::<Alerts>([(stream.clone(), event.clone()), (stream, event)]);
        assert_eq!(changes.configs["ada"].version, 2);
    }
}
