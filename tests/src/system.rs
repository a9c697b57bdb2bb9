//! The servers and processes of one test.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};

use anyhow::{Result, ensure};
use devservers::{Mosquitto, Nats, Postgres, testing};
use serde_json::Value;
use sqlx::PgPool;

use crate::caller::Caller;
use crate::end_check::{self, projections_reached};
use crate::process::Process;
use crate::wait::eventually;

/// No server listens on the discard port: the URL of a system that does not serve HTTP yet.
const DISCARD_PORT: u16 = 9;

/// How a system differs from the default.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Starts a Postgres that only this test uses and may kill. Otherwise all tests of the process
    /// share one.
    pub own_postgres: bool,
}

/// Servers and processes of one test.
///
/// Dropping it checks what must hold at the end of every test: every projection can apply the whole
/// log, no stream is parked, the log has no gap and its hash chain is intact. The check panics on a
/// failure; if the test has returned an error, the panic hides that error.
pub struct System {
    pub folder: PathBuf,
    /// Its own Postgres, if the options ask for one. While a test has taken it out, nothing is
    /// checked at the end.
    pub postgres: Option<Postgres>,
    pub nats: Nats,
    pub mosquitto: Mosquitto,
    /// Connects as the owner of the database, who may do everything.
    pub admin: PgPool,
    /// Environment variables of its processes.
    pub environment: Vec<(String, String)>,
    pub http: reqwest::Client,
    pub token: String,
    /// Where the HTTP role listens. The first process chooses the port, later ones reuse it.
    port: AtomicU16,
    own_postgres: bool,
    unchecked: AtomicBool,
}

impl System {
    pub async fn start() -> Result<Self> {
        Self::start_with(Options { own_postgres: false }).await
    }

    pub async fn start_with(options: Options) -> Result<Self> {
        let own = if options.own_postgres { Some(testing::start_postgres().await?) } else { None };
        Self::start_with_postgres(own).await
    }

    /// Starts on this Postgres, which only this test uses.
    pub async fn start_on(postgres: Postgres) -> Result<Self> {
        Self::start_with_postgres(Some(postgres)).await
    }

