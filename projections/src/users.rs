//! Users as they are shown: by id, and all of them to administrators. The only read model with
//! personal data in it; passwords are in none.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::Role;
use domain::users::User;
use domain::users::user::{Account, Event};
use eventsourcing::{Decider, Recorded};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::projection::Projection;

/// The read model of users.
#[derive(Debug)]
pub struct Users;

/// What a batch of events comes to.
#[derive(Debug, Default)]
pub struct Changes {
    registered: Vec<Row>,
    updates: HashMap<Uuid, Update>,
}

/// What later events say; a role that they do not speak of stays as it was.
#[derive(Debug, Default)]
struct Update {
    role: Option<Role>,
    version: i64,
}

impl Projection for Users {
    const NAME: &'static str = "users";
    const CATEGORIES: &'static [&'static str] = &[User::CATEGORY];
    const DDL: &'static str = include_str!("users.sql");
    type Event = Event;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: Recorded<Event>) {
        // The store gives a user's stream no other key.
        let Ok(id) = Uuid::parse_str(event.stream.key()) else {
            return;
        };
        let version = event.version.0;
        match &event.event {
            Event::Registered { personal, role, registered_at, .. } => {
                changes.registered.push(Row {
                    id,
                    email: personal.email.as_str().to_owned(),
                    full_name: personal.full_name.as_str().to_owned(),
                    role: role.to_string(),
                    created_at: *registered_at,
                    version,
                });
            }
            Event::RoleChanged { role } => {
                changes.updates.insert(id, Update { role: Some(*role), version });
            }
            // Nothing of it is shown but that something changed.
            Event::PasswordChanged { .. } => {
                changes.updates.entry(id).or_default().version = version;
            }
        }
    }

    async fn write(changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !changes.registered.is_empty() {
            insert(&changes.registered, connection).await?;
        }
        if !changes.updates.is_empty() {
            update(&changes.updates, connection).await?;
        }
        Ok(())
    }
}

async fn insert(users: &[Row], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into account (id, email, full_name, role, created_at, version)
         select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[],
                              $6::bigint[])",
    )
    .bind(users.iter().map(|user| user.id).collect::<Vec<_>>())
    .bind(users.iter().map(|user| user.email.as_str()).collect::<Vec<_>>())
    .bind(users.iter().map(|user| user.full_name.as_str()).collect::<Vec<_>>())
    .bind(users.iter().map(|user| user.role.as_str()).collect::<Vec<_>>())
    .bind(users.iter().map(|user| user.created_at).collect::<Vec<_>>())
    .bind(users.iter().map(|user| user.version).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(
    updates: &HashMap<Uuid, Update>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update account as a set role = coalesce(n.role, a.role), version = n.version
         from unnest($1::uuid[], $2::text[], $3::bigint[]) as n (id, role, version)
         where a.id = n.id",
    )
    .bind(updates.keys().copied().collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.role.map(Role::as_str)).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.version).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// A user.
#[derive(Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = User)]
pub struct Row {
    pub id: Uuid,
    /// As its owner writes it.
    #[schema(format = "email")]
    pub email: String,
    pub full_name: String,
    #[schema(value_type = RoleName)]
    pub role: String,
    /// When the user registered.
    pub created_at: DateTime<Utc>,
    /// Version of its stream.
    #[serde(skip)]
    pub version: i64,
}

/// Shows whose row it is and nothing of the person.
impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, role, version, .. } = self;
        f.debug_struct("Row")
            .field("id", id)
            .field("role", role)
            .field("version", version)
            .finish_non_exhaustive()
    }
}

impl Row {
    /// A user as it is shown once the read model has it.
    pub fn of(id: Uuid, account: Account, version: i64) -> Self {
        Self {
            id,
            email: account.personal.email.into(),
            full_name: account.personal.full_name.into(),
            role: account.role.to_string(),
            created_at: account.registered_at,
            version,
        }
    }
}

/// What a user may do, from least to most.
// For the API's document: the domain's own type knows nothing of documents.
#[derive(Debug, ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[schema(as = Role)]
pub enum RoleName {
    User,
    Operator,
    Admin,
}

/// One user.
pub async fn get(pool: &PgPool, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(
        "select id, email, full_name, role, created_at, version from users.account where id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await
}

/// Users, newest first, after the one that registered at `after` and has that id.
pub async fn list(
    pool: &PgPool,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "select id, email, full_name, role, created_at, version from users.account
         where $1::timestamptz is null or (created_at, id) < ($1, $2)
         order by created_at desc, id desc limit $3",
    )
    .bind(after.map(|(created_at, _)| created_at))
    .bind(after.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(pool)
    .await
}
