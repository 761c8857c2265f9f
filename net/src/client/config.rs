//! The keys of `http_config`, with Prometheus' names, defaults and cross-checks.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ClientError;
use super::oauth2::OAuth2;
use crate::auth::{Secret, SecretSource};

/// How requests are authenticated, encrypted and routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpClientConfig {
    /// User and password.
    pub basic_auth: Option<BasicAuth>,
    /// `Authorization` header.
    pub authorization: Option<Authorization>,
    /// Tokens of an authorization server.
    pub oauth2: Option<OAuth2>,
    /// TLS.
    pub tls_config: TlsConfig,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// Whether HTTP/2 is offered.
    pub enable_http2: bool,
    /// Proxy for all requests, empty for none.
    pub proxy_url: String,
    /// Hosts that bypass the proxy.
    pub no_proxy: String,
    /// Whether `HTTP_PROXY` and its kin are obeyed.
    pub proxy_from_environment: bool,
    /// Headers sent to the proxy when it is asked for a tunnel.
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
    /// Headers added to each request.
    pub http_headers: BTreeMap<String, HeaderValues>,
    /// Each connection goes to any of the host's addresses rather than to the first. No key of `http_config`.
    pub spreads_addresses: bool,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            tls_config: TlsConfig::default(),
            follow_redirects: true,
            enable_http2: true,
            proxy_url: String::new(),
            no_proxy: String::new(),
            proxy_from_environment: false,
            proxy_connect_header: BTreeMap::new(),
            http_headers: BTreeMap::new(),
            spreads_addresses: false,
        }
    }
}

/// User and password, each in place or in a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    /// User name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// File with the user name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username_file: String,
    /// Password.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub password: Secret,
    /// File with the password.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password_file: String,
}

impl BasicAuth {
    pub(super) fn username_source(&self) -> Option<SecretSource> {
        SecretSource::from_pair(&Secret::new(self.username.as_str()), &self.username_file)
    }

    pub(super) fn password_source(&self) -> Option<SecretSource> {
        SecretSource::from_pair(&self.password, &self.password_file)
    }
}

/// An `Authorization` header: `type credentials`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authorization {
    /// The scheme.
    #[serde(rename = "type")]
    pub scheme: String,
    /// The credentials.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub credentials: Secret,
    /// File with the credentials.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub credentials_file: String,
}

impl Default for Authorization {
    fn default() -> Self {
        Self { scheme: "Bearer".into(), credentials: Secret::default(), credentials_file: String::new() }
    }
}

/// TLS of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// CA certificates in PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca: String,
    /// File of them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca_file: String,
    /// Client certificate in PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert: String,
    /// File of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_file: String,
    /// Its key in PEM.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub key: Secret,
    /// File of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_file: String,
    /// The name that the server's certificate must bear, if not the host's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    /// Whether any certificate is accepted.
    pub insecure_skip_verify: bool,
    /// One of [`TLS_VERSIONS`]; those before `TLS12` mean `TLS12`, the lowest that is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<String>,
    /// `TLS12` or `TLS13`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<String>,
}

/// Names of TLS versions, oldest first.
pub const TLS_VERSIONS: [&str; 4] = ["TLS10", "TLS11", "TLS12", "TLS13"];

/// Values of one header.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderValues {
    /// In place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// In place, masked when shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// From files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// Headers that the client sets itself.
const RESERVED_HEADERS: [&str; 10] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "x-prometheus-scrape-timeout-seconds",
];

impl HttpClientConfig {
    /// Checks what excludes what, with upstream's texts.
    ///
    /// # Errors
    /// [`ClientError::Config`] names the keys.
    pub fn validate(&self) -> Result<(), ClientError> {
        let fault = |text: &str| Err(ClientError::Config(text.into()));
        let credentials = [self.basic_auth.is_some(), self.authorization.is_some(), self.oauth2.is_some()];
        if credentials.into_iter().filter(|given| *given).count() > 1 {
            return fault("at most one of basic_auth, oauth2 & authorization must be configured");
        }
        if let Some(oauth2) = &self.oauth2 {
            oauth2.validate()?;
        }
        if let Some(basic) = &self.basic_auth {
            if !basic.username.is_empty() && !basic.username_file.is_empty() {
                return fault("at most one of basic_auth username & username_file must be configured");
            }
            if !basic.password.is_empty() && !basic.password_file.is_empty() {
                return fault("at most one of basic_auth password & password_file must be configured");
            }
        }
        if let Some(authorization) = &self.authorization {
            if !authorization.credentials.is_empty() && !authorization.credentials_file.is_empty() {
                return fault("at most one of authorization credentials & credentials_file must be configured");
            }
            if authorization.scheme.trim().eq_ignore_ascii_case("basic") {
                return fault("authorization type cannot be set to \"basic\", use \"basic_auth\" instead");
            }
        }
        self.proxy().validate()?;
        if let Some(name) = self.http_headers.keys().find(|n| RESERVED_HEADERS.contains(&n.to_lowercase().as_str())) {
            return fault(&format!("setting header {name:?} is not allowed"));
        }
        self.tls_config.validate()
    }

