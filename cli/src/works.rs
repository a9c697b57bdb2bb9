//! `tributary works`: demand works and look at them.

use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream::{self, message::PublishMessage};
use serde_json::json;
use uuid::Uuid;

use super::client::Client;
use super::outcome::Failure;
use super::signals::Signals;
use super::{output, rows};
use gateway::config::{Bus, Server, Span};
use gateway::nats::intake;

/// What a table shows of a work.
const COLUMNS: [&str; 6] = ["id", "work_code", "add_up_to", "status", "result", "attempts"];

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List works, newest first
    List(List),
    /// Show one work
    Show(Show),
    /// Demand a work
    Create(Create),
    /// Demand works over the bus, on a schedule
    Produce(Produce),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only those of this status
    #[arg(long)]
    status: Option<String>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    id: Uuid,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// The numbers from 0 to this one are added up; drawn at random if left out
    #[arg(long)]
    add_up_to: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(super) struct Produce {
    /// Time between two demands
    #[arg(long, value_name = "TIME", default_value = "5s")]
    every: Span,
    /// How many; without end if left out
    #[arg(long)]
    count: Option<u64>,
    /// The numbers from 0 to this one are added up; drawn at random if left out
    #[arg(long)]
    add_up_to: Option<u32>,
    #[command(flatten)]
    bus: Bus,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => list(args).await,
        Command::Show(args) => {
            let path = format!("/api/v1/works/{}", args.id);
            let work = Client::new(args.server)?.get(&path, &()).await?;
            rows::show_one(work, &COLUMNS, args.json)
        }
        Command::Create(args) => {
            let body = args.add_up_to.map_or_else(|| json!({}), |to| json!({"add_up_to": to}));
            let work = Client::new(args.server)?.post("/api/v1/works", &body).await?;
            rows::show_one(work, &COLUMNS, args.json)
        }
        Command::Produce(args) => produce(args).await,
    }
}

async fn list(args: List) -> Result<(), Failure> {
    let query = [("status", args.status), ("limit", Some(args.limit.to_string()))];
    let given: Vec<_> = query.iter().filter(|(_, value)| value.is_some()).collect();
    let page = Client::new(args.server)?.get("/api/v1/works", &given).await?;
    rows::show_page(&page, &COLUMNS, args.json)
}

/// Publishes a demand at each tick, and says so once the bus has it.
async fn produce(args: Produce) -> Result<(), Failure> {
    let servers: Vec<&str> = args.bus.nats_url.expose().split(',').collect();
    let client = async_nats::connect(servers).await.map_err(Failure::not_reachable)?;
    let jetstream = jetstream::new(client);
    intake::ensure_stream(&jetstream).await?;
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
        let message = PublishMessage::build().message_id(&id).payload(body.clone().into());
        let published = jetstream.send_publish(intake::SUBJECT, message).await;
        published
            .context("a demand was not sent")?
            .await
            .context("a demand was not taken by the bus")?;
        output::line(&format!("{id} {body}"));
        sent += 1;
    }
    Ok(())
}
