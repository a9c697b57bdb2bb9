//! The executable as a child process, killed when it is dropped.

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
    log: watch::Receiver<String>,
}

impl Process {
    /// Starts `tributary ARGUMENTS` with `environment` added to the environment of the test.
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
        let (sender, log) = watch::channel(String::new());
        let name = arguments.join(" ");
        tokio::task::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("[{name}] {line}");
                sender.send_modify(|log| {
                    log.push_str(&line);
                    log.push('\n');
                });
            }
        });
        Ok(Self { child, log })
    }

    /// Waits until its log contains `text`.
    pub async fn logs(&mut self, text: &str) -> Result<()> {
        self.logs_any(&[text]).await
    }

    /// Waits until its log contains one of `texts`.
    pub async fn logs_any(&mut self, texts: &[&str]) -> Result<()> {
        let logged = self.log.wait_for(|log| texts.iter().any(|text| log.contains(text)));
        tokio::time::timeout(crate::DEADLINE, logged)
            .await
            .with_context(|| format!("the process has not logged {texts:?}"))?
            .with_context(|| format!("the process ended without logging {texts:?}"))?;
        Ok(())
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Waits until it serves HTTP. Returns the port, which it logs.
    pub async fn http_port(&mut self) -> Result<u16> {
        let address = self.logged("HTTP server listening address=").await?;
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.with_context(|| format!("no port in {address:?}"))
    }

    /// Waits until its log contains `text`. Returns the word after it.
    pub async fn logged(&mut self, text: &str) -> Result<String> {
        self.logs(text).await?;
        let log = self.log.borrow();
        let word = log.split_once(text).and_then(|(_, rest)| rest.split_whitespace().next());
        word.map(str::to_owned).with_context(|| format!("nothing after {text}"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Sends SIGKILL, as `kill -9` does, and waits for the end.
    pub async fn kill(mut self) -> Result<()> {
        self.kill_now().await
    }

    pub(crate) async fn kill_now(&mut self) -> Result<()> {
        self.child.kill().await.context("the process cannot be killed")
    }

    /// Waits until it exits. Returns its exit code.
    pub async fn exit_code(&mut self) -> Result<Option<i32>> {
        Ok(self.child.wait().await?.code())
    }

    /// Sends SIGTERM and waits for the end. Returns its exit code.
    pub async fn terminate(mut self) -> Result<Option<i32>> {
        let pid = self.pid().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().await?;
        let exit = tokio::time::timeout(crate::DEADLINE, self.child.wait()).await;
        Ok(exit.context("the process has not ended after SIGTERM")??.code())
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }
}
