//! The file of `--web.config.file`, as all programs of Prometheus' house share it: TLS, HTTP headers, users.
//! Reference: the exporter toolkit's `docs/web-configuration.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use rustls::SupportedProtocolVersion;
use rustls::crypto::aws_lc_rs;
use serde::Deserialize;

use super::gate::{Active, Users};
use crate::auth::Secret;
use crate::tls::{ClientCertificate, Pem, ServerTls, TlsError, TlsLimits, server_config};

/// Headers that may be set.
const HEADERS: [&str; 5] = [
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
    "Content-Security-Policy",
];
/// The most expensive password hash that is checked (2^20 rounds take a minute).
const BCRYPT_COST_MAX: u32 = 16;

/// The file as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    tls_server_config: Option<TlsSection>,
    http_server_config: HttpSection,
    basic_auth_users: Option<BTreeMap<String, Secret>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TlsSection {
    cert: String,
    key: Secret,
    client_ca: String,
    cert_file: PathBuf,
    key_file: PathBuf,
    client_ca_file: PathBuf,
    client_auth_type: String,
    client_allowed_sans: Vec<String>,
    cipher_suites: Vec<String>,
    curve_preferences: Vec<String>,
    min_version: String,
    max_version: String,
    prefer_server_cipher_suites: bool,
}

