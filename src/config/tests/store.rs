//! The store and the vault: what their settings mean, and the exact lines that faults draw.

use super::faults::{Case, LISTENERS, check};
use super::managed::minimal;
use crate::config::{Config, ConfigError, StoreLocation, parse};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Files of secrets, and a config file beside them.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn parse(&self, more: &str) -> Result<Config, ConfigError> {
        parse(&self.place("k.yaml"), &format!("{more}\n{LISTENERS}\n"))
    }

    /// What is said about the file, without the place of the folder.
    pub(super) fn faults(&self, more: &str) -> Vec<String> {
        let fault = self.parse(more).unwrap_err().to_string();
        let folder = format!("{}/", self.0.path().display());
        let line = |line: &str| line.replace(&folder, "").replacen("k.yaml:", "", 1);
        fault.lines().map(line).collect()
    }
}

fn sqlite(config: &Config) -> &Path {
    match &config.store {
        Some(StoreLocation::Sqlite(path)) => path,
        other => panic!("{other:?}"),
    }
}

fn postgres(config: &Config) -> &str {
    match &config.store {
        Some(StoreLocation::Postgres(url)) => url.expose(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_store_stands_beside_the_config_file() {
    let here = std::env::current_dir().unwrap();
    let config = minimal("");
    assert_eq!(sqlite(&config), here.join("data/keygate.db"));
    assert_eq!(config.data_dir, here.join("data"));
    let config = minimal("store: null\ndata_dir: null");
    assert_eq!(sqlite(&config), here.join("data/keygate.db"));
    let config = parse(Path::new("/etc/keygate/k.yaml"), LISTENERS).unwrap();
    assert_eq!(sqlite(&config), Path::new("/etc/keygate/data/keygate.db"));
    let folder = Folder::with(&[]);
    let config = folder
        .parse("store: 'sqlite:./a %?#.db'\ndata_dir: kept")
        .unwrap();
    assert_eq!(sqlite(&config), folder.place("a %?#.db"));
    assert_eq!(config.data_dir, folder.place("kept"));
    let config = minimal("store: sqlite:/var/lib/keygate/k.db\ndata_dir: /var/lib/keygate");
    assert_eq!(sqlite(&config), Path::new("/var/lib/keygate/k.db"));
    assert_eq!(config.data_dir, Path::new("/var/lib/keygate"));
    assert!(minimal("store: none").store.is_none());
}

#[test]
fn urls_of_databases() {
    for url in [
        "postgres://localhost",
        "postgresql://keygate@db.example.com:5432/keygate?sslmode=require",
        "postgres://keygate@[::1]:5432/keygate",
        "postgres://10.0.0.5/keygate",
        "postgres:///keygate?host=/var/run/postgresql&user=a@b",
        "postgres://keygate@%2Fvar%2Frun%2Fpostgresql/keygate",
    ] {
        let config = minimal(&format!("store: '{url}'"));
        assert_eq!(postgres(&config), url);
    }
}

#[test]
fn a_reference_leads_to_a_url() {
    let with_password = "postgres://keygate:p%40ss:word@db/keygate?sslmode=require";
    let folder = Folder::with(&[
        ("postgres", &format!("{with_password}\n")),
        ("query", "postgres://db/keygate?password=x"),
        ("sqlite", "sqlite:kept/k.db"),
    ]);
    let config = folder.parse("store: file:postgres").unwrap();
    assert_eq!(postgres(&config), with_password);
    assert!(!format!("{config:?}").contains("word"));
    assert_eq!(
        config.files,
        [folder.place("k.yaml"), folder.place("postgres")]
    );
    assert!(folder.parse("store: file:query").is_ok());
    let config = folder.parse("store: file:sqlite").unwrap();
    assert_eq!(sqlite(&config), folder.place("kept/k.db"));
}

#[test]
fn what_a_reference_leads_to_is_checked_and_not_shown() {
    let folder = Folder::with(&[
        ("none", "none"),
        ("other", "mysql://keygate:hunter2@db/keygate"),
        ("nested", "file:hunter2"),
        ("slash", "postgres://keygate:hunter2/hunter2@db/keygate"),
        ("mark", "postgres://keygate:hunter2?hunter2@db/keygate"),
        ("number", "postgres://keygate:hunter2#hunter2@db/keygate"),
        ("space", "postgres://keygate:hunter2 @db/keygate"),
        ("host", "postgres://keygate:hunter2@hunter2$/keygate"),
        ("bare", "postgres://"),
        ("folder", "sqlite:hunter2/"),
    ]);
    let there = "expected `sqlite:PATH` or `postgres://user:password@host:port/database` there";
    let unreadable = "cannot be read: expected `postgres://user@host:port/database`, other characters than letters, digits and - . _ ~ in user and password as %-codes";
    let cases = [
        ("none", there),
        ("other", there),
        ("nested", there),
        ("slash", unreadable),
        ("mark", unreadable),
        ("number", unreadable),
        ("space", unreadable),
        ("host", unreadable),
        ("bare", unreadable),
        ("folder", "expected the path of a file"),
        ("gone", "gone: No such file or directory (os error 2)"),
    ];
    for (file, what) in cases {
        let said = folder.faults(&format!("store: file:{file}"));
        assert_eq!(said, [format!("1:8: store: {what}")], "{file}");
    }
}

#[test]
fn master_keys_are_hex_or_base64() {
    let bytes: [u8; 32] = std::array::from_fn(|place| u8::try_from(place * 7).unwrap());
    let folder = Folder::with(&[
        (
            "hex",
            "00070e151c232a31383f464d545b626970777e858C939AA1A8AFB6BDC4CBD2D9\n",
        ),
        ("base64", "AAcOFRwjKjE4P0ZNVFtiaXB3foWMk5qhqK+2vcTL0tk=\r\n"),
        ("old", &"00".repeat(32)),
    ]);
    for file in ["hex", "base64"] {
        let config = folder
            .parse(&format!(
                "vault: {{master_key: 'file:{file}', previous_key: file:old}}"
            ))
            .unwrap();
        assert!(!format!("{config:?}").contains("209"));
        let vault = config.vault.unwrap();
        assert_eq!(vault.master_key.expose(), &bytes);
        assert_eq!(vault.previous_key.unwrap().expose(), &[0; 32]);
        let names = ["k.yaml", "old", file].map(|name| folder.place(name));
        assert_eq!(config.files, names);
    }
    let config = folder.parse("vault: {master_key: file:hex}").unwrap();
    assert!(config.vault.unwrap().previous_key.is_none());
    assert!(minimal("vault: {}").vault.is_none());
}

#[test]
fn bad_master_keys_are_not_shown() {
    let folder = Folder::with(&[
        ("good", &"0f".repeat(32)),
        ("same", "Dw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8="),
        ("short", &"0f".repeat(31)),
        ("sign", &"+f".repeat(32)),
        ("letter", &"0g".repeat(32)),
        ("wide", &"ä".repeat(32)),
        ("31", "Dw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw=="),
        ("33", "Dw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8P"),
        ("url", "____Dw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8="),
        ("words", "correct horse battery staple"),
        ("long", &"x".repeat(60_000)),
    ]);
    let what = "expected a key of 32 bytes there: 64 hex digits, or 44 characters of base64";
    for file in [
        "short", "sign", "letter", "wide", "31", "33", "url", "words", "long",
    ] {
        let said = folder.faults(&format!("vault: {{master_key: 'file:{file}'}}"));
        assert_eq!(said, [format!("1:21: vault.master_key: {what}")], "{file}");
        let said = folder.faults(&format!(
            "vault: {{master_key: file:good, previous_key: 'file:{file}'}}"
        ));
        assert_eq!(
            said,
            [format!("1:46: vault.previous_key: {what}")],
            "{file}"
        );
    }
    assert_eq!(
        folder.faults("vault: {master_key: file:good, previous_key: file:same}"),
        ["1:46: vault.previous_key: the same key as vault.master_key"]
    );
}

#[test]
fn faults_of_the_vault() {
    check(VAULT_CASES, &[LISTENERS]);
}

#[test]
fn faults_of_the_store() {
    check(STORE_CASES, &[LISTENERS]);
}

const STORE_CASES: &[Case] = &[
    (
        "store: keygate.db",
        &[
            "1:8: store: expected `none`, `sqlite:PATH`, `postgres://user@host:port/database`, or `file:PATH` or `env:NAME` of such a URL",
        ],
    ),
    (
        "store: mysql://keygate:hunter2@db/keygate",
        &[
            "1:8: store: expected `none`, `sqlite:PATH`, `postgres://user@host:port/database`, or `file:PATH` or `env:NAME` of such a URL",
        ],
    ),
    (
        "store: [none]\ndata_dir: {}",
        &["1:8: store: expected text", "2:11: data_dir: expected text"],
    ),
    ("store: 5", &["1:8: store: expected text; put it in quotes"]),
    (
        "store: 'sqlite:'\ndata_dir: ''",
        &[
            "1:8: store: expected the path of a file",
            "2:11: data_dir: expected the path of a folder",
        ],
    ),
    (
        "store: sqlite://keygate.db",
        &["1:8: store: what stands behind `sqlite:` is a path, not `//`"],
    ),
    (
        "store: 'sqlite::memory:'",
        &["1:8: store: a store in memory would forget every key; for no store write `none`"],
    ),
    (
        r#"store: "sqlite:a\nb""#,
        &["1:8: store: must not contain control characters"],
    ),
    (
        "store: postgres://keygate:hunter2@db/keygate",
        &["1:8: store: a URL with a password is given as `file:PATH` or `env:NAME`"],
    ),
    (
        "store: postgresql://keygate:hunter2/hunter2@db/keygate",
        &["1:8: store: a URL with a password is given as `file:PATH` or `env:NAME`"],
    ),
    (
        "store: 'postgres://db/keygate?sslmode=require&PassWord=hunter2'",
        &["1:8: store: a URL with a password is given as `file:PATH` or `env:NAME`"],
    ),
    (
        "store: postgres://db:0/keygate",
        &[
            "1:8: store: cannot be read: expected `postgres://user@host:port/database`, other characters than letters, digits and - . _ ~ in user and password as %-codes",
        ],
    ),
    (
        "store: env:KEYGATE_TEST_UNSET\ndata_dir: \"a\\nb\"",
        &[
            "1:8: store: environment variable `KEYGATE_TEST_UNSET` is not set",
            "2:11: data_dir: must not contain control characters",
        ],
    ),
    (
        "store: 'file:'",
        &["1:8: store: a secret is given as `file:path` or `env:NAME`, never in this file"],
    ),
];

const VAULT_CASES: &[Case] = &[
    ("vault: file:x", &["1:8: vault: expected a mapping"]),
    (
        "vault: {master_key: 0f0f0f0f, previous_key: hunter2, key: x}",
        &[
            "1:21: vault.master_key: a secret is given as `file:path` or `env:NAME`, never in this file",
            "1:45: vault.previous_key: a secret is given as `file:path` or `env:NAME`, never in this file",
            "1:54: vault.key: unknown field `key`; known: master_key, previous_key",
        ],
    ),
    (
        "vault: {previous_key: env:KEYGATE_TEST_UNSET}",
        &[
            "1:23: vault.previous_key: environment variable `KEYGATE_TEST_UNSET` is not set",
            "1:23: vault.previous_key: needs `master_key` beside it",
        ],
    ),
];
