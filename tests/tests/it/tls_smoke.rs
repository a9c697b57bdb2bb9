//! A whole deployment over TLS with accounts that may do what `docs/operations.md` lists and no more:
//! a command over HTTP becomes an event, a read model and a message on NATS.

use anyhow::{Context, Result, ensure};
use async_nats::ConnectOptions;
use devservers::{Mosquitto, mosquitto, testing};
use futures::StreamExt;
use serde_json::{Value, json};
use sqlx::Executor;
use tests::{Authority, DEADLINE, System, eventually};
use tokio::process::Command;
use tokio::time::timeout;

use crate::mqtt_security::account;
use crate::owner::give_to_owner;
use crate::tls::{HOST, PASSWORD, admit, file, nats_with, postgres_with};

const DEVICE: &str = "users/ada/devices/attic";

/// Sets environment variables of the processes.
fn set(system: &mut System, variables: Vec<(&str, String)>) {
    let names: Vec<_> = variables.iter().map(|(name, _)| (*name).to_owned()).collect();
    system.environment.retain(|(name, _)| !names.contains(name));
    let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
    system.environment.extend(variables);
}

#[tokio::test]
async fn a_deployment_over_tls_with_the_fewest_rights() -> Result<()> {
    let folder = testing::directory("tls-smoke")?;
    let authority = Authority::create(folder.join("authority")).await?;
    let certificate = authority.issue("server", HOST).await?;
    let ca = authority.file().display().to_string();
    let secret = file(&folder, "secret", &format!("{PASSWORD}\n"))?;

    // Postgres: the owner is no superuser, and both roles have a password and use TLS.
    let postgres = postgres_with(&authority, &certificate).await?;
    let mut system = System::start_on(postgres).await?;
    give_to_owner(&mut system).await?;
    let server = system.postgres.as_ref().context("its own")?;
    for role in ["tributary_owner", "tributary_app"] {
        let statement = format!("alter role {role} password '{PASSWORD}'");
        system.admin.execute(statement.as_str()).await?;
    }
    let roles = "hostssl all tributary_owner,tributary_app 127.0.0.1/32 scram-sha-256\n";
    admit(server, roles).await?;

    // NATS, with the accounts of deploy/nats/tributary.conf.
    let nats = nats_with(&certificate, "", None).await?;

    // The broker, with the accounts of deploy/mosquitto/account.
    let accounts = folder.join("accounts");
    std::fs::create_dir(&accounts)?;
    for name in ["tributary", DEVICE] {
        account(&accounts, None, &["add", name, PASSWORD]).await?;
    }
    let port = testing::free_port()?;
    let options = mosquitto::Options {
        anonymous: false,
        password_file: Some(accounts.join("passwords")),
        acl_file: Some(accounts.join("acl")),
        more: format!(
            "listener {port} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
            certificate.file.display(),
            certificate.key.display()
        ),
        ..testing::mosquitto_options()
    };
    let _broker = Mosquitto::start(&folder.join("mosquitto"), options).await?;

    set(
        &mut system,
        vec![
            ("DATABASE_CA_FILE", ca.clone()),
            ("DATABASE_PASSWORD_FILE", secret.clone()),
            ("DATABASE_ADMIN_PASSWORD_FILE", secret.clone()),
            ("NATS_URL", format!("tls://127.0.0.1:{}", nats.port())),
            ("NATS_CA_FILE", ca.clone()),
            ("NATS_USERNAME", "gateway".to_owned()),
            ("NATS_PASSWORD_FILE", file(&folder, "gateway", &nats.password_of("gateway"))?),
            ("MQTT_URL", format!("mqtts://127.0.0.1:{port}")),
            ("MQTT_CA_FILE", ca.clone()),
            ("MQTT_USERNAME", "tributary".to_owned()),
            ("MQTT_PASSWORD_FILE", secret),
            ("MQTT_ALLOW_ANONYMOUS", String::new()),
        ],
    );
    system.run(&["migrate"]).await?;

    let connect = ConnectOptions::new()
        .user_and_password("subscriber".to_owned(), nats.password_of("subscriber"))
        .custom_inbox_prefix("_INBOX.subscriber")
        .add_root_certificates(authority.file())
        .require_tls(true);
    let subscriber = connect.connect(nats.url()).await?;
    let mut messages = subscriber.subscribe("events.>").await?;
    subscriber.flush().await?;

    let mut processes = vec![system.serve(&["http", "mqtt", "projector"]).await?];
    for role in ["relay", "worker"] {
        let password = file(&folder, role, &nats.password_of(role))?;
        let account = [("NATS_USERNAME", role), ("NATS_PASSWORD_FILE", password.as_str())];
        processes.push(system.serve_with(&[role], &account).await?);
    }
    let caller = system.caller(&system.token);
    let work = json!({"add_up_to": 4});
    let demanded = caller.command(reqwest::Method::POST, "/api/v1/works", &work).await?;
    let path = format!("/api/v1/works/{}", demanded["id"].as_str().context("an id")?);
    eventually("a worker completes the work", async || {
        Ok(caller.json(&path).await?["status"] == "completed")
    })
    .await?;
    let mut publish = Command::new("mosquitto_pub");
    publish.args(["-V", "mqttv5", "-q", "1", "-h", "127.0.0.1", "-p", &port.to_string()]);
    publish.args(["--cafile", &ca, "-u", DEVICE, "-P", PASSWORD]);
    publish.args(["-t", &format!("{DEVICE}/telemetry"), "-m", r#"{"sequence_id": 1}"#]);
    let published = publish.output().await?;
    ensure!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    eventually("the reading is in the read model", async || {
        let devices = caller.json("/api/v1/devices").await?;
        Ok(devices["items"].as_array().is_some_and(|items| items.len() == 1))
    })
    .await?;
    let mut wanted = vec!["work_demanded", "work_completed", "reading_recorded"];
    while !wanted.is_empty() {
        let message = timeout(DEADLINE, messages.next()).await;
        let message = message.with_context(|| format!("{wanted:?} on NATS"))?.context("open")?;
        wanted.retain(|kind| !message.subject.ends_with(kind));
    }

    // Every session of both roles is encrypted, and the command line works, too.
    let all = "select count(*) from pg_stat_activity where usename = 'tributary_app'";
    ensure!(system.number(all).await? > 0);
    let plain = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid)
                 where usename = 'tributary_app' and not ssl";
    assert_eq!(system.number(plain).await?, 0);
    system.run(&["verify", "--projections", "works", "telemetry"]).await?;
    system.run(&["rebuild", "works"]).await?;
    let ready: Value = caller.json("/readyz").await?;
    let dependencies = ready["dependencies"].as_array().context("dependencies")?;
    let down: Vec<_> = dependencies.iter().filter(|one| one["status"] != "up").collect();
    ensure!(down.is_empty(), "{down:?}");
    for process in processes {
        let command_line = std::fs::read_to_string(format!("/proc/{}/cmdline", process.pid()))?;
        ensure!(!command_line.contains(PASSWORD), "{command_line}");
        for secret in [PASSWORD.to_owned(), nats.password_of("relay"), nats.password_of("worker")] {
            ensure!(!process.log().contains(&secret), "a password is in the log");
        }
        ensure!(!process.log().contains("Permissions Violation"), "{}", process.log());
        process.terminate().await?;
    }
    let log = std::fs::read_to_string(
        system.postgres.as_ref().context("its own")?.directory().join("log"),
    )?;
    ensure!(!log.contains("permission denied"), "{log}");
    Ok(())
}
