//! One test's system, and what every test asserts of it in the end.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use devservers::{Mosquitto, Nats, Postgres, mosquitto, nats, postgres};
use eventsourcing::Position;
use eventstore::{EventHash, RawEvent};
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::process::Process;

/// Longest wait for anything a test waits for.
pub const DEADLINE: Duration = Duration::from_mins(1);
/// Between two looks at a position.
const LOOK: Duration = Duration::from_millis(10);

/// What a test wants of its system.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// A Postgres of its own, which it may kill; else one shared by the whole run.
    pub own_postgres: bool,
}

/// What became of the messages the bridge received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bridge {
    pub received: u64,
    pub appended: u64,
    pub duplicate: u64,
    pub rejected: u64,
    pub in_flight: u64,
    /// Appends tried again because the log was not reachable.
    pub retries: u64,
}

impl Bridge {
    /// Messages that were acknowledged, or are about to be.
    pub fn settled(&self) -> u64 {
        self.appended + self.duplicate + self.rejected
    }
}

/// Servers and processes of one test.
pub struct System {
    pub folder: PathBuf,
    /// Its own Postgres, if it asked for one.
    pub postgres: Option<Postgres>,
    pub nats: Nats,
    pub mosquitto: Mosquitto,
    /// As the owner of the database: sees and may do everything.
    pub admin: PgPool,
    /// What its processes are told by their environment.
    pub environment: Vec<(String, String)>,
    pub http: reqwest::Client,
    /// Where the HTTP role listens, once it was started.
    pub url: String,
    pub token: String,
    port: u16,
}

impl System {
    pub async fn start() -> Result<Self> {
        Self::start_with(Options { own_postgres: false }).await
    }

    pub async fn start_with(options: Options) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = run_folder().join(format!("system-{number}"));
        std::fs::create_dir_all(&folder)?;
        let database = format!("test_{number}");
        let own = if options.own_postgres {
            Some(Postgres::start(&folder.join("postgres"), postgres::Options::default()).await?)
        } else {
            None
        };
        let nats = start_nats(&folder.join("nats")).await?;
        let options = mosquitto::Options::default();
        let mosquitto = Mosquitto::start(&folder.join("mosquitto"), options).await?;
        let server = match &own {
            Some(server) => server,
            None => shared_postgres().await?,
        };
        server.create_database(&database).await?;
        let admin_url = server.url(&database, "postgres");
        let key = folder.join("signing.pem");
        let mut environment: Vec<(String, String)> = [
            ("DATABASE_ADMIN_URL", admin_url.clone()),
            ("DATABASE_URL", server.url(&database, "tributary_app")),
            ("NATS_URL", nats.url()),
            ("MQTT_URL", mosquitto.url()),
            ("MQTT_ALLOW_ANONYMOUS", "true".into()),
            ("TRIBUTARY_SIGNING_KEY_FILE", key.display().to_string()),
            ("WORKER_LEASE", "3s".into()),
            ("WORKER_TIME_LIMIT", "2s".into()),
            ("WORKER_BACKOFF", "100ms".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let port = free_port()?;
        environment.push(("PORT".into(), port.to_string()));
        let mut system = Self {
            folder,
            postgres: own,
            nats,
            mosquitto,
            admin: PgPool::connect(&admin_url).await?,
            environment,
            http: reqwest::Client::new(),
            url: format!("http://127.0.0.1:{port}"),
            token: String::new(),
            port,
        };
        gateway::tokens::make_key(&key)?;
        system.run(&["migrate"]).await?;
        system.token = system.run(&["token", "--role", "admin"]).await?.trim().into();
        Ok(system)
    }

    /// Starts `tributary serve ROLES`; waits for HTTP to answer, if it is among them.
    pub async fn serve(&self, roles: &[&str]) -> Result<Process> {
        self.serve_with(roles, &[]).await
    }

    /// The same with further variables.
    pub async fn serve_with(&self, roles: &[&str], more: &[(&str, &str)]) -> Result<Process> {
        let arguments = [&["serve"], roles].concat();
        let mut environment = self.environment.clone();
        environment.extend(more.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        let process = Process::start(&arguments, &environment)?;
        if roles.is_empty() || roles.contains(&"http") {
            eventually("HTTP answers", async || {
                let answer = self.http.get(format!("{}/livez", self.url)).send().await;
                Ok(answer.is_ok_and(|answer| answer.status().is_success()))
            })
            .await?;
        }
        Ok(process)
    }

    /// A NATS server besides its own, for processes that are told so: one that a test may stop while
    /// it uses the system.
    pub async fn another_nats(&self) -> Result<Nats> {
        start_nats(&self.folder.join("another-nats")).await
    }

    /// `kill -9` of a running process, and its roles started anew.
    pub async fn serve_after_kill(&self, roles: &[&str], process: &mut Process) -> Result<Process> {
        process.kill_now().await?;
        self.serve(roles).await
    }

    /// What the bridge says of its messages, from the metrics of the process that serves HTTP.
    pub async fn bridge(&self) -> Result<Bridge> {
        self.bridge_at(&self.url).await
    }

    /// The same from the process that serves HTTP at `url`: there may be several bridges.
    pub async fn bridge_at(&self, url: &str) -> Result<Bridge> {
        let text = self.http.get(format!("{url}/metrics")).send().await?.text().await?;
        let figure = |name: &str| -> u64 {
            let lines =
                text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
            let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let sum = values.sum::<f64>() as u64;
            sum
        };
        Ok(Bridge {
            received: figure("tributary_bridge_received_total"),
            appended: figure("tributary_bridge_appended_total"),
            duplicate: figure("tributary_bridge_duplicate_total"),
            rejected: figure("tributary_bridge_rejected_total"),
            in_flight: figure("tributary_bridge_in_flight"),
            retries: figure("tributary_bridge_retries_total"),
        })
    }

    /// Runs `tributary ARGUMENTS` to its end; returns its stdout.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = tokio::process::Command::new(crate::tributary())
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("TRIBUTARY_URL", &self.url)
            .env("TRIBUTARY_TOKEN", &self.token)
            .output()
            .await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tributary {arguments:?}: {}: {stderr}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.token).json(body)
    }

