//! The one executable. Reads the command line, and turns how it went into an exit code.

use std::process::ExitCode;

use gateway::cli;
use tikv_jemallocator::Jemalloc;

/// With telemetry coming in, glibc's took two fifths of our processor time: a message is made in one
/// thread and let go in another, thousands at once.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    cli::main(std::env::args_os())
}
