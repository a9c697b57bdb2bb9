//! placeholder
use super::outcome::Failure;
#[derive(Debug, clap::Args)]
pub(super) struct Args {}
pub(super) async fn run(_: Args) -> Result<(), Failure> {
    Ok(())
}
