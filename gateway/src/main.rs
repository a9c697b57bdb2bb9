//! The one executable. Reads the command line, and turns how it went into an exit code.

use std::process::ExitCode;

use gateway::cli;

fn main() -> ExitCode {
    cli::main(std::env::args_os())
}
