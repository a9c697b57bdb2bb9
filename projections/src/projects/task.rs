//! Tasks: the fold of their events, and the queries.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use domain::projects::task::Event;
use domain::projects::{Change, Status};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, PgPool, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Viewer;
use crate::by_name::{ByName, Named};
use crate::columns::Columns;
use crate::list::{CREATED, Key, Page, Section};

/// The changes of a batch of events.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) created: Vec<Row>,
    pub(super) updates: HashMap<Uuid, Update>,
    pub(super) deleted: HashSet<Uuid>,
}

/// What later events change; `None` leaves a column as it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) title: Option<String>,
    pub(super) description: Change<String>,
    pub(super) assignee_id: Change<Uuid>,
    pub(super) status: Option<Status>,
    pub(super) due_at: Change<DateTime<Utc>>,
    pub(super) at: DateTime<Utc>,
    pub(super) version: i64,
}

impl Changes {
    pub(super) fn apply(&mut self, id: Uuid, event: &Event, at: DateTime<Utc>, version: i64) {
        if let Event::TaskCreated { project_id, title, description, assignee_id, due_at } = event {
            let (title, description) = (title.clone(), description.clone());
            let (assignee_id, due_at) = (*assignee_id, *due_at);
            let new = New { project_id: *project_id, title, description, assignee_id, due_at };
            self.created.push(Row::created(id, new, at));
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
        Columns::of(&self.created)
            .column("id", |row| row.id)
            .column("project_id", |row| row.project_id)
            .column("title", |row| row.title.as_str())
            .column("description", |row| row.description.as_deref())
            .column("assignee_id", |row| row.assignee_id)
            .column("status", |row| row.status.0.name())
            .column("due_at", |row| row.due_at)
            .column("created_at", |row| row.created_at)
            .column("updated_at", |row| row.updated_at)
            .column("version", |row| row.version)
            .insert("task", "", connection)
            .await?;
        let updates: Vec<_> = self.updates.into_iter().collect();
        Columns::of(&updates)
            .column("id", |(id, _)| *id)
            .column("title", |(_, update)| update.title.as_deref())
            .column("description_stays", |(_, update)| update.description.is_same())
            .column("description", |(_, update)| update.description.value())
            .column("assignee_stays", |(_, update)| update.assignee_id.is_same())
            .column("assignee_id", |(_, update)| update.assignee_id.value())
            .column("status", |(_, update)| update.status.map(Named::name))
            .column("due_stays", |(_, update)| update.due_at.is_same())
            .column("due_at", |(_, update)| update.due_at.value())
            .column("at", |(_, update)| update.at)
            .column("version", |(_, update)| update.version)
            .execute(
                "update task as t set
                   title = coalesce(n.title, t.title),
                   description =
                     case when n.description_stays then t.description else n.description end,
                   assignee_id =
                     case when n.assignee_stays then t.assignee_id else n.assignee_id end,
                   status = coalesce(n.status, t.status),
                   due_at = case when n.due_stays then t.due_at else n.due_at end,
                   updated_at = n.at, version = n.version
                 from {n} where t.id = n.id",
                connection,
            )
            .await?;
        let deleted: Vec<_> = self.deleted.into_iter().collect();
        Columns::of(&deleted)
            .column("id", |id| *id)
            .execute("delete from task as t using {n} where t.id = n.id", connection)
            .await
    }
}

/// A [`Status`] in a row.
pub type StatusName = ByName<Status>;

impl Named for Status {
    const SCHEMA: &'static str = "TaskStatus";
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.as_str()
    }
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, ToSchema)]
#[schema(as = Task)]
pub struct Row {
    /// Id of the task.
    pub id: Uuid,
    /// Project of the task.
    pub project_id: Uuid,
    /// Title of the task.
    pub title: String,
    /// Null if there is none.
    pub description: Option<String>,
    /// A member of the project at the time of the assignment, who keeps the task when removed from
    /// the project; null if the task is unassigned.
    pub assignee_id: Option<Uuid>,
    /// Progress of the task.
    pub status: StatusName,
    /// Whether the project of the task is archived, and so the task read-only.
    pub archived: bool,
    /// Null if the task has no due time.
    pub due_at: Option<DateTime<Utc>>,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
    /// Time of the last event of the task.
    pub updated_at: DateTime<Utc>,
    /// Version of its stream.
    #[serde(skip)]
    pub version: i64,
}

