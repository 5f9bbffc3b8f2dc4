//! The deploy files agree with the repository and with each other; building and running the image is
//! `deploy/check-image`.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_dockerfile_fits_the_repository() {
    let faults = dockerfile_faults(&read("Dockerfile"), &read(".dockerignore"), root());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_build_image_has_the_pinned_toolchain() {
    let pinned = read("rust-toolchain.toml");
    let channel = pinned.split('"').nth(1).unwrap();
    let wanted = format!("ARG BUILD_IMAGE=rust:{channel}-");
    assert!(
        read("Dockerfile")
            .lines()
            .any(|line| line.starts_with(&wanted)),
        "Dockerfile: no `{wanted}…`, but rust-toolchain.toml pins {channel}"
    );
}

#[test]
fn what_the_sources_include_enters_the_build() {
    let faults = include_faults(&read("Dockerfile"), root());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_image_keeps_its_store_in_a_volume_of_its_user() {
    let last = last_stage(&read("Dockerfile"));
    let volume = argument(&last, "VOLUME").unwrap_or_default();
    let folder = volume.trim_matches(['[', ']', '"']).to_owned();
    assert!(folder.starts_with('/'), "Dockerfile: VOLUME {volume}");
    let user = argument(&last, "USER").unwrap_or_default();
    let user = user.split(':').next().unwrap_or_default();
    let made = format!("install --directory --owner={user} --group={user} --mode=0750 {folder}");
    let runs = last.iter().filter(|(word, _)| word == "RUN");
    assert!(
        runs.into_iter().any(|(_, command)| command.contains(&made)),
        "Dockerfile: no `{made}`: the volume would belong to root"
    );
    let config = read("config/container.yaml");
    for wanted in [
        format!("store: sqlite:{folder}/keygate.db"),
        format!("data_dir: {folder}"),
    ] {
        assert!(
            config.lines().any(|line| line == wanted),
            "config/container.yaml: no line `{wanted}`"
        );
    }
}

#[test]
fn the_unit_is_hardened_and_stops_in_time() {
    let faults = unit_faults(&read("deploy/keygate.service"));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

// --- The rules -----------------------------------------------------------------------------------------------------

fn dockerfile_faults(dockerfile: &str, ignore: &str, root: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    let sources = copied(dockerfile);
    if sources.is_empty() {
        faults.push("Dockerfile: nothing is copied".into());
    }
    for source in sources {
        if !root.join(&source).exists() {
            faults.push(format!("Dockerfile: COPY {source}: not in the repository"));
        }
        match is_ignored(&source, ignore) {
            Ok(false) => {}
            Ok(true) => faults.push(format!(
                "Dockerfile: COPY {source}: .dockerignore keeps it out"
            )),
            Err(pattern) => faults.push(format!(
                ".dockerignore: `{pattern}`: too clever for this test"
            )),
        }
    }
    let last = last_stage(dockerfile);
    let user = argument(&last, "USER");
    match user
        .as_deref()
        .map(|user| user.split(':').next().unwrap_or_default())
    {
        None => faults.push("Dockerfile: no USER in the last stage".into()),
        Some(user) if user.parse::<u32>().is_ok_and(|id| id > 0) => {}
        Some(user) => faults.push(format!("Dockerfile: USER {user}: wanted a number above 0")),
    }
    for (word, wanted) in [
        ("ENTRYPOINT", "[\"keygate\"]"),
        ("CMD", "[\"serve\"]"),
        ("STOPSIGNAL", "SIGTERM"),
    ] {
        if argument(&last, word).as_deref() != Some(wanted) {
            faults.push(format!(
                "Dockerfile: wanted `{word} {wanted}` in the last stage"
            ));
        }
    }
    if !argument(&last, "HEALTHCHECK")
        .is_some_and(|check| check.ends_with("CMD [\"keygate\", \"health\"]"))
    {
        faults.push(
            "Dockerfile: wanted a HEALTHCHECK with `keygate health` in the last stage".into(),
        );
    }
    faults
}

/// `include_str!` and `include_bytes!` with a path that the build stage does not get.
fn include_faults(dockerfile: &str, root: &Path) -> Vec<String> {
    let sources = copied(dockerfile);
    let mut faults = Vec::new();
    for file in rust_files(&root.join("src")) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        for part in ["include_str!(\"", "include_bytes!(\""]
            .iter()
            .flat_map(|call| text.split(call).skip(1))
        {
            let path = part.split('"').next().unwrap_or_default();
            let full = flat(&file.with_file_name(path));
            let below = full.strip_prefix(root).unwrap_or(&full);
            if !sources.iter().any(|source| below.starts_with(source)) {
                faults.push(format!(
                    "Dockerfile: {} includes {path}, which is not copied",
                    file.display()
                ));
            }
        }
    }
    faults
}

fn unit_faults(unit: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for wanted in [
        "ExecStart=/usr/local/bin/keygate serve",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Environment=KEYGATE_CONFIG=/etc/keygate/keygate.yaml",
        "User=keygate",
        "StateDirectory=keygate",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "AmbientCapabilities=CAP_NET_BIND_SERVICE",
        "Restart=on-failure",
        // `check failed`: the exit code of a bad config.
        "RestartPreventExitStatus=7",
        "LimitNOFILE=1048576",
        // The default `drain_timeout` and 5 s.
        "TimeoutStopSec=35",
        "WantedBy=multi-user.target",
    ] {
        if !unit.lines().any(|line| line == wanted) {
            faults.push(format!("deploy/keygate.service: no line `{wanted}`"));
        }
    }
    for line in unit.lines() {
        let plain = line.is_empty() || line.starts_with('#') || line.starts_with('[');
        if !plain
            && !line
                .split_once('=')
                .is_some_and(|(key, value)| !key.contains(' ') && !value.is_empty())
        {
            faults.push(format!("deploy/keygate.service: `{line}` is no setting"));
        }
    }
    faults
}

// --- Reading -------------------------------------------------------------------------------------------------------

/// Instructions as word and the rest, with continued lines joined.
fn instructions(dockerfile: &str) -> Vec<(String, String)> {
    let lines = dockerfile
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let split = joined
        .lines()
        .filter_map(|line| line.trim().split_once(' '));
    split
        .map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()))
        .collect()
}

