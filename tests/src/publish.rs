//! Devices, as far as a test needs them: `mosquitto_pub` at service level 1; and `mosquitto_sub`,
//! which hears what is published.

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

    /// Publishes each line as a message of its own; returns when the broker has them all.
    pub async fn publish_lines(&self, topic: &str, lines: &str) -> Result<()> {
        let mut command = self.mosquitto_pub(topic);
        feed(command.arg("-l"), lines.as_bytes()).await
    }

    /// Publishes one message.
    pub async fn publish(&self, topic: &str, payload: &[u8]) -> Result<()> {
        let mut command = self.mosquitto_pub(topic);
        feed(command.arg("-s"), payload).await
    }
}

/// Hears what is published, from its start on.
#[derive(Debug)]
pub struct Listener {
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl System {
    /// Listens to `filter`, at service level 1; returns when the broker knows of it.
    pub async fn listen(&self, filter: &str) -> Result<Listener> {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-V", "mqttv5", "-d", "-F", "%t %p", "-q", "1"]);
        command.args(["-h", "127.0.0.1", "-p", &self.mosquitto.port().to_string(), "-t", filter]);
        let mut process = command.kill_on_drop(true).stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().context("stdout is piped")?;
        let lines = BufReader::new(stdout).lines();
        let mut listener = Listener { lines, _process: process };
        while !listener.line().await?.starts_with("Subscribed") {}
        Ok(listener)
    }
}

impl Listener {
    /// The next message, as its topic and its payload, a space between them.
    pub async fn next(&mut self) -> Result<String> {
        loop {
            let line = self.line().await?;
            // What mosquitto_sub says of itself begins otherwise.
            if !line.starts_with("Client ") && !line.starts_with("Subscribed") {
                return Ok(line);
            }
        }
    }

    async fn line(&mut self) -> Result<String> {
        let line = timeout(crate::DEADLINE, self.lines.next_line()).await;
        line.context("nothing is heard")??.context("mosquitto_sub ended")
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
