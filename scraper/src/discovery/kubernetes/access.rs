//! How to reach an API server: as configured, from a kubeconfig, or from inside a pod.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use net::auth::Secret;
use net::client::{Authorization, BasicAuth, ClientError, HttpClient, HttpClientConfig};
use reqwest::{Method, RequestBuilder, Url};
use serde::Deserialize;

use crate::config::KubernetesSdConfig;

/// Where a pod finds its own credentials.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Why an API server cannot be reached as configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum AccessError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("kubeconfig {}: {reason}", path.display())]
    Kubeconfig { path: PathBuf, reason: String },
    #[error(
        "no api_server and no kubeconfig_file is configured, and this is not a pod: KUBERNETES_SERVICE_HOST is not set"
    )]
    NotInCluster,
}

/// An API server and the client for it. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Access {
    server: Url,
    client: Arc<HttpClient>,
    own_namespace: Option<String>,
}

impl Access {
    pub(super) async fn new(config: &KubernetesSdConfig, user_agent: &str) -> Result<Self, AccessError> {
        let (server, http, own_namespace) = if !config.kubeconfig_file.is_empty() {
            let (server, http) = from_kubeconfig(Path::new(&config.kubeconfig_file)).await?;
            (server, http, None)
        } else if let Some(server) = config.server() {
            (server.to_owned(), config.http_client(), None)
        } else {
            in_cluster()?
        };
        let parsed =
            Url::parse(&server).map_err(|e| ClientError::Url { url: server.clone(), reason: e.to_string() })?;
        let client = Arc::new(HttpClient::new(http, user_agent).await?);
        Ok(Self { server: parsed, client, own_namespace })
    }

    pub(super) fn own_namespace(&self) -> Option<&str> {
        self.own_namespace.as_deref()
    }

    /// A GET of `path` (beginning with `/`) with query parameters.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<RequestBuilder, ClientError> {
        let mut url = self.server.clone();
        url.set_path(&format!("{}{path}", self.server.path().trim_end_matches('/')));
        url.query_pairs_mut().clear().extend_pairs(query);
        Ok(self.client.request(Method::GET, &url).await?.header(reqwest::header::ACCEPT, "application/json"))
    }
}

fn in_cluster() -> Result<(String, HttpClientConfig, Option<String>), AccessError> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST").map_err(|_| AccessError::NotInCluster)?;
    let port = std::env::var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|_| "443".into());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let mut http = HttpClientConfig {
        authorization: Some(Authorization {
            credentials_file: format!("{SERVICE_ACCOUNT}/token"),
            ..Authorization::default()
        }),
        ..HttpClientConfig::default()
    };
    http.tls_config.ca_file = format!("{SERVICE_ACCOUNT}/ca.crt");
    let namespace = std::fs::read_to_string(format!("{SERVICE_ACCOUNT}/namespace")).ok();
    Ok((format!("https://{host}:{port}"), http, namespace.map(|n| n.trim().to_owned())))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Kubeconfig {
    current_context: String,
    contexts: Vec<Named<ContextEntry>>,
    clusters: Vec<Named<ClusterEntry>>,
    users: Vec<Named<UserEntry>>,
}

#[derive(Debug, Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "context", alias = "cluster", alias = "user")]
    entry: T,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContextEntry {
    cluster: String,
    user: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct ClusterEntry {
    server: String,
    certificate_authority: String,
    certificate_authority_data: String,
    insecure_skip_tls_verify: bool,
    tls_server_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct UserEntry {
    token: Secret,
    #[serde(rename = "tokenFile")]
    token_file: String,
    username: String,
    password: Secret,
    client_certificate: String,
    client_certificate_data: String,
    client_key: String,
    client_key_data: Secret,
    exec: Option<serde::de::IgnoredAny>,
}

async fn from_kubeconfig(path: &Path) -> Result<(String, HttpClientConfig), AccessError> {
    let fault = |reason: String| AccessError::Kubeconfig { path: path.to_owned(), reason };
    let text = tokio::fs::read_to_string(path).await.map_err(|e| fault(e.to_string()))?;
    // The library's message may quote the file, which holds credentials: only its place is passed on.
    let config: Kubeconfig = serde_saphyr::from_str(&text).map_err(|e| {
        let place = e.location().map(|l| format!("line {}, column {}: ", l.line(), l.column())).unwrap_or_default();
        fault(format!("{place}not a kubeconfig"))
    })?;
    let context = config
        .contexts
        .iter()
        .find(|c| c.name == config.current_context)
        .ok_or_else(|| fault(format!("current-context {:?} is not among its contexts", config.current_context)))?;
    let cluster = config
        .clusters
        .iter()
        .find(|c| c.name == context.entry.cluster)
        .ok_or_else(|| fault(format!("cluster {:?} is not among its clusters", context.entry.cluster)))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut http = HttpClientConfig::default();
    let tls = &mut http.tls_config;
    tls.insecure_skip_verify = cluster.entry.insecure_skip_tls_verify;
    tls.server_name.clone_from(&cluster.entry.tls_server_name);
    tls.ca = decode(&cluster.entry.certificate_authority_data).map_err(&fault)?;
    tls.ca_file.clone_from(&cluster.entry.certificate_authority);
    if let Some(user) = config.users.iter().find(|u| u.name == context.entry.user).map(|u| &u.entry) {
        if user.exec.is_some() {
            return Err(fault("users with an exec plugin are not supported; use a token".into()));
        }
        tls.cert = decode(&user.client_certificate_data).map_err(&fault)?;
        tls.cert_file.clone_from(&user.client_certificate);
        tls.key = Secret::new(decode(user.client_key_data.reveal()).map_err(&fault)?);
        tls.key_file.clone_from(&user.client_key);
        if !user.token.is_empty() || !user.token_file.is_empty() {
            // The file wins, as in kubectl.
            let inline = if user.token_file.is_empty() { user.token.clone() } else { Secret::default() };
            http.authorization = Some(Authorization {
                credentials: inline,
                credentials_file: user.token_file.clone(),
                ..Authorization::default()
            });
        } else if !user.username.is_empty() {
            http.basic_auth = Some(BasicAuth {
                username: user.username.clone(),
                password: user.password.clone(),
                ..BasicAuth::default()
            });
        }
    }
    http.resolve_paths(directory);
    Ok((cluster.entry.server.clone(), http))
}

fn decode(data: &str) -> Result<String, String> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(data.trim())
        .map_err(|_| "certificate or key data is not base64".to_owned())?;
    String::from_utf8(bytes).map_err(|_| "certificate or key data is not PEM".to_owned())
}
