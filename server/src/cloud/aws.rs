//! Amazon's credentials: written in the section, in the environment, in the shared file, of a role, of the machine.
//!
//! The order is that of Amazon's own libraries.

use std::path::PathBuf;
use std::time::Duration;

use net::auth::Secret;
use reqwest::{Client, Method, Request, Url};

use super::signature::{self, Credentials, Scope};
use super::{Kept, SigV4Config, fetched, variable};

/// What is written to by default: Amazon Managed Service for Prometheus.
const SERVICE: &str = "aps";
/// The name of sessions of a role.
const SESSION: &str = "cresset";
/// Where the machine's own service answers.
const MACHINE: &str = "http://169.254.169.254";
/// Where a container's own service answers.
const CONTAINER: &str = "http://169.254.170.2";

/// Signs with credentials that it looks for and keeps.
#[derive(Debug)]
pub(crate) struct Aws {
    section: SigV4Config,
    region: String,
    client: Client,
    kept: Kept<Credentials>,
}

type Fetched = (Credentials, Option<Duration>);

impl Aws {
    pub(super) fn new(section: &SigV4Config) -> Result<Self, String> {
        let named = Some(section.region.clone()).filter(|region| !region.is_empty());
        let from_variables = || variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = named.or_else(from_variables).ok_or("sigv4: region is not set, nor is AWS_REGION")?;
        if section.access_key.is_empty() != section.secret_key.is_empty() {
            return Err("sigv4: must provide both access_key and secret_key, or neither".into());
        }
        Ok(Self { section: section.clone(), region, client: Client::new(), kept: Kept::default() })
    }

    pub(super) async fn sign(&self, request: &mut Request) -> Result<(), String> {
        let credentials = self.kept.or_fetch(|| self.credentials()).await?;
        let service = if self.section.service_name.is_empty() { SERVICE } else { &self.section.service_name };
        signature::sign(request, &credentials, Scope { region: &self.region, service }, jiff::Timestamp::now())
    }

    async fn credentials(&self) -> Result<Fetched, String> {
        let own = self.own_credentials().await?;
        if self.section.role_arn.is_empty() { Ok(own) } else { self.of_role(&own.0).await }
    }

    async fn own_credentials(&self) -> Result<Fetched, String> {
        let section = &self.section;
        if !section.access_key.is_empty() {
            return Ok((credentials(&section.access_key, section.secret_key.reveal(), None), None));
        }
        if section.profile.is_empty() {
            if let (Some(key), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
                return Ok((credentials(&key, &secret, variable("AWS_SESSION_TOKEN")), None));
            }
            if let (Some(role), Some(file)) = (variable("AWS_ROLE_ARN"), variable("AWS_WEB_IDENTITY_TOKEN_FILE")) {
                return self.of_web_identity(&role, &file).await;
            }
        }
        if let Some(found) = self.of_file().await? {
            return Ok((found, None));
        }
        let path = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("{CONTAINER}{path}"));
        match path.or_else(|| variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
            Some(url) => self.of_container(&url).await,
            None => self.of_machine().await,
        }
    }

    /// The shared file: sections of `name = value`.
    async fn of_file(&self) -> Result<Option<Credentials>, String> {
        let home = || variable("HOME").map(|home| PathBuf::from(home).join(".aws/credentials"));
        let path = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from).or_else(home);
        let named = Some(self.section.profile.clone()).filter(|profile| !profile.is_empty());
        let profile = named.clone().or_else(|| variable("AWS_PROFILE")).unwrap_or_else(|| "default".into());
        let text = match &path {
            Some(path) => tokio::fs::read_to_string(path).await.unwrap_or_default(),
            None => String::new(),
        };
        let found = profile_of(&text, &profile);
        match (found, named) {
            (None, Some(_)) => {
                Err(format!("sigv4: no profile {profile:?} with both keys in the shared credentials file"))
            }
            (found, _) => Ok(found),
        }
    }

    fn sts(&self) -> Result<Url, String> {
        let prefix = if self.section.use_fips_sts_endpoint { "sts-fips" } else { "sts" };
        let own = || format!("https://{prefix}.{}.amazonaws.com/", self.region);
        let url = variable("AWS_ENDPOINT_URL_STS").unwrap_or_else(own);
        url.parse().map_err(|error| format!("sigv4: {url:?}: {error}"))
    }

    /// A role that the credentials may take on.
    async fn of_role(&self, own: &Credentials) -> Result<Fetched, String> {
        let mut url = self.sts()?;
        url.query_pairs_mut()
            .append_pair("Action", "AssumeRole")
            .append_pair("Version", "2011-06-15")
            .append_pair("RoleArn", &self.section.role_arn)
            .append_pair("RoleSessionName", SESSION);
        if !self.section.external_id.is_empty() {
            url.query_pairs_mut().append_pair("ExternalId", &self.section.external_id);
        }
        let mut request = Request::new(Method::GET, url);
        let scope = Scope { region: &self.region, service: "sts" };
        signature::sign(&mut request, own, scope, jiff::Timestamp::now())?;
        let request = reqwest::RequestBuilder::from_parts(self.client.clone(), request);
        of_xml(&fetched("sigv4: AssumeRole", request).await?)
    }

    /// A role that a token of somebody else's allows.
    async fn of_web_identity(&self, role: &str, file: &str) -> Result<Fetched, String> {
        let token = tokio::fs::read_to_string(file).await.map_err(|error| format!("sigv4: {file}: {error}"))?;
        let form = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", role),
            ("RoleSessionName", &variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| SESSION.into())),
            ("WebIdentityToken", token.trim()),
        ];
        let request = self.client.post(self.sts()?).form(&form);
        of_xml(&fetched("sigv4: AssumeRoleWithWebIdentity", request).await?)
    }

    async fn of_container(&self, url: &str) -> Result<Fetched, String> {
        let mut request = self.client.get(url);
        let file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
        let token = match file {
            Some(file) => Some(tokio::fs::read_to_string(&file).await.map_err(|e| format!("sigv4: {file}: {e}"))?),
            None => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        };
        if let Some(token) = token {
            request = request.header("authorization", token.trim());
        }
        of_json(&fetched("sigv4: the container's credentials", request).await?)
    }

    /// The role of the machine, by its metadata service, version 2.
    async fn of_machine(&self) -> Result<Fetched, String> {
        let base = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| MACHINE.into());
        let base = base.trim_end_matches('/');
        let what = "sigv4: no credentials in the section, the environment or the shared file, and of the machine";
        let token = self.client.put(format!("{base}/latest/api/token"));
        let token = fetched(what, token.header("x-aws-ec2-metadata-token-ttl-seconds", "300")).await?;
        let get = |path: String| {
            self.client.get(format!("{base}/latest/meta-data/{path}")).header("x-aws-ec2-metadata-token", token.trim())
        };
        let roles = fetched(what, get("iam/security-credentials/".into())).await?;
        let role = roles.lines().next().unwrap_or("").trim();
        of_json(&fetched(what, get(format!("iam/security-credentials/{role}"))).await?)
    }
}

