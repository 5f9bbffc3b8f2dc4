//! What we build on: one crypto stack, no known holes, finished versions only, and a written reason for each direct
//! dependency.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// rustls with aws-lc-rs is the one crypto stack.
const BANNED: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls"];
/// Older ones have known holes.
const AT_LEAST: &[(&str, [u64; 3])] = &[("rustls", [0, 23, 45]), ("h2", [0, 4, 16])];

#[test]
fn no_banned_crate_is_built() {
    assert_no_faults(&banned(&built()));
}

#[test]
fn versions_have_no_known_holes() {
    assert_no_faults(&too_old(&lock()));
}

#[test]
fn direct_dependencies_are_finished_versions() {
    assert_no_faults(&unfinished(&lock(), &read("Cargo.toml")));
}

#[test]
fn each_direct_dependency_has_its_reason() {
    assert_no_faults(&without_reason(
        &read("Cargo.toml"),
        &read("docs/decisions.md"),
    ));
}

// --- The rules -----------------------------------------------------------------------------------------------------

/// A package of Cargo.lock.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
    /// As written: the name, and the version behind it where there are several.
    dependencies: Vec<String>,
}

fn banned(packages: &[Package]) -> Vec<String> {
    let hits = packages
        .iter()
        .filter(|package| BANNED.contains(&package.name.as_str()));
    hits.map(|package| {
        format!(
            "{} {} is banned (who wants it: cargo tree -i {})",
            package.name, package.version, package.name
        )
    })
    .collect()
}

fn too_old(packages: &[Package]) -> Vec<String> {
    let mut faults = Vec::new();
    for package in packages {
        let bound = AT_LEAST.iter().find(|(name, _)| *name == package.name);
        if let Some((name, least)) = bound
            && numbers(&package.version)
                .is_none_or(|version| version < *least || is_unfinished(&package.version))
        {
            let [major, minor, patch] = least;
            faults.push(format!(
                "Cargo.lock: {name} {} is older than {major}.{minor}.{patch}",
                package.version
            ));
        }
    }
    faults
}

fn unfinished(packages: &[Package], manifest: &str) -> Vec<String> {
    let Some(own) = packages.iter().find(|package| package.name == "keygate") else {
        return vec!["Cargo.lock: no package `keygate`".into()];
    };
    let mut faults = Vec::new();
    for name in direct(manifest) {
        let wanted = own.dependencies.iter().find_map(|entry| {
            let (first, version) = entry.split_once(' ').unwrap_or((entry, ""));
            (first == name).then_some(version)
        });
        let Some(wanted) = wanted else {
            faults.push(format!(
                "Cargo.lock: `{name}` of Cargo.toml is not a dependency of keygate there"
            ));
            continue;
        };
        let version = packages
            .iter()
            .find(|package| {
                package.name == name && (wanted.is_empty() || package.version == wanted)
            })
            .map_or("", |package| package.version.as_str());
        if numbers(version).is_none() || is_unfinished(version) {
            faults.push(format!(
                "Cargo.lock: {name} \"{version}\" is not a finished version"
            ));
        }
    }
    faults
}

fn without_reason(manifest: &str, decisions: &str) -> Vec<String> {
    let names = direct(manifest);
    if names.is_empty() {
        return vec!["Cargo.toml: no dependencies found".into()];
    }
    let missing = names
        .iter()
        .filter(|name| !decisions.contains(&format!("`{name}`")));
    missing
        .map(|name| format!("docs/decisions.md: no reason for the dependency `{name}`"))
        .collect()
}

/// Major, minor and patch; nothing if the text is no version.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let core = version.split(['-', '+']).next()?;
    let mut parts = core.split('.').map(str::parse::<u64>);
    let mut next = || parts.next().and_then(Result::ok);
    let found = [next()?, next()?, next()?];
    parts.next().is_none().then_some(found)
}

/// `-rc.1`, `-alpha`, `-beta.2`: whatever stands behind a dash, which build metadata (`+…`) may have of its own.
fn is_unfinished(version: &str) -> bool {
    version
        .split('+')
        .next()
        .is_some_and(|core| core.contains('-'))
}

// --- Reading -------------------------------------------------------------------------------------------------------

/// Names of the packages in every table of dependencies.
fn direct(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    let mut own_table: Option<String> = None;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            names.extend(own_table.take());
            let header = header.split(']').next().unwrap_or(header).trim();
            let table = |path: &str| {
                let last = path.rsplit('.').next().unwrap_or(path);
                matches!(
                    last,
                    "dependencies" | "dev-dependencies" | "build-dependencies"
                )
            };
            inside = table(header);
            own_table = header
                .rsplit_once('.')
                .filter(|(path, _)| table(path))
                .map(|(_, name)| name.trim_matches('"').to_owned());
        } else if let Some((key, value)) = line.split_once('=')
            && !line.starts_with('#')
        {
            let key = key.trim().trim_matches('"');
            if own_table.is_some() && key == "package" {
                own_table = Some(value.trim().trim_matches('"').to_owned());
            }
            if inside {
                let name = key.split('.').next().unwrap_or(key);
                names.insert(renamed(value).unwrap_or(name).to_owned());
            }
        }
    }
    names.extend(own_table);
    names
}

/// The name behind `package =` in an inline table.
fn renamed(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("package")?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    rest.strip_prefix('"')?.split('"').next()
}

