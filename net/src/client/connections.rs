//! The HTTP library's client: built from the configuration, and built anew when one of its TLS files changed.
//!
//! The files are looked at before each request. A request fails if what they now hold cannot be used; the next one tries
//! again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Url};
use tokio::sync::Mutex;

use super::config::TlsConfig;
use super::{ClientError, HttpClientConfig, IDLE_TIMEOUT, NAMED_ADDRESSES_MAX, REDIRECTS_MAX, with_proxy};
use crate::auth::{Secret, SecretSource};

/// Pools of connections under one configuration.
#[derive(Debug)]
pub(super) struct Connections {
    config: HttpClientConfig,
    user_agent: String,
    /// The socket that every request goes to, if there is one.
    socket: Option<PathBuf>,
    /// How long a whole request may take, if that is limited here.
    timeout: Option<Duration>,
    built: Mutex<Built>,
}

#[derive(Debug)]
struct Built {
    client: Client,
    /// Clients by target authority, used only with `tls_config.server_name`.
    named: HashMap<String, Client>,
    /// As the files stood before it was built from them.
    files: Vec<FileState>,
}

/// When a file was written, how long it is, and which one it is; `None` if it is not there.
type FileState = Option<(SystemTime, u64, u64)>;

impl Connections {
    pub(super) async fn new(
        config: HttpClientConfig,
        user_agent: &str,
        socket: Option<PathBuf>,
        timeout: Option<Duration>,
    ) -> Result<Self, ClientError> {
        let files = file_states(&config.tls_config).await;
        let client = build(&config, user_agent, socket.as_ref(), timeout).await?;
        let built = Mutex::new(Built { client, named: HashMap::new(), files });
        Ok(Self { config, user_agent: user_agent.to_owned(), socket, timeout, built })
    }

    pub(super) fn config(&self) -> &HttpClientConfig {
        &self.config
    }

    /// The client for requests to the host that their URL names.
    pub(super) async fn client(&self) -> Result<Client, ClientError> {
        Ok(self.current().await?.client.clone())
    }

    /// The client for requests to `host:port` under the TLS name `server_name`.
    pub(super) async fn named(&self, server_name: &str, host: &str, port: u16) -> Result<Client, ClientError> {
        let mut built = self.current().await?;
        let authority = format!("{host}:{port}");
        if let Some(client) = built.named.get(&authority) {
            return Ok(client.clone());
        }
        let invalid = |reason: &str| ClientError::Url { url: authority.clone(), reason: reason.into() };
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.trim_matches(['[', ']']), port))
            .await
            .map_err(|e| invalid(&e.to_string()))?
            .collect();
        let client = builder(&self.config, &self.user_agent).await?.resolve_to_addrs(server_name, &addresses);
        let client = finish(client)?;
        if built.named.len() >= NAMED_ADDRESSES_MAX {
            built.named.clear();
        }
        built.named.insert(authority, client.clone());
        Ok(client)
    }

    async fn current(&self) -> Result<tokio::sync::MutexGuard<'_, Built>, ClientError> {
        let files = file_states(&self.config.tls_config).await;
        let mut built = self.built.lock().await;
        if built.files != files {
            let client = build(&self.config, &self.user_agent, self.socket.as_ref(), self.timeout).await?;
            *built = Built { client, named: HashMap::new(), files };
        }
        Ok(built)
    }
}

async fn build(
    config: &HttpClientConfig,
    user_agent: &str,
    socket: Option<&PathBuf>,
    timeout: Option<Duration>,
) -> Result<Client, ClientError> {
    let mut builder = builder(config, user_agent).await?;
    if let Some(socket) = socket {
        builder = builder.unix_socket(socket.clone());
    }
    if let Some(timeout) = timeout {
        builder = builder.timeout(timeout);
    }
    finish(builder)
}

