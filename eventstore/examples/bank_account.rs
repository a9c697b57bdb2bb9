//! A bank account on the event store: appends with an expected version, meets a conflict, reads the
//! stream, and follows the log with a checkpoint.
//!
//! Needs an empty database and a role that owns it and may create roles:
//! `DATABASE_URL=postgres://postgres@localhost/bank cargo run -p eventstore --example bank_account`

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example prints, and reads its one option from the environment"
)]

use std::error::Error;

use eventsourcing::{Position, StreamId, Version};
use eventstore::{
    Append, AppendError, Appended, Checkpoint, EventStore, ExpectedVersion, Feed, Filter, NewEvent,
    Tasks,
};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Category of the streams; an account's stream is `account-{id}`.
const CATEGORY: &str = "account";
/// Name of the consumer, under which its checkpoint is stored.
const CONSUMER: &str = "balances";

/// The events of an account. The store splits the tagged form into type and data.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
enum Event {
    AccountOpened { owner: String },
    MoneyDeposited { cents: i64 },
    MoneyWithdrawn { cents: i64 },
}

impl eventsourcing::Event for Event {
    /// Every event type with its schema version.
    const TYPES: &'static [(&'static str, i16)] =
        &[("account_opened", 1), ("money_deposited", 1), ("money_withdrawn", 1)];
}

impl Event {
    /// Returns the change of the balance in cents.
    fn change(&self) -> i64 {
        match self {
            Self::AccountOpened { .. } => 0,
            Self::MoneyDeposited { cents } => *cents,
            Self::MoneyWithdrawn { cents } => -cents,
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL")?;
    run(url.parse()?).await?;
    Ok(())
}

/// Runs the example and returns the balance that the consumer stored, in cents.
pub(crate) async fn run(database: PgConnectOptions) -> Result<i64, Box<dyn Error>> {
    let mut connection = PgConnection::connect_with(&database).await?;
    eventstore::migrate(&mut connection).await?;
    sqlx::query("create table if not exists balance (account text primary key, cents bigint)")
        .execute(&mut connection)
        .await?;
    connection.close().await?;

    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let store = EventStore::open(eventstore::pool(database, 4), &tasks, shutdown.clone());

    // Two events in one request: both are appended, or neither.
    let account = StreamId::new(CATEGORY, Uuid::now_v7());
    let opened = Event::AccountOpened { owner: "Ada".to_owned() };
    let deposited = Event::MoneyDeposited { cents: 10_000 };
    append(&store, &account, ExpectedVersion::NoStream, &[opened, deposited]).await?;

    // A decision rests on the version it was made from.
    let (balance, version) = load(&store, &account).await?;
    let expected = ExpectedVersion::Exact(version);
    println!("{account} is at version {version} with {balance} cents");
    let position = append(&store, &account, expected, &[withdraw(balance, 3_000)?]).await?;
    println!("a withdrawal was appended at position {position}");

    // A second decision from the same version is refused. Load, decide and append again.
    match append(&store, &account, expected, &[withdraw(balance, 8_000)?]).await {
        Err(error @ AppendError::Conflict { .. }) => println!("{error}"),
        Err(error) => return Err(error.into()),
        Ok(position) => return Err(format!("no conflict at position {position}").into()),
    }
    let (balance, _) = load(&store, &account).await?;
    if let Err(refusal) = withdraw(balance, 8_000) {
        println!("the second withdrawal is refused: {refusal}");
    }

    // A consumer keeps a table of balances.
    let feed = Feed::start(&store, None, &tasks, shutdown.clone());
    follow(&store, &feed, position).await?;
    let cents = sqlx::query_scalar("select cents from balance where account = $1")
        .bind(account.as_str())
        .fetch_one(store.pool())
        .await?;
    println!("the consumer stored a balance of {cents} cents");

    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(cents)
}

/// Decides on a withdrawal.
fn withdraw(balance: i64, cents: i64) -> Result<Event, String> {
    if cents > balance {
        return Err(format!("the balance is {balance} cents"));
    }
    Ok(Event::MoneyWithdrawn { cents })
}

/// Appends events and returns the position of the last one.
async fn append(
    store: &EventStore,
    account: &StreamId,
    expected: ExpectedVersion,
    events: &[Event],
) -> Result<Position, AppendError> {
    let events = events.iter().map(NewEvent::new).collect::<Result<_, _>>()?;
    match store.append(Append::to(account.clone(), expected, events)).await? {
        Appended::New { position, .. } | Appended::Duplicate { position } => Ok(position),
        Appended::Replayed(receipt) => Ok(receipt.position),
    }
}

/// Folds the events of an account into its balance in cents, and returns it with the version.
async fn load(store: &EventStore, account: &StreamId) -> Result<(i64, Version), Box<dyn Error>> {
    let (mut balance, mut version) = (0, Version::NONE);
    loop {
        let page = store.read_stream(account, version, 100).await?;
        let Some(last) = page.last() else {
            return Ok((balance, version));
        };
        version = last.version;
        for event in &page {
            balance += event.event::<Event>()?.change();
        }
    }
}

/// Follows the log from the consumer's checkpoint up to `until`, and stores the balances.
///
/// The balances and the checkpoint commit together, so that each event counts once.
async fn follow(store: &EventStore, feed: &Feed, until: Position) -> Result<(), Box<dyn Error>> {
    let mut position = store.start_consumer(CONSUMER).await?.position;
    let mut subscription = feed.subscribe(position, Filter::categories(&[CATEGORY]));
    while position < until {
        let batch = subscription.next(100).await?;
        let mut transaction = store.pool().begin().await?;
        for event in &batch.events {
            sqlx::query(
                "insert into balance (account, cents) values ($1, $2)
                 on conflict (account) do update set cents = balance.cents + excluded.cents",
            )
            .bind(event.stream.as_str())
            .bind(event.event::<Event>()?.change())
            .execute(&mut *transaction)
            .await?;
        }
        let recorded_at = batch.events.last().map(|event| event.recorded_at);
        let (from, to) = (position, batch.through);
        if !Checkpoint::advance(&mut transaction, CONSUMER, from, to, recorded_at).await? {
            return Err("another process moved the checkpoint; start again from there".into());
        }
        transaction.commit().await?;
        position = batch.through;
    }
    Ok(())
}
