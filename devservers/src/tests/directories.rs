//! Directories and ports: used by one run at a time, and accessible to the server's user.

use super::{Scratch, fast};
use crate::{Error, Nats, Postgres, nats};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

#[tokio::test]
async fn a_second_run_gets_the_process_id_of_the_first() {
    let scratch = Scratch::new();
    let _nats = Nats::start(scratch.path(), nats::Options::default()).await.unwrap();
    let error = Nats::start(scratch.path(), nats::Options::default()).await.err().unwrap();
    assert!(
        matches!(&error, Error::InUse { holder, .. } if *holder == std::process::id().to_string())
    );
}

#[tokio::test]
async fn a_directory_with_foreign_files_is_refused() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path().join("cluster.unfinished")).unwrap();
    let error = Postgres::start(scratch.path(), fast()).await.err().unwrap();
    assert!(matches!(error, Error::Foreign { .. }));
    assert!(scratch.path().join("cluster.unfinished").exists());
}

#[tokio::test]
async fn a_given_port_must_be_free_and_a_remembered_one_need_not_be() {
    let scratch = Scratch::new();
    let mut nats = Nats::start(scratch.path(), nats::Options::default()).await.unwrap();
    let port = nats.port();
    nats.stop().await;
    drop(nats);
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();

    let wanted = nats::Options { port: Some(port), ..nats::Options::default() };
    let error = Nats::start(scratch.path(), wanted).await.err().unwrap();
    assert!(matches!(error, Error::PortTaken { port: taken } if taken == port));
    let nats = Nats::start(scratch.path(), nats::Options::default()).await.unwrap();
    assert_ne!(nats.port(), port);
}

#[tokio::test]
async fn a_program_that_cannot_run_is_named() {
    let scratch = Scratch::new();
    let binary = Some(scratch.path().join("no-such-program"));
    let options = nats::Options { binary, ..nats::Options::default() };
    let error = Nats::start(scratch.path(), options).await.err().unwrap();
    let sources = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
    let message = sources.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    assert!(message.contains("no-such-program"), "{message}");
}

/// As root in a directory that only root may enter, the data goes where the server's user can.
#[tokio::test]
async fn root_keeps_the_data_within_reach_of_the_server() {
    let scratch = Scratch::new();
    if scratch.path().metadata().unwrap().uid() != 0 {
        return; // An ordinary user's servers run as that user.
    }
    let closed = scratch.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let asked = closed.join("postgres");

    let mut postgres = Postgres::start(&asked, fast()).await.unwrap();
    postgres.create_database("kept").await.unwrap();
    let refuge = postgres.directory().to_owned();
    assert!(refuge.starts_with("/var/lib/tributary"), "{}", refuge.display());
    assert_eq!(fs::read_link(&asked).unwrap(), refuge);
    postgres.stop().await;
    drop(postgres);

    let again = Postgres::start(&asked, fast()).await.unwrap();
    assert_eq!(again.directory(), refuge);
    drop(again);
    fs::remove_dir_all(&refuge).unwrap();
    Postgres::start(&asked, fast()).await.unwrap().stop().await;
    fs::remove_dir_all(&refuge).unwrap();
}
