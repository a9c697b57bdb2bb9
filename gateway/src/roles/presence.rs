//! Decides which devices are offline: those that have sent nothing for too long; and which are online
//! again because a reading came. One worker at a time does so, by a lease; what keeps a transition
//! from being appended twice, or wrongly, is the log: decisions have derived ids, and one that takes a
//! device offline expects the version of its stream.

use std::time::Duration;

use domain::telemetry::{DeviceRef, Event, device_stream};
use eventsourcing::{Metadata, Position};
use eventstore::{Append, AppendError, Appended, ExpectedVersion, NewEvent, RetryLog};
use futures::future::join_all;
use projections::telemetry::{DeviceCursor, DueDecision, due_decisions};
use projections::{State, statuses};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::parts::Parts;

/// Name of the lease.
const LEASE: &str = "presence";
/// Duration of the lease in ticks, and its minimum: longer than the owner is ever late.
const LEASE_TICKS: u32 = 3;
const LEASE_AT_LEAST: Duration = Duration::from_secs(5);
/// The projection whose read model lists silent devices.
const PROJECTION: &str = "telemetry";
/// Most devices decided on at once.
const PAGE: u16 = 500;
/// How long a round waits for the read model to show its decisions.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);
/// A round takes at most one part in so many of the time: with very many devices there are fewer.
const REST: u32 = 20;

/// Decides until `shutdown`.
pub(super) async fn run(parts: &Parts, shutdown: &CancellationToken) {
    let watch = Watch { parts, owner: Uuid::now_v7(), tick: parts.config.presence.presence_tick.0 };
    shutdown.run_until_cancelled(watch.run()).await;
    if let Err(error) = parts.store.release_lease(LEASE, watch.owner).await {
        tracing::debug!(%error, "lease not released; it expires");
    }
}

struct Watch<'a> {
    parts: &'a Parts,
    owner: Uuid,
    tick: Duration,
}

impl Watch<'_> {
    async fn run(&self) {
        let mut log = RetryLog::new("decisions on the presence of devices");
        loop {
            let begun = Instant::now();
            log.note(self.decide_all().await.map_err(|error| format!("{error:#}")));
            sleep(self.tick.max(begun.elapsed() * REST)).await;
        }
    }

    async fn owns(&self) -> anyhow::Result<bool> {
        let lease = (self.tick * LEASE_TICKS).max(LEASE_AT_LEAST);
        Ok(self.parts.store.take_lease(LEASE, self.owner, lease).await?)
    }

    /// Decides on every device that is due, page by page.
    async fn decide_all(&self) -> anyhow::Result<()> {
        let mut place = DeviceCursor::default();
        let mut last = None;
        loop {
            // In a read model that is behind, all devices seem silent. The log would refuse each of
            // these decisions.
            if !self.owns().await? || !self.is_live().await? {
                break;
            }
            let now = self.parts.store.now().await?;
            let silence = self.parts.config.presence.device_inactive_after.0;
            let page =
                due_decisions(self.parts.store.pool(), now, silence, &place, PAGE.into()).await?;
            let decided = join_all(page.iter().map(|due| self.append(due))).await;
            for position in decided {
                last = last.max(position?);
            }
            match page.last() {
                Some(device) if page.len() == usize::from(PAGE) => {
                    place = DeviceCursor {
                        user_id: device.user_id.to_string(),
                        device_id: device.device_id.to_string(),
                    };
                }
                _ => break,
            }
        }
        if let Some(position) = last {
            self.parts.wait.command(PROJECTION, position, Some(SHOWN_WITHIN)).await;
        }
        Ok(())
    }

    async fn is_live(&self) -> anyhow::Result<bool> {
        let statuses = statuses(&self.parts.store, &[PROJECTION]).await?;
        Ok(statuses.iter().all(|status| status.state == State::Live))
    }

    /// Appends a decision; returns its position, unless it was in the log already.
    async fn append(&self, due: &DueDecision) -> anyhow::Result<Option<Position>> {
        let DueDecision { user_id, device_id, version, decision } = due;
        let (word, expected) = match &decision.event {
            // Valid at any version: the device has sent something.
            Event::DeviceConnected(_) => ("heard", ExpectedVersion::Any),
            _ => ("inactive", ExpectedVersion::Exact(*version)),
        };
        let stream = device_stream(DeviceRef { user_id, device_id });
        let event = NewEvent::with_id(decision.id, &decision.event)?;
        let metadata = Metadata { actor: Some(LEASE.into()), ..Metadata::default() };
        let request = Append::to(stream, expected, vec![event]).metadata(metadata);
        let (outcome, position) = match self.parts.store.append(request).await {
            Ok(Appended::New { position, .. }) => (word, Some(position)),
            Ok(Appended::Duplicate { .. } | Appended::Replayed(_)) => ("said_before", None),
            Err(AppendError::Conflict { .. }) => ("overtaken", None),
            Err(error @ (AppendError::BadData(_) | AppendError::Codec(_))) => {
                // Only this device cannot be decided on; the others are.
                tracing::warn!(%user_id, %device_id, %error, "presence not decided");
                ("failed", None)
            }
            Err(error) => return Err(error.into()),
        };
        metrics::counter!("tributary_presence_decisions_total", "outcome" => outcome).increment(1);
        Ok(position)
    }
}
