//! Tasks: what events make of their rows, and the queries.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use domain::projects::task::Event;
use domain::projects::{Change, Status};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use uuid::Uuid;

use super::Viewer;

#[derive(Debug, Default)]
pub(super) struct Changes {
    created: Vec<Created>,
    updates: HashMap<Uuid, Update>,
    deleted: HashSet<Uuid>,
}

#[derive(Debug)]
struct Created {
    id: Uuid,
    project_id: Uuid,
    title: String,
    description: Option<String>,
    assignee_id: Option<Uuid>,
    due_at: Option<DateTime<Utc>>,
    at: DateTime<Utc>,
}

/// What later events say; what they do not speak of stays as it was.
#[derive(Debug, Default)]
struct Update {
    title: Option<String>,
    description: Change<String>,
    assignee_id: Change<Uuid>,
    status: Option<Status>,
    due_at: Change<DateTime<Utc>>,
    at: DateTime<Utc>,
    version: i64,
}

impl Changes {
    pub(super) fn apply(&mut self, id: Uuid, event: &Event, at: DateTime<Utc>, version: i64) {
        if let Event::TaskCreated { project_id, title, description, assignee_id, due_at } = event {
            self.created.push(Created {
                id,
                project_id: *project_id,
                title: title.clone(),
                description: description.clone(),
                assignee_id: *assignee_id,
                due_at: *due_at,
                at,
            });
            return;
        }
        let update = self.updates.entry(id).or_default();
        update.at = at;
        update.version = version;
        match event {
            Event::TaskCreated { .. } => {}
            Event::TaskChanged { title, description, due_at } => {
                update.title = title.clone().or(update.title.take());
                if !description.is_same() {
                    update.description = description.clone();
                }
                if !due_at.is_same() {
                    update.due_at = *due_at;
                }
            }
            Event::TaskAssigned { assignee_id } => update.assignee_id = Change::To(*assignee_id),
            Event::TaskStatusChanged { to, .. } => update.status = Some(*to),
            Event::TaskDeleted {} => {
                self.deleted.insert(id);
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
        if !self.deleted.is_empty() {
            sqlx::query("delete from task where id = any($1)")
                .bind(self.deleted.into_iter().collect::<Vec<_>>())
                .execute(connection)
                .await?;
        }
        Ok(())
    }
}

async fn insert(tasks: &[Created], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into task (id, project_id, title, description, assignee_id, status, due_at,
                           created_at, updated_at, version)
         select id, project_id, title, description, assignee_id, 'ToDo', due_at, at, at, 1
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::timestamptz[],
                     $7::timestamptz[])
           as n (id, project_id, title, description, assignee_id, due_at, at)",
    )
    .bind(tasks.iter().map(|task| task.id).collect::<Vec<_>>())
    .bind(tasks.iter().map(|task| task.project_id).collect::<Vec<_>>())
    .bind(tasks.iter().map(|task| task.title.as_str()).collect::<Vec<_>>())
    .bind(tasks.iter().map(|task| task.description.as_deref()).collect::<Vec<_>>())
    .bind(tasks.iter().map(|task| task.assignee_id).collect::<Vec<_>>())
    .bind(tasks.iter().map(|task| task.due_at).collect::<Vec<_>>())
    .bind(tasks.iter().map(|task| task.at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(
    updates: &HashMap<Uuid, Update>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let status = |update: &Update| update.status.map(Status::as_str);
    sqlx::query(
        "update task as t set
           title = coalesce(n.title, t.title),
           description = case when n.description_stays then t.description else n.description end,
           assignee_id = case when n.assignee_stays then t.assignee_id else n.assignee_id end,
           status = coalesce(n.status, t.status),
           due_at = case when n.due_stays then t.due_at else n.due_at end,
           updated_at = n.at, version = n.version
         from unnest($1::uuid[], $2::text[], $3::boolean[], $4::text[], $5::boolean[], $6::uuid[],
                     $7::text[], $8::boolean[], $9::timestamptz[], $10::timestamptz[],
                     $11::bigint[])
           as n (id, title, description_stays, description, assignee_stays, assignee_id, status,
                 due_stays, due_at, at, version)
         where t.id = n.id",
    )
    .bind(updates.keys().copied().collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.title.as_deref()).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.description.is_same()).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.description.value()).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.assignee_id.is_same()).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.assignee_id.value()).collect::<Vec<_>>())
    .bind(updates.values().map(status).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.due_at.is_same()).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.due_at.value()).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.at).collect::<Vec<_>>())
    .bind(updates.values().map(|update| update.version).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = Task)]
pub struct Row {
    pub id: Uuid,
    pub project_id: Uuid,
    pub title: String,
    pub description: Option<String>,
    /// A member of the project when it was assigned; one who is removed later keeps the task.
    pub assignee_id: Option<Uuid>,
    #[schema(schema_with = status_schema)]
    pub status: String,
    pub due_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Version of its stream.
    #[serde(skip)]
    pub version: i64,
}

/// How a status is described.
pub fn status_schema() -> Object {
    let names = Status::ALL.map(Status::as_str);
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).build()
}

/// Which tasks are asked for; what is left out does not matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    pub project_id: Option<Uuid>,
    pub assignee_id: Option<Uuid>,
    pub status: Option<Status>,
}

macro_rules! select {
    ($visible:literal, $rest:literal) => {
        concat!(
            "select id, project_id, title, description, assignee_id, status, due_at, created_at,
                    updated_at, version
             from projects.task where ",
            $visible,
            $rest
        )
    };
}

/// One task, if its project is there for `viewer`.
pub async fn get(pool: &PgPool, viewer: Viewer, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(select!(
        "($1::uuid is null
          or exists (select from projects.project p
                     where p.id = task.project_id and p.owner_id = $1)
          or exists (select from projects.member m
                     where m.project_id = task.project_id and m.user_id = $1))",
        " and id = $2"
    ))
    .bind(viewer.user())
    .bind(id)
    .fetch_optional(pool)
    .await
}

/// Tasks, newest first, after the one that was created at `after` and has that id.
pub async fn list(
    pool: &PgPool,
    viewer: Viewer,
    filter: Filter,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    // Two texts, as for projects.
    macro_rules! list {
        ($visible:literal) => {
            select!(
                $visible,
                " and ($2::uuid is null or project_id = $2)
                  and ($3::uuid is null or assignee_id = $3)
                  and ($4::text is null or status = $4)
                  and ($5::timestamptz is null or (created_at, id) < ($5, $6))
                order by created_at desc, id desc limit $7"
            )
        };
    }
    let sql = match viewer {
        Viewer::All => list!("$1::uuid is null"),
        Viewer::User(_) => list!(
            "project_id in (select id from projects.project where owner_id = $1
                            union all select project_id from projects.member where user_id = $1)"
        ),
    };
    sqlx::query_as(sql)
        .bind(viewer.user())
        .bind(filter.project_id)
        .bind(filter.assignee_id)
        .bind(filter.status.map(Status::as_str))
        .bind(after.map(|(created_at, _)| created_at))
        .bind(after.map(|(_, id)| id))
        .bind(limit)
        .fetch_all(pool)
        .await
}
