//! Config files: any text is read to its end, and what is wrong with it is said with its place.

use crate::config::{self, Config, ConfigError, Fault};
use std::path::Path;

/// Any text as a config file.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // What stands in other files or in the environment is not the fuzzer's to choose.
    if ["file:", "env:", "/dev", "/proc"]
        .iter()
        .any(|other| text.contains(other))
    {
        return;
    }
    let file = Path::new("fuzz.yaml");
    match config::parse(file, text) {
        Ok(config) => {
            faults_have_places(&config.warnings, text);
            resolves(&config);
        }
        Err(ConfigError::Invalid { faults, files }) => {
            assert!(!faults.is_empty(), "refused without a reason");
            assert_eq!(files.first().map(|file| &**file), Some(file));
            faults_have_places(&faults, text);
            let again = config::parse(file, text).map(|_| ());
            let said = ConfigError::Invalid { faults, files }.to_string();
            assert_eq!(again.map_err(|fault| fault.to_string()), Err(said));
        }
        Err(ConfigError::Unreadable { .. }) => assert!(data.is_empty(), "nothing was to be read"),
    }
}

/// Each at a place of the file, or right behind its end; in its order.
fn faults_have_places(faults: &[Fault], text: &str) {
    // What ends a line in YAML.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    for fault in faults {
        assert!(!fault.what.is_empty(), "{fault:?}");
        let Some((line, column)) = fault.place else {
            assert!(text.is_empty(), "no place: {fault:?}");
            continue;
        };
        assert!(line >= 1 && column >= 1, "{fault:?}");
        assert!(
            line <= lines.len() + 1,
            "{fault:?} of {} lines",
            lines.len()
        );
        let length = lines.get(line - 1).map_or(0, |line| line.chars().count());
        assert!(column <= length + 2, "{fault:?} in a line of {length}");
    }
    let places: Vec<_> = faults.iter().map(|fault| fault.place).collect();
    assert!(places.is_sorted(), "{places:?}");
}

/// What refers to something leads somewhere.
fn resolves(config: &Config) {
    assert!(!config.listeners.is_empty());
    for route in &config.routes {
        assert!(route.upstream < config.upstreams.len(), "{route:?}");
        assert!(!route.name.is_empty());
    }
    for upstream in &config.upstreams {
        assert!(!upstream.endpoints.is_empty(), "{upstream:?}");
    }
}
