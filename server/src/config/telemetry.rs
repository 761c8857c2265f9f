//! The `otlp` and `tracing` sections: checked like the others; this version runs neither.

use std::collections::{BTreeMap, HashSet};

use model::duration::Duration;
use net::client::TlsConfig;
use serde::{Deserialize, Serialize};

use super::is_default;
use super::remote::validate_headers;

/// How OTLP names become names of series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "names are upstream's")]
pub enum TranslationStrategy {
    #[default]
    UnderscoreEscapingWithSuffixes,
    UnderscoreEscapingWithoutSuffixes,
    #[serde(rename = "NoUTF8EscapingWithSuffixes")]
    NoUtf8EscapingWithSuffixes,
    NoTranslation,
}

/// `otlp`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct OtlpConfig {
    #[serde(skip_serializing_if = "is_default")]
    pub promote_all_resource_attributes: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub promote_resource_attributes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore_resource_attributes: Vec<String>,
    pub translation_strategy: TranslationStrategy,
    #[serde(skip_serializing_if = "is_default")]
    pub keep_identifying_resource_attributes: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub convert_histograms_to_nhcb: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub promote_scope_metadata: bool,
    pub label_name_underscore_sanitization: bool,
    pub label_name_preserve_multiple_underscores: bool,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            promote_all_resource_attributes: false,
            promote_resource_attributes: Vec::new(),
            ignore_resource_attributes: Vec::new(),
            translation_strategy: TranslationStrategy::default(),
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            promote_scope_metadata: false,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
        }
    }
}

impl OtlpConfig {
    /// Trims attribute names, and checks the section. `utf8` says whether names may be anything.
    ///
    /// # Errors
    /// What is wrong, in upstream's words.
    pub fn resolve(&mut self, utf8: bool) -> Result<(), String> {
        let strategy = self.translation_strategy;
        if !utf8
            && matches!(strategy, TranslationStrategy::NoTranslation | TranslationStrategy::NoUtf8EscapingWithSuffixes)
        {
            return Err(format!("OTLP translation strategy {strategy:?} is not allowed when UTF8 is disabled"));
        }
        if self.promote_all_resource_attributes {
            if !self.promote_resource_attributes.is_empty() {
                return Err(
                    "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured \
                            simultaneously"
                        .into(),
                );
            }
            return trimmed(&mut self.ignore_resource_attributes, "ignored")
                .map_err(|e| format!("invalid 'ignore_resource_attributes': {e}"));
        }
        if !self.ignore_resource_attributes.is_empty() {
            return Err(
                "'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is \
                        true"
                    .into(),
            );
        }
        trimmed(&mut self.promote_resource_attributes, "promoted")
            .map_err(|e| format!("invalid 'promote_resource_attributes': {e}"))
    }
}

fn trimmed(attributes: &mut [String], adjective: &str) -> Result<(), String> {
    let mut seen = HashSet::new();
    for attribute in attributes {
        *attribute = attribute.trim().to_owned();
        if attribute.is_empty() {
            return Err(format!("empty {adjective} OTel resource attribute"));
        }
        if !seen.insert(attribute.clone()) {
            return Err(format!("duplicated {adjective} OTel resource attribute {attribute:?}"));
        }
    }
    Ok(())
}

/// How traces are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "names are upstream's")]
pub enum TracingClient {
    #[default]
    Grpc,
    Http,
}

/// `tracing`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "keys are upstream's, documented on its configuration page")]
pub struct TracingConfig {
    pub client_type: TracingClient,
    pub endpoint: String,
    #[serde(skip_serializing_if = "is_default")]
    pub sampling_fraction: f64,
    #[serde(skip_serializing_if = "is_default")]
    pub insecure: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub tls_config: TlsConfig,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compression: String,
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: Duration,
}

impl TracingConfig {
    /// Checks the section.
    ///
    /// # Errors
    /// What is wrong, in upstream's words.
    pub fn validate(&self) -> Result<(), String> {
        validate_headers(&self.headers, "custom authorization header configuration is not yet supported")?;
        if self.endpoint.is_empty() {
            return Err("tracing endpoint must be set".into());
        }
        if !matches!(self.compression.as_str(), "" | "gzip") {
            return Err(format!("invalid compression type {} provided, valid options: gzip", self.compression));
        }
        self.tls_config.validate().map_err(|e| e.to_string())
    }
}
