//! `tributary tasks`: create tasks, look at them, move and assign them.

use chrono::{DateTime, Utc};
use domain::projects::Status;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::Client;
use super::outcome::Failure;
use super::{output, rows};
use gateway::config::Server;

const PATH: &str = "/api/v1/tasks";
const COLUMNS: [&str; 5] = ["id", "title", "status", "assignee_id", "due_at"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List tasks, newest first
    List(List),
    /// Show one task
    Show(One),
    /// Create a task
    Create(Create),
    /// Move a task: `ToDo` to `InProgress` to `Done`, and back in the same steps
    Move(Move),
    /// Assign a task to a member of its project
    Assign(Assign),
    /// Delete a task
    Delete(One),
}

/// What every one of them is told.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only those of this project
    #[arg(long, value_name = "ID")]
    project: Option<Uuid>,
    /// Only those that are assigned to this user
    #[arg(long, value_name = "USER_ID")]
    assignee: Option<Uuid>,
    /// Only those of this status
    #[arg(long)]
    status: Option<Status>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    id: Uuid,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    title: String,
    /// The project it belongs to
    #[arg(long, value_name = "ID")]
    project: Uuid,
    /// What it is about
    #[arg(long)]
    description: Option<String>,
    /// Who is to do it
    #[arg(long, value_name = "USER_ID")]
    assignee: Option<Uuid>,
    /// When it is due (RFC 3339)
    #[arg(long, value_name = "TIME")]
    due: Option<DateTime<Utc>>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Move {
    id: Uuid,
    /// `ToDo`, `InProgress` or `Done`
    status: Status,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Assign {
    id: Uuid,
    /// Nobody, if left out
    user_id: Option<Uuid>,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => list(args).await,
        Command::Show(One { id, common }) => {
            let task = Client::new(common.server)?.get(&format!("{PATH}/{id}"), &()).await?;
            rows::show_one(task, &COLUMNS, common.json)
        }
        Command::Create(args) => {
            let Create { title, project, description, assignee, due, common } = args;
            let body = json!({
                "project_id": project, "title": title, "description": description,
                "assignee_id": assignee, "due_at": due,
            });
            let task = Client::new(common.server)?.post(PATH, &body).await?;
            rows::show_one(task, &COLUMNS, common.json)
        }
        Command::Move(Move { id, status, common }) => {
            change(id, &json!({"status": status}), common).await
        }
        Command::Assign(Assign { id, user_id, common }) => {
            change(id, &json!({"assignee_id": user_id}), common).await
        }
        Command::Delete(One { id, common }) => {
            Client::new(common.server)?.delete(&format!("{PATH}/{id}")).await?;
            output::note("deleted");
            Ok(())
        }
    }
}

async fn list(args: List) -> Result<(), Failure> {
    let List { project, assignee, status, limit, common } = args;
    let query = [
        ("project_id", project.map(|id| id.to_string())),
        ("assignee_id", assignee.map(|id| id.to_string())),
        ("status", status.map(|status| status.to_string())),
        ("limit", Some(limit.to_string())),
    ];
    let given: Vec<_> = query.iter().filter(|(_, value)| value.is_some()).collect();
    let page = Client::new(common.server)?.get(PATH, &given).await?;
    rows::show_page(&page, &COLUMNS, common.json)
}

/// Changes a task, and shows it as it is then.
async fn change(id: Uuid, changes: &Value, common: Common) -> Result<(), Failure> {
    let (client, path) = (Client::new(common.server)?, format!("{PATH}/{id}"));
    client.patch(&path, changes).await?;
    let task = client.get(&path, &()).await?;
    rows::show_one(task, &COLUMNS, common.json)
}
