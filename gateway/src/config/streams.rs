//! Options of the JetStream streams.

use clap::Args;
use eventstore::BusOptions;
use serde::Serialize;
use uuid::Uuid;

use super::Span;

/// The streams `EVENTS`, which the relay fills, and `COMMANDS`, which the worker empties.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "NATS streams")]
pub struct Streams {
    /// Age after which messages of the stream `EVENTS` are removed, with a unit; 0s is no limit.
    /// Without the option the stream keeps its setting; a new one has no limit
    #[arg(long, env = "NATS_MAX_AGE", value_name = "TIME")]
    pub nats_max_age: Option<Span>,
    /// Size of the stream `EVENTS` in bytes, beyond which the oldest messages are removed; 0 is no
    /// limit. Without the option the stream keeps its setting; a new one has no limit
    #[arg(long, env = "NATS_MAX_BYTES", value_name = "BYTES",
          value_parser = clap::value_parser!(i64).range(0..))]
    pub nats_max_bytes: Option<i64>,
    /// Age after which demands in the stream `COMMANDS` are removed unread, with a unit; 0s is no
    /// limit
    #[arg(long, env = "NATS_COMMANDS_MAX_AGE", value_name = "TIME", default_value = "7d")]
    pub nats_commands_max_age: Span,
    /// Size of the stream `COMMANDS` in bytes, beyond which NATS refuses further demands; 0 is no
    /// limit
    #[arg(long, env = "NATS_COMMANDS_MAX_BYTES", value_name = "BYTES", default_value_t = 1 << 30,
          value_parser = clap::value_parser!(i64).range(0..))]
    pub nats_commands_max_bytes: i64,
    /// Number of servers of a NATS cluster that store each message of both streams, 1 to 5. Without
    /// the option the streams keep their setting; a new one has 1
    #[arg(long, env = "NATS_REPLICAS", value_name = "COUNT",
          value_parser = clap::value_parser!(u8).range(1..=5))]
    pub nats_replicas: Option<u8>,
    /// Id of the deployment whose streams this one takes over: `EVENTS` is emptied and filled from
    /// this log, `COMMANDS` is kept. Without the option, streams of another deployment are refused
    #[arg(long, env = "NATS_TAKE_OVER", value_name = "DEPLOYMENT")]
    pub nats_take_over: Option<Uuid>,
}

impl Streams {
    /// Returns the options of the stream `EVENTS`.
    pub(crate) fn events(&self) -> BusOptions {
        BusOptions {
            replicas: self.nats_replicas.map(usize::from),
            max_bytes: self.nats_max_bytes,
            max_age: self.nats_max_age.map(|age| age.0),
            take_over: self.nats_take_over,
        }
    }
}
