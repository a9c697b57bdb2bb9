//! Groups of routes in the OpenAPI document.

pub(super) const ALERTS: &str = "alerts";
pub(super) const DOCUMENTS: &str = "documents";
pub(super) const EVENTS: &str = "events";
pub(super) const HOST: &str = "host";
pub(super) const OPERATIONS: &str = "operations";
pub(super) const ORDERS: &str = "orders";
pub(super) const PAGE_VIEWS: &str = "page views";
pub(super) const PROJECTS: &str = "projects";
pub(super) const TASKS: &str = "tasks";
pub(super) const TELEMETRY: &str = "telemetry";
pub(super) const USERS: &str = "users";
pub(super) const WORKS: &str = "works";
