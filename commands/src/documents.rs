//! Validation of documents against JSON Schemas. It takes processor time, so it runs on blocking
//! threads, a bounded number at a time. A document is recorded on the condition that no other version
//! of its schema was registered since the validation.

use std::sync::Arc;
use std::time::Duration;

use domain::documents::document;
use domain::documents::schema::{Command, Rejection, Schema};
use domain::documents::{Body, SchemaName, SchemaRef, document_stream, schema_stream};
use eventsourcing::json::Plain;
use eventsourcing::{StreamId, Version};
use eventstore::{EventStore, ExpectedVersion, StreamAppend};
use jsonschema::{PatternOptions, ValidationError, Validator};
use quick_cache::sync::Cache;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use uuid::Uuid;

use crate::Handlers;
use crate::error::{Error, LoadError};
use crate::handler::{Done, Envelope, Handler};
use crate::multiple_of;

/// Most faults reported for one document or schema.
pub const MAX_FAULTS: usize = 50;
/// Longest description of one fault, in characters: some quote the value at fault.
const MAX_DETAIL: usize = 300;
/// Most compiled schemas in the cache.
const CACHED_SCHEMAS: usize = 64;
/// Most compilations and validations at a time. A schema whose references fan out may take for ever:
/// it then occupies one of these threads and nothing else.
const MAX_CONCURRENT: usize = 4;
/// Longest wait for one of them.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest compiled pattern, and largest cache of its matcher, in bytes.
const PATTERN_BYTES: usize = 4 * 1024 * 1024;

/// Records a document with a new id. The append checks that the schema version it was validated
/// against is still the latest.
///
/// # Errors
/// Returns [`Error::Conflict`] with the schema's stream if another version was registered since: the
/// document is to be validated again.
pub async fn record(
    handlers: &Handlers,
    id: Uuid,
    command: document::Command,
    mut envelope: Envelope,
) -> Result<Done, Error<document::Rejection>> {
    let document::Command::Record { schema, .. } = &command;
    envelope.also.extend(schema.as_ref().map(|SchemaRef { name, version }| StreamAppend {
        stream: schema_stream(name),
        expected: ExpectedVersion::Exact(Version((*version).into())),
        events: Vec::new(),
    }));
    handlers.documents.create(&document_stream(id), command, envelope).await
}

/// An error at one place of a document or schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer to the place; empty for the whole.
    pub pointer: String,
    /// What is wrong, in at most 300 characters.
    pub detail: String,
}

/// Why a document or a schema was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// No schema of this name is registered.
    #[error("there is no schema {0}")]
    UnknownSchema(SchemaName),
    /// The document violates the schema.
    #[error("the document is not valid against the schema")]
    Document(Vec<Fault>),
    /// The schema is not a usable JSON Schema.
    #[error("this is not a JSON Schema that documents can be validated against")]
    Schema(Vec<Fault>),
    /// No thread became free in time.
    #[error("too many documents are being validated; retry later")]
    Busy,
    /// A defect of the validator.
    #[error("the validation panicked")]
    Panicked(#[from] JoinError),
    /// The schema could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// The registered schemas, and validation against them.
#[derive(Debug)]
pub struct Schemas {
    handler: Handler<Schema>,
    compiled: Cache<SchemaRef, Arc<Validator>>,
    permits: Arc<Semaphore>,
}

impl Schemas {
    /// Makes an empty cache over `store`.
    pub fn new(store: EventStore) -> Self {
        Self {
            handler: Handler::new(store),
            compiled: Cache::new(CACHED_SCHEMAS),
            permits: Arc::new(Semaphore::new(MAX_CONCURRENT)),
        }
    }

    /// Checks that `schema` is a JSON Schema that documents can be validated against.
    pub async fn check(&self, schema: &Body) -> Result<(), SchemaError> {
        let schema = schema.clone();
        self.run_blocking(move || compile(&schema).map(drop)).await?.map_err(SchemaError::Schema)
    }

    /// Returns the number of versions of a schema, which is the version of its stream.
    pub async fn version(&self, name: &SchemaName) -> Result<Version, LoadError> {
        Ok(self.handler.load(&schema_stream(name)).await?.version)
    }

    /// Registers a version of a schema, which must have passed [`Self::check`].
    pub async fn register(
        &self,
        name: &SchemaName,
        command: Command,
        envelope: Envelope,
    ) -> Result<Done, Error<Rejection>> {
        let stream: StreamId = schema_stream(name);
        self.handler.execute(&stream, command, envelope).await
    }

    /// Validates `document` against the latest version of a schema, and returns that version.
    pub async fn validate(
        &self,
        name: &SchemaName,
        document: &Body,
    ) -> Result<SchemaRef, SchemaError> {
        let loaded = self.handler.load(&schema_stream(name)).await?;
        let Schema::Registered { version, schema } = loaded.state else {
            return Err(SchemaError::UnknownSchema(name.clone()));
        };
        let known = SchemaRef { name: name.clone(), version };
        let (compiled, document) = (self.compiled.get(&known), document.clone());
        let verdict = self.run_blocking(move || {
            let validator = match compiled {
                Some(validator) => validator,
                None => Arc::new(compile(&schema).map_err(SchemaError::Schema)?),
            };
            let document = parse(&document).map_err(SchemaError::Document)?;
            let faults = faults(validator.iter_errors(&document));
            if faults.is_empty() { Ok(validator) } else { Err(SchemaError::Document(faults)) }
        });
        let validator = verdict.await??;
        self.compiled.insert(known.clone(), validator);
        Ok(known)
    }

    /// Runs `work` on a blocking thread, once one of [`MAX_CONCURRENT`] permits is free. A caller that
    /// stops waiting does not free the permit; the end of the work does.
    async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SchemaError> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout(QUEUE_TIMEOUT, permit).await else {
            return Err(SchemaError::Busy);
        };
        let done = spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        Ok(done.await?)
    }
}

