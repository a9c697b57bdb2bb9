//! nats-server keeps its streams over restarts unless they are wiped; a server of an earlier run is
//! ended.

use super::Scratch;
use crate::nats::{ACCOUNTS, Nats, Options, PACKAGES};
use crate::orphan::read_pid;
use crate::process::GLANCE;
use crate::programs::find;
use crate::testing;
use async_nats::jetstream::{self, stream};
use std::process::Stdio;
use tokio::process::Command;

async fn context(nats: &Nats) -> jetstream::Context {
    jetstream::new(async_nats::connect(nats.url()).await.unwrap())
}

async fn publish(nats: &Nats) {
    let context = context(nats).await;
    let config = stream::Config { name: "KEPT".to_owned(), ..Default::default() };
    context.get_or_create_stream(config).await.unwrap();
    let large = vec![0; 2 * 1024 * 1024 - 4096];
    context.publish("KEPT", large.into()).await.unwrap().await.unwrap();
}

async fn messages(nats: &Nats) -> Option<u64> {
    let stream = context(nats).await.get_stream("KEPT").await.ok()?;
    Some(stream.cached_info().state.messages)
}

#[tokio::test]
async fn streams_survive_a_restart_and_a_crash_but_not_a_wipe() {
    let scratch = Scratch::new();
    let mut nats = Nats::start(scratch.path(), testing::nats_options()).await.unwrap();
    let url = nats.url();
    publish(&nats).await;
    nats.restart().await.unwrap();
    assert_eq!(messages(&nats).await, Some(1));
    nats.kill().await;
    nats.restart().await.unwrap();
    assert_eq!(messages(&nats).await, Some(1));
    nats.wipe_jetstream().await.unwrap();
    assert_eq!(messages(&nats).await, None);
    assert_eq!(nats.url(), url);
    publish(&nats).await;
}

#[tokio::test]
async fn a_server_left_behind_is_ended() {
    let scratch = Scratch::new();
    let mut nats = Nats::start(scratch.path(), testing::nats_options()).await.unwrap();
    let port = nats.port();
    nats.stop().await;
    drop(nats);

    let config = scratch.path().join("nats-server.conf");
    let mut orphan = Command::new(find("nats-server", &PACKAGES).await.unwrap());
    orphan.arg("-c").arg(config).stderr(Stdio::null()).kill_on_drop(true);
    let mut orphan = orphan.spawn().unwrap();
    let pid_file = scratch.path().join("nats-server.pid");
    while read_pid(&pid_file) != orphan.id() {
        tokio::time::sleep(GLANCE).await;
    }

    let nats = Nats::start(scratch.path(), testing::nats_options()).await.unwrap();
    assert!(orphan.try_wait().unwrap().is_some());
    assert_eq!(nats.port(), port);
}

#[tokio::test]
async fn the_monitoring_port_opens_only_if_configured() {
    let scratch = Scratch::new();
    let free = testing::free_port().unwrap();
    let options = Options { monitor: Some(free), ..Options::default() };
    let _nats = Nats::start(scratch.path(), options).await.unwrap();
    let url = format!("http://127.0.0.1:{free}/healthz");
    let answered = Command::new("curl").args(["--silent", "--fail", &url]).status().await.unwrap();
    assert!(answered.success(), "{answered}");
}

#[tokio::test]
async fn the_passwords_of_the_accounts_stay_valid_between_runs() {
    let scratch = Scratch::new();
    let nats = Nats::start(scratch.path(), Options::default()).await.unwrap();
    let urls = ACCOUNTS.map(|account| nats.url_as(account));
    assert!(async_nats::connect(nats.url()).await.is_err(), "a client without an account");
    drop(nats);
    let nats = Nats::start(scratch.path(), Options::default()).await.unwrap();
    assert_eq!(ACCOUNTS.map(|account| nats.url_as(account)), urls);
    for url in urls {
        let (user, password) =
            url.trim_start_matches("nats://").split_once('@').unwrap().0.split_once(':').unwrap();
        let options =
            async_nats::ConnectOptions::with_user_and_password(user.into(), password.into());
        options.connect(nats.url()).await.unwrap();
    }
}
