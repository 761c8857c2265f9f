//! `--web.config.file` of every program: read here, put into force by the server of `net`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use net::server::gate::{Active, Fingerprint, Gate, Source};
use net::server::web_config::WebConfig;

use crate::config::yaml_fault;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Opens the gate that a flag names; none if the flag is empty.
///
/// # Errors
/// If the file is wrong.
pub fn gate(file: &str) -> anyhow::Result<Option<Arc<Gate>>> {
    if file.is_empty() {
        return Ok(None);
    }
    let gate = Gate::open(Box::new(FileSource { file: file.into() }));
    let gate = gate.map_err(|error| anyhow::anyhow!("--web.config.file: {error}"))?;
    Ok(Some(Arc::new(gate)))
}

/// Checks a file.
///
/// # Errors
/// What is wrong, with file and place.
pub fn check(file: &Path) -> Result<(), String> {
    FileSource { file: file.to_owned() }.load().map(drop)
}

struct FileSource {
    file: PathBuf,
}

impl FileSource {
    fn read(&self) -> Result<WebConfig, String> {
        let shown = self.file.display();
        let size = std::fs::metadata(&self.file).map_err(|error| format!("{shown}: {error}"))?.len();
        if size > FILE_BYTES_MAX {
            return Err(format!("{shown}: {size} bytes, more than the limit of {FILE_BYTES_MAX}"));
        }
        let text = std::fs::read_to_string(&self.file).map_err(|error| format!("{shown}: {error}"))?;
        if text.trim().is_empty() {
            return Ok(WebConfig::default());
        }
        serde_saphyr::from_str(&text).map_err(|error| yaml_fault(&shown.to_string(), &error))
    }

    fn directory(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }
}

impl Source for FileSource {
    fn fingerprint(&self) -> Fingerprint {
        let named = self.read().map(|config| config.files(self.directory())).unwrap_or_default();
        let changed = |path: &PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        std::iter::once(&self.file).chain(&named).map(changed).collect()
    }

    fn load(&self) -> Result<Active, String> {
        self.read()?.activate(self.directory()).map_err(|error| format!("{}: {error}", self.file.display()))
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
