//! Topic mappings: how messages on topics of others become readings. The operator writes them in a file
//! of JSON; `docs/mqtt.md` describes it.

mod definition;
pub(super) mod filter;
mod source;
mod time;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::topics::FILTERS;
pub(super) use definition::{Mapped, Mapping, Unmapped};

/// Most mappings in a file. A bridge subscribes to each.
const MAX_MAPPINGS: usize = 100;
/// Largest file in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// The topic mappings of a bridge. By default there are none.
#[derive(Debug, Clone, Default)]
pub struct Mappings {
    file: PathBuf,
    list: Arc<[Mapping]>,
}

/// A file of mappings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    mappings: Vec<Mapping>,
}

/// Why a file of mappings is not used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMappings {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {reason}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong, with the place.
        reason: String,
    },
}

impl Mappings {
    /// Reads a file. An empty path, as an empty environment variable gives, is no mappings.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, is larger than 256 KiB, has more than 100 mappings,
    /// or one of them is invalid or shares topics with another or with those of the bridge.
    pub fn load(path: &str) -> Result<Self, InvalidMappings> {
        if path.is_empty() {
            return Ok(Self::default());
        }
        let file = PathBuf::from(path);
        let read = std::fs::metadata(&file).and_then(|metadata| match metadata.len() {
            0..=MAX_FILE_BYTES => std::fs::read(&file),
            _ => Err(std::io::Error::other(format!("larger than {MAX_FILE_BYTES} bytes"))),
        });
        match read {
            Ok(json) => match Self::parse(&json) {
                Ok(list) => Ok(Self { file, list: list.into() }),
                Err(reason) => Err(InvalidMappings::Invalid { file, reason }),
            },
            Err(source) => Err(InvalidMappings::Unreadable { file, source }),
        }
    }

    fn parse(json: &[u8]) -> Result<Vec<Mapping>, String> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let File { mappings } =
            serde_path_to_error::deserialize(&mut reader).map_err(|error| error.to_string())?;
        reader.end().map_err(|error| error.to_string())?;
        if mappings.len() > MAX_MAPPINGS {
            return Err(format!("mappings: at most {MAX_MAPPINGS}"));
        }
        for (index, mapping) in mappings.iter().enumerate() {
            let fail = |reason: String| Err(format!("mappings[{index}]: {reason}"));
            if let Err(reason) = mapping.check() {
                return fail(reason);
            }
            if mapping.ignore {
                continue;
            }
            let earlier = mappings[..index].iter().filter(|earlier| !earlier.ignore);
            let others = FILTERS.iter().copied().chain(earlier.map(|earlier| &*earlier.filter));
            for other in others {
                if filter::overlap(other, &mapping.filter) {
                    let filter = &mapping.filter;
                    return fail(format!("filter: `{filter}` shares topics with `{other}`"));
                }
            }
        }
        Ok(mappings)
    }

    /// The first mapping whose filter matches `topic`.
    pub(super) fn find(&self, topic: &str) -> Option<&Mapping> {
        self.list.iter().find(|mapping| filter::overlap(&mapping.filter, topic))
    }

    /// The filters that a bridge subscribes to. They share no topics with each other or with
    /// [`FILTERS`].
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.list.iter().filter(|mapping| !mapping.ignore).map(|mapping| &*mapping.filter)
    }

    /// The file; empty if there are no mappings.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// As the path of the file.
impl Serialize for Mappings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.file.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
