//! Formats a target may be asked for, and the names it may use.

use exposition::parse::Format;
use model::labels::NameScheme;
use serde::{Deserialize, Serialize};

/// A format that a target may be asked for, in `scrape_protocols`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "names are upstream's")]
pub enum ScrapeProtocol {
    #[serde(rename = "PrometheusProto")]
    Protobuf,
    #[serde(rename = "OpenMetricsText1.0.0")]
    OpenMetrics1,
    #[serde(rename = "OpenMetricsText0.0.1")]
    OpenMetrics0,
    #[serde(rename = "PrometheusText1.0.0")]
    Text1,
    #[serde(rename = "PrometheusText0.0.4")]
    Text0,
}

impl ScrapeProtocol {
    /// Its media type with version.
    pub fn content_type(self) -> &'static str {
        match self {
            ScrapeProtocol::Protobuf => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            ScrapeProtocol::OpenMetrics1 => "application/openmetrics-text;version=1.0.0",
            ScrapeProtocol::OpenMetrics0 => "application/openmetrics-text;version=0.0.1",
            ScrapeProtocol::Text1 => "text/plain;version=1.0.0",
            ScrapeProtocol::Text0 => "text/plain;version=0.0.4",
        }
    }

    /// As configured.
    pub fn as_str(self) -> &'static str {
        match self {
            ScrapeProtocol::Protobuf => "PrometheusProto",
            ScrapeProtocol::OpenMetrics1 => "OpenMetricsText1.0.0",
            ScrapeProtocol::OpenMetrics0 => "OpenMetricsText0.0.1",
            ScrapeProtocol::Text1 => "PrometheusText1.0.0",
            ScrapeProtocol::Text0 => "PrometheusText0.0.4",
        }
    }

    /// Whether it knows of escaping: the older ones have no names that need it.
    pub fn has_escaping(self) -> bool {
        matches!(self, ScrapeProtocol::Protobuf | ScrapeProtocol::OpenMetrics1 | ScrapeProtocol::Text1)
    }

    /// The grammar it follows.
    pub fn format(self) -> Format {
        match self {
            ScrapeProtocol::Protobuf => Format::Protobuf,
            ScrapeProtocol::OpenMetrics1 | ScrapeProtocol::OpenMetrics0 => Format::OpenMetrics,
            ScrapeProtocol::Text1 | ScrapeProtocol::Text0 => Format::Text,
        }
    }
}

/// What is asked for where nothing is configured, best first.
pub const DEFAULT_PROTOCOLS: [ScrapeProtocol; 4] =
    [ScrapeProtocol::OpenMetrics1, ScrapeProtocol::OpenMetrics0, ScrapeProtocol::Text1, ScrapeProtocol::Text0];

/// The same where native histograms are wanted, which only one format carries.
pub const NATIVE_HISTOGRAM_PROTOCOLS: [ScrapeProtocol; 5] = [
    ScrapeProtocol::Protobuf,
    ScrapeProtocol::OpenMetrics1,
    ScrapeProtocol::OpenMetrics0,
    ScrapeProtocol::Text1,
    ScrapeProtocol::Text0,
];

/// Checks a list of formats.
///
/// # Errors
/// If it is empty or names one twice.
pub(super) fn validate_protocols(protocols: &[ScrapeProtocol]) -> Result<(), String> {
    if protocols.is_empty() {
        return Err("scrape_protocols cannot be empty".into());
    }
    let is_repeated = |(i, protocol): (usize, &ScrapeProtocol)| protocols[..i].contains(protocol);
    if protocols.iter().enumerate().any(is_repeated) {
        let names: Vec<&str> = protocols.iter().map(|protocol| protocol.as_str()).collect();
        return Err(format!("duplicated protocol in scrape_protocols, got [{}]", names.join(" ")));
    }
    Ok(())
}

/// `metric_name_validation_scheme`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValidationScheme {
    /// Any UTF-8 name.
    #[default]
    Utf8,
    /// The names of Prometheus 2.
    Legacy,
}

impl From<ValidationScheme> for NameScheme {
    fn from(scheme: ValidationScheme) -> Self {
        match scheme {
            ValidationScheme::Utf8 => NameScheme::Utf8,
            ValidationScheme::Legacy => NameScheme::Legacy,
        }
    }
}

/// `metric_name_escaping_scheme`: how a target is asked to write names that the older formats cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EscapingScheme {
    /// As they are.
    #[serde(rename = "allow-utf-8")]
    AllowUtf8,
    /// Everything else as `_`.
    Underscores,
    /// Dots as `_dot_`.
    Dots,
    /// Reversibly, by code point.
    Values,
}

impl EscapingScheme {
    /// As in the `escaping` parameter of a media type.
    pub fn as_str(self) -> &'static str {
        match self {
            EscapingScheme::AllowUtf8 => "allow-utf-8",
            EscapingScheme::Underscores => "underscores",
            EscapingScheme::Dots => "dots",
            EscapingScheme::Values => "values",
        }
    }

    /// What goes with the names that are valid.
    pub(super) fn for_names(scheme: ValidationScheme) -> Self {
        match scheme {
            ValidationScheme::Utf8 => EscapingScheme::AllowUtf8,
            ValidationScheme::Legacy => EscapingScheme::Underscores,
        }
    }
}

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}
