//! The parts of the request path that are ours: making keys, telling them apart, the whole check, finding a route.

mod common;

use common::{Check, fields, plain_key, router};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Method;
use keygate::domain::key::KeyFormat;
use keygate::snapshot::key::Symbols;
use std::hint::black_box;

fn keys(c: &mut Criterion) {
    let format = KeyFormat::default();
    c.bench_function("key/generate", |b| b.iter(|| format.generate("live")));
    let key = plain_key(7);
    c.bench_function("key/parse_and_checksum", |b| {
        b.iter(|| format.shape(black_box(key.expose().as_bytes())));
    });
    c.bench_function("key/hash", |b| b.iter(|| black_box(&key).hash()));
}

/// With many keys each round takes another one, so that what the caches do not hold is paid for.
fn whole_check(c: &mut Criterion) {
    let mut group = c.benchmark_group("check/extract_to_permit");
    for count in [1, 100_000, 1_000_000] {
        let check = Check::with_keys(count);
        let requests: Vec<_> = (0..4096_u64)
            .map(|n| fields(n.wrapping_mul(2_654_435_761) % count))
            .collect();
        let mut next = 0;
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter_batched(
                || {
                    next = (next + 1) % requests.len();
                    &requests[next]
                },
                |request| check.run(request),
                BatchSize::SmallInput,
            );
        });
    }
}

fn route_find(c: &mut Criterion) {
    let mut group = c.benchmark_group("route/find");
    for count in [10, 1000] {
        let router = router(count, &Symbols::default());
        let path = format!("/service-{}/v1/invoices/42", count / 2);
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| router.find("api.example.com", black_box(&path), &Method::GET));
        });
        let odd = format!("/service-{}/v1/a%2Fb;x//c", count / 2);
        group.bench_function(BenchmarkId::new("two_readings", count), |b| {
            b.iter(|| router.find("api.example.com", black_box(&odd), &Method::GET));
        });
    }
}

criterion_group!(benches, keys, whole_check, route_find);
criterion_main!(benches);
