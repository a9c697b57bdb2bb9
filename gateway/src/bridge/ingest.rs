//! Appends messages concurrently, and acknowledges them in the order of receipt.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use commands::readings::{Repeated, Repetitions};
use domain::telemetry::InvalidReading;
use eventsourcing::Position;
use eventstore::{Append, AppendError, Appended, EventStore};
use futures::stream::{FuturesOrdered, Stream};
use mqtt::{Ack, Backoff};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::Receiver;
use tokio::task::coop::unconstrained;
use uuid::Uuid;

use super::accounting::{Accounting, Outcome};
use super::decoder::{Action, Decoder};
use super::message::{Message, Refused};
use crate::metrics::count_unusable;

/// First and longest delay between attempts while the log is not reachable.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Messages received at once; a limit, so that settling them is not delayed for long.
const AT_ONCE: usize = 512;

/// A message the reader took, with everything to be released when it is settled.
pub(super) struct Taken {
    pub(super) message: Message,
    /// `None` at `QoS` 0.
    pub(super) ack: Option<Ack>,
    /// Its part of [`super::HELD_BYTES`].
    pub(super) held: OwnedSemaphorePermit,
}

/// Records messages until the readers have ended and everything is settled.
pub(super) async fn run(
    store: &EventStore,
    repetitions: &Repetitions,
    decoder: &Decoder,
    accounting: &Accounting,
    mut taken: Receiver<Taken>,
) {
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
                    in_order.push_back(settle(store, repetitions, decoder, accounting, taken));
                }
            }
            // A commit completes thousands at once. Tokio's cooperative budget would poll 128 of them
            // at a time, and wake each of the others in vain.
            () = unconstrained(all_ready(&mut in_order, &mut settled)), if !in_order.is_empty() => {
                // Counted before the PUBACK leaves: who receives it finds the counters correct.
                accounting.settled(settled.iter().filter_map(|done: &Settled| done.outcome));
                for Settled { outcome, ack } in settled.drain(..) {
                    if let (Some(_), Some(ack)) = (outcome, ack) {
                        ack.send();
                    }
                }
            }
        }
    }
}

/// Waits for the oldest, and takes all that are ready behind it: they were committed together, and
/// are acknowledged with one write.
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
    /// `None` if the log was closed before it answered: the message is not acknowledged.
    outcome: Option<Outcome>,
    ack: Option<Ack>,
}

async fn settle(
    store: &EventStore,
    repetitions: &Repetitions,
    decoder: &Decoder,
    accounting: &Accounting,
    taken: Taken,
) -> Settled {
    let Taken { message, ack, held } = taken;
    let outcome = record(store, repetitions, decoder, accounting, &message).await;
    drop((message, held));
    Settled { outcome, ack }
}

/// Appends the message, or the fact that it was rejected; retries until the log has answered.
async fn record(
    store: &EventStore,
    repetitions: &Repetitions,
    decoder: &Decoder,
    accounting: &Accounting,
    message: &Message,
) -> Option<Outcome> {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    // Whether this message may have been appended before: by another delivery, or by an attempt whose
    // answer was lost.
    let mut repeated = message.is_repeated();
    // The id of an event whose derived id belongs to an earlier message with the same content.
    let mut new_id = None;
    let mut uncounted = true;
    let refused = loop {
        let (mut append, recurs) = match decoder.decode(message) {
            Ok(Action::Record { append, recurs, unusable }) => {
                // Once, however often the message is tried.
                if std::mem::take(&mut uncounted) {
                    count_unusable("mqtt", unusable);
                }
                (append, recurs)
            }
            Ok(Action::Ignore(reason)) => {
                tracing::debug!(%reason, "message ignored");
                return Some(Outcome::Duplicate);
            }
            Err(refused) => break refused,
        };
        if let Some(id) = new_id {
            append.streams.iter_mut().flat_map(|part| &mut part.events).for_each(|event| {
                event.id = id;
            });
        }
        let known = match store.append(append).await {
            Ok(Appended::New { .. }) => return Some(Outcome::Appended),
            Ok(Appended::Replayed(_)) => return Some(Outcome::Duplicate),
            Ok(Appended::Duplicate { .. }) if recurs && !repeated => {
                (repeated, new_id) = (true, Some(Uuid::now_v7()));
                continue;
            }
            Ok(Appended::Duplicate { position }) => {
                // The message is decoded again, because few are duplicates.
                match decoder.decode(message) {
                    Ok(Action::Record { append, .. }) => {
                        repeat(repetitions, append, position).await
                    }
                    Ok(Action::Ignore(_)) => return Some(Outcome::Duplicate),
                    Err(refused) => break refused,
                }
            }
            Err(error) => Err(error),
        };
        match known {
            Ok(Repeated::Restarted(_)) => return Some(Outcome::Appended),
            Ok(Repeated::Conflict(sequence_id, position)) => {
                break InvalidReading::Repeated { sequence_id, position }.into();
            }
            // Only a retained message expects a version: what the log has is newer.
            Ok(Repeated::Duplicate(_)) | Err(AppendError::Conflict { .. }) => {
                return Some(Outcome::Duplicate);
            }
            Err(AppendError::ShuttingDown) => return None,
            Err(AppendError::Unavailable(_)) => {
                repeated = true;
                wait(accounting, &mut backoff).await;
            }
            Err(
                error @ (AppendError::BadData(_) | AppendError::Codec(_) | AppendError::KeyReused),
            ) => break Refused::Log(error),
        }
    };
    if let Some(error) = refused.invalid_reading() {
        let labels = [("door", "mqtt"), ("reason", error.code())];
        metrics::counter!("tributary_readings_refused_total", &labels).increment(1);
    }
    // One id for all attempts: the first may have been committed although its answer was lost.
    let id = Uuid::now_v7();
    loop {
        let answer = match message.rejection(&refused, id) {
            Ok(request) => store.append(request).await,
            Err(error) => Err(error.into()),
        };
        match answer {
            Ok(_) => {
                tracing::debug!(reason = %refused, "message rejected");
                return Some(Outcome::Rejected);
            }
            Err(AppendError::ShuttingDown) => return None,
            Err(AppendError::Unavailable(_)) => wait(accounting, &mut backoff).await,
            Err(error) => {
                // A rejection is made to be storable. Should one not be, the message stays
                // unacknowledged and visibly in flight, rather than be lost.
                tracing::error!(%error, reason = %refused, "rejection not recorded, retrying");
                wait(accounting, &mut backoff).await;
            }
        }
    }
}

/// Settles a message whose event the log has already, at `position`.
async fn repeat(
    repetitions: &Repetitions,
    mut request: Append,
    position: Position,
) -> Result<Repeated, AppendError> {
    let part = request.streams.pop();
    let Some((event, part)) = part.and_then(|mut part| Some((part.events.pop()?, part))) else {
        return Ok(Repeated::Duplicate(position));
    };
    repetitions.settle(&part.stream, &event, position, &request.metadata).await
}

async fn wait(accounting: &Accounting, backoff: &mut Backoff) {
    accounting.retried();
    tokio::time::sleep(backoff.next_delay()).await;
}
