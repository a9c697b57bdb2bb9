//! Devices, as far as a test needs them: `mosquitto_pub` at service level 1.

use std::process::Stdio;

use anyhow::{Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

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

async fn feed(command: &mut Command, input: &[u8]) -> Result<()> {
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(input).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
