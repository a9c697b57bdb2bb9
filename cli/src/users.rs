//! `tributary users`: lists users and one's own sessions, and registers administrators. The API registers
//! users only, so the first administrator is registered here, with access to the database.

use std::path::PathBuf;

use commands::Envelope;
use commands::users::{InvalidPassword, Password, Registration, Users, now};
use domain::Role;
use domain::users::{EmailAddress, FullName, Personal};
use eventsourcing::Metadata;
use eventstore::{EventStore, Tasks};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::outcome::Failure;
use super::rows::{Listing, Server, WAIT};
use super::{output, password};
use gateway::config::Database;

/// Database connections.
const CONNECTIONS: u32 = 2;
/// Columns of the table.
const COLUMNS: [&str; 5] = ["id", "email", "full_name", "role", "created_at"];
/// Path and columns of the list of sessions.
const SESSIONS: &str = "/api/v1/users/me/sessions";
const SESSION_COLUMNS: [&str; 5] = ["id", "created_at", "refreshed_at", "expires_at", "current"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List users, newest first; requires the administrator role
    List(Listing),
    /// Register an administrator, by appending to the log directly
    CreateAdmin(CreateAdmin),
    /// Give a user a device namespace, so that the devices of that name are the user's; requires the
    /// administrator role
    SetNamespace(SetNamespace),
    /// List your own sign-in sessions, newest first
    Sessions(Listing),
    /// End one of your own sign-in sessions, so that it cannot be refreshed
    EndSession(EndSession),
}

#[derive(Debug, clap::Args)]
pub(super) struct CreateAdmin {
    /// E-mail address that the administrator signs in with
    #[arg(long)]
    email: EmailAddress,
    /// Full name of the administrator
    #[arg(long, default_value = "Administrator")]
    full_name: FullName,
    /// File whose first line is the password; without it, a terminal asks, or it is the first line of
    /// stdin
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    database: Database,
}

#[derive(Debug, clap::Args)]
pub(super) struct SetNamespace {
    /// Id of the user, as `GET /api/v1/users` shows it
    user: Uuid,
    /// Name of the namespace: the user id of the devices, as in `users/NAME/devices/…`
    #[arg(required_unless_present = "none", conflicts_with = "none")]
    name: Option<String>,
    /// Take the namespace away
    #[arg(long)]
    none: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct EndSession {
    /// Id of the session, as `tributary users sessions` shows it
    id: Uuid,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(listing) => listing.show("/api/v1/users", &[], &COLUMNS).await,
        Command::CreateAdmin(args) => create_admin(args).await,
        Command::SetNamespace(SetNamespace { user, name, none: _, server }) => {
            let (path, body) =
                (format!("/api/v1/users/{user}/namespace"), json!({"namespace": name}));
            server.connect().await?.put(&path).json(&body).wait(WAIT).send::<Value>().await?;
            Ok(())
        }
        Command::Sessions(listing) => listing.show(SESSIONS, &[], &SESSION_COLUMNS).await,
        Command::EndSession(EndSession { id, server }) => {
            let path = format!("{SESSIONS}/{id}");
            server.connect().await?.delete(&path).wait(WAIT).send::<Value>().await?;
            Ok(())
        }
    }
}

async fn create_admin(args: CreateAdmin) -> Result<(), Failure> {
    let text = password::read(args.password_file.as_deref())?;
    let invalid = |error: InvalidPassword| Failure::usage(vec![error.to_string()]);
    let password: Password = text.parse().map_err(invalid)?;
    let personal = Personal { email: args.email, full_name: args.full_name };

    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let pool = eventstore::pool(args.database.options()?, CONNECTIONS);
    let store = EventStore::open(pool, &tasks, shutdown.clone());
    let outcome = register(&Users::new(store), personal, password, Role::Admin, "cli").await;
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    output::line(&outcome.map_err(failure)?.to_string())
}

/// Registers a user and returns the user id; `actor` is recorded in the events.
pub(super) async fn register(
    users: &Users,
    personal: Personal,
    password: Password,
    role: Role,
    actor: &str,
) -> Result<Uuid, commands::users::Error> {
    let (id, now) = (Uuid::now_v7(), now());
    let registration = Registration { id, personal, password, role, now };
    let metadata = Metadata { actor: Some(actor.to_owned()), ..Metadata::default() };
    users.register(registration, Envelope { metadata, ..Envelope::default() }).await?;
    Ok(id)
}

fn failure(error: commands::users::Error) -> Failure {
    use commands::Error::Unavailable;
    match error {
        commands::users::Error::User(Unavailable(error)) => Failure::not_reachable(error),
        other => anyhow::Error::from(other).into(),
    }
}
