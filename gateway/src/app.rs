//! A running process: what its roles share, how they start, and how they end. Tests start the same
//! thing inside their own process, on port 0.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use eventstore::{Bus, EventStore, Feed};
use projections::{Progress, Waiter};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bridge::Accounting;
use crate::config::{Config, ProcessRole};
use crate::parts::Parts;
use crate::roles;
use crate::tokens::Keys;

/// How long roles may take to finish what they took.
const ROLES_GRACE: Duration = Duration::from_secs(8);
/// How long the appender may take after them. Together less than the 10 s a supervisor waits.
const LOG_GRACE: Duration = Duration::from_millis(1500);

/// Name of the bridge in metrics.
const BRIDGE: &str = "mqtt";

/// A running process, or as good as one.
#[derive(Debug)]
pub struct App {
    address: Option<SocketAddr>,
    parts: Parts,
    /// Ends the roles.
    shutdown: CancellationToken,
    /// What the roles stand on: it ends after them.
    log: (TaskTracker, CancellationToken),
    ended: mpsc::Receiver<(ProcessRole, anyhow::Result<()>)>,
}

impl App {
    /// Starts `roles`. None of the servers need be there yet.
    pub async fn start(config: Config, roles: &[ProcessRole]) -> anyhow::Result<Self> {
        crate::metrics::install();
        let log = (TaskTracker::new(), CancellationToken::new());
        let shutdown = CancellationToken::new();
        let options = config.database.options()?;
        let pool = eventstore::pool(options, config.database.database_connections);
        let store = EventStore::open(pool, &log.0, log.1.clone());
        store.delete_expired_receipts(&log.0, log.1.clone());
        let bus = Bus::connect(config.bus.nats_url.expose()).await?;
        let feed = Feed::start(&store, Some(bus.clone()), &log.0, log.1.clone());
        eventstore::announcer(&store, bus.clone(), &log.0, log.1.clone());
        let progress = Progress::default();
        let wait = Waiter::start(store.clone(), progress.clone(), &log.0, shutdown.clone());
        let parts = Parts {
            config: Arc::new(config),
            store,
            bus,
            feed,
            progress,
            wait,
            bridge: roles.contains(&ProcessRole::Mqtt).then(|| Arc::new(Accounting::new(BRIDGE))),
            tasks: TaskTracker::new(),
        };
        Self::run(parts, log, shutdown, roles).await
    }

    async fn run(
        parts: Parts,
        log: (TaskTracker, CancellationToken),
        shutdown: CancellationToken,
        roles: &[ProcessRole],
    ) -> anyhow::Result<Self> {
        let (sender, ended) = mpsc::channel(roles.len().max(1));
        let mut address = None;
        for &role in roles {
            let listener = match role {
                ProcessRole::Http => Some(listen(&parts.config, &mut address).await?),
                _ => None,
            };
            let running = roles::run(role, parts.clone(), listener, shutdown.clone());
            let sender = sender.clone();
            parts.tasks.spawn(async move {
                let outcome = running.await;
                // Nobody listens any more when the process is about to end.
                drop(sender.send((role, outcome)).await);
            });
        }
        Ok(Self { address, parts, shutdown, log, ended })
    }

    /// Where HTTP is served, if it is.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// What the roles share.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Runs something beside the roles, until they are told to end.
    pub fn spawn<F>(&self, running: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.parts.tasks.spawn(running(self.shutdown.clone()));
    }

    /// Waits for a role to end, which none does by itself but by an error.
    pub async fn ended(&mut self) -> anyhow::Error {
        match self.ended.recv().await {
            Some((role, Err(error))) => error.context(format!("role {role} ended")),
            Some((role, Ok(()))) => anyhow::anyhow!("role {role} ended by itself"),
            None => std::future::pending().await,
        }
    }

    /// Stops taking, finishes what was taken, and ends, within 10 seconds.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.parts.tasks.close();
        if tokio::time::timeout(ROLES_GRACE, self.parts.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.parts.tasks.len(), "some tasks did not end in time");
        }
        let (tasks, shutdown) = self.log;
        shutdown.cancel();
        tasks.close();
        if tokio::time::timeout(LOG_GRACE, tasks.wait()).await.is_err() {
            tracing::warn!(left = tasks.len(), "the log's tasks did not end in time");
        }
    }
}

async fn listen(
    config: &Config,
    address: &mut Option<SocketAddr>,
) -> anyhow::Result<(TcpListener, Keys)> {
    let keys = Keys::load(&config.tokens.signing_key_file)?;
    let wanted = config.http.address();
    let listener =
        TcpListener::bind(wanted).await.with_context(|| format!("cannot listen on {wanted}"))?;
    *address = Some(listener.local_addr()?);
    Ok((listener, keys))
}