fn last_stage(dockerfile: &str) -> Vec<(String, String)> {
    let all = instructions(dockerfile);
    let start = all
        .iter()
        .rposition(|(word, _)| word == "FROM")
        .unwrap_or(0);
    all[start..].to_vec()
}

/// What stands behind the last instruction of that name.
fn argument(stage: &[(String, String)], word: &str) -> Option<String> {
    let found = stage.iter().rfind(|(first, _)| first == word);
    found.map(|(_, rest)| rest.clone())
}

/// Sources of COPY and ADD in the build context.
fn copied(dockerfile: &str) -> Vec<String> {
    let all = instructions(dockerfile);
    let copies = all.iter().filter(|(word, rest)| {
        matches!(word.as_str(), "COPY" | "ADD") && !rest.contains("--from=")
    });
    let mut sources = Vec::new();
    for (_, rest) in copies {
        let mut words: Vec<&str> = rest
            .split_whitespace()
            .filter(|word| !word.starts_with("--"))
            .collect();
        words.pop();
        sources.extend(
            words
                .into_iter()
                .map(|word| word.trim_start_matches("./").to_owned()),
        );
    }
    sources
}

/// Whether .dockerignore keeps a path out: the last pattern that fits it, or a folder above it, decides. `Err` is a
/// pattern with more than `*` inside a name.
fn is_ignored(path: &str, ignore: &str) -> Result<bool, String> {
    let mut ignored = false;
    for line in ignore.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (keeps_out, pattern) = line
            .strip_prefix('!')
            .map_or((true, line), |rest| (false, rest));
        if pattern.contains(['?', '[', '\\']) || pattern.contains("**") {
            return Err(line.to_owned());
        }
        let pattern: Vec<&str> = pattern.trim_matches('/').split('/').collect();
        let names: Vec<&str> = path.split('/').collect();
        let fits = names.len() >= pattern.len()
            && pattern
                .iter()
                .zip(&names)
                .all(|(pattern, name)| name_fits(pattern, name));
        if fits {
            ignored = keeps_out;
        }
    }
    Ok(ignored)
}

