//! Publishes the log to the bus.

use std::time::Duration;

use eventsourcing::Position;
use eventstore::{ErrorChain, EventStore, Relay, RelayReport, RetryLog, Unavailable};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::parts::Parts;

/// Interval between two reports of the relay's position.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Starts the relay on its own tasks, and reports its position until `shutdown`.
pub(super) async fn run(parts: Parts, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Parts { store, bus, tasks, .. } = parts;
    let relay = Relay::start(store.clone(), bus, context_of, &tasks, shutdown.clone());
    let (position, mut state) = (relay.position(), relay.report());
    let reporting = async {
        let mut ticks = interval(HEARTBEAT);
        let mut started = false;
        let mut log = RetryLog::new("report of the relay's position");
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = state.changed() => {} // An error is shown at once.
            }
            // The state first: the relay changes its position before it reports an error there.
            let state = state.borrow_and_update().clone();
            let position = *position.borrow();
            let reported = report(&store, &mut started, position, state.as_ref()).await;
            log.note(reported.map_err(|error| ErrorChain(&error).to_string()));
        }
    };
    shutdown.run_until_cancelled(reporting).await;
    Ok(())
}

async fn report(
    store: &EventStore,
    started: &mut bool,
    position: Position,
    state: Option<&RelayReport>,
) -> Result<(), Unavailable> {
    if !*started {
        store.start_consumer(Relay::NAME).await?;
        *started = true;
    }
    // At the start, the relay has not read the stream yet; while another relay publishes, that one knows it.
    let knows = state.is_some() && position != Position::START;
    let position = knows.then_some(position);
    store.report(Relay::NAME, position, state).await
}

fn context_of(category: &str) -> &'static str {
    domain::context_of(category).map_or("unknown", |context| context.name)
}
