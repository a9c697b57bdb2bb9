//! What a decider shows: its states, and the codes of its rejections.

use std::fmt::Debug;

use serde_json::Value;

use super::assert_pinned;
use crate::projects::Status;
use crate::{alerts, documents, orders, projects, users, works};

use eventsourcing::rejection::{Kind, Reject};

/// States of deciders as `GET /api/v1/streams/{stream_id}` shows them, after golden events.
#[test]
fn states_as_they_are_shown() {
    let pinned = [
        ("alert", "", r#""unknown""#),
        ("alert", "alert_raised.v1", r#""unacknowledged""#),
        ("alert", "alert_raised.v1 alert_acknowledged.v1", r#""acknowledged""#),
        ("document", "", r#""unrecorded""#),
        ("document", "document_recorded.v1", r#""recorded""#),
        ("email", "", r#""free""#),
        ("email", "email_claimed.v1", r#"{"taken":{"by":"01890a5d-ac96-774b-bcce-b302099a8057"}}"#),
        ("order", "", r#""unplaced""#),
        (
            "order",
            "order_placed.v1",
            r#"{"pending":{"currency":"EUR","customer_id":"00000000-0000-7000-8000-000000000003","lines":[{"name":"Hat","price":"9.90","product_id":"00000000-0000-7000-8000-000000000002","quantity":2,"sku":"HAT-1"}],"reserve_until":"2026-01-01T00:15:00Z","total":"19.80"}}"#,
        ),
        (
            "order",
            "order_placed.v1 order_confirmed.v1",
            r#"{"confirmed":{"currency":"EUR","customer_id":"00000000-0000-7000-8000-000000000003","lines":[{"name":"Hat","price":"9.90","product_id":"00000000-0000-7000-8000-000000000002","quantity":2,"sku":"HAT-1"}],"reserve_until":"2026-01-01T00:15:00Z","total":"19.80"}}"#,
        ),
        (
            "order",
            "order_placed.v1 order_shipped.v1",
            r#"{"shipped":{"currency":"EUR","customer_id":"00000000-0000-7000-8000-000000000003","lines":[{"name":"Hat","price":"9.90","product_id":"00000000-0000-7000-8000-000000000002","quantity":2,"sku":"HAT-1"}],"reserve_until":"2026-01-01T00:15:00Z","total":"19.80"}}"#,
        ),
        (
            "order",
            "order_placed.v1 order_cancelled.v1",
            r#"{"cancelled":{"currency":"EUR","customer_id":"00000000-0000-7000-8000-000000000003","lines":[{"name":"Hat","price":"9.90","product_id":"00000000-0000-7000-8000-000000000002","quantity":2,"sku":"HAT-1"}],"reserve_until":"2026-01-01T00:15:00Z","total":"19.80"}}"#,
        ),
        ("presence", "", r#"{"inactive_after_ms":null}"#),
        ("presence", "presence_configured.v1", r#"{"inactive_after_ms":900000}"#),
        ("product", "", r#""unknown""#),
        (
            "product",
            "product_added.v1",
            r#"{"listed":{"currency":"EUR","name":"Hat","price":"9.90","sku":"HAT-1"}}"#,
        ),
        ("project", "", r#""uncreated""#),
        (
            "project",
            "project_created.v1 member_added.v1",
            r#"{"active":{"description":"To the new house","members":["00000000-0000-7000-8000-000000000002"],"name":"Move","owner_id":"00000000-0000-7000-8000-000000000001"}}"#,
        ),
        (
            "project",
            "project_created.v1 project_archived.v1",
            r#"{"archived":{"description":"To the new house","members":[],"name":"Move","owner_id":"00000000-0000-7000-8000-000000000001"}}"#,
        ),
        ("rules", "", r#"{"config":{"rules":[]}}"#),
        (
            "rules",
            "rules_configured.v1",
            r#"{"config":{"rules":[{"clear_threshold":25.0,"clear_times":2,"device_id":"pump-*","enabled":false,"for":"5m","key":"battery","message":"Critical Battery Level!","operator":"<","severity":"critical","threshold":20.0,"times":3}],"temperature_max":80.0}}"#,
        ),
        ("schema", "", r#""unregistered""#),
        (
            "schema",
            "schema_registered.v1",
            r#"{"registered":{"schema":{"required":["id"],"type":"object"},"version":2}}"#,
        ),
        ("session", "", r#""not_begun""#),
        (
            "session",
            "logged_in.v1 session_refreshed.v1",
            r#"{"live":{"expires_at":"2026-02-01T03:04:05.678901Z","generation":1,"password_number":1,"user_id":"01890a5d-ac96-774b-bcce-b302099a8057"}}"#,
        ),
        ("session", "logged_in.v1 session_revoked.v1", r#""revoked""#),
        (
            "stock",
            "stock_received.v1 stock_reserved.v1",
            r#"{"available":48,"reserved":{"00000000-0000-7000-8000-000000000001":2},"shipped":0}"#,
        ),
        ("task", "", r#""uncreated""#),
        (
            "task",
            "task_created.v1 task_status_changed.v1",
            r#"{"open":{"assignee_id":"00000000-0000-7000-8000-000000000002","description":null,"due_at":"2026-01-02T03:04:05.678Z","project_id":"00000000-0000-7000-8000-000000000003","status":"InProgress","title":"Pack"}}"#,
        ),
        (
            "task",
            "task_created.v1 task_deleted.v1",
            r#"{"deleted":{"project_id":"00000000-0000-7000-8000-000000000003"}}"#,
        ),
        ("user", "", r#""nobody""#),
        (
            "user",
            "registered.v1",
            r#"{"registered":{"password_number":1,"personal":{"email":"ada@example.org","full_name":"Ada Lovelace"},"registered_at":"2026-01-02T03:04:05.678901Z","role":"user"}}"#,
        ),
        ("work", "", r#""undemanded""#),
        (
            "work",
            "work_demanded.v1",
            r#"{"demanded":{"add_up_to":4,"work_code":"api-bjq8euwsEA"}}"#,
        ),
        (
            "work",
            "work_demanded.v1 work_claimed.v1",
            r#"{"claimed":{"add_up_to":4,"attempt":1,"lease_until":"2026-01-01T00:00:30Z","started":false}}"#,
        ),
        (
            "work",
            "work_demanded.v1 work_claimed.v1 work_failed.v1",
            r#"{"failed":{"add_up_to":4,"attempt":1,"retry_at":"2026-01-01T00:00:01Z"}}"#,
        ),
        (
            "work",
            "work_demanded.v1 work_claimed.v1 work_completed.v1",
            r#"{"completed":{"attempt":1,"result":10}}"#,
        ),
        ("work", "work_demanded.v1 work_given_up.v1", r#""given_up""#),
    ];
    for (category, events, literal) in pinned {
        let literal: Value = serde_json::from_str(literal).unwrap();
        assert_eq!(shown(category, events), literal, "{category} after {events}");
    }
}

fn shown(category: &str, events: &str) -> Value {
    let context = crate::context_of(category).unwrap();
    let mut state = (crate::decider_of(category).unwrap().initial_state)();
    for event in events.split_whitespace() {
        let root = env!("CARGO_MANIFEST_DIR");
        let file = format!("{root}/golden/{}/{event}.json", context.name);
        let data = std::fs::read_to_string(file).unwrap();
        let (event_type, _) = event.split_once('.').unwrap();
        state.fold(event_type, 1, data.trim()).unwrap();
    }
    serde_json::from_str(state.to_json().unwrap().get()).unwrap()
}

#[test]
fn codes_of_rejections() {
    fn all<R: Reject + Debug>(rejections: &[R]) -> String {
        let words = rejections.iter().map(|rejection| {
            let status = match rejection.kind() {
                Kind::Invalid => 422,
                Kind::NotFound => 404,
                Kind::Forbidden => 403,
                Kind::Conflict => 409,
            };
            let pointer = rejection.pointer().unwrap_or_default();
            format!("{} {status} {pointer}", rejection.code()).trim_end().to_owned()
        });
        words.collect::<Vec<_>>().join(", ")
    }
    let order = {
        use orders::order::Rejection::{
            AlreadyPlaced, Cancelled, Empty, MixedCurrencies, NotConfirmed, NotDue, NotFound,
            NotPending, Shipped,
        };
        let mixed = MixedCurrencies { line: 2 };
        all(&[
            NotFound,
            AlreadyPlaced,
            Empty,
            mixed,
            NotConfirmed,
            NotPending,
            NotDue,
            Shipped,
            Cancelled,
        ])
    };
    let product = {
        use orders::product::Rejection::{AlreadyAdded, Decimals, NotFound, SkuTaken};
        let currency = "JPY".parse().unwrap();
        let decimals = Decimals { currency, limit: 0, decimals: 2 };
        all(&[NotFound, AlreadyAdded, SkuTaken, decimals])
    };
    let stock = {
        use orders::stock_item::Rejection::{BelowZero, NoProduct};
        all(&[BelowZero { available: 1 }, NoProduct])
    };
    let project = {
        use projects::Rejection::{
            AssigneeNotAMember, NotAMember, NotTheOwner, OwnerStays, ProjectAlreadyCreated,
            ProjectArchived, ProjectNotFound, StatusMoveRefused, TaskAlreadyCreated, TaskNotFound,
            TooManyMembers, UserNotFound,
        };
        let moved = StatusMoveRefused { from: Status::ToDo, to: Status::Done };
        all(&[
            ProjectNotFound,
            TaskNotFound,
            ProjectAlreadyCreated,
            TaskAlreadyCreated,
            NotTheOwner,
            NotAMember,
            ProjectArchived,
            OwnerStays,
            TooManyMembers,
            AssigneeNotAMember,
            moved,
            UserNotFound,
        ])
    };
    let user = {
        use users::user::Rejection::{
            AlreadyRegistered, NotAdministrator, NotRegistered, NotRegisteredAdministrator,
            OwnRole, PasswordChanged,
        };
        all(&[
            AlreadyRegistered,
            NotRegistered,
            PasswordChanged,
            NotAdministrator,
            OwnRole,
            NotRegisteredAdministrator,
        ])
    };
    let session = {
        use users::session::Rejection::{AlreadyBegun, Ended, Unknown};
        all(&[AlreadyBegun, Unknown, Ended])
    };
    let work = {
        use works::Rejection::{
            AlreadyDemanded, Finished, Leased, NotDemanded, NotDue, Superseded,
        };
        all(&[AlreadyDemanded, NotDemanded, Leased, NotDue, Superseded, Finished])
    };
    assert_pinned([
        (all(&[alerts::alert::Rejection::Unknown]), "alert_not_found 404"),
        (all(&[documents::document::Rejection::AlreadyRecorded]), "document_already_recorded 409"),
        (all(&[users::email_claim::Rejection::Taken]), "email_taken 409 /email"),
        (all(&[users::namespace::Rejection::Taken]), "namespace_taken 409 /namespace"),
        (
            order,
            "order_not_found 404, order_already_placed 409, order_empty 422 /items, mixed_currencies 422 /items/2/product_id, order_not_confirmed 409, order_not_pending 409, order_not_due 409, order_shipped 409, order_cancelled 409",
        ),
        (
            product,
            "product_not_found 404, product_already_added 409, sku_taken 409 /sku, price_decimals 422 /price",
        ),
        (stock, "stock_below_zero 409 /quantity, product_not_found 404"),
        (
            project,
            "project_not_found 404, task_not_found 404, project_already_created 409, task_already_created 409, not_the_owner 403, not_a_member 403, project_archived 409, owner_stays 409, too_many_members 409, assignee_not_a_member 422 /assignee_id, status_move_refused 409 /status, user_not_found 404",
        ),
        (
            user,
            "user_already_registered 409, user_not_found 404, password_changed 409, forbidden 403, own_role 403, not_a_registered_administrator 403",
        ),
        (session, "session_already_begun 409, session_not_found 404, session_ended 409"),
        (
            work,
            "work_already_demanded 409, work_not_found 404, work_leased 409, work_not_due 409, work_superseded 409, work_finished 409",
        ),
    ]);
}
