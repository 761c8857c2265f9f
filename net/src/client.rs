//! The HTTP client as configured in scrape, alerting, remote and discovery sections (`http_config` in Prometheus'
//! documentation): authentication, TLS, redirects, proxies, headers.

mod config;
mod oauth2;
mod section;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Method, RequestBuilder, Url};
use tokio::sync::Mutex;

pub use config::{Authorization, BasicAuth, HeaderValues, HttpClientConfig, TLS_VERSIONS, TlsConfig};
pub use oauth2::OAuth2;

use config::Proxy;
use oauth2::TokenSource;

use crate::auth::{Secret, SecretError, SecretSource};

/// How many redirects are followed, as Go's client does.
pub const REDIRECTS_MAX: usize = 10;
/// How long an idle connection is kept for the next request.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How many addresses a client with a fixed TLS server name remembers.
pub const NAMED_ADDRESSES_MAX: usize = 4096;

/// Why a client cannot be built or a request not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Keys that exclude each other, or a value that cannot be.
    #[error("{0}")]
    Config(String),
    /// A certificate or key file cannot be used.
    #[error("TLS file {}: {reason}", path.display())]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A URL that is not one.
    #[error("invalid URL {url:?}: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The authorization server gave no token.
    #[error("oauth2: cannot fetch token from {url:?}: {reason}")]
    Token {
        /// The server.
        url: String,
        /// How it failed.
        reason: String,
    },
    /// The HTTP library refused.
    #[error("HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// A pool of connections with one configuration.
#[derive(Debug)]
pub struct HttpClient {
    config: HttpClientConfig,
    user_agent: String,
    client: Client,
    /// Clients by target authority, used only with `tls_config.server_name`; see [`HttpClient::request`].
    named: Mutex<HashMap<String, Client>>,
    tokens: Option<TokenSource>,
}

impl HttpClient {
    /// Builds a client; certificate files are read now.
    ///
    /// # Errors
    /// If the configuration contradicts itself or a file cannot be used.
    pub async fn new(config: HttpClientConfig, user_agent: &str) -> Result<Self, ClientError> {
        config.validate()?;
        let client = builder(&config, user_agent).await?.build()?;
        Self::with(config, user_agent, client).await
    }

    /// As [`HttpClient::new`], but every request goes to the socket at `path`, whatever its URL says.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub async fn over_unix_socket(
        config: HttpClientConfig,
        path: PathBuf,
        user_agent: &str,
    ) -> Result<Self, ClientError> {
        config.validate()?;
        let client = builder(&config, user_agent).await?.unix_socket(path).build()?;
        Self::with(config, user_agent, client).await
    }

    async fn with(config: HttpClientConfig, user_agent: &str, client: Client) -> Result<Self, ClientError> {
        let tokens = match &config.oauth2 {
            Some(oauth2) => Some(TokenSource::new(oauth2.clone(), user_agent).await?),
            None => None,
        };
        Ok(Self { config, user_agent: user_agent.to_owned(), client, named: Mutex::default(), tokens })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &HttpClientConfig {
        &self.config
    }

    /// A request with authentication and configured headers; secrets' files are read anew.
    ///
    /// The HTTP library takes TLS' server name from the URL, so with `tls_config.server_name` the URL carries that name,
    /// resolves to the target's address, and the `Host` header keeps the target.
    ///
    /// # Errors
    /// If a secret cannot be read or the address not be resolved.
    pub async fn request(&self, method: Method, url: &Url) -> Result<RequestBuilder, ClientError> {
        let server_name = &self.config.tls_config.server_name;
        let request = if server_name.is_empty() || url.scheme() != "https" {
            self.client.request(method, url.clone())
        } else {
            self.named_request(method, url, server_name).await?
        };
        self.authenticated(request).await
    }

    async fn named_request(&self, method: Method, url: &Url, server_name: &str) -> Result<RequestBuilder, ClientError> {
        let invalid = |reason: &str| ClientError::Url { url: url.to_string(), reason: reason.into() };
        let host = url.host_str().ok_or_else(|| invalid("no host"))?;
        let port = url.port_or_known_default().ok_or_else(|| invalid("no port"))?;
        let authority = format!("{host}:{port}");
        let mut named_url = url.clone();
        named_url.set_host(Some(server_name)).map_err(|_| invalid("server_name is no host name"))?;
        let mut named = self.named.lock().await;
        if !named.contains_key(&authority) {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.trim_matches(['[', ']']), port))
                .await
                .map_err(|e| invalid(&e.to_string()))?
                .collect();
            let client =
                builder(&self.config, &self.user_agent).await?.resolve_to_addrs(server_name, &addresses).build()?;
            if named.len() >= NAMED_ADDRESSES_MAX {
                named.clear();
            }
            named.insert(authority.clone(), client);
        }
        let client = named[&authority].clone();
        drop(named);
        Ok(client.request(method, named_url).header(HOST, authority))
    }

    async fn authenticated(&self, mut request: RequestBuilder) -> Result<RequestBuilder, ClientError> {
        if let Some(basic) = &self.config.basic_auth {
            let username = match basic.username_source() {
                Some(source) => source.load().await?,
                None => Secret::default(),
            };
            let password = match basic.password_source() {
                Some(source) => Some(source.load().await?),
                None => None,
            };
            request = request.basic_auth(username.reveal(), password.as_ref().map(Secret::reveal));
        }
        if let Some((scheme, source)) = self.config.authorization_source() {
            let credentials = source.load().await?;
            let mut value = HeaderValue::from_str(&format!("{scheme} {}", credentials.reveal()))
                .map_err(|_| ClientError::Config("authorization credentials are no valid header value".into()))?;
            value.set_sensitive(true);
            request = request.header(reqwest::header::AUTHORIZATION, value);
        }
        if let Some(tokens) = &self.tokens {
            let token = tokens.token().await?;
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
                .map_err(|_| ClientError::Config("oauth2: the token is no valid header value".into()))?;
            value.set_sensitive(true);
            request = request.header(reqwest::header::AUTHORIZATION, value);
        }
        for (name, values) in &self.config.http_headers {
            request = with_header(request, name, values).await?;
        }
        Ok(request)
    }
}