    /// Its proxy settings.
    pub(super) fn proxy(&self) -> Proxy<'_> {
        Proxy {
            url: &self.proxy_url,
            exceptions: &self.no_proxy,
            is_from_environment: self.proxy_from_environment,
            connect_header: &self.proxy_connect_header,
        }
    }

    /// The scheme and credentials of the `Authorization` header, if configured.
    pub(super) fn authorization_source(&self) -> Option<(&str, SecretSource)> {
        let authorization = self.authorization.as_ref()?;
        let source = SecretSource::from_pair(&authorization.credentials, &authorization.credentials_file)?;
        Some((authorization.scheme.trim(), source))
    }

    /// Makes relative files relative to the directory of the configuration file.
    pub fn resolve_paths(&mut self, directory: &Path) {
        if let Some(basic) = &mut self.basic_auth {
            join(directory, &mut basic.username_file);
            join(directory, &mut basic.password_file);
        }
        if let Some(authorization) = &mut self.authorization {
            join(directory, &mut authorization.credentials_file);
        }
        if let Some(oauth2) = &mut self.oauth2 {
            oauth2.resolve_paths(directory);
        }
        self.tls_config.resolve_paths(directory);
        for values in self.http_headers.values_mut() {
            values.files.iter_mut().for_each(|file| join(directory, file));
        }
    }
}

/// Where requests pass on their way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proxy<'a> {
    pub(super) url: &'a str,
    /// Hosts that are reached without it.
    pub(super) exceptions: &'a str,
    pub(super) is_from_environment: bool,
    /// Sent with `CONNECT`.
    pub(super) connect_header: &'a BTreeMap<String, Vec<Secret>>,
}

impl Proxy<'_> {
    pub(super) fn validate(self) -> Result<(), ClientError> {
        let fault = |text: &str| Err(ClientError::Config(text.into()));
        if self.is_from_environment && !self.url.is_empty() {
            return fault("if proxy_from_environment is configured, proxy_url must not be configured");
        }
        if self.is_from_environment && !self.exceptions.is_empty() {
            return fault("if proxy_from_environment is configured, no_proxy must not be configured");
        }
        if self.url.is_empty() && !self.exceptions.is_empty() {
            return fault("if no_proxy is configured, proxy_url must also be configured");
        }
        if !self.connect_header.is_empty() && !self.is_from_environment && self.url.is_empty() {
            return fault(
                "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
            );
        }
        Ok(())
    }
}

impl TlsConfig {
    /// Checks what excludes what, with upstream's texts.
    ///
    /// # Errors
    /// [`ClientError::Config`] names the keys.
    pub fn validate(&self) -> Result<(), ClientError> {
        let both = |a: &str, b: &str| !a.is_empty() && !b.is_empty();
        let certificate = !self.cert.is_empty() || !self.cert_file.is_empty();
        let key = !self.key.is_empty() || !self.key_file.is_empty();
        let fault = if both(&self.ca, &self.ca_file) {
            "at most one of ca and ca_file must be configured"
        } else if both(&self.cert, &self.cert_file) {
            "at most one of cert and cert_file must be configured"
        } else if both(self.key.reveal(), &self.key_file) {
            "at most one of key and key_file must be configured"
        } else if certificate && !key {
            "exactly one of key or key_file must be configured when a client certificate is configured"
        } else if key && !certificate {
            "exactly one of cert or cert_file must be configured when a client key is configured"
        } else {
            return self.validate_versions();
        };
        Err(ClientError::Config(fault.into()))
    }

    fn validate_versions(&self) -> Result<(), ClientError> {
        for version in self.min_version.iter().chain(&self.max_version) {
            if !TLS_VERSIONS.contains(&version.as_str()) {
                return Err(ClientError::Config(format!("unknown TLS version: {version}")));
            }
        }
        let rank = |version: &Option<String>| TLS_VERSIONS.iter().position(|v| version.as_deref() == Some(*v));
        match (rank(&self.min_version), rank(&self.max_version)) {
            (Some(min), Some(max)) if min > max => Err(ClientError::Config(
                "tls_config.max_version must be greater than or equal to tls_config.min_version if both are specified"
                    .into(),
            )),
            _ => Ok(()),
        }
    }

    /// Makes relative files relative to `directory`.
    pub fn resolve_paths(&mut self, directory: &Path) {
        join(directory, &mut self.ca_file);
        join(directory, &mut self.cert_file);
        join(directory, &mut self.key_file);
    }
}

pub(super) fn join(directory: &Path, file: &mut String) {
    if !file.is_empty() {
        *file = directory.join(&*file).to_string_lossy().into_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_exclude_each_other_are_refused() {
        let refused = |change: fn(&mut HttpClientConfig)| {
            let mut config = HttpClientConfig::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(
            refused(|c| {
                c.basic_auth = Some(BasicAuth::default());
                c.authorization = Some(Authorization::default());
            })
            .contains("at most one of basic_auth")
        );
        assert!(refused(|c| c.tls_config.cert_file = "x".into()).contains("exactly one of key or key_file"));
        assert!(refused(|c| c.no_proxy = "x".into()).contains("proxy_url must also"));
        assert!(
            refused(|c| {
                c.http_headers.insert("Authorization".into(), HeaderValues::default());
            })
            .contains("is not allowed")
        );
        assert_eq!(HttpClientConfig::default().validate().map_err(|e| e.to_string()), Ok(()));
    }
}
