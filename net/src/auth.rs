//! Credentials: secrets that never print, and where they come from.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands in place of a secret wherever it would be shown.
pub const MASK: &str = "<secret>";

/// The largest file a secret is read from, in bytes.
pub const SECRET_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A URL as it is shown: with `xxxxx` for its password, as upstream does.
pub fn masked_url(text: &str) -> String {
    match reqwest::Url::parse(text) {
        Ok(mut url) if url.password().is_some() => {
            if url.set_password(Some("xxxxx")).is_err() {
                return MASK.to_owned();
            }
            url.into()
        }
        Ok(_) => text.to_owned(),
        Err(_) => masked_text(text),
    }
}

/// As [`masked_url`], of a text that is no URL and may still hold a password.
fn masked_text(text: &str) -> String {
    let parts = text.split_once("://").and_then(|(scheme, rest)| {
        let authority = rest.split(['/', '?', '#']).next()?;
        let (credentials, _) = authority.rsplit_once('@')?;
        let (user, password) = credentials.split_once(':')?;
        Some((scheme, user, rest.get(user.len() + 1 + password.len()..)?))
    });
    parts.map_or_else(|| text.to_owned(), |(scheme, user, rest)| format!("{scheme}://{user}:xxxxx{rest}"))
}

/// Prints a field as [`masked_url`] does.
///
/// # Errors
/// If the serializer fails.
pub fn serialize_masked_url<T: AsRef<str>, S: Serializer>(url: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&masked_url(url.as_ref()))
}

/// Text that is shown as `<secret>`, in logs, errors and configuration printed back alike.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { MASK })
    }
}

/// A secret given in place or in a file that is read anew at each use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// Given in the configuration.
    Inline(Secret),
    /// Read from this file, white space at its ends removed.
    File(PathBuf),
}

/// A secret's file could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The operating system failed to read it.
    #[error("unable to read secret file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// How it failed.
        source: std::io::Error,
    },
    /// Larger than [`SECRET_FILE_BYTES_MAX`].
    #[error("secret file {} is larger than {SECRET_FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

impl SecretSource {
    /// From a pair of keys such as `password` and `password_file`, of which at most one is set.
    pub fn from_pair(inline: &Secret, file: &str) -> Option<Self> {
        match (inline.is_empty(), file.is_empty()) {
            (false, _) => Some(SecretSource::Inline(inline.clone())),
            (true, false) => Some(SecretSource::File(PathBuf::from(file))),
            (true, true) => None,
        }
    }

    /// The secret as it stands now.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub async fn load(&self) -> Result<Secret, SecretError> {
        match self {
            SecretSource::Inline(secret) => Ok(secret.clone()),
            SecretSource::File(path) => read_secret(path).await,
        }
    }
}

async fn read_secret(path: &Path) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::Read { path: path.to_owned(), source };
    let size = tokio::fs::metadata(path).await.map_err(failed)?.len();
    if size > SECRET_FILE_BYTES_MAX {
        return Err(SecretError::TooLarge { path: path.to_owned() });
    }
    let text = tokio::fs::read_to_string(path).await.map_err(failed)?;
    Ok(Secret::new(text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_urls_are_masked() {
        for (text, shown) in [
            ("http://u:p@h:1/x?y", "http://u:xxxxx@h:1/x?y"),
            ("http://u@h/", "http://u@h/"),
            ("http://u:p@h:port/x", "http://u:xxxxx@h:port/x"),
            ("http://h/a:b@c", "http://h/a:b@c"),
            ("u:p@h", "u:p@h"),
        ] {
            assert_eq!(masked_url(text), shown);
        }
    }

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "<secret>");
        assert_eq!(format!("{:?}", SecretSource::Inline(secret.clone())), "Inline(<secret>)");
        assert_eq!(secret.reveal(), "hunter2");
    }
}
