//! Go-style text templates, as Prometheus expands them in the labels and annotations of alerts.
//!
//! ```text
//! "{{ $labels.instance }} is {{ humanize $value }}" + Context -> expand -> text
//! ```
//!
//! The template language itself is the `gotmpl` crate's; this crate adds Prometheus' data and functions (its template
//! reference page). It is the only one that knows that crate.

mod functions;
mod humanize;
mod variables;

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{MissingKey, Template, Value};
use model::labels::Labels;

/// The longest template, in bytes.
pub const TEMPLATE_BYTES_MAX: usize = 1024 * 1024;
/// The most iterations that one expansion may make over all of its `range`s.
pub const ITERATIONS_MAX: u64 = 1_000_000;

/// Puts the data under the names that Prometheus documents.
const DEFINITIONS: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
    {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// Why a template does not expand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// It is no template.
    #[error("error parsing template {name}: {reason}")]
    Parse {
        /// Where it stands, such as the alert's name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// It failed while running.
    #[error("error executing template {name}: {reason}")]
    Execute {
        /// Where it stands.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Longer than [`TEMPLATE_BYTES_MAX`].
    #[error("template {0} is longer than {TEMPLATE_BYTES_MAX} bytes")]
    TooLong(String),
}

/// A sample that a template's `query` gives.
#[derive(Debug, Clone, PartialEq)]
pub struct QuerySample {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// Answers a template's `query "expr"`; errors are texts for the person who reads the annotation.
pub type QueryFn = Arc<dyn Fn(&str) -> Result<Vec<QuerySample>, String> + Send + Sync>;

/// What a template sees.
#[derive(Clone)]
pub struct Context {
    /// `$labels`.
    pub labels: Labels,
    /// `$externalLabels`.
    pub external_labels: Labels,
    /// `$externalURL`.
    pub external_url: String,
    /// `$value`.
    pub value: f64,
    /// The time of evaluation, in milliseconds since the epoch: what `now` gives.
    pub now_ms: i64,
    /// `query`.
    pub query: QueryFn,
}

/// Expands `text`. A label that is not there expands to nothing.
///
/// # Errors
/// If the template is malformed or fails.
pub fn expand(name: &str, text: &str, context: &Context) -> Result<String, TemplateError> {
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    let template = parse(name, text, context)?;
    let data = Value::Map(Arc::new(BTreeMap::from([
        ("Labels".into(), labels_value(&context.labels)),
        ("ExternalLabels".into(), labels_value(&context.external_labels)),
        ("ExternalURL".into(), string(&context.external_url)),
        ("Value".into(), Value::Float(context.value)),
    ])));
    let expanded = template
        .execute_to_string(&data)
        .map_err(|e| TemplateError::Execute { name: name.to_owned(), reason: e.to_string() })?;
    // Labels are strings in Go, so that a missing one is empty; here it is nothing, which prints so.
    Ok(expanded.replace("<no value>", ""))
}

/// Checks that `text` is a template whose functions exist, without running it.
///
/// # Errors
/// If it is malformed.
pub fn check(name: &str, text: &str) -> Result<(), TemplateError> {
    let context = Context {
        labels: Labels::empty(),
        external_labels: Labels::empty(),
        external_url: String::new(),
        value: 0.0,
        now_ms: 0,
        query: Arc::new(|_| Ok(Vec::new())),
    };
    let template = parse(name, text, &context)?;
    match variables::undefined(&template) {
        None => Ok(()),
        Some(variable) => {
            Err(TemplateError::Parse { name: name.to_owned(), reason: format!("undefined variable {variable:?}") })
        }
    }
}

fn parse(name: &str, text: &str, context: &Context) -> Result<Template, TemplateError> {
    if text.len() > TEMPLATE_BYTES_MAX {
        return Err(TemplateError::TooLong(name.to_owned()));
    }
    Template::new(name)
        .missing_key(MissingKey::ZeroValue)
        .max_range_iters(ITERATIONS_MAX)
        .funcs(functions::all(context))
        .parse(&format!("{DEFINITIONS}{text}"))
        .map_err(|e| TemplateError::Parse { name: name.to_owned(), reason: e.to_string() })
}

fn string(text: &str) -> Value {
    Value::String(text.into())
}

fn labels_value(labels: &Labels) -> Value {
    Value::Map(Arc::new(labels.iter().map(|(name, value)| (Arc::from(name), string(value))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::labels;

    fn context() -> Context {
        Context {
            labels: labels! { "instance" => "host:80", "job" => "node" },
            external_labels: labels! { "dc" => "eu" },
            external_url: "http://x/p".into(),
            value: 1234.5,
            now_ms: 1_000,
            query: Arc::new(|expression| match expression {
                "up" => Ok(vec![
                    QuerySample { labels: labels! { "__name__" => "up", "i" => "10" }, value: 1.0 },
                    QuerySample { labels: labels! { "__name__" => "up", "i" => "9" }, value: 0.0 },
                ]),
                "none" => Ok(vec![]),
                other => Err(format!("no such query {other}")),
            }),
        }
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(expand("t", text, &context()).as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn data_is_under_both_names() {
        check("{{ $labels.instance }} {{ .Labels.job }} {{ $value }} {{ .Value }}", "host:80 node 1234.5 1234.5");
        check(
            "{{ $externalLabels.dc }} {{ $externalURL }} {{ externalURL }} {{ pathPrefix }}",
            "eu http://x/p http://x/p /p",
        );
        check("[{{ $labels.missing }}]", "[]");
        check("plain", "plain");
        check("{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}", "instance=host:80;job=node;");
    }

    #[test]
    fn functions_do_what_upstream_documents() {
        check("{{ humanize $value }} {{ $value | humanize1024 }}", "1.234k 1.206ki");
        check("{{ humanizeDuration 3661.0 }} {{ humanizeDuration 0.0012 }}", "1h 1m 1s 1.2ms");
        check(
            "{{ humanizePercentage 0.123456 }} {{ humanizeTimestamp 1435065584.128 }}",
            "12.35% 2015-06-23 13:19:44.128 +0000 UTC",
        );
        check("{{ \"aa bb\" | title }} {{ toUpper \"x\" }} {{ toLower \"Y\" }}", "Aa Bb X y");
        check("{{ stripPort $labels.instance }} {{ stripDomain \"a.b.c:9\" }}", "host a:9");
        check("{{ match \"o.t\" $labels.instance }} {{ reReplaceAll \"(h)o\" \"$1-\" \"hoho\" }}", "true h-h-");
        check(
            "{{ query \"up\" | first | value }} {{ query \"up\" | sortByLabel \"i\" | first | label \"i\" }}",
            "1 10",
        );
        check("{{ range query \"up\" }}{{ .Labels.i }}:{{ .Value }} {{ end }}", "10:1 9:0 ");
        check("{{ with query \"none\" }}some{{ else }}none{{ end }}", "none");
        check("{{ printf \"%.2f\" $value }} {{ parseDuration \"1h\" }}", "1234.50 3600");
        check("{{ graphLink \"up == 0\" }}", "/graph?g0.expr=up+%3D%3D+0&g0.tab=0");
    }

    #[test]
    fn faults_are_told() {
        let error = |text: &str| expand("alert", text, &context()).unwrap_err().to_string();
        assert!(error("{{ $labels.x").starts_with("error parsing template alert: "));
        assert!(error("{{ nonsense 1 }}").contains("nonsense"));
        assert!(error("{{ query \"bad\" }}").contains("no such query bad"));
        assert!(error("{{ query \"none\" | first }}").contains("first() called on vector with no elements"));
        assert!(super::check("a", "{{ if }}").is_err());
    }
}