/// Compiles a schema. Its references may name the schema itself and the standard's schemas only; its
/// patterns match in time linear in the text.
fn compile(schema: &Body) -> Result<Validator, Vec<Fault>> {
    let schema = parse(schema)?;
    let meta = jsonschema::meta::validator_for(&schema)
        .map_err(|error| vec![Fault { pointer: "/$schema".into(), detail: truncated(&error) }])?;
    let wrong = faults(meta.iter_errors(&schema));
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
    let options = jsonschema::options()
        .offline()
        .with_pattern_options(patterns)
        .with_keyword(multiple_of::NAME, multiple_of::keyword);
    options.build(&schema).map_err(|error| {
        let mut fault = fault(&error);
        if let Some(pointer) = reference_in(&schema, &fault.detail) {
            fault.pointer = pointer;
        }
        vec![fault]
    })
}

/// Returns the value of a document or a schema as the validator reads it: numbers are 64-bit integers and
/// doubles, so a number that neither holds with all its digits is a fault.
fn parse(body: &Body) -> Result<Value, Vec<Fault>> {
    body.check_numbers().map_err(|fault| {
        vec![Fault { pointer: fault.pointer, detail: fault.reason.to_string() }]
    })?;
    serde_json::from_str(body.as_str())
        .map(|Plain(value)| value)
        .map_err(|error| vec![Fault { pointer: String::new(), detail: error.to_string() }])
}

fn faults<'a>(errors: impl Iterator<Item = ValidationError<'a>>) -> Vec<Fault> {
    errors.take(MAX_FAULTS).map(|error| fault(&error)).collect()
}

fn fault(error: &ValidationError<'_>) -> Fault {
    Fault { pointer: error.instance_path().as_str().to_owned(), detail: truncated(error) }
}

