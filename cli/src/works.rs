//! `tributary works`: list, show and demand works, over HTTP and over NATS.

use std::time::Duration;

use anyhow::{Context, anyhow};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, Context as JetStream, message::PublishMessage};
use serde_json::json;
use uuid::Uuid;

use super::outcome::Failure;
use super::output;
use super::rows::{Common, Listing};
use super::signals::Signals;
use gateway::config::{Bus, Span};
use gateway::nats::intake;

const PATH: &str = "/api/v1/works";
/// Columns of the table.
const COLUMNS: [&str; 6] = ["id", "work_code", "add_up_to", "status", "result", "attempts"];

/// Attempts to publish a demand to a stream that does not exist yet, and the pause between two.
const ATTEMPTS: usize = 25;
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List works, newest first
    List(List),
    /// Show a work
    Show(Show),
    /// Demand a work over HTTP
    #[command(visible_alias = "create")]
    Demand(Demand),
    /// Demand works over NATS, at a fixed interval
    Produce(Produce),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// List only works with this status
    #[arg(long)]
    status: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// Work id
    id: Uuid,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Demand {
    /// Add up the numbers from 0 to NUMBER; without it the server draws one at random
    #[arg(long, value_name = "NUMBER")]
    add_up_to: Option<u32>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(super) struct Produce {
    /// Time between two demands, with a unit: 500ms, 5s, 1m
    #[arg(long, value_name = "TIME", default_value = "5s")]
    every: Span,
    /// Stop after COUNT demands; without it, at Ctrl-C
    #[arg(long)]
    count: Option<u64>,
    /// Add up the numbers from 0 to NUMBER; without it each demand has a random one
    #[arg(long, value_name = "NUMBER")]
    add_up_to: Option<u32>,
    #[command(flatten)]
    bus: Bus,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(List { status, listing }) => {
            listing.show(PATH, &[("status", status)], &COLUMNS).await
        }
        Command::Show(Show { id, common }) => common.show(&format!("{PATH}/{id}"), &COLUMNS).await,
        Command::Demand(Demand { add_up_to, common }) => {
            let body = add_up_to.map_or_else(|| json!({}), |to| json!({"add_up_to": to}));
            common.create(PATH, &body, &COLUMNS).await
        }
        Command::Produce(args) => produce(args).await,
    }
}

/// Publishes one demand per interval and prints it once JetStream has acknowledged it.
async fn produce(args: Produce) -> Result<(), Failure> {
    let (servers, options) =
        eventstore::connect_options(&args.bus.access()?).map_err(anyhow::Error::from)?;
    let client = options.connect(servers).await.map_err(|error| {
        Failure::not_reachable(anyhow!(eventstore::connection_failure(&error.to_string())))
    })?;
    let jetstream = jetstream::new(client);
    let mut signals = Signals::register()?;
    let mut ticks = tokio::time::interval(args.every.0.max(Duration::from_millis(1)));
    let mut sent = 0;
    while args.count.is_none_or(|count| sent < count) {
        tokio::select! {
            _ = ticks.tick() => {}
            () = signals.next() => break,
        }
        let add_up_to = args.add_up_to.unwrap_or_else(rand::random);
        let body = json!({"add_up_to": add_up_to, "done": false}).to_string();
        let id = Uuid::now_v7().to_string();
        publish(&jetstream, &id, &body).await.context(
            "cannot publish a demand to NATS: check that a worker runs, which creates the stream \
             COMMANDS, and that the account may publish `commands.>`",
        )?;
        output::line(&format!("{id} {body}"))?;
        sent += 1;
    }
    Ok(())
}

/// Publishes one demand and waits for its acknowledgement. Waits for the stream, too, which a worker
/// creates when it starts.
pub(super) async fn publish(
    jetstream: &JetStream,
    id: &str,
    body: &str,
) -> Result<(), PublishError> {
    let mut attempts = 1;
    loop {
        let message = PublishMessage::build().message_id(id).payload(body.to_owned().into());
        match jetstream.send_publish(intake::SUBJECT, message).await?.await {
            Err(error)
                if error.kind() == PublishErrorKind::StreamNotFound && attempts < ATTEMPTS =>
            {
                attempts += 1;
                tokio::time::sleep(PAUSE).await;
            }
            published => return published.map(drop),
        }
    }
}
