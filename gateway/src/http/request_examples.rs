//! Examples of request bodies in the OpenAPI document: what a reader tries first, and what generators and
//! testers of clients send.

use serde_json::Value;

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// The example for the body of an operation, by its id.
pub(super) fn of(operation_id: &str) -> Option<Value> {
    let text = match operation_id {
        "record_readings" => {
            r#"[{"user_id": "ada", "device_id": "attic", "sequence_id": 1, "temperature": 21.5, "battery": 87, "humidity": 40}]"#
        }
        "record_page_views" => {
            r#"[{"path": "/pricing", "referrer": "https://example.org/", "session_id": "s-81f3"}]"#
        }
        "set_rules" | "set_default_rules" => {
            r#"{"temperature_max": 80, "rules": [{"key": "battery", "operator": "<", "threshold": 20, "message": "Battery is low", "severity": "warning"}]}"#
        }
        "dry_run_rules" => {
            r#"{"user_id": "ada", "device_id": "attic", "rules": [{"key": "temperature", "operator": ">", "threshold": 20}]}"#
        }
        "set_presence_setting" => r#"{"inactive_after": "15m"}"#,
        "sign_in" | "begin_cookie_session" => {
            r#"{"username": "ada@example.org", "password": "correct horse battery"}"#
        }
        "begin_session_by_code" => r#"{"code": "2vTqJ0n8RrXbWm5sYd7kLz4hPf9cGa1e"}"#,
        "refresh_session" => r#"{"refresh_token": "eyJhbGciOiJFZERTQSJ9.e30.c2ln"}"#,
        "register_user" => {
            r#"{"email": "ada@example.org", "password": "correct horse battery", "full_name": "Ada Lovelace"}"#
        }
        "change_password" => {
            r#"{"current_password": "correct horse battery", "new_password": "battery horse correct"}"#
        }
        "change_namespace" => r#"{"namespace": "ada"}"#,
        "change_role" => r#"{"role": "operator"}"#,
        "create_project" => r#"{"name": "Move house", "description": "To the hills"}"#,
        "change_project" => r#"{"name": "Move house", "description": null}"#,
        "create_task" => {
            r#"{"project_id": "ID", "title": "Pack the books", "due_at": "2030-01-31T12:00:00Z"}"#
        }
        "change_task" => r#"{"status": "InProgress"}"#,
        "add_product" => r#"{"sku": "HAT-1", "name": "Hat", "price": "9.90", "currency": "EUR"}"#,
        "change_product" => r#"{"price": "12.50"}"#,
        "move_stock" => r#"{"quantity": 5, "reason": "delivery"}"#,
        "place_order" => r#"{"items": [{"product_id": "ID", "quantity": 2}]}"#,
        "demand_work" => r#"{"add_up_to": 4}"#,
        "record_document" => r#"{"kind": "invoice", "number": 17}"#,
        "register_schema" => r#"{"type": "object", "required": ["number"]}"#,
        "skip_parked" => r#"{"reason": "recorded by a faulty device"}"#,
        _ => return None,
    };
    serde_json::from_str(&text.replace("ID", ID)).ok()
}
