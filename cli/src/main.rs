//! The executable `tributary`.

use std::process::ExitCode;

/// Telemetry allocates a message on one thread and frees it on another, thousands at a time: glibc's
/// allocator took two fifths of the processor time.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
