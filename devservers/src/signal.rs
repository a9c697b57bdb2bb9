//! Signals to child processes and to servers of earlier runs.

use std::process::Command;

#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    Interrupt,
    Terminate,
    Quit,
    Kill,
}

impl Signal {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "INT",
            Self::Terminate => "TERM",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
        }
    }

    /// Sends the signal through the `kill` of the shell, because std without `unsafe` can only send
    /// SIGKILL. Takes 1 to 2 ms, so it is not async.
    pub(super) fn send(self, pid: u32) {
        let pid = pid.to_string();
        let script = "kill -s \"$0\" \"$1\" 2>&-";
        let sent = Command::new("sh").args(["-c", script, self.name(), &pid]).status();
        if let Err(error) = sent {
            tracing::warn!(%error, pid, signal = self.name(), "cannot send a signal");
        }
    }
}
