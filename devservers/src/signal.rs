//! Signals to other processes, ours and those an earlier run left behind.

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

    /// Through the shell, whose `kill` is built in: without `unsafe`, std can only kill. Takes a
    /// millisecond or two, so it does not need to be async.
    pub(super) fn send(self, pid: u32) {
        let pid = pid.to_string();
        let script = "kill -s \"$0\" \"$1\" 2>&-";
        let sent = Command::new("sh").args(["-c", script, self.name(), &pid]).status();
        if let Err(error) = sent {
            tracing::warn!(%error, pid, signal = self.name(), "cannot send a signal");
        }
    }
}
