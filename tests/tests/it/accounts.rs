//! The accounts of NATS in `deploy/nats/tributary.conf`: what each may do, and that it suffices.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use async_nats::{Client, Event, ServerError};
use devservers::{Nats, nats, testing};
use futures::StreamExt;
use serde_json::json;
use tests::{DEADLINE, Process, System, eventually};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// An account, and the subjects of [`PUBLISH`] and [`SUBSCRIBE`] that it may use.
struct Account {
    name: &'static str,
    publish: &'static [&'static [&'static str]],
    subscribe: &'static [&'static [&'static str]],
}

/// Subjects that each account tries to publish to.
const PUBLISH: [&str; 28] = [
    "events.telemetry.device.x.reading_recorded",
    "commands.works.demand",
    "again.works.work.x.work_demanded",
    "log.head",
    "other",
    "_INBOX.relay.x",
    "$JS.ACK.COMMANDS.works-demand.1.1.1.1.0",
    "$JS.API.INFO",
    "$JS.API.STREAM.CREATE.OTHER",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.INFO.EVENTS",
    "$JS.API.STREAM.CREATE.EVENTS",
    "$JS.API.STREAM.PURGE.EVENTS",
    "$JS.API.STREAM.DELETE.EVENTS",
    "$JS.API.STREAM.MSG.GET.EVENTS",
    "$JS.API.STREAM.MSG.DELETE.EVENTS",
    "$JS.API.DIRECT.GET.EVENTS",
    "$JS.API.CONSUMER.CREATE.EVENTS",
    "$JS.API.CONSUMER.CREATE.EVENTS.c",
    "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.c",
    "$JS.API.CONSUMER.CREATE.EVENTS.c.events.works.>",
    "$JS.API.CONSUMER.CREATE.EVENTS.c.events.users.>",
    "$JS.API.CONSUMER.CREATE.EVENTS.c.events.>",
    "$JS.API.CONSUMER.DELETE.EVENTS.c",
    "$JS.API.CONSUMER.MSG.NEXT.EVENTS.c",
    "$JS.API.STREAM.CREATE.COMMANDS",
    "$JS.API.CONSUMER.CREATE.COMMANDS.works-demand.commands.works.demand",
    "$JS.API.CONSUMER.MSG.NEXT.COMMANDS.works-demand",
];
/// Subjects that each account tries to subscribe to.
const SUBSCRIBE: [&str; 12] = [
    "events.>",
    "events.works.>",
    "events.users.>",
    "again.>",
    "commands.>",
    "log.head",
    ">",
    "$JS.API.>",
    "_INBOX.>",
    "_INBOX.relay.x",
    "_INBOX.subscriber.x",
    "_INBOX.producer.x",
];

/// What every process of Tributary may do.
const HEAD: &[&str] = &["log.head"];
const PUBLISH_EVENTS: &[&str] = &[
    "events.telemetry.device.x.reading_recorded",
    "$JS.API.STREAM.INFO.EVENTS",
    "$JS.API.STREAM.CREATE.EVENTS",
    "$JS.API.STREAM.PURGE.EVENTS",
    "$JS.API.STREAM.MSG.GET.EVENTS",
    "$JS.API.CONSUMER.CREATE.EVENTS.c",
    "$JS.API.CONSUMER.MSG.NEXT.EVENTS.c",
];
const CONSUME_COMMANDS: &[&str] = &[
    "$JS.ACK.COMMANDS.works-demand.1.1.1.1.0",
    "$JS.API.STREAM.CREATE.COMMANDS",
    "$JS.API.CONSUMER.CREATE.COMMANDS.works-demand.commands.works.demand",
    "$JS.API.CONSUMER.MSG.NEXT.COMMANDS.works-demand",
];
const SUBSCRIBER: &[&str] = &[
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.EVENTS",
    "$JS.API.CONSUMER.CREATE.EVENTS.c.events.works.>",
    "$JS.API.CONSUMER.MSG.NEXT.EVENTS.c",
];
const COMMAND_LINE: &[&str] = &["commands.works.demand", "again.works.work.x.work_demanded"];

const ACCOUNTS: [Account; 6] = [
    Account {
        name: "tributary",
        publish: &[HEAD, PUBLISH_EVENTS, CONSUME_COMMANDS, COMMAND_LINE],
        subscribe: &[HEAD],
    },
    Account {
        name: "relay",
        publish: &[HEAD, PUBLISH_EVENTS],
        subscribe: &[HEAD, &["_INBOX.relay.x"]],
    },
    Account { name: "worker", publish: &[HEAD, CONSUME_COMMANDS], subscribe: &[HEAD] },
    Account { name: "gateway", publish: &[HEAD], subscribe: &[HEAD] },
    Account {
        name: "subscriber",
        publish: &[SUBSCRIBER],
        subscribe: &[&["events.>", "events.works.>", "again.>", "log.head", "_INBOX.subscriber.x"]],
    },
    Account {
        name: "producer",
        publish: &[&["commands.works.demand"]],
        subscribe: &[&["_INBOX.producer.x"]],
    },
];
/// No account but the administrator's may publish here.
const SENTINEL: &str = "sentinel";

type Violations = mpsc::UnboundedReceiver<String>;

/// Connects, and collects what the server refuses.
async fn connect(url: &str) -> Result<(Client, Violations)> {
    let (sender, violations) = mpsc::unbounded_channel();
    let (servers, options) = eventstore::connect_options(&url.into())?;
    let options = options.event_callback(move |event| {
        if let Event::ServerError(ServerError::Other(error)) = event {
            drop(sender.send(error));
        }
        std::future::ready(())
    });
    Ok((options.connect(servers).await?, violations))
}

/// Returns the quoted subjects of the violations up to that of [`SENTINEL`]: the server answers in
/// the order of the requests.
async fn violated(client: &Client, violations: &mut Violations) -> Result<BTreeSet<String>> {
    client.publish(SENTINEL, "".into()).await?;
    let mut subjects = BTreeSet::new();
    loop {
        let error =
            timeout(DEADLINE, violations.recv()).await?.context("the connection is open")?;
        let subject = error.split('"').nth(1).with_context(|| error.clone())?.to_owned();
        if subject == SENTINEL {
            return Ok(subjects);
        }
        subjects.insert(subject);
    }
}

fn others(all: &[&str], permitted: &[&[&str]]) -> BTreeSet<String> {
    let permitted = permitted.concat();
    let refused = all.iter().filter(|subject| !permitted.contains(subject));
    refused.map(|&subject| subject.to_owned()).collect()
}

#[tokio::test]
async fn each_account_may_do_what_is_listed_and_nothing_else() -> Result<()> {
    let directory = testing::directory("accounts")?;
    let options = nats::Options { anonymous_admin: false, ..testing::nats_options() };
    let nats = Nats::start(&directory, options).await?;
    for account in &ACCOUNTS {
        let (client, mut violations) = connect(&nats.url_as(account.name)).await?;
        for subject in PUBLISH {
            client.publish(subject, "".into()).await?;
        }
        let refused = violated(&client, &mut violations).await?;
        assert_eq!(refused, others(&PUBLISH, account.publish), "{}: publish", account.name);
        let mut subscriptions = Vec::new();
        for subject in SUBSCRIBE {
            subscriptions.push(client.subscribe(subject).await?);
        }
        let refused = violated(&client, &mut violations).await?;
        assert_eq!(refused, others(&SUBSCRIBE, account.subscribe), "{}: subscribe", account.name);
    }
    let known: Vec<_> = ACCOUNTS.iter().map(|account| account.name).collect();
    let unknown: Vec<_> = nats::ACCOUNTS.iter().filter(|name| !known.contains(name)).collect();
    assert_eq!(unknown, [&"admin"], "accounts that this test does not know");

    let port = nats.port();
    for url in [
        nats.url(),
        format!("nats://relay:wrong@127.0.0.1:{port}"),
        format!("nats://other:other@127.0.0.1:{port}"),
    ] {
        assert!(connect(&url).await.is_err(), "{url}");
    }
    Ok(())
}

#[tokio::test]
async fn a_subscriber_receives_no_event_of_users() -> Result<()> {
    let nats = testing::start_nats().await?;
    let (subscriber, mut violations) = connect(&nats.url_as("subscriber")).await?;
    let mut events = subscriber.subscribe("events.>").await?;
    assert!(violated(&subscriber, &mut violations).await?.is_empty());
    let (admin, _) = connect(&nats.url()).await?;
    for subject in ["events.users.user.x.user_registered", "events.works.work.x.work_demanded"] {
        admin.publish(subject, "{}".into()).await?;
    }
    let first = timeout(DEADLINE, events.next()).await?.context("an event")?;
    assert_eq!(first.subject.as_str(), "events.works.work.x.work_demanded");
    Ok(())
}

#[tokio::test]
async fn each_role_works_with_its_own_account() -> Result<()> {
    let system = System::start().await?;
    let account = |name| system.nats.url_as(name);
    let start = async |roles: &[&str], name| -> Result<Process> {
        system.serve_with(roles, &[("NATS_URL", &account(name))]).await
    };
    let processes = [
        start(&["http", "projector"], "gateway").await?,
        start(&["relay"], "relay").await?,
        start(&["worker"], "worker").await?,
    ];
    let (subscriber, _) = connect(&account("subscriber")).await?;
    let mut events = subscriber.subscribe("events.works.>").await?;
    subscriber.flush().await?;
    let produced = tokio::process::Command::new(tests::tributary())
        .args(["works", "produce", "--every", "1ms", "--count", "2", "--add-up-to", "4"])
        .env("NATS_URL", account("producer"))
        .output()
        .await?;
    ensure!(produced.status.success(), "{}", String::from_utf8_lossy(&produced.stderr));
    eventually("both works are done", async || {
        Ok(system.number("select count(*) from works.work where done").await? == 2)
    })
    .await?;
    let mut completed = 0;
    while completed < 2 {
        let event = timeout(DEADLINE, events.next()).await?.context("an event")?;
        completed += usize::from(event.subject.ends_with(".work_completed"));
    }
    for process in processes {
        let log = process.log();
        ensure!(!log.to_lowercase().contains("violation"), "{log}");
        let lacking = "NATS intake failed";
        ensure!(!log.contains(lacking) && !log.contains("relay failed"), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn events_that_arrive_as_commands_are_not_recorded() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&[]).await?;
    for add_up_to in 0..3 {
        let demand = system.post("/api/v1/works", &json!({"add_up_to": add_up_to})).send().await?;
        demand.error_for_status()?;
    }
    let (admin, _) = connect(&system.nats.url()).await?;
    let jetstream = async_nats::jetstream::new(admin);
    eventually("both streams exist and hold the events", async || {
        let (events, commands) =
            (jetstream.get_stream("EVENTS").await, jetstream.get_stream("COMMANDS").await);
        let messages = events.map_or(0, |events| events.cached_info().state.messages);
        Ok(commands.is_ok() && messages >= 3)
    })
    .await?;
    // The server delivers what a subscriber's consumer matches to any subject, with its headers.
    let (producer, _) = connect(&system.nats.url_as("producer")).await?;
    for position in ["1", "2", "3"] {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Tributary-Position", position);
        producer.publish_with_headers("commands.works.demand", headers, "{}".into()).await?;
    }
    producer.flush().await?;
    eventually("the intake has terminated the events", async || {
        let metrics = system.get("/metrics").send().await?.text().await?;
        let foreign = r#"tributary_works_demands_total{outcome="foreign"} "#;
        let count = metrics.lines().find_map(|line| line.strip_prefix(foreign)?.parse().ok());
        Ok(count.unwrap_or(0) >= 3)
    })
    .await?;
    let rejected = system.json("/api/v1/events?type=message_rejected").await?;
    assert_eq!(rejected["items"], json!([]));
    Ok(())
}
