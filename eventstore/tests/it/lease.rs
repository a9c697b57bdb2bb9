//! Leases have one owner at a time, and another after they expire or are released.

use std::time::Duration;

use sqlx::Connection;
use uuid::Uuid;

use crate::world::{Log, within_deadline};

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_lease_has_one_owner_until_it_expires_or_is_released() {
    let log = Log::new().await;
    let process = log.open();
    let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
    let take = async |owner, for_| process.store.take_lease("presence", owner, for_).await.unwrap();
    assert!(take(one, LONG).await);
    assert!(!take(other, LONG).await, "held");
    assert!(take(one, LONG).await, "extended");
    assert!(process.store.take_lease("alerts", other, LONG).await.unwrap(), "another name");

    process.store.release_lease("presence", other).await.unwrap();
    assert!(!take(other, LONG).await, "only its owner can release it");
    process.store.release_lease("presence", one).await.unwrap();
    assert!(take(other, LONG).await, "free");

    let mut connection = log.connect().await;
    sqlx::query("update log.lease set until = clock_timestamp() where name = 'presence'")
        .execute(&mut connection)
        .await
        .unwrap();
    assert!(take(one, LONG).await, "ended");
    assert!(!take(other, LONG).await, "the previous owner has lost it");
    connection.close().await.unwrap();
    process.stop().await;
}

#[tokio::test]
async fn of_many_concurrent_requests_for_a_lease_one_succeeds() {
    let log = Log::new().await;
    let process = log.open();
    let asking = (0..32).map(|_| {
        let store = process.store.clone();
        async move { store.take_lease("presence", Uuid::now_v7(), LONG).await.unwrap() }
    });
    let taken = within_deadline("all requests complete", futures::future::join_all(asking)).await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
    process.stop().await;
}

#[tokio::test]
async fn what_is_used_once_is_used_by_one_and_forgotten_later() {
    let log = Log::new().await;
    let process = log.open();
    let id = Uuid::now_v7();
    let using = (0..32).map(|_| {
        let store = process.store.clone();
        async move { store.use_once("ticket", id, LONG).await.unwrap() }
    });
    let used = within_deadline("all requests complete", futures::future::join_all(using)).await;
    assert_eq!(used.iter().filter(|used| **used).count(), 1);
    assert!(process.store.use_once("ticket", Uuid::now_v7(), Duration::ZERO).await.unwrap());
    assert!(process.store.use_once("voucher", id, LONG).await.unwrap(), "another kind");
    assert!(process.store.take_lease("ticket", id, Duration::ZERO).await.unwrap(), "a lease");
    assert!(process.store.use_once("ticket", Uuid::now_v7(), LONG).await.unwrap());
    let mut connection = log.connect().await;
    let sql = "select count(*) from log.lease where name ^@ 'ticket '";
    let left: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    assert_eq!(left, 2, "the one whose time is over is forgotten");
    connection.close().await.unwrap();
    process.stop().await;
}
