//! A broker that knows only MQTT 3.1.1, and is no Mosquitto: the listener of nats-server.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use devservers::{Nats, nats};
use tests::{Process, System, eventually, free_port};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const MESSAGES: i64 = 3_000;

/// Publishes readings in 3.1.1; returns when the broker has them all.
async fn publish(port: u16, sequence: std::ops::Range<i64>) -> Result<()> {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-V", "mqttv311", "-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-l"]);
    command.args(["-t", "users/u/devices/d/telemetry"]).kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let lines: String = sequence.map(|n| format!("{{\"sequence_id\":{n}}}\n")).collect();
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    stdin.write_all(lines.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A broker that knows nothing else; and its port.
async fn broker(system: &System) -> Result<(Nats, u16)> {
    let port = free_port()?;
    let binary = std::env::var_os("NATS_SERVER").map(Into::into);
    let options = nats::Options { binary, mqtt: Some(port), ..nats::Options::default() };
    Ok((Nats::start(&system.folder.join("broker"), options).await?, port))
}

#[tokio::test]
async fn a_bridge_killed_twice_at_a_3_1_1_broker_loses_and_doubles_nothing() -> Result<()> {
    let system = System::start().await?;
    let (_broker, port) = broker(&system).await?;
    let url = format!("mqtt://127.0.0.1:{port}");
    let told = [("MQTT_URL", url.as_str())];

    let mut process = system.serve_with(&[], &told).await?;
    process.says("version=MQTT 3.1.1").await?;
    eventually("the bridge listens", async || {
        let ready = system.json("/readyz").await?;
        Ok(ready["dependencies"].to_string().contains(r#""name":"mqtt","reason":null"#))
    })
    .await?;
    let publishing = async {
        for part in 0..10 {
            publish(port, part * MESSAGES / 10..(part + 1) * MESSAGES / 10).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let killing = async {
        for part in 1..=2 {
            eventually("some are there", async || {
                Ok(system.number("select count(*) from log.event").await? > part * MESSAGES / 4)
            })
            .await?;
            let killed =
                std::mem::replace(&mut process, system.serve_with(&["projector"], &told).await?);
            killed.kill().await?;
            process = system.serve_with(&[], &told).await?;
        }
        Ok(())
    };
    tokio::try_join!(publishing, killing)?;
    // What was under way when the bridge was killed, nats-server delivers again after 30 seconds.
    eventually("all are there", async || {
        let sql = "select count(*) from log.event where event_type = 'reading_recorded'";
        Ok(system.number(sql).await? >= MESSAGES)
    })
    .await?;
    eventually("nothing is under way", async || Ok(system.bridge().await?.in_flight == 0)).await?;
    let books = system.bridge().await?;
    assert_eq!(books.received, books.settled());
    assert_eq!(books.rejected, 0);
    system.caught_up().await?;
    let sql = "select count(distinct sequence_id) from telemetry.reading";
    assert_eq!(system.number(sql).await?, MESSAGES);
    let sql = "select count(*) from log.event where event_type = 'reading_recorded'";
    assert_eq!(system.number(sql).await?, MESSAGES);
    system.is_sound().await
}

/// There is no No Local in 3.1.1: the broker brings an agent what it said itself.
#[tokio::test]
async fn an_agent_is_heard_and_does_not_answer_itself() -> Result<()> {
    let system = System::start().await?;
    let (_broker, port) = broker(&system).await?;
    let url = format!("mqtt://127.0.0.1:{port}");
    let mut bridge = system.serve_with(&[], &[("MQTT_URL", url.as_str())]).await?;
    bridge.says("MQTT client connected").await?;
    let arguments = ["agent", "--host-name", "h", "--every", "200ms", "--hello"];
    let mut agent = Process::start(&arguments, &[("MQTT_URL".to_owned(), url.clone())])?;
    agent.says("published by this agent").await?;
    eventually("its samples are there", async || {
        Ok(system.number("select count(*) from host.sample").await? > 2)
    })
    .await?;
    assert_eq!(agent.terminate().await?, Some(0));
    Ok(())
}
