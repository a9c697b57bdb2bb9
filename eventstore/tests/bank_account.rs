//! Runs the example `bank_account` on a private Postgres.

use devservers::{Postgres, postgres};

#[path = "../examples/bank_account.rs"]
#[allow(dead_code, reason = "main is for `cargo run`")]
mod bank_account;

#[tokio::test]
async fn the_example_runs_on_an_empty_database() {
    let directory = std::env::temp_dir().join(format!("bank-account-{}", uuid::Uuid::now_v7()));
    let options = postgres::Options { durable: false, ..postgres::Options::default() };
    let server = Postgres::start(&directory, options).await.unwrap();
    server.create_database("bank").await.unwrap();
    let database = server.url("bank", "postgres").parse().unwrap();
    let cents = bank_account::run(database).await.unwrap();
    let directory = server.directory().to_owned();
    server.stop().await;
    std::fs::remove_dir_all(directory).unwrap();
    assert_eq!(cents, 7_000);
}
