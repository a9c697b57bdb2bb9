//! The file `tributary/contexts.json`: servers and the sessions of accounts there. Only its user may
//! read it. It is replaced as a whole, under a lock: refresh tokens are valid once, so of two processes
//! that refresh one session the second must see what the first has stored.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use client::Tokens;
use serde::{Deserialize, Serialize};

use super::ca_file::CaFile;
use super::outcome::Failure;

/// A server and an account there.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Context {
    /// URL of the server.
    pub(super) url: String,
    /// File with the certificates of the CA that signs the server's; none: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ca_file: Option<PathBuf>,
    /// E-mail address of the account.
    pub(super) email: String,
    /// The session; none after `tributary logout`.
    pub(super) session: Option<Session>,
}

impl Context {
    /// The file of its CA, for errors that name it by `name`.
    pub(super) fn ca_file<'a>(&'a self, name: &'a str) -> Option<CaFile<'a>> {
        self.ca_file.as_deref().map(|path| CaFile::Context(name, path))
    }

    /// Whether `url` is the address of its server.
    pub(super) fn is_at(&self, url: &str) -> bool {
        self.url.trim_end_matches('/') == url.trim_end_matches('/')
    }
}

/// Tokens of a session.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) access_token: String,
    /// When the access token expires, by the clock of this computer.
    pub(super) expires_at: DateTime<Utc>,
    pub(super) refresh_token: String,
}

impl From<Tokens> for Session {
    fn from(tokens: Tokens) -> Self {
        let lifetime = std::time::Duration::from_secs(tokens.expires_in);
        Self {
            access_token: tokens.access_token,
            expires_at: Utc::now() + lifetime,
            refresh_token: tokens.refresh_token,
        }
    }
}

/// The content of the file.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Contexts {
    /// Name of the context that is used without `--context`.
    pub(super) current: Option<String>,
    /// By name.
    pub(super) contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// Returns the context `name`, or the current one, with its name.
    pub(super) fn select(&self, name: Option<&str>) -> Result<(&str, &Context), Failure> {
        let Some(name) = name.or(self.current.as_deref()) else {
            let message = "not signed in: run `tributary login`, or set TRIBUTARY_TOKEN (--token)";
            return Err(Failure::usage(vec![message.into()]));
        };
        let unknown = || {
            let message = format!("there is no context `{name}`; see `tributary contexts list`");
            Failure::usage(vec![message])
        };
        let (name, context) = self.contexts.get_key_value(name).ok_or_else(unknown)?;
        Ok((name, context))
    }
}

/// Where contexts are stored.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ConfigHome {
    /// Directory of configuration files, which holds tributary/contexts.json; without it, ~/.config
    #[arg(long, env = "XDG_CONFIG_HOME", value_name = "DIRECTORY")]
    config_home: Option<PathBuf>,
}

impl ConfigHome {
    pub(super) fn store(&self) -> Result<Store, Failure> {
        Store::new(self.config_home.as_deref())
    }
}

/// Where the file is.
pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    /// Returns the store below `config_home`; below `~/.config` without one.
    pub(super) fn new(config_home: Option<&Path>) -> Result<Self, Failure> {
        // A relative path is invalid by the XDG Base Directory Specification.
        let home = config_home.filter(|path| path.is_absolute()).map(Path::to_owned);
        let home = home.or_else(|| Some(std::env::home_dir()?.join(".config")));
        let home = home.context("there is no home directory: set XDG_CONFIG_HOME")?;
        Ok(Self { folder: home.join("tributary") })
    }

    fn file(&self) -> PathBuf {
        self.folder.join("contexts.json")
    }

    /// Reads the file; a missing one holds no context.
    pub(super) fn read(&self) -> Result<Contexts, Failure> {
        let file = self.file();
        let text = match fs::read(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contexts::default()),
            text => text.with_context(|| format!("cannot read {}", file.display()))?,
        };
        let contexts = serde_json::from_slice(&text);
        Ok(contexts.with_context(|| format!("{} does not hold contexts", file.display()))?)
    }

    /// Waits until no other process changes the file, and reads it.
    pub(super) fn lock(&self) -> Result<Locked<'_>, Failure> {
        let opened = || -> io::Result<File> {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            let lock = options.open(self.folder.join("contexts.lock"))?;
            lock.lock()?;
            Ok(lock)
        };
        let lock = opened().with_context(|| format!("cannot lock {}", self.folder.display()))?;
        Ok(Locked { store: self, contexts: self.read()?, _lock: lock })
    }
}

/// The content of the file while no other process changes it.
pub(super) struct Locked<'a> {
    store: &'a Store,
    pub(super) contexts: Contexts,
    /// Unlocked when it is closed.
    _lock: File,
}

impl Locked<'_> {
    /// Replaces the file atomically.
    pub(super) fn write(&self) -> Result<(), Failure> {
        let (file, new) = (self.store.file(), self.store.folder.join("contexts.json.new"));
        let text = serde_json::to_vec_pretty(&self.contexts).map_err(anyhow::Error::from)?;
        let replace = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let mut written =
                options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            written.write_all(&text)?;
            written.sync_all()?;
            fs::rename(&new, &file)
        };
        Ok(replace().with_context(|| format!("cannot write {}", file.display()))?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_file_is_readable_by_its_user_only_and_a_change_waits_for_another() {
        let home = std::env::temp_dir().join(format!("tributary-contexts-{}", std::process::id()));
        let store = Store::new(Some(&home)).unwrap();
        assert!(store.read().unwrap().select(None).is_err());
        let mut locked = store.lock().unwrap();
        let context =
            Context { url: "http://h".into(), ca_file: None, email: "a@h".into(), session: None };
        locked.contexts.contexts.insert("h".into(), context);
        locked.contexts.current = Some("h".into());
        locked.write().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&store.file()), 0o600);
        assert_eq!(mode(&store.folder), 0o700);
        let other = OpenOptions::new().write(true).open(home.join("tributary/contexts.lock"));
        let other = other.unwrap();
        assert!(other.try_lock().is_err(), "another process waits");
        drop(locked);
        assert!(other.try_lock().is_ok());
        assert_eq!(store.read().unwrap().select(None).unwrap().1.email, "a@h");
        assert!(store.read().unwrap().select(Some("x")).is_err());
        fs::remove_dir_all(&home).unwrap();
    }
}
