//! Users, by id and as a list. The only read model that holds personal data; none holds passwords.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::Role;
use domain::users::user::{Account, Event};
use domain::users::{Personal, User};
use eventsourcing::{Decider, Recorded};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::by_name::{ByName, Named};
use crate::columns::Columns;
use crate::list::{CREATED, Page, Section};
use crate::projection::Projection;

/// The read model of users.
#[derive(Debug)]
pub struct Users;

/// The changes of a batch of events.
#[derive(Debug, Default)]
pub struct Changes {
    registered: Vec<Row>,
    updates: HashMap<Uuid, Update>,
}

/// What later events change; `None` leaves the role or the namespace as it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Update {
    role: Option<Role>,
    /// The empty text is no namespace.
    namespace: Option<String>,
    version: i64,
}

impl Projection for Users {
    const NAME: &'static str = "users";
    const CATEGORIES: &'static [&'static str] = &[User::CATEGORY];
    const DDL: &'static str = include_str!("users.sql");
    const VERSION: i32 = 2;
    type Event = Event;
    type Changes = Changes;

    fn project(changes: &mut Changes, event: Recorded<Event>) {
        // Keys of this category are ids: the decider's streams are named that way only.
        let Ok(id) = Uuid::parse_str(event.stream.key()) else {
            return;
        };
        let version = event.version.0;
        match event.event {
            Event::Registered { personal, role, registered_at, .. } => {
                changes.registered.push(Row::new(id, personal, role, registered_at, version));
            }
            Event::RoleChanged { role } => {
                let update = changes.updates.entry(id).or_default();
                (update.role, update.version) = (Some(role), version);
            }
            Event::NamespaceChanged { namespace } => {
                let update = changes.updates.entry(id).or_default();
                let name = namespace.map(String::from).unwrap_or_default();
                (update.namespace, update.version) = (Some(name), version);
            }
            // The row shows the version and nothing of the password or of sessions.
            Event::PasswordChanged { .. } | Event::SignedOutEverywhere {} => {
                changes.updates.entry(id).or_default().version = version;
            }
        }
    }

    async fn write(changes: Changes, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        Columns::of(&changes.registered)
            .column("id", |row| row.id)
            .column("email", |row| row.email.as_str())
            .column("full_name", |row| row.full_name.as_str())
            .column("role", |row| row.role.0.name())
            .column("created_at", |row| row.created_at)
            .column("version", |row| row.version)
            .insert("account", "", connection)
            .await?;
        let updates: Vec<_> = changes.updates.into_iter().collect();
        Columns::of(&updates)
            .column("id", |(id, _)| *id)
            .column("role", |(_, update)| update.role.map(Named::name))
            .column("namespace", |(_, update)| update.namespace.as_deref())
            .column("version", |(_, update)| update.version)
            .execute(
                "update account as a
                 set role = coalesce(n.role, a.role), version = n.version,
                     namespace = nullif(coalesce(n.namespace, a.namespace), '')
                 from {n} where a.id = n.id",
                connection,
            )
            .await
    }
}

/// A user.
#[derive(Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = User)]
pub struct Row {
    /// Id of the user.
    pub id: Uuid,
    /// E-mail address, in the spelling of the registration.
    #[schema(format = "email")]
    pub email: String,
    /// Full name, as registered.
    pub full_name: String,
    /// What the user may do.
    pub role: RoleName,
    /// The user's device namespace: the user id of the devices that are this user's; null for none.
    pub namespace: Option<String>,
    /// When the user registered.
    pub created_at: DateTime<Utc>,
    /// Version of its stream.
    #[serde(skip)]
    pub version: i64,
}

/// Leaves out the personal data.
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
    /// A user at this version of its stream.
    pub fn new(
        id: Uuid,
        personal: Personal,
        role: Role,
        registered_at: DateTime<Utc>,
        version: i64,
    ) -> Self {
        Self {
            id,
            email: personal.email.into(),
            full_name: personal.full_name.into(),
            role: ByName(role),
            namespace: None,
            created_at: registered_at,
            version,
        }
    }

    /// The user of `account`, at this version of its stream.
    pub fn of(id: Uuid, account: Account, version: i64) -> Self {
        let namespace = account.namespace.map(String::from);
        let row = Self::new(id, account.personal, account.role, account.registered_at, version);
        Self { namespace, ..row }
    }
}

/// A [`Role`] in a row.
pub type RoleName = ByName<Role>;

impl Named for Role {
    const SCHEMA: &'static str = "Role";
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.as_str()
    }
}

/// Returns the user of this id.
pub async fn get(pool: &PgPool, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(
        "select id, email, full_name, role, namespace, created_at, version
         from users.account where id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await
}

/// Lists users, newest first, after the cursor `after`: time of registration and id of the last one
/// seen.
pub async fn list(
    pool: &PgPool,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "select id, email, full_name, role, namespace, created_at, version
         from users.account where true",
    );
    let page = Page { after, limit, ..Page::default() };
    Section::default().newest_first(&mut query, CREATED, &page);
    query.build_query_as().fetch_all(pool).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fold, golden};
    use domain::users::{PasswordHash, user::stream};

    #[test]
    fn a_registered_user_is_a_row_and_later_events_one_update() {
        let id = Uuid::from_u128(1);
        let registered: Event = golden("users", "registered");
        let password_hash = PasswordHash::new("hash".into());
        let changes = fold::<Users>([
            (stream(id), registered),
            (stream(id), Event::RoleChanged { role: Role::Operator }),
            (stream(id), Event::PasswordChanged { password_hash }),
            (stream(id), golden("users", "namespace_changed")),
        ]);
        assert_eq!((changes.registered[0].id, changes.registered[0].version), (id, 1));
        let namespace = Some("ada".to_owned());
        let expected = Update { role: Some(Role::Operator), namespace, version: 4 };
        assert_eq!(changes.updates, HashMap::from([(id, expected)]));
        let shown = format!("{:?}", changes.registered[0]);
        assert!(!shown.contains(&changes.registered[0].email), "{shown}");
    }
}
