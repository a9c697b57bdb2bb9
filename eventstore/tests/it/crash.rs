//! Acknowledged events survive a crash of Postgres.

use std::sync::Arc;

use devservers::testing;
use eventsourcing::Position;
use eventstore::{Append, AppendError, Appended, ExpectedVersion, Filter};
use futures::future::join_all;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::world::{Log, collect, event, fact, position, stream, within_deadline};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn acknowledged_events_survive_a_crash_of_postgres() {
    let mut postgres = testing::start_postgres().await.unwrap();
    let log = Log::create(&postgres, "log").await;
    let process = log.open();
    let feed = process.feed(None);
    let mut subscription = feed.subscribe(Position::START, Filter::default());
    let stop = CancellationToken::new();
    let acknowledged = Arc::new(Semaphore::new(0));
    let writers: Vec<_> = (0..32)
        .map(|writer| {
            let (store, stop) = (process.store.clone(), stop.clone());
            let acknowledged = Arc::clone(&acknowledged);
            tokio::spawn(async move {
                let (mut kept, mut unknown) = (Vec::new(), Vec::new());
                let stream = stream(&writer.to_string());
                while !stop.is_cancelled() {
                    let event = event();
                    let request =
                        Append::to(stream.clone(), ExpectedVersion::Any, vec![event.clone()]);
                    match store.append(request.clone()).await {
                        Ok(Appended::New { position, .. }) => {
                            kept.push((event.id, position));
                            acknowledged.add_permits(1);
                        }
                        Err(AppendError::Unavailable(_)) => unknown.push(request),
                        other => panic!("{other:?}"),
                    }
                }
                (kept, unknown)
            })
        })
        .collect();
    within_deadline("appends", acknowledged.acquire_many(500)).await.unwrap().forget();
    postgres.kill().await;
    let refused = within_deadline("appends fail", async {
        loop {
            match process.store.append(fact(stream("probe"))).await {
                Err(AppendError::Unavailable(_)) => break true,
                Ok(_) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    });
    assert!(refused.await);
    stop.cancel();
    let outcomes = within_deadline("the writers", join_all(writers)).await;
    postgres.restart().await.unwrap();
    within_deadline("the store recovers", async {
        while process.store.append(fact(stream("probe"))).await.is_err() {}
    })
    .await;

    let events = log.verified().await;
    for outcome in outcomes {
        let (kept, unknown) = outcome.unwrap();
        for (id, position) in kept {
            let found = &events[usize::try_from(position.0 - 1).unwrap()];
            assert_eq!(found.id, id, "acknowledged at {position}");
        }
        // Repeating a request is safe, whether or not the first one was committed.
        for request in unknown.into_iter().take(3) {
            let again = process.store.append(request.clone()).await.unwrap();
            assert!(!matches!(again, Appended::Replayed(_)));
            let third = process.store.append(request).await.unwrap();
            assert!(matches!(third, Appended::Duplicate { .. }));
        }
    }
    let last = position(&process.store.append(fact(stream("last"))).await);
    log.verified().await;
    let delivered = collect(&mut subscription, last).await;
    assert!(delivered.into_iter().eq(1..=last.0), "each once, in order");
}
