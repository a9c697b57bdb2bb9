//! The log of a server: both its output streams, which also contain messages from before it has
//! read its configuration.

use super::error::{Error, Excerpt};
use super::home::Home;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

/// A log larger than this is renamed when a server starts, in bytes.
const LIMIT: u64 = 16 << 20;
/// Limits of the excerpt in an error.
const EXCERPT_LINES: usize = 12;
const EXCERPT_BYTES: u64 = 4 << 10;

pub(super) struct Log {
    path: PathBuf,
    pub file: File,
    /// Offset of this run in the file.
    start: u64,
}

impl Log {
    pub(super) fn open(home: &Home) -> Result<Self, Error> {
        let path = home.file("log");
        if path.metadata().is_ok_and(|log| log.len() > LIMIT) {
            fs::rename(&path, home.file("log.old")).map_err(Error::file("rename", &path))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(Error::file("open", &path))?;
        let start = file.metadata().map_err(Error::file("inspect", &path))?.len();
        Ok(Self { path, file, start })
    }

    /// Returns the last lines of this run.
    pub(super) fn excerpt(&self) -> Excerpt {
        let text = self.tail().unwrap_or_else(|error| error.to_string().into_bytes());
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let lines = lines[lines.len().saturating_sub(EXCERPT_LINES)..].join("\n");
        Excerpt { path: self.path.clone(), lines }
    }

    fn tail(&self) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        let near_end = file.metadata()?.len().saturating_sub(EXCERPT_BYTES);
        file.seek(SeekFrom::Start(near_end.max(self.start)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(text)
    }
}
