//! Tests that start, crash and abandon real servers.

mod directories;
mod mosquitto;
mod nats;
mod parent;
mod postgres;

use super::process::GLANCE;
use super::{Options, Servers, postgres as pg};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A new directory, removed with its content when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("tributary-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    #[expect(clippy::disallowed_methods, reason = "`drop` cannot wait in another way")]
    fn drop(&mut self) {
        // A child of a server that was killed may still write for a moment.
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Err(error) = std::fs::remove_dir_all(&self.0) {
            assert!(Instant::now() < deadline, "{error}");
            std::thread::sleep(GLANCE);
        }
    }
}

/// Options without fsync: these tests end processes, not the machine.
fn fast() -> pg::Options {
    pg::Options { durable: false, shared_buffers_mib: 16, ..pg::Options::default() }
}

async fn start_all(directory: &Path) -> Servers {
    let options = Options { postgres: fast(), ..Options::default() };
    Servers::start_with(directory, options).await.unwrap()
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test]
async fn two_runs_work_at_the_same_time() {
    let (one, other) = (Scratch::new(), Scratch::new());
    let (one, other) = tokio::join!(start_all(one.path()), start_all(other.path()));
    assert_ne!(one.postgres.port(), other.postgres.port());
    assert_ne!(one.nats.url(), other.nats.url());
    assert_ne!(one.mosquitto.url(), other.mosquitto.url());
    tokio::join!(one.stop(), other.stop());
}

#[tokio::test]
async fn addresses_stay_the_same_between_runs() {
    let scratch = Scratch::new();
    let first = assert_send(Servers::start(scratch.path())).await.unwrap();
    let addresses = |servers: &Servers| {
        (servers.postgres.admin_url(), servers.nats.url(), servers.mosquitto.url())
    };
    let before = addresses(&first);
    first.stop().await;
    let second = start_all(scratch.path()).await;
    assert_eq!(addresses(&second), before);
}
