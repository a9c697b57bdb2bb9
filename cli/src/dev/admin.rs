//! The administrator of `tributary dev`: registered at the first start with a random password, which
//! is kept in a file for later starts.

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

/// E-mail address of the administrator. Names under `localhost` belong to no one (RFC 6761).
pub(super) const EMAIL: &str = "admin@tributary.localhost";
/// File that holds the password, with mode 0600.
const FILE: &str = "admin-password";
/// Length of the password, in characters.
const CHARACTERS: usize = 24;

/// The credentials of the administrator.
pub(super) struct Administrator {
    /// User id.
    pub(super) id: Uuid,
    /// Password to sign in with.
    pub(super) password: Secret,
}

/// Returns the administrator of an earlier run, or registers one.
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
        Err(Error::Email(commands::Error::Rejected(email_claim::Rejection::Taken))) => users
            .owner_of(&email)
            .await?
            .context("the e-mail address is claimed, but no user has it")?,
        outcome => outcome?,
    };
    Ok(Administrator { id, password: text.parse()? })
}

fn password(file: &Path) -> anyhow::Result<String> {
    use std::os::unix::fs::OpenOptionsExt;
    if file.exists() {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        return Ok(text.trim().to_owned());
    }
    let random = rand::rng().sample_iter(Alphanumeric).take(CHARACTERS);
    let text: String = random.map(char::from).collect();
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
        .open(file)
        .and_then(|mut file| writeln!(file, "{text}"))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(text)
}
