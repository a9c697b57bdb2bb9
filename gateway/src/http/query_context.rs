//! The context of a query, and the two responses of queries: a page of rows, and one row. A query
//! never silently answers with older data than `Tributary-Min-Position` asks for.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::Response;
use eventsourcing::Position;
use projections::WaitError;
use serde::Serialize;
use sqlx::PgPool;
use utoipa::IntoParams;

use super::api::Api;
use super::entity_tag::EntityTag;
use super::headers::{self, MIN_POSITION};
use super::page::{self, Limit};
use super::problem::Problem;

/// How long a query waits for its projection without `Prefer: wait`.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);

/// Headers of every query.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by `QueryContext`; this is for the document")]
pub(super) struct QueryHeaders {
    /// Position of the log that the read model must have applied before it answers: 503
    /// `projection_behind` if it has not in time.
    #[param(rename = "Tributary-Min-Position", value_type = i64, required = false, minimum = 0, example = 42)]
    min_position: Option<i64>,
    /// `wait=N`: wait at most N seconds for that position (default 5, at most 20).
    #[param(rename = "Prefer", value_type = String, required = false, example = "wait=5")]
    prefer: Option<String>,
}

/// What a query says besides its parameters.
#[derive(Debug)]
pub(super) struct QueryContext {
    pub(super) api: Arc<Api>,
    pub(super) uri: Uri,
    min_position: Option<Position>,
    patience: Duration,
}

impl FromRequestParts<Arc<Api>> for QueryContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let Ok(OriginalUri(uri)) = OriginalUri::from_request_parts(parts, api).await;
        let min_position = headers::position(&parts.headers, MIN_POSITION)?;
        let patience = headers::preferred_wait(&parts.headers).unwrap_or(DEFAULT_WAIT);
        Ok(Self { api: Arc::clone(api), uri, min_position, patience })
    }
}

impl QueryContext {
    /// Connections for queries.
    pub(super) fn pool(&self) -> &PgPool {
        self.api.queries()
    }

    /// Waits until `projection` has applied the minimum position, and returns its checkpoint.
    pub(super) async fn wait(&self, projection: &'static str) -> Result<Position, Problem> {
        let Some(least) = self.min_position else {
            return Ok(self.api.wait.position(projection).await?);
        };
        let reached = self.api.wait.at_least(projection, least, self.patience).await;
        reached.map_err(|error| match error {
            WaitError::Unavailable(error) => error.into(),
            WaitError::BeyondHead { head } => {
                let detail = format!("the log ends at {head}; no command has returned {least}");
                Problem::parameter(MIN_POSITION, detail)
            }
            WaitError::Behind { position } => {
                let detail = format!(
                    "projection {projection} is at {position}, not yet at {least}; retry later"
                );
                Problem::unavailable("projection_behind", detail)
                    .member("projection", projection)
                    .member("position", position.0)
                    .member("min_position", least.0)
            }
        })
    }

    /// Waits for `projection`, runs the query `rows`, and responds with them as one page. If the
    /// page is full, its link to the next page holds the `cursor` of its last row.
    pub(super) async fn list<T: Serialize, P: Serialize, E>(
        &self,
        projection: &'static str,
        limit: Limit,
        rows: impl Future<Output = Result<Vec<T>, E>>,
        cursor: impl Fn(&T) -> P,
    ) -> Result<Response, Problem>
    where
        Problem: From<E>,
    {
        let position = self.wait(projection).await?;
        page::full(&self.uri, rows.await?, limit, position, cursor)
    }

    /// Waits for `projection`, runs the query `row`, and responds with it; its `version`, or the
    /// versions of all streams it shows, as `ETag`. 404 if there is no row, which is called `name`.
    pub(super) async fn show<T: Serialize, V: Into<EntityTag>, E>(
        &self,
        projection: &'static str,
        name: &str,
        row: impl Future<Output = Result<Option<T>, E>>,
        version: impl Fn(&T) -> Option<V>,
    ) -> Result<Response, Problem>
    where
        Problem: From<E>,
    {
        let position = self.wait(projection).await?;
        let row = row.await?.ok_or_else(|| Problem::not_found(name))?;
        let tag = version(&row).map(V::into);
        Ok(page::tagged(row, tag, position))
    }
}
