//! Users, by id and as a list, and their sign-in sessions. The only read model that holds personal data;
//! none holds passwords.

pub mod sessions;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::Role;
use domain::users::user::{self, Account};
use domain::users::{Event, Personal, Session, User};
use eventsourcing::{Decider, Position, Recorded};
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
    sessions: sessions::Changes,
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
    const CATEGORIES: &'static [&'static str] = &[User::CATEGORY, Session::CATEGORY];
    const DDL: &'static str = include_str!("schema.sql");
    /// 3 added sessions.
    const VERSION: i32 = 3;
    type Event = Event;
    type Changes = Changes;

    fn project(changes: &mut Changes, recorded: Recorded<Event>) {
        // Keys of these categories are ids: the deciders' streams are named that way only.
        let Ok(id) = Uuid::parse_str(recorded.stream.key()) else {
            return;
        };
        let (at, position) = (recorded.recorded_at, recorded.position);
        match recorded.event {
            Event::User(event) => changes.user(id, event, position, recorded.version.0),
            Event::Session(event) => changes.sessions.apply(id, &event, at, position),
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
            .await?;
        changes.sessions.write(connection).await
    }
}

impl Changes {
    fn user(&mut self, id: Uuid, event: user::Event, position: Position, version: i64) {
        match event {
            user::Event::Registered { personal, role, registered_at, .. } => {
                self.registered.push(Row::new(id, personal, role, registered_at, version));
            }
            user::Event::RoleChanged { role } => {
                let update = self.updates.entry(id).or_default();
                (update.role, update.version) = (Some(role), version);
            }
            user::Event::NamespaceChanged { namespace } => {
                let update = self.updates.entry(id).or_default();
                let name = namespace.map(String::from).unwrap_or_default();
                (update.namespace, update.version) = (Some(name), version);
            }
            // The row shows the version and nothing of the password.
            user::Event::PasswordChanged { .. } | user::Event::SignedOutEverywhere {} => {
                self.updates.entry(id).or_default().version = version;
                self.sessions.end_before(id, position);
            }
        }
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
    use domain::users::session::{self, Reason};
    use domain::users::user::stream;
    use domain::users::{PasswordHash, session::stream as session_stream};
    use eventsourcing::StreamId;

    use super::sessions::{Begun, Ends};
    use super::*;
    use crate::testing::{at, fold, golden};

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn password_changed() -> user::Event {
        user::Event::PasswordChanged { password_hash: PasswordHash::new("hash".into()) }
    }

    fn of_user(number: u128, event: user::Event) -> (StreamId, Event) {
        (stream(id(number)), Event::User(event))
    }

    fn of_session(number: u128, event: session::Event) -> (StreamId, Event) {
        (session_stream(id(number)), Event::Session(event))
    }

    fn logged_in(user: u128) -> session::Event {
        session::Event::LoggedIn {
            user_id: id(user),
            password_number: 1,
            sign_outs: 0,
            expires_at: at(100),
        }
    }

    #[test]
    fn a_registered_user_is_a_row_and_later_events_one_update() {
        let changes = fold::<Users>([
            of_user(1, golden("users", "registered")),
            of_user(1, user::Event::RoleChanged { role: Role::Operator }),
            of_user(1, password_changed()),
            of_user(1, golden("users", "namespace_changed")),
        ]);
        assert_eq!((changes.registered[0].id, changes.registered[0].version), (id(1), 1));
        let namespace = Some("ada".to_owned());
        let expected = Update { role: Some(Role::Operator), namespace, version: 4 };
        assert_eq!(changes.updates, HashMap::from([(id(1), expected)]));
        let shown = format!("{:?}", changes.registered[0]);
        assert!(!shown.contains(&changes.registered[0].email), "{shown}");
    }

    #[test]
    fn a_session_is_a_row_with_its_last_refresh_until_it_is_revoked() {
        let refreshed =
            |generation, at| session::Event::SessionRefreshed { generation, at: Some(at) };
        let changes = fold::<Users>([
            of_session(7, logged_in(1)),
            of_session(8, logged_in(1)),
            of_session(7, refreshed(1, at(20))),
            of_session(7, refreshed(2, at(30))),
            // Events of earlier versions have no time of their own.
            of_session(8, session::Event::SessionRefreshed { generation: 1, at: None }),
            of_session(8, session::Event::SessionRevoked { reason: Reason::Reuse }),
        ]);
        let begun = |number, seconds| Begun {
            id: id(number),
            user_id: id(1),
            created_at: at(seconds),
            expires_at: at(100),
            position: Position(seconds),
        };
        assert_eq!(changes.sessions.begun, [begun(7, 1), begun(8, 2)]);
        assert_eq!(changes.sessions.refreshed, [(id(7), at(30)), (id(8), at(5))].into());
        assert_eq!(changes.sessions.revoked, [id(8)].into());
        let expired = Ends { before: Position::default(), expired_at: Some(at(2)) };
        assert_eq!(changes.sessions.ends, [(id(1), expired)].into());
    }

    #[test]
    fn a_new_password_and_signing_out_everywhere_end_the_sessions_that_began_before() {
        for event in [password_changed(), user::Event::SignedOutEverywhere {}] {
            let changes = fold::<Users>([
                of_session(7, logged_in(1)),
                of_session(8, logged_in(2)),
                of_user(1, event),
                of_session(9, logged_in(1)),
            ]);
            let positions: Vec<_> =
                changes.sessions.begun.iter().map(|begun| begun.position.0).collect();
            assert_eq!(positions, [1, 2, 4]);
            let own = Ends { before: Position(3), expired_at: Some(at(4)) };
            let other = Ends { before: Position::default(), expired_at: Some(at(2)) };
            assert_eq!(changes.sessions.ends, [(id(1), own), (id(2), other)].into());
            assert_eq!(changes.updates[&id(1)].version, 1);
        }
    }
}
