//! A broker that supports MQTT 3.1.1 only: the listener of nats-server.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use devservers::testing::{free_port, nats_options};
use devservers::{Nats, nats};
use serde_json::Value;
use tests::{Process, System, eventually};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const MESSAGES: i64 = 3_000;

/// Publishes readings with MQTT 3.1.1. Returns once the broker has acknowledged all.
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

/// Starts a broker that supports MQTT 3.1.1 only. Returns it and its MQTT port.
async fn broker(system: &System) -> Result<(Nats, u16)> {
    let port = free_port()?;
    let options = nats::Options { mqtt: Some(port), ..nats_options() };
    Ok((Nats::start(&system.folder.join("broker"), options).await?, port))
}

#[tokio::test]
async fn a_bridge_killed_twice_loses_and_duplicates_nothing() -> Result<()> {
    let system = System::start().await?;
    let (_broker, port) = broker(&system).await?;
    let url = format!("mqtt://127.0.0.1:{port}");
    let variables = [("MQTT_URL", url.as_str())];

    let mut process = system.serve_with(&[], &variables).await?;
    process.logs("version=MQTT 3.1.1").await?;
    eventually("the bridge is connected", async || {
        let ready: Value = system.get("/readyz").send().await?.json().await?;
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
            eventually("some are stored", async || {
                Ok(system.number("select count(*) from log.event").await? > part * MESSAGES / 4)
            })
            .await?;
            let killed = std::mem::replace(
                &mut process,
                system.serve_with(&["projector"], &variables).await?,
            );
            killed.kill().await?;
            process = system.serve_with(&[], &variables).await?;
        }
        Ok(())
    };
    tokio::try_join!(publishing, killing)?;
    // nats-server redelivers unacknowledged messages after 30 s.
    eventually("all are stored", async || {
        let sql = "select count(*) from log.event where event_type = 'reading_recorded'";
        Ok(system.number(sql).await? >= MESSAGES)
    })
    .await?;
    eventually("every message is settled", async || {
        let counters = system.bridge().await?;
        Ok(counters.in_flight == 0 && counters.received == counters.settled())
    })
    .await?;
    assert_eq!(system.bridge().await?.rejected, 0);
    system.caught_up().await?;
    let sql = "select count(distinct sequence_id) from telemetry.reading";
    assert_eq!(system.number(sql).await?, MESSAGES);
    let sql = "select count(*) from log.event where event_type = 'reading_recorded'";
    assert_eq!(system.number(sql).await?, MESSAGES);
    Ok(())
}

/// MQTT 3.1.1 has no No Local: an agent receives its own messages.
#[tokio::test]
async fn samples_of_an_agent_are_stored_and_it_does_not_echo_itself() -> Result<()> {
    let system = System::start().await?;
    let (_broker, port) = broker(&system).await?;
    let url = format!("mqtt://127.0.0.1:{port}");
    let mut bridge = system.serve_with(&[], &[("MQTT_URL", url.as_str())]).await?;
    bridge.logs("MQTT client connected").await?;
    let arguments = ["agent", "--host-name", "h", "--every", "200ms", "--hello"];
    let mut agent = Process::start(&arguments, &[("MQTT_URL".to_owned(), url.clone())])?;
    agent.logs("published by this agent").await?;
    eventually("its samples are stored", async || {
        Ok(system.number("select count(*) from host.sample").await? > 2)
    })
    .await?;
    assert_eq!(agent.terminate().await?, Some(0));
    Ok(())
}
