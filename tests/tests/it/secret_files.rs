//! Secrets that are read from files, which `NAME_FILE` names in place of `NAME`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Process, System};

use crate::owner::attempt;

const SECRET: &str = "s3cr@t/#%$";

fn file(system: &System, name: &str, text: &str) -> Result<PathBuf> {
    let path = system.folder.join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}

#[tokio::test]
async fn a_secret_is_read_from_the_file_that_the_environment_names() -> Result<()> {
    let mut system = System::start().await?;
    let mut files = Vec::new();
    for name in ["DATABASE_URL", "NATS_URL"] {
        let set =
            system.environment.iter().position(|(set, _)| set == name).context("it is set")?;
        let (_, value) = system.environment.remove(set);
        files.push((format!("{name}_FILE"), file(&system, name, &format!("{value}\r\nmore\n"))?));
    }
    files.push(("MQTT_PASSWORD_FILE".to_owned(), file(&system, "mqtt", SECRET)?));
    let shown = files.iter().map(|(name, file)| (name.clone(), file.display().to_string()));
    system.environment.extend(shown.clone());
    system.environment.push(("MQTT_USERNAME".to_owned(), "bridge".to_owned()));

    let text = system.run(&["config", "--json"]).await?;
    let config: Value = serde_json::from_str(&text)?;
    for (name, file) in shown {
        assert_eq!(config["secret_files"][&name], file, "{text}");
    }
    assert_eq!(config["mqtt"]["mqtt_password"], "***", "{text}");
    let url = config["database"]["database_url"].as_str().context("a URL")?;
    ensure!(url.starts_with("postgres://tributary_app@127.0.0.1:"), "{url}");
    ensure!(!text.contains(SECRET), "{text}");
    let table = system.run(&["config"]).await?;
    ensure!(table.contains("[secret_files]\nDATABASE_URL_FILE = /"), "{table}");

    let mut process = system.serve(&["http"]).await?;
    crate::postgres::ready(&system).await?;
    let command_line = std::fs::read_to_string(format!("/proc/{}/cmdline", process.pid()))?;
    ensure!(!command_line.contains("postgres"), "{command_line}");
    process.logs("HTTP server listening").await?;
    ensure!(!process.log().contains(SECRET));
    Ok(())
}

#[tokio::test]
async fn a_secret_that_is_set_twice_or_cannot_be_read_is_named() -> Result<()> {
    let system = System::start().await?;
    let empty = file(&system, "empty", "\n")?.display().to_string();
    let secret = file(&system, "secret", SECRET)?.display().to_string();
    let mut environment: Vec<(&str, &str)> =
        system.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for (more, expected) in [
        (("DATABASE_URL_FILE", secret.as_str()), "DATABASE_URL and DATABASE_URL_FILE are both set"),
        (("NATS_PASSWORD_FILE", "/none"), "NATS_PASSWORD_FILE: cannot read /none: No such file"),
        (("NATS_TOKEN_FILE", empty.as_str()), "--nats-token <TOKEN>': a secret must not be empty"),
        (("DATABASE_ADMIN_PASSWORD_FILE", secret.as_str()), ""),
        (("MQTT_PASSWORD_FILE", ""), ""),
    ] {
        environment.push(more);
        let (code, errors) = attempt(&["config"], &environment).await?;
        let wanted = if expected.is_empty() { 0 } else { 2 };
        assert_eq!(code, Some(wanted), "{more:?}: {errors}");
        ensure!(errors.contains(expected) && !errors.contains(SECRET), "{more:?}: {errors}");
        environment.pop();
    }
    // What holds no URL is not repeated, either.
    let variables: Vec<_> =
        system.environment.iter().filter(|(name, _)| name != "DATABASE_URL").cloned().collect();
    let variables = [variables, vec![("DATABASE_URL_FILE".to_owned(), secret)]].concat();
    let mut process = Process::start(&["serve", "http"], &variables)?;
    process.logs("invalid value for '--database-url <URL>': not a URL").await?;
    assert_eq!(process.exit_code().await?, Some(2));
    ensure!(!process.log().contains(SECRET), "{}", process.log());
    Ok(())
}
