//! Demo data: people, rules, an hour of readings, a day of page views, a shop, a project, and two works.
//! What an earlier run wrote, or a person changed since, stays as it is.

mod history;
mod projects;
mod shop;

use commands::{Done, Envelope, Error, Handlers};
use domain::alerts::{self, Scope, rules_stream};
use domain::works::{Command, stream};
use eventsourcing::{Metadata, Reject, Version};
use uuid::Uuid;

use super::admin::Administrator;
use super::people::{self, People};
use super::sensors;
use gateway::parts::Parts;
use gateway::work_code::work_code;

pub(super) use projects::TASKS;
pub(super) use shop::{PRODUCTS, Product};

/// `add_up_to` of each work.
const WORKS: [u32; 2] = [100, 1_000_000];
/// Users that own devices.
const OWNERS: [&str; 2] = ["ada", "grace"];

/// Writes the demo data that is missing. Returns the people.
pub(super) async fn seed(parts: &Parts, admin: &Administrator) -> anyhow::Result<People> {
    let handlers = Handlers::new(&parts.store);
    let people = people::register(&handlers.users, admin).await?;
    // Before the readings, which then raise alerts.
    for user_id in OWNERS {
        let scope = Scope::User(user_id.into());
        let stream = rules_stream(&scope);
        if handlers.rules.load(&stream).await?.version == Version::NONE {
            let config = sensors::rules(user_id)?;
            let command = alerts::Command::Configure { scope, config };
            handlers.rules.execute(&stream, command, envelope()).await?;
        }
    }
    let first = history::write(&parts.store).await?;
    shop::open(&handlers, people.lin).await?;
    projects::create(&handlers.projects, people).await?;
    if first {
        for add_up_to in WORKS {
            let command = Command::Demand { work_code: work_code("api"), add_up_to };
            handlers.works.create(&stream(Uuid::now_v7()), command, envelope()).await?;
        }
    }
    Ok(people)
}

/// Returns an envelope whose events name this command as their actor.
fn envelope() -> Envelope {
    let metadata = Metadata { actor: Some("dev".into()), ..Metadata::default() };
    Envelope { metadata, ..Envelope::default() }
}

/// Returns `Ok` for a refused command, too: an earlier run executed it, or a person has changed its
/// object since.
fn unless_refused<R: Reject>(outcome: Result<Done, Error<R>>) -> Result<(), Error<R>> {
    match outcome {
        Err(Error::Rejected(_)) => Ok(()),
        outcome => outcome.map(drop),
    }
}
