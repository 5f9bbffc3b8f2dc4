//! What a table costs as it grows: `cargo bench --bench key_table [-- KEYS...]`, one line for each number of keys.
//!
//! Memory is what the process holds after the table is filled, less what it held before, with the allocator of the program.
//! A look-up and a whole check (from a request's fields to a permit) take another key each time, so that what the caches do not
//! hold is paid for. A change replaces a key, under the lock of its shard; the figure is the median.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench that measures time and prints its figures"
)]

mod common;

use common::{Check, fields, reference_key};
use keygate::domain::fields::Fields;
use keygate::domain::key::{KeyFormat, KeyHash, KeySpec, Origin};
use keygate::snapshot::key::{Key, KeyCompiler, Symbols};
use keygate::snapshot::keys::KeyTable;
use mimalloc::MiMalloc;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const SIZES: [u64; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
/// Keys that are asked for, so many times each.
const ASKED: u64 = 200_000;
const ROUNDS: u32 = 5;
const CHANGES: u64 = 10_000;

fn main() {
    let wanted: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let sizes = if wanted.is_empty() {
        SIZES.to_vec()
    } else {
        wanted
    };
    if let [keys] = sizes[..] {
        return one(keys);
    }
    println!("      keys  B/key  look-up ns  check ns  change ns");
    // Each in a process of its own, which has no memory yet that others have left.
    let itself = std::env::current_exe().unwrap();
    for keys in sizes {
        let mut table = Command::new(&itself);
        assert!(table.arg(keys.to_string()).status().unwrap().success());
    }
}

fn one(keys: u64) {
    let symbols = Symbols::default();
    let mut compiler = KeyCompiler::default();
    let before = resident();
    let table = KeyTable::default();
    for number in 0..keys {
        table.put(compiler.compile(&managed_key(number), &symbols));
    }
    let bytes = resident().saturating_sub(before) / keys;
    let change = median_of_puts(&table, |number| {
        compiler.compile(&managed_key(scattered(number, keys)), &symbols)
    });

    let asked: Vec<KeyHash> = (0..ASKED)
        .map(|number| common::plain_key(scattered(number, keys)).hash())
        .collect();
    let look_up = each(&asked, |hash| table.find(hash).is_some());
    drop(asked);
    let check = Check {
        table,
        router: common::router(1, &symbols),
        format: KeyFormat::default(),
    };
    let requests: Vec<Fields> = (0..ASKED)
        .map(|number| fields(scattered(number, keys)))
        .collect();
    let whole = each(&requests, |request| check.run(request));
    println!("{keys:10} {bytes:6} {look_up:11} {whole:9} {change:10}");
}

/// A reference key as the store keeps it.
fn managed_key(number: u64) -> KeySpec {
    KeySpec {
        origin: Origin::Store,
        ..reference_key(number)
    }
}

/// Numbers of keys in no order.
fn scattered(number: u64, keys: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys
}

/// Nanoseconds that it takes to put a key into the table.
fn median_of_puts(table: &KeyTable, mut key: impl FnMut(u64) -> Key) -> u128 {
    let mut times: Vec<Duration> = (0..CHANGES)
        .map(|number| {
            let key = key(number);
            let began = Instant::now();
            table.put(key);
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2].as_nanos()
}

/// Nanoseconds for each, in the best of some rounds.
fn each<T, R>(asked: &[T], mut ask: impl FnMut(&T) -> R) -> u128 {
    let round = |_| {
        let began = Instant::now();
        for one in asked {
            black_box(ask(one));
        }
        began.elapsed().as_nanos() / asked.len() as u128
    };
    (0..ROUNDS).map(round).min().unwrap()
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
