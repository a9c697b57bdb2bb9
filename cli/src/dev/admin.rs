//! The first administrator of a private system: made at the first start, with a password drawn at
//! random that only the owner of the directory can read, and the same at every later one.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use commands::users::{Error, Password, Users};
use domain::users::{EmailAddress, Personal, email_claim};
use rand::RngExt;
use rand::distr::Alphanumeric;
use uuid::Uuid;

use super::super::users::register_admin;
use gateway::config::Secret;
use gateway::parts::Parts;

/// Whom one signs in as. `localhost` has no mail and no owner.
pub(super) const EMAIL: &str = "admin@tributary.localhost";
/// Where the password is kept.
const FILE: &str = "admin-password";
/// Random characters of the password.
const CHARACTERS: usize = 24;

/// An administrator one can sign in as.
pub(super) struct Administrator {
    pub(super) id: Uuid,
    pub(super) password: Secret,
}

/// The administrator of an earlier run, or a new one.
pub(super) async fn administrator(
    parts: &Parts,
    directory: &Path,
) -> anyhow::Result<Administrator> {
    let text = password(&directory.join(FILE))?;
    let email: EmailAddress = EMAIL.parse()?;
    let personal = Personal { email: email.clone(), full_name: "Administrator".parse()? };
    let users = Users::new(parts.store.clone());
    let password: Password = text.parse()?;
    let id = match register_admin(&users, personal, password, "dev").await {
        Err(Error::Email(commands::Error::Rejected(email_claim::Rejection::Taken))) => {
            users.owner_of(&email).await?.context("the address is taken by nobody")?
        }
        outcome => outcome?,
    };
    Ok(Administrator { id, password: text.parse()? })
}

fn password(file: &Path) -> anyhow::Result<String> {
    use std::os::unix::fs::OpenOptionsExt;
    if file.exists() {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{} cannot be read", file.display()))?;
        return Ok(text.trim().to_owned());
    }
    let random = rand::rng().sample_iter(Alphanumeric).take(CHARACTERS);
    let text: String = random.map(char::from).collect();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
        .open(file)
        .and_then(|mut file| writeln!(file, "{text}"))
        .with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(text)
}
