//! The documents hold together and tell the truth: links lead somewhere, examples do what is said, tables say what the
//! sources say.

#[cfg(test)]
#[path = "docs/api.rs"]
mod api;
#[cfg(test)]
#[path = "docs/behaviour.rs"]
mod behaviour;
#[cfg(test)]
#[path = "docs/blocks.rs"]
mod blocks;
#[cfg(test)]
#[path = "docs/examples.rs"]
mod examples;
#[cfg(test)]
#[path = "docs/house.rs"]
mod house;
#[cfg(test)]
#[path = "docs/program.rs"]
mod program;
#[cfg(test)]
#[path = "docs/settings.rs"]
mod settings;
#[cfg(test)]
#[path = "docs/tables.rs"]
mod tables;
#[cfg(test)]
#[path = "docs/threats.rs"]
mod threats;

use std::fs;
use std::path::{Component, Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn relative_links_lead_somewhere() {
    let root = root();
    let documents = documents(root);
    assert!(
        documents.len() > 1,
        "README.md and docs/*.md were not found: {documents:?}"
    );
    let faults: Vec<String> = documents
        .iter()
        .flat_map(|document| broken_links(root, document))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// CHANGELOG.md, README.md, SECURITY.md and every markdown file below docs, as paths from the root.
fn documents(root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["CHANGELOG.md", "README.md", "SECURITY.md"]
        .map(PathBuf::from)
        .into();
    found.retain(|document| root.join(document).is_file());
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn broken_links(root: &Path, document: &Path) -> Vec<String> {
    let text = fs::read_to_string(root.join(document)).unwrap_or_default();
    let folder = document.parent().unwrap_or(Path::new(""));
    let broken = links(&text).into_iter().filter(|(_, target)| {
        let path = target.split(['#', '?']).next().unwrap_or_default();
        !inside(&folder.join(path)) || !root.join(folder).join(path).exists()
    });
    broken
        .map(|(line, target)| format!("{}:{line}: `{target}` is not there", document.display()))
        .collect()
}

/// Whether a path from the root stays below it.
fn inside(path: &Path) -> bool {
    let mut depth = 0_usize;
    for part in path.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// Relative targets with their lines: `[…](target)`, `![…](target "title")` and `[…]: target`, outside code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| start.starts_with(mark));
        if mark.is_some() && (fence.is_none() || fence == mark) {
            fence = if fence.is_none() { mark } else { None };
            continue;
        }
        if fence.is_some() {
            continue;
        }
        let line = without_code(line);
        let mut targets: Vec<&str> = line
            .split("](")
            .skip(1)
            .map(|rest| target(rest, ')'))
            .collect();
        if line.starts_with('[')
            && let Some((_, rest)) = line.split_once("]: ")
        {
            targets.push(target(rest.trim_start(), ' '));
        }
        let relative = targets.into_iter().filter(|target| is_relative(target));
        found.extend(relative.map(|target| (index + 1, target.to_owned())));
    }
    found
}

/// A target up to its end, its title cut off; `<…>` around it is taken away.
fn target(rest: &str, end: char) -> &str {
    if let Some(rest) = rest.strip_prefix('<') {
        return rest.split('>').next().unwrap_or(rest);
    }
    rest.split([end, ' ']).next().unwrap_or(rest)
}

fn is_relative(target: &str) -> bool {
    let scheme = target
        .split(['/', '#', '?'])
        .next()
        .is_some_and(|head| head.contains(':'));
    !scheme && !target.starts_with('#')
}

/// A line without what stands between backticks.
fn without_code(line: &str) -> String {
    let parts: Vec<&str> = line.split('`').collect();
    // An odd backtick at the end opens nothing.
    let open = parts.len().is_multiple_of(2);
    let last = parts.len() - 1;
    let kept = parts
        .iter()
        .enumerate()
        .filter(|(index, _)| index % 2 == 0 || (open && *index == last));
    kept.map(|(_, part)| *part).collect::<Vec<_>>().join("`")
}

#[test]
fn links_are_found() {
    let text = "[a](x.md) and ![b](img/y.png \"Y\"), [c](<z z.md>)\n\
                [`code`](w.md#part) [site](https://example.org/x) [mail](mailto:a@b.c) [here](#there)\n\
                `[not](a.md)`\n```\n[nor](b.md)\n~~~\n```\n[d]: v.md\n[e](/u.md)";
    let found: Vec<(usize, String)> = links(text);
    let wanted = [
        (1, "x.md"),
        (1, "img/y.png"),
        (1, "z z.md"),
        (2, "w.md#part"),
        (8, "v.md"),
        (9, "/u.md"),
    ];
    assert_eq!(
        found,
        wanted.map(|(line, target)| (line, target.to_owned()))
    );
}

#[test]
fn a_broken_link_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("docs")).unwrap();
    fs::write(root.join("README.md"), "[a](docs/a.md) [dir](docs/)").unwrap();
    fs::write(root.join("docs/a.md"), "[up](../README.md#x)").unwrap();
    assert_eq!(
        documents(root),
        [Path::new("README.md"), Path::new("docs/a.md")]
    );
    for document in documents(root) {
        assert!(broken_links(root, &document).is_empty(), "{document:?}");
    }
    for bad in [
        "[a](b.md)",
        "[a](README.md)",
        "[a](../../etc)",
        "[a](/README.md)",
        "[a]: b.md",
        "[a]()x[b](c.md)",
    ] {
        fs::write(root.join("docs/a.md"), bad).unwrap();
        assert_eq!(broken_links(root, Path::new("docs/a.md")).len(), 1, "{bad}");
    }
}
