//! Tokens of an OAuth 2.0 authorization server: the client-credentials grant (RFC 6749, section 4.4) and, for a key
//! instead of a secret, the JWT-bearer grant (RFC 7523).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::ClientError;
use super::config::{HttpClientConfig, Proxy, TlsConfig, join};
use super::connections::Connections;
use crate::auth::{Secret, SecretSource};

/// The grant for a key.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Signatures of the assertion.
const SIGNATURES: [&str; 3] = ["RS256", "RS384", "RS512"];
/// How long before its end a token is replaced.
const EARLY: Duration = Duration::from_secs(10);
/// How long an assertion is valid.
const ASSERTION_LIFE: Duration = Duration::from_secs(60 * 60);
/// How long fetching a token may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer of an authorization server that is read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The `oauth2` section.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct OAuth2 {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub client_secret: Secret,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_secret_file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_certificate_key_id: String,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub client_certificate_key: Secret,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_certificate_key_file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub grant_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signature_algorithm: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub iss: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub audience: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token_url: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoint_params: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_config: TlsConfig,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub proxy_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub no_proxy: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub proxy_from_environment: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl OAuth2 {
    pub(super) fn validate(&self) -> Result<(), ClientError> {
        let fault = |text: &str| Err(ClientError::Config(text.into()));
        let both = |a: &Secret, b: &str| !a.is_empty() && !b.is_empty();
        if self.client_id.is_empty() {
            return fault("oauth2 client_id must be configured");
        }
        if self.token_url.is_empty() {
            return fault("oauth2 token_url must be configured");
        }
        if self.is_jwt() {
            if both(&self.client_certificate_key, &self.client_certificate_key_file) {
                return fault(
                    "at most one of oauth2 client_certificate_key & client_certificate_key_file must be configured",
                );
            }
            if !self.signature_algorithm.is_empty() && !SIGNATURES.contains(&self.signature_algorithm.as_str()) {
                return fault("valid signature algorithms are RS256, RS384 and RS512");
            }
        } else if both(&self.client_secret, &self.client_secret_file) {
            return fault("at most one of oauth2 client_secret & client_secret_file must be configured");
        }
        self.proxy().validate()?;
        self.tls_config.validate()
    }

    pub(super) fn resolve_paths(&mut self, directory: &Path) {
        join(directory, &mut self.client_secret_file);
        join(directory, &mut self.client_certificate_key_file);
        self.tls_config.resolve_paths(directory);
    }

    fn is_jwt(&self) -> bool {
        self.grant_type == JWT_BEARER
    }

    fn proxy(&self) -> Proxy<'_> {
        Proxy {
            url: &self.proxy_url,
            exceptions: &self.no_proxy,
            is_from_environment: self.proxy_from_environment,
            connect_header: &self.proxy_connect_header,
        }
    }

    /// A signed statement of who asks, as of now, with more in its header: for servers that want it in a form of their own.
    ///
    /// # Errors
    /// If there is no usable key.
    pub async fn signed_assertion(&self, header: &BTreeMap<&str, Value>) -> Result<String, ClientError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.assertion(now, header).await
    }

    /// The form that asks for a token at time `now`.
    async fn form(&self, now: Duration) -> Result<Vec<(String, String)>, ClientError> {
        let mut form: Vec<(String, String)> =
            self.endpoint_params.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut set = |name: &str, value: String| form.push((name.to_owned(), value));
        if self.is_jwt() {
            set("grant_type", JWT_BEARER.into());
            set("assertion", self.assertion(now, &BTreeMap::new()).await?);
        } else {
            set("grant_type", "client_credentials".into());
        }
        if !self.scopes.is_empty() {
            set("scope", self.scopes.join(" "));
        }
        Ok(form)
    }

    /// A signed statement of who asks (RFC 7523, section 3).
    async fn assertion(&self, now: Duration, more: &BTreeMap<&str, Value>) -> Result<String, ClientError> {
        let fault = |text: &str| ClientError::Config(format!("oauth2: {text}"));
        let source = SecretSource::from_pair(&self.client_certificate_key, &self.client_certificate_key_file)
            .ok_or_else(|| fault("the grant needs client_certificate_key or client_certificate_key_file"))?;
        let pem = source.load().await?;
        let key = match PrivateKeyDer::from_pem_slice(pem.reveal().as_bytes()) {
            Ok(PrivateKeyDer::Pkcs1(der)) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            Ok(PrivateKeyDer::Pkcs8(der)) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            _ => return Err(fault("the client certificate key is no RSA key in PEM")),
        };
        let key = key.map_err(|_| fault("the client certificate key is no usable RSA key"))?;
        let (name, encoding): (&str, &'static dyn RsaEncoding) = match self.signature_algorithm.as_str() {
            "RS384" => ("RS384", &RSA_PKCS1_SHA384),
            "RS512" => ("RS512", &RSA_PKCS1_SHA512),
            _ => ("RS256", &RSA_PKCS1_SHA256),
        };
        let mut header = json!({"alg": name, "typ": "JWT"});
        if !self.client_certificate_key_id.is_empty() {
            header["kid"] = Value::from(self.client_certificate_key_id.as_str());
        }
        for (name, value) in more {
            header[*name] = value.clone();
        }
        let or = |own: &str, other: &str| Value::from(if own.is_empty() { other } else { own });
        let mut claims = json!({
            "iss": or(&self.iss, &self.client_id),
            "sub": self.client_id.as_str(),
            "aud": or(&self.audience, &self.token_url),
            "iat": now.as_secs(),
            "exp": (now + ASSERTION_LIFE).as_secs(),
        });
        if !self.scopes.is_empty() {
            claims["scope"] = Value::from(self.scopes.join(" "));
        }
        for (claim, value) in &self.claims {
            claims[claim] = value.clone();
        }
        // One that is set to nothing is left out.
        if let Value::Object(map) = &mut claims {
            map.retain(|_, value| !value.is_null());
        }
        let signed = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(encoding, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| fault("signing failed"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

/// Fetches tokens and keeps the last until shortly before it ends.
#[derive(Debug)]
pub(super) struct TokenSource {
    config: OAuth2,
    connections: Connections,
    token: Mutex<Option<(Secret, Option<Instant>)>>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl TokenSource {
    pub(super) async fn new(config: OAuth2, user_agent: &str) -> Result<Self, ClientError> {
        let http = HttpClientConfig {
            tls_config: config.tls_config.clone(),
            proxy_url: config.proxy_url.clone(),
            no_proxy: config.no_proxy.clone(),
            proxy_from_environment: config.proxy_from_environment,
            proxy_connect_header: config.proxy_connect_header.clone(),
            ..HttpClientConfig::default()
        };
        let connections = Connections::new(http, user_agent, None, Some(FETCH_TIMEOUT)).await?;
        Ok(Self { config, connections, token: Mutex::default() })
    }

    /// A valid token. Callers that come while one is fetched wait for it.
    pub(super) async fn token(&self) -> Result<Secret, ClientError> {
        let mut kept = self.token.lock().await;
        if let Some((token, end)) = &*kept
            && end.is_none_or(|end| Instant::now() < end)
        {
            return Ok(token.clone());
        }
        let answer = self.fetch().await?;
        let life = answer.expires_in.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let end = life.map(|life| Instant::now() + life.saturating_sub(EARLY));
        *kept = Some((answer.access_token.clone(), end));
        Ok(answer.access_token)
    }

    async fn fetch(&self) -> Result<Answer, ClientError> {
        let OAuth2 { token_url, client_id, client_secret, client_secret_file, .. } = &self.config;
        let failed = |reason: String| ClientError::Token { url: token_url.clone(), reason };
        let url = Url::parse(token_url).map_err(|e| failed(e.to_string()))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut request = self.connections.client().await?.post(url).form(&self.config.form(now).await?);
        if !self.config.is_jwt() {
            let secret = match SecretSource::from_pair(client_secret, client_secret_file) {
                Some(source) => source.load().await?,
                None => Secret::default(),
            };
            request = request.basic_auth(client_id, Some(secret.reveal()));
        }
        let mut response = request.send().await.map_err(|e| failed(e.without_url().to_string()))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|e| failed(e.without_url().to_string()))? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(failed(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&piece);
        }
        if !status.is_success() {
            return Err(failed(format!("server returned HTTP status {status}")));
        }
        // The body is not shown: it may hold the token.
        serde_json::from_slice(&body).map_err(|_| failed("the answer holds no access_token".into()))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::State;
    use axum::http::HeaderMap;
    use axum::routing::{get, post};
    use reqwest::Method;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::HttpClient;
    use super::*;

    /// An authorization server and what it guards: `/` tells the credentials it got.
    async fn serve(forms: Arc<Mutex<Vec<String>>>) -> String {
        let issued = Arc::new(AtomicU32::new(0));
        let token = |State(forms): State<Arc<Mutex<Vec<String>>>>, headers: HeaderMap, body: String| async move {
            let credentials = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or("none");
            forms.lock().await.push(format!("{credentials} {body}"));
            let number = issued.fetch_add(1, Ordering::Relaxed);
            format!(r#"{{"access_token":"t{number}","token_type":"Bearer","expires_in":3600}}"#)
        };
        let guarded =
            |headers: HeaderMap| async move { headers["authorization"].to_str().unwrap_or_default().to_owned() };
        let app = Router::new().route("/token", post(token)).route("/", get(guarded)).with_state(forms);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }

    async fn ask(config: OAuth2, base: &str) -> String {
        let config = HttpClientConfig { oauth2: Some(config), ..HttpClientConfig::default() };
        let client = HttpClient::new(config, "test").await.unwrap();
        let url = Url::parse(base).unwrap();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let request = client.request(Method::GET, &url).await.unwrap();
            answers.push(request.send().await.unwrap().text().await.unwrap());
        }
        answers.join(",")
    }

    #[tokio::test]
    async fn a_token_is_fetched_once_and_sent_with_each_request() {
        let forms = Arc::default();
        let base = serve(Arc::clone(&forms)).await;
        let config = OAuth2 {
            client_id: "me".into(),
            client_secret: Secret::new("hunter2"),
            scopes: vec!["a".into(), "b".into()],
            endpoint_params: BTreeMap::from([("resource".into(), "r".into())]),
            token_url: format!("{base}/token"),
            ..OAuth2::default()
        };
        assert_eq!(ask(config, &base).await, "Bearer t0,Bearer t0");
        let basic = "Basic bWU6aHVudGVyMg==";
        assert_eq!(*forms.lock().await, [format!("{basic} resource=r&grant_type=client_credentials&scope=a+b")]);
    }

    #[tokio::test]
    async fn a_key_signs_who_asks() {
        let forms = Arc::default();
        let base = serve(Arc::clone(&forms)).await;
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let config = OAuth2 {
            client_id: "me".into(),
            grant_type: JWT_BEARER.into(),
            client_certificate_key: Secret::new(key.serialize_pem()),
            client_certificate_key_id: "k1".into(),
            token_url: format!("{base}/token"),
            ..OAuth2::default()
        };
        assert_eq!(ask(config, &base).await, "Bearer t0,Bearer t0");
        let form = forms.lock().await[0].clone();
        let assertion = form.split("assertion=").nth(1).unwrap();
        let parts: Vec<Vec<u8>> = assertion.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        let header: Value = serde_json::from_slice(&parts[0]).unwrap();
        let claims: Value = serde_json::from_slice(&parts[1]).unwrap();
        assert_eq!((&header["alg"], &header["kid"], &claims["iss"]), (&json!("RS256"), &json!("k1"), &json!("me")));
        let public = aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256,
            key.public_key_raw(),
        );
        let signed = assertion.rsplit_once('.').unwrap().0;
        public.verify(signed.as_bytes(), &parts[2]).unwrap();
    }

    #[test]
    fn what_is_missing_is_named() {
        let told = |config: OAuth2| config.validate().unwrap_err().to_string();
        assert_eq!(told(OAuth2::default()), "oauth2 client_id must be configured");
        assert_eq!(told(OAuth2 { client_id: "a".into(), ..OAuth2::default() }), "oauth2 token_url must be configured");
    }
}
