//! `tributary projects`: list, show, create and archive projects, and manage their members.

use serde_json::json;
use uuid::Uuid;

use super::outcome::Failure;
use super::rows::{Common, Listing};

const PATH: &str = "/api/v1/projects";
/// Columns of the table.
const COLUMNS: [&str; 4] = ["id", "name", "owner_id", "archived"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List projects, newest first
    List(List),
    /// Show a project
    Show(One),
    /// Create a project
    Create(Create),
    /// Archive a project; an archived project is read-only
    Archive(One),
    /// Add a member, who may read the project and work on its tasks
    AddMember(Member),
    /// Remove a member
    RemoveMember(Member),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// List archived projects too
    #[arg(long)]
    archived: bool,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Project id
    id: Uuid,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// Name of the project
    name: String,
    /// Description of the project
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Member {
    /// Project id
    id: Uuid,
    /// User id of the member
    user_id: Uuid,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    let path = |id: Uuid| format!("{PATH}/{id}");
    let member = |args: &Member| format!("{PATH}/{}/members/{}", args.id, args.user_id);
    match command {
        Command::List(List { archived, listing }) => {
            listing.show(PATH, &[("archived", Some(archived.to_string()))], &COLUMNS).await
        }
        Command::Show(One { id, common }) => common.show(&path(id), &COLUMNS).await,
        Command::Create(Create { name, description, common }) => {
            let body = json!({"name": name, "description": description});
            common.create(PATH, &body, &COLUMNS).await
        }
        Command::Archive(One { id, common }) => {
            common.change(|client| client.delete(&path(id)), &path(id), &COLUMNS).await
        }
        Command::AddMember(args) => {
            let (member, project) = (member(&args), path(args.id));
            args.common
                .change(|client| client.put(&member).json(&json!({})), &project, &COLUMNS)
                .await
        }
        Command::RemoveMember(args) => {
            let (member, project) = (member(&args), path(args.id));
            args.common.change(|client| client.delete(&member), &project, &COLUMNS).await
        }
    }
}