    /// A token of somebody else: a user's id, or the name of a program.
    pub async fn token_for(&self, subject: &str, role: &str) -> Result<String> {
        let token = self.run(&["token", "--subject", subject, "--role", role]).await?;
        Ok(token.trim().to_owned())
    }

    /// The same system as the holder of `token` sees it.
    pub fn caller(&self, token: impl Into<String>) -> Caller {
        Caller { http: self.http.clone(), url: self.url.clone(), token: token.into() }
    }

    /// GET, expecting success and JSON.
    pub async fn json(&self, path: &str) -> Result<Value> {
        let answer = self.get(path).send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        ensure!(status.is_success(), "GET {path}: {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// The last position of the log.
    pub async fn head(&self) -> Result<i64> {
        Ok(sqlx::query_scalar("select position from log.head").fetch_one(&self.admin).await?)
    }

    /// One number out of the database.
    pub async fn number(&self, sql: &'static str) -> Result<i64> {
        Ok(sqlx::query_scalar(sql).fetch_one(&self.admin).await?)
    }

    /// Waits until every projection has seen the whole log.
    pub async fn caught_up(&self) -> Result<()> {
        self.projected(None).await
    }

    /// Waits until every projection has seen `position`; if none is given, the end of the log,
    /// wherever that is.
    pub async fn projected(&self, position: Option<i64>) -> Result<()> {
        eventually("the projections are caught up", async || {
            let behind: i64 = sqlx::query_scalar(
                "select count(*) from unnest($1::text[]) n (name)
                 left join log.checkpoint c on c.consumer = n.name
                 where coalesce(c.position, 0) < coalesce($2, (select position from log.head))",
            )
            .bind(projections::names())
            .bind(position)
            .fetch_one(&self.admin)
            .await?;
            Ok(behind == 0)
        })
        .await
    }

    /// What holds of every log: no gaps, no position twice, versions without gaps, a chain that
    /// adds up; and nothing was set aside.
    pub async fn is_sound(&self) -> Result<()> {
        self.log_is_sound().await?;
        let parked = self.number("select count(*) from log.parked where parked").await?;
        ensure!(parked == 0, "{parked} streams are parked");
        Ok(())
    }

    pub async fn log_is_sound(&self) -> Result<()> {
        let gapless: bool = sqlx::query_scalar(
            "select count(*) = coalesce(max(position) - min(position) + 1, 0)
                and coalesce(max(position), 0) = (select position from log.head)
             from log.event",
        )
        .fetch_one(&self.admin)
        .await?;
        ensure!(gapless, "positions have gaps");
        let broken = self
            .number(
                "select count(*) from (
                   select stream_id from log.event group by stream_id
                   having count(*) <> max(version) or min(version) <> 1) broken",
            )
            .await?;
        ensure!(broken == 0, "{broken} streams have gaps in their versions");
        self.chain_adds_up().await
    }

    async fn chain_adds_up(&self) -> Result<()> {
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let store = eventstore::EventStore::open(self.admin.clone(), &tasks, shutdown.clone());
        let (head, known): (i64, EventHash) =
            sqlx::query_as("select position, hash from log.head").fetch_one(&self.admin).await?;
        let (mut at, mut hash) = (Position::START, EventHash::new());
        while at.0 < head {
            let page =
                store.read(at, Position(head), &eventstore::Filter::default(), 5_000).await?;
            hash = page
                .events
                .iter()
                .fold(hash, |hash, event: &RawEvent| eventstore::event_hash(&hash, event));
            at = page.through;
        }
        ensure!(known == hash, "the chain does not add up");
        shutdown.cancel();
        Ok(())
    }
}

/// Somebody who speaks to the API.
#[derive(Debug, Clone)]
pub struct Caller {
    http: reqwest::Client,
    url: String,
    pub token: String,
}

impl Caller {
    /// The same caller at another server.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::GET, path)
    }

    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::POST, path).json(body)
    }

    /// A command, expecting success; returns its answer, once the read model shows what it did.
    pub async fn command(
        &self,
        method: reqwest::Method,
        path: &str,
        body: &Value,
    ) -> Result<Value> {
        let request = self.request(method, path).header("Prefer", "wait=20").json(body);
        let answer = request.send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path}: {status}: {body}");
        if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&body)?) }
    }

    /// GET, expecting success and JSON.
    pub async fn json(&self, path: &str) -> Result<Value> {
        let answer = self.get(path).send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "GET {path}: {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }
}

