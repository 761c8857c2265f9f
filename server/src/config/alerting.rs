//! The `alerting` section.

use std::path::Path;
use std::sync::Arc;

use model::duration::Duration;
use model::labels::NameScheme;
use model::relabel::RelabelConfig;
use net::client::RequestSigner;
use rules::notifier;
use scraper::config::places::KeyFault;
use scraper::config::rule_faults;
use serde::{Deserialize, Serialize};

use super::is_default;
use super::remote::SigV4Config;
use crate::cloud::Signer;

/// `alerting`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct AlertingConfig {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alert_relabel_configs: Vec<RelabelConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

/// The API to speak: there is one left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiVersion {
    /// `/api/v2/alerts`
    #[default]
    V2,
}

fn http() -> String {
    "http".into()
}

fn ten_seconds() -> Duration {
    notifier::DEFAULT_TIMEOUT
}

scraper::with_discovery! {
    /// One entry of `alertmanagers`.
    #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
    pub struct AlertmanagerConfig {
    } {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub sigv4: Option<SigV4Config>,
        #[serde(default = "http")]
        pub scheme: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        pub path_prefix: String,
        #[serde(default = "ten_seconds")]
        pub timeout: Duration,
        pub api_version: ApiVersion,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub relabel_configs: Vec<RelabelConfig>,
        #[serde(skip_serializing_if = "is_default")]
        pub alert_relabel_configs: Vec<RelabelConfig>,
    }
}

impl AlertingConfig {
    /// Makes relative files relative to `directory`.
    pub fn resolve_paths(&mut self, directory: &Path) {
        for alertmanager in &mut self.alertmanagers {
            alertmanager.resolve_http_paths(directory);
            alertmanager.resolve_discovery_paths(directory);
        }
    }

    /// What is wrong with the section.
    pub fn faults(&self) -> Vec<KeyFault> {
        let mut faults = rule_faults("alert_relabel_configs", &self.alert_relabel_configs, NameScheme::Utf8);
        for (index, alertmanager) in self.alertmanagers.iter().enumerate() {
            let wrong = alertmanager.faults().into_iter().map(|fault| fault.told_of("alerting: alertmanagers"));
            faults.extend(wrong.map(|fault| fault.item(index).within("alertmanagers")));
        }
        faults.into_iter().map(|fault| fault.within("alerting")).collect()
    }

    /// The section as the notifier takes it.
    ///
    /// # Errors
    /// If something that signing needs is missing.
    pub fn notifier(&self) -> Result<notifier::AlertingConfig, String> {
        let compiled = |alertmanager: &AlertmanagerConfig| {
            Ok(notifier::AlertmanagerConfig {
                http: alertmanager.http_client(),
                signer: alertmanager.sigv4.as_ref().map(signer).transpose()?,
                timeout: alertmanager.timeout,
                path_prefix: alertmanager.path_prefix.clone(),
                scheme: alertmanager.scheme.clone(),
                alert_relabel_configs: alertmanager.alert_relabel_configs.clone(),
                relabel_configs: alertmanager.relabel_configs.clone(),
            })
        };
        Ok(notifier::AlertingConfig {
            alert_relabel_configs: self.alert_relabel_configs.clone(),
            alertmanagers: self.alertmanagers.iter().map(compiled).collect::<Result<_, String>>()?,
        })
    }
}

impl AlertmanagerConfig {
    fn faults(&self) -> Vec<KeyFault> {
        let mut faults = self.discovery().faults();
        faults.extend(rule_faults("relabel_configs", &self.relabel_configs, NameScheme::Utf8));
        faults.extend(rule_faults("alert_relabel_configs", &self.alert_relabel_configs, NameScheme::Utf8));
        faults.extend(self.validate_http_client().err().map(|error| KeyFault::here(error.to_string())));
        let has_other = self.basic_auth.is_some() || self.authorization.is_some() || self.oauth2.is_some();
        if has_other && self.sigv4.is_some() {
            let reason = "at most one of basic_auth, authorization, oauth2, & sigv4 must be configured";
            faults.push(KeyFault::here(reason));
        }
        let listed = self.static_configs.iter().flat_map(|group| &group.targets);
        let bad = listed.filter(|address| self.relabel_configs.is_empty() && address.contains('/'));
        faults
            .extend(bad.map(|address| KeyFault::of("static_configs", format!("{address:?} is not a valid hostname"))));
        faults
    }
}

fn signer(section: &SigV4Config) -> Result<Arc<dyn RequestSigner>, String> {
    Ok(Arc::new(Signer::amazon(section)?))
}