fn credentials(access_key: &str, secret_key: &str, session_token: Option<String>) -> Credentials {
    Credentials {
        access_key: access_key.to_owned(),
        secret_key: Secret::new(secret_key),
        session_token: session_token.map(Secret::new),
    }
}

fn profile_of(text: &str, profile: &str) -> Option<Credentials> {
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != format!("[{profile}]")).skip(1);
    let pairs: Vec<(&str, &str)> = lines
        .by_ref()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let value = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let token = value("aws_session_token").map(str::to_owned);
    Some(credentials(value("aws_access_key_id")?, value("aws_secret_access_key")?, token))
}

fn until(end: Option<&str>) -> Option<Duration> {
    let end: jiff::Timestamp = end?.parse().ok()?;
    Some(Duration::try_from(end.duration_since(jiff::Timestamp::now())).unwrap_or_default())
}

/// An answer of the token service: its elements bear no attributes and no entities.
fn of_xml(text: &str) -> Result<Fetched, String> {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0)
    };
    let missing = || "sigv4: the answer of the token service has no credentials".to_owned();
    let key = element("AccessKeyId").ok_or_else(missing)?;
    let secret = element("SecretAccessKey").ok_or_else(missing)?;
    let token = element("SessionToken").map(str::to_owned);
    Ok((credentials(key, secret, token), until(element("Expiration"))))
}

fn of_json(text: &str) -> Result<Fetched, String> {
    let answer: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let field = |name: &str| answer[name].as_str();
    let (Some(key), Some(secret)) = (field("AccessKeyId"), field("SecretAccessKey")) else {
        return Err("sigv4: the answer has no credentials".into());
    };
    Ok((credentials(key, secret, field("Token").map(str::to_owned)), until(field("Expiration"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_where_they_stand() {
        let file = "[default]\naws_access_key_id = A\naws_secret_access_key=B\n[other]\naws_access_key_id=C\n\
            aws_secret_access_key=D\naws_session_token = E\n";
        assert_eq!(profile_of(file, "default"), Some(credentials("A", "B", None)));
        assert_eq!(profile_of(file, "other"), Some(credentials("C", "D", Some("E".into()))));
        assert_eq!(profile_of(file, "third"), None);
        let xml = "<A><AccessKeyId>K</AccessKeyId><SecretAccessKey>S</SecretAccessKey>\
            <SessionToken>T</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></A>";
        let (found, end) = of_xml(xml).unwrap();
        assert_eq!(found, credentials("K", "S", Some("T".into())));
        assert!(end.is_some_and(|end| end > Duration::from_secs(1_000_000)));
        assert!(of_xml("<Error/>").is_err() && of_json("{}").is_err());
        assert!(!format!("{found:?}").contains("\"S\""), "{found:?}");
    }
}
