//! Shutdown by signal: the first one starts it, the second one aborts the process.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Registers handlers; from now on the signals do not end the process by themselves.
    pub(super) fn register() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Runs `shutdown` to its end; a further signal ends the process at once, with exit code 1.
    pub(super) async fn finish_or_abort(&mut self, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = shutdown => {}
            () = self.next() => {
                // Committed events are not lost by this.
                std::process::exit(1);
            }
        }
    }
}
