//! Azure's tokens: of an application with a secret or a certificate, of a workload with a token of its cluster, of the
//! machine.
//!
//! Reference: "OAuth 2.0 client credentials flow on the Microsoft identity platform" and "How to use managed identities
//! to acquire an access token".

mod certificate;

use net::auth::Secret;
use reqwest::Client;

use super::{AzureAdConfig, Kept, fetched_token, variable};
use crate::config::AzureIdentity;

/// Where a workload finds the token of its cluster.
const WORKLOAD_TOKEN: &str = "/var/run/secrets/azure/tokens/azure-identity-token";
/// Where the machine's own service answers.
const MACHINE: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
const JWT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Fetches tokens and keeps them.
#[derive(Debug)]
pub(crate) struct Azure {
    section: AzureAdConfig,
    authority: String,
    scope: String,
    client: Client,
    kept: Kept<Secret>,
}

impl Azure {
    pub(super) fn new(section: &AzureAdConfig) -> Result<Self, String> {
        if section.certificate.as_ref().is_some_and(|given| !given.certificate_password.is_empty()) {
            return Err("azuread: certificate: certificate_password is for files in PFX, which are not read by this \
                version: give certificate and key in PEM"
                .into());
        }
        let (authority, audience) = match section.cloud.as_str() {
            "" | "AzurePublic" => ("https://login.microsoftonline.com", "https://monitor.azure.com/"),
            "AzureChina" => ("https://login.chinacloudapi.cn", "https://monitor.azure.cn/"),
            "AzureGovernment" => ("https://login.microsoftonline.us", "https://monitor.azure.us/"),
            other => {
                let known = "AzureChina, AzureGovernment or AzurePublic";
                return Err(format!("azuread: cloud {other:?}: expected {known}"));
            }
        };
        let authority = variable("AZURE_AUTHORITY_HOST").unwrap_or_else(|| authority.into());
        let scope = if section.scope.is_empty() { format!("{audience}/.default") } else { section.scope.clone() };
        Ok(Self {
            section: section.clone(),
            authority: authority.trim_end_matches('/').to_owned(),
            scope,
            client: Client::new(),
            kept: Kept::default(),
        })
    }

    /// Asks elsewhere, for tests.
    #[cfg(test)]
    pub(super) fn at(&mut self, authority: &str) {
        authority.clone_into(&mut self.authority);
    }

    pub(super) async fn token(&self) -> Result<Secret, String> {
        self.kept.or_fetch(|| self.fetch()).await
    }

    async fn fetch(&self) -> Result<(Secret, Option<std::time::Duration>), String> {
        if let Some(oauth) = &self.section.oauth {
            return self.of_secret(&oauth.tenant_id, &oauth.client_id, &oauth.client_secret).await;
        }
        if let Some(workload) = &self.section.workload_identity {
            return self.of_workload(workload).await;
        }
        if let Some(machine) = &self.section.managed_identity {
            return self.of_machine(&machine.client_id).await;
        }
        if let Some(certified) = &self.section.certificate {
            return self.of_certificate(certified).await;
        }
        // As Azure's own libraries look for credentials.
        let tenant = self.section.sdk.as_ref().map(|sdk| sdk.tenant_id.clone()).filter(|tenant| !tenant.is_empty());
        let tenant = tenant.or_else(|| variable("AZURE_TENANT_ID"));
        let client = variable("AZURE_CLIENT_ID");
        match (tenant, client, variable("AZURE_CLIENT_SECRET"), variable("AZURE_FEDERATED_TOKEN_FILE")) {
            (Some(tenant), Some(client), Some(secret), _) => {
                self.of_secret(&tenant, &client, &Secret::new(secret)).await
            }
            (Some(tenant_id), Some(client_id), None, Some(token_file_path)) => {
                let found = AzureIdentity { tenant_id, client_id, token_file_path, ..AzureIdentity::default() };
                self.of_workload(&found).await
            }
            (_, client, ..) => self.of_machine(&client.unwrap_or_default()).await,
        }
    }

    async fn of_secret(
        &self,
        tenant: &str,
        client_id: &str,
        secret: &Secret,
    ) -> Result<(Secret, Option<std::time::Duration>), String> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_secret", secret.reveal()),
            ("scope", &self.scope),
        ];
        fetched_token("azuread: oauth", self.client.post(self.token_url(tenant)).form(&form)).await
    }

    async fn of_workload(&self, workload: &AzureIdentity) -> Result<(Secret, Option<std::time::Duration>), String> {
        let named = Some(workload.token_file_path.clone()).filter(|path| !path.is_empty());
        let path = named.unwrap_or_else(|| WORKLOAD_TOKEN.into());
        let assertion = tokio::fs::read_to_string(&path)
            .await
            .map_err(|error| format!("azuread: workload_identity: {path}: {error}"))?;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &workload.client_id),
            ("client_assertion_type", JWT_ASSERTION),
            ("client_assertion", assertion.trim()),
            ("scope", &self.scope),
        ];
        let request = self.client.post(self.token_url(&workload.tenant_id)).form(&form);
        fetched_token("azuread: workload_identity", request).await
    }

    async fn of_certificate(&self, certified: &AzureIdentity) -> Result<(Secret, Option<std::time::Duration>), String> {
        let url = self.token_url(&certified.tenant_id);
        let assertion = certificate::assertion(certified, &url).await?;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &certified.client_id),
            ("client_assertion_type", JWT_ASSERTION),
            ("client_assertion", &assertion),
            ("scope", &self.scope),
        ];
        fetched_token("azuread: certificate", self.client.post(&url).form(&form)).await
    }

    async fn of_machine(&self, client_id: &str) -> Result<(Secret, Option<std::time::Duration>), String> {
        let resource = self.scope.trim_end_matches("/.default");
        // App Service and its kin say where to ask, and prove that they said so.
        let (url, version, proof) = match (variable("IDENTITY_ENDPOINT"), variable("IDENTITY_HEADER")) {
            (Some(url), Some(proof)) => (url, "2019-08-01", Some(proof)),
            _ => (MACHINE.to_owned(), "2018-02-01", None),
        };
        let mut request = self.client.get(url).query(&[("api-version", version), ("resource", resource)]);
        if !client_id.is_empty() {
            request = request.query(&[("client_id", client_id)]);
        }
        request = match proof {
            Some(proof) => request.header("x-identity-header", proof),
            None => request.header("metadata", "true"),
        };
        fetched_token("azuread: managed_identity", request).await
    }

    fn token_url(&self, tenant: &str) -> String {
        format!("{}/{tenant}/oauth2/v2.0/token", self.authority)
    }
}
