//! Follows the events of one context, each exactly once and in order, over restarts, lost messages
//! and a bus that was wiped: `subscribe CONTEXT FILE [PREFIX]`. A line an event goes to FILE; the last
//! line says where to go on, so what was done and how far are written together. With the PREFIX of a
//! replay it follows that instead, out of a stream of this name in capitals. docs/subscribe.md
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example for the terminal")]
#![allow(clippy::disallowed_methods, reason = "it is configured by nothing but its environment")]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::{ConnectOptions, ServerAddr};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use uuid::Uuid;

/// The clocks of the log and of the bus may differ by this much. If they differ by more, what is
/// missed is a gap, and read from the log.
const SKEW: TimeDelta = TimeDelta::minutes(1);

struct Subscriber {
    context: String,
    /// Subjects begin with it.
    prefix: String,
    file: File,
    /// Position of the last event that was dealt with.
    last: i64,
    /// When it was recorded; none before the first.
    time: Option<DateTime<Utc>>,
    http: reqwest::Client,
    log: String,
    token: String,
}

impl Subscriber {
    fn resume(context: &str, path: &str, prefix: &str) -> Result<Self> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A line that was being written when we were killed never was.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        let (mut last, mut time) = (0, None);
        if let Some(line) = text[..whole].lines().last() {
            let words: Vec<_> = line.split(' ').collect();
            last = words[0].parse()?;
            time = Some(words.last().context("a time")?.parse()?);
        }
        Ok(Self {
            context: context.to_owned(),
            prefix: prefix.to_owned(),
            file,
            last,
            time,
            http: reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?,
            log: format!("{}/api/v1/events", std::env::var("TRIBUTARY_URL")?),
            token: std::env::var("TRIBUTARY_TOKEN")?,
        })
    }

    /// What there is to do for an event, here: a line. With a database: your change and `last`, in
    /// one transaction.
    fn deal_with(&mut self, position: i64, kind: &str, stream: &str, time: &str) -> Result<()> {
        let line = format!("{position} {kind} {stream} {time}\n");
        self.file.write_all(line.as_bytes())?;
        print!("{line}");
        self.last = position;
        self.time = Some(time.parse()?);
        Ok(())
    }

    /// Reads from the bus until something is wrong with it.
    async fn follow(&mut self, jetstream: &jetstream::Context) -> Result<()> {
        let deliver_policy = match self.time {
            Some(time) => DeliverPolicy::ByStartTime { start_time: time - SKEW },
            None => DeliverPolicy::All,
        };
        let config = pull::Config {
            // With a name, permissions can be about the filter.
            name: Some(Uuid::now_v7().to_string()),
            filter_subject: format!("{}.{}.>", self.prefix, self.context),
            ack_policy: AckPolicy::None, // How far we are, we know ourselves.
            deliver_policy,
            ..Default::default()
        };
        let stream = jetstream.get_stream(self.prefix.to_uppercase()).await?;
        let mut consumer = stream.create_consumer(config).await?;
        loop {
            let batch = consumer.batch().max_messages(100).expires(Duration::from_secs(2));
            let mut messages = batch.messages().await?;
            let mut any = false;
            while let Some(message) = messages.next().await {
                self.receive(&message.map_err(anyhow::Error::from_boxed)?).await?;
                any = true;
            }
            if !any {
                consumer.info().await?; // Silence: is it still there?
            }
        }
    }

    async fn receive(&mut self, message: &jetstream::Message) -> Result<()> {
        // A message without this header is not from Tributary's relay.
        let from_the_relay = |headers: &&HeaderMap| headers.get("Tributary-Deployment").is_some();
        let Some(headers) = message.headers.as_ref().filter(from_the_relay) else {
            return Ok(());
        };
        let text = |name: &str| headers.get(name).map_or("", |value| value.as_str());
        let position = text("Tributary-Position").parse()?;
        // A replay leaves out what was not asked for, and so does not say.
        let previous: i64 = text("Tributary-Previous").parse().unwrap_or_default();
        if position <= self.last {
            return Ok(()); // It came before.
        }
        if previous > self.last {
            eprintln!("gap: {previous} comes after {}", self.last);
            return self.read_log(position).await;
        }
        if text("Tributary-Body") == "omitted" {
            return self.read_log(position).await; // Too large for a message.
        }
        // The data of the event is in `message.payload`.
        let decoded = |name| percent_decode_str(text(name)).decode_utf8();
        self.deal_with(position, &decoded("ce-type")?, &decoded("ce-subject")?, text("ce-time"))
    }

    /// Reads the log itself up to `position`.
    async fn read_log(&mut self, position: i64) -> Result<()> {
        while self.last < position {
            let after = self.last.to_string();
            let query = [("after", after.as_str()), ("context", &self.context), ("limit", "500")];
            let asked = self.http.get(&self.log).bearer_auth(&self.token).query(&query);
            let page: Value = asked.send().await?.error_for_status()?.json().await?;
            let events = page["items"].as_array().filter(|events| !events.is_empty());
            for event in events.context("the log ends before the message")? {
                let text = |name: &str| event[name].as_str().with_context(|| name.to_owned());
                let at = event["position"].as_i64().context("position")?;
                self.deal_with(at, text("type")?, text("stream_id")?, text("recorded_at")?)?;
            }
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // For reqwest with its feature `rustls-no-provider`; with `rustls`, it has a provider of its own.
    drop(rustls::crypto::ring::default_provider().install_default());
    let args: Vec<_> = std::env::args().skip(1).collect();
    let mut subscriber = match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [context, file] => Subscriber::resume(context, file, "events")?,
        [context, file, prefix] => Subscriber::resume(context, file, prefix)?,
        _ => anyhow::bail!("subscribe CONTEXT FILE [PREFIX]"),
    };
    let server: ServerAddr = std::env::var("NATS_URL")?.parse()?;
    let mut options = ConnectOptions::new().retry_on_initial_connect();
    if let (Some(user), Some(password)) = (server.username(), server.password()) {
        // The account may receive on inboxes of its own only.
        options = options
            .user_and_password(user.to_owned(), password.to_owned())
            .custom_inbox_prefix(format!("_INBOX.{user}"));
    }
    let client = options.connect(server).await?;
    let jetstream = jetstream::new(client);
    loop {
        if let Err(error) = subscriber.follow(&jetstream).await {
            eprintln!("again in a second: {error:#}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
