//! `tributary load`, running beside a test.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::System;

/// A load that goes on until it is ended.
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
            .env("TRIBUTARY_URL", &self.url)
            .env("TRIBUTARY_TOKEN", &self.token)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Load { child })
    }
}

impl Load {
    /// Waits for its end; returns its exit code, its report if it came to one, and what it said.
    pub async fn outcome(self) -> Result<(Option<i32>, Value, String)> {
        let output = self.child.wait_with_output().await?;
        let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok((output.status.code(), report, String::from_utf8(output.stderr)?))
    }

    /// Ends it as Ctrl-C does: nothing more is due, and what was is accounted for.
    pub async fn end(self) -> Result<Value> {
        let pid = self.child.id().context("it has ended already")?.to_string();
        Command::new("kill").args(["-INT", &pid]).status().await?;
        let (code, report, said) = self.outcome().await?;
        ensure!(code == Some(0), "{said}{report:#}");
        Ok(report)
    }
}
