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

/// The variables of `deploy/local.env`.
fn local() -> Result<BTreeMap<String, String>> {
    let text = read("deploy/local.env")?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.into(), value.into()));
    lines.map(|line| pair(line).with_context(|| line.to_owned())).collect()
}

#[test]
fn compose_has_no_default_password() -> Result<()> {
    let compose = read("compose.yaml")?;
    let mut passwords = BTreeSet::new();
    for reference in compose.split("${").skip(1) {
        let (reference, _) = reference.split_once('}').context("a closed reference")?;
        let end = reference.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        let (name, rest) = reference.split_at(end.unwrap_or(reference.len()));
        if name.ends_with("_PASSWORD") {
            ensure!(rest.starts_with(":?"), "{name} has a default or may be empty: {rest}");
            passwords.insert(name.to_owned());
        }
    }
    let local = local()?;
    assert_eq!(passwords, local.keys().cloned().collect());
    for value in local.values() {
        ensure!(!compose.contains(value), "{value} is in compose.yaml");
    }
    Ok(())
}

/// Checks the configuration with the variables that compose passes, without a container.
#[test]
fn the_nats_of_compose_has_the_accounts() -> Result<()> {
    let folder = testing::directory("compose-nats")?;
    let text = read("deploy/nats/compose.conf")?;
    let data = folder.join("data").display().to_string();
    std::fs::write(folder.join("nats.conf"), text.replace("/data", &data))?;
    std::fs::copy(root().join("deploy/nats/tributary.conf"), folder.join("tributary.conf"))?;
    let binary = testing::nats_options().binary.unwrap_or_else(|| "nats-server".into());
    let check = |local: &BTreeMap<String, String>| -> Result<Output> {
        let variables = local.iter().map(|(name, value)| (name, format!("\"{value}\"")));
        let mut command = Command::new(&binary);
        command.args(["-t", "-c"]).arg(folder.join("nats.conf")).envs(variables);
        Ok(command.output()?)
    };
    let local = local()?;
    let checked = check(&local)?;
    ensure!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    for account in nats::ACCOUNTS {
        let mut without = local.clone();
        let name = format!("NATS_{}_PASSWORD", account.to_uppercase());
        without.remove(&name).with_context(|| name.clone())?;
        ensure!(!check(&without)?.status.success(), "{name} is not needed");
    }
    Ok(())
}

/// Runs `.ci/deny` with programs of these names, which fail for arguments that contain `failing`.
fn deny(programs: &[&str], failing: &str, skip: &str) -> Result<Output> {
    let folder = testing::directory("deny")?;
    for name in programs {
        let file = folder.join(name);
        std::fs::write(
            &file,
            format!("#!/bin/sh\ncase \"$*\" in *'{failing}'*) exit 1 ;; esac\n"),
        )?;
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755))?;
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