async fn with_header(
    mut request: RequestBuilder,
    name: &str,
    values: &HeaderValues,
) -> Result<RequestBuilder, ClientError> {
    let invalid = || ClientError::Config(format!("http_headers: {name:?} is no header or has an invalid value"));
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
    for value in &values.values {
        request = request.header(header.clone(), HeaderValue::from_str(value).map_err(|_| invalid())?);
    }
    let mut secrets = values.secrets.clone();
    for file in &values.files {
        secrets.push(SecretSource::File(PathBuf::from(file)).load().await?);
    }
    for secret in secrets {
        let mut value = HeaderValue::from_str(secret.reveal()).map_err(|_| invalid())?;
        value.set_sensitive(true);
        request = request.header(header.clone(), value);
    }
    Ok(request)
}

async fn builder(config: &HttpClientConfig, user_agent: &str) -> Result<ClientBuilder, ClientError> {
    let redirects = match config.follow_redirects {
        // The library drops credentials when a redirect leaves the host.
        true => reqwest::redirect::Policy::limited(REDIRECTS_MAX),
        false => reqwest::redirect::Policy::none(),
    };
    let mut builder = Client::builder()
        .user_agent(user_agent)
        .redirect(redirects)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .no_gzip()
        .tcp_nodelay(true);
    if !config.enable_http2 {
        builder = builder.http1_only();
    }
    builder = with_proxy(builder, config.proxy())?;
    with_tls(builder, &config.tls_config).await
}

fn with_proxy(builder: ClientBuilder, settings: Proxy<'_>) -> Result<ClientBuilder, ClientError> {
    if settings.is_from_environment {
        return Ok(builder);
    }
    if settings.url.is_empty() {
        return Ok(builder.no_proxy());
    }
    let mut proxy = reqwest::Proxy::all(settings.url)?;
    if !settings.exceptions.is_empty() {
        proxy = proxy.no_proxy(reqwest::NoProxy::from_string(settings.exceptions));
    }
    let invalid = || ClientError::Config("proxy_connect_header: not a header, or an invalid value".into());
    let mut headers = HeaderMap::new();
    for (name, values) in settings.connect_header {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        for value in values {
            let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| invalid())?;
            value.set_sensitive(true);
            headers.append(name.clone(), value);
        }
    }
    Ok(builder.proxy(if headers.is_empty() { proxy } else { proxy.headers(headers) }))
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
        let certificates = Certificate::from_pem_bundle(pem.reveal().as_bytes())
            .map_err(|e| ClientError::TlsFile { path, reason: format!("unable to use CA certificate: {e}") })?;
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
