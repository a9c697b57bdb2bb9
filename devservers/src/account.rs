//! The user that a server runs as when this process runs as root: Postgres refuses to run as root,
//! and Mosquitto would change its user itself, which clears the parent-death signal.

use super::error::Error;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use tokio::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// Chooses the account for a server whose files are in `directory`; none unless this process
    /// runs as root.
    ///
    /// The owner of the directory, unless that is root, so that a project started as an ordinary
    /// user and then as root keeps its data. Otherwise the first of `names` that exists.
    pub(super) async fn choose(
        program: &'static str,
        directory: &Path,
        names: &'static [&'static str],
    ) -> Result<Option<Self>, Error> {
        if id("-u", None).await? != Some(0) {
            return Ok(None);
        }
        let owner = directory.metadata().map_err(Error::file("inspect", directory))?;
        if owner.uid() != 0 {
            return Ok(Some(Self { uid: owner.uid(), gid: owner.gid() }));
        }
        for name in names {
            if let (Some(uid), Some(gid)) =
                (id("-u", Some(name)).await?, id("-g", Some(name)).await?)
            {
                return Ok(Some(Self { uid, gid }));
            }
        }
        Err(Error::NoAccount { program, names })
    }

    /// Whether this user can enter `directory`. Runs `cd` as that user, because mode bits do not
    /// show ACLs and mounts.
    pub(super) async fn can_enter(self, directory: &Path) -> Result<bool, Error> {
        let status = Command::new("sh")
            .args([OsStr::new("-c"), OsStr::new("cd \"$0\" 2>&-"), directory.as_os_str()])
            .current_dir("/")
            .uid(self.uid)
            .gid(self.gid)
            .status();
        Ok(status.await.map_err(spawn_error("sh"))?.success())
    }

    pub(super) fn own(self, directory: &Path) -> Result<(), Error> {
        chown(directory, Some(self.uid), Some(self.gid))
            .map_err(Error::file("change the owner of", directory))
    }
}

/// Returns a number printed by `id`, which also knows users that are not in /etc/passwd; none if
/// there is no such user.
async fn id(which: &str, name: Option<&str>) -> Result<Option<u32>, Error> {
    let output = Command::new("id").arg(which).args(name).output();
    let output = output.await.map_err(spawn_error("id"))?;
    Ok(std::str::from_utf8(&output.stdout).ok().and_then(|number| number.trim().parse().ok()))
}

fn spawn_error(program: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Spawn { program: program.to_owned(), source }
}
