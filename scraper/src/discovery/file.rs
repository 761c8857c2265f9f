//! File discovery: target groups in JSON or YAML files, read again when they change.
//!
//! Files are looked at every few seconds by their size and modification time, and whatever these say, read again every
//! `refresh_interval`. A file that does not parse keeps its last good targets, as upstream does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{Sink, static_group};
use crate::config::{FileSdConfig, StaticConfig};
use crate::metrics::Metrics;
use crate::target::TargetGroup;

/// How often files are looked at.
const POLL: Duration = Duration::from_secs(2);
/// The largest file that is read.
pub const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Label with the path of the file a target stands in.
const FILE_PATH: &str = "__meta_filepath";

/// Whether discovery can read files of this name: `.json`, `.yml` or `.yaml`, `*` in the last element only.
pub fn is_valid_pattern(pattern: &str) -> bool {
    let path = Path::new(pattern);
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let in_folder = path.parent().is_some_and(|parent| parent.to_string_lossy().contains('*'));
    matches!(extension, "json" | "yml" | "yaml") && !in_folder && pattern.matches('*').count() <= 1
}

/// Why a file gives no targets.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Yaml(String),
    #[error("line {line}, column {column}: {error}")]
    Json { line: usize, column: usize, error: String },
    #[error("larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
}

#[derive(Debug, Clone, PartialEq)]
struct Version {
    modified: Option<SystemTime>,
    bytes: u64,
}

/// Runs until the manager is gone.
pub(super) async fn run(config: FileSdConfig, sink: Sink, metrics: Metrics) {
    let mut known: BTreeMap<PathBuf, (Option<Version>, usize)> = BTreeMap::new();
    let refresh = config.refresh_interval.as_std().max(POLL);
    let mut read_all_at = Instant::now();
    loop {
        let read_all = Instant::now() >= read_all_at;
        if read_all {
            read_all_at = Instant::now() + refresh;
        }
        let found: BTreeSet<PathBuf> = config.files.iter().flat_map(|pattern| matching(pattern)).collect();
        let mut groups = Vec::new();
        for path in &found {
            let version = version_of(path);
            if !read_all && known.get(path).is_some_and(|(seen, _)| *seen == version) {
                continue;
            }
            match read(path) {
                Ok(read) => {
                    let before = known.insert(path.clone(), (version, read.len())).map_or(0, |(_, count)| count);
                    let gone =
                        (read.len()..before).map(|i| TargetGroup { source: source(path, i), ..Default::default() });
                    groups.extend(read.into_iter().chain(gone));
                }
                Err(error) => {
                    metrics.file_errors.inc();
                    tracing::error!(path = %path.display(), %error, "error reading file");
                    let count = known.get(path).map_or(0, |(_, count)| *count);
                    known.insert(path.clone(), (version, count));
                }
            }
        }
        let gone: Vec<PathBuf> = known.keys().filter(|path| !found.contains(*path)).cloned().collect();
        for path in gone {
            let count = known.remove(&path).map_or(0, |(_, count)| count);
            groups.extend((0..count).map(|i| TargetGroup { source: source(&path, i), ..Default::default() }));
        }
        if !groups.is_empty() && !sink.send(groups).await {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

fn source(path: &Path, index: usize) -> String {
    format!("{}:{index}", path.display())
}

fn version_of(path: &Path) -> Option<Version> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Version { modified: metadata.modified().ok(), bytes: metadata.len() })
}

/// Files that a pattern names now.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let path = Path::new(pattern);
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let Some((prefix, suffix)) = name.split_once('*') else { return vec![path.to_owned()] };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let fits =
        |name: &str| name.len() >= prefix.len() + suffix.len() && name.starts_with(prefix) && name.ends_with(suffix);
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(fits))
        .map(|entry| entry.path())
        .collect()
}

fn read(path: &Path) -> Result<Vec<TargetGroup>, FileError> {
    if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(FileError::TooLarge);
    }
    let text = std::fs::read_to_string(path)?;
    let configs: Vec<StaticConfig> = match path.extension().is_some_and(|e| e == "json") {
        true => serde_json::from_str(&text).map_err(|e| FileError::Json {
            line: e.line(),
            column: e.column(),
            error: e.to_string(),
        })?,
        false if text.trim().is_empty() => Vec::new(),
        false => serde_saphyr::from_str(&text).map_err(|e| FileError::Yaml(e.to_string()))?,
    };
    let shown = path.display().to_string();
    let groups = configs.iter().enumerate().map(|(i, config)| {
        let mut group = static_group(config, source(path, i));
        group.labels = group.labels.to_builder().set(FILE_PATH, &shown).build();
        group
    });
    Ok(groups.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_one_star_in_the_name() {
        for good in ["a.json", "/x/*.yml", "x/t-*.yaml"] {
            assert!(is_valid_pattern(good), "{good}");
        }
        for bad in ["a.txt", "*/a.json", "a", "a*b*.json"] {
            assert!(!is_valid_pattern(bad), "{bad}");
        }
    }

    #[test]
    fn reads_both_formats_and_says_where_a_fault_is() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let json = write("a.json", r#"[{"targets":["h:1","h:2"],"labels":{"x":"y"}},{"targets":[]}]"#);
        let groups = read(&json).unwrap();
        assert_eq!((groups.len(), groups[0].targets.len()), (2, 2));
        assert_eq!(groups[0].labels.get("__meta_filepath"), json.to_str());
        let yaml = write("a.yml", "- targets: ['h:1']\n  labels: {x: y}\n");
        assert_eq!(read(&yaml).unwrap()[0].targets[0].get("__address__"), Some("h:1"));
        let bad = write("b.json", "[{\"targets\":[\n1]}]");
        assert!(read(&bad).unwrap_err().to_string().starts_with("line 2, column"));
        let mut found = matching(folder.path().join("*.json").to_str().unwrap());
        found.sort();
        assert_eq!(found, [json, bad]);
    }
}
