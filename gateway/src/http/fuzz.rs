//! Whatever a client sends in a body, a cursor or a query is parsed or refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use domain::alerts::Config;
use domain::documents::Body;
use domain::telemetry::{Batch, Limits};
use proptest::prelude::*;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::page::{Cursor, PageQuery};
use super::{bucket, extract};
use crate::fuzz::{CURSORS, FILTERS, READINGS, RULES, inputs, texts};

proptest! {
    #[test]
    fn cursors(json in inputs(CURSORS), is_base64: bool) {
        let text = if is_base64 {
            URL_SAFE_NO_PAD.encode(&json)
        } else {
            String::from_utf8_lossy(&json).into_owned()
        };
        let cursor: Cursor = serde_json::from_value(text.into()).unwrap();
        // Neither of the keys that lists are sorted by holds a NUL character.
        for name in [
            cursor.read::<(DateTime<Utc>, Uuid)>().map(|_| String::new()),
            cursor.read::<(DateTime<Utc>, i64)>().map(|_| String::new()),
            cursor.read::<(String, Uuid)>().map(|(name, _)| name),
            cursor.read::<(i64, String)>().map(|(_, name)| name),
        ].into_iter().flatten() {
            prop_assert!(!name.contains('\0'));
        }
    }

    #[test]
    fn batches_of_readings(body in inputs(READINGS)) {
        if let Ok(Batch(items)) = Batch::from_json(&Limits::DEFAULT, &body, Utc::now()) {
            for (_, reading) in items.into_iter().flatten() {
                let event = domain::telemetry::Event::ReadingRecorded(reading);
                eventsourcing::event::encode(&event).unwrap();
            }
        }
    }

    #[test]
    fn documents(body in inputs(READINGS)) {
        let json: Option<Box<RawValue>> = serde_json::from_slice(&body).ok();
        if let Some(Ok(body)) = json.map(Body::new) {
            prop_assert!(!eventsourcing::json::holds_nul(body.as_str()));
            serde_json::from_str::<eventsourcing::json::Plain>(body.as_str()).unwrap();
        }
    }

    #[test]
    fn configs(body in inputs(RULES)) {
        if let Err(faults) = Config::parse(&body) {
            prop_assert!(!faults.is_empty());
        }
    }

    #[test]
    fn queries(query in texts(FILTERS), width in texts(CURSORS)) {
        drop(extract::from_query::<PageQuery>(&format!("limit=7&cursor={query}")));
        drop(extract::from_query::<PageQuery>(&query));
        drop(bucket::width(&width));
    }
}
