//! Projects and their members: the fold of their events, and the queries.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::projects::Change;
use domain::projects::project::Event;
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Viewer;
use crate::columns::Columns;
use crate::list::{CREATED, CREATED_PROJECT, Key, Page, Section};

/// The changes of a batch of events.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) created: Vec<Row>,
    pub(super) updates: HashMap<Uuid, Update>,
    /// By project and user: whether the user is a member at the end of the batch.
    pub(super) members: HashMap<(Uuid, Uuid), bool>,
}

/// What later events change; `None` leaves a column as it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) name: Option<String>,
    pub(super) description: Change<String>,
    pub(super) archived: bool,
    pub(super) at: DateTime<Utc>,
    pub(super) version: i64,
}

impl Changes {
    pub(super) fn apply(&mut self, id: Uuid, event: &Event, at: DateTime<Utc>, version: i64) {
        if let Event::ProjectCreated { name, description, owner_id } = event {
            self.created.push(Row::created(id, name, description.as_deref(), *owner_id, at));
            return;
        }
        let update = self.updates.entry(id).or_default();
        update.at = at;
        update.version = version;
        match event {
            Event::ProjectCreated { .. } => {}
            Event::ProjectChanged { name, description } => {
                update.name = name.clone().or(update.name.take());
                if !description.is_same() {
                    update.description = description.clone();
                }
            }
            Event::ProjectArchived {} => update.archived = true,
            Event::MemberAdded { user_id } => {
                self.members.insert((id, *user_id), true);
            }
            Event::MemberRemoved { user_id } => {
                self.members.insert((id, *user_id), false);
            }
        }
    }

    pub(super) async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        Columns::of(&self.created)
            .column("id", |row| row.id)
            .column("name", |row| row.name.as_str())
            .column("description", |row| row.description.as_deref())
            .column("owner_id", |row| row.owner_id)
            .column("archived", |row| row.archived)
            .column("created_at", |row| row.created_at)
            .column("updated_at", |row| row.updated_at)
            .column("version", |row| row.version)
            .insert("project", "", connection)
            .await?;
        let updates: Vec<_> = self.updates.into_iter().collect();
        Columns::of(&updates)
            .column("id", |(id, _)| *id)
            .column("name", |(_, update)| update.name.as_deref())
            .column("description_stays", |(_, update)| update.description.is_same())
            .column("description", |(_, update)| update.description.value())
            .column("archived", |(_, update)| update.archived)
            .column("at", |(_, update)| update.at)
            .column("version", |(_, update)| update.version)
            .execute(
                "update project as p set
                   name = coalesce(n.name, p.name),
                   description =
                     case when n.description_stays then p.description else n.description end,
                   archived = p.archived or n.archived, updated_at = n.at, version = n.version
                 from {n} where p.id = n.id",
                connection,
            )
            .await?;
        let members: Vec<_> = self.members.into_iter().collect();
        Columns::of(&members)
            .column("project_id", |((project, _), _)| *project)
            .column("user_id", |((_, user), _)| *user)
            .column("stays", |(_, stays)| *stays)
            .execute(
                "with n as (
                   select * from {n}
                 ), gone as (
                   delete from member as m using n
                   where not n.stays and m.project_id = n.project_id and m.user_id = n.user_id
                 )
                 insert into member (project_id, user_id, archived, created_at)
                 select project_id, user_id, archived, created_at
                 from n cross join lateral (
                   select archived, created_at from project where id = n.project_id offset 0
                 ) p
                 where stays
                 on conflict on constraint member_key do nothing",
                connection,
            )
            .await?;
        let archived = updates.iter().filter(|(_, update)| update.archived);
        let archived: Vec<_> = archived.map(|(id, _)| *id).collect();
        Columns::of(&archived)
            .column("id", |id| *id)
            .execute(
                "update member as m set archived = true from {n} where m.project_id = n.id",
                connection,
            )
            .await
    }
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = Project)]
pub struct Row {
    /// Id of the project.
    pub id: Uuid,
    /// Name of the project.
    pub name: String,
    /// Null if there is none.
    pub description: Option<String>,
    /// User who owns the project.
    pub owner_id: Uuid,
    /// Users who may read the project and work on its tasks, besides the owner.
    pub members: Vec<Uuid>,
    /// An archived project is read-only.
    pub archived: bool,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
    /// Time of the last event of the project.
    pub updated_at: DateTime<Utc>,
    /// Version of its stream.
    #[serde(skip)]
    pub version: i64,
}

impl Row {
    /// A project right after it was created.
    pub fn created(
        id: Uuid,
        name: &str,
        description: Option<&str>,
        owner_id: Uuid,
        at: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            name: name.to_owned(),
            description: description.map(str::to_owned),
            owner_id,
            members: Vec::new(),
            archived: false,
            created_at: at,
            updated_at: at,
            version: 1,
        }
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select p.id, p.name, p.description, p.owner_id, p.archived, p.created_at,
                    p.updated_at, p.version,
                    array(select m.user_id from projects.member m where m.project_id = p.id
                          order by m.user_id) as members
             from ",
            $rest
        )
    };
}

/// Returns the project of this id, if `viewer` may see it.
pub async fn get(pool: &PgPool, viewer: Viewer, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(select!(
        "projects.project p
         where p.id = $2 and ($1::uuid is null or p.owner_id = $1 or exists (
           select from projects.member m where m.project_id = p.id and m.user_id = $1))"
    ))
    .bind(viewer.user())
    .bind(id)
    .fetch_optional(pool)
    .await
}

/// Lists projects that `viewer` may see, newest first, after the cursor `after`: time of creation and
/// id of the last one seen. Archived projects are included if `archived`.
pub async fn list(
    pool: &PgPool,
    viewer: Viewer,
    archived: bool,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let mut query = QueryBuilder::new(select!("unnest("));
    query.push_bind(if archived { vec![false, true] } else { vec![false] });
    query.push(
        ") as each (archived) cross join lateral (
           (select id, created_at from projects.project where true",
    );
    let page = Page { after, limit, ..Page::default() };
    let section = Section::default()
        .by_some("owner_id", viewer.user().map(Key::Uuid))
        .by("archived", Key::Sql("each.archived"));
    section.newest_first(&mut query, CREATED, &page);
    query.push(")");
    if let Viewer::User(user) = viewer {
        query.push(" union all (select project_id, created_at from projects.member where true");
        let section = Section::default()
            .by("user_id", Key::Uuid(user))
            .by("archived", Key::Sql("each.archived"));
        section.newest_first(&mut query, CREATED_PROJECT, &page);
        query.push(")");
    }
    query.push(
        ") page cross join lateral (
           select * from projects.project where id = page.id offset 0
         ) p
         order by page.created_at desc, page.id desc limit ",
    );
    query.push_bind(limit);
    query.build_query_as().fetch_all(pool).await
}
