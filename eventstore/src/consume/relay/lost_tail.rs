//! Whether the log has lost events that were published: a standby without them was promoted, or a
//! backup was restored. What a relay knows of it is what it has published itself; a message of the
//! stream proves nothing, because other programs may publish there.

use super::window::Published;
use crate::{EventStore, Unavailable};

/// Returns whether the log has another event, or none, at the position of `published`.
pub(super) async fn is_lost(store: &EventStore, published: Published) -> Result<bool, Unavailable> {
    let events = store.at_positions(&[published.position]).await?;
    Ok(events.first().is_none_or(|event| event.id != published.id))
}

/// Starts the epoch after `epoch`, unless another process has.
pub(super) async fn begin_epoch(store: &EventStore, epoch: i64) -> Result<(), Unavailable> {
    sqlx::query("update log.head set epoch = epoch + 1 where epoch = $1")
        .bind(epoch)
        .execute(store.pool())
        .await?;
    Ok(())
}