fn truncated(error: &ValidationError<'_>) -> String {
    let text = error.to_string();
    match text.char_indices().nth(MAX_DETAIL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Returns the pointer to the `$ref` whose target an error names; the error has no pointer itself.
fn reference_in(schema: &Value, error: &str) -> Option<String> {
    let members: Vec<(String, &Value)> = match schema {
        Value::Object(members) => members.iter().map(|(name, of)| (name.clone(), of)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, of)| (index.to_string(), of)).collect()
        }
        _ => return None,
    };
    members.into_iter().find_map(|(name, of)| {
        let below = match of {
            Value::String(target) if name == "$ref" => {
                let (resource, within) = target.split_once('#').unwrap_or((target, ""));
                let named = if resource.is_empty() { within } else { resource };
                (!named.is_empty() && error.contains(named)).then(String::new)?
            }
            of => reference_in(of, error)?,
        };
        Some(format!("/{}{below}", name.replace('~', "~0").replace('/', "~1")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Body {
        Body::new(serde_json::from_str(text).unwrap()).unwrap()
    }

    /// Pointers to the faults of a schema.
    fn wrong(schema: &str) -> Vec<String> {
        let faults = compile(&body(schema)).map(drop).err().unwrap_or_default();
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    fn violations(schema: &str, document: &str) -> Vec<String> {
        let validator = compile(&body(schema)).unwrap();
        let document = parse(&body(document)).unwrap();
        faults(validator.iter_errors(&document)).into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn faults_of_a_schema_have_pointers() {
        assert_eq!(wrong(r#"{"type": "object"}"#), [""; 0]);
        let two = r#"{"properties": {"a": {"type": "thing"}, "b": {"minimum": "x"}}}"#;
        assert_eq!(wrong(two), ["/properties/a/type", "/properties/b/minimum"]);
        let old = r#"{"$schema": "http://json-schema.org/draft-07/schema#", "required": "a"}"#;
        assert_eq!(wrong(old), ["/required"]);
        assert_eq!(wrong(r#"{"$schema": "https://example.com/mine"}"#), ["/$schema"]);
    }

    #[test]
    fn numbers_are_judged_by_all_their_digits() {
        let valid = |schema: &str, number: &str| {
            let schema = format!(r#"{{"properties": {{"n": {schema}}}}}"#);
            violations(&schema, &format!(r#"{{"n": {number}}}"#)).is_empty()
        };
        for (schema, valid_one, invalid) in [
            (r#"{"maximum": 9007199254740992}"#, "9007199254740992", "9007199254740993"),
            (r#"{"maximum": 18446744073709551614}"#, "1.8e19", "18446744073709551615"),
            (r#"{"exclusiveMinimum": 0.1}"#, "0.10000000000000002", "0.1"),
            (
                r#"{"minimum": -9223372036854775807}"#,
                "-9223372036854775807",
                "-9223372036854775808",
            ),
            (r#"{"const": 9007199254740993}"#, "9007199254740993", "9007199254740992"),
            (r#"{"const": 9007199254740993}"#, "9007199254740993", "9007199254740992.0"),
            (r#"{"const": 1}"#, "1.0", "1.5"),
            (r#"{"enum": [1.50]}"#, "1.5", "1.25"),
            (r#"{"multipleOf": 3}"#, "18446744073709551615", "18446744073709551614"),
            (r#"{"multipleOf": 0.01}"#, "19.99", "19.995"),
            (r#"{"multipleOf": 0.1}"#, "0.3", "0.35"),
            (r#"{"multipleOf": 2.5}"#, "9007199254740995", "9007199254740993"),
            (r#"{"multipleOf": 9007199254740993}"#, "9007199254740993", "9007199254740992"),
            (r#"{"uniqueItems": true}"#, "[9007199254740992, 9007199254740993]", "[1, 1.0]"),
            (r#"{"type": "integer"}"#, "42.0", "42.5"),
        ] {
            assert!(valid(schema, valid_one), "{schema} {valid_one}");
            assert!(!valid(schema, invalid), "{schema} {invalid}");
        }
        // What a 64-bit integer or a double rounds is not judged.
        let rounded = r#"{"a": [1, 18446744073709551617]}"#;
        assert_eq!(parse(&body(rounded)).unwrap_err()[0].pointer, "/a/1");
        assert_eq!(
            wrong(r#"{"properties": {"a": {"maximum": 9007199254740993.0}}}"#),
            ["/properties/a/maximum"]
        );
    }

    #[test]
    fn nothing_is_fetched_for_a_schema() {
        for target in
            ["https://example.com/a#/b", "file:///etc/passwd", "other.json", "#/$defs/missing"]
        {
            let schema = format!(r#"{{"properties": {{"a/b": {{"$ref": "{target}"}}}}}}"#);
            assert_eq!(wrong(&schema), ["/properties/a~1b/$ref"], "{target}");
        }
        let standard = r#"{"$ref": "https://json-schema.org/draft/2020-12/schema"}"#;
        assert_eq!(violations(standard, r#"{"minimum": "x"}"#), ["/minimum"]);
    }

    #[test]
    fn patterns_match_in_linear_time_and_bounded_memory() {
        assert_eq!(wrong(r#"{"patternProperties": {"(": true}}"#), ["/patternProperties/("]);
        let schema = r#"{"properties": {"a": {"pattern": "^(a+)+$"}}}"#;
        let document = format!(r#"{{"a": "{}b"}}"#, "a".repeat(200_000));
        assert_eq!(violations(schema, &document), ["/a"]);
        assert_eq!(wrong(r#"{"pattern": "(?=a)"}"#), ["/pattern"], "needs backtracking");
        assert_eq!(wrong(r#"{"pattern": "(\\p{L}{1000}){1000}"}"#), ["/pattern"], "is too large");
    }

    #[test]
    fn a_schema_that_refers_to_itself_terminates() {
        assert_eq!(violations(r##"{"$ref": "#"}"##, "{}"), [""; 0]);
        let list = r##"{"properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}}"##;
        let document = format!("{}{{\"n\":\"x\"}}{}", "{\"next\":".repeat(90), "}".repeat(90));
        assert_eq!(violations(list, &document), [format!("{}/n", "/next".repeat(90))]);
    }

    #[test]
    fn faults_are_bounded_in_number_and_length() {
        let schema = r#"{"additionalProperties": {"type": "integer"}}"#;
        let members: Vec<_> =
            (0..200).map(|n| format!(r#""{n}":"{}""#, "é".repeat(1_000))).collect();
        let validator = compile(&body(schema)).unwrap();
        let document = parse(&body(&format!("{{{}}}", members.join(",")))).unwrap();
        let faults = faults(validator.iter_errors(&document));
        assert_eq!(faults.len(), MAX_FAULTS);
        assert!(faults.iter().all(|fault| fault.detail.chars().count() <= MAX_DETAIL + 1));
    }
}
