//! What the handlers of all routes share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{DateTime, Utc};
use commands::Handlers;
use commands::alerts::DryRunLimits;
use eventstore::{Bus, EventStore, Feed, LogReader};
use projections::Waiter;
use sqlx::PgPool;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use super::admission::Admission;
use super::rebuilds::Rebuilds;
use crate::bridge::Accounting;
use crate::config::{Alerts, Config, Cors, EventTickets, ProcessRole};
use crate::host_metrics;
use crate::one_time_codes::OneTimeCodes;
use crate::tokens::Keys;
use crate::verification::Verifications;
use crate::vitals::Monitor;

/// Routes with their descriptions.
pub(super) type Routes = OpenApiRouter<Arc<Api>>;

/// What the handlers of all routes share.
#[derive(Debug)]
pub struct Api {
    /// The log.
    pub store: EventStore,
    /// Source of the subscriptions behind event streams.
    pub feed: Feed,
    /// Whether this process is connected to NATS.
    pub bus: watch::Receiver<bool>,
    /// Counters of the MQTT bridge, if this process runs it.
    pub bridge: Option<Arc<Accounting>>,
    /// The limits on clients.
    pub admission: Arc<Admission>,
    /// The handlers of commands.
    pub handlers: Handlers,
    /// The standby that answers queries of read models, if one is configured.
    pub standby: Option<LogReader>,
    /// Waits until the read models that answer queries include a position.
    pub wait: Waiter,
    /// Rebuilds that were requested from this process.
    pub rebuilds: Rebuilds,
    /// Which web sites may call the API from a browser.
    pub cors: Cors,
    /// Who may request tickets for event streams, and how long they are valid.
    pub event_tickets: EventTickets,
    /// Signs and verifies tokens.
    pub keys: Keys,
    /// Codes that sign a user in once.
    pub one_time_codes: OneTimeCodes,
    /// Reads accounts and storage of the machine this process runs on.
    pub host: host_metrics::Reader,
    /// Bounds of dry runs of rules.
    pub dry_runs: DryRuns,
    /// This process, for those who ask what runs.
    pub process: Process,
    /// Verifications that were requested from this process.
    pub verifications: Verifications,
    /// Vitals for consoles.
    pub vitals: Monitor,
    /// Limits on readings.
    pub readings: domain::telemetry::Limits,
    /// Decides about readings that the log has already.
    pub repetitions: commands::readings::Repetitions,
    /// How long an order may be pending before it is cancelled.
    pub order_ttl: Duration,
    /// Lifetime of an access token.
    pub access_token_ttl: Duration,
    /// How long a refresh token that was replaced gets the current one again.
    pub refresh_grace: Duration,
    /// Set after the first successful readiness check.
    pub started: Arc<AtomicBool>,
    /// Cancelled when the process begins to drain; readiness checks fail from then on.
    pub draining: CancellationToken,
    /// Cancelled when the process shuts down; ends event streams.
    pub shutdown: CancellationToken,
}

impl Api {
    /// Connections for queries of read models.
    pub fn queries(&self) -> &PgPool {
        self.standby.as_ref().map_or_else(|| self.store.pool(), LogReader::pool)
    }
}

/// A process: how it was started, and its connection to NATS.
#[derive(Debug)]
pub struct Process {
    /// Configuration of the process.
    pub config: Arc<Config>,
    /// The roles that it runs.
    pub roles: Arc<[ProcessRole]>,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// Its connection to NATS.
    pub bus: Bus,
}

/// Bounds of dry runs of rules: of each, and of their number.
#[derive(Debug)]
pub struct DryRuns {
    /// Bounds of each.
    pub limits: DryRunLimits,
    /// One permit for each dry run at a time.
    pub permits: Semaphore,
}

impl DryRuns {
    /// Makes the bounds that the options set.
    pub fn new(options: Alerts) -> Self {
        Self { limits: options.limits(), permits: Semaphore::new(options.dry_runs.into()) }
    }
}

/// Limits on requests.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest body, in bytes.
    pub body: usize,
    /// Longest time until a response begins.
    pub time: Duration,
    /// Refused requests that are logged per minute.
    pub logged_refusals: u32,
}
