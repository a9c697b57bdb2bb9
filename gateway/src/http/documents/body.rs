//! Bodies of documents and schemas, and the problems of invalid ones.

use commands::documents::SchemaError;
use domain::documents::Body;
use serde_json::value::RawValue;

use super::super::extract::malformed;
use super::super::prelude::*;

/// Parses a JSON object of at most `max_bytes`.
pub(super) fn parse(bytes: &[u8], max_bytes: usize) -> Result<Body, Problem> {
    if bytes.len() > max_bytes {
        let detail = format!("the body must be at most {} KiB", max_bytes / 1024);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail));
    }
    let json = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    Body::new(json).map_err(|error| Problem::member_at(&error.pointer, error.reason.to_string()))
}

/// The body as it was sent, for a row.
pub(super) fn raw(body: &Body) -> Result<Box<RawValue>, Problem> {
    RawValue::from_string(body.as_str().to_owned()).map_err(|error| Problem::internal(&error))
}

impl From<SchemaError> for Problem {
    fn from(error: SchemaError) -> Self {
        let detail = error.to_string();
        let (code, faults) = match error {
            SchemaError::Document(faults) => ("schema_violation", faults),
            SchemaError::Schema(faults) => ("invalid_schema", faults),
            SchemaError::UnknownSchema(_) => return Self::parameter("schema", detail),
            SchemaError::Busy => return Self::unavailable("validation_busy", detail),
            SchemaError::Panicked(error) => return Self::internal(&error),
            SchemaError::Load(error) => return error.into(),
        };
        let faults = faults.into_iter().map(|fault| Fault::at(fault.pointer, fault.detail));
        Self::invalid(code, detail).faults(faults)
    }
}
