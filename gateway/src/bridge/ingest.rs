//! From taken to acknowledged: appends run side by side and are settled in the order of receipt.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use eventstore::{AppendError, Appended, EventStore};
use futures::stream::{FuturesOrdered, Stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{OwnedPermit, Receiver};
use tokio::task::coop::unconstrained;
use uuid::Uuid;

use super::accounting::{Accounting, Outcome};
use super::message::{Message, Refused};
use mqtt::Backoff;

/// Waits between attempts while the log is not reachable.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Messages looked at in one go, so that settling them is never put off for long.
const AT_ONCE: usize = 512;

/// A message the reader took, with all that has to be given back when it is settled.
pub(super) struct Taken {
    pub(super) message: Message,
    /// `None` for `QoS` 0, which nobody waits for.
    pub(super) acknowledge: Option<Acknowledge>,
    /// Its part of [`super::HELD_BYTES`].
    pub(super) held: OwnedSemaphorePermit,
}

/// The right to acknowledge one packet on the connection it came by. Once that connection is gone
/// the acknowledgement goes nowhere: packet ids mean something else on the next one.
pub(super) struct Acknowledge {
    pub(super) packet_id: u16,
    /// A place in the writer's queue, taken before the message was: settling it never waits for
    /// the network. The queue has as many as the receive maximum, and so enforces it.
    pub(super) place: OwnedPermit<u16>,
}

/// Records what is taken until nobody takes any more and everything is settled.
pub(super) async fn run(store: &EventStore, accounting: &Accounting, mut taken: Receiver<Taken>) {
    let mut arrived = Vec::with_capacity(AT_ONCE);
    let mut settled = Vec::new();
    // Futures are first polled in the order they are pushed, so the log holds the messages of a
    // device in the order the broker sent them; only an outage can mix them up.
    let mut in_order = FuturesOrdered::new();
    let mut more_to_come = true;
    while more_to_come || !in_order.is_empty() {
        tokio::select! {
            count = taken.recv_many(&mut arrived, AT_ONCE), if more_to_come => {
                more_to_come = count > 0;
                for taken in arrived.drain(..) {
                    in_order.push_back(settle(store, accounting, taken));
                }
            }
            // A batch answers thousands at once. Tokio's budget would let 128 of them be seen at a
            // time, and make each of the others be looked at and put off again.
            () = unconstrained(all_ready(&mut in_order, &mut settled)), if !in_order.is_empty() => {
                // Booked before it is acknowledged: who sees the PUBACK finds the figures true.
                accounting.settled(settled.iter().filter_map(|done: &Settled| done.outcome));
                for Settled { outcome, acknowledge } in settled.drain(..) {
                    if let (Some(_), Some(Acknowledge { packet_id, place })) = (outcome, acknowledge) {
                        place.send(packet_id);
                    }
                }
            }
        }
    }
}

/// Waits for the oldest, and takes with it all that are ready behind it: they were committed
/// together, and are acknowledged with one write.
async fn all_ready<S: Stream + Unpin>(stream: &mut S, ready: &mut Vec<S::Item>) {
    std::future::poll_fn(|context| {
        while let Poll::Ready(Some(item)) = Pin::new(&mut *stream).poll_next(context) {
            ready.push(item);
        }
        if ready.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

struct Settled {
    /// `None` when the log was closed before it answered: the message is not acknowledged.
    outcome: Option<Outcome>,
    acknowledge: Option<Acknowledge>,
}

async fn settle(store: &EventStore, accounting: &Accounting, taken: Taken) -> Settled {
    let Taken { message, acknowledge, held } = taken;
    let outcome = record(store, accounting, &message).await;
    drop((message, held));
    Settled { outcome, acknowledge }
}

/// Appends the message, or the fact that it was refused, until the log has answered.
async fn record(store: &EventStore, accounting: &Accounting, message: &Message) -> Option<Outcome> {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    let refused = loop {
        let request = match message.request() {
            Ok(request) => request,
            Err(refused) => break refused,
        };
        match store.append(request).await {
            Ok(Appended::New { .. }) => return Some(Outcome::Appended),
            Ok(Appended::Duplicate { .. } | Appended::Replayed(_)) => {
                return Some(Outcome::Duplicate);
            }
            Err(AppendError::ShuttingDown) => return None,
            Err(AppendError::Unavailable(_)) => wait(accounting, &mut backoff).await,
            Err(
                error @ (AppendError::BadData(_)
                | AppendError::Codec(_)
                | AppendError::Conflict { .. }
                | AppendError::KeyReused),
            ) => break Refused::Log(error),
        }
    };
    // One id for all attempts: the first may have been committed without our hearing of it.
    let id = Uuid::now_v7();
    loop {
        let answer = match message.rejection(&refused, id) {
            Ok(request) => store.append(request).await,
            Err(error) => Err(error.into()),
        };
        match answer {
            Ok(_) => {
                tracing::debug!(reason = %refused, "a message was rejected");
                return Some(Outcome::Rejected);
            }
            Err(AppendError::ShuttingDown) => return None,
            Err(AppendError::Unavailable(_)) => wait(accounting, &mut backoff).await,
            Err(error) => {
                // A rejection is made to be storable. Should one not be, the message stays with
                // the broker, and the bridge visibly in arrears, rather than be lost.
                tracing::error!(%error, reason = %refused, "a rejection could not be recorded");
                wait(accounting, &mut backoff).await;
            }
        }
    }
}

async fn wait(accounting: &Accounting, backoff: &mut Backoff) {
    accounting.retried();
    tokio::time::sleep(backoff.next()).await;
}
