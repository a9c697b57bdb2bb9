//! Sign-in sessions that can still be refreshed: the fold of their events, and the list of a user.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use domain::users::session::Event;
use eventsourcing::Position;
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::columns::Columns;
use crate::list::{CREATED, Key, Page, Section};

/// The changes of a batch of events.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) begun: Vec<Begun>,
    /// By session: time of its last refresh.
    pub(super) refreshed: HashMap<Uuid, DateTime<Utc>>,
    pub(super) revoked: HashSet<Uuid>,
    /// By user: which of the user's sessions end.
    pub(super) ends: HashMap<Uuid, Ends>,
}

/// A new session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) created_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
    /// Of the sign-in.
    pub(super) position: Position,
}

/// Which sessions of a user end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// Those that began before this position, where the user changed the password or signed out
    /// everywhere; zero for none.
    pub(super) before: Position,
    /// Those that had expired at the time of the user's last sign-in. A user therefore has no more rows
    /// than sign-ins within the lifetime of a session before the last one.
    pub(super) expired_at: Option<DateTime<Utc>>,
}

impl Changes {
    pub(super) fn apply(
        &mut self,
        id: Uuid,
        event: &Event,
        recorded_at: DateTime<Utc>,
        position: Position,
    ) {
        match *event {
            Event::LoggedIn { user_id, expires_at, .. } => {
                let created_at = recorded_at;
                self.begun.push(Begun { id, user_id, created_at, expires_at, position });
                self.ends.entry(user_id).or_default().expired_at = Some(recorded_at);
            }
            Event::SessionRefreshed { at, .. } => {
                self.refreshed.insert(id, at.unwrap_or(recorded_at));
            }
            Event::SessionRevoked { .. } => {
                self.revoked.insert(id);
            }
        }
    }

    /// Ends the sessions of a user that began before `position`.
    pub(super) fn end_before(&mut self, user_id: Uuid, position: Position) {
        self.ends.entry(user_id).or_default().before = position;
    }

    /// Inserts first: a session may begin and end in one batch.
    pub(super) async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        Columns::of(&self.begun)
            .column("id", |begun| begun.id)
            .column("user_id", |begun| begun.user_id)
            .column("created_at", |begun| begun.created_at)
            .column("expires_at", |begun| begun.expires_at)
            .column("position", |begun| begun.position.0)
            .insert("session", "", connection)
            .await?;
        let refreshed: Vec<_> = self.refreshed.into_iter().collect();
        Columns::of(&refreshed)
            .column("id", |(id, _)| *id)
            .column("at", |(_, at)| *at)
            .execute(
                "update session as s set refreshed_at = n.at from {n} where s.id = n.id",
                connection,
            )
            .await?;
        let revoked: Vec<_> = self.revoked.into_iter().collect();
        Columns::of(&revoked)
            .column("id", |id| *id)
            .execute("delete from session as s using {n} where s.id = n.id", connection)
            .await?;
        let ends: Vec<_> = self.ends.into_iter().collect();
        Columns::of(&ends)
            .column("user_id", |(user_id, _)| *user_id)
            .column("before", |(_, ends)| ends.before.0)
            .column("expired_at", |(_, ends)| ends.expired_at)
            .execute(
                "delete from session as s using {n}
                 where s.user_id = n.user_id
                   and (s.position < n.before or s.expires_at <= n.expired_at)",
                connection,
            )
            .await
    }
}

/// A sign-in session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = Session)]
pub struct Row {
    /// Id of the session.
    pub id: Uuid,
    /// Time of the sign-in.
    pub created_at: DateTime<Utc>,
    /// Time of the last refresh; null before the first one.
    pub refreshed_at: Option<DateTime<Utc>>,
    /// Time at which the session ends, unless it is ended before.
    pub expires_at: DateTime<Utc>,
    /// Whether the token of the request belongs to this session.
    pub current: bool,
}

/// Lists the sessions of a user that have not expired at the time `now` of the log's clock, newest first,
/// after the cursor `after`: time of the sign-in and id of the last one seen. `current` is the session of
/// the caller's token.
pub async fn list(
    pool: &PgPool,
    user_id: Uuid,
    current: Option<Uuid>,
    now: DateTime<Utc>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "select id, created_at, refreshed_at, expires_at, id is not distinct from ",
    );
    query.push_bind(current);
    query.push(" as current from users.session where expires_at > ").push_bind(now);
    let page = Page { after, limit, ..Page::default() };
    Section::default().by("user_id", Key::Uuid(user_id)).newest_first(&mut query, CREATED, &page);
    query.build_query_as().fetch_all(pool).await
}
