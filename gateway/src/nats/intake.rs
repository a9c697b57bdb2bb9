//! The intake of demands for works, from a `JetStream` work queue. A message is acknowledged after
//! its work is committed, never before; its idempotency key makes a redelivery harmless. A message
//! that is invalid is recorded as rejected and removed from the queue.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy};
use async_nats::jetstream::{AckKind, Message};
use commands::{Envelope, Handler};
use domain::telemetry::{Event, MessageRejected, rejection_stream};
use domain::works::{Command, Work, stream};
use eventsourcing::{Metadata, json};
use eventstore::{Append, AppendError, ExpectedVersion, NewEvent, NewReceipt, Owner};
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::parts::Parts;
use crate::work_code::work_code;

/// Name of the stream, a work queue.
pub const STREAM: &str = "COMMANDS";
/// Subjects of the stream.
pub const SUBJECTS: &str = "commands.>";
/// Subject of demands: `{"add_up_to": 2, "done": false}`.
pub const SUBJECT: &str = "commands.works.demand";
/// Durable consumer that all workers share.
const CONSUMER: &str = "works-demand";
/// Messages in progress per worker, at most.
const IN_FLIGHT: usize = 256;
/// Time after which an unacknowledged message is redelivered.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Interval of the server's heartbeats; after two missed ones the subscription is made again.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Lifetime of one pull request.
const EXPIRES: Duration = Duration::from_secs(30);
/// Wait before a message that could not be committed is redelivered.
const RETRY: Duration = Duration::from_secs(1);
/// Header of every event that the relay or a replay publishes.
const POSITION_HEADER: &str = "Tributary-Position";
/// How long the server remembers the ids of demands: its own default.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);
/// Longest `Nats-Msg-Id` used as a key, in bytes.
const MAX_ID_BYTES: usize = 200;

/// The body of a demand.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = WorkDemandMessage)]
pub(crate) struct Demand {
    /// The work adds up the numbers from 0 to this one.
    // utoipa would make it an `int32`, whose maximum is half of what a `u32` holds.
    #[schema(value_type = i64, minimum = 0, maximum = 4_294_967_295_i64)]
    add_up_to: u32,
    /// Whether the work is done already; such a message is refused.
    #[serde(default)]
    done: bool,
}

/// Runs the intake until `shutdown`. Retries while NATS is down, and recreates a lost stream.
pub(crate) async fn run(parts: &Parts, shutdown: &CancellationToken) {
    let intake = Intake { parts, handler: Handler::new(parts.store.clone()) };
    let mut known = None;
    while !shutdown.is_cancelled() {
        let Err(error) = intake.follow(shutdown).await else {
            continue;
        };
        let error = format!("{error:#}");
        if known.as_ref() != Some(&error) {
            tracing::warn!(error, "NATS intake failed, retrying");
        }
        known = Some(error);
        shutdown.run_until_cancelled(tokio::time::sleep(RETRY)).await;
    }
}

/// Returns `config` with what makes it a work queue: a message is removed once it is acknowledged.
fn queue(config: Config) -> Config {
    Config {
        name: STREAM.into(),
        subjects: vec![SUBJECTS.into()],
        retention: RetentionPolicy::WorkQueue,
        ..config
    }
}

/// Creates or updates the work queue, unless it belongs to another deployment. A message without a
/// reader, such as one on another subject, is removed by its age; a full queue refuses messages, so
/// that their senders notice.
async fn own_stream(parts: &Parts) -> anyhow::Result<()> {
    let (owner, options) = (parts.store.owner().await?, &parts.config.streams);
    let configure = |config: Config| {
        let max_age = options.nats_commands_max_age.0;
        let window = if config.duplicate_window.is_zero() {
            DUPLICATE_WINDOW
        } else {
            config.duplicate_window
        };
        let config = Config {
            max_age,
            max_bytes: options.nats_commands_max_bytes,
            discard: DiscardPolicy::New,
            num_replicas: options.nats_replicas.map_or(config.num_replicas.max(1), usize::from),
            // The server refuses a window longer than the age.
            duplicate_window: if max_age.is_zero() { window } else { window.min(max_age) },
            ..queue(config)
        };
        owner.mark(config, "Demands to Tributary")
    };
    let jetstream = parts.bus.jetstream();
    let stream = jetstream.get_or_create_stream(configure(Config::default())).await?;
    let found = stream.cached_info().config.clone();
    owner.claim(&found, parts.bus.take_over())?;
    let wanted = configure(found.clone());
    if settings(&found) != settings(&wanted) {
        let updated = jetstream.update_stream(&wanted).await?.config;
        if settings(&updated) != settings(&wanted) {
            let (actual, wanted) = (settings(&updated), settings(&wanted));
            tracing::warn!(?actual, ?wanted, "stream COMMANDS is not configured as requested");
        }
    }
    Ok(())
}

