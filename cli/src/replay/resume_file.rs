//! The file that outlives a replay: how far it came, and under which name. Under the same name what
//! it tells twice is the same message, so that a stream swallows it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use eventsourcing::Position;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResumeFile {
    /// Everything up to here has arrived.
    pub(super) position: Position,
    pub(super) run: String,
}

impl ResumeFile {
    /// None if there is no such file yet.
    pub(super) fn read(file: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| file.display().to_string())?,
        };
        let saved = text.trim().split_once(' ').and_then(|(position, run)| {
            let position = position.parse().ok().filter(|position| *position >= 0)?;
            Some(Self { position: Position(position), run: run.to_owned() })
        });
        saved
            .with_context(|| format!("{} is not what a replay has saved", file.display()))
            .map(Some)
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        // A crash in between leaves the old one.
        let beside = file.with_added_extension("new");
        let mut new = File::create(&beside)?;
        writeln!(new, "{} {}", self.position, self.run)?;
        fs::rename(&beside, file)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        let file = std::env::temp_dir().join(format!("tributary-saved-{}", std::process::id()));
        assert_eq!(ResumeFile::read(&file).unwrap(), None);
        let saved = ResumeFile { position: Position(7), run: "a-run".into() };
        saved.write(&file).unwrap();
        assert_eq!(ResumeFile::read(&file).unwrap(), Some(saved));
        fs::write(&file, "seven a-run").unwrap();
        assert!(ResumeFile::read(&file).is_err());
        fs::remove_file(&file).unwrap();
    }
}
