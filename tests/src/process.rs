//! The executable as a child process, killed when the test lets go of it.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Path of the executable, which `make test` builds before the tests run.
pub fn tributary() -> PathBuf {
    let mut path = std::env::current_exe().expect("a test has a path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join("tributary")
}

/// A running `tributary`.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Everything it has written to stderr.
    said: watch::Receiver<String>,
}

impl Process {
    /// Starts `tributary ARGUMENTS` with these variables and no others of ours.
    pub fn start(arguments: &[&str], environment: &[(String, String)]) -> Result<Self> {
        let mut child = Command::new(tributary())
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} is not built", tributary().display()))?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let (sender, said) = watch::channel(String::new());
        let name = arguments.join(" ");
        tokio::task::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("[{name}] {line}");
                sender.send_modify(|said| {
                    said.push_str(&line);
                    said.push('\n');
                });
            }
        });
        Ok(Self { child, said })
    }

    /// Waits until it has said something that holds `text`.
    pub async fn says(&mut self, text: &str) -> Result<()> {
        let heard = self.said.wait_for(|said| said.contains(text));
        tokio::time::timeout(crate::DEADLINE, heard)
            .await
            .with_context(|| format!("it does not say {text:?}"))?
            .with_context(|| format!("it ended without saying {text:?}"))?;
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// `kill -9`: it gets no chance to say goodbye.
    pub async fn kill(mut self) -> Result<()> {
        self.kill_now().await
    }

    pub(crate) async fn kill_now(&mut self) -> Result<()> {
        self.child.kill().await.context("it could be killed")
    }

    /// Its exit code, once it ends by itself.
    pub async fn ended(&mut self) -> Result<Option<i32>> {
        Ok(self.child.wait().await?.code())
    }

    /// SIGTERM; returns its exit code.
    pub async fn terminate(mut self) -> Result<Option<i32>> {
        let pid = self.pid().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await?;
        let ended = tokio::time::timeout(crate::DEADLINE, self.child.wait()).await;
        Ok(ended.context("it ends after SIGTERM")??.code())
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line.context("VmRSS is there")?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }
}
