//! The examples of docs/subscribe.md: each is killed twice, its stream loses a message and is
//! wiped. In the end each has received every event of its context once and in order.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::{System, eventually, tributary};
use tokio::process::{Child, Command};

/// Installs the dependencies of programs in `language`. Returns their directory.
pub(crate) async fn install(language: &str) -> Result<PathBuf> {
    let target = tributary().ancestors().nth(2).context("there is a target folder")?.to_owned();
    let folder = target.join("subscribers").join(language);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/subscribers");
    let output = Command::new(script).arg(language).arg(&folder).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "what {language} needs could not be installed: {said}");
    Ok(folder)
}

/// One of the examples, following the context `works`.
pub(crate) struct Example {
    program: Vec<PathBuf>,
    /// The file that it writes its lines to.
    file: PathBuf,
    /// Its stderr.
    said: PathBuf,
    environment: Vec<(&'static str, String)>,
    /// Prefix of the replay that it follows instead of the log.
    prefix: Option<&'static str>,
}

impl Example {
    pub(crate) async fn new(language: &str, system: &System) -> Result<Self> {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/subscribe");
        let program = match language {
            "rust" => {
                let built = tributary().with_file_name("examples").join("subscribe");
                ensure!(built.exists(), "not built: cargo build --workspace --examples");
                vec![built]
            }
            "python" => {
                vec![install(language).await?.join("bin/python"), examples.join("subscribe.py")]
            }
            _ => vec!["node".into(), install(language).await?.join("subscribe.mjs")],
        };
        Ok(Self {
            program,
            file: system.folder.join("lines"),
            said: system.folder.join("said"),
            environment: vec![
                ("NATS_URL", system.nats.url_as("subscriber")),
                ("TRIBUTARY_URL", system.url()),
                ("TRIBUTARY_TOKEN", system.token.clone()),
            ],
            prefix: None,
        })
    }

    /// Makes it follow a replay instead of the log.
    pub(crate) fn of(self, prefix: &'static str) -> Self {
        Self { prefix: Some(prefix), ..self }
    }

    pub(crate) fn start(&self) -> Result<Child> {
        let said = std::fs::OpenOptions::new().create(true).append(true).open(&self.said)?;
        let started = Command::new(&self.program[0])
            .args(&self.program[1..])
            .arg("works")
            .arg(&self.file)
            .args(self.prefix)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .kill_on_drop(true)
            .spawn();
        started.with_context(|| format!("{} cannot be started", self.program[0].display()))
    }

    /// Returns its lines without the times.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let cut = |line: &str| line.rsplit_once(' ').map(|(line, _)| line.to_owned());
        whole.lines().filter_map(cut).collect()
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }

    pub(crate) async fn has(&self, count: usize) -> Result<()> {
        eventually("it has dealt with them", async || Ok(self.lines().len() >= count))
            .await
            .with_context(|| format!("{} lines; it said: {}", self.lines().len(), self.said()))
    }
}

async fn demand(system: &System, count: usize) -> Result<()> {
    for n in 0..count {
        let body = json!({"add_up_to": n});
        system.post("/api/v1/works", &body).send().await?.error_for_status()?;
    }
    Ok(())
}

/// Waits until `count` works are done. Returns the expected lines.
pub(crate) async fn wanted(system: &System, count: i64) -> Result<Vec<String>> {
    eventually("all are done", async || {
        Ok(system.number("select count(*) from works.work where done").await? == count)
    })
    .await?;
    Ok(sqlx::query_scalar(
        "select concat_ws(' ', position, event_type, stream_id) from log.event
         where stream_id like 'work-%' order by position",
    )
    .fetch_all(&system.admin)
    .await?)
}

async fn survives_faults(language: &str) -> Result<()> {
    let mut system = System::start().await?;
    let _process = system.serve(&[]).await?;
    let example = Example::new(language, &system).await?;

    // The example is killed twice; after the second time, events are appended before it restarts.
    let kills = async {
        for lines in [10, 40] {
            let mut running = example.start()?;
            example.has(lines).await?;
            running.kill().await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::try_join!(demand(&system, 40), kills)?;
    let before = example.lines().len();
    demand(&system, 20).await?;
    let all = wanted(&system, 60).await?;
    ensure!(before + 10 < all.len(), "it was not killed in the middle: {before} lines");

    // The stream loses a message that the example has not received, and not the last of its
    // context.
    let client = async_nats::connect(system.nats.url()).await?;
    let jetstream = async_nats::jetstream::new(client);
    let mut stream = jetstream.get_stream("EVENTS").await?;
    let head = u64::try_from(system.head().await?)?;
    loop {
        if stream.info().await?.state.last_sequence >= head {
            break;
        }
        tokio::task::yield_now().await;
    }
    let lost: u64 = all[before + 5].split(' ').next().context("a position")?.parse()?;
    let message = stream.get_raw_message(lost).await?;
    let position = message.headers.get("Tributary-Position").context("a position")?.as_str();
    assert_eq!(position, lost.to_string(), "here, sequences are positions");
    stream.delete_message(lost).await?;
    let mut running = example.start()?;
    example.has(all.len()).await?;
    assert_eq!(example.lines(), all, "{}", example.said());
    assert!(example.said().contains("gap: "), "{}", example.said());

    // The bus is wiped and refilled.
    system.nats.wipe_jetstream().await?;
    demand(&system, 20).await?;
    let all = wanted(&system, 80).await?;
    example.has(all.len()).await?;
    assert_eq!(example.lines(), all, "{}", example.said());

    // The example resumes once more. Another program has published to its subjects meanwhile.
    running.kill().await?;
    jetstream.publish("events.works.work.forged.work_demanded", "{}".into()).await?.await?;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Tributary-Position", (system.head().await? + 1).to_string());
    let forged = jetstream.publish_with_headers("events.works.a.b.c", headers, "{}".into());
    forged.await?.await?;
    demand(&system, 5).await?;
    let _running = example.start()?;
    let all = wanted(&system, 85).await?;
    example.has(all.len()).await?;
    assert_eq!(example.lines(), all, "{}", example.said());
    Ok(())
}

#[tokio::test]
async fn a_subscriber_in_rust_sees_each_event_once() -> Result<()> {
    survives_faults("rust").await
}

#[tokio::test]
async fn a_subscriber_in_python_sees_each_event_once() -> Result<()> {
    survives_faults("python").await
}

#[tokio::test]
async fn a_subscriber_in_javascript_sees_each_event_once() -> Result<()> {
    survives_faults("javascript").await
}
