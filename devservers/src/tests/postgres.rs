//! Postgres keeps its data over restarts, crashes, stale files and an interrupted `initdb`.

use super::{Scratch, fast};
use crate::postgres::{Options, Postgres};
use crate::process::GLANCE;
use sqlx::{Connection, PgConnection};
use std::fs;

async fn connect(postgres: &Postgres) -> PgConnection {
    PgConnection::connect(&postgres.url("kept", "postgres")).await.unwrap()
}

async fn store_a_row(postgres: &Postgres) {
    postgres.create_database("kept").await.unwrap();
    let mut connection = connect(postgres).await;
    sqlx::query("create table kept (n int)").execute(&mut connection).await.unwrap();
    sqlx::query("insert into kept values (1)").execute(&mut connection).await.unwrap();
}

async fn rows(postgres: &Postgres) -> i64 {
    let mut connection = connect(postgres).await;
    sqlx::query_scalar("select count(*) from kept").fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn data_survives_a_restart_a_crash_and_a_new_run() {
    let scratch = Scratch::new();
    let mut postgres = Postgres::start(scratch.path(), fast()).await.unwrap();
    let (port, pid) = (postgres.port(), postgres.pid());
    store_a_row(&postgres).await;

    postgres.restart().await.unwrap();
    assert_eq!(rows(&postgres).await, 1);
    postgres.kill().await;
    assert!(PgConnection::connect(&postgres.admin_url()).await.is_err());
    postgres.restart().await.unwrap();
    assert_eq!(rows(&postgres).await, 1);
    assert_eq!(postgres.port(), port);
    assert_ne!(postgres.pid(), pid);

    postgres.stop().await;
    drop(postgres);
    let postgres = Postgres::start(scratch.path(), fast()).await.unwrap();
    assert_eq!(rows(&postgres).await, 1);
}

#[tokio::test]
async fn postgres_is_durable_and_local_by_default() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(scratch.path(), Options::default()).await.unwrap();
    let mut connection = PgConnection::connect(&postgres.admin_url()).await.unwrap();
    let settings: String = sqlx::query_scalar(
        "select string_agg(name || '=' || setting, ' ' order by name) from pg_settings where name \
         in ('fsync', 'synchronous_commit', 'full_page_writes', 'listen_addresses', 'TimeZone', \
         'max_connections', 'shared_buffers', 'unix_socket_directories')",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(
        settings,
        "TimeZone=UTC fsync=on full_page_writes=on listen_addresses=127.0.0.1 \
         max_connections=200 shared_buffers=32768 synchronous_commit=on \
         unix_socket_directories="
    );
}

#[tokio::test]
async fn creating_a_database_again_changes_nothing() {
    let scratch = Scratch::new();
    let postgres = Postgres::start(scratch.path(), fast()).await.unwrap();
    store_a_row(&postgres).await;
    let again = || postgres.create_database("kept");
    tokio::try_join!(again(), again(), again()).unwrap();
    assert_eq!(rows(&postgres).await, 1);
}

#[tokio::test]
async fn a_pid_file_with_a_reused_process_id_is_removed() {
    let scratch = Scratch::new();
    let mut postgres = Postgres::start(scratch.path(), fast()).await.unwrap();
    store_a_row(&postgres).await;
    let file = postgres.directory().join("cluster/postmaster.pid");
    let content = fs::read_to_string(&file).unwrap();
    postgres.kill().await;
    let reused = content.replacen(&postgres.pid().to_string(), &std::process::id().to_string(), 1);
    fs::write(&file, reused).unwrap();
    postgres.restart().await.unwrap();
    assert_eq!(rows(&postgres).await, 1);
}

#[tokio::test]
async fn an_interrupted_initdb_leaves_nothing_that_looks_like_data() {
    let scratch = Scratch::new();
    let unfinished = scratch.path().join("cluster.unfinished");
    let begun = async {
        while !unfinished.exists() {
            tokio::time::sleep(GLANCE).await;
        }
    };
    tokio::select! {
        _ = Postgres::start(scratch.path(), fast()) => panic!("it was not interrupted"),
        () = begun => {}
    }
    assert!(unfinished.exists());
    assert!(!scratch.path().join("cluster").exists());
    Postgres::start(scratch.path(), fast()).await.unwrap().stop().await;
    assert!(!scratch.path().join("cluster.unfinished").exists());
}

#[tokio::test]
async fn data_of_another_version_is_refused_with_its_number() {
    let scratch = Scratch::new();
    Postgres::start(scratch.path(), fast()).await.unwrap().stop().await;
    fs::write(scratch.path().join("cluster/PG_VERSION"), "9\n").unwrap();
    let error = Postgres::start(scratch.path(), fast()).await.err().unwrap();
    assert!(error.to_string().contains("written by PostgreSQL 9"), "{error}");
}

#[tokio::test]
async fn a_failed_start_quotes_the_log() {
    let scratch = Scratch::new();
    let options = Options { shared_buffers_mib: 0, ..fast() };
    let error = Postgres::start(scratch.path(), options).await.err().unwrap().to_string();
    assert!(error.contains("shared_buffers"), "{error}");
}
