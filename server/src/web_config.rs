//! `--web.config.file` of every program, and the server's `--web.api-tokens.file`: read here, put into force by the
//! server of `net`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use net::server::gate::{Active, Fingerprint, Gate, Source};
use net::server::web_config::WebConfig;
use serde::de::DeserializeOwned;

use crate::access::TokensFile;
use crate::config::yaml_fault;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Opens the gate that flags name: of TLS and users, and of tokens. None if both are empty.
///
/// # Errors
/// If a file is wrong.
pub fn gate(file: &str, tokens_file: &str) -> anyhow::Result<Option<Arc<Gate>>> {
    let named = |file: &str| (!file.is_empty()).then(|| PathBuf::from(file));
    let source = FileSource { file: named(file), tokens_file: named(tokens_file) };
    if source.file.is_none() && source.tokens_file.is_none() {
        return Ok(None);
    }
    let gate = Gate::open(Box::new(source)).map_err(|error| anyhow::anyhow!("web configuration: {error}"))?;
    Ok(Some(Arc::new(gate)))
}

/// Checks a file.
///
/// # Errors
/// What is wrong, with file and place.
pub fn check(file: &Path) -> Result<(), String> {
    FileSource { file: Some(file.to_owned()), tokens_file: None }.load().map(drop)
}

struct FileSource {
    file: Option<PathBuf>,
    tokens_file: Option<PathBuf>,
}

/// Reads a file of YAML; an empty one sets nothing.
fn read<T: DeserializeOwned + Default>(file: &Path) -> Result<T, String> {
    let shown = file.display();
    let size = std::fs::metadata(file).map_err(|error| format!("{shown}: {error}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{shown}: {size} bytes, more than the limit of {FILE_BYTES_MAX}"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
    if text.trim().is_empty() {
        return Ok(T::default());
    }
    serde_saphyr::from_str(&text).map_err(|error| yaml_fault(&shown.to_string(), &error))
}

fn directory(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

impl Source for FileSource {
    fn fingerprint(&self) -> Fingerprint {
        let named = self.file.as_deref().and_then(|file| Some(read::<WebConfig>(file).ok()?.files(directory(file))));
        let named = named.unwrap_or_default();
        let changed = |path: &PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        self.file.iter().chain(&self.tokens_file).chain(&named).map(changed).collect()
    }

    fn load(&self) -> Result<Active, String> {
        let mut active = Active::default();
        if let Some(file) = &self.file {
            let config: WebConfig = read(file)?;
            active = config.activate(directory(file)).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        if let Some(file) = &self.tokens_file {
            let tokens: TokensFile = read(file)?;
            active.tokens = Some(tokens.activate().map_err(|error| format!("{}: {error}", file.display()))?);
        }
        Ok(active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_with_their_place() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("web.yml");
        let told = |text: &str| {
            std::fs::write(&file, text).unwrap();
            check(&file).unwrap_err()
        };
        assert!(told("tls_server_config:\n  wrong: 1\n").contains("web.yml:2:3"), "{}", told("a: [\n"));
        assert!(told("tls_server_config: {key: k}\n").ends_with("missing one of cert or cert_file"));
        let key = "tls_server_config: {cert_file: no.crt, key_file: no.key}\n";
        assert!(told(key).contains("cannot read") && told(key).contains("no.crt"));
        assert!(told("basic_auth_users: {ann: secret}\n").ends_with("ann: expected a bcrypt hash"));
        assert!(!told("basic_auth_users: {ann: secret}\n").contains("secret"));
        assert!(told("http_server_config: {headers: {Server: x}}\n").contains("\"Server\" can not be configured"));
        assert!(told("tls_server_config: {cert: a, key: b, max_version: TLS11}\n").contains("TLS12 and TLS13 are"));
        std::fs::write(&file, "").unwrap();
        assert_eq!(check(&file), Ok(()));
    }
}
