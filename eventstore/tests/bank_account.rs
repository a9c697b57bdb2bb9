//! Runs the example `bank_account` on a private Postgres.

use devservers::testing::shared_postgres;

#[path = "../examples/bank_account.rs"]
#[allow(dead_code, reason = "main is for `cargo run`")]
mod bank_account;

#[tokio::test]
async fn the_example_runs_on_an_empty_database() {
    let server = shared_postgres().await.unwrap();
    server.create_database("bank").await.unwrap();
    let database = server.url("bank", "postgres").parse().unwrap();
    let cents = bank_account::run(database).await.unwrap();
    assert_eq!(cents, 7_000);
}
