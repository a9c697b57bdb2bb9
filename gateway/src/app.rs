//! [`App`]: the roles of a process, from start to shutdown. Tests run it inside their own process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use eventstore::{Bus, EventStore, Feed, LogReader, Tasks};
use futures::FutureExt;
use futures::future::BoxFuture;
use projections::{Progress, Waiter};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::backpressure::Backpressure;
use crate::bridge::Accounting;
use crate::config::{Config, ProcessRole};
use crate::http::{self, ConnectionLimits, Probes, Stop};
use crate::one_time_codes::OneTimeCodes;
use crate::parts::Parts;
use crate::roles;
use crate::tokens::Keys;

/// Time for roles to finish at shutdown.
const ROLES_GRACE: Duration = Duration::from_secs(8);
/// Time for the appender to finish after them. Together less than the 10 s that supervisors wait.
const LOG_GRACE: Duration = Duration::from_millis(1500);

/// Connections to the address of `--metrics-listen` at a time.
const PROBE_CONNECTIONS: u32 = 64;

/// Label of the bridge in metrics.
const BRIDGE: &str = "mqtt";

/// The running roles of a process.
#[derive(Debug)]
pub struct App {
    address: Option<SocketAddr>,
    parts: Parts,
    /// Stops the roles.
    shutdown: CancellationToken,
    /// Tasks of the log and their shutdown; they stop after the roles.
    log: (Tasks, CancellationToken),
    ended: mpsc::Receiver<(ProcessRole, anyhow::Result<()>)>,
}

impl App {
    /// Starts `roles`. Postgres, NATS and the MQTT broker need not be reachable yet.
    ///
    /// Fails if a URL is invalid, the signing key cannot be read or the HTTP address is in use.
    // Boxed, so that the server is compiled once: a crate that calls an `async fn` compiles it again.
    pub fn start(config: Config, roles: &[ProcessRole]) -> BoxFuture<'_, anyhow::Result<Self>> {
        Self::start_in_place(config, roles).boxed()
    }

    async fn start_in_place(config: Config, roles: &[ProcessRole]) -> anyhow::Result<Self> {
        crate::metrics::install();
        crate::certificates::export(&config);
        #[cfg(debug_assertions)]
        if let Some(at) = crate::config::injected_panic() {
            eventstore::fault::inject(at);
        }
        let log = (Tasks::new(), CancellationToken::new());
        let shutdown = CancellationToken::new();
        let options = config.database.options()?.primary_only();
        let pool = eventstore::pool(options, config.database.database_connections);
        let store = EventStore::open(pool, &log.0, log.1.clone());
        crate::metrics::keep_up(&log.0, log.1.clone());
        store.monitor(config.database.clock_tolerance.0, &log.0, log.1.clone());
        store.delete_expired_receipts(&log.0, log.1.clone());
        let bus = Bus::open(&config.bus.access()?, config.streams.events()).await?;
        let feed = Feed::start(&store, Some(bus.clone()), &log.0, log.1.clone());
        eventstore::announcer(&store, bus.clone(), &log.0, log.1.clone());
        let progress = Progress::default();
        let wait = Waiter::start(store.reader(), progress.clone(), &log.0, shutdown.clone());
        let standby = if roles.contains(&ProcessRole::Http) { standby(&config)? } else { None };
        let backpressure = match config.intake.intake_max_lag {
            limit if limit > 0 && takes_facts(roles) => {
                Backpressure::start(store.reader(), limit, &log.0, shutdown.clone())
            }
            _ => Backpressure::never(),
        };
        let parts = Parts {
            config: Arc::new(config),
            roles: roles.into(),
            store,
            standby,
            bus,
            feed,
            progress,
            wait,
            bridge: roles.contains(&ProcessRole::Mqtt).then(|| Arc::new(Accounting::new(BRIDGE))),
            backpressure,
            one_time_codes: OneTimeCodes::default(),
            draining: CancellationToken::new(),
            tasks: Tasks::new(),
        };
        Self::run(parts, log, shutdown, roles).await
    }

    async fn run(
        parts: Parts,
        log: (Tasks, CancellationToken),
        shutdown: CancellationToken,
        roles: &[ProcessRole],
    ) -> anyhow::Result<Self> {
        serve_probes(&parts, &shutdown).await?;
        let (sender, ended) = mpsc::channel(roles.len().max(1));
        let mut address = None;
        for &role in roles {
            let listener = match role {
                ProcessRole::Http => Some(listen(&parts.config, &mut address).await?),
                _ => None,
            };
            let running = roles::run(role, parts.clone(), listener, shutdown.clone());
            let sender = sender.clone();
            parts.tasks.spawn(format!("role {role}"), async move {
                let outcome = running.await;
                // The receiver is dropped when the process stops.
                drop(sender.send((role, outcome)).await);
            });
        }
        Ok(Self { address, parts, shutdown, log, ended })
    }

    /// Returns the address of the HTTP server, if this process runs it.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns the parts that the roles share.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Spawns a task that shutdown waits for. `running` is passed the shutdown signal. A panic ends the
    /// process.
    pub fn spawn<F>(&self, name: &'static str, running: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.parts.tasks.spawn(name, running(self.shutdown.clone()));
    }

    /// Waits until a role ends, a task panics, or this process cannot work with the database at all,
    /// and returns why. A role ends only by an error or by shutdown.
    pub async fn ended(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            biased;
            panicked = self.log.0.panicked() => return panicked.into(),
            panicked = self.parts.tasks.panicked() => return panicked.into(),
            ended = self.ended.recv() => ended,
            refused = self.parts.store.refused() => return anyhow::anyhow!(refused),
        };
        match ended {
            Some((role, Err(error))) => error.context(format!("role {role} failed")),
            Some((role, Ok(()))) => {
                anyhow::anyhow!("role {role} ended without an error before shutdown")
            }
            None => std::future::pending().await,
        }
    }

    /// Drains for the time of `--drain`: answers 503 to readiness checks, and serves all else as before.
    /// Returns at once if this process does not run the role `http`.
    pub async fn drain(&self) {
        let time = self.parts.config.http.drain.0;
        if self.address.is_none() || time.is_zero() {
            return;
        }
        tracing::info!(?time, "draining, readiness checks fail from now on");
        self.parts.draining.cancel();
        tokio::time::sleep(time).await;
    }

    /// Shuts down within 10 seconds: stops the intake, finishes what was accepted, then stops the log.
    pub async fn stop(self) {
        self.parts.draining.cancel();
        self.shutdown.cancel();
        self.parts.tasks.close();
        if tokio::time::timeout(ROLES_GRACE, self.parts.tasks.wait()).await.is_err() {
            tracing::warn!(
                tasks = self.parts.tasks.len(),
                "shutdown timed out, tasks of roles are still running"
            );
        }
        let (tasks, shutdown) = self.log;
        shutdown.cancel();
        tasks.close();
        if tokio::time::timeout(LOG_GRACE, tasks.wait()).await.is_err() {
            tracing::warn!(
                tasks = tasks.len(),
                "shutdown timed out, tasks of the log are still running"
            );
        }
    }
}

