//! What a table costs as it grows: `cargo bench --bench key_table [-- KEYS...]`, one line for each number of keys.
//!
//! Memory is what the process holds after the table is filled, less what it held before, with the allocator of the program.
//! A look-up and a whole check (from a request's fields to a permit) take another key each time, so that what the caches do not
//! hold is paid for. A change replaces a key, under the lock of its shard. While the table is filled, the longest is a shard's
//! growth, the kernel's work for memory that is new to the process included.

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
use keygate::snapshot::key::{KeyCompiler, Symbols};
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
const CHANGES: u64 = 100_000;

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
    println!(
        "      keys  B/key  look-up ns  check ns  change ns, median and longest  fill, longest ns"
    );
    for keys in sizes {
        one(keys);
    }
}

fn one(keys: u64) {
    let symbols = Symbols::default();
    let mut compiler = KeyCompiler::default();
    let before = resident();
    let table = KeyTable::default();
    let filled = puts(&table, keys, |number| {
        compiler.compile(&managed_key(number), &symbols)
    });
    let bytes = resident().saturating_sub(before) / keys;
    let changed = puts(&table, CHANGES, |number| {
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
    println!(
        "{keys:10} {bytes:6} {look_up:11} {whole:9} {:18} {:11} {:17}",
        changed.median.as_nanos(),
        changed.longest.as_nanos(),
        filled.longest.as_nanos(),
    );
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

struct Puts {
    median: Duration,
    longest: Duration,
}

/// Puts keys into the table and times that alone; the median is that of a few of them.
fn puts(
    table: &KeyTable,
    number: u64,
    mut key: impl FnMut(u64) -> keygate::snapshot::key::Key,
) -> Puts {
    let (mut some, mut longest) = (Vec::with_capacity(1024), Duration::ZERO);
    for place in 0..number {
        let key = key(place);
        let began = Instant::now();
        table.put(key);
        let took = began.elapsed();
        longest = longest.max(took);
        if place % number.div_ceil(1024) == 0 {
            some.push(took);
        }
    }
    some.sort_unstable();
    Puts {
        median: some[some.len() / 2],
        longest,
    }
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