/// `*` stands for any characters of a name.
fn name_fits(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(tail) = name.strip_prefix(head) else {
        return false;
    };
    (0..=tail.len())
        .filter(|at| tail.is_char_boundary(*at))
        .any(|at| name_fits(rest, &tail[at..]))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// A path without its `..`.
fn flat(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path {
        if part == ".." {
            out.pop();
        } else {
            out.push(part);
        }
    }
    out
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let text = fs::read_to_string(root().join(path)).unwrap_or_default();
    assert!(!text.is_empty(), "{path} is missing or empty");
    text
}

// --- The rules can fail --------------------------------------------------------------------------------------------

const DOCKERFILE: &str = "FROM a AS build\nCOPY Cargo.toml src/ ./\nFROM b\nCOPY --from=build /x /x\nUSER 65532:65532\n\
                          STOPSIGNAL SIGTERM\nHEALTHCHECK --retries=3 \\\n  CMD [\"keygate\", \"health\"]\n\
                          ENTRYPOINT [\"keygate\"]\nCMD [\"serve\"]\n";

#[test]
fn a_wrong_dockerfile_is_found() {
    let faults = |dockerfile: &str| dockerfile_faults(dockerfile, "*\n!Cargo.toml\n!src\n", root());
    assert!(faults(DOCKERFILE).is_empty(), "{:?}", faults(DOCKERFILE));
    for (from, to) in [
        ("COPY Cargo.toml", "COPY Cargo.toml Cargo.lock"),
        ("COPY Cargo.toml", "COPY \\\n  missing.txt"),
        ("COPY Cargo.toml src/ ./\n", ""),
        ("USER 65532:65532\n", ""),
        ("USER 65532:65532\n", "# USER 65532:65532\n"),
        ("USER 65532:65532", "USER root"),
        ("USER 65532:65532", "USER 0:0"),
        ("USER 65532:65532\n", "USER 65532:65532\nUSER 0\n"),
        ("HEALTHCHECK", "LABEL"),
        ("FROM b\n", "FROM b\nUSER 1\nFROM c\n# USER 2\n"),
        ("[\"serve\"]", "[\"demo\"]"),
        ("SIGTERM", "SIGKILL"),
    ] {
        let changed = DOCKERFILE.replacen(from, to, 1);
        assert_ne!(changed, DOCKERFILE);
        if from == "FROM b\n" {
            // A USER of an earlier stage counts for nothing.
            let without = changed.replacen("USER 65532:65532\n", "", 1);
            assert!(!faults(&without).is_empty(), "{without}");
        } else {
            assert!(!faults(&changed).is_empty(), "{changed}");
        }
    }
}

#[test]
fn ignored_paths_are_told() {
    for (path, ignore, wanted) in [
        ("src", "*\n!src", false),
        ("src/main.rs", "*\n!src", false),
        ("docs", "*\n!src", true),
        ("src", "!src\n*", true),
        ("src", "target\n# src", false),
        ("config/a.yaml", "config/*.yaml", true),
        ("config/a.yml", "config/*.yaml", false),
        ("config", "config/*.yaml", false),
    ] {
        assert_eq!(is_ignored(path, ignore), Ok(wanted), "{path} | {ignore}");
    }
    assert!(is_ignored("src", "**/*.rs").is_err());
}

#[test]
fn a_missing_include_is_found() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("src/a")).unwrap();
    fs::write(
        folder.path().join("src/a/b.rs"),
        "const X: &str = include_str!(\"../../config/demo.yaml\");",
    )
    .unwrap();
    assert!(
        include_faults(
            "FROM a\nCOPY src ./src\nCOPY config ./config",
            folder.path()
        )
        .is_empty()
    );
    assert_eq!(
        include_faults("FROM a\nCOPY src ./src", folder.path()).len(),
        1
    );
}

#[test]
fn a_wrong_unit_is_found() {
    let unit = read("deploy/keygate.service");
    for (from, to) in [
        ("\nNoNewPrivileges=yes", ""),
        ("\nExecStart=/usr", "\nExecStart=/opt"),
        ("\nTimeoutStopSec=35", "\nTimeoutStopSec=5"),
        ("\nUser=keygate", "\nUser=root"),
        ("\nUMask=0077", "\nUMask 0077"),
        ("\nUMask=0077", "\nUMask="),
    ] {
        let changed = unit.replacen(from, to, 1);
        assert_ne!(changed, unit, "{from}");
        assert!(!unit_faults(&changed).is_empty(), "{to}");
    }
}
