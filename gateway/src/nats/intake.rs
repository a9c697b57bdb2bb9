//! Takes demands for works from the bus. A message is acknowledged after its work is committed,
//! never before; its idempotency key makes a redelivery harmless. What cannot be read is recorded
//! as rejected and taken off the queue.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy};
use async_nats::jetstream::{AckKind, Context, Message};
use commands::{Envelope, Handler};
use domain::telemetry::{Event, MessageRejected, rejection_stream};
use domain::works::{Command, Work, stream};
use eventsourcing::Metadata;
use eventstore::{Append, AppendError, ExpectedVersion, NewEvent, NewReceipt};
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::parts::Parts;
use crate::work_code::work_code;

/// The work queue; made if it is missing.
pub const STREAM: &str = "COMMANDS";
/// What it listens to.
pub const SUBJECTS: &str = "commands.>";
/// Where works are demanded: `{"add_up_to": 2, "done": false}`.
pub const SUBJECT: &str = "commands.works.demand";
/// The durable consumer all workers share.
const CONSUMER: &str = "works-demand";
/// Messages taken and not yet acknowledged, at most.
const IN_FLIGHT: usize = 256;
/// A message that is not acknowledged for so long is delivered again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// The server says that it lives this often; without it, the consumer is taken for lost.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long one request for messages stands.
const EXPIRES: Duration = Duration::from_secs(30);
/// Wait before what could not be committed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Longest message id that is kept as it is, in bytes.
const MAX_ID_BYTES: usize = 200;

/// A demand as it stands in the message.
#[derive(Debug, Deserialize)]
struct Demand {
    add_up_to: u32,
    #[serde(default)]
    done: bool,
}

/// Takes demands until `shutdown`. The bus may be away, and may come back empty.
pub(crate) async fn run(parts: &Parts, shutdown: &CancellationToken) {
    let intake = Intake { parts, handler: Handler::new(parts.store.clone()) };
    let mut known = None;
    while !shutdown.is_cancelled() {
        let Err(error) = intake.follow(parts.bus.jetstream(), shutdown).await else {
            continue;
        };
        let error = format!("{error:#}");
        if known.as_ref() != Some(&error) {
            tracing::warn!(error, "demands cannot be taken from the bus; trying again");
        }
        known = Some(error);
        shutdown.run_until_cancelled(tokio::time::sleep(RETRY)).await;
    }
}

/// Makes the work queue if it is missing.
pub async fn ensure_stream(jetstream: &Context) -> anyhow::Result<()> {
    let config = Config {
        name: STREAM.into(),
        subjects: vec![SUBJECTS.into()],
        retention: RetentionPolicy::WorkQueue,
        ..Config::default()
    };
    jetstream.get_or_create_stream(config).await?;
    Ok(())
}

async fn consumer(jetstream: &Context) -> anyhow::Result<PullConsumer> {
    ensure_stream(jetstream).await?;
    let config = pull::Config {
        durable_name: Some(CONSUMER.into()),
        filter_subject: SUBJECT.into(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: i64::try_from(IN_FLIGHT)?,
        ..pull::Config::default()
    };
    Ok(jetstream.create_consumer_on_stream(config, STREAM).await?)
}

struct Intake<'a> {
    parts: &'a Parts,
    handler: Handler<Work>,
}

/// What becomes of a message.
enum Verdict {
    /// Committed: off the queue.
    Done,
    /// Recorded as rejected: off the queue.
    Rejected,
    /// Not now: back into the queue.
    Later,
}

