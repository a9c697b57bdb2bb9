//! `tributary projects`: create projects, look at them, and say who belongs to them.

use serde_json::json;
use uuid::Uuid;

use super::client::Client;
use super::outcome::Failure;
use super::rows;
use gateway::config::Server;

const PATH: &str = "/api/v1/projects";
const COLUMNS: [&str; 4] = ["id", "name", "owner_id", "archived"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List projects, newest first
    List(List),
    /// Show one project
    Show(One),
    /// Create a project
    Create(Create),
    /// Archive a project: it can only be read from then on
    Archive(One),
    /// Let somebody read a project and work on its tasks
    AddMember(Member),
    /// Let somebody do so no more
    RemoveMember(Member),
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
    /// Archived ones, too
    #[arg(long)]
    archived: bool,
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
    name: String,
    /// What it is about
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Member {
    id: Uuid,
    user_id: Uuid,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(List { archived, limit, common }) => {
            let query = [("archived", archived.to_string()), ("limit", limit.to_string())];
            let page = Client::new(common.server)?.get(PATH, &query).await?;
            rows::show_page(&page, &COLUMNS, common.json)
        }
        Command::Show(One { id, common }) => {
            show(&Client::new(common.server)?, id, common.json).await
        }
        Command::Create(Create { name, description, common }) => {
            let body = json!({"name": name, "description": description});
            let project = Client::new(common.server)?.post(PATH, &body).await?;
            rows::show_one(project, &COLUMNS, common.json)
        }
        Command::Archive(One { id, common }) => {
            let client = Client::new(common.server)?;
            client.delete(&format!("{PATH}/{id}")).await?;
            show(&client, id, common.json).await
        }
        Command::AddMember(Member { id, user_id, common }) => {
            let client = Client::new(common.server)?;
            client.put(&format!("{PATH}/{id}/members/{user_id}"), &json!({})).await?;
            show(&client, id, common.json).await
        }
        Command::RemoveMember(Member { id, user_id, common }) => {
            let client = Client::new(common.server)?;
            client.delete(&format!("{PATH}/{id}/members/{user_id}")).await?;
            show(&client, id, common.json).await
        }
    }
}

async fn show(client: &Client, id: Uuid, json: bool) -> Result<(), Failure> {
    let project = client.get(&format!("{PATH}/{id}"), &()).await?;
    rows::show_one(project, &COLUMNS, json)
}
