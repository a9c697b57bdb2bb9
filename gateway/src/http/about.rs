//! What runs here: the build, the roles and the configuration of this process, and the servers that it
//! depends on.

use std::sync::Arc;

use axum::Json as Body;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::api::Process;
use super::prelude::*;
use crate::bridge;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(show))
}

/// This process, and the servers that it depends on.
#[derive(Debug, Serialize, ToSchema)]
struct About {
    /// Version of this build.
    version: &'static str,
    /// Commit of this build; null if it is not known.
    commit: Option<&'static str>,
    /// When this process started to serve HTTP.
    started_at: DateTime<Utc>,
    /// Roles of this process.
    roles: Vec<String>,
    /// Deployment that the log belongs to; null while Postgres does not answer.
    deployment: Option<Uuid>,
    /// Epoch of the log, which grows when it is restored from a backup; null while Postgres does not
    /// answer.
    epoch: Option<i64>,
    /// Postgres; null while it does not answer.
    postgres: Option<PostgresServer>,
    /// NATS.
    nats: NatsServer,
    /// The MQTT broker; null if another process runs the bridge.
    broker: Option<BrokerServer>,
    /// Options by group, as `tributary config` shows them: secrets are redacted.
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    configuration: Value,
}

/// Postgres.
#[derive(Debug, Serialize, ToSchema)]
struct PostgresServer {
    /// Version of the server.
    version: String,
    /// Version of TimescaleDB, with which readings are compressed; null without it.
    timescaledb: Option<String>,
    /// Whether a commit waits for a standby.
    synchronous_replication: bool,
    /// Whether queries are answered by a standby.
    queries_on_standby: bool,
}

/// NATS.
#[derive(Debug, Serialize, ToSchema)]
struct NatsServer {
    /// Whether the server answers.
    connected: bool,
    /// Version of the server; null before the first connection.
    version: Option<String>,
    /// Whether the stream `EVENTS` is compressed, which servers before 2.10 cannot do; null before the
    /// first connection.
    compression: Option<bool>,
}

/// The MQTT broker, which does not name its version.
#[derive(Debug, Serialize, ToSchema)]
struct BrokerServer {
    /// Whether the bridge is connected and subscribed.
    connected: bool,
    /// Why it is not; null if it is.
    reason: Option<String>,
}

/// Show this process and its servers
///
/// Version, roles and configuration of the process that answers, and the versions of Postgres and NATS.
#[utoipa::path(
    get, path = "/api/v1/about", tag = tags::OPERATIONS,
    responses((status = 200, description = "This process and its servers", body = About),
        (status = 403, description = "The caller is not an operator")),
)]
async fn show(State(api): State<Arc<Api>>, _: Operator) -> Result<Body<About>, Problem> {
    let Process { config, roles, started_at, .. } = &api.process;
    let configuration = serde_json::to_value(&**config);
    let owner = api.store.owner().await.ok();
    let (version, commit) = crate::metrics::build();
    Ok(Body(About {
        version,
        commit,
        started_at: *started_at,
        roles: roles.iter().map(ToString::to_string).collect(),
        deployment: owner.map(|owner| owner.deployment),
        epoch: owner.map(|owner| owner.epoch),
        postgres: postgres(&api).await,
        nats: nats(&api),
        broker: api.bridge.as_ref().map(|bridge| broker(bridge)),
        configuration: configuration.map_err(|error| Problem::internal(&error))?,
    }))
}

async fn postgres(api: &Api) -> Option<PostgresServer> {
    let eventstore::ServerInfo { version, timescaledb, synchronous_replication } =
        api.store.server_info().await.ok()?;
    let queries_on_standby = api.standby.is_some();
    Some(PostgresServer { version, timescaledb, synchronous_replication, queries_on_standby })
}

fn nats(api: &Api) -> NatsServer {
    let client = api.process.bus.client();
    let version = Some(client.server_info().version).filter(|version| !version.is_empty());
    let compression = version.as_ref().map(|_| client.is_server_compatible(2, 10, 0));
    NatsServer { connected: *api.bus.borrow(), version, compression }
}

fn broker(bridge: &bridge::Accounting) -> BrokerServer {
    let reason = bridge.trouble();
    BrokerServer { connected: reason.is_none(), reason }
}