impl Intake<'_> {
    async fn follow(
        &self,
        jetstream: &Context,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let messages = consumer(jetstream)
            .await?
            .stream()
            .max_messages_per_batch(IN_FLIGHT)
            .heartbeat(HEARTBEAT)
            .expires(EXPIRES)
            .messages()
            .await?;
        tracing::info!(subject = SUBJECT, "taking demands for works");
        messages
            .take_until(shutdown.cancelled())
            .map_err(anyhow::Error::from)
            .try_for_each_concurrent(IN_FLIGHT, |message| async move {
                self.take(&message).await;
                Ok(())
            })
            .await
    }

    async fn take(&self, message: &Message) {
        let (verdict, acknowledgement) = match self.handle(message).await {
            Verdict::Done => ("accepted", AckKind::Ack),
            Verdict::Rejected => ("rejected", AckKind::Term),
            Verdict::Later => ("put_back", AckKind::Nak(Some(RETRY))),
        };
        metrics::counter!("tributary_works_demands_total", "outcome" => verdict).increment(1);
        if let Err(error) = message.ack_with(acknowledgement).await {
            // It will be delivered again, and found to be done.
            tracing::debug!(error, "a demand could not be acknowledged");
        }
    }

    async fn handle(&self, message: &Message) -> Verdict {
        let Some(key) = key(message) else {
            return Verdict::Later;
        };
        let demand = match read(&message.payload) {
            Ok(demand) => demand,
            Err(reason) => return self.reject(message, &key, &reason).await,
        };
        match self.demand(message, &key, demand).await {
            Ok(()) => Verdict::Done,
            Err(
                commands::Error::Unavailable(_)
                | commands::Error::ShuttingDown
                | commands::Error::Contention(_),
            ) => Verdict::Later,
            Err(error) => self.reject(message, &key, &error.to_string()).await,
        }
    }

    async fn demand(
        &self,
        message: &Message,
        key: &str,
        demand: Demand,
    ) -> Result<(), commands::Error<domain::works::Rejection>> {
        let id = Uuid::now_v7();
        let command =
            Command::Demand { work_code: work_code("consumer"), add_up_to: demand.add_up_to };
        let envelope = Envelope {
            metadata: metadata(message),
            receipt: Some(NewReceipt {
                response: format!("{{\"id\":\"{id}\"}}").into(),
                ..NewReceipt::new(key.to_owned(), &message.payload, Box::default())
            }),
            ..Envelope::default()
        };
        self.handler.create(&stream(id), command, envelope).await?;
        Ok(())
    }

    /// Keeps the message, with the reason, once.
    async fn reject(&self, message: &Message, key: &str, reason: &str) -> Verdict {
        let rejected = MessageRejected::new(&message.subject, &message.payload, reason);
        let Ok(event) = NewEvent::new(&Event::MessageRejected(rejected)) else {
            return Verdict::Later;
        };
        let receipt = NewReceipt::new(format!("rejected {key}"), &message.payload, Box::default());
        let request = Append::to(rejection_stream("nats"), ExpectedVersion::Any, vec![event])
            .metadata(metadata(message))
            .receipt(Some(receipt));
        match self.parts.store.append(request).await {
            Ok(_) | Err(AppendError::KeyReused) => Verdict::Rejected,
            Err(error) => {
                tracing::warn!(%error, "a message could not be recorded as rejected");
                Verdict::Later
            }
        }
    }
}

fn read(payload: &[u8]) -> Result<Demand, String> {
    let demand: Demand =
        serde_json::from_slice(payload).map_err(|error| format!("not a demand: {error}"))?;
    if demand.done {
        return Err("not a demand: it is done already".into());
    }
    Ok(demand)
}

/// The publisher's own id, or what the stream calls the message: both stay the same however often
/// it is delivered, and a stream that was wiped does not repeat them.
fn key(message: &Message) -> Option<String> {
    let given = header(message.headers.as_ref(), "Nats-Msg-Id");
    let fits = |id: &&str| (1..=MAX_ID_BYTES).contains(&id.len()) && !id.contains('\0');
    if let Some(id) = given.filter(fits) {
        return Some(format!("nats {SUBJECT} {id}"));
    }
    let info = message.info().ok()?;
    let at = info.published.timestamp_nanos_opt().unwrap_or_default();
    Some(format!("nats {SUBJECT} at {at} {}", info.stream_sequence))
}

fn metadata(message: &Message) -> Metadata {
    let traceparent = header(message.headers.as_ref(), "traceparent");
    Metadata {
        actor: Some("nats".into()),
        traceparent: traceparent.filter(|text| text.len() == 55).map(str::to_owned),
        ..Metadata::default()
    }
}

fn header<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    headers?.get(name).map(async_nats::HeaderValue::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_and_keys_that_are_stored_never_change() {
        assert_eq!(
            [STREAM, SUBJECTS, SUBJECT, CONSUMER],
            ["COMMANDS", "commands.>", "commands.works.demand", "works-demand"]
        );
        let client = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .connect("127.0.0.1:1") // Nobody is there, and nobody is needed.
            .await
            .unwrap();
        let message = |headers: Option<HeaderMap>| Message {
            message: async_nats::Message {
                subject: SUBJECT.into(),
                reply: Some("$JS.ACK.COMMANDS.works-demand.1.42.7.1700000000000000001.0".into()),
                payload: "{}".into(),
                headers,
                status: None,
                description: None,
                length: 0,
            },
            context: async_nats::jetstream::new(client.clone()),
        };
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "m-1");
        let given = key(&message(Some(headers))).unwrap();
        assert_eq!(given, "nats commands.works.demand m-1");
        let of_the_stream = key(&message(None)).unwrap();
        assert_eq!(of_the_stream, "nats commands.works.demand at 1700000000000000001 42");
        assert_eq!(metadata(&message(None)).actor.as_deref(), Some("nats"));
    }

    #[test]
    fn a_demand_says_how_far_to_add() {
        assert_eq!(read(br#"{"add_up_to": 2, "done": false}"#).unwrap().add_up_to, 2);
        assert_eq!(read(br#"{"add_up_to": 4294967295}"#).unwrap().add_up_to, u32::MAX);
        for body in [
            "",
            "nonsense",
            "{}",
            r#"{"add_up_to": -1}"#,
            r#"{"add_up_to": 4294967296}"#,
            r#"{"add_up_to": "2"}"#,
            r#"{"add_up_to": 2, "done": true}"#,
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
