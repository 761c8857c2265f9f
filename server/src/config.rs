//! `prometheus.yml` as a whole: each section is its crate's, this file composes, reads and checks them.

mod alerting;
mod remote;
mod storage;
mod telemetry;

use std::path::{Component, Path, PathBuf};

use model::labels::NameScheme;
use net::yaml::{Fault, Outcome, read_all_faults};
use rules::config::RuleFile;
use scraper::config::environment::expand_environment;
use scraper::config::places::{KeyFault, Places};
use scraper::config::{GlobalConfig, JobConfig, ScrapeConfig, ValidationScheme};
use serde::{Deserialize, Serialize};

pub use alerting::AlertingConfig;
pub use storage::StorageConfig;

use remote::repeated;
pub use remote::{
    AzureAdConfig, AzureIdentity, GoogleIamConfig, RemoteReadConfig, RemoteWriteConfig, SigV4Config, WriteMessage,
};
use telemetry::TracingConfig;
pub use telemetry::{OtlpConfig, TranslationStrategy};

use crate::flags::Mode;

/// The largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The file as written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WrittenConfig {
    #[serde(deserialize_with = "null_is_default")]
    global: GlobalConfig,
    #[serde(deserialize_with = "null_is_default")]
    runtime: RuntimeConfig,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    alerting: AlertingConfig,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    rule_files: Vec<String>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    scrape_config_files: Vec<String>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    scrape_configs: Vec<ScrapeConfig>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
    storage: StorageConfig,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Option::is_none")]
    tracing: Option<TracingConfig>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    remote_write: Vec<RemoteWriteConfig>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    remote_read: Vec<RemoteReadConfig>,
    #[serde(deserialize_with = "null_is_default")]
    otlp: OtlpConfig,
}

/// A section given without content is as one left out.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `runtime`: settings of Go's garbage collector, which this program does not have. Shown as given.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RuntimeConfig {
    gogc: i64,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self { gogc: 75 }
    }
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
    /// Storage.
    pub storage: StorageConfig,
    /// Where samples are sent.
    pub remote_write: Vec<RemoteWriteConfig>,
    /// Where series are read beside the local ones.
    pub remote_read: Vec<RemoteReadConfig>,
    /// How OTLP becomes series.
    pub otlp: OtlpConfig,
    /// Sections that are valid and that this version does not run, each with a hint. A server refuses to run with one:
    /// none is ignored.
    pub not_run: Vec<String>,
}

/// Reads a configuration file and everything it names.
///
/// # Errors
/// All faults found, and all sections that this version does not run.
pub fn load(path: &Path, reading: Reading) -> Result<Config, LoadError> {
    let mut text = read(path).map_err(|e| LoadError(vec![format!("{}: {e}", path.display())]))?;
    if reading.variables == Variables::Expanded {
        text = expand_environment(&text, |name| std::env::var(name).ok())
            .map_err(|errors| LoadError(errors.iter().map(|error| format!("{}: {error}", path.display())).collect()))?;
    }
    let config = parse(path, &text, Depth::Whole, reading)?;
    let refused: Vec<String> = config.not_run.iter().map(|told| format!("{}: {told}", path.display())).collect();
    if refused.is_empty() { Ok(config) } else { Err(LoadError(refused)) }
}

/// Whether `${NAME}` in a configuration's values stands for a variable of the environment (`--config.expand-env`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Variables {
    /// It does.
    Expanded,
    /// It is what it is.
    #[default]
    Literal,
}

/// What flags say of how a configuration is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// Of the environment.
    pub variables: Variables,
    /// Features that change defaults of the global section.
    pub scraping: scraper::features::Features,
    /// What the server is for: an agent has no rules, alerts and remote reads.
    pub mode: Mode,
    /// `--enable-feature=extra-scrape-metrics`, by now a key of the global section.
    pub extra_scrape_metrics: bool,
    /// Of rule files.
    pub rules: rules::config::Reading,
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
/// All faults found; if the shape of the text is wrong, those of its shape.
pub fn parse(path: &Path, text: &str, depth: Depth, reading: Reading) -> Result<Config, LoadError> {
    let shown = path.display().to_string();
    let (mut written, file) = Source::read::<WrittenConfig>(shown.clone(), text);
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    reading.scraping.apply_to(&mut written.global);
    written.global.extra_scrape_metrics |= reading.extra_scrape_metrics;
    let mut faults = file.told(&written.resolve_sections(directory, reading.mode));
    let mut sources = vec![(file, written.scrape_configs.len())];
    let mut rule_files = Vec::new();
    if depth == Depth::Whole {
        for file in written.scrape_config_files.iter().flat_map(|pattern| matching(directory, pattern)) {
            match scrape_configs_of(&file) {
                Ok((configs, source)) => {
                    sources.push((source, configs.len()));
                    written.scrape_configs.extend(configs);
                }
                Err(error) => faults.push(error),
            }
        }
        for file in written.rule_files.iter().flat_map(|pattern| matching(directory, pattern)) {
            match rule_file(&file, reading.rules) {
                Ok(content) => rule_files.push((file.display().to_string(), content)),
                Err(errors) => faults.extend(errors),
            }
        }
    }
    let jobs = written.resolve_jobs(&sources, &mut faults);
    let shapes = sources.iter().flat_map(|(source, _)| source.faults.iter().map(|fault| fault.in_file(&source.shown)));
    faults.splice(..0, shapes.collect::<Vec<String>>());
    if !faults.is_empty() {
        return Err(LoadError(faults));
    }
    let printed = serde_saphyr::to_string(&written).map_err(|e| LoadError(vec![format!("{shown}: {e}")]))?;
    let not_run = written.not_run(&jobs);
    let WrittenConfig { global, alerting, storage, remote_write, remote_read, otlp, .. } = written;
    Ok(Config { printed, global, jobs, rule_files, alerting, storage, remote_write, remote_read, otlp, not_run })
}

