//! `tributary completions`: completion scripts for shells.

use clap::CommandFactory;
use clap_complete::Shell;

use super::outcome::Failure;
use super::output::Stdout;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Shell that the script is for
    shell: Shell,
}

pub(super) fn run<T: CommandFactory>(args: &Args) -> Result<(), Failure> {
    // The generator panics if a write fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut T::command(), "tributary", &mut script);
    Stdout::lock().document(&script)
}
