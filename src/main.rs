//! The `keygate` program.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Every request allocates a little on one thread and frees it there, which this allocator does for a third of the
/// system allocator's instructions.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    keygate::cli::run()
}
