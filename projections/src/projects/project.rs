//! Projects and their members: what events make of their rows, and the queries.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::projects::Change;
use domain::projects::project::Event;
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Viewer;

#[derive(Debug, Default)]
pub(super) struct Changes {
    created: Vec<Created>,
    updates: HashMap<Uuid, Update>,
    /// By project and user: whether that one is a member in the end.
    members: HashMap<(Uuid, Uuid), bool>,
}

#[derive(Debug)]
struct Created {
    id: Uuid,
    name: String,
    description: Option<String>,
    owner_id: Uuid,
    at: DateTime<Utc>,
}

/// What later events say; what they do not speak of stays as it was.
#[derive(Debug, Default)]
struct Update {
    name: Option<String>,
    description: Change<String>,
    archived: bool,
    at: DateTime<Utc>,
    version: i64,
}

impl Changes {
    pub(super) fn apply(&mut self, id: Uuid, event: &Event, at: DateTime<Utc>, version: i64) {
        if let Event::ProjectCreated { name, description, owner_id } = event {
            let (name, description) = (name.clone(), description.clone());
            self.created.push(Created { id, name, description, owner_id: *owner_id, at });
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
        if !self.created.is_empty() {
            insert(&self.created, connection).await?;
        }
        if !self.updates.is_empty() {
            update(&self.updates, connection).await?;
        }
        if !self.members.is_empty() {
            write_members(&self.members, connection).await?;
        }
        Ok(())
    }
}

async fn insert(projects: &[Created], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into project (id, name, description, owner_id, archived, created_at, updated_at,
                              version)
         select id, name, description, owner_id, false, at, at, 1
         from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::timestamptz[])
           as n (id, name, description, owner_id, at)",
    )
    .bind(projects.iter().map(|project| project.id).collect::<Vec<_>>())
    .bind(projects.iter().map(|project| project.name.as_str()).collect::<Vec<_>>())
    .bind(projects.iter().map(|project| project.description.as_deref()).collect::<Vec<_>>())
    .bind(projects.iter().map(|project| project.owner_id).collect::<Vec<_>>())
    .bind(projects.iter().map(|project| project.at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(
    updates: &HashMap<Uuid, Update>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update project as p set
           name = coalesce(n.name, p.name),
           description = case when n.description_stays then p.description else n.description end,
           archived = p.archived or n.archived, updated_at = n.at, version = n.version
         from unnest($1::uuid[], $2::text[], $3::boolean[], $4::text[], $5::boolean[],
                     $6::timestamptz[], $7::bigint[])
           as n (id, name, description_stays, description, archived, at, version)
         where p.id = n.id",
    )
    .bind(updates.keys().copied().collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.name.as_deref()).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.description.is_same()).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.description.value()).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.archived).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.at).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.version).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_members(
    members: &HashMap<(Uuid, Uuid), bool>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with n as (
           select * from unnest($1::uuid[], $2::uuid[], $3::boolean[])
             as n (project_id, user_id, stays)
         ), gone as (
           delete from member as m using n
           where not n.stays and m.project_id = n.project_id and m.user_id = n.user_id
         )
         insert into member (project_id, user_id) select project_id, user_id from n where stays
         on conflict on constraint member_key do nothing",
    )
    .bind(members.keys().map(|(project, _)| *project).collect::<Vec<_>>())
    .bind(members.keys().map(|(_, user)| *user).collect::<Vec<_>>())
    .bind(members.values().copied().collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = Project)]
pub struct Row {
    pub id: Uuid,
    pub name: String,
    pub description: Option<String>,
    pub owner_id: Uuid,
    /// Those who may read it and work on its tasks, besides the owner.
    pub members: Vec<Uuid>,
    /// It can only be read.
    pub archived: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Version of its stream.
    #[serde(skip)]
    pub version: i64,
}

macro_rules! select {
    ($visible:literal, $rest:literal) => {
        concat!(
            "select p.id, p.name, p.description, p.owner_id, p.archived, p.created_at,
                    p.updated_at, p.version,
                    array(select m.user_id from projects.member m where m.project_id = p.id
                          order by m.user_id) as members
             from projects.project p where ",
            $visible,
            $rest
        )
    };
}

/// One project, if it is there for `viewer`.
pub async fn get(pool: &PgPool, viewer: Viewer, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(select!(
        "($1::uuid is null or p.owner_id = $1 or exists (
           select from projects.member m where m.project_id = p.id and m.user_id = $1))",
        " and p.id = $2"
    ))
    .bind(viewer.user())
    .bind(id)
    .fetch_optional(pool)
    .await
}

/// Projects, newest first, after the one that was created at `after` and has that id; archived
/// ones only if they are asked for.
pub async fn list(
    pool: &PgPool,
    viewer: Viewer,
    archived: bool,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    // Two texts: a user's few projects are found by the user, not among everybody's.
    macro_rules! list {
        ($visible:literal) => {
            select!(
                $visible,
                " and ($2 or not p.archived)
                  and ($3::timestamptz is null or (p.created_at, p.id) < ($3, $4))
                order by p.created_at desc, p.id desc limit $5"
            )
        };
    }
    let sql = match viewer {
        Viewer::All => list!("$1::uuid is null"),
        Viewer::User(_) => list!(
            "p.id in (select id from projects.project where owner_id = $1
                      union all select project_id from projects.member where user_id = $1)"
        ),
    };
    sqlx::query_as(sql)
        .bind(viewer.user())
        .bind(archived)
        .bind(after.map(|(created_at, _)| created_at))
        .bind(after.map(|(_, id)| id))
        .bind(limit)
        .fetch_all(pool)
        .await
}
