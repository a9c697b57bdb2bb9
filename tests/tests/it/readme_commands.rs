//! Runs the commands of README.md and docs/seeds.md in a shell next to a fresh `tributary dev`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tests::{eventually, tributary};
use tokio::process::{Child, Command};

/// Returns the shell blocks of a page.
pub(crate) fn blocks(page: &str) -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let text = std::fs::read_to_string(path)?;
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    Ok(blocks.map(str::to_owned).collect())
}

/// `tributary dev` in a folder of its own that has the executable at the documented path.
struct Dev {
    folder: PathBuf,
    process: Child,
}

impl Dev {
    async fn start(name: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("tributary-{name}-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("target"))?;
        let debug = tributary().parent().context("the executable is in a folder")?.to_owned();
        std::os::unix::fs::symlink(debug, folder.join("target/debug"))?;
        let process = Command::new(tributary())
            .arg("dev")
            .current_dir(&folder)
            .env("PORT", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        eventually("dev is up", async || Ok(folder.join(".tributary/dev.env").exists())).await?;
        Ok(Self { folder, process })
    }

    async fn paste(&self, script: &str) -> Result<String> {
        paste(&self.folder, &[], script).await
    }

    async fn end(mut self) -> Result<()> {
        self.process.kill().await?;
        std::fs::remove_dir_all(self.folder)?;
        Ok(())
    }
}

/// Runs `script` in a shell that stops at the first failure, knows aliases, and ends its background
/// jobs. Returns its stdout.
pub(crate) async fn paste(
    folder: &Path,
    environment: &[(String, String)],
    script: &str,
) -> Result<String> {
    let prelude =
        "shopt -s expand_aliases\nset -e -o pipefail\ntrap 'kill $(jobs -p) 2>&- || true' EXIT\n";
    let pasted = Command::new("bash")
        .args(["-c", &format!("{prelude}{script}")])
        .current_dir(folder)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let shell = tokio::time::timeout(2 * tests::DEADLINE, pasted).await??;
    let (stdout, stderr) =
        (String::from_utf8_lossy(&shell.stdout), String::from_utf8_lossy(&shell.stderr));
    ensure!(shell.status.success(), "{}: {stdout}\n{stderr}", shell.status);
    Ok(stdout.into_owned())
}

/// Runs the blocks one after the other in one shell. Text after `# →` must be in the output of its
/// block.
pub(crate) async fn run_blocks(
    folder: &Path,
    environment: &[(String, String)],
    blocks: &[String],
) -> Result<()> {
    const BORDER: &str = "=== block ";
    let numbered =
        blocks.iter().enumerate().map(|(n, block)| format!("echo '{BORDER}{n}'\n{block}"));
    let stdout = paste(folder, environment, &numbered.collect::<String>()).await?;
    let mut printed = stdout.split(BORDER).skip(1);
    for block in blocks {
        let printed = printed.next().context("every block was run")?;
        for expected in block.lines().filter_map(|line| line.split_once("# → ")) {
            let expected = expected.1.trim();
            ensure!(printed.contains(expected), "{expected:?} is not in what it prints: {printed}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_commands_of_the_readme_work() -> Result<()> {
    let dev = Dev::start("readme").await?;
    let block = blocks("README.md")?
        .into_iter()
        .find(|block| block.starts_with("set -a; . .tributary/dev.env"))
        .context("the README has a block to paste")?;
    // `timeout` ends these commands.
    let stdout = dev.paste(&block.replace("\ntimeout 3 curl", "\n! timeout 3 curl")).await?;
    for expected in [
        r#""sequence_id":1,"boot_id":"","temperature":21.5"#,
        r#""add_up_to":4"#,
        "consumer-",
        "event: reading_recorded",
        "MSG events.",
        "telemetry",
    ] {
        ensure!(stdout.contains(expected), "{expected:?} is not in: {stdout}");
    }
    dev.end().await
}

#[tokio::test]
async fn the_commands_of_the_seeds_page_work() -> Result<()> {
    let dev = Dev::start("seeds").await?;
    let blocks = blocks("docs/seeds.md")?;
    ensure!(blocks.len() > 10, "{} blocks", blocks.len());
    run_blocks(&dev.folder, &[], &blocks).await?;
    dev.end().await
}
