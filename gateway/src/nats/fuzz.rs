//! Whatever a producer publishes is a demand, or a rejection that can be recorded.

use domain::telemetry::{Event, MessageRejected};
use eventsourcing::json::holds_nul;
use eventstore::NewEvent;
use proptest::prelude::*;

use super::intake::{SUBJECT, read};
use crate::fuzz::{DEMANDS, inputs};

proptest! {
    #[test]
    fn demands(payload in inputs(DEMANDS)) {
        if let Err(reason) = read(&payload) {
            let rejected = MessageRejected::new(SUBJECT, &payload, reason);
            let event = NewEvent::new(&Event::MessageRejected(rejected)).unwrap();
            prop_assert!(!holds_nul(&event.encoded.data));
        }
    }
}
