//! `tributary tasks`: list, show, create, move, assign and delete tasks.

use domain::projects::Status;
use serde_json::{Value, json};
use uuid::Uuid;

use super::outcome::Failure;
use super::output;
use super::rows::{Common, Listing, WAIT};
use super::when::{self, When};

const PATH: &str = "/api/v1/tasks";
/// Columns of the table.
const COLUMNS: [&str; 6] = ["id", "title", "status", "assignee_id", "due_at", "archived"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List tasks, newest first
    List(List),
    /// Show a task
    Show(One),
    /// Create a task
    Create(Create),
    /// Move a task one status forward or back: `ToDo`, `InProgress`, `Done`
    Move(Move),
    /// Assign a task to a member of its project, or to no one
    Assign(Assign),
    /// Delete a task
    Delete(One),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// List only tasks of this project
    #[arg(long, value_name = "ID")]
    project: Option<Uuid>,
    /// List only tasks assigned to this user
    #[arg(long, value_name = "USER_ID")]
    assignee: Option<Uuid>,
    /// List only tasks with this status: `ToDo`, `InProgress` or `Done`
    #[arg(long)]
    status: Option<Status>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Task id
    id: Uuid,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// Title of the task
    title: String,
    /// Project that the task belongs to
    #[arg(long, value_name = "ID")]
    project: Uuid,
    /// Description of the task
    #[arg(long)]
    description: Option<String>,
    /// Assign the task to this member of the project
    #[arg(long, value_name = "USER_ID")]
    assignee: Option<Uuid>,
    /// Time the task is due: `2026-11-26T14:00:00Z`, `next friday 9:00`, `3 days`
    #[arg(long, value_name = "TIME")]
    due: Option<When>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Move {
    /// Task id
    id: Uuid,
    /// New status: `ToDo`, `InProgress` or `Done`
    status: Status,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Assign {
    /// Task id
    id: Uuid,
    /// User id of the assignee; without it the task is unassigned
    user_id: Option<Uuid>,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    let path = |id: Uuid| format!("{PATH}/{id}");
    match command {
        Command::List(List { project, assignee, status, listing }) => {
            let parameters = [
                ("project_id", project.map(|id| id.to_string())),
                ("assignee_id", assignee.map(|id| id.to_string())),
                ("status", status.map(|status| status.to_string())),
            ];
            listing.show(PATH, &parameters, &COLUMNS).await
        }
        Command::Show(One { id, common }) => common.show(&path(id), &COLUMNS).await,
        Command::Create(args) => {
            let Create { title, project, description, assignee, due, common } = args;
            let body = json!({
                "project_id": project, "title": title, "description": description,
                "assignee_id": assignee, "due_at": when::parameter(due),
            });
            common.create(PATH, &body, &COLUMNS).await
        }
        Command::Move(Move { id, status, common }) => {
            patch(&path(id), &json!({"status": status}), common).await
        }
        Command::Assign(Assign { id, user_id, common }) => {
            patch(&path(id), &json!({"assignee_id": user_id}), common).await
        }
        Command::Delete(One { id, common }) => {
            common.server.connect().await?.delete(&path(id)).wait(WAIT).send::<Value>().await?;
            output::note("deleted");
            Ok(())
        }
    }
}

async fn patch(path: &str, changes: &Value, common: Common) -> Result<(), Failure> {
    common.change(|client| client.patch(path).json(changes), path, &COLUMNS).await
}