    async fn start_with_postgres(postgres: Option<Postgres>) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let database = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = testing::directory("system")?;
        let own_postgres = postgres.is_some();
        let nats = Nats::start(&folder.join("nats"), testing::nats_options()).await?;
        let mosquitto =
            Mosquitto::start(&folder.join("mosquitto"), testing::mosquitto_options()).await?;
        let server = match &postgres {
            Some(server) => server,
            None => testing::shared_postgres().await?,
        };
        server.create_database(&database).await?;
        let admin_url = server.url(&database, "postgres");
        let key = folder.join("signing.pem");
        let environment = [
            ("DATABASE_ADMIN_URL", admin_url.clone()),
            ("DATABASE_URL", server.url(&database, "tributary_app")),
            ("NATS_URL", nats.url_as("tributary")),
            ("MQTT_URL", mosquitto.url()),
            ("MQTT_ALLOW_ANONYMOUS", "true".into()),
            ("PORT", "0".into()),
            ("TRIBUTARY_SIGNING_KEY_FILE", key.display().to_string()),
            ("WORKER_LEASE", "3s".into()),
            ("WORKER_TIME_LIMIT", "2s".into()),
            ("WORKER_BACKOFF", "100ms".into()),
            ("RATE_LIMIT_ADDRESS", "1000000".into()),
            ("RATE_LIMIT_REGISTRATIONS", "1000000".into()),
            ("RATE_LIMIT_SIGN_INS_ADDRESS", "1000000".into()),
            ("RATE_LIMIT_SIGN_INS_ACCOUNT", "1000000".into()),
            ("RATE_LIMIT_PAGE_VIEWS", "1000000".into()),
        ];
        let mut system = Self {
            folder,
            postgres,
            nats,
            mosquitto,
            admin: PgPool::connect(&admin_url).await?,
            environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
            http: client::http(None)?.build()?,
            token: String::new(),
            port: AtomicU16::new(0),
            own_postgres,
            unchecked: AtomicBool::new(false),
        };
        gateway::tokens::make_key(&key)?;
        system.run(&["migrate"]).await?;
        system.token = system.run(&["token", "--role", "admin"]).await?.trim().into();
        Ok(system)
    }

    /// Disables the check at the end, for a test that leaves streams parked or has altered the log.
    pub fn skip_end_check(&self) {
        self.unchecked.store(true, Ordering::Relaxed);
    }

    /// Starts `tributary serve ROLES`. Returns once HTTP is served, if that is one of the roles.
    pub async fn serve(&self, roles: &[&str]) -> Result<Process> {
        self.serve_with(roles, &[]).await
    }

    /// Starts `tributary serve ROLES` with further environment variables.
    pub async fn serve_with(&self, roles: &[&str], more: &[(&str, &str)]) -> Result<Process> {
        let arguments = [&["serve"], roles].concat();
        let mut environment = self.environment.clone();
        let port = self.port.load(Ordering::Relaxed);
        environment.push(("PORT".to_owned(), port.to_string()));
        environment.extend(more.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        let mut process = Process::start(&arguments, &environment)?;
        if roles.is_empty() || roles.contains(&"http") {
            let port = process.http_port().await?;
            if more.iter().all(|(name, _)| *name != "PORT") {
                self.port.store(port, Ordering::Relaxed);
            }
        }
        if roles.is_empty() || roles.contains(&"mqtt") {
            // The broker drops what is published before the bridge's first subscription. A process that
            // ends early makes none.
            let attempted = process.logs_any(&[
                "MQTT bridge subscribed",
                "MQTT broker refused the connection",
                "MQTT connection failed",
            ]);
            drop(attempted.await);
        }
        Ok(process)
    }

    /// Kills a running process with SIGKILL and starts its roles again.
    pub async fn serve_after_kill(&self, roles: &[&str], process: &mut Process) -> Result<Process> {
        process.kill_now().await?;
        self.serve(roles).await
    }

    /// Starts another NATS server, for processes that get its URL: a test may stop it while it
    /// borrows the system.
    pub async fn another_nats(&self) -> Result<Nats> {
        Ok(testing::start_nats().await?)
    }

    /// Runs `tributary ARGUMENTS`, which must succeed. Returns its stdout.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = tokio::process::Command::new(crate::tributary())
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("TRIBUTARY_URL", self.url())
            .env("TRIBUTARY_TOKEN", &self.token)
            .output()
            .await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tributary {arguments:?}: {}: {stderr}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The address of the HTTP API.
    pub fn url(&self) -> String {
        let port = match self.port.load(Ordering::Relaxed) {
            0 => DISCARD_PORT,
            port => port,
        };
        format!("http://127.0.0.1:{port}")
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}{path}", self.url())).bearer_auth(&self.token)
    }

    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http.post(format!("{}{path}", self.url())).bearer_auth(&self.token).json(body)
    }

    /// Issues a token for `subject`, the id of a user or the name of a program.
    pub async fn token_for(&self, subject: &str, role: &str) -> Result<String> {
        let token = self.run(&["token", "--subject", subject, "--role", role]).await?;
        Ok(token.trim().to_owned())
    }

    /// Returns a caller with this token.
    pub fn caller(&self, token: impl Into<String>) -> Caller {
        Caller { http: self.http.clone(), url: self.url(), token: token.into() }
    }

    /// Sends a GET as the administrator, which must succeed. Returns the JSON.
    pub async fn json(&self, path: &str) -> Result<Value> {
        self.caller(&self.token).json(path).await
    }

    /// The last position of the log.
    pub async fn head(&self) -> Result<i64> {
        self.number("select position from log.head").await
    }

    /// Runs a query that returns one number.
    pub async fn number(&self, sql: &'static str) -> Result<i64> {
        Ok(sqlx::query_scalar(sql).fetch_one(&self.admin).await?)
    }

    /// Waits until every projection has reached the head of the log.
    pub async fn caught_up(&self) -> Result<()> {
        self.projected(None).await
    }

    /// Waits until every projection has reached `position`; the head if none is given.
    pub async fn projected(&self, position: Option<i64>) -> Result<()> {
        eventually("every projection has caught up", async || {
            projections_reached(&self.admin, position).await
        })
        .await
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let without_postgres = self.own_postgres && self.postgres.is_none();
        if std::thread::panicking() || without_postgres || *self.unchecked.get_mut() {
            return;
        }
        let database = self.admin.connect_options().as_ref().clone();
        let environment = std::mem::take(&mut self.environment);
        // On a thread and a runtime of its own, because `drop` cannot await.
        let checking = std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(end_check::check(database, &environment))
        });
        let checked = checking.join().unwrap_or_else(|panic| resume_unwind(panic));
        #[expect(clippy::panic, reason = "fails the test")]
        if let Err(error) = checked {
            panic!("check at the end of the test (hides an error that it returned): {error:?}");
        }
    }
}
