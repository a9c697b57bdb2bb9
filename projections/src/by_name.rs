//! Enums by name: the word in the column is the word in JSON and in the OpenAPI document.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueRef};
use sqlx::{Decode, Postgres, Type};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type as SchemaType};
use utoipa::{PartialSchema, ToSchema};

/// An enum whose values have stable names.
pub trait Named: Copy + 'static {
    /// Name of its schema in the OpenAPI document.
    const SCHEMA: &'static str;
    /// Every value.
    const ALL: &'static [Self];

    /// The stable name of a value.
    fn name(self) -> &'static str;

    /// The value of this name.
    fn parse(name: &str) -> Result<Self, UnknownName> {
        let known = Self::ALL.iter().copied().find(|value| value.name() == name);
        known.ok_or_else(|| UnknownName(names::<Self>().join(", ")))
    }
}

fn names<T: Named>() -> Vec<&'static str> {
    T::ALL.iter().map(|value| value.name()).collect()
}

/// A name that no value has. It displays as `one of …`, followed by the names there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("one of {0}")]
pub struct UnknownName(String);

/// A value that is stored in a text column, and shown, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByName<T>(pub T);

impl<T: Named> Serialize for ByName<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de, T: Named> Deserialize<'de> for ByName<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        T::parse(&name).map(Self).map_err(de::Error::custom)
    }
}

impl<T> Type<Postgres> for ByName<T> {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }

    fn compatible(column: &PgTypeInfo) -> bool {
        <str as Type<Postgres>>::compatible(column)
    }
}

impl<T: Named> Decode<'_, Postgres> for ByName<T> {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Self(T::parse(value.as_str()?)?))
    }
}

impl<T: Named> PartialSchema for ByName<T> {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(SchemaType::String);
        text.enum_values(Some(names::<T>())).into()
    }
}

impl<T: Named> ToSchema for ByName<T> {
    fn name() -> Cow<'static, str> {
        T::SCHEMA.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{alerts, orders, users, works};
    use domain::projects::Status as TaskStatus;

    #[test]
    fn names_are_read_as_they_are_written() {
        fn holds<T: Named>() {
            for value in T::ALL {
                let json = serde_json::to_string(&ByName(*value)).unwrap();
                assert_eq!(json, format!("\"{}\"", value.name()));
                let read: ByName<T> = serde_json::from_str(&json).unwrap();
                assert_eq!(read.0.name(), value.name());
            }
        }
        holds::<works::Status>();
        holds::<orders::Status>();
        holds::<orders::CancelReason>();
        holds::<orders::HistoryEvent>();
        holds::<alerts::State>();
        holds::<domain::alerts::Severity>();
        holds::<domain::alerts::ClearReason>();
        holds::<TaskStatus>();
        holds::<domain::Role>();
        let unknown = TaskStatus::parse("done").unwrap_err().to_string();
        assert_eq!(unknown, "one of ToDo, InProgress, Done");
    }

    #[test]
    fn the_schema_lists_the_names() {
        let schema = serde_json::to_value(users::RoleName::schema()).unwrap();
        let expected = serde_json::json!({"type": "string", "enum": ["user", "operator", "admin"]});
        assert_eq!(schema, expected);
        assert_eq!(users::RoleName::name(), "Role");
    }
}
