//! Pins the code, HTTP status and JSON pointer of every rejection.

use std::fmt::Debug;

use eventsourcing::{Kind, Reject};

use super::assert_pinned;
use crate::projects::Status;
use crate::{alerts, documents, orders, projects, users, works};

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
        use orders::product::Rejection::{AlreadyAdded, NotFound, SkuTaken};
        all(&[NotFound, AlreadyAdded, SkuTaken])
    };
    let stock = {
        use orders::stock_item::Rejection::{BelowZero, NoProduct};
        all(&[BelowZero { available: 1 }, NoProduct])
    };
    let project = {
        use projects::Rejection::{
            AssigneeNotAMember, NotAMember, NotTheOwner, OwnerStays, ProjectAlreadyCreated,
            ProjectArchived, ProjectNotFound, StatusMoveRefused, TaskAlreadyCreated, TaskNotFound,
            TooManyMembers,
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
        ])
    };
    let user = {
        use users::user::Rejection::{
            AlreadyRegistered, NotAdministrator, NotRegistered, OwnRole, PasswordChanged,
        };
        all(&[AlreadyRegistered, NotRegistered, PasswordChanged, NotAdministrator, OwnRole])
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
        (
            order,
            "order_not_found 404, order_already_placed 409, order_empty 422 /items, mixed_currencies 422 /items/2/product_id, order_not_confirmed 409, order_not_pending 409, order_not_due 409, order_shipped 409, order_cancelled 409",
        ),
        (product, "product_not_found 404, product_already_added 409, sku_taken 409 /sku"),
        (stock, "stock_below_zero 409 /quantity, product_not_found 404"),
        (
            project,
            "project_not_found 404, task_not_found 404, project_already_created 409, task_already_created 409, not_the_owner 403, not_a_member 403, project_archived 409, owner_stays 409, too_many_members 409, assignee_not_a_member 422 /assignee_id, status_move_refused 409 /status",
        ),
        (
            user,
            "user_already_registered 409, user_not_found 404, password_changed 409, forbidden 403, own_role 403",
        ),
        (session, "session_already_begun 409, session_not_found 404, session_ended 409"),
        (
            work,
            "work_already_demanded 409, work_not_found 404, work_leased 409, work_not_due 409, work_superseded 409, work_finished 409",
        ),
    ]);
}
