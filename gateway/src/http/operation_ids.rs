//! The operation ids of the OpenAPI document: generators of clients name their functions after them.

/// The id of each operation, by method and path. They are relied on for ever.
#[rustfmt::skip]
const IDS: &[(&str, &str)] = &[
    ("GET /", "get_root"),
    ("GET /.well-known/jwks.json", "list_token_keys"),
    ("GET /api/v1/about", "get_about"),
    ("GET /api/v1/alerts", "list_alerts"),
    ("POST /api/v1/alerts/dry-run", "dry_run_rules"),
    ("GET /api/v1/alerts/{id}", "get_alert"),
    ("POST /api/v1/alerts/{id}/acknowledge", "acknowledge_alert"),
    ("GET /api/v1/alerts/{id}/explanation", "explain_alert"),
    ("POST /api/v1/auth/login/access-token", "sign_in"),
    ("POST /api/v1/auth/logout", "sign_out"),
    ("POST /api/v1/auth/logout-everywhere", "sign_out_everywhere"),
    ("POST /api/v1/auth/refresh", "refresh_session"),
    ("DELETE /api/v1/auth/session", "end_cookie_session"),
    ("POST /api/v1/auth/session", "begin_cookie_session"),
    ("POST /api/v1/auth/session/code", "begin_session_by_code"),
    ("POST /api/v1/auth/session/refresh", "refresh_cookie_session"),
    ("GET /api/v1/config", "get_default_rules"),
    ("PUT /api/v1/config", "set_default_rules"),
    ("GET /api/v1/console/history", "get_console_history"),
    ("GET /api/v1/console/stream", "stream_console"),
    ("GET /api/v1/devices", "list_devices"),
    ("GET /api/v1/events", "list_events"),
    ("GET /api/v1/events/stream", "stream_events"),
    ("POST /api/v1/events/tickets", "create_event_ticket"),
    ("GET /api/v1/events/{position}/trace", "trace_event"),
    ("GET /api/v1/host/samples", "list_host_samples"),
    ("GET /api/v1/orders", "list_orders"),
    ("POST /api/v1/orders", "place_order"),
    ("GET /api/v1/orders/{id}", "get_order"),
    ("POST /api/v1/orders/{id}/cancel", "cancel_order"),
    ("POST /api/v1/orders/{id}/ship", "ship_order"),
    ("POST /api/v1/page-views", "record_page_views"),
    ("GET /api/v1/page-views/stats", "get_page_view_stats"),
    ("GET /api/v1/parked", "list_parked"),
    ("GET /api/v1/parked/{key}", "get_parked"),
    ("POST /api/v1/parked/{key}/retry", "retry_parked"),
    ("POST /api/v1/parked/{key}/skip", "skip_parked"),
    ("GET /api/v1/products", "list_products"),
    ("POST /api/v1/products", "add_product"),
    ("GET /api/v1/products/{id}", "get_product"),
    ("GET /api/v1/products/{id}/conservation", "get_stock_conservation"),
    ("PATCH /api/v1/products/{id}", "change_product"),
    ("POST /api/v1/products/{id}/stock", "move_stock"),
    ("GET /api/v1/projections", "list_projections"),
    ("GET /api/v1/projections/{name}", "get_projection"),
    ("POST /api/v1/projections/{name}/rebuild", "rebuild_projection"),
    ("GET /api/v1/projects", "list_projects"),
    ("POST /api/v1/projects", "create_project"),
    ("DELETE /api/v1/projects/{id}", "archive_project"),
    ("GET /api/v1/projects/{id}", "get_project"),
    ("PATCH /api/v1/projects/{id}", "change_project"),
    ("DELETE /api/v1/projects/{id}/members/{user_id}", "remove_project_member"),
    ("PUT /api/v1/projects/{id}/members/{user_id}", "add_project_member"),
    ("GET /api/v1/rejections", "list_rejections"),
    ("GET /api/v1/schemas/{name}", "get_schema"),
    ("PUT /api/v1/schemas/{name}", "register_schema"),
    ("GET /api/v1/skipped", "list_skipped"),
    ("GET /api/v1/streams/{stream_id}", "get_stream"),
    ("GET /api/v1/streams/{stream_id}/states", "list_stream_states"),
    ("GET /api/v1/stuck-orders", "list_stuck_orders"),
    ("GET /api/v1/tasks", "list_tasks"),
    ("POST /api/v1/tasks", "create_task"),
    ("DELETE /api/v1/tasks/{id}", "delete_task"),
    ("GET /api/v1/tasks/{id}", "get_task"),
    ("PATCH /api/v1/tasks/{id}", "change_task"),
    ("POST /api/v1/telemetry", "record_readings"),
    ("GET /api/v1/traces/{id}", "get_trace"),
    ("GET /api/v1/users", "list_users"),
    ("POST /api/v1/users", "register_user"),
    ("GET /api/v1/users/me", "get_current_user"),
    ("PUT /api/v1/users/me/password", "change_password"),
    ("GET /api/v1/users/me/sessions", "list_sessions"),
    ("DELETE /api/v1/users/me/sessions/{id}", "end_session"),
    ("GET /api/v1/users/{id}", "get_user"),
    ("PUT /api/v1/users/{id}/namespace", "change_namespace"),
    ("PUT /api/v1/users/{id}/role", "change_role"),
    ("GET /api/v1/users/{user_id}/config", "get_rules"),
    ("PUT /api/v1/users/{user_id}/config", "set_rules"),
    ("GET /api/v1/users/{user_id}/devices/{device_id}", "get_device"),
    ("GET /api/v1/users/{user_id}/devices/{device_id}/readings", "list_readings"),
    ("GET /api/v1/users/{user_id}/devices/{device_id}/rejections", "list_device_rejections"),
    ("GET /api/v1/users/{user_id}/presence", "get_presence_setting"),
    ("PUT /api/v1/users/{user_id}/presence", "set_presence_setting"),
    ("GET /api/v1/verifications/last", "get_last_verification"),
    ("POST /api/v1/verifications", "start_verification"),
    ("GET /api/v1/works", "list_works"),
    ("POST /api/v1/works", "demand_work"),
    ("GET /api/v1/works/{id}", "get_work"),
    ("GET /api/v1/works/{id}/events", "list_work_events"),
    ("GET /asyncapi.json", "get_asyncapi"),
    ("GET /data", "list_documents"),
    ("POST /data", "record_document"),
    ("GET /data/{id}", "get_document"),
    ("GET /livez", "get_liveness"),
    ("GET /metrics", "get_metrics"),
    ("GET /readyz", "get_readiness"),
    ("GET /startupz", "get_startup"),
    ("GET /storage", "get_storage"),
    ("GET /users", "count_host_users"),
];

/// The id of the operation `method` of `path`. One that is not listed gets the name of its handler, and of
/// the resource in its path.
pub(super) fn of(method: &str, path: &str, handler: &str) -> String {
    let operation = format!("{method} {path}");
    if let Some((_, id)) = IDS.iter().find(|(known, _)| *known == operation) {
        return (*id).to_owned();
    }
    let names = path.trim_start_matches("/api/v1").split('/').filter(|name| !name.is_empty());
    let names: Vec<_> = names.filter(|name| !name.starts_with('{') && *name != handler).collect();
    let resource = names.join("_");
    let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    format!("{handler}_{resource}").to_ascii_lowercase().chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_is_not_listed_is_named_after_its_handler_and_path() {
        assert_eq!(of("POST", "/api/v1/orders", "place"), "place_order");
        assert_eq!(of("GET", "/api/v1/new-things/{id}/parts", "list"), "list_new_things_parts");
        assert_eq!(of("POST", "/api/v1/new/{id}/close", "close"), "close_new");
    }
}
