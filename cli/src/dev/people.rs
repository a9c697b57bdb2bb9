//! The people of the demo: two own devices, projects and orders, one works in the warehouse.

use commands::Envelope;
use commands::users::{Error, Users};
use domain::users::{Namespace, Personal, namespace};
use domain::{Actor, Role};
use eventsourcing::Metadata;
use uuid::Uuid;

use super::admin::{Administrator, account};

/// A registered person.
#[derive(Debug, Clone, Copy)]
pub(super) struct Person {
    /// User id.
    pub(super) id: Uuid,
    /// Role at the registration.
    pub(super) role: Role,
}

/// The people of the demo. All have the password of the administrator, which is random.
#[derive(Debug, Clone, Copy)]
pub(super) struct People {
    /// Owner of the devices of `ada`.
    pub(super) ada: Person,
    /// Owner of the devices of `grace`.
    pub(super) grace: Person,
    /// Operator of the warehouse.
    pub(super) lin: Person,
}

impl Person {
    /// Returns the person as the actor of a command.
    pub(super) fn actor(self) -> Actor {
        Actor { id: self.id, role: self.role }
    }

    /// Returns an envelope whose events name the person.
    pub(super) fn envelope(self) -> Envelope {
        let metadata = Metadata { actor: Some(self.id.to_string()), ..Metadata::default() };
        Envelope { metadata, ..Envelope::default() }
    }
}

/// Returns the people of an earlier run, or registers them.
pub(super) async fn register(users: &Users, admin: &Administrator) -> anyhow::Result<People> {
    let register = async |name: &str, full_name: &str, role| {
        let email = format!("{name}@tributary.localhost").parse()?;
        let personal = Personal { email, full_name: full_name.parse()? };
        let id = account(users, personal, admin.password.expose().parse()?, role).await?;
        anyhow::Ok(Person { id, role })
    };
    let people = People {
        ada: register("ada", "Ada Lovelace", Role::User).await?,
        grace: register("grace", "Grace Hopper", Role::User).await?,
        lin: register("lin", "Lin Warehouse", Role::Operator).await?,
    };
    let admin = Person { id: admin.id, role: Role::Admin };
    for (person, name) in [(people.ada, "ada"), (people.grace, "grace")] {
        let namespace = Namespace::try_from(Box::from(name))?;
        let given =
            users.change_namespace(person.id, Some(namespace), admin.actor(), admin.envelope());
        match given.await {
            // Someone gave it to another user.
            Err(Error::Namespace(commands::Error::Rejected(namespace::Rejection::Taken))) => {}
            outcome => drop(outcome?),
        }
    }
    Ok(people)
}
