//! Counts heap allocations in the whole key check. There must be none: ends with 1 otherwise.

#![expect(clippy::print_stdout, reason = "a bench that prints its figure")]

mod common;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const CHECKS: u64 = 10_000;

fn main() -> ExitCode {
    let check = common::Check::with_keys(1000);
    let requests: Vec<_> = (0..1000).map(common::fields).collect();
    // The first round fills what is made once.
    for request in &requests {
        drop(check.run(request));
    }
    let _profiler = dhat::Profiler::builder().testing().build();
    let before = dhat::HeapStats::get().total_blocks;
    for request in requests
        .iter()
        .cycle()
        .take(usize::try_from(CHECKS).unwrap_or_default())
    {
        drop(check.run(request));
    }
    let blocks = dhat::HeapStats::get().total_blocks - before;
    println!("{blocks} allocations in {CHECKS} checks");
    if blocks == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