/// What is known of a task when it is created.
#[derive(Debug, Clone)]
pub struct New {
    /// Project of the task.
    pub project_id: Uuid,
    /// Title of the task.
    pub title: String,
    /// `None` if there is none.
    pub description: Option<String>,
    /// `None` if the task is unassigned.
    pub assignee_id: Option<Uuid>,
    /// `None` if the task has no due time.
    pub due_at: Option<DateTime<Utc>>,
}

impl Row {
    /// A task right after it was created.
    pub fn created(id: Uuid, new: New, at: DateTime<Utc>) -> Self {
        let New { project_id, title, description, assignee_id, due_at } = new;
        Self {
            id,
            project_id,
            title,
            description,
            assignee_id,
            status: ByName(Status::ToDo),
            archived: false,
            due_at,
            created_at: at,
            updated_at: at,
            version: 1,
        }
    }
}

/// Conditions on tasks; `None` is no condition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    /// Project of the task.
    pub project_id: Option<Uuid>,
    /// User the task is assigned to.
    pub assignee_id: Option<Uuid>,
    /// Progress of the task.
    pub status: Option<Status>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select id, project_id, title, description, assignee_id, status, due_at, created_at,
                    updated_at, version, coalesce(
                      (select archived from projects.project where id = t.project_id), false
                    ) as archived
             from ",
            $rest
        )
    };
}

/// Returns the task of this id, if `viewer` may see its project.
pub async fn get(pool: &PgPool, viewer: Viewer, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(select!(
        "projects.task t
         where id = $2 and ($1::uuid is null
           or exists (select from projects.project p
                      where p.id = t.project_id and p.owner_id = $1)
           or exists (select from projects.member m
                      where m.project_id = t.project_id and m.user_id = $1))"
    ))
    .bind(viewer.user())
    .bind(id)
    .fetch_optional(pool)
    .await
}

/// Lists tasks of projects that `viewer` may see, newest first, after the cursor `after`: time of
/// creation and id of the last one seen. For a user, it takes a page of each of the user's projects.
pub async fn list(
    pool: &PgPool,
    viewer: Viewer,
    filter: Filter,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let statuses = filter.status.as_ref().map_or(<Status as Named>::ALL, std::slice::from_ref);
    let mut query = QueryBuilder::new(select!("unnest("));
    query.push_bind(statuses.iter().map(|status| status.name()).collect::<Vec<_>>());
    query.push(") as each (value)");
    if let Viewer::User(user) = viewer {
        query.push(" cross join (select id as project from projects.project where owner_id = ");
        query.push_bind(user);
        if let Some(project) = filter.project_id {
            query.push(" and id = ").push_bind(project);
        }
        query.push(" union all select project_id from projects.member where user_id = ");
        query.push_bind(user);
        if let Some(project) = filter.project_id {
            query.push(" and project_id = ").push_bind(project);
        }
        query.push(" offset 0) visible");
    }
    query.push(" cross join lateral (select * from projects.task where true");
    let project = match (viewer, filter.project_id) {
        (Viewer::User(_), _) => Some(Key::Sql("visible.project")),
        (Viewer::All, project) => project.map(Key::Uuid),
    };
    if filter.assignee_id.is_some() {
        query.push(" and assignee_id is not null"); // As the indexes that begin with it.
    }
    let section = Section::default()
        .by_some("project_id", project)
        .by_some("assignee_id", filter.assignee_id.map(Key::Uuid))
        .by("status", Key::Sql("each.value"));
    section.newest_first(&mut query, CREATED, &Page { after, limit, ..Page::default() });
    query.push(") t order by created_at desc, id desc limit ").push_bind(limit);
    query.build_query_as().fetch_all(pool).await
}
