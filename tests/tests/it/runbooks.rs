//! Runs the commands of `docs/operations.md` on a system with a parked stream. `restore` runs those
//! of backup and restore.

use anyhow::{Context, Result};
use tests::{System, tributary};

use crate::readme_commands::{blocks, run_blocks};
use crate::rebuild::{mend, parked_work};

#[tokio::test]
async fn the_commands_of_the_runbooks_work() -> Result<()> {
    let system = System::start().await?;
    system.skip_end_check(); // An event is altered.
    let _process = system.serve(&["http", "projector"]).await?;
    let works = system.caller(system.token.clone());
    let id = parked_work(&system).await?;

    let page = blocks("docs/operations.md")?;
    let debug = tributary().parent().context("a folder")?.display().to_string();
    let environment = [
        system.environment.clone(),
        vec![
            ("TRIBUTARY_URL".to_owned(), system.url()),
            ("TRIBUTARY_TOKEN".to_owned(), system.token.clone()),
        ],
    ]
    .concat();
    let paste = async |titles: &[&str]| -> Result<()> {
        let mut wanted = vec![format!("alias tributary={debug}/tributary\n")];
        for title in titles {
            let block = page.iter().find(|block| block.lines().next() == Some(title));
            wanted.push(block.with_context(|| format!("the page has {title:?}"))?.clone());
        }
        run_blocks(&system.folder, &environment, &wanted).await
    };
    paste(&["# Verify", "# Rebuild", "# Parked"]).await?;
    mend(&system).await?;
    paste(&["# Retry", "# Replay"]).await?;
    assert_eq!(works.json(&format!("/api/v1/works/{id}")).await?["status"], "claimed");
    assert_eq!(page.len(), 7, "the page has a block that no test runs");
    Ok(())
}
