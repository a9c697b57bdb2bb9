//! The administrator of `tributary dev`: registered at the first start with a random password, which
//! is kept in a file for later starts.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use commands::users::{Error, Password, Users};
use domain::Role;
use domain::users::Personal;
use rand::RngExt;
use rand::distr::Alphanumeric;
use uuid::Uuid;

use super::super::users::register;
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
    let personal = Personal { email: EMAIL.parse()?, full_name: "Administrator".parse()? };
    let users = Users::new(parts.store.clone());
    let id = account(&users, personal, text.parse()?, Role::Admin).await?;
    Ok(Administrator { id, password: text.parse()? })
}

/// Returns the id of the user with this e-mail address; registers one if there is none.
pub(super) async fn account(
    users: &Users,
    personal: Personal,
    password: Password,
    role: Role,
) -> Result<Uuid, Error> {
    match users.owner_of(&personal.email).await? {
        Some(id) => Ok(id),
        None => register(users, personal, password, role, "dev").await,
    }
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