fn finish(builder: ClientBuilder) -> Result<Client, ClientError> {
    // The library's own message says no more than that building failed.
    builder.build().map_err(|error| ClientError::Config(format!("HTTP client: {}", with_causes(&error))))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The state of each file that is configured; none without a file, which costs nothing.
async fn file_states(tls: &TlsConfig) -> Vec<FileState> {
    let files = [&tls.ca_file, &tls.cert_file, &tls.key_file].into_iter().filter(|file| !file.is_empty());
    let mut states = Vec::new();
    for file in files {
        states.push(tokio::fs::metadata(file).await.ok().and_then(|metadata| {
            #[cfg(unix)]
            let number = std::os::unix::fs::MetadataExt::ino(&metadata);
            #[cfg(not(unix))]
            let number = 0;
            Some((metadata.modified().ok()?, metadata.len(), number))
        }));
    }
    states
}

async fn builder(config: &HttpClientConfig, user_agent: &str) -> Result<ClientBuilder, ClientError> {
    let mut builder = Client::builder()
        .user_agent(user_agent)
        .redirect(redirects(config))
        // What is in a URL's query may be a secret.
        .referer(false)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .no_gzip()
        .tcp_nodelay(true);
    if !config.enable_http2 {
        builder = builder.http1_only();
    }
    if config.spreads_addresses {
        builder = builder.dns_resolver(Arc::new(Spread));
    }
    builder = with_proxy(builder, config.proxy())?;
    with_tls(builder, &config.tls_config).await
}

/// The addresses of a name, beginning with any of them.
struct Spread;

impl Resolve for Spread {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if !addresses.is_empty() {
                let first = rand::random_range(..addresses.len());
                addresses.rotate_left(first);
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Which redirects are followed. The library drops the `Authorization` header where one leaves its host or port; it
/// knows nothing of secrets in other headers, nor of TLS that was left on the same port, so those redirects are refused.
fn redirects(config: &HttpClientConfig) -> Policy {
    if !config.follow_redirects {
        return Policy::none();
    }
    let has_secret_headers = config.http_headers.values().any(|v| !v.secrets.is_empty() || !v.files.is_empty());
    let has_credentials =
        has_secret_headers || config.basic_auth.is_some() || config.authorization.is_some() || config.oauth2.is_some();
    Policy::custom(move |attempt: Attempt<'_>| {
        let (leaves_host, leaves_tls) = match attempt.previous().first() {
            Some(first) => {
                (place(first) != place(attempt.url()), first.scheme() == "https" && attempt.url().scheme() != "https")
            }
            None => (false, false),
        };
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error(format!("stopped after {REDIRECTS_MAX} redirects"))
        } else if leaves_host && has_secret_headers {
            attempt.error("redirected to another host, where the secrets in http_headers must not go")
        } else if leaves_tls && has_credentials {
            attempt.error("redirected from https to http, where credentials must not go")
        } else {
            attempt.follow()
        }
    })
}

fn place(url: &Url) -> (Option<&str>, Option<u16>) {
    (url.host_str(), url.port_or_known_default())
}

async fn with_tls(mut builder: ClientBuilder, tls: &TlsConfig) -> Result<ClientBuilder, ClientError> {
    if let Some(min) = &tls.min_version {
        // What is older than TLS 1.2 is not spoken, so asking for it at least asks for nothing more.
        builder = builder.tls_version_min(tls_version(min).unwrap_or(reqwest::tls::Version::TLS_1_2));
    }
    if let Some(max) = &tls.max_version {
        builder = builder.tls_version_max(tls_version(max)?);
    }
    if let Some((pem, path)) = pem_of(&tls.ca, &tls.ca_file).await? {
        let fault = |reason: String| ClientError::TlsFile {
            path: path.clone(),
            reason: format!("unable to use CA certificate: {reason}"),
        };
        let certificates =
            Certificate::from_pem_bundle(pem.reveal().as_bytes()).map_err(|error| fault(error.to_string()))?;
        // Without any, no server could ever be trusted.
        if certificates.is_empty() {
            return Err(fault("expected certificates in PEM, found none".into()));
        }
        builder = builder.tls_certs_only(certificates);
    }
    if let Some((mut pem, path)) = pem_of(&tls.cert, &tls.cert_file).await? {
        if let Some((key, _)) = pem_of(tls.key.reveal(), &tls.key_file).await? {
            pem = Secret::new(format!("{}\n{}", pem.reveal(), key.reveal()));
        }
        let identity = Identity::from_pem(pem.reveal().as_bytes())
            .map_err(|e| ClientError::TlsFile { path, reason: format!("unable to use client certificate: {e}") })?;
        builder = builder.identity(identity);
    }
    if tls.insecure_skip_verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    Ok(builder)
}

async fn pem_of(inline: &str, file: &str) -> Result<Option<(Secret, PathBuf)>, ClientError> {
    let source = SecretSource::from_pair(&Secret::new(inline), file);
    let path = PathBuf::from(if file.is_empty() { "(inline)" } else { file });
    match source {
        Some(source) => Ok(Some((source.load().await?, path))),
        None => Ok(None),
    }
}

fn tls_version(name: &str) -> Result<reqwest::tls::Version, ClientError> {
    match name {
        "TLS12" => Ok(reqwest::tls::Version::TLS_1_2),
        "TLS13" => Ok(reqwest::tls::Version::TLS_1_3),
        "TLS10" | "TLS11" => {
            Err(ClientError::Config(format!("TLS version {name} is not supported: it is no longer safe; use TLS12")))
        }
        other => Err(ClientError::Config(format!("unknown TLS version: {other}"))),
    }
}
