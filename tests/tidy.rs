//! The rules of the house, as a test: floors of crates, a sentence at the top of each file, sizes, banned names, where
//! `unsafe` may stand, one TLS provider.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Floors from the ground up. A crate imports only from lower floors (ARCHITECTURE.md).
const FLOORS: [(&str, u8); 12] = [
    ("model", 1),
    ("exposition", 2),
    ("template", 2),
    ("net", 3),
    ("promql", 3),
    ("tsdb", 3),
    ("alertmanager", 4),
    ("cluster", 4),
    ("rules", 4),
    ("exporters", 5),
    ("scraper", 5),
    ("server", 6),
];

/// What each crate may import of ours, where its floor alone would allow more.
const ALLOWED: [(&str, &[&str]); 11] = [
    ("model", &[]),
    ("exposition", &["model"]),
    ("template", &["model"]),
    ("net", &["exposition"]),
    ("promql", &["model"]),
    ("tsdb", &["model"]),
    ("alertmanager", &["model", "exposition", "net", "template"]),
    ("cluster", &["exposition", "net"]),
    ("rules", &["model", "exposition", "net", "template", "promql"]),
    ("exporters", &["model", "exposition", "net"]),
    ("scraper", &["model", "exposition", "net"]),
];

/// Lines of a file without its inline tests.
const LINES_MAX: usize = 500;
/// Flat tables may be longer.
const TABLES: [&str; 1] = ["promql/src/function.rs"];
/// Files over the ceiling today. The list may only shrink.
const RATCHET: [&str; 0] = [];
const BANNED_NAMES: [&str; 6] = ["utils", "util", "helpers", "common", "misc", "types"];
/// The only file with `unsafe`.
const UNSAFE: [&str; 1] = ["tsdb/src/mmap.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn rust_files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = FLOORS.iter().map(|(name, _)| root().join(name)).collect();
    folders.push(root().join("tests"));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                files.push((name, read(&path)));
            }
        }
    }
    assert!(files.len() > 100, "the sources are found");
    files
}

/// Our crates that a manifest names, dev-dependencies included.
fn imports(name: &str) -> Vec<String> {
    let manifest = read(&root().join(name).join("Cargo.toml"));
    let crates: BTreeMap<&str, u8> = FLOORS.into_iter().collect();
    let key = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or("").to_owned();
    manifest.lines().map(key).filter(|key| crates.contains_key(key.as_str()) && key != name).collect()
}

#[test]
fn crates_import_only_from_lower_floors() {
    let floors: BTreeMap<&str, u8> = FLOORS.into_iter().collect();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    for (name, floor) in FLOORS {
        for import in imports(name) {
            assert!(
                floors[import.as_str()] < floor,
                "{name} (floor {floor}) imports {import} (floor {})",
                floors[import.as_str()]
            );
            if let Some(allowed) = allowed.get(name) {
                assert!(allowed.contains(&import.as_str()), "{name} must not import {import}");
            }
        }
    }
    assert!(imports("server").contains(&"tsdb".to_owned()), "imports are found");
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<String> =
        rust_files().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(name, _)| name).collect();
    assert!(silent.is_empty(), "no `//!` at the top of {silent:#?}");
}

#[test]
fn files_are_short_and_named_for_what_they_hold() {
    for (name, text) in rust_files() {
        let path = Path::new(&name);
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("");
        assert!(!BANNED_NAMES.contains(&stem), "{name}: a name that says nothing");
        assert!(stem != "mod", "{name}: front files are named after their folder");
        let is_test =
            name.contains("/tests/") || name.starts_with("tests/") || stem == "tests" || name.contains("/benches/");
        let body = text.split("\n#[cfg(test)]").next().unwrap_or("");
        let lines = body.lines().count();
        let max = if is_test { 1000 } else { LINES_MAX };
        let excused = TABLES.contains(&name.as_str()) || RATCHET.contains(&name.as_str());
        assert!(lines <= max || excused, "{name} has {lines} lines, more than {max}");
    }
}

#[test]
fn unsafe_stands_in_one_file() {
    let word = concat!("uns", "afe ");
    for (name, text) in rust_files() {
        let found = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or("");
            code.contains(&format!("{word}{{"))
                || code.contains(&format!("{word}fn"))
                || code.contains(&format!("{word}impl"))
        });
        assert!(!found || UNSAFE.contains(&name.as_str()), "{name} has unsafe code");
    }
}

#[test]
fn format_pages_exist_for_what_is_on_disk() {
    for page in ["active-queries", "block", "chunk", "cluster", "snapshot", "wal"] {
        let path = root().join("docs/formats").join(format!("{page}.md"));
        assert!(read(&path).contains("```"), "{} draws the bytes", path.display());
    }
}
