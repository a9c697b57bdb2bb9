//! `tributary contexts`: lists, chooses and removes the servers and accounts that `tributary login`
//! signed in to.

use serde_json::Value;

use super::context_store::{ConfigHome, Context, Contexts};
use super::outcome::Failure;
use super::output::{Format, OutputFormat};
use super::rows;
use gateway::config::ServerUrl;

/// Columns of the table.
const COLUMNS: [&str; 5] = ["current", "name", "url", "email", "signed_in"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List contexts
    List(List),
    /// Use a context for commands without --context
    Use(One),
    /// Remove a context and its tokens; `tributary logout` ends the session, too
    Remove(One),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    home: ConfigHome,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Name of the context
    name: String,
    #[command(flatten)]
    home: ConfigHome,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(List { format, home }) => list(&home.store()?.read()?, format),
        Command::Use(One { name, home }) => {
            let store = home.store()?;
            let mut locked = store.lock()?;
            locked.contexts.select(Some(&name))?;
            locked.contexts.current = Some(name);
            locked.write()
        }
        Command::Remove(One { name, home }) => {
            let store = home.store()?;
            let mut locked = store.lock()?;
            locked.contexts.select(Some(&name))?;
            locked.contexts.contexts.remove(&name);
            locked.contexts.current.take_if(|current| *current == name);
            locked.write()
        }
    }
}

fn list(contexts: &Contexts, format: Format) -> Result<(), Failure> {
    let object = |(name, context): (&String, &Context)| {
        let is_current = contexts.current.as_ref() == Some(name);
        let current = match format.selected() {
            OutputFormat::Table => Value::from(if is_current { "*" } else { "" }),
            OutputFormat::Json | OutputFormat::Csv => Value::from(is_current),
        };
        let url = context.url.parse::<ServerUrl>().map(|url| url.to_string()).unwrap_or_default();
        let email = &context.email;
        serde_json::json!({
            "current": current, "name": name, "url": url, "email": email,
            "signed_in": context.session.is_some(),
        })
    };
    let objects: Vec<_> = contexts.contexts.iter().map(object).collect();
    rows::show_all(&objects, &COLUMNS, format)
}
