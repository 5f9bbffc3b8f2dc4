//! The `keygate` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    keygate::cli::run()
}
