//! An example of every event in its current schema version: the golden files of the domain.

macro_rules! golden {
    ($($context:literal, $event_type:literal, $version:literal;)+) => {
        &[$(($event_type, $version, include_str!(concat!(
            "../../../../domain/golden/", $context, "/", $event_type, ".v", $version, ".json"
        )))),+]
    };
}

/// Event type, schema version, data.
const EXAMPLES: &[(&str, i16, &str)] = golden![
    "alerts", "alert_acknowledged", 1;
    "alerts", "alert_cleared", 1;
    "alerts", "alert_suppressed", 1;
    "alerts", "alert_raised", 1;
    "alerts", "alert_updated", 1;
    "alerts", "rules_configured", 1;
    "documents", "document_recorded", 1;
    "documents", "schema_registered", 1;
    "host", "host_sampled", 1;
    "orders", "order_cancelled", 2;
    "orders", "order_confirmed", 1;
    "orders", "order_placed", 1;
    "orders", "order_shipped", 1;
    "orders", "product_added", 1;
    "orders", "product_changed", 1;
    "orders", "sku_claimed", 1;
    "orders", "stock_corrected", 1;
    "orders", "stock_received", 1;
    "orders", "stock_refused", 1;
    "orders", "stock_released", 1;
    "orders", "stock_reserved", 1;
    "orders", "stock_shipped", 1;
    "page_views", "page_viewed", 1;
    "projects", "member_added", 1;
    "projects", "member_removed", 1;
    "projects", "project_archived", 1;
    "projects", "project_changed", 1;
    "projects", "project_created", 1;
    "projects", "task_assigned", 1;
    "projects", "task_changed", 1;
    "projects", "task_created", 1;
    "projects", "task_deleted", 1;
    "projects", "task_status_changed", 1;
    "telemetry", "device_connected", 1;
    "telemetry", "device_disconnected", 1;
    "telemetry", "message_rejected", 1;
    "telemetry", "presence_configured", 1;
    "telemetry", "reading_recorded", 1;
    "users", "email_claimed", 1;
    "users", "logged_in", 1;
    "users", "namespace_changed", 1;
    "users", "namespace_claimed", 1;
    "users", "namespace_released", 1;
    "users", "password_changed", 1;
    "users", "registered", 1;
    "users", "role_changed", 1;
    "users", "session_refreshed", 1;
    "users", "session_revoked", 1;
    "users", "signed_out_everywhere", 1;
    "works", "work_claimed", 1;
    "works", "work_completed", 1;
    "works", "work_demanded", 1;
    "works", "work_failed", 1;
    "works", "work_given_up", 1;
    "works", "work_started", 1;
];

/// The data of the example of an event type in this schema version.
pub(super) fn example(event_type: &str, version: i16) -> Option<&'static str> {
    let mut examples = EXAMPLES.iter();
    let found = examples.find(|example| (example.0, example.1) == (event_type, version));
    found.map(|(_, _, data)| data.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_an_example() {
        let sets = domain::CONTEXTS.iter().flat_map(|context| context.events);
        let mut count = 0;
        for (event_type, version) in sets.copied().flatten() {
            assert!(example(event_type, *version).is_some(), "{event_type} v{version} is missing");
            count += 1;
        }
        assert_eq!(count, EXAMPLES.len(), "an example without an event");
    }
}