/// A file of the configuration as far as faults are told of it.
struct Source {
    shown: String,
    text: String,
    /// Of its shape.
    faults: Vec<Fault>,
}

impl Source {
    /// Reads YAML of a known shape, as far as it has it.
    fn read<T: serde::de::DeserializeOwned + Default>(shown: String, text: &str) -> (T, Self) {
        let is_empty = text.trim().is_empty();
        let Outcome { value, faults } =
            if is_empty { Outcome { value: None, faults: Vec::new() } } else { read_all_faults(text) };
        (value.unwrap_or_default(), Self { shown, text: text.to_owned(), faults })
    }

    /// Faults with their places. What else stands where the shape is wrong is not judged: it may be wrong for that.
    fn told(&self, faults: &[KeyFault]) -> Vec<String> {
        if faults.is_empty() {
            return Vec::new();
        }
        let places = Places::of(&self.text);
        let judged = faults.iter().filter(|fault| self.faults.is_empty() || !places.is_beside(fault, &self.faults));
        let mut placed: Vec<Fault> = judged.map(|fault| places.place(fault)).collect();
        placed.sort_by_key(|fault| fault.place);
        placed.iter().map(|fault| fault.in_file(&self.shown)).collect()
    }
}

impl WrittenConfig {
    /// Fills in defaults of all sections but the jobs, checks them, and gives all faults.
    fn resolve_sections(&mut self, directory: &Path, mode: Mode) -> Vec<KeyFault> {
        let mut faults = self.global.resolve(|name| std::env::var(name).ok());
        self.global.resolve_paths(directory);
        let utf8 = self.global.metric_name_validation_scheme == ValidationScheme::Utf8;
        // Their texts name the whole way.
        faults.extend(self.storage.validate().err().into_iter().flatten().map(|text| KeyFault::of("storage", text)));
        for (kind, key, patterns) in [
            ("rule", "rule_files", &self.rule_files),
            ("scrape config", "scrape_config_files", &self.scrape_config_files),
        ] {
            let bad = patterns.iter().enumerate().filter(|(_, pattern)| !is_valid_pattern(pattern));
            faults.extend(bad.map(|(index, pattern)| {
                let reason = format!("invalid {kind} file path {pattern:?}: '*' may only stand in the last element");
                KeyFault::here(reason).item(index).within(key)
            }));
        }
        self.scrape_configs.iter_mut().for_each(|config| config.resolve_paths(directory));
        self.alerting.resolve_paths(directory);
        faults.extend(self.alerting.faults());
        faults.extend(self.resolve_remotes(directory));
        faults.extend(self.otlp.resolve(utf8).err().map(|reason| KeyFault::of("otlp", reason)));
        if let Some(tracing) = &mut self.tracing {
            tracing.tls_config.resolve_paths(directory);
            faults.extend(tracing.validate().err().map(|reason| KeyFault::of("tracing", reason)));
        }
        if mode == Mode::Agent {
            let given = [
                ("alerting", self.alerting != AlertingConfig::default()),
                ("rule_files", !self.rule_files.is_empty()),
                ("remote_read", !self.remote_read.is_empty()),
            ];
            let given = given.iter().filter(|(_, is_given)| *is_given);
            faults.extend(given.map(|(key, _)| KeyFault::of(key, format!("field {key} is not allowed in agent mode"))));
        }
        faults
    }

    /// Resolves and checks what samples are sent to and read from.
    fn resolve_remotes(&mut self, directory: &Path) -> Vec<KeyFault> {
        let names: NameScheme = self.global.metric_name_validation_scheme.into();
        let mut faults = Vec::new();
        for (index, write) in self.remote_write.iter_mut().enumerate() {
            write.resolve(directory);
            faults.extend(write.faults(names).into_iter().map(|fault| fault.item(index).within("remote_write")));
        }
        for (index, read) in self.remote_read.iter_mut().enumerate() {
            read.resolve_http_paths(directory);
            let fault = read.validate().err();
            faults.extend(fault.map(|reason| KeyFault::here(reason).item(index).within("remote_read")));
        }
        let writers = repeated(self.remote_write.iter().map(|write| write.name.as_str()));
        let readers = repeated(self.remote_read.iter().map(|read| read.name.as_str()));
        for (key, what, names) in [("remote_write", "write", writers), ("remote_read", "read", readers)] {
            faults.extend(names.into_iter().map(|(index, name)| {
                let reason = format!("found multiple remote {what} configs with job name {name:?}");
                KeyFault::of("name", reason).item(index).within(key)
            }));
        }
        faults
    }

