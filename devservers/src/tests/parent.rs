//! The servers live as long as the process that started them: not longer, also if it is killed, and
//! not only as long as one of its threads.

use super::{Scratch, start_all};
use crate::orphan::serves;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(1);
/// The file to which the parent writes the process ids of its servers.
const PIDS: &str = "pids";
/// Marks the working directory of a parent that a test has started.
const MARK: &str = "to-be-killed";

/// Not a test: the process that `killing_the_parent_kills_the_servers` starts and kills.
#[tokio::test]
#[ignore = "run by another test, which kills it"]
async fn waits_to_be_killed() {
    let directory = std::env::current_dir().unwrap();
    if !directory.join(MARK).exists() {
        return; // All ignored tests are run.
    }
    let servers = start_all(&directory).await;
    let pids = [servers.postgres.pid(), servers.nats.pid(), servers.mosquitto.pid()];
    fs::write(directory.join("pids.new"), pids.map(|pid| pid.to_string()).join(" ")).unwrap();
    fs::rename(directory.join("pids.new"), directory.join(PIDS)).unwrap();
    std::future::pending::<()>().await;
}

fn start_parent(directory: &Path) -> Child {
    fs::write(directory.join(MARK), "").unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "tests::parent::waits_to_be_killed"])
        .current_dir(directory)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn killing_the_parent_kills_the_servers() {
    let scratch = Scratch::new();
    let mut parent = start_parent(scratch.path());
    eventually("the servers start", || scratch.path().join(PIDS).exists()).await;
    let pids = fs::read_to_string(scratch.path().join(PIDS)).unwrap();
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|&pid| serves(pid, scratch.path())));

    parent.kill().unwrap(); // By SIGKILL.
    parent.wait().unwrap();
    eventually("the servers end", || !pids.iter().any(|&pid| serves(pid, scratch.path()))).await;
    start_all(scratch.path()).await.stop().await;
}

/// The next run starts, whenever the parent is killed.
#[tokio::test]
async fn a_parent_killed_while_it_starts_does_not_stop_the_next_run() {
    for delay in [20, 40, 60, 80, 150, 300, 600, 1200] {
        let scratch = Scratch::new();
        let mut parent = start_parent(scratch.path());
        tokio::time::sleep(Duration::from_millis(delay)).await;
        parent.kill().unwrap();
        parent.wait().unwrap();
        start_all(scratch.path()).await.stop().await;
    }
}

#[tokio::test]
async fn the_servers_outlive_the_thread_and_runtime_that_started_them() {
    let scratch = Scratch::new();
    let directory = scratch.path().to_owned();
    let start = move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(start_all(&directory))
    };
    let mut servers = std::thread::spawn(start).join().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await; // Time for a signal that must not come.
    servers.postgres.create_database("kept").await.unwrap();
    let nats: async_nats::ServerAddr = servers.nats.url_as("admin").parse().unwrap();
    let (user, password) = (nats.username().unwrap(), nats.password().unwrap());
    let options = async_nats::ConnectOptions::with_user_and_password(user.into(), password.into());
    options.connect(servers.nats.url()).await.unwrap();
    servers.mosquitto.restart().await.unwrap();
}
