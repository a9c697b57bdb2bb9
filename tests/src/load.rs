//! `tributary load`, running while a test does something else.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::System;

/// A running load test.
#[derive(Debug)]
pub struct Load {
    child: Child,
}

impl System {
    /// Starts `tributary load ARGUMENTS`.
    pub fn start_load(&self, arguments: &[&str]) -> Result<Load> {
        let child = Command::new(crate::tributary())
            .args(["load", "--json"])
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("TRIBUTARY_URL", self.url())
            .env("TRIBUTARY_TOKEN", &self.token)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Load { child })
    }
}

impl Load {
    /// Waits until it ends. Returns its exit code, its report (null if there is none) and stderr.
    pub async fn outcome(self) -> Result<(Option<i32>, Value, String)> {
        let output = self.child.wait_with_output().await?;
        let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok((output.status.code(), report, String::from_utf8(output.stderr)?))
    }

    /// Interrupts it as Ctrl-C does: it sends nothing more and accounts for what it sent.
    pub async fn interrupt(self) -> Result<Value> {
        let pid = self.child.id().context("the load test has already ended")?.to_string();
        Command::new("kill").args(["-INT", &pid]).status().await?;
        let (code, report, stderr) = self.outcome().await?;
        ensure!(code == Some(0), "{stderr}{report:#}");
        Ok(report)
    }
}
