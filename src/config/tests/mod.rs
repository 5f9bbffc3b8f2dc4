//! Whole files: good ones and what they mean, bad ones and what is said about them.

mod faults;
mod mail;
mod managed;
mod meaning;
mod reference;
mod store;

use super::*;
use std::path::Path;

const HASH: &str = "blake3:0000000000000000000000000000000000000000000000000000000000000000";
const OTHER: &str = "blake3:1111111111111111111111111111111111111111111111111111111111111111";

/// The faults of a file, without the file's name.
fn faults(text: &str) -> Vec<String> {
    match parse(Path::new("k.yaml"), text) {
        Ok(_) => Vec::new(),
        Err(fault) => lines(&fault),
    }
}

fn lines(fault: &ConfigError) -> Vec<String> {
    let text = fault.to_string();
    text.lines()
        .map(|line| line.strip_prefix("k.yaml:").unwrap().to_owned())
        .collect()
}

fn good(text: &str) -> Config {
    parse(Path::new("k.yaml"), text).unwrap_or_else(|fault| panic!("{text}\n{fault}"))
}
