//! Servers that outlived the process that started them, which happens where there is no `setpriv`.

use super::process::{GLANCE, KILL_PATIENCE};
use super::signal::Signal;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Ends the server of an earlier run: the process in `pid_file`, if its command line names `home`.
/// Process ids are reused, so the file alone proves nothing.
pub(super) async fn end(pid_file: &Path, home: &Path, stop: Signal, patience: Duration) {
    let Some(pid) = read_pid(pid_file).filter(|&pid| serves(pid, home)) else {
        return;
    };
    tracing::warn!(pid, home = %home.display(), "ending server of an earlier run");
    for (signal, patience) in [(stop, patience), (Signal::Kill, KILL_PATIENCE)] {
        signal.send(pid);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if !serves(pid, home) {
                return;
            }
            tokio::time::sleep(GLANCE).await;
        }
    }
}

pub(super) fn read_pid(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.lines().next()?.trim().parse().ok()
}

/// Whether the process exists and its command line names a file in `home`.
pub(super) fn serves(pid: u32, home: &Path) -> bool {
    let command_line = if Path::new("/proc/self/cmdline").exists() {
        fs::read(format!("/proc/{pid}/cmdline")).ok()
    } else {
        let ps = Command::new("ps").args(["-ww", "-o", "args=", "-p", &pid.to_string()]).output();
        ps.ok().map(|output| output.stdout)
    };
    let mut name = home.as_os_str().as_encoded_bytes().to_vec();
    name.push(b'/'); // Or /tmp/run1 would be found in /tmp/run10.
    command_line.is_some_and(|line| line.windows(name.len()).any(|part| part == name))
}
