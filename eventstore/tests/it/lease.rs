//! Leases: one owner at a time, and another when it is gone.

use std::time::Duration;

use sqlx::Connection;
use uuid::Uuid;

use crate::world::{Log, soon};

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_lease_has_one_owner_until_it_ends_or_is_released() {
    let log = Log::new().await;
    let process = log.open();
    let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
    let take = async |owner, for_| process.store.take_lease("presence", owner, for_).await.unwrap();
    assert!(take(one, LONG).await);
    assert!(!take(other, LONG).await, "held");
    assert!(take(one, LONG).await, "extended");
    assert!(process.store.take_lease("alerts", other, LONG).await.unwrap(), "another name");

    process.store.release_lease("presence", other).await.unwrap();
    assert!(!take(other, LONG).await, "only its owner can let go of it");
    process.store.release_lease("presence", one).await.unwrap();
    assert!(take(other, LONG).await, "free");

    let mut connection = log.connect().await;
    sqlx::query("update log.lease set until = clock_timestamp() where name = 'presence'")
        .execute(&mut connection)
        .await
        .unwrap();
    assert!(take(one, LONG).await, "ended");
    assert!(!take(other, LONG).await, "whoever had it does not have it any more");
    connection.close().await.unwrap();
    process.stop().await;
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_gets_it() {
    let log = Log::new().await;
    let process = log.open();
    let asking = (0..32).map(|_| {
        let store = process.store.clone();
        async move { store.take_lease("presence", Uuid::now_v7(), LONG).await.unwrap() }
    });
    let taken = soon("all are answered", futures::future::join_all(asking)).await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
    process.stop().await;
}
