//! The runbooks of `docs/operations.md`, as they stand there, on a system where something is wrong.
//! The one about backups is in `restore`.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::json;
use tests::{System, tributary};

use crate::pasted::{blocks, run_blocks};
use crate::rebuild::tell;

#[tokio::test]
async fn they_can_be_pasted() -> Result<()> {
    let system = System::start().await?;
    let _process = system.serve(&["http", "projector"]).await?;
    let works = system.caller(system.token.clone());
    let work = works.command(Method::POST, "/api/v1/works", &json!({})).await?;
    let id = work["id"].as_str().context("an id")?;
    tell(&system, id, "work_claimed", r#"{"worker": 7}"#).await?;
    system.caught_up().await?;

    let page = blocks("docs/operations.md")?;
    let title = |block: &String| block.lines().next().unwrap_or_default().to_owned();
    let wanted = |block: &&String| !["# Back up", "# Restore"].contains(&title(block).as_str());
    let page: Vec<_> = page.iter().filter(wanted).cloned().collect();
    assert_eq!(
        page.iter().map(title).collect::<Vec<_>>(),
        ["# Verify", "# Rebuild", "# Parked", "# Replay"]
    );
    let debug = tributary().parent().context("a folder")?.display().to_string();
    let prelude = format!("alias tributary={debug}/tributary\n");
    let environment = [
        system.environment.clone(),
        vec![
            ("TRIBUTARY_URL".to_owned(), system.url.clone()),
            ("TRIBUTARY_TOKEN".to_owned(), system.token.clone()),
        ],
    ];
    run_blocks(&system.folder, &environment.concat(), &[vec![prelude], page].concat()).await
}
