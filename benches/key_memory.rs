//! Memory per reference key at a million keys: what the process holds after the table is filled, less what it held
//! before, by keys. With the allocator of the program.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench that prints its figure"
)]

mod common;

use keygate::snapshot::key::Symbols;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const KEYS: u64 = 1_000_000;

fn main() {
    let symbols = Symbols::default();
    drop(common::table(1, &symbols));
    let before = resident();
    let table = common::table(KEYS, &symbols);
    let after = resident();
    println!(
        "{} bytes per reference key ({} keys, {} MiB)",
        (after - before) / KEYS,
        table.len(),
        (after - before) >> 20
    );
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}
