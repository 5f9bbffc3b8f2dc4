//! Every example does what the documents say.

use super::blocks::{self, Block, Kind};
use super::program::{Gateway, Script, Service, certificate, free_port, keygate, run, text};
use super::root;
use keygate::domain::key::{KeyFormat, SCANNER_REGEX};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// What stands behind a command is in its output, each part between commas.
const CLAIM: &str = "  # → ";

/// Fills in what a fragment leaves out.
const SECTIONS: [(&str, &str); 5] = [
    ("listeners", "listeners: [{ address: 127.0.0.1:8080 }]\n"),
    (
        "upstreams",
        "upstreams: { service: { endpoints: [http://127.0.0.1:9000] } }\n",
    ),
    (
        "routes",
        "routes: [{ name: service, match: {}, upstream: service }]\n",
    ),
    ("consumers", "consumers: []\n"),
    ("keys", "keys: []\n"),
];

#[test]
fn every_example_is_checked() {
    let blocks = blocks::all();
    assert!(blocks.len() > 20, "only {} blocks found", blocks.len());
    let faults: Vec<String> = blocks
        .iter()
        .filter_map(|block| block.kind().err())
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn config_files_pass_the_check() {
    let blocks = blocks::all();
    let mut tried = 0;
    for block in &blocks {
        let config = match block.kind() {
            Ok(Kind::Whole) => block.text.clone(),
            Ok(Kind::Fragment) => completed(&block.text),
            _ => continue,
        };
        let checked = check(&config);
        assert_eq!(checked, (Some(0), String::new()), "{}", block.place());
        tried += 1;
    }
    assert!(tried > 5);
}

#[test]
fn faults_are_told_as_shown() {
    let blocks = blocks::all();
    let pairs: Vec<_> = blocks
        .windows(2)
        .filter(|pair| pair[0].is(&Kind::Faulty) || pair[1].is(&Kind::Faults))
        .collect();
    assert!(!pairs.is_empty());
    for pair in pairs {
        assert!(
            pair[0].is(&Kind::Faulty) && pair[1].is(&Kind::Faults),
            "{}: a faulty file and its faults stand together",
            pair[0].place()
        );
        let want = (Some(7), pair[1].text.clone());
        assert_eq!(check(&pair[0].text), want, "{}", pair[1].place());
    }
}

/// A fragment with the sections that it lacks.
fn completed(fragment: &str) -> String {
    let lacking = SECTIONS.iter().filter(|(name, _)| {
        let start = format!("{name}:");
        !fragment.lines().any(|line| line.starts_with(&start))
    });
    let others: String = lacking.map(|(_, section)| *section).collect();
    format!("{fragment}{others}")
}

/// Exit code and complaints of `keygate check`.
fn check(config: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    fs::create_dir(place("secrets")).unwrap();
    fs::write(place("secrets/management-token"), "a-token-of-a-file\n").unwrap();
    fs::write(place("secrets/reports-key"), "a-key-of-another-form\n").unwrap();
    let url = "postgres://keygate:p%40ss@db.example.com/keygate\n";
    fs::write(place("secrets/store-url"), url).unwrap();
    fs::write(place("secrets/smtp-password"), "a-password\n").unwrap();
    fs::write(place("secrets/master-key"), "a7".repeat(32)).unwrap();
    if config.contains("secrets/tls.key") {
        certificate(&place("secrets"));
    }
    fs::write(place("keygate.yaml"), config).unwrap();
    let output = keygate(folder.path(), &["check", "keygate.yaml"]);
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn configurations_of_others_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let (name, prefix) = (file.to_str().unwrap(), folder.path().to_str().unwrap());
    let mut tried = BTreeSet::new();
    for block in blocks::all() {
        let output = match block.kind() {
            Ok(Kind::Prometheus) => {
                tried.insert("Prometheus");
                fs::write(&file, &block.text).unwrap();
                run(
                    "promtool",
                    "prometheus",
                    &["check", "config", "--syntax-only", name],
                )
            }
            Ok(Kind::Nginx) => {
                tried.insert("nginx");
                let whole = format!(
                    "pid pid;\nevents {{}}\nhttp {{\naccess_log off;\n{}}}\n",
                    block.text
                );
                fs::write(&file, whole).unwrap();
                run(
                    "nginx",
                    "nginx-light",
                    &["-t", "-e", "stderr", "-p", prefix, "-c", name],
                )
            }
            _ => continue,
        };
        assert!(
            output.status.success(),
            "{}\n{}",
            block.place(),
            text(&output)
        );
    }
    assert_eq!(tried.len(), 2);
}

// --- Shell ---------------------------------------------------------------------------------------------------------

#[test]
fn the_two_commands_are_there() {
    let blocks = blocks::all();
    let block = blocks
        .iter()
        .find(|block| block.is(&Kind::Commands))
        .unwrap();
    for line in block.text.lines() {
        if let Some(arguments) = line.strip_prefix("cargo run --release -- ") {
            let output = keygate(root(), &[arguments, "--once"]);
            assert!(output.status.success(), "{line}\n{}", text(&output));
        } else {
            let file = fs::metadata(root().join(line)).unwrap();
            assert!(
                file.permissions().mode() & 0o111 != 0,
                "{line} is not executable"
            );
        }
    }
    assert_eq!(block.text.lines().count(), 2);
}

#[test]
fn commands_do_what_the_documents_say() {
    let blocks = blocks::all();
    let mut names: Vec<String> = Vec::new();
    for block in &blocks {
        if let Ok(Kind::Run(name)) = block.kind()
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        let kind = Kind::Run(name);
        let parts: Vec<&Block> = blocks.iter().filter(|block| block.is(&kind)).collect();
        try_out(&parts);
    }
}

/// Runs blocks as one script and compares what it says with what the documents claim.
fn try_out(parts: &[&Block]) {
    let folder = tempfile::tempdir().unwrap();
    let path = tools(folder.path());
    let whole: String = parts.iter().map(|block| &*block.text).collect();
    let (script, claims) = with_outputs_kept(&on_free_ports(&whole), folder.path());
    let mut running = Script::start(&script, folder.path(), &path);
    let good = running.ends_well();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    let place = parts[0].place();
    assert!(
        good,
        "{place}\n{script}\n{}{}",
        read("script.out"),
        read("script.err")
    );
    assert!(
        !claims.is_empty(),
        "{place}: no command says what it prints"
    );
    for (number, (command, wanted)) in claims.iter().enumerate() {
        let output = read(&format!("output.{number}"));
        for part in wanted.split(", ") {
            assert!(
                output.contains(part),
                "{place}: {command}\nwithout `{part}`:\n{output}"
            );
        }
    }
}

/// `PATH` with the program, and with a `cargo` that puts it where a build would.
fn tools(folder: &Path) -> String {
    let tools = folder.join("tools");
    fs::create_dir(&tools).unwrap();
    let program = env!("CARGO_BIN_EXE_keygate");
    symlink(program, tools.join("keygate")).unwrap();
    let cargo = format!(
        "#!/bin/sh\n[ \"$*\" = 'build --release' ] && mkdir -p target/release && ln -s '{program}' target/release/keygate\n"
    );
    fs::write(tools.join("cargo"), cargo).unwrap();
    fs::set_permissions(tools.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin", tools.display())
}

/// The ports of the examples may be taken, and a second may be too short on a busy machine.
fn on_free_ports(script: &str) -> String {
    let wait = "until curl -s http://127.0.0.1:8081/metrics | grep -q 'reloads_total{result=\"ok\"} 1'; do sleep 0.05; done";
    let mut script = script.replace("\nsleep 1\n", &format!("\n{wait}\n"));
    for port in ["8080", "8081", "9000"] {
        let whole = Regex::new(&format!(r"\b{port}\b")).unwrap();
        script = whole
            .replace_all(&script, free_port().to_string())
            .into_owned();
    }
    script
}

/// The script with the output of each command that has a claim in a file; and those claims.
fn with_outputs_kept(script: &str, folder: &Path) -> (String, Vec<(String, String)>) {
    let mut claims = Vec::new();
    let mut out = String::from("set -eu\n");
    for line in script.lines() {
        if let Some((command, wanted)) = line.split_once(CLAIM) {
            let file = folder.join(format!("output.{}", claims.len()));
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{{ {command}\n}} >'{}' 2>&1", file.display());
            claims.push((command.to_owned(), wanted.to_owned()));
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    (out, claims)
}

#[test]
fn lines_of_other_files_stand_there() {
    let mut tried = 0;
    for block in blocks::all() {
        let Ok(Kind::SameLines(file)) = block.kind() else {
            continue;
        };
        let text = fs::read_to_string(root().join(&file)).unwrap();
        let lines: BTreeSet<&str> = text
            .lines()
            .map(|line| line.trim_start_matches(['#', ' ']))
            .collect();
        for line in block.text.lines() {
            assert!(
                lines.contains(line),
                "{}: not in {file}: {line}",
                block.place()
            );
            tried += 1;
        }
    }
    assert!(tried > 0);
}

// --- Text and JSON -------------------------------------------------------------------------------------------------

#[test]
fn the_expression_for_scanners_is_the_one_in_the_source() {
    let blocks = blocks::all();
    let shown: Vec<&str> = blocks
        .iter()
        .filter(|block| block.is(&Kind::Scanner))
        .map(|block| block.text.trim_end())
        .collect();
    assert_eq!(shown, [SCANNER_REGEX]);
    let scanner = Regex::new(shown[0]).unwrap();
    let key = KeyFormat::default().generate("test").unwrap();
    let found = format!("key = \"{}\";", key.expose());
    assert_eq!(scanner.find(&found).unwrap().as_str(), key.expose());
}

#[test]
fn drawings_name_files_that_are_there() {
    let name = Regex::new(r"[a-z_/]+\.rs").unwrap();
    let blocks = blocks::all();
    let drawings: Vec<_> = blocks
        .iter()
        .filter(|block| block.is(&Kind::Diagram))
        .collect();
    assert!(!drawings.is_empty());
    for drawing in drawings {
        let files: Vec<&str> = name
            .find_iter(&drawing.text)
            .map(|found| found.as_str())
            .collect();
        assert!(files.len() > 5);
        for file in files {
            assert!(
                root().join(file).is_file(),
                "{}: {file} is not there",
                drawing.place()
            );
        }
    }
}

#[test]
fn json_has_the_fields_of_the_real_thing() {
    let service = Service::start();
    let key = KeyFormat::default().generate("live").unwrap();
    let rest = format!(
        "log: {{ access_path: true }}\n\
         upstreams: {{ app: {{ endpoints: [\"http://{}\"] }} }}\n\
         routes: [{{ name: app, match: {{}}, upstream: app, auth: {{ scopes: a }} }}]\n\
         consumers: [{{ name: acme }}]\n\
         keys: [{{ name: ci, consumer: acme, secret: file:key, scopes: [a], expires_at: 2099-01-01 }}]\n",
        service.address
    );
    let gateway = Gateway::start(&rest, key.expose());
    let header = format!("x-api-key: {}", key.expose());
    assert_eq!(gateway.call("/", &[&header]).0, 200);
    let mut tried = 0;
    for block in blocks::all() {
        let Ok(Kind::SameFields(what)) = block.kind() else {
            continue;
        };
        let real: Value = match &*what {
            "problem" => serde_json::from_str(&gateway.call("/", &[]).1).unwrap(),
            "access line" => gateway.access_line("\"status\":200"),
            path => serde_json::from_str(&gateway.manage(path).1).unwrap(),
        };
        let shown: Value = serde_json::from_str(&block.text).unwrap();
        compare(&format!("{}: {what}", block.place()), &shown, &real);
        tried += 1;
    }
    assert!(tried > 4);
}

/// Same fields and same types, `null` aside; of lists the first items.
fn compare(place: &str, shown: &Value, real: &Value) {
    match (shown, real) {
        (Value::Object(shown), Value::Object(real)) => {
            let names = |fields: &serde_json::Map<String, Value>| {
                fields.keys().cloned().collect::<BTreeSet<_>>()
            };
            assert_eq!(names(shown), names(real), "{place}");
            for (name, value) in shown {
                compare(&format!("{place}.{name}"), value, &real[name]);
            }
        }
        (Value::Array(shown), Value::Array(real)) => {
            if let (Some(shown), Some(real)) = (shown.first(), real.first()) {
                compare(place, shown, real);
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (shown, real) => assert_eq!(
            std::mem::discriminant(shown),
            std::mem::discriminant(real),
            "{place}: {shown} but really {real}"
        ),
    }
}
