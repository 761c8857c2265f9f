//! How tools reach the servers they ask.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use model::duration::Duration;
use net::client::{HttpClient, HttpClientConfig};
use reqwest::{Method, RequestBuilder, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who asks, as servers log it.
const USER_AGENT: &str = concat!("cresset-tool/", env!("CARGO_PKG_VERSION"));
/// The longest that a query may take, as in promtool.
const QUERY_TIME_MAX: Duration = Duration::from_seconds(120);

/// How servers are connected to.
#[derive(Debug, Clone, Default, Args)]
pub struct ClientFlags {
    /// HTTP client configuration file: authentication, TLS and proxies as in a scrape configuration
    #[arg(long = "http.config.file", value_name = "filename", global = true)]
    http_config: Option<PathBuf>,
}

net::with_http_client! {
    /// The file's keys.
    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct HttpConfigFile {}
}

/// A header or label as flags give it: `name=value` or `name:value`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once([':', '=']).ok_or_else(|| format!("expected name=value, got {text:?}"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A server, and how it is asked.
#[derive(Debug)]
pub(super) struct Client {
    http: HttpClient,
    server: Url,
    headers: Vec<(String, String)>,
}

impl ClientFlags {
    /// Reads the configuration file and prepares to ask `server`, whose scheme may be left out.
    pub(super) async fn connect(&self, server: &str, headers: Vec<(String, String)>) -> Result<Client> {
        let text = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let server = Url::parse(&text).with_context(|| format!("invalid server URL {text:?}"))?;
        let config = match &self.http_config {
            None => HttpClientConfig::default(),
            Some(_) if !server.username().is_empty() => {
                bail!("cannot set basic auth in the server URL and use --http.config.file at the same time")
            }
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                let mut config: HttpConfigFile =
                    serde_saphyr::from_str(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?;
                config.resolve_http_paths(path.parent().unwrap_or(Path::new(".")));
                config.validate_http_client().with_context(|| path.display().to_string())?;
                config.http_client()
            }
        };
        Ok(Client { http: HttpClient::new(config, USER_AGENT).await?, server, headers })
    }
}

impl Client {
    /// The server's URL with `path` behind its own path.
    pub(super) fn url(&self, path: &str) -> Result<Url> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = self.server.clone();
        url.set_path(&format!("{}/{}", self.server.path().trim_end_matches('/'), path.trim_start_matches('/')));
        url.set_query(query);
        Ok(url)
    }

    /// A request with the headers asked for.
    pub(super) async fn request(&self, method: Method, url: &Url) -> Result<RequestBuilder> {
        let mut request = self.http.request(method, url).await?;
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Ok(request)
    }

    /// The data of the API's answer to a form.
    pub(super) async fn ask(&self, endpoint: &str, params: &[(&str, String)]) -> Result<Value> {
        let url = self.url(&format!("api/v1/{endpoint}"))?;
        answered(self.request(Method::POST, &url).await?.form(params)).await
    }

    /// The data of the API's answer to an address.
    pub(super) async fn fetch(&self, path: &str) -> Result<Value> {
        let url = self.url(&format!("api/v1/{path}"))?;
        answered(self.request(Method::GET, &url).await?).await
    }
}

/// The data of an answer; errors in the words of upstream's API client.
async fn answered(request: RequestBuilder) -> Result<Value> {
    let response = request.timeout(QUERY_TIME_MAX.as_std()).send().await.context("query error")?;
    let status = response.status();
    let body = response.text().await.context("query error")?;
    // Only these two say what is wrong in the API's own form.
    let is_told = status.is_success() || matches!(status.as_u16(), 400 | 422);
    let answer = match serde_json::from_str::<Value>(&body) {
        Ok(answer) if is_told && answer["status"].is_string() => answer,
        _ => {
            let kind = if status.is_server_error() { "server" } else { "client" };
            let error = match status.is_success() {
                true => "bad_response: the server's answer is not the API's".to_owned(),
                false => format!("{kind}_error: {kind} error: {}", status.as_u16()),
            };
            bail!("query error: {error} (detail: {})", body.trim());
        }
    };
    match answer["status"].as_str() {
        Some("success") => Ok(answer["data"].clone()),
        _ => bail!(
            "query error: {}: {}",
            answer["errorType"].as_str().unwrap_or("unknown"),
            answer["error"].as_str().unwrap_or("")
        ),
    }
}
