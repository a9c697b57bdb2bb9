//! A log, a broker, a proxy in front of the broker, and a bridge that connects through the proxy.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use devservers::{Mosquitto, Postgres, mosquitto, testing};
use eventstore::{EventStore, Tasks};
use gateway::backpressure::Backpressure;
use gateway::bridge::{Accounting, Bridge, Decoder, Error, Mappings, Snapshot};
use mqtt::Options;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use uuid::Uuid;

use crate::proxy::Proxy;

/// Longest wait for an expected state.
const DEADLINE: Duration = Duration::from_mins(1);

pub struct System {
    database_url: String,
    pub mosquitto: Mosquitto,
    pub proxy: Proxy,
    pub store: EventStore,
}

impl System {
    pub async fn start() -> Self {
        Self::start_with(mosquitto::Options::default()).await
    }

    pub async fn start_with(options: mosquitto::Options) -> Self {
        Self::start_on(testing::shared_postgres().await.unwrap(), options).await
    }

    /// Starts on a new database of `postgres`.
    pub async fn start_on(postgres: &Postgres, options: mosquitto::Options) -> Self {
        tracing_subscriber::fmt().with_test_writer().try_init().ok();
        let directory = testing::directory("mosquitto").unwrap();
        let mosquitto = Mosquitto::start(&directory, options).await.unwrap();
        let database = format!("bridge_{}", Uuid::now_v7().simple());
        postgres.create_database(&database).await.unwrap();
        let database_url = postgres.url(&database, "postgres");
        let mut connection = PgConnection::connect(&database_url).await.unwrap();
        eventstore::migrate(&mut connection).await.unwrap();
        let application = postgres.url(&database, "tributary_app");
        let options: PgConnectOptions = application.parse().unwrap();
        let pool = eventstore::pool(options, 4);
        let store = EventStore::open(pool, &Tasks::new(), CancellationToken::new());
        let proxy = Proxy::start(mosquitto.port()).await;
        Self { database_url, mosquitto, proxy, store }
    }

    /// Options of a bridge that connects through the proxy.
    pub fn options(&self) -> Options {
        gateway::bridge::listen(
            Options::new(format!("mqtt://127.0.0.1:{}", self.proxy.port), "bridge"),
            &[],
            None,
            &Mappings::default(),
        )
    }

    /// Starts a bridge, and waits until it is connected and subscribed.
    pub async fn bridge(&self) -> Running {
        let mut running = self.bridge_with(self.options());
        running.until(|counters| counters.connects == 1).await;
        running
    }

    pub fn bridge_with(&self, options: Options) -> Running {
        let accounting = Arc::new(Accounting::new("mqtt"));
        let shutdown = CancellationToken::new();
        let (store, decoder) = (self.store.clone(), Decoder::default());
        let (counts, stop) = (Arc::clone(&accounting), shutdown.clone());
        let run = Bridge::run(options, decoder, store, counts, Backpressure::never(), stop);
        Running {
            accounting,
            shutdown,
            task: AbortOnDropHandle::new(TaskTracker::new().spawn(run)),
        }
    }

    /// Publishes each line as a message, and waits for the broker's PUBACKs.
    pub async fn publish(&self, topic: &str, qos: u8, lines: impl IntoIterator<Item = String>) {
        let lines: String = lines.into_iter().map(|line| line + "\n").collect();
        let mut command = mosquitto_pub(self.mosquitto.port(), topic, qos);
        command.arg("-l").stdin(Stdio::piped());
        let mut publisher = command.spawn().unwrap();
        let mut stdin = publisher.stdin.take().unwrap();
        stdin.write_all(lines.as_bytes()).await.unwrap();
        drop(stdin);
        success(publisher.wait_with_output().await.unwrap());
    }

    /// Publishes a retained message; an empty one removes it.
    pub async fn publish_retained(&self, topic: &str, payload: &str) {
        let mut command = mosquitto_pub(self.mosquitto.port(), topic, 1);
        success(command.args(["-r", "-m", payload]).output().await.unwrap());
    }

    pub async fn publish_file(&self, topic: &str, path: &std::path::Path) {
        let mut command = mosquitto_pub(self.mosquitto.port(), topic, 1);
        success(command.arg("-f").arg(path).output().await.unwrap());
    }

    /// Returns type and data of every event, in the order of the log.
    pub async fn events(&self) -> Vec<(String, serde_json::Value)> {
        let rows: Vec<(String, serde_json::Value)> =
            sqlx::query_as("select event_type, data from log.event order by position")
                .fetch_all(self.store.pool())
                .await
                .unwrap();
        rows
    }

    /// Locks the head of the log: no append commits until the lock is released or dropped. The role is
    /// not that of the appender, which ends a session of its own role that stops in a transaction.
    pub async fn lock_head(&self) -> HeadLock {
        let mut connection = PgConnection::connect(&self.database_url).await.unwrap();
        sqlx::raw_sql("begin; select from log.head for update")
            .execute(&mut connection)
            .await
            .unwrap();
        HeadLock(connection)
    }
}

pub struct HeadLock(PgConnection);

impl HeadLock {
    pub async fn release(mut self) {
        sqlx::raw_sql("rollback").execute(&mut self.0).await.unwrap();
    }
}

pub struct Running {
    pub accounting: Arc<Accounting>,
    pub shutdown: CancellationToken,
    task: AbortOnDropHandle<Result<(), Error>>,
}

impl Running {
    /// Waits until the counters meet `condition`; checks at every change that they balance.
    pub async fn until(&mut self, mut condition: impl FnMut(&Snapshot) -> bool) -> Snapshot {
        let mut watch = self.accounting.watch();
        let reached = watch.wait_for(|counters| {
            let settled = counters.appended + counters.duplicate + counters.rejected;
            assert_eq!(counters.received, settled + counters.in_flight, "{counters:?}");
            condition(counters)
        });
        let reached = timeout(DEADLINE, reached).await.map(|counters| *counters.unwrap());
        reached.unwrap_or_else(|_elapsed| {
            panic!("condition not met within {DEADLINE:?}: {:?}", self.accounting.snapshot())
        })
    }

    pub async fn stop(self) -> Result<(), Error> {
        self.shutdown.cancel();
        timeout(DEADLINE, self.task).await.unwrap().unwrap()
    }
}

pub const TELEMETRY: &str = "users/u/devices/d/telemetry";
pub const STATUS: &str = "users/u/devices/d/status";

pub fn readings(sequence: std::ops::Range<i64>) -> impl Iterator<Item = String> {
    sequence.map(|n| format!(r#"{{"sequence_id": {n}, "temperature": 21.5}}"#))
}

fn mosquitto_pub(port: u16, topic: &str, qos: u8) -> Command {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-V", "mqttv5", "-h", "127.0.0.1", "-p", &port.to_string()]);
    command.args(["-t", topic, "-q", &qos.to_string()]);
    command.stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn success(output: Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mosquitto_pub: {errors}");
}
