//! Ending: the first signal asks to, the second insists.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over; from now on they end nothing by themselves.
    pub(super) fn register() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Finishes `work`; a further signal ends the process at once.
    pub(super) async fn finish_or_abort(&mut self, work: impl Future<Output = ()>) {
        tokio::select! {
            () = work => {}
            () = self.next() => {
                // Somebody insists; nothing committed is lost by it.
                std::process::exit(1);
            }
        }
    }
}
