//! The JSON Schema keyword `multipleOf`, on decimal digits. The validator's own works on doubles, which
//! round integers beyond 2^53.

use eventsourcing::json::is_multiple;
use jsonschema::paths::Location;
use jsonschema::{Keyword, ValidationError};
use serde_json::{Map, Number, Value};

/// Name of the keyword.
pub(crate) const NAME: &str = "multipleOf";

struct MultipleOf(Number);

/// Makes the keyword. The meta-schema has checked that the value is a positive number.
#[expect(clippy::unnecessary_wraps, reason = "what the validator asks for")]
pub(crate) fn keyword<'a>(
    _: &'a Map<String, Value>,
    value: &'a Value,
    _: Location,
) -> Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'a>> {
    Ok(Box::new(MultipleOf(value.as_number().cloned().unwrap_or_else(|| 1.into()))))
}

impl<'i> Keyword<'i> for MultipleOf {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) {
            return Ok(());
        }
        Err(ValidationError::custom(format!("{instance} is not a multiple of {}", self.0)))
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        let Value::Number(number) = instance else { return true };
        is_multiple(&number.to_string(), &self.0.to_string())
    }
}
