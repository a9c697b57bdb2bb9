//! The resume file of a replay: its position and the name of its run. A run that is resumed sends
//! events under the same message ids, so a `JetStream` stream deduplicates those sent twice.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use eventsourcing::Position;

/// The content of a resume file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResumeFile {
    /// Every selected event up to here has arrived.
    pub(super) position: Position,
    /// Name of the run, part of its message ids.
    pub(super) run: String,
}

impl ResumeFile {
    /// Reads `file`; returns none if it does not exist.
    pub(super) fn read(file: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", file.display()))?,
        };
        let saved = text.trim().split_once(' ').and_then(|(position, run)| {
            let position = position.parse().ok().filter(|position| *position >= 0)?;
            Some(Self { position: Position(position), run: run.to_owned() })
        });
        saved
            .with_context(|| format!("{} is not a resume file of a replay", file.display()))
            .map(Some)
    }

    /// Replaces `file` atomically.
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let temporary = file.with_added_extension("new");
        let mut new = File::create(&temporary)?;
        writeln!(new, "{} {}", self.position, self.run)?;
        fs::rename(&temporary, file)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_reads_back() {
        let file = std::env::temp_dir().join(format!("tributary-resume-{}", std::process::id()));
        assert_eq!(ResumeFile::read(&file).unwrap(), None);
        let saved = ResumeFile { position: Position(7), run: "a-run".into() };
        saved.write(&file).unwrap();
        assert_eq!(ResumeFile::read(&file).unwrap(), Some(saved));
        fs::write(&file, "seven a-run").unwrap();
        assert!(ResumeFile::read(&file).is_err());
        fs::remove_file(&file).unwrap();
    }
}
