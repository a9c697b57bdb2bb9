//! MQTT clients of tests: `mosquitto_pub` and `mosquitto_sub`, with MQTT 5 at `QoS` 1.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::System;

impl System {
    fn mosquitto_pub(&self, topic: &str) -> Command {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-V", "mqttv5", "-h", "127.0.0.1", "-p", &self.mosquitto.port().to_string()]);
        command.args(["-t", topic, "-q", "1"]).kill_on_drop(true);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Publishes each line as a message. Returns once the broker has acknowledged all of them.
    pub async fn publish_lines(&self, topic: &str, lines: &str) -> Result<()> {
        let mut command = self.mosquitto_pub(topic);
        feed(command.arg("-l"), lines.as_bytes()).await
    }

    /// Publishes one message. Returns once the broker has acknowledged it.
    pub async fn publish(&self, topic: &str, payload: &[u8]) -> Result<()> {
        let mut command = self.mosquitto_pub(topic);
        // mosquitto_pub refuses an empty stdin.
        feed(command.arg(if payload.is_empty() { "-n" } else { "-s" }), payload).await
    }

    /// Subscribes to `filter`. Returns once the broker has confirmed the subscription.
    pub async fn subscribe(&self, filter: &str) -> Result<Subscriber> {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-V", "mqttv5", "-d", "-F", "%t %p", "-q", "1"]);
        command.args(["-h", "127.0.0.1", "-p", &self.mosquitto.port().to_string(), "-t", filter]);
        let mut process = command.kill_on_drop(true).stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().context("stdout is piped")?;
        let lines = BufReader::new(stdout).lines();
        let mut subscriber = Subscriber { lines, _process: process };
        while !subscriber.line().await?.starts_with("Subscribed") {}
        Ok(subscriber)
    }
}

/// A subscriber that receives the messages published since its start.
#[derive(Debug)]
pub struct Subscriber {
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Subscriber {
    /// Waits for the next message. Returns its topic and its payload with a space between them.
    pub async fn next(&mut self) -> Result<String> {
        loop {
            let line = self.line().await?;
            // mosquitto_sub also prints the packets that it sends and receives.
            if !line.starts_with("Client ") && !line.starts_with("Subscribed") {
                return Ok(line);
            }
        }
    }

    async fn line(&mut self) -> Result<String> {
        let line = timeout(crate::DEADLINE, self.lines.next_line()).await;
        line.context("no message was received")??.context("mosquitto_sub ended")
    }
}

async fn feed(command: &mut Command, input: &[u8]) -> Result<()> {
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(input).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
