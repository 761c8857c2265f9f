//! Google's tokens: of a service account's key, of a user's refresh token, of the machine.
//!
//! Reference: "Using OAuth 2.0 for Server to Server Applications" and "How Application Default Credentials works".

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use net::auth::Secret;
use net::client::OAuth2;
use reqwest::Client;
use serde::Deserialize;

use super::{GoogleIamConfig, Kept, fetched_token, variable};

/// What may be done with a token.
const SCOPE: &str = "https://www.googleapis.com/auth/monitoring.write";
/// Where tokens are, if a key does not say otherwise.
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
/// The machine's own service.
const MACHINE: &str = "metadata.google.internal";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Fetches tokens and keeps them.
#[derive(Debug)]
pub(crate) struct Google {
    file: String,
    client: Client,
    kept: Kept<Secret>,
}

/// A file of credentials.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Credentials {
    ServiceAccount {
        client_email: String,
        private_key: Secret,
        #[serde(default)]
        private_key_id: String,
        #[serde(default)]
        token_uri: String,
    },
    AuthorizedUser {
        client_id: String,
        client_secret: Secret,
        refresh_token: Secret,
        #[serde(default)]
        token_uri: String,
    },
}

impl Google {
    pub(super) fn new(section: &GoogleIamConfig) -> Self {
        Self { file: section.credentials_file.clone(), client: Client::new(), kept: Kept::default() }
    }

    pub(super) async fn token(&self) -> Result<Secret, String> {
        self.kept.or_fetch(|| self.fetch()).await
    }

    async fn fetch(&self) -> Result<(Secret, Option<Duration>), String> {
        let home =
            || variable("HOME").map(|home| format!("{home}/.config/gcloud/application_default_credentials.json"));
        let known = || home().filter(|path| PathBuf::from(path).is_file());
        let named = Some(self.file.clone()).filter(|file| !file.is_empty());
        match named.or_else(|| variable("GOOGLE_APPLICATION_CREDENTIALS")).or_else(known) {
            Some(file) => self.of_file(&file).await,
            None => self.of_machine().await,
        }
    }

    async fn of_file(&self, file: &str) -> Result<(Secret, Option<Duration>), String> {
        let text = tokio::fs::read_to_string(file).await.map_err(|error| format!("google_iam: {file}: {error}"))?;
        let or_default = |url: String| if url.is_empty() { TOKEN_URL.to_owned() } else { url };
        // What is wrong is not told: it could quote a key.
        let found: Credentials = serde_json::from_str(&text).map_err(|_| {
            format!("google_iam: {file}: expected credentials of type service_account or authorized_user")
        })?;
        match found {
            Credentials::ServiceAccount { client_email, private_key, private_key_id, token_uri } => {
                let url = or_default(token_uri);
                let key = OAuth2 {
                    client_id: client_email,
                    client_certificate_key: private_key,
                    client_certificate_key_id: private_key_id,
                    token_url: url.clone(),
                    scopes: vec![SCOPE.into()],
                    grant_type: JWT_BEARER.into(),
                    // Only who acts for another names a subject.
                    claims: [("sub".to_owned(), serde_json::Value::Null)].into(),
                    ..OAuth2::default()
                };
                let assertion =
                    key.signed_assertion(&BTreeMap::new()).await.map_err(|error| format!("google_iam: {error}"))?;
                let form = [("grant_type", JWT_BEARER), ("assertion", &assertion)];
                fetched_token("google_iam: service account", self.client.post(url).form(&form)).await
            }
            Credentials::AuthorizedUser { client_id, client_secret, refresh_token, token_uri } => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("client_id", &client_id),
                    ("client_secret", client_secret.reveal()),
                    ("refresh_token", refresh_token.reveal()),
                ];
                fetched_token("google_iam: user", self.client.post(or_default(token_uri)).form(&form)).await
            }
        }
    }

    async fn of_machine(&self) -> Result<(Secret, Option<Duration>), String> {
        let host = variable("GCE_METADATA_HOST").unwrap_or_else(|| MACHINE.into());
        let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
        let request = self.client.get(url).query(&[("scopes", SCOPE)]).header("metadata-flavor", "Google");
        fetched_token("google_iam: no credentials file, and of the machine", request).await
    }
}
