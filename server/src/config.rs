//! `prometheus.yml` as a whole: each section is its crate's, this file composes, reads and checks them.

use std::path::{Path, PathBuf};

use model::bytes::ByteSize;
use model::duration::Duration;
use rules::config::RuleFile;
use rules::notifier::AlertingConfig;
use scraper::config::{ConfigError, GlobalConfig, JobConfig, ScrapeConfig};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

/// The largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The file as written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WrittenConfig {
    global: GlobalConfig,
    #[serde(skip_serializing)]
    runtime: Option<RuntimeConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rule_files: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scrape_config_files: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    alerting: AlertingConfig,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scrape_configs: Vec<ScrapeConfig>,
    #[serde(skip_serializing_if = "is_default")]
    storage: StorageConfig,
    // Sections of later versions: refused by name, never ignored.
    #[serde(skip_serializing)]
    remote_write: Option<Spanned<IgnoredAny>>,
    #[serde(skip_serializing)]
    remote_read: Option<Spanned<IgnoredAny>>,
    #[serde(skip_serializing)]
    otlp: Option<Spanned<IgnoredAny>>,
    #[serde(skip_serializing)]
    tracing: Option<Spanned<IgnoredAny>>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `runtime`: settings of Go's garbage collector, which this program does not have.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuntimeConfig {
    #[serde(rename = "gogc", default)]
    _gogc: Option<i64>,
}

/// `storage`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    tsdb: TsdbConfig,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TsdbConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<RetentionConfig>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetentionConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<ByteSize>,
}

/// What is wrong with a configuration, with file and place.
#[derive(Debug)]
pub struct LoadError(pub Vec<String>);

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for LoadError {}

/// A configuration ready to run.
#[derive(Debug)]
pub struct Config {
    /// As shown by `status/config`: secrets masked, what is inherited filled in.
    pub printed: String,
    /// The global section.
    pub global: GlobalConfig,
    /// Scrape jobs.
    pub jobs: Vec<JobConfig>,
    /// Rule files, by path, checked.
    pub rule_files: Vec<(String, RuleFile)>,
    /// Where alerts go.
    pub alerting: AlertingConfig,
    /// `storage.tsdb.retention.time`, if configured.
    pub retention: Option<Duration>,
}

/// Reads a configuration file and everything it names.
///
/// # Errors
/// All faults found.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let text = read(path).map_err(|e| LoadError(vec![format!("{}: {e}", path.display())]))?;
    parse(path, &text, Depth::Whole)
}

/// How much of what a configuration names is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Files it names too.
    Whole,
    /// Its own text only (`--syntax-only`).
    SyntaxOnly,
}

/// Reads the text of a configuration file; relative paths start from its directory.
///
/// # Errors
/// All faults found; only the first if the text is not YAML or has a wrong shape.
pub fn parse(path: &Path, text: &str, depth: Depth) -> Result<Config, LoadError> {
    let shown = path.display();
    let mut written: WrittenConfig = match text.trim().is_empty() {
        true => WrittenConfig::default(),
        false => {
            serde_saphyr::from_str(text).map_err(|error| LoadError(vec![yaml_fault(&shown.to_string(), &error)]))?
        }
    };
    let mut faults = unsupported(&written, &shown.to_string());
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut fault = |text: String| faults.push(format!("{shown}: {text}"));
    if let Err(error) = written.global.validate() {
        fault(error.to_string());
    }
    if written.storage.tsdb.retention.as_ref().is_some_and(|r| r.size.is_some()) {
        fault("storage.tsdb.retention.size is not supported by this version; use time".into());
    }
    for pattern in written.rule_files.iter().filter(|pattern| !is_valid_pattern(pattern)) {
        fault(format!("invalid rule file path {pattern:?}: '*' may only stand in the last element"));
    }
    for pattern in written.scrape_config_files.iter().filter(|pattern| !is_valid_pattern(pattern)) {
        fault(format!("invalid scrape config file path {pattern:?}: '*' may only stand in the last element"));
    }
    written.alerting.resolve_paths(directory);
    if let Err(error) = written.alerting.validate() {
        fault(error.to_string());
    }
    if depth == Depth::Whole {
        for pattern in &written.scrape_config_files {
            for file in matching(directory, pattern) {
                match scrape_configs_of(&file) {
                    Ok(configs) => written.scrape_configs.extend(configs),
                    Err(error) => fault(error),
                }
            }
        }
    }
    let mut jobs: Vec<JobConfig> = Vec::new();
    for config in &mut written.scrape_configs {
        config.resolve_paths(directory);
        match config.clone().resolve(&written.global) {
            Ok(job) if jobs.iter().any(|other| other.name == job.name) => {
                fault(ConfigError::DuplicateJob(job.name).to_string());
            }
            Ok(job) => {
                *config = job.written.clone();
                jobs.push(job);
            }
            Err(error) => fault(error.to_string()),
        }
    }
    let mut rule_files = Vec::new();
    if depth == Depth::Whole {
        for pattern in &written.rule_files {
            for file in matching(directory, pattern) {
                match rule_file(&file) {
                    Ok(content) => rule_files.push((file.display().to_string(), content)),
                    Err(errors) => faults.extend(errors),
                }
            }
        }
    }
    if !faults.is_empty() {
        return Err(LoadError(faults));
    }
    let printed = serde_saphyr::to_string(&written).map_err(|e| LoadError(vec![format!("{shown}: {e}")]))?;
    let retention = written.storage.tsdb.retention.and_then(|r| r.time);
    Ok(Config { printed, global: written.global, jobs, rule_files, alerting: written.alerting, retention })
}