    /// Compiles the jobs, each told of in the file it is from, and adds what is wrong with them.
    fn resolve_jobs(&mut self, sources: &[(Source, usize)], faults: &mut Vec<String>) -> Vec<JobConfig> {
        let mut jobs = Vec::new();
        let mut names: Vec<String> = Vec::new();
        let mut configs = self.scrape_configs.iter_mut();
        for (source, count) in sources {
            let mut found = Vec::new();
            for (index, config) in configs.by_ref().take(*count).enumerate() {
                let place = |fault: KeyFault| fault.item(index).within("scrape_configs");
                if !config.job_name.is_empty() && names.contains(&config.job_name) {
                    let reason = format!("found multiple scrape configs with job name {:?}", config.job_name);
                    found.push(place(KeyFault::of("job_name", reason)));
                }
                names.push(config.job_name.clone());
                match config.clone().resolve(&self.global) {
                    Ok(job) => {
                        *config = job.written.clone();
                        jobs.push(job);
                    }
                    Err(wrong) => found.extend(wrong.into_iter().map(place)),
                }
            }
            faults.extend(source.told(&found));
        }
        jobs
    }

    /// What is configured and not run by this version, each with a hint.
    fn not_run(&self, jobs: &[JobConfig]) -> Vec<String> {
        const BRIDGE: &str = "is not run by this version: serve its targets through http_sd_configs";
        let mut told = Vec::new();
        for job in jobs {
            let keys = job.discovery.not_run().into_iter();
            told.extend(keys.map(|key| format!("scrape config {:?}: {key} {BRIDGE}", job.name)));
        }
        for alertmanager in &self.alerting.alertmanagers {
            let keys = alertmanager.discovery().not_run().into_iter();
            told.extend(keys.map(|key| format!("alerting: {key} {BRIDGE}")));
        }
        for (key, is_given, hint) in [("tracing", self.tracing.is_some(), "remove the section")] {
            if is_given {
                told.push(format!("{key} is not run by this version: {hint}"));
            }
        }
        if self.storage.tsdb.chunk_encoding.floats == Some(storage::FloatEncoding::Xor2) {
            told.push(
                "storage.tsdb.chunk_encoding.floats: xor2 is written for series with start timestamps only: use xor"
                    .into(),
            );
        }
        told
    }
}

/// A fault in a file, with its place.
pub fn yaml_fault(file: &str, error: &serde_saphyr::Error) -> String {
    // The library's message goes on with an excerpt of the file, which may hold secrets.
    let message = error.to_string();
    let first = message.lines().next().unwrap_or("").to_owned();
    match error.location() {
        Some(place) => format!("{file}:{}:{}: {first}", place.line(), place.column()),
        None => format!("{file}: {first}"),
    }
}

/// The files that a configuration names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedFiles {
    #[serde(deserialize_with = "null_is_default")]
    rule_files: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    scrape_config_files: Vec<String>,
}

/// A number that changes when the configuration, or a file that it names, does.
pub fn fingerprint(path: &Path) -> u64 {
    let text = read(path).unwrap_or_default();
    let named: NamedFiles = serde_saphyr::from_str(&text).unwrap_or_default();
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut all = text.into_bytes();
    for pattern in named.rule_files.iter().chain(&named.scrape_config_files) {
        for file in matching(directory, pattern) {
            all.extend_from_slice(file.as_os_str().as_encoded_bytes());
            // What cannot be read is as if it were empty: the reload will tell.
            all.extend(read(&file).unwrap_or_default().into_bytes());
        }
    }
    model::labels::hash_packed(&all)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ScrapeConfigFile {
    scrape_configs: Vec<ScrapeConfig>,
}

/// The jobs of a file of them, and what is told of it.
fn scrape_configs_of(file: &Path) -> Result<(Vec<ScrapeConfig>, Source), String> {
    let text = read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let (mut content, source): (ScrapeConfigFile, Source) = Source::read(file.display().to_string(), &text);
    // Paths in it are relative to it, not to the file that names it.
    let directory = file.parent().unwrap_or(Path::new("."));
    content.scrape_configs.iter_mut().for_each(|config| config.resolve_paths(directory));
    Ok((content.scrape_configs, source))
}

/// Reads and checks one rule file.
///
/// # Errors
/// All faults found.
pub fn rule_file(file: &Path, reading: rules::config::Reading) -> Result<RuleFile, Vec<String>> {
    let text = read(file).map_err(|e| vec![format!("{}: {e}", file.display())])?;
    rules::config::parse(file, &text, reading).map_err(|faults| faults.iter().map(ToString::to_string).collect())
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
    // `./` goes: it would be shown.
    let plain = |path: PathBuf| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    let path = plain(directory.join(pattern));
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
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(fits))
        .map(|entry| plain(entry.path()))
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests;
