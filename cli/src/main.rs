//! The executable `tributary`.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Telemetry allocates a message on one thread and frees it on another, thousands at a time: glibc's
/// allocator took two fifths of the processor time.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
