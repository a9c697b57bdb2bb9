//! `tributary completions`: completion scripts for shells.

use clap::CommandFactory;
use clap_complete::Shell;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Shell that the script is for
    shell: Shell,
}

pub(super) fn run<T: CommandFactory>(args: &Args) {
    clap_complete::generate(args.shell, &mut T::command(), "tributary", &mut std::io::stdout());
}