impl Default for TlsSection {
    fn default() -> Self {
        Self {
            cert: String::new(),
            key: Secret::default(),
            client_ca: String::new(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            client_ca_file: PathBuf::new(),
            client_auth_type: String::new(),
            client_allowed_sans: Vec::new(),
            cipher_suites: Vec::new(),
            curve_preferences: Vec::new(),
            min_version: "TLS12".into(),
            max_version: "TLS13".into(),
            prefer_server_cipher_suites: true,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpSection {
    http2: bool,
    headers: BTreeMap<String, String>,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self { http2: true, headers: BTreeMap::new() }
    }
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebConfigError {
    /// Certificate, key or authorities cannot be used.
    #[error("tls_server_config: {0}")]
    Tls(#[from] TlsError),
    /// A key of the TLS section is wrong or missing.
    #[error("tls_server_config: {0}")]
    Section(String),
    /// A header may not be set.
    #[error("HTTP header {0:?} can not be configured")]
    Header(String),
    /// A header's value is none.
    #[error("HTTP header {name:?}: {reason}")]
    HeaderValue {
        /// The header.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A password hash is none.
    #[error("basic_auth_users: {user}: {reason}")]
    Hash {
        /// Whose.
        user: String,
        /// What is wrong; the hash is not told.
        reason: String,
    },
}

impl WebConfig {
    /// Checks the file and reads what it names; relative paths begin at `directory`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn activate(&self, directory: &Path) -> Result<Active, WebConfigError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.http_server_config.headers {
            let known = HEADERS.iter().find(|known| known.eq_ignore_ascii_case(name));
            let known = known.ok_or_else(|| WebConfigError::Header(name.clone()))?;
            let wrong = |reason: String| WebConfigError::HeaderValue { name: name.clone(), reason };
            let key = HeaderName::from_bytes(known.as_bytes()).map_err(|e| wrong(e.to_string()))?;
            headers.insert(key, HeaderValue::from_str(value).map_err(|e| wrong(e.to_string()))?);
        }
        let users = self.basic_auth_users.clone().unwrap_or_default();
        for (user, hash) in &users {
            let wrong = |reason: String| WebConfigError::Hash { user: user.clone(), reason };
            let parts: bcrypt::HashParts =
                hash.reveal().parse().map_err(|_| wrong("expected a bcrypt hash".to_owned()))?;
            if parts.get_cost() > BCRYPT_COST_MAX {
                return Err(wrong(format!("cost {} is above the limit of {BCRYPT_COST_MAX}", parts.get_cost())));
            }
        }
        let http2 = self.http_server_config.http2;
        let tls = match &self.tls_server_config {
            None => None,
            Some(section) => Some(section.server_config(directory, http2)?),
        };
        let allowed_names = self.tls_server_config.as_ref().map(|tls| tls.client_allowed_sans.clone());
        Ok(Active {
            tls,
            http2,
            headers,
            users: Users::new(users.into_iter().map(|(user, hash)| (user, hash.reveal().to_owned()))),
            tokens: None,
            allowed_names: allowed_names.unwrap_or_default(),
        })
    }

    /// The files that it names; a change of one is a change of the configuration.
    pub fn files(&self, directory: &Path) -> Vec<PathBuf> {
        let Some(tls) = &self.tls_server_config else { return Vec::new() };
        let named = [&tls.cert_file, &tls.key_file, &tls.client_ca_file].into_iter();
        named.filter(|path| !path.as_os_str().is_empty()).map(|path| directory.join(path)).collect()
    }
}

/// A PEM that is written in the file or named by it.
fn pem(text: &str, file: &Path, directory: &Path) -> Option<Pem> {
    match (text.is_empty(), file.as_os_str().is_empty()) {
        (false, _) => Some(Pem::Memory(text.as_bytes().to_vec())),
        (true, false) => Some(Pem::File(directory.join(file))),
        (true, true) => None,
    }
}

impl TlsSection {
    fn server_config(&self, directory: &Path, http2: bool) -> Result<Arc<rustls::ServerConfig>, WebConfigError> {
        let missing = |what: &str| WebConfigError::Section(format!("missing one of {what} or {what}_file"));
        for (what, is_both) in [
            ("cert", !self.cert.is_empty() && !self.cert_file.as_os_str().is_empty()),
            ("key", !self.key.reveal().is_empty() && !self.key_file.as_os_str().is_empty()),
            ("client_ca", !self.client_ca.is_empty() && !self.client_ca_file.as_os_str().is_empty()),
        ] {
            if is_both {
                return Err(WebConfigError::Section(format!("only one of {what} and {what}_file is allowed")));
            }
        }
        let certificate = pem(&self.cert, &self.cert_file, directory).ok_or_else(|| missing("cert"))?;
        let key = pem(self.key.reveal(), &self.key_file, directory).ok_or_else(|| missing("key"))?;
        let authorities = pem(&self.client_ca, &self.client_ca_file, directory);
        let tls = ServerTls { certificate, key, client: self.client(authorities)? };
        let limits = TlsLimits {
            versions: self.versions()?,
            cipher_suites: self.cipher_suites.iter().map(|name| cipher(name)).collect::<Result<_, _>>()?,
            groups: self.curve_preferences.iter().map(|name| curve(name)).collect::<Result<_, _>>()?,
            server_prefers: self.prefer_server_cipher_suites,
            http2,
        };
        Ok(server_config(&tls, &limits)?)
    }

    fn client(&self, authorities: Option<Pem>) -> Result<ClientCertificate, WebConfigError> {
        let fault = |text: &str| WebConfigError::Section(text.to_owned());
        let verified = |authorities: Option<Pem>| authorities.ok_or_else(|| fault("client_ca_file is missing"));
        let client = match self.client_auth_type.as_str() {
            "" | "NoClientCert" if authorities.is_some() => {
                return Err(fault("Client CA's have been configured without a Client Auth Policy"));
            }
            "" | "NoClientCert" => ClientCertificate::Ignored,
            "RequestClientCert" => ClientCertificate::Unverified { demanded: false },
            "RequireAnyClientCert" => ClientCertificate::Unverified { demanded: true },
            "VerifyClientCertIfGiven" => ClientCertificate::Optional(verified(authorities)?),
            "RequireAndVerifyClientCert" => ClientCertificate::Required(verified(authorities)?),
            other => return Err(fault(&format!("Invalid ClientAuth: {other}"))),
        };
        if !self.client_allowed_sans.is_empty() && matches!(client, ClientCertificate::Ignored) {
            return Err(fault("client_allowed_sans needs a client_auth_type that asks for certificates"));
        }
        Ok(client)
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, WebConfigError> {
        fn number(text: &str) -> Result<&str, WebConfigError> {
            match text {
                "TLS10" | "TLS11" | "TLS12" | "TLS13" => Ok(text),
                other => Err(WebConfigError::Section(format!("unknown TLS version: {other}"))),
            }
        }
        let (min, max) = (number(&self.min_version)?, number(&self.max_version)?);
        if max < "TLS12" || min > max {
            let text = format!("no version from {min} to {max} is supported; TLS12 and TLS13 are");
            return Err(WebConfigError::Section(text));
        }
        let known = [("TLS12", &rustls::version::TLS12), ("TLS13", &rustls::version::TLS13)];
        Ok(known.into_iter().filter(|(name, _)| (min..=max).contains(name)).map(|(_, version)| version).collect())
    }
}

/// A cipher suite by the name that Go gives it.
fn cipher(name: &str) -> Result<rustls::SupportedCipherSuite, WebConfigError> {
    use aws_lc_rs::cipher_suite as suite;
    Ok(match name {
        "TLS_AES_128_GCM_SHA256" => suite::TLS13_AES_128_GCM_SHA256,
        "TLS_AES_256_GCM_SHA384" => suite::TLS13_AES_256_GCM_SHA384,
        "TLS_CHACHA20_POLY1305_SHA256" => suite::TLS13_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" => {
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" | "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" => {
            suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        }
        other => {
            let text = format!("unknown cipher: {other}; suites without forward secrecy are not supported");
            return Err(WebConfigError::Section(text));
        }
    })
}

/// A curve by the name that Go gives it.
fn curve(name: &str) -> Result<&'static dyn rustls::crypto::SupportedKxGroup, WebConfigError> {
    use aws_lc_rs::kx_group;
    match name {
        "CurveP256" => Ok(kx_group::SECP256R1),
        "CurveP384" => Ok(kx_group::SECP384R1),
        "X25519" => Ok(kx_group::X25519),
        "X25519MLKEM768" => Ok(kx_group::X25519MLKEM768),
        other => Err(WebConfigError::Section(format!("unknown curve: {other}"))),
    }
}
