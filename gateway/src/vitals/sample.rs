//! The vitals of one second. A number that is not known is null.

use std::time::Duration;

use chrono::{DateTime, Utc};
use eventstore::Latency;
use projections::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::door::Door;

/// Rates, latencies and lag at one time. Null is what this process does not know: because another
/// process counts it, because nothing happened yet, or because a server does not answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Vitals {
    /// When the vitals were gathered.
    pub(super) at: DateTime<Utc>,
    /// The last committed position.
    pub(super) head: i64,
    /// When the event at that position was recorded; null if the log is empty.
    pub(super) head_recorded_at: Option<DateTime<Utc>>,
    /// Events appended a second, by all processes, in the last 5 s.
    pub(super) events_per_second: Option<f64>,
    /// Time from the hand-over of a request to its commit, of this process, in the last minute.
    pub(super) commit_ms: Option<Percentiles>,
    /// Time from the append of an event until every projection that follows it has applied it, measured
    /// once a second, in the last minute. Null in a process without the role `projector`.
    pub(super) visible_ms: Option<Percentiles>,
    /// Rates of all contexts.
    pub(super) contexts: Vec<ContextRate>,
    /// The ways in.
    pub(super) doors: Vec<DoorVitals>,
    /// All consumers of the log. Empty while Postgres does not answer.
    pub(super) consumers: Vec<ConsumerVitals>,
    /// The JetStream stream `EVENTS`; null while NATS does not answer, and before there is a stream.
    pub(super) relay: Option<RelayVitals>,
    /// Messages of the MQTT bridge of this process: `received = appended + duplicate + rejected +
    /// in_flight`. Null if another process runs it.
    pub(super) bridge: Option<BridgeVitals>,
    /// Postgres.
    pub(super) postgres: Connection,
    /// NATS.
    pub(super) nats: Connection,
    /// The MQTT broker; null if another process runs the bridge.
    pub(super) broker: Option<Connection>,
    /// Parked streams of all consumers.
    pub(super) parked_streams: Option<i64>,
    /// Messages that were refused and recorded as such.
    pub(super) rejected: Rejected,
}

/// Percentiles in milliseconds, right to 7 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = LatencyPercentiles)]
pub(super) struct Percentiles {
    /// Half of the durations were not longer.
    p50: f64,
    /// Of a hundred durations, 99 were not longer.
    p99: f64,
}

impl Percentiles {
    /// The percentiles of the last minute; none if nothing was recorded then.
    pub(super) fn of(latency: &Latency) -> Option<Self> {
        let ms = |duration: Duration| round(duration.as_secs_f64() * 1000.0);
        let [p50, p99] = latency.percentiles([0.5, 0.99])?;
        Some(Self { p50: ms(p50), p99: ms(p99) })
    }

    pub(super) fn p99(self) -> f64 {
        self.p99
    }
}

/// The rate of one context.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct ContextRate {
    /// Name of the context.
    pub(super) context: &'static str,
    /// Its events a second in the last 5 s.
    pub(super) events_per_second: Option<f64>,
}

/// A way in.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct DoorVitals {
    /// Name of the door.
    pub(super) door: Door,
    /// Events a second that came in through it in the last 5 s, through any process.
    pub(super) events_per_second: Option<f64>,
    /// What this process knows besides; members that do not apply are missing.
    pub(super) detail: DoorDetail,
}

/// What this process knows of a door.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
pub(super) struct DoorDetail {
    /// Commands a second that this process answered over HTTP, in the last 5 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) commands_per_second: Option<f64>,
    /// Time that 99 of a hundred commands did not exceed, in milliseconds, in the last minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p99_ms: Option<f64>,
    /// Messages a second that the bridge of this process received, in the last 5 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) received_per_second: Option<f64>,
    /// Messages that the bridge of this process has not acknowledged yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unacknowledged: Option<u64>,
    /// Whether this process is connected to the server behind the door.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connected: Option<bool>,
}

/// What a consumer of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ConsumerKind)]
pub(super) enum Kind {
    /// Keeps a read model up to date.
    Projection,
    /// Sends commands that follow from events.
    ProcessManager,
    /// Judges readings by alert rules.
    Evaluator,
    /// Publishes alerts to devices over MQTT.
    Publisher,
    /// Publishes the log to NATS.
    Relay,
}

/// A consumer of the log.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct ConsumerVitals {
    /// Name of the consumer, as in `/api/v1/projections`.
    pub(super) name: String,
    /// What the consumer is.
    pub(super) kind: Kind,
    /// The contexts whose events it handles.
    pub(super) contexts: Vec<&'static str>,
    /// What the consumer is doing.
    pub(super) state: State,
    /// Checkpoint: every event up to this position has been handled.
    pub(super) position: i64,
    /// Number of events after the checkpoint.
    pub(super) events_behind: i64,
    /// Age in seconds of the first event after the checkpoint.
    pub(super) seconds_behind: f64,
    /// Events a second that the checkpoint moved past in the last five to ten seconds.
    pub(super) events_per_second: f64,
    /// Seconds since its last heartbeat; null if it never ran.
    pub(super) heartbeat_age_seconds: Option<f64>,
    /// Number of parked streams.
    pub(super) parked: i64,
    /// Why the consumer makes no progress; null if it does.
    pub(super) error: Option<String>,
    /// Position that a rebuild has reached; null if there is none.
    pub(super) rebuild_position: Option<i64>,
    /// Seconds until the rebuild reaches the head at its present rate; null if there is no rebuild that
    /// moves.
    pub(super) rebuild_seconds_left: Option<f64>,
}

/// The JetStream stream that the relay fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct RelayVitals {
    /// Position of the event in the last message; of the relay's last report, if that message is of
    /// another program.
    pub(super) position: i64,
    /// Sequence of the last message.
    pub(super) stream_sequence: u64,
    /// `stream_sequence - position`: 0 unless the stream was emptied or holds messages of other programs.
    /// Null if the last message carries no event.
    pub(super) offset: Option<i64>,
    /// Size of the stream in bytes.
    pub(super) stream_bytes: u64,
    /// Number of messages in the stream.
    pub(super) stream_messages: u64,
}

/// Counts of the MQTT bridge since this process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct BridgeVitals {
    /// Messages received.
    pub(super) received: u64,
    /// Messages committed as events.
    pub(super) appended: u64,
    /// Messages that the log had already.
    pub(super) duplicate: u64,
    /// Messages recorded as rejected.
    pub(super) rejected: u64,
    /// Messages received and not yet committed.
    pub(super) in_flight: u64,
}

/// Whether a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ServerConnection)]
pub(super) struct Connection {
    /// Whether the server answers this process.
    pub(super) connected: bool,
}

/// Refused messages.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = RejectionRate)]
pub(super) struct Rejected {
    /// Messages refused since midnight UTC, as the read model has them; null if they are more than
    /// 100,000.
    pub(super) today: Option<i64>,
    /// Messages refused a second in the last 5 s.
    pub(super) per_second: Option<f64>,
}

/// Rounds to three decimals, which suffice to show.
pub(super) fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