fn packages(lock: &str) -> Vec<Package> {
    let blocks = lock.split("[[package]]").skip(1);
    blocks
        .map(|block| {
            let mut package = Package::default();
            for line in block.lines().map(str::trim) {
                if let Some(name) = line.strip_prefix("name = ") {
                    package.name = name.trim_matches('"').into();
                } else if let Some(version) = line.strip_prefix("version = ") {
                    package.version = version.trim_matches('"').into();
                } else if let Some(entry) = line.strip_prefix('"') {
                    package
                        .dependencies
                        .push(entry.trim_end_matches(',').trim_end_matches('"').into());
                }
            }
            package
        })
        .collect()
}

fn read(path: &str) -> String {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(&full).unwrap_or_default();
    assert!(!text.is_empty(), "{path} is missing or empty");
    text
}

/// What is compiled into the program. The lock file also names crates that an optional feature of another would need.
fn built() -> Vec<Package> {
    let arguments = "tree --locked --target all --edges normal,build --prefix none --format {p}";
    let tree = std::process::Command::new(env!("CARGO"))
        .args(arguments.split(' '))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let text = tree.map_or_else(
        |fault| fault.to_string(),
        |tree| String::from_utf8_lossy(&tree.stdout).into_owned(),
    );
    let package = |line: &str| {
        let (name, rest) = line.split_once(" v")?;
        let version = rest.split_whitespace().next()?;
        Some(one(name, version).remove(0))
    };
    let packages: Vec<Package> = text.lines().filter_map(package).collect();
    assert!(packages.len() > 100, "no packages found: {text}");
    packages
}

fn lock() -> Vec<Package> {
    let packages = packages(&read("Cargo.lock"));
    assert!(packages.len() > 1, "no packages found in Cargo.lock");
    packages
}

fn assert_no_faults(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

// --- The rules can fail --------------------------------------------------------------------------------------------

const LOCK: &str = r#"
version = 4

[[package]]
name = "keygate"
version = "0.1.0"
dependencies = [
 "alpha",
 "beta 2.0.0-rc.1",
]

[[package]]
name = "alpha"
version = "1.2.3+build-5"
source = "registry"

[[package]]
name = "beta"
version = "1.0.0"

[[package]]
name = "beta"
version = "2.0.0-rc.1"
"#;

fn one(name: &str, version: &str) -> Vec<Package> {
    packages(&format!(
        "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n"
    ))
}

#[test]
fn a_lock_file_is_read() {
    let packages = packages(LOCK);
    assert_eq!(packages.len(), 4);
    assert_eq!(packages[0].dependencies, ["alpha", "beta 2.0.0-rc.1"]);
    assert_eq!(packages[1].version, "1.2.3+build-5");
}

#[test]
fn a_banned_crate_is_found() {
    for name in BANNED {
        assert_eq!(banned(&one(name, "1.0.0")).len(), 1, "{name}");
    }
    assert!(banned(&one("ringbuffer", "1.0.0")).is_empty());
}

#[test]
fn an_old_version_is_found() {
    for (name, version) in [
        ("rustls", "0.23.44"),
        ("rustls", "0.22.99"),
        ("rustls", "0.23.45-rc.1"),
        ("rustls", "odd"),
        ("h2", "0.4.9"),
        ("h2", "0.3.26"),
    ] {
        assert_eq!(too_old(&one(name, version)).len(), 1, "{name} {version}");
    }
    for (name, version) in [
        ("rustls", "0.23.45"),
        ("rustls", "1.0.0"),
        ("h2", "0.4.16"),
        ("h3", "0.0.1"),
    ] {
        assert!(too_old(&one(name, version)).is_empty(), "{name} {version}");
    }
}

#[test]
fn an_unfinished_version_is_found() {
    let packages = packages(LOCK);
    assert!(unfinished(&packages, "[dependencies]\nalpha = \"1\"").is_empty());
    for manifest in [
        "[dependencies]\nbeta = \"2\"",
        "[dev-dependencies]\nbeta = { version = \"2\" }",
        "[build-dependencies]\nb = { package = \"beta\", version = \"2\" }",
        "[target.'cfg(unix)'.dependencies]\nbeta = \"2\"",
        "[dependencies.beta]\nversion = \"2\"",
        "[dependencies.b]\npackage = \"beta\"\n[lints]",
        "[dependencies]\ngamma = \"1\"",
    ] {
        assert_eq!(unfinished(&packages, manifest).len(), 1, "{manifest}");
    }
    assert_eq!(
        unfinished(&one("other", "1.0.0"), "[dependencies]\na = \"1\"").len(),
        1
    );
}

#[test]
fn a_missing_reason_is_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# note = 1\nalpha = \"1\"\nbeta.version = \"1\"\n[lints.rust]\nunsafe_code = \"forbid\"\n";
    let names: Vec<String> = direct(manifest).into_iter().collect();
    assert_eq!(names, ["alpha", "beta"]);
    assert!(without_reason(manifest, "`alpha` and `beta` it is").is_empty());
    assert_eq!(without_reason(manifest, "`alpha` and beta").len(), 1);
    assert_eq!(without_reason(manifest, "`alphabet`").len(), 2);
    assert_eq!(without_reason("[package]", "`alpha`").len(), 1);
}
