//! Texts of limited length for projects and tasks, and changes of optional fields.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text of `MIN` to `MAX` characters without NUL. Events store a plain string, so texts recorded
/// under earlier limits can be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Text<const MIN: usize, const MAX: usize>(String);

/// The name of a project, or the title of a task.
pub type Name = crate::Name<200>;
/// The description of a project or a task.
pub type Description = Text<0, 10_000>;

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    /// Minimum number of characters.
    pub const MIN: usize = MIN;
    /// Maximum number of characters.
    pub const MAX: usize = MAX;

    /// Returns the text.
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

/// The text is too short, too long, or contains a NUL character. Holds minimum and maximum length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have {0} to {1} characters, and no NUL")]
pub struct InvalidText(usize, usize);

/// A change of an optional field. In JSON, an absent member leaves the field unchanged, and `null`
/// clears it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// The field is unchanged.
    #[default]
    Same,
    /// The field gets this value; `None` clears it.
    To(Option<T>),
}

impl<T> Change<T> {
    /// Returns whether the field is unchanged.
    pub fn is_same(&self) -> bool {
        matches!(self, Self::Same)
    }

    /// Returns the new value, or `None` if the field is unchanged or cleared.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Same => None,
            Self::To(value) => value.as_ref(),
        }
    }

    /// Converts the new value, if there is one.
    pub fn map<U>(self, to: impl FnOnce(T) -> U) -> Change<U> {
        match self {
            Self::Same => Change::Same,
            Self::To(value) => Change::To(value.map(to)),
        }
    }

    /// Returns [`Change::Same`] if the field holds the new value already, otherwise the change.
    #[must_use]
    pub fn against(self, current: &Option<T>) -> Self
    where
        T: PartialEq,
    {
        match &self {
            Self::To(value) if value == current => Self::Same,
            Self::Same | Self::To(_) => self,
        }
    }

    /// Applies the change to `field`.
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
    /// Serializes the new value. The field must have `skip_serializing_if = "Change::is_same"`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Same => serializer.serialize_none(),
            Self::To(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    /// Deserializes a present member. The field must have `default` for an absent one.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::To)
    }
}
