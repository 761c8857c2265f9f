//! How cloud providers want requests authenticated: Amazon's signatures, Azure's and Google's bearer tokens.

mod aws;
mod azure;
mod google;
mod signature;

use std::future::Future;
use std::time::{Duration, Instant};

use net::auth::Secret;
use net::client::{RequestSigner, Signing};
use reqwest::Request;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::config::{AzureAdConfig, GoogleIamConfig, RemoteWriteConfig, SigV4Config};
use aws::Aws;
use azure::Azure;
use google::Google;

/// How long before its end what was fetched is replaced.
const EARLY: Duration = Duration::from_secs(300);
/// How long a provider's own services may take to answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// A provider's way.
#[derive(Debug)]
pub(crate) enum Signer {
    Aws(Box<Aws>),
    Azure(Box<Azure>),
    Google(Google),
}

impl Signer {
    /// What a destination asks for, if it does.
    ///
    /// # Errors
    /// If something it needs is missing.
    pub(crate) fn new(config: &RemoteWriteConfig) -> Result<Option<Self>, String> {
        let RemoteWriteConfig { sigv4, azuread, google_iam, .. } = config;
        if let Some(section) = sigv4 {
            return Ok(Some(Signer::Aws(Box::new(Aws::new(section)?))));
        }
        if let Some(section) = azuread {
            return Ok(Some(Signer::Azure(Box::new(Azure::new(section)?))));
        }
        Ok(google_iam.as_ref().map(|section| Signer::Google(Google::new(section))))
    }

    /// Amazon's for others than remote write.
    ///
    /// # Errors
    /// If something it needs is missing.
    pub(crate) fn amazon(section: &SigV4Config) -> Result<Self, String> {
        Ok(Signer::Aws(Box::new(Aws::new(section)?)))
    }

    /// Adds what authenticates a request, which is otherwise as it will be sent.
    ///
    /// # Errors
    /// If there are no credentials, or they cannot be fetched; without any secret.
    pub(crate) async fn authenticate(&self, request: &mut Request) -> Result<(), String> {
        let token = match self {
            Signer::Aws(aws) => return aws.sign(request).await,
            Signer::Azure(azure) => azure.token().await?,
            Signer::Google(google) => google.token().await?,
        };
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
            .map_err(|_| "the token is no valid header value".to_owned())?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
        Ok(())
    }
}

impl RequestSigner for Signer {
    fn sign<'a>(&'a self, request: &'a mut Request) -> Signing<'a> {
        Box::pin(self.authenticate(request))
    }
}

/// Something fetched that is good for a while.
#[derive(Debug)]
struct Kept<T>(Mutex<Option<(T, Option<Instant>)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Kept<T> {
    /// What is kept, or else what `fetch` gives, with how long it is good for.
    async fn or_fetch<F>(&self, fetch: impl FnOnce() -> F) -> Result<T, String>
    where
        F: Future<Output = Result<(T, Option<Duration>), String>>,
    {
        let mut kept = self.0.lock().await;
        if let Some((value, end)) = &*kept
            && end.is_none_or(|end| Instant::now() + EARLY < end)
        {
            return Ok(value.clone());
        }
        let (value, good_for) = fetch().await?;
        *kept = Some((value.clone(), good_for.map(|good_for| Instant::now() + good_for)));
        Ok(value)
    }
}

/// An OAuth 2.0 token answer (RFC 6749, section 5.1). Some servers write the number as a text.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Secret,
    #[serde(default)]
    expires_in: serde_json::Value,
}

impl TokenAnswer {
    fn parts(self) -> (Secret, Option<Duration>) {
        let seconds = self.expires_in.as_u64().or_else(|| self.expires_in.as_str()?.parse().ok());
        (self.access_token, Some(Duration::from_secs(seconds.unwrap_or(3600))))
    }
}

/// Sends a request to a provider's own service; gives the body of a good answer.
async fn fetched(what: &str, request: reqwest::RequestBuilder) -> Result<String, String> {
    let failed = |error: reqwest::Error| format!("{what}: {}", crate::remote::send::chain(&error.without_url()));
    let response = request.timeout(FETCH_TIMEOUT).send().await.map_err(failed)?;
    let status = response.status();
    let body = response.text().await.map_err(failed)?;
    // What such a service says of an error names no secret, what it says otherwise is one.
    if !status.is_success() {
        let shown: String = body.lines().next().unwrap_or("").chars().take(200).collect();
        return Err(format!("{what}: HTTP status {status}: {shown}"));
    }
    Ok(body)
}

/// Sends a request for a token.
async fn fetched_token(what: &str, request: reqwest::RequestBuilder) -> Result<(Secret, Option<Duration>), String> {
    let body = fetched(what, request).await?;
    let answer: TokenAnswer = serde_json::from_str(&body).map_err(|_| format!("{what}: the answer has no token"))?;
    Ok(answer.parts())
}

/// A variable of the environment that is not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
