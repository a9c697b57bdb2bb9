//! A broker with accounts and the shipped access list, and a bridge that it refuses.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use devservers::testing::{free_port, mosquitto_options};
use devservers::{Mosquitto, mosquitto};
use serde_json::Value;
use tests::{Process, System, eventually};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Two devices of one user, that user, and a device of another user.
const KITCHEN: &str = "users/ada/devices/kitchen";
const ATTIC: &str = "users/ada/devices/attic";
const ADA: &str = "users/ada";
const STRANGER: &str = "users/eve/devices/kitchen";
const HOST: &str = "hosts/web-1";
/// Tributary's own programs.
const BRIDGE: &str = "tributary";
const AGENT: &str = "agent";

/// A Mosquitto with the shipped settings and access list, and the two listeners of docs/mqtt.md.
struct Broker {
    mosquitto: Mosquitto,
    folder: PathBuf,
    /// Port of the listener for Tributary's own programs; the other is for devices.
    inner: u16,
}

impl Broker {
    async fn start(folder: &Path) -> Result<Self> {
        let folder = folder.join("secured");
        std::fs::create_dir_all(&folder)?;
        for name in [KITCHEN, ATTIC, ADA, STRANGER, HOST, BRIDGE, AGENT] {
            account(&folder, None, &["add", name, "right"]).await?;
        }
        let inner = free_port()?;
        let options = mosquitto::Options {
            anonymous: false,
            password_file: Some(folder.join("passwords")),
            acl_file: Some(folder.join("acl")),
            more: format!("use_username_as_clientid true\nlistener {inner} 127.0.0.1\n"),
            ..mosquitto_options()
        };
        let mosquitto = Mosquitto::start(&folder.join("mosquitto"), options).await?;
        Ok(Self { mosquitto, folder, inner })
    }

    /// Returns the port that `account` connects to.
    fn port(&self, account: &str) -> u16 {
        if [BRIDGE, AGENT].contains(&account) { self.inner } else { self.mosquitto.port() }
    }

    fn client(&self, program: &str, version: &str, account: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-V", version, "-h", "127.0.0.1", "-q", "1", "-u", account, "-P", "right"]);
        command.args(["-p", &self.port(account).to_string()]).kill_on_drop(true);
        command
    }

    /// Whether `account` may publish to `topic`: the broker reports no error.
    async fn accepts(&self, version: &str, account: &str, topic: &str, text: &str) -> Result<bool> {
        let mut command = self.client("mosquitto_pub", version, account);
        let output = command.args(["-t", topic, "-m", text]).output().await?;
        Ok(output.status.success() && output.stderr.is_empty())
    }

    /// Returns environment variables of a bridge; writes its URL to `url`.
    fn bridge<'a>(&self, url: &'a mut String, password: &'a str) -> [(&'a str, &'a str); 4] {
        *url = format!("mqtt://127.0.0.1:{}", self.inner);
        [
            ("MQTT_URL", url),
            ("MQTT_ALLOW_ANONYMOUS", ""),
            ("MQTT_USERNAME", BRIDGE),
            ("MQTT_PASSWORD", password),
        ]
    }
}

