//! What route files use.

pub(super) use axum::http::StatusCode;
pub(super) use axum::response::Response;
pub(super) use projections::Projection;
pub(super) use serde::{Deserialize, Serialize};
pub(super) use utoipa::{IntoParams, ToSchema};
pub(super) use utoipa_axum::routes;
pub(super) use uuid::Uuid;

pub(super) use super::api::{Api, Routes};
pub(super) use super::caller::{Caller, Operator};
pub(super) use super::command_context::{CommandContext, CommandHeaders};
pub(super) use super::extract::{Json, Path, Query};
pub(super) use super::page::{self, Cursor, Limit, Page, PageQuery};
pub(super) use super::problem::{Fault, Problem};
pub(super) use super::query_context::{QueryContext, QueryHeaders};
pub(super) use super::receipt::StoredResponse;
pub(super) use super::tags;
