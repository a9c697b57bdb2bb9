//! Secrets stay out of the logs of a run, and every test that docs/security.md names exists.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::System;

const DATABASE: &str = "canary-of-the-database";
const BROKER: &str = "canary-of-the-broker";
const USER: &str = "canary of a user";
const WRONG: &str = "canary of a mistake";
const NEXT: &str = "canary of tomorrow";

fn text(value: &Value, member: &str) -> Result<String> {
    Ok(value[member].as_str().with_context(|| format!("{member} in {value}"))?.to_owned())
}

/// Uses every secret that a deployment has, rightly and wrongly, and looks for each in all logs.
#[tokio::test]
async fn no_secret_of_a_run_is_in_a_log() -> Result<()> {
    let mut system = System::start().await?;
    for (name, value) in &mut system.environment {
        if name == "DATABASE_URL" {
            *value = value.replacen("tributary_app@", &format!("tributary_app:{DATABASE}@"), 1);
            ensure!(value.contains(DATABASE), "{value}");
        }
    }
    for (name, value) in
        [("TRIBUTARY_LOG", "debug"), ("MQTT_USERNAME", "tributary"), ("MQTT_PASSWORD", BROKER)]
    {
        system.environment.push((name.into(), value.into()));
    }
    let nats = system.nats.url_as("tributary");
    let (_, nats) = nats.split_once("nats://tributary:").context("a password")?;
    let nats = nats.split_once('@').context("a server")?.0.to_owned();
    let mut process = system.serve(&[]).await?;

    // Signs in, mistakes the password, refreshes, opens an event stream, and changes the password.
    let url = system.url();
    let body = json!({"email": "ada@example.org", "password": USER, "full_name": "Ada"});
    system.post("/api/v1/users", &body).send().await?.error_for_status()?;
    let sign_in = async |password: &str| {
        let form =
            [("grant_type", "password"), ("username", "ada@example.org"), ("password", password)];
        system.http.post(format!("{url}/api/v1/auth/login/access-token")).form(&form).send().await
    };
    assert_eq!(sign_in(WRONG).await?.status(), StatusCode::UNAUTHORIZED);
    let tokens: Value = sign_in(USER).await?.error_for_status()?.json().await?;
    let (access, old) = (text(&tokens, "access_token")?, text(&tokens, "refresh_token")?);
    let body = json!({"refresh_token": old});
    let refreshed = system.post("/api/v1/auth/refresh", &body).send().await?.error_for_status()?;
    let new = text(&refreshed.json().await?, "refresh_token")?;
    let user = system.caller(access.clone());
    let ticket = user.command(Method::POST, "/api/v1/events/tickets", &Value::Null).await?;
    let ticket = text(&ticket, "ticket")?;
    for status in [StatusCode::OK, StatusCode::UNAUTHORIZED] {
        let stream = format!("{url}/api/v1/events/stream?ticket={ticket}");
        assert_eq!(system.http.get(stream).send().await?.status(), status);
    }
    let forged = format!("{access}x");
    let answer = system.caller(forged.clone()).get("/api/v1/works").send().await?;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let body = json!({"current_password": WRONG, "new_password": NEXT});
    let answer = user.request(Method::PUT, "/api/v1/users/me/password").json(&body).send().await?;
    assert!(answer.status().is_client_error(), "{}", answer.status());
    system.caught_up().await?;
    process.logs("HTTP request refused").await?;

    // Servers that are not there, and mistakes on the command line.
    let absent = [
        ("DATABASE_URL", format!("postgres://tributary_app:{DATABASE}@127.0.0.1:9/tributary")),
        ("NATS_URL", format!("nats://tributary:{nats}@127.0.0.1:9")),
        ("MQTT_URL", format!("mqtt://tributary:{BROKER}@127.0.0.1:9")),
    ];
    let absent = absent.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut lost = system.serve_with(&["mqtt", "relay", "projector", "worker"], &absent).await?;
    lost.logs("Postgres refused the connection").await?;
    lost.logs("MQTT connection failed").await?;
    let mut logs = vec![process.log(), lost.log()];
    for arguments in [&["config"][..], &["serve", "--nats-password", &nats, "--port", "none"]] {
        let mut command = tokio::process::Command::new(tests::tributary());
        command.args(arguments).envs(system.environment.iter().map(|(name, value)| (name, value)));
        let output = command.output().await?;
        logs.extend(
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into()),
        );
    }
    let key = std::fs::read_to_string(system.folder.join("signing.pem"))?;
    let key = key.lines().nth(1).context("a key")?;

    ensure!(logs[0].contains("DEBUG"), "the log is not detailed");
    let secrets = [
        DATABASE,
        BROKER,
        USER,
        WRONG,
        NEXT,
        "canary",
        &nats,
        &access,
        &old,
        &new,
        &ticket,
        &forged,
        &system.token,
        key,
        "argon2id",
    ];
    for secret in secrets {
        for line in logs.iter().flat_map(|log| log.lines()) {
            ensure!(!line.contains(secret), "a secret is logged: {line}");
        }
    }
    Ok(())
}

/// All lines of the Rust files below `folder` that begin a function.
fn functions(folder: &Path, found: &mut String) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            functions(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)?;
            found.extend(
                text.lines().filter(|line| line.contains("fn ")).map(|line| format!("{line}\n")),
            );
        }
    }
    Ok(())
}

#[test]
fn the_security_page_names_tests_that_exist() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/security.md"))?;
    let mut found = String::new();
    for folder in ["tests", "gateway", "eventstore", "domain"] {
        functions(&root.join(folder), &mut found)?;
    }
    let named: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| Some(code.split_once("::")?.1))
        .collect();
    ensure!(named.len() > 30, "the page names {} tests", named.len());
    for name in named {
        ensure!(found.contains(&format!("fn {name}(")), "docs/security.md names {name}");
    }
    Ok(())
}
