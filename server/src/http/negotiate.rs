//! Which form of a metrics page a client asks for.
//!
//! Reference: RFC 9110, section 12.5.1; Prometheus' "Content Negotiation" and "Escaping Schemes".

use axum::http::{HeaderMap, header};
use exposition::escape::Escaping;
use exposition::print::{OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE};
use exposition::structured::PROTOBUF_CONTENT_TYPE;

/// The most clauses of an `Accept` header that are looked at.
const CLAUSES_MAX: usize = 32;

/// A form of a metrics page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageFormat {
    /// Text 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Delimited protobuf.
    Protobuf,
}

/// A form, and how names are written in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) format: PageFormat,
    pub(super) escaping: Escaping,
}

impl Wanted {
    /// The best of what the `Accept` header names and `known` has; text if there is none.
    pub(super) fn new(headers: &HeaderMap, known: &[PageFormat]) -> Self {
        let mut best: Option<(Self, f32)> = None;
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for clause in accepted.flat_map(|value| value.split(',')).take(CLAUSES_MAX) {
            let Some((wanted, quality)) = Self::of_clause(clause) else { continue };
            // Of equal ones the first counts.
            if known.contains(&wanted.format) && quality > 0.0 && best.is_none_or(|(_, other)| quality > other) {
                best = Some((wanted, quality));
            }
        }
        best.map_or(Self { format: PageFormat::Text, escaping: Escaping::default() }, |(wanted, _)| wanted)
    }

    fn of_clause(clause: &str) -> Option<(Self, f32)> {
        let mut parts = clause.split(';').map(str::trim);
        let media_type = parts.next()?.to_ascii_lowercase();
        let (mut quality, mut escaping, mut version, mut encoding) = (1.0, Escaping::default(), None, None);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.parse().ok()?,
                "escaping" => escaping = Escaping::from_name(value).unwrap_or_default(),
                "version" => version = Some(value),
                "encoding" => encoding = Some(value),
                "proto" if value != "io.prometheus.client.MetricFamily" => return None,
                _ => {}
            }
        }
        let format = match (media_type.as_str(), version) {
            ("text/plain" | "text/*" | "*/*", None | Some("0.0.4" | "1.0.0")) => PageFormat::Text,
            ("application/openmetrics-text", None | Some("0.0.1" | "1.0.0")) => PageFormat::OpenMetrics,
            ("application/vnd.google.protobuf", _) if encoding == Some("delimited") => PageFormat::Protobuf,
            _ => return None,
        };
        Some((Self { format, escaping }, quality))
    }

    /// The content type of the answer.
    pub(super) fn content_type(self) -> String {
        let base = match self.format {
            PageFormat::Text => TEXT_CONTENT_TYPE,
            PageFormat::OpenMetrics => OPENMETRICS_CONTENT_TYPE,
            PageFormat::Protobuf => PROTOBUF_CONTENT_TYPE,
        };
        format!("{base}; escaping={}", self.escaping.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_known_form_is_chosen() {
        let all = [PageFormat::Text, PageFormat::OpenMetrics, PageFormat::Protobuf];
        let wanted = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            let wanted = Wanted::new(&headers, &all);
            (wanted.format, wanted.escaping)
        };
        assert_eq!(wanted("*/*"), (PageFormat::Text, Escaping::Underscores));
        assert_eq!(wanted("application/json"), (PageFormat::Text, Escaping::Underscores));
        let scraper =
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2";
        assert_eq!(wanted(scraper), (PageFormat::OpenMetrics, Escaping::AllowUtf8));
        let protobuf =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,";
        assert_eq!(wanted(&format!("{protobuf}{scraper}")), (PageFormat::Protobuf, Escaping::Underscores));
        assert_eq!(wanted("application/vnd.google.protobuf;encoding=text"), (PageFormat::Text, Escaping::Underscores));
        assert_eq!(wanted("application/openmetrics-text;version=2.0.0"), (PageFormat::Text, Escaping::Underscores));
        assert_eq!(wanted("text/plain;q=0,application/openmetrics-text;q=0.1").0, PageFormat::OpenMetrics);
    }
}