/// The settings that options determine. Zero and below mean no limit.
fn settings(config: &Config) -> (Duration, i64, DiscardPolicy, usize, Option<Owner>) {
    let Config { max_age, max_bytes, discard, num_replicas, .. } = config;
    (*max_age, (*max_bytes).max(0), *discard, *num_replicas, Owner::of(config))
}

async fn consumer(parts: &Parts) -> anyhow::Result<PullConsumer> {
    own_stream(parts).await?;
    let config = pull::Config {
        durable_name: Some(CONSUMER.into()),
        filter_subject: SUBJECT.into(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: i64::try_from(IN_FLIGHT)?,
        ..pull::Config::default()
    };
    Ok(parts.bus.jetstream().create_consumer_on_stream(config, STREAM).await?)
}

struct Intake<'a> {
    parts: &'a Parts,
    handler: Handler<Work>,
}

/// The result of a message.
enum Verdict {
    /// Committed: acknowledged.
    Done,
    /// Recorded as rejected: terminated.
    Rejected,
    /// Not committed: redelivered later.
    Later,
    /// An event, not a demand: terminated without a trace in the log.
    Foreign,
}

impl Intake<'_> {
    async fn follow(&self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let messages = consumer(self.parts)
            .await?
            .stream()
            .max_messages_per_batch(IN_FLIGHT)
            .heartbeat(HEARTBEAT)
            .expires(EXPIRES)
            .messages()
            .await?;
        tracing::info!(subject = SUBJECT, "NATS intake connected");
        messages
            .take_until(shutdown.cancelled())
            .map_err(anyhow::Error::from)
            .try_for_each_concurrent(IN_FLIGHT, |message| async move {
                self.process(&message).await;
                Ok(())
            })
            .await
    }

    async fn process(&self, message: &Message) {
        let (verdict, acknowledgement) = match self.handle(message).await {
            Verdict::Done => ("accepted", AckKind::Ack),
            Verdict::Rejected => ("rejected", AckKind::Term),
            Verdict::Later => ("put_back", AckKind::Nak(Some(RETRY))),
            Verdict::Foreign => ("foreign", AckKind::Term),
        };
        metrics::counter!("tributary_works_demands_total", "outcome" => verdict).increment(1);
        if let Err(error) = message.ack_with(acknowledgement).await {
            // It is redelivered, and then a duplicate.
            tracing::debug!(error, "acknowledgement of a demand failed");
        }
    }

    async fn handle(&self, message: &Message) -> Verdict {
        // A subscriber may create a consumer whose messages the server delivers to any subject.
        // Recorded as rejected, each of these events would cause the next one.
        if header(message.headers.as_ref(), POSITION_HEADER).is_some() {
            return Verdict::Foreign;
        }
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

    /// Records the message as rejected, with the reason, once.
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
                tracing::warn!(%error, "recording a rejected message failed, retrying");
                Verdict::Later
            }
        }
    }
}

pub(super) fn read(payload: &[u8]) -> Result<Demand, String> {
    let demand: Demand = json::read(payload).map_err(|error| format!("not a demand: {error}"))?;
    if demand.done {
        return Err("not a demand: it is done already".into());
    }
    Ok(demand)
}

/// Returns the idempotency key: the publisher's `Nats-Msg-Id`, or else the time and sequence of the
/// message in its stream. Neither changes with a redelivery; a stream that was wiped restarts its
/// sequence, but not its time.
fn key(message: &Message) -> Option<String> {
    let id = header(message.headers.as_ref(), "Nats-Msg-Id");
    let fits = |id: &&str| (1..=MAX_ID_BYTES).contains(&id.len()) && !id.contains('\0');
    if let Some(id) = id.filter(fits) {
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
            .connect("127.0.0.1:1") // No server is needed.
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
    fn a_demand_has_a_bound_and_is_not_done() {
        assert_eq!(read(br#"{"add_up_to": 2, "done": false}"#).unwrap().add_up_to, 2);
        assert_eq!(read(br#"{"add_up_to": 4294967295}"#).unwrap().add_up_to, u32::MAX);
        assert_eq!(read(br#"{"add_up_to": 4.2e1, "from": {}}"#).unwrap().add_up_to, 42);
        assert_eq!(read("\u{feff}{\"add_up_to\": 42.0}".as_bytes()).unwrap().add_up_to, 42);
        for body in [
            "",
            "nonsense",
            "{}",
            r#"{"add_up_to": -1}"#,
            r#"{"add_up_to": 4294967296}"#,
            r#"{"add_up_to": "2"}"#,
            r#"{"add_up_to": 42.5}"#,
            r#"{"add_up_to": 2, "add_up_to": 2}"#,
            r#"{"add_up_to": 2, "note": "\ud800"}"#,
            "[2, false]",
            r#"{"add_up_to": 2, "done": true}"#,
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