/// Waits until `check` says yes, looking often.
pub async fn eventually(what: &str, check: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    let waiting = async {
        while !check().await? {
            sleep(LOOK).await;
        }
        Ok(())
    };
    timeout(DEADLINE, waiting)
        .await
        .with_context(|| format!("waited {:?} in vain until {what}", begun.elapsed()))?
}

/// One folder for the run; its servers die with the process that started them. What runs before
/// this one left behind is swept away.
fn run_folder() -> PathBuf {
    static SWEPT: Once = Once::new();
    const PREFIX: &str = "tributary-test-";
    let everybody = std::env::temp_dir();
    SWEPT.call_once(|| {
        for entry in std::fs::read_dir(&everybody).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let run = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
            if run.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                std::fs::remove_dir_all(entry.path()).ok(); // Another run may be sweeping too.
            }
        }
    });
    everybody.join(format!("{PREFIX}{}", std::process::id()))
}

/// Postgres shared by the tests of this run: each has a database of its own.
async fn shared_postgres() -> Result<&'static Postgres> {
    static SHARED: OnceCell<Postgres> = OnceCell::const_new();
    SHARED
        .get_or_try_init(async || {
            let folder = run_folder().join("shared");
            std::fs::create_dir_all(&folder)?;
            Ok(Postgres::start(&folder, postgres::Options::default()).await?)
        })
        .await
}

/// `NATS_SERVER` names the program to test against, if not the one that is installed.
async fn start_nats(folder: &Path) -> Result<Nats> {
    let binary = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    Ok(Nats::start(folder, nats::Options { binary, ..Default::default() }).await?)
}

/// A port that nobody listens on now.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// How much of something a test is to take: what the variable says, or else `usual`.
pub fn asked_for<N: FromStr>(variable: &str, usual: N) -> Result<N> {
    let Some(text) = std::env::var_os(variable) else {
        return Ok(usual);
    };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.with_context(|| format!("{variable} is a number"))
}
