//! Hosts over HTTP: accounts and storage of the machine that serves, and the samples of all hosts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::host::{HostName, Storage};
use projections::host::{self, Filter, Host, Row};

use super::prelude::*;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(users)).routes(routes!(storage)).routes(routes!(samples))
}

/// User accounts of the host.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HostUsers)]
struct Users {
    /// Number of accounts of people.
    #[schema(example = 5)]
    total_users: u32,
}

/// Count the accounts of the host
///
/// The host is the machine that serves the request. Accounts of people are root and those in
/// `/etc/passwd` with an id of 1000 or higher, except the account `nobody`.
#[utoipa::path(
    get, path = "/users", tag = tags::HOST,
    responses((status = 200, description = "The number of accounts", body = Users)),
)]
async fn users(State(api): State<Arc<Api>>) -> Result<Json<Users>, Problem> {
    let metrics = api.host.read().await.map_err(|error| Problem::internal(&error))?;
    Ok(Json(Users { total_users: metrics.users }))
}

/// The disk of the host, in gigabytes of 1,000,000,000 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = HostStorage)]
struct Disk {
    /// Size of the file system.
    #[schema(minimum = 0, example = 49.8)]
    total_gb: f64,
    /// Space in use.
    #[schema(minimum = 0, example = 12.3)]
    used_gb: f64,
    /// Space available to all accounts. What is reserved for root is neither used nor free.
    #[schema(minimum = 0, example = 37.5)]
    free_gb: f64,
    /// Used space in percent of used and free space.
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
/// The host is the machine that serves the request; the values are those of `df /`.
#[utoipa::path(
    get, path = "/storage", tag = tags::HOST,
    responses((status = 200, description = "The storage", body = Disk)),
)]
async fn storage(State(api): State<Arc<Api>>) -> Result<Json<Disk>, Problem> {
    let metrics = api.host.read().await.map_err(|error| Problem::internal(&error))?;
    Ok(Json(metrics.storage.into()))
}

/// Which samples.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SamplesQuery {
    /// Only samples of this host.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64,
            pattern = "^[A-Za-z0-9._-]+$", example = "web-1")]
    host: Option<HostName>,
    /// Only samples taken at this time or later (RFC 3339).
    from: Option<DateTime<Utc>>,
    /// Only samples taken before this time (RFC 3339).
    to: Option<DateTime<Utc>>,
    /// Most items on the page (default 100).
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Limit,
    /// Where the page begins: from the `Link` header of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List samples of hosts, newest first
///
/// Sent by `tributary agent` from the hosts it runs on.
#[utoipa::path(
    get, path = "/api/v1/host/samples", tag = tags::HOST, params(SamplesQuery, QueryHeaders),
    responses((status = 200, description = "A page of samples", body = Page<Row>),
        (status = 403, description = "The caller is not an operator")),
)]
async fn samples(
    _: Operator,
    context: QueryContext,
    Query(query): Query<SamplesQuery>,
) -> Result<Response, Problem> {
    let after = page::after(query.cursor.as_ref())?;
    let filter = Filter { host: query.host.map(Into::into), from: query.from, to: query.to };
    let rows = host::samples(context.pool(), &filter, after, query.limit.into());
    let key = |last: &Row| (last.time, last.host.clone());
    context.list(Host::NAME, query.limit, rows, key).await
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
