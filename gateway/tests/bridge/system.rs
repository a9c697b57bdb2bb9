//! What a test needs: a log, a broker, a line between them, and a bridge on it.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use eventstore::EventStore;
use gateway::bridge::{Accounting, Bridge, Error, Snapshot};
use mqtt::Options;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::proxy::Proxy;
use crate::servers::{Mosquitto, Postgres};

/// Longer than anything takes here; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_mins(1);

pub struct System {
    pub postgres: Postgres,
    pub mosquitto: Mosquitto,
    pub proxy: Proxy,
    pub store: EventStore,
}

impl System {
    pub async fn start() -> Self {
        Self::start_with(Mosquitto::start()).await
    }

    pub async fn start_with(mosquitto: Mosquitto) -> Self {
        tracing_subscriber::fmt().with_test_writer().try_init().ok();
        let postgres = Postgres::start();
        let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
        eventstore::migrate(&mut connection).await.unwrap();
        let options: PgConnectOptions = postgres.url().parse().unwrap();
        let pool = eventstore::pool(options, 4);
        let store = EventStore::open(pool, &TaskTracker::new(), CancellationToken::new());
        let proxy = Proxy::start(mosquitto.port).await;
        Self { postgres, mosquitto, proxy, store }
    }

    /// Where the bridge is to connect: through the proxy.
    pub fn options(&self) -> Options {
        gateway::bridge::listen(
            Options::new(format!("mqtt://127.0.0.1:{}", self.proxy.port), "bridge"),
            &[],
            None,
        )
    }

    /// A bridge that is connected and subscribed.
    pub async fn bridge(&self) -> Running {
        let mut running = self.bridge_with(self.options());
        running.until(|books| books.connects == 1).await;
        running
    }

    pub fn bridge_with(&self, options: Options) -> Running {
        let accounting = Arc::new(Accounting::new("mqtt"));
        let shutdown = CancellationToken::new();
        let run =
            Bridge::run(options, self.store.clone(), Arc::clone(&accounting), shutdown.clone());
        Running {
            accounting,
            shutdown,
            task: AbortOnDropHandle::new(TaskTracker::new().spawn(run)),
        }
    }

    /// Publishes each line as a message, as a device would, and waits for the broker's PUBACKs.
    pub async fn publish(&self, topic: &str, qos: u8, lines: impl IntoIterator<Item = String>) {
        let lines: String = lines.into_iter().map(|line| line + "\n").collect();
        let mut command = mosquitto_pub(self.mosquitto.port, topic, qos);
        command.arg("-l").stdin(Stdio::piped());
        let mut publisher = command.spawn().unwrap();
        let mut stdin = publisher.stdin.take().unwrap();
        stdin.write_all(lines.as_bytes()).await.unwrap();
        drop(stdin);
        success(publisher.wait_with_output().await.unwrap());
    }

    pub async fn publish_file(&self, topic: &str, path: &std::path::Path) {
        let mut command = mosquitto_pub(self.mosquitto.port, topic, 1);
        success(command.arg("-f").arg(path).output().await.unwrap());
    }

    /// Type and data of every event, in the order of the log.
    pub async fn events(&self) -> Vec<(String, serde_json::Value)> {
        let rows: Vec<(String, serde_json::Value)> =
            sqlx::query_as("select event_type, data from log.event order by position")
                .fetch_all(self.store.pool())
                .await
                .unwrap();
        rows
    }

    /// Keeps everybody from appending until it is dropped or rolled back.
    pub async fn stall(&self) -> Stall {
        let mut connection = PgConnection::connect(&self.postgres.url()).await.unwrap();
        sqlx::raw_sql("begin; select from log.head for update")
            .execute(&mut connection)
            .await
            .unwrap();
        Stall(connection)
    }
}

pub struct Stall(PgConnection);

impl Stall {
    pub async fn end(mut self) {
        sqlx::raw_sql("rollback").execute(&mut self.0).await.unwrap();
    }
}

pub struct Running {
    pub accounting: Arc<Accounting>,
    pub shutdown: CancellationToken,
    task: AbortOnDropHandle<Result<(), Error>>,
}

impl Running {
    /// Waits for the books to be so; at every step they balance.
    pub async fn until(&mut self, mut so: impl FnMut(&Snapshot) -> bool) -> Snapshot {
        let mut watch = self.accounting.watch();
        let reached = watch.wait_for(|books| {
            let settled = books.appended + books.duplicate + books.rejected;
            assert_eq!(books.received, settled + books.in_flight, "{books:?}");
            so(books)
        });
        let reached = timeout(PATIENCE, reached).await.map(|books| *books.unwrap());
        reached.unwrap_or_else(|_elapsed| {
            panic!("it never came to that: {:?}", self.accounting.snapshot())
        })
    }

    pub async fn stop(self) -> Result<(), Error> {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap()
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
