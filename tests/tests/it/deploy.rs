//! The files of a deployment: the passwords and the NATS of `compose.yaml`, and `.ci/deny`.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use devservers::{nats, testing};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> Result<String> {
    std::fs::read_to_string(root().join(name)).with_context(|| name.to_owned())
}

/// Creates the secrets in a folder of their own, with these variables.
fn create_secrets(folder: &Path, variables: &[(&str, &str)]) -> Result<Output> {
    let deploy = folder.join("deploy");
    std::fs::create_dir_all(&deploy)?;
    let script = deploy.join("create-secrets");
    std::fs::copy(root().join("deploy/create-secrets"), &script)?;
    // Not executed itself: a child that another test forks may have it open for writing.
    Ok(Command::new("sh").arg(script).envs(variables.iter().copied()).output()?)
}

/// The names and contents of the files in `.secrets`.
fn secrets(folder: &Path) -> Result<BTreeMap<String, String>> {
    let files = std::fs::read_dir(folder.join(".secrets"))?;
    files
        .map(|file| {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            Ok((name, std::fs::read_to_string(file.path())?))
        })
        .collect()
}

#[test]
fn every_secret_of_compose_is_created_once_and_is_nowhere_else() -> Result<()> {
    let folder = testing::directory("secrets")?;
    ensure!(create_secrets(&folder, &[("APP_PASSWORD", "a@/#% $b")])?.status.success());
    let first = secrets(&folder)?;
    let folder_mode = std::fs::metadata(folder.join(".secrets"))?.permissions().mode() & 0o777;
    assert_eq!(folder_mode, 0o700);
    assert_eq!(first["app_password"], "a@/#% $b\n");
    let distinct: BTreeSet<_> = first.values().collect();
    assert_eq!(distinct.len(), first.len(), "every password is another one");
    ensure!(create_secrets(&folder, &[])?.status.success());
    assert_eq!(secrets(&folder)?, first, "they are kept");

    let compose = read("compose.yaml")?;
    let files: BTreeSet<_> = compose
        .split("file: .secrets/")
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name.to_owned()))
        .collect();
    ensure!(files.len() > 5, "{files:?}");
    for file in &files {
        ensure!(first.contains_key(file), "{file} is not created");
    }
    for line in compose.lines().filter(|line| line.contains("PASSWORD")) {
        ensure!(line.contains("_FILE: /run/secrets/") || line.starts_with('#'), "{line}");
    }
    let quoted =
        create_secrets(&testing::directory("secrets")?, &[("NATS_RELAY_PASSWORD", "a'b")])?;
    ensure!(String::from_utf8_lossy(&quoted.stderr).contains("nats-server interprets"));
    Ok(())
}

/// Checks the configuration with the variables that compose passes, without a container.
#[test]
fn the_nats_of_compose_has_the_accounts() -> Result<()> {
    let folder = testing::directory("compose-nats")?;
    ensure!(create_secrets(&folder, &[])?.status.success());
    let variables: BTreeMap<String, String> = secrets(&folder)?["nats.env"]
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
        .collect();
    let data = folder.join("data").display().to_string();
    let text = read("deploy/nats/compose.conf")?;
    std::fs::write(folder.join("nats.conf"), text.replace("/data", &data))?;
    std::fs::copy(root().join("deploy/nats/tributary.conf"), folder.join("tributary.conf"))?;
    let binary = testing::nats_options().binary.unwrap_or_else(|| "nats-server".into());
    let check = |variables: &BTreeMap<String, String>| -> Result<Output> {
        let mut command = Command::new(&binary);
        command.args(["-t", "-c"]).arg(folder.join("nats.conf")).envs(variables);
        Ok(command.output()?)
    };
    let checked = check(&variables)?;
    ensure!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    for account in nats::ACCOUNTS {
        let mut without = variables.clone();
        let name = format!("NATS_{}_PASSWORD", account.to_uppercase());
        without.remove(&name).with_context(|| name.clone())?;
        ensure!(!check(&without)?.status.success(), "{name} is not needed");
    }
    Ok(())
}

/// Runs `.ci/deny` with programs of these names, which fail for arguments that contain `failing`.
fn deny(programs: &[&str], failing: &str, skip: &str) -> Result<Output> {
    let folder = testing::directory("deny")?;
    let script = folder.join("script");
    std::fs::write(&script, format!("#!/bin/sh\ncase \"$*\" in *'{failing}'*) exit 1 ;; esac\n"))?;
    for name in programs {
        // By another process: no child that this one forks has the copy open for writing.
        let copied = Command::new("install").arg(&script).arg(folder.join(name)).status()?;
        ensure!(copied.success(), "{name} cannot be installed");
    }
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let mut command = Command::new(root().join(".ci/deny"));
    Ok(command.env("PATH", path).env("TRIBUTARY_SKIP_ADVISORIES", skip).output()?)
}

#[test]
fn deny_fails_when_it_cannot_check() -> Result<()> {
    let programs = ["cargo", "cargo-deny"];
    for (programs, failing, skip, succeeds) in [
        (&programs[..], "nothing", "", true),
        (&programs[..1], "nothing", "1", false),
        (&programs[..], "fetch db", "", false),
        (&programs[..], "fetch db", "0", false),
        (&programs[..], "fetch db", "1", true),
        (&programs[..], "check advisories", "", false),
        (&programs[..], "check bans", "1", false),
    ] {
        let output = deny(programs, failing, skip)?;
        let log = String::from_utf8_lossy(&output.stderr);
        let case = format!("{programs:?}, `{failing}` fails, skip {skip:?}: {log}");
        ensure!(output.status.success() == succeeds, "{case}");
        ensure!(log.contains("not checked") == (skip == "1" && succeeds), "{case}");
    }
    Ok(())
}