/// Runs the script of docs/mqtt.md that manages accounts, which has `broker` load them.
pub(crate) async fn account(folder: &Path, broker: Option<u32>, arguments: &[&str]) -> Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/mosquitto/account");
    let broker = broker.map(|pid| pid.to_string()).unwrap_or_default();
    let mut command = Command::new(script);
    command.args(arguments).current_dir(folder).env("BROKER_PID", broker);
    let output = command.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn reading(sequence: i64) -> String {
    format!(r#"{{"sequence_id": {sequence}, "temperature": 21.5}}"#)
}

#[tokio::test]
async fn an_account_publishes_on_its_own_topics_and_on_no_others() -> Result<()> {
    let system = System::start().await?;
    let broker = Broker::start(&system.folder).await?;
    let url = &mut String::new();
    let _process = system.serve_with(&[], &broker.bridge(url, "right")).await?;
    eventually("the bridge is connected", async || Ok(reason(&system).await?.is_none())).await?;

    let topic = |owner: &str, kind: &str| format!("{owner}/{kind}");
    let topics: Vec<String> = [KITCHEN, ATTIC, STRANGER]
        .iter()
        .flat_map(|device| ["telemetry", "status", "alerts"].map(|kind| topic(device, kind)))
        .chain(
            ["users/ada/config", "users/eve/config", "hosts/web-1/metrics", "hosts/web-2/metrics"]
                .map(String::from),
        )
        .chain(["test/topic", "test/topic/echo", "elsewhere"].map(String::from))
        .collect();
    let may = |account: &str, topic: &str| match account {
        BRIDGE => topic.ends_with("/alerts"),
        AGENT => topic.starts_with("hosts/") || topic.starts_with("test/"),
        ADA => topic == "users/ada/config",
        HOST => topic == "hosts/web-1/metrics",
        device => {
            [format!("{device}/telemetry"), format!("{device}/status")].contains(&topic.to_owned())
        }
    };
    let (mut sequence, mut expected) = (0, Vec::new());
    for account in [KITCHEN, ATTIC, ADA, STRANGER, HOST, BRIDGE, AGENT] {
        for topic in &topics {
            for version in ["mqttv5", "mqttv311"] {
                sequence += 1;
                let taken = broker.accepts(version, account, topic, &reading(sequence)).await?;
                // MQTT 3.1.1 has no error: the message is acknowledged and dropped.
                let accepted = may(account, topic) || version == "mqttv311";
                assert_eq!(taken, accepted, "{account} to {topic}, {version}");
                if may(account, topic) && topic.ends_with("/telemetry") {
                    expected.push((sequence, account.to_owned()));
                }
            }
        }
    }
    // Once the last reading is stored, all before it are.
    let topic = format!("{KITCHEN}/telemetry");
    assert!(broker.accepts("mqttv5", KITCHEN, &topic, &reading(0)).await?);
    let recorded = "select (data::jsonb ->> 'sequence_id')::bigint,
                      'users/' || (data::jsonb ->> 'user_id') || '/devices/' || (data::jsonb ->> 'device_id')
                    from log.event where event_type = 'reading_recorded' order by 1";
    eventually("the last reading is stored", async || {
        let sql = "select count(*) from log.event where event_type = 'reading_recorded'
                   and data::jsonb ->> 'sequence_id' = '0'";
        Ok(system.number(sql).await? == 1)
    })
    .await?;
    let recorded: Vec<(i64, String)> = sqlx::query_as(recorded).fetch_all(&system.admin).await?;
    assert_eq!(recorded[1..], expected, "in both versions, what is allowed, and nothing else");
    Ok(())
}

#[tokio::test]
async fn a_device_receives_its_own_alerts_and_its_user_all_of_them() -> Result<()> {
    let system = System::start().await?;
    let broker = Broker::start(&system.folder).await?;
    let mut subscribers = Vec::new();
    // Every subscription is accepted; messages that the account may not read are not delivered.
    for account in [KITCHEN, ATTIC, STRANGER, ADA] {
        let mut command = Command::new("stdbuf");
        let listen = broker.client("mosquitto_sub", "mqttv5", account);
        command.arg("-oL").arg("mosquitto_sub").args(listen.as_std().get_args());
        command.args(["-d", "-F", "payload %p", "-t", "users/+/devices/+/alerts"]);
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut lines = BufReader::new(process.stdout.take().context("piped")?).lines();
        while !lines.next_line().await?.context("it listens")?.starts_with("Subscribed") {}
        subscribers.push((account, process, lines));
    }
    for device in [KITCHEN, ATTIC, STRANGER] {
        assert!(broker.accepts("mqttv5", BRIDGE, &format!("{device}/alerts"), device).await?);
    }
    for (account, _process, mut lines) in subscribers {
        let expected = if account == ADA { vec![KITCHEN, ATTIC] } else { vec![account] };
        for device in expected {
            let line = loop {
                let line = lines.next_line().await?.context("it goes on")?;
                if let Some(payload) = line.strip_prefix("payload ") {
                    break payload.to_owned();
                }
            };
            assert_eq!(line, device, "the next message to {account}");
        }
    }
    Ok(())
}

/// A client with the bridge's client id would take over its session and the messages in it. The
/// listener for devices therefore uses the user name as client id.
#[tokio::test]
async fn no_device_takes_the_session_of_the_bridge() -> Result<()> {
    let system = System::start().await?;
    let broker = Broker::start(&system.folder).await?;
    let url = &mut String::new();
    let variables = broker.bridge(url, "right");
    let process = system.serve_with(&[], &variables).await?;
    eventually("the bridge is connected", async || Ok(reason(&system).await?.is_none())).await?;
    process.kill().await?;

    let topic = format!("{KITCHEN}/telemetry");
    for sequence in 0..10 {
        assert!(broker.accepts("mqttv5", KITCHEN, &topic, &reading(sequence)).await?);
    }
    let mut thief = broker.client("mosquitto_pub", "mqttv5", STRANGER);
    thief.args(["-i", "tributary", "-t", "users/eve/devices/kitchen/telemetry"]);
    let output = thief.args(["-m", &reading(10)]).output().await?;
    ensure!(output.status.success() && output.stderr.is_empty(), "it connects all the same");

    let _process = system.serve_with(&[], &variables).await?;
    eventually("all eleven are stored", async || {
        let sql = "select count(*) from log.event where event_type = 'reading_recorded'";
        Ok(system.number(sql).await? == 11)
    })
    .await?;
    Ok(())
}

/// Returns the reason that `/readyz` gives for an unavailable broker, also while it is not ready.
async fn reason(system: &System) -> Result<Option<String>> {
    let ready: Value = system.get("/readyz").send().await?.json().await?;
    let dependencies = ready["dependencies"].as_array().context("a list")?;
    let mqtt = dependencies.iter().find(|one| one["name"] == "mqtt").context("mqtt is one")?;
    let up = mqtt["status"] == "up";
    assert_eq!(up, mqtt["reason"] == Value::Null, "{mqtt}");
    Ok(mqtt["reason"].as_str().map(str::to_owned))
}

/// Returns how often the bridge was refused for `reason`.
async fn refused(system: &System, reason: &str) -> Result<u64> {
    let text = system.get("/metrics").send().await?.text().await?;
    let line = format!("tributary_bridge_refused_total{{bridge=\"mqtt\",reason=\"{reason}\"}} ");
    let count = text.lines().find_map(|text| text.strip_prefix(&line)).context("it is exported")?;
    Ok(count.parse()?)
}

#[tokio::test]
async fn a_wrong_password_is_counted_and_shown_until_it_is_corrected() -> Result<()> {
    let system = System::start().await?;
    let broker = Broker::start(&system.folder).await?;
    let url = &mut String::new();
    let mut process = system.serve_with(&[], &broker.bridge(url, "hunter2")).await?;
    process.logs("the broker refused the connection: NotAuthorized").await?;
    assert_eq!(refused(&system, "credentials").await?, 1);
    assert_eq!(refused(&system, "tls").await?, 0);
    let shown = reason(&system).await?.context("no reason")?;
    assert_eq!(shown, "the broker refused the connection: NotAuthorized");
    // Everything else works.
    system.post("/api/v1/works", &serde_json::json!({})).send().await?.error_for_status()?;

    let pid = Some(broker.mosquitto.pid());
    account(&broker.folder, pid, &["add", BRIDGE, "hunter2"]).await?;
    eventually("the bridge is connected", async || Ok(reason(&system).await?.is_none())).await?;
    // The bridge retries after 5 s at first, and then later.
    assert!(refused(&system, "credentials").await? <= 3, "the bridge retries too often");
    let metrics = system.get("/metrics").send().await?.text().await?;
    assert!(!metrics.contains("hunter2"));
    assert!(metrics.contains("tributary_bridge_connected{bridge=\"mqtt\"} 1"));
    Ok(())
}

#[tokio::test]
async fn outside_dev_a_bridge_without_an_account_does_not_start() -> Result<()> {
    let system = System::start().await?;
    let mut environment = system.environment.clone();
    environment.push(("MQTT_ALLOW_ANONYMOUS".into(), String::new()));
    let mut process = Process::start(&["serve", "mqtt"], &environment)?;
    process.logs("the bridge has no --mqtt-username and --mqtt-password").await?;
    for (name, value, part) in [
        ("MQTT_FILTER", "users/#", "--mqtt-filter: `users/#` is not within"),
        ("MQTT_SHARE", "a/b", "--mqtt-share"),
        ("MQTT_VERSION", "4", "--mqtt-version"),
    ] {
        let mut environment = system.environment.clone();
        environment.push((name.into(), value.into()));
        Process::start(&["serve", "mqtt"], &environment)?.logs(part).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_account_is_named_by_a_topic_that_it_may_own() -> Result<()> {
    let folder = devservers::testing::directory("account")?;
    let owned =
        [("users/ada~1/devices/a b", "telemetry"), ("users/ada", "config"), ("hosts/h", "metrics")];
    for (name, kind) in owned {
        account(&folder, None, &["add", name, "right"]).await?;
        let acl = std::fs::read_to_string(folder.join("acl"))?;
        ensure!(acl.contains(&format!("\nuser {name}\ntopic write {name}/{kind}\n")), "{acl}");
    }
    account(&folder, None, &["remove", "users/ada"]).await?;
    let acl = std::fs::read_to_string(folder.join("acl"))?;
    assert!(!acl.contains("user users/ada\n") && acl.contains("user hosts/h\n"), "{acl}");
    for name in [
        "",
        "ada",
        "users/",
        "users/+",
        "users/ada/devices",
        "users/ada/devices/",
        "hosts/#",
        "users/a:b",
        "users/ada/other",
        "users//devices/kitchen",
        "users/ada/devices/kitchen/telemetry",
        "hosts/a/b",
        "users/ada\nuser tributary",
    ] {
        ensure!(account(&folder, None, &["add", name, "right"]).await.is_err(), "{name:?}");
    }
    Ok(())
}
