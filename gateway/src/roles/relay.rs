//! Publishes the log to the bus.

use std::time::Duration;

use eventsourcing::Position;
use eventstore::{EventStore, Relay, Unavailable};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::parts::Parts;

/// Name of it among those that follow the log. The stream on the bus is what says how far it is;
/// what stands under this name in the log is for people to see.
pub(crate) const NAME: &str = "relay";
/// It says where it stands, and that it lives, this often.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Runs on tasks of its own; this only tells of it.
pub(super) async fn run(parts: Parts, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Parts { store, bus, tasks, .. } = parts;
    let relay = Relay::start(store.clone(), bus, context_of, &tasks, shutdown.clone());
    let position = relay.position();
    let telling = async {
        let mut ticks = interval(HEARTBEAT);
        let mut begun = false;
        loop {
            ticks.tick().await;
            let position = *position.borrow();
            if let Err(error) = tell(&store, &mut begun, position).await {
                tracing::debug!(%error, "nobody is told where the relay stands");
            }
        }
    };
    shutdown.run_until_cancelled(telling).await;
    Ok(())
}

async fn tell(store: &EventStore, begun: &mut bool, position: Position) -> Result<(), Unavailable> {
    if !*begun {
        store.start_consumer(NAME).await?;
        *begun = true;
    }
    if position == Position::START {
        return store.heartbeat(NAME).await; // It does not know yet.
    }
    store.report(NAME, position).await
}

fn context_of(category: &str) -> &'static str {
    domain::context_of(category).map_or("unknown", |context| context.name)
}
