//! Every target over its corpus and over what is nearly the same, without cargo-fuzz: so that each change is asked what the
//! long runs have asked before.

use std::fmt::Write;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// What the targets read differently from its neighbours.
const WORDS: [&[u8]; 30] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b"\x0c",
    b",",
    b";",
    b":",
    b"=",
    b"&",
    b"/",
    b"..",
    b"%2e",
    b"%25",
    b"%2f",
    b"\"",
    b"#",
    b"_",
    b"0",
    b"65536",
    b"ffffffffffffffff",
    b"\xff",
    b"Bearer ",
    b"x-api-key:",
    b"content-length:",
    b"transfer-encoding: chunked\r\n",
    b"connection:",
    b"- ",
];

#[test]
fn answer_head() {
    holds("answer_head", super::answer_head);
}

#[test]
fn chunked() {
    holds("chunked", super::chunked);
}

#[test]
fn client_address() {
    holds("client_address", super::client_address);
}

#[test]
fn config() {
    holds("config", super::config);
}

#[test]
fn extraction() {
    holds("extraction", super::extraction);
}

#[test]
fn request_framing() {
    holds("request_framing", super::request_framing);
}

#[test]
fn key_format() {
    holds("key_format", super::key_format);
}

#[test]
fn path() {
    holds("path", super::path);
}

#[test]
fn proxy_protocol() {
    holds("proxy_protocol", super::proxy_protocol);
}

#[test]
fn request_head() {
    holds("request_head", super::request_head);
}

/// The programs of cargo-fuzz are one line each, so that they need not be built to be known to be right.
#[test]
fn each_program_runs_the_target_of_its_name() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let here = fs::read_to_string(fuzz().join("../src/fuzzing/tests.rs")).unwrap();
    let programs = files(&fuzz().join("fuzz_targets"));
    assert_eq!(
        programs.len(),
        here.matches("    holds(\"").count(),
        "{programs:?}"
    );
    for program in programs {
        let name = program.file_stem().unwrap().to_str().unwrap();
        let text = format!(
            "//! `keygate::fuzzing::{name}` for any bytes.\n#![no_main]\n\n\
             libfuzzer_sys::fuzz_target!(|data: &[u8]| keygate::fuzzing::{name}(data));\n"
        );
        assert_eq!(fs::read_to_string(&program).unwrap(), text);
        let entry = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        assert!(manifest.contains(&entry), "fuzz/Cargo.toml: no {name}");
        assert!(
            here.contains(&format!("holds(\"{name}\", super::{name})")),
            "{name} is not run here"
        );
    }
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|fault| panic!("{}: {fault}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn holds(name: &str, target: fn(&[u8])) {
    let seeds: Vec<(PathBuf, Vec<u8>)> = files(&fuzz().join("corpus").join(name))
        .into_iter()
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect();
    assert!(seeds.len() >= 5, "fuzz/corpus/{name} has next to nothing");
    for (file, bytes) in &seeds {
        run(target, bytes, &file.display().to_string());
    }
    // The same ones each time: what fails here fails everywhere.
    let mut random = fastrand::Rng::with_seed(0x6b65_7967_6174_6500);
    for number in 0..MUTATIONS {
        let (file, bytes) = &seeds[number % seeds.len()];
        let mut bytes = bytes.clone();
        for _ in 0..random.usize(1..4) {
            mutate(&mut bytes, &seeds, &mut random);
        }
        run(target, &bytes, &format!("nearly {}", file.display()));
    }
}

/// All targets together take some seconds.
const MUTATIONS: usize = 3000;

fn run(target: fn(&[u8]), bytes: &[u8], from: &str) {
    if catch_unwind(|| target(bytes)).is_err() {
        let mut hex = String::new();
        for byte in bytes {
            write!(hex, "{byte:02x}").unwrap();
        }
        panic!("{from}\nas hex: {hex}\n(docs/fuzzing.md says how to go on from here)");
    }
}

fn mutate(bytes: &mut Vec<u8>, seeds: &[(PathBuf, Vec<u8>)], random: &mut fastrand::Rng) {
    let start = random.usize(..=bytes.len());
    let end = bytes.len().min(start + random.usize(..16));
    let part = match random.u8(..7) {
        0 => vec![random.u8(..)],
        1 => WORDS[random.usize(..WORDS.len())].to_vec(),
        2 => Vec::new(),
        3 => bytes[start..end].repeat(2),
        4 => {
            let other = &seeds[random.usize(..seeds.len())].1;
            let from = random.usize(..=other.len());
            other[from..other.len().min(from + random.usize(..64))].to_vec()
        }
        5 => {
            bytes.truncate(end);
            return;
        }
        _ => bytes[start..end]
            .iter()
            .map(|byte| byte ^ (1 << random.u8(..8)))
            .collect(),
    };
    bytes.splice(start..end, part);
}
