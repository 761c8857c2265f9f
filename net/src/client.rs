//! The HTTP client as configured in scrape, alerting, remote and discovery sections (`http_config` in Prometheus'
//! documentation): authentication, TLS, redirects, proxies, headers.

mod config;
mod connections;
mod oauth2;
mod section;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use reqwest::{ClientBuilder, Method, RequestBuilder, Url};

pub use config::{Authorization, BasicAuth, HeaderValues, HttpClientConfig, TLS_VERSIONS, TlsConfig};
pub use oauth2::OAuth2;

use config::Proxy;
use connections::Connections;
use oauth2::TokenSource;

use crate::auth::{Secret, SecretError, SecretSource, masked_url};

/// How many redirects are followed, as Go's client does.
pub const REDIRECTS_MAX: usize = 10;
/// How long an idle connection is kept for the next request.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How many addresses a client with a fixed TLS server name remembers.
pub const NAMED_ADDRESSES_MAX: usize = 4096;
/// How many headers an answer may have; a limit of the HTTP library.
pub const ANSWER_HEADERS_MAX: usize = 100;
/// How many bytes the head of an answer may have; a limit of the HTTP library.
pub const ANSWER_HEAD_BYTES_MAX: usize = 8192 + 4096 * ANSWER_HEADERS_MAX;

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
    #[error("invalid URL {:?}: {reason}", masked_url(url))]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The authorization server gave no token.
    #[error("oauth2: cannot fetch token from {:?}: {reason}", masked_url(url))]
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

/// Adds what a receiver wants to a request that is otherwise as it will be sent: a signature of it.
pub trait RequestSigner: std::fmt::Debug + Send + Sync {
    /// Signs it; an error says why there is nothing to sign with, without any secret.
    fn sign<'a>(&'a self, request: &'a mut reqwest::Request) -> Signing<'a>;
}

/// A signature to come.
pub type Signing<'a> = std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// A pool of connections with one configuration.
#[derive(Debug)]
pub struct HttpClient {
    connections: Connections,
    tokens: Option<TokenSource>,
}

impl HttpClient {
    /// Builds a client. Certificate files are read now, and anew once they change.
    ///
    /// # Errors
    /// If the configuration contradicts itself or a file cannot be used.
    pub async fn new(config: HttpClientConfig, user_agent: &str) -> Result<Self, ClientError> {
        Self::with(config, user_agent, None).await
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
        Self::with(config, user_agent, Some(path)).await
    }

    async fn with(config: HttpClientConfig, user_agent: &str, socket: Option<PathBuf>) -> Result<Self, ClientError> {
        config.validate()?;
        let tokens = match &config.oauth2 {
            Some(oauth2) => Some(TokenSource::new(oauth2.clone(), user_agent).await?),
            None => None,
        };
        Ok(Self { connections: Connections::new(config, user_agent, socket, None).await?, tokens })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &HttpClientConfig {
        self.connections.config()
    }

    /// A request with authentication and configured headers; secrets' files are read anew.
    ///
    /// The HTTP library takes TLS' server name from the URL, so with `tls_config.server_name` the URL carries that name,
    /// resolves to the target's address, and the `Host` header keeps the target.
    ///
    /// # Errors
    /// If a secret or a TLS file cannot be used or the address not be resolved.
    pub async fn request(&self, method: Method, url: &Url) -> Result<RequestBuilder, ClientError> {
        let server_name = &self.config().tls_config.server_name;
        let request = if server_name.is_empty() || url.scheme() != "https" {
            self.connections.client().await?.request(method, url.clone())
        } else {
            self.named_request(method, url, server_name).await?
        };
        self.authenticated(request).await
    }

    async fn named_request(&self, method: Method, url: &Url, server_name: &str) -> Result<RequestBuilder, ClientError> {
        let invalid = |reason: &str| ClientError::Url { url: url.to_string(), reason: reason.into() };
        let host = url.host_str().ok_or_else(|| invalid("no host"))?;
        let port = url.port_or_known_default().ok_or_else(|| invalid("no port"))?;
        let mut named_url = url.clone();
        named_url.set_host(Some(server_name)).map_err(|_| invalid("server_name is no host name"))?;
        let client = self.connections.named(server_name, host, port).await?;
        Ok(client.request(method, named_url).header(HOST, format!("{host}:{port}")))
    }

    async fn authenticated(&self, mut request: RequestBuilder) -> Result<RequestBuilder, ClientError> {
        if let Some(basic) = &self.config().basic_auth {
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
        if let Some((scheme, source)) = self.config().authorization_source() {
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
        for (name, values) in &self.config().http_headers {
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

#[cfg(test)]
mod tests;