/// Whether one of these roles takes in readings or page views.
fn takes_facts(roles: &[ProcessRole]) -> bool {
    roles.iter().any(|role| matches!(role, ProcessRole::Http | ProcessRole::Mqtt))
}

/// The standby of `--database-read-url`.
fn standby(config: &Config) -> anyhow::Result<Option<LogReader>> {
    let Some(options) = config.read_database.options(&config.database)? else { return Ok(None) };
    Ok(Some(LogReader::new(eventstore::pool(options, config.database.database_connections))))
}

/// Serves health and metrics at `--metrics-listen`, if that is set.
async fn serve_probes(parts: &Parts, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let Some(bind) = parts.config.http.metrics_listen else { return Ok(()) };
    let listener = TcpListener::bind(bind).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {bind}; check --metrics-listen"))?;
    tracing::info!(address = %listener.local_addr()?, "metrics server listening");
    let probes = Probes {
        store: parts.store.clone(),
        bus: parts.bus.connected(),
        bridge: parts.bridge.clone(),
        standby: parts.standby.clone(),
        started: Arc::default(),
        draining: parts.draining.clone(),
    };
    let limits = ConnectionLimits {
        connections: PROBE_CONNECTIONS,
        header: parts.config.http.http_header_timeout.0,
    };
    let stop = Stop { draining: parts.draining.clone(), shutdown: shutdown.clone() };
    let tasks = parts.tasks.clone();
    parts.tasks.spawn("metrics server", async move {
        http::serve(listener, http::probes(probes), limits, &tasks, stop).await;
    });
    Ok(())
}

async fn listen(
    config: &Config,
    address: &mut Option<SocketAddr>,
) -> anyhow::Result<(TcpListener, Keys)> {
    let mut keys = Keys::load(config.tokens.signing_key()?)?;
    if let Some(file) = &config.tokens.accepted_key_file {
        keys.accept(file)?;
    }
    let bind = config.http.address();
    let listener = TcpListener::bind(bind).await;
    let listener = listener.with_context(|| format!("cannot listen on {bind}; check --port"))?;
    let bound = listener.local_addr()?;
    tracing::info!(address = %bound, "HTTP server listening");
    *address = Some(bound);
    Ok((listener, keys))
}