fn yaml_fault(file: &str, error: &serde_saphyr::Error) -> String {
    // The library's message goes on with an excerpt of the file, which may hold secrets.
    let message = error.to_string();
    let first = message.lines().next().unwrap_or("").to_owned();
    match error.location() {
        Some(place) => format!("{file}:{}:{}: {first}", place.line(), place.column()),
        None => format!("{file}: {first}"),
    }
}

fn unsupported(written: &WrittenConfig, file: &str) -> Vec<String> {
    let sections = [
        ("remote_write", &written.remote_write),
        ("remote_read", &written.remote_read),
        ("otlp", &written.otlp),
        ("tracing", &written.tracing),
    ];
    let present = sections.into_iter().filter_map(|(name, section)| Some((name, section.as_ref()?.defined)));
    present
        .map(|(name, place)| {
            format!("{file}:{}:{}: {name} is not supported by this version", place.line(), place.column())
        })
        .collect()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ScrapeConfigFile {
    scrape_configs: Vec<ScrapeConfig>,
}

fn scrape_configs_of(file: &Path) -> Result<Vec<ScrapeConfig>, String> {
    let text = read(file)?;
    let content: ScrapeConfigFile =
        serde_saphyr::from_str(&text).map_err(|error| yaml_fault(&file.display().to_string(), &error))?;
    Ok(content.scrape_configs)
}

/// Reads and checks one rule file.
///
/// # Errors
/// All faults found.
pub fn rule_file(file: &Path) -> Result<RuleFile, Vec<String>> {
    let text = read(file).map_err(|e| vec![format!("{}: {e}", file.display())])?;
    rules::config::parse(file, &text).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

fn is_valid_pattern(pattern: &str) -> bool {
    pattern.rsplit_once('/').is_none_or(|(folder, _)| !folder.contains('*'))
}

/// Files that a pattern names: `*` in the last element stands for any text. A file without one need not exist yet: that
/// it cannot be read is then told.
fn matching(directory: &Path, pattern: &str) -> Vec<PathBuf> {
    let path = directory.join(pattern);
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("").to_owned();
    if !name.contains('*') {
        return vec![path];
    }
    let parts: Vec<&str> = name.split('*').collect();
    let fits = |text: &str| {
        let (first, last) = (parts[0], parts[parts.len() - 1]);
        let Some(mut rest) = text.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else { return false };
        parts[1..parts.len() - 1].iter().all(|part| match rest.split_once(part) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    };
    let folder = path.parent().unwrap_or(directory);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(fits))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        parse(Path::new("p.yml"), text, Depth::SyntaxOnly).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn unknown_keys_are_refused_with_file_and_line() {
        let text = "scrape_configs:\n- job_name: a\n  scrape_intervall: 5s\n";
        assert!(faults(text).starts_with("p.yml:3:"), "{}", faults(text));
        assert!(faults(text).contains("scrape_intervall"));
        assert!(faults("global:\n  scrape_interval: 5x\n").starts_with("p.yml:2:"));
        assert!(faults("remote_write:\n- url: http://x\n").starts_with("p.yml:"));
    }

    #[test]
    fn all_faults_of_a_file_are_told() {
        let told =
            faults("global: {scrape_timeout: 2m}\nscrape_configs:\n- job_name: a\n- job_name: a\n- job_name: ''\n");
        assert_eq!(told.lines().count(), 3, "{told}");
    }

    #[test]
    fn secrets_are_masked_when_printed() {
        let text = "scrape_configs:\n- job_name: a\n  basic_auth: {username: u, password: hunter2}\n";
        let config = parse(Path::new("p.yml"), text, Depth::SyntaxOnly).unwrap();
        assert!(config.printed.contains("<secret>") && !config.printed.contains("hunter2"), "{}", config.printed);
        assert!(config.printed.contains("metrics_path: /metrics"), "{}", config.printed);
    }
}
