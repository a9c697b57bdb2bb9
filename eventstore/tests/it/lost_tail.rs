//! A log that has lost events which were published: a standby without them was promoted.

use std::time::Duration;

use eventsourcing::Position;
use eventstore::Bus;
use tokio::time::sleep;

use crate::relay::{everything, header};
use crate::world::{Log, reaches, start_nats, within_deadline};

/// Truncates the log to `position`, as the promotion of a standby that has no more does.
async fn lose_tail(log: &Log, position: i64) {
    let sql = format!(
        "begin;
         delete from log.event where position > {position};
         update log.head set position = {position},
           hash = (select hash from log.event where position = {position});
         commit"
    );
    sqlx::raw_sql(&sql).execute(&mut log.connect().await).await.unwrap();
}

#[tokio::test]
async fn a_promotion_that_lost_published_events_starts_an_epoch() {
    let (log, nats) = (Log::new().await, start_nats().await);
    let bus = Bus::connect(&nats.url()).await.unwrap();
    let process = log.open();
    let relay = process.relay(&bus);
    reaches(relay.position(), process.append(20).await).await;
    lose_tail(&log, 15).await;
    // More than were lost, so that the head is beyond what was published.
    let last = log.open().append(10).await;
    assert_eq!(last, Position(25));
    let mut connection = log.connect().await;
    within_deadline("the next epoch", async {
        loop {
            let epoch = sqlx::query_scalar("select epoch from log.head");
            let epoch: i64 = epoch.fetch_one(&mut connection).await.unwrap();
            if epoch == 2 {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let events = log.verified().await;
    let published = |messages: &[async_nats::Message]| -> Vec<(String, String)> {
        let headers = messages.iter().filter_map(|message| message.headers.as_ref());
        let of = |name, headers| header(headers, name).to_owned();
        headers.map(|each| (of("ce-id", each), of("Tributary-Epoch", each))).collect()
    };
    let expected: Vec<_> =
        events.iter().map(|event| (event.id.to_string(), "2".to_owned())).collect();
    within_deadline("the stream is refilled", async {
        while published(&everything(&bus, last).await) != expected {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
