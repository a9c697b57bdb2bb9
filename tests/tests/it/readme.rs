//! What the README says to try, pasted into a shell.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tests::{eventually, tributary};
use tokio::process::Command;

/// The shell block of the README that begins with the environment of `dev`.
fn pasted() -> Result<String> {
    let readme =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"))?;
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut blocks = blocks.filter(|block| block.starts_with("set -a; . .tributary/dev.env"));
    Ok(blocks.next().context("the README has a block to paste")?.to_owned())
}

#[tokio::test]
async fn what_the_readme_says_to_try_works() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("tributary-readme-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("target"))?;
    let debug = tributary().parent().context("the executable is in a folder")?.to_owned();
    std::os::unix::fs::symlink(debug, folder.join("target/debug"))?;
    let mut dev = Command::new(tributary())
        .arg("dev")
        .current_dir(&folder)
        .env("PORT", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    eventually("dev is up", async || Ok(folder.join(".tributary/dev.env").exists())).await?;

    // As an interactive shell has it: aliases hold.
    let script = format!("shopt -s expand_aliases\nset -e -o pipefail\n{}", pasted()?);
    let script = script.replace("\ntimeout 3 curl", "\n! timeout 3 curl"); // It is ended, as it says.
    let shell = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let (stdout, stderr) =
        (String::from_utf8_lossy(&shell.stdout), String::from_utf8_lossy(&shell.stderr));
    ensure!(shell.status.success(), "{}: {stdout}\n{stderr}", shell.status);
    for expected in [
        r#""sequence_id":1,"temperature":21.5"#,
        r#""add_up_to":4"#,
        "consumer-",
        "event: reading_recorded",
        "MSG events.",
        "telemetry",
    ] {
        ensure!(stdout.contains(expected), "{expected:?} is not in: {stdout}\n{stderr}");
    }
    dev.kill().await?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
