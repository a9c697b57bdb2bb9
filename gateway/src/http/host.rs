//! Hosts over HTTP: the one we run on as it is now, and the samples of all.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::host::{HostName, Storage};
use projections::host::{self, Filter, Row};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Operator;
use super::extract::Query;
use super::page::{self, Cursor, Limit, Page};
use super::problem::Problem;
use super::wait::{self, QueryHeaders};
use super::{Api, tags};

/// The projection that answers here.
const PROJECTION: &str = "host";

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(users)).routes(routes!(storage)).routes(routes!(samples))
}

/// Accounts of the host.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HostUsers)]
struct Users {
    /// Accounts of people.
    #[schema(example = 5)]
    total_users: u32,
}

/// Count the accounts of the host
///
/// Of the machine this server runs on, now: accounts of people, that is root and those in
/// `/etc/passwd` whose id is 1000 or higher, nobody's left out.
#[utoipa::path(
    get, path = "/users", tag = tags::HOST,
    responses((status = 200, description = "How many there are", body = Users)),
)]
async fn users(State(api): State<Arc<Api>>) -> Result<axum::Json<Users>, Problem> {
    let metrics = api.host.read().await.map_err(|error| Problem::internal(&error))?;
    Ok(axum::Json(Users { total_users: metrics.users }))
}

/// The disk of the host, in gigabytes of 1,000,000,000 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = HostStorage)]
struct Disk {
    #[schema(minimum = 0, example = 49.8)]
    total_gb: f64,
    #[schema(minimum = 0, example = 12.3)]
    used_gb: f64,
    /// Free for everybody: what is kept for the administrator is neither used nor free.
    #[schema(minimum = 0, example = 37.5)]
    free_gb: f64,
    /// Of what is used or free.
    #[schema(minimum = 0, maximum = 100, example = 24.7)]
    percent_used: f64,
}

impl From<Storage> for Disk {
    fn from(storage: Storage) -> Self {
        let Storage { total_bytes, used_bytes, free_bytes } = storage;
        let usable = used_bytes.saturating_add(free_bytes).max(1);
        Self {
            total_gb: tenths(total_bytes.into(), 1_000_000_000),
            used_gb: tenths(used_bytes.into(), 1_000_000_000),
            free_gb: tenths(free_bytes.into(), 1_000_000_000),
            percent_used: tenths(u128::from(used_bytes) * 100, usable.into()),
        }
    }
}

/// A ratio with one decimal, rounded half up.
fn tenths(number: u128, unit: u128) -> f64 {
    let tenths = (number * 10 + unit / 2) / unit;
    f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0
}

/// Show the storage of the host
///
/// Of the machine this server runs on, now: the file system that holds `/`, as `df` has it.
#[utoipa::path(
    get, path = "/storage", tag = tags::HOST,
    responses((status = 200, description = "How much there is", body = Disk)),
)]
async fn storage(State(api): State<Arc<Api>>) -> Result<axum::Json<Disk>, Problem> {
    let metrics = api.host.read().await.map_err(|error| Problem::internal(&error))?;
    Ok(axum::Json(metrics.storage.into()))
}

/// Which samples.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SamplesQuery {
    /// Only those of this host.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64,
            pattern = "^[A-Za-z0-9._-]+$", example = "web-1")]
    host: Option<HostName>,
    /// Taken then or later (RFC 3339).
    from: Option<DateTime<Utc>>,
    /// Taken before then (RFC 3339).
    to: Option<DateTime<Utc>>,
    /// Items on the page: 1 to 500, 100 if not said.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where to go on, from the `Link` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List samples of hosts, newest first
///
/// What `tributary agent` sent from the hosts it runs on.
#[utoipa::path(
    get, path = "/api/v1/host/samples", tag = tags::HOST, params(SamplesQuery, QueryHeaders),
    responses((status = 200, description = "A page of samples", body = Page<Row>),
        (status = 403, description = "Not an operator")),
)]
async fn samples(
    State(api): State<Arc<Api>>,
    _: Operator,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    Query(query): Query<SamplesQuery>,
) -> Result<Response, Problem> {
    let position = wait::query(&api.wait, PROJECTION, &headers).await?;
    let after = query.cursor.as_ref().map(Cursor::read).transpose()?;
    let filter = Filter { host: query.host.map(Into::into), from: query.from, to: query.to };
    let rows = host::samples(api.store.pool(), &filter, after, query.limit.into()).await?;
    page::full(&uri, rows, query.limit, position, |last| (last.time, last.host.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gigabytes_have_one_decimal() {
        let disk = |total_bytes, used_bytes, free_bytes| {
            Disk::from(Storage { total_bytes, used_bytes, free_bytes })
        };
        assert_eq!(
            disk(49_800_000_000, 12_300_000_000, 37_500_000_000),
            Disk { total_gb: 49.8, used_gb: 12.3, free_gb: 37.5, percent_used: 24.7 }
        );
        let none = Disk { total_gb: 0.0, used_gb: 0.0, free_gb: 0.0, percent_used: 0.0 };
        assert_eq!(disk(0, 0, 0), none);
        let total = |bytes| disk(bytes, 1, 0);
        let full = |total_gb| Disk { total_gb, percent_used: 100.0, ..none };
        assert_eq!(total(1_949_999_999), full(1.9));
        assert_eq!(total(1_950_000_000), full(2.0));
    }
}
