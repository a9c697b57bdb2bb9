//! What people write on projects and tasks, within limits; and what a change says of a field that
//! may be empty.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text of `MIN` to `MAX` characters. Events hold plain text: what was written under other limits
/// can still be read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Text<const MIN: usize, const MAX: usize>(String);

/// The name of a project, or the title of a task.
pub type Name = Text<1, 200>;
/// What a project or a task is about.
pub type Description = Text<0, 10_000>;

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    /// Fewest characters.
    pub const MIN: usize = MIN;
    /// Most characters.
    pub const MAX: usize = MAX;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MIN: usize, const MAX: usize> TryFrom<String> for Text<MIN, MAX> {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        let fits = (MIN..=MAX).contains(&text.chars().count());
        if fits && !text.contains('\0') { Ok(Self(text)) } else { Err(InvalidText(MIN, MAX)) }
    }
}

impl<const MIN: usize, const MAX: usize> From<Text<MIN, MAX>> for String {
    fn from(Text(text): Text<MIN, MAX>) -> Self {
        text
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} to {1} characters, and no NUL")]
pub struct InvalidText(usize, usize);

/// What a change says of a field that may be empty. In JSON, a member that is left out says
/// nothing, and `null` empties the field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Same,
    To(Option<T>),
}

impl<T> Change<T> {
    pub fn is_same(&self) -> bool {
        matches!(self, Self::Same)
    }

    /// What the field holds afterwards, if it changes and is not emptied.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Same => None,
            Self::To(value) => value.as_ref(),
        }
    }

    pub fn map<U>(self, to: impl FnOnce(T) -> U) -> Change<U> {
        match self {
            Self::Same => Change::Same,
            Self::To(value) => Change::To(value.map(to)),
        }
    }

    /// What is left to change where the field holds `current`.
    #[must_use]
    pub fn against(self, current: &Option<T>) -> Self
    where
        T: PartialEq,
    {
        match self {
            Self::To(value) if value == *current => Self::Same,
            change => change,
        }
    }

    /// Makes the change.
    pub fn apply(&self, field: &mut Option<T>)
    where
        T: Clone,
    {
        if let Self::To(value) = self {
            field.clone_from(value);
        }
    }
}

impl<T: Serialize> Serialize for Change<T> {
    /// For a field with `skip_serializing_if = "Change::is_same"`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Same => serializer.serialize_none(),
            Self::To(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    /// For a field with `default`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::To)
    }
}
