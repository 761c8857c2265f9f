//! The functions that Prometheus adds to the template language.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{FuncMap, TemplateError, Value, ValueFunc};
use model::duration::Duration;
use model::number::print_float_general;
use model::pattern::Search;

use crate::{Context, QuerySample, humanize, labels_value, string};

type Result = gotmpl::Result<Value>;

/// Everything a template may call beside the language's own.
pub(crate) fn all(context: &Context) -> FuncMap {
    let mut map = FuncMap::new();
    let mut add = |name: &str, function: ValueFunc| {
        map.insert(name.into(), function);
    };
    numbers(&mut add);
    strings(&mut add);
    samples(&mut add);
    let query = Arc::clone(&context.query);
    add(
        "query",
        Arc::new(move |args: &[Value]| {
            let samples = query(text(args, 0)?).map_err(TemplateError::Exec)?;
            Ok(Value::List(samples.iter().map(sample_value).collect()))
        }),
    );
    let url = context.external_url.clone();
    let path = url.split_once("://").map_or("", |(_, rest)| rest.find('/').and_then(|i| rest.get(i..)).unwrap_or(""));
    let path = path.trim_end_matches('/').to_owned();
    add("externalURL", Arc::new(move |_: &[Value]| Ok(string(&url))));
    add("pathPrefix", Arc::new(move |_: &[Value]| Ok(string(&path))));
    let now = context.now_ms as f64 / 1000.0;
    add("now", Arc::new(move |_: &[Value]| Ok(Value::Float(now))));
    map
}

fn numbers(add: &mut impl FnMut(&str, ValueFunc)) {
    let mut number = |name: &str, print: fn(f64) -> String| {
        add(name, Arc::new(move |args: &[Value]| Ok(string(&print(float(args, 0)?)))));
    };
    number("humanize", humanize::humanize);
    number("humanize1024", humanize::humanize_1024);
    number("humanizeDuration", humanize::duration);
    number("humanizePercentage", humanize::percentage);
    number("humanizeTimestamp", humanize::timestamp);
    number("toTime", humanize::timestamp);
    number("toDuration", humanize::duration);
    add(
        "parseDuration",
        Arc::new(|args: &[Value]| {
            let duration: Duration = text(args, 0)?.parse().map_err(fault)?;
            Ok(Value::Float(duration.as_seconds()))
        }),
    );
}

fn strings(add: &mut impl FnMut(&str, ValueFunc)) {
    let mut string_function = |name: &str, change: fn(&str) -> String| {
        add(name, Arc::new(move |args: &[Value]| Ok(string(&change(text(args, 0)?)))));
    };
    string_function("title", title);
    string_function("toUpper", str::to_uppercase);
    string_function("toLower", str::to_lowercase);
    string_function("stripPort", strip_port);
    string_function("stripDomain", strip_domain);
    string_function("safeHtml", str::to_owned);
    string_function("urlQueryEscape", escaped);
    string_function("graphLink", |expression| link(expression, 0));
    string_function("tableLink", |expression| link(expression, 1));
    add(
        "match",
        Arc::new(|args: &[Value]| {
            let search = Search::new(text(args, 0)?).map_err(fault)?;
            Ok(Value::Bool(search.is_match(text(args, 1)?)))
        }),
    );
    add(
        "reReplaceAll",
        Arc::new(|args: &[Value]| {
            let search = Search::new(text(args, 0)?).map_err(fault)?;
            Ok(string(&search.replace_all(text(args, 2)?, text(args, 1)?)))
        }),
    );
}

fn samples(add: &mut impl FnMut(&str, ValueFunc)) {
    add(
        "first",
        Arc::new(|args: &[Value]| {
            let none = || TemplateError::Exec("first() called on vector with no elements".into());
            list(args, 0)?.first().cloned().ok_or_else(none)
        }),
    );
    add("value", Arc::new(|args: &[Value]| field(args, 0, "Value")));
    add(
        "label",
        Arc::new(|args: &[Value]| {
            let name = text(args, 0)?;
            let labels = field(args, 1, "Labels")?;
            Ok(labels.field(name).cloned().unwrap_or_else(|| string("")))
        }),
    );
    add(
        "strvalue",
        Arc::new(|args: &[Value]| {
            let labels = field(args, 0, "Labels")?;
            Ok(labels.field("__value__").cloned().unwrap_or_else(|| string("")))
        }),
    );
    add(
        "sortByLabel",
        Arc::new(|args: &[Value]| {
            let name = text(args, 0)?.to_owned();
            let mut samples = list(args, 1)?.to_vec();
            samples.sort_by_key(|sample| {
                let labels = sample.field("Labels");
                labels.and_then(|l| l.field(&name)).and_then(Value::as_str).unwrap_or("").to_owned()
            });
            Ok(Value::List(samples.into()))
        }),
    );
    add(
        "args",
        Arc::new(|args: &[Value]| {
            let named = args.iter().enumerate().map(|(i, arg)| (Arc::from(format!("arg{i}")), arg.clone()));
            Ok(Value::Map(Arc::new(named.collect::<BTreeMap<_, _>>())))
        }),
    );
}

fn sample_value(sample: &QuerySample) -> Value {
    Value::Map(Arc::new(BTreeMap::from([
        ("Labels".into(), labels_value(&sample.labels)),
        ("Value".into(), Value::Float(sample.value)),
    ])))
}

fn fault(error: impl std::fmt::Display) -> TemplateError {
    TemplateError::Exec(error.to_string())
}

fn argument(args: &[Value], index: usize) -> gotmpl::Result<&Value> {
    args.get(index).ok_or_else(|| TemplateError::Exec(format!("argument {} is missing", index + 1)))
}

fn text(args: &[Value], index: usize) -> gotmpl::Result<&str> {
    match argument(args, index)? {
        // A label that is not there.
        Value::Nil => Ok(""),
        value => value.as_str().ok_or_else(|| wrong_type("a string", value)),
    }
}

fn list(args: &[Value], index: usize) -> gotmpl::Result<&[Value]> {
    match argument(args, index)? {
        Value::List(items) => Ok(items),
        value => Err(wrong_type("a query result", value)),
    }
}

fn field(args: &[Value], index: usize, name: &str) -> Result {
    let value = argument(args, index)?;
    value.field(name).cloned().ok_or_else(|| wrong_type("a sample", value))
}

/// Numbers as they are, and texts that are numbers.
fn float(args: &[Value], index: usize) -> gotmpl::Result<f64> {
    let value = argument(args, index)?;
    match value {
        Value::Int(n) => Ok(*n as f64),
        Value::Uint(n) => Ok(*n as f64),
        Value::Float(n) => Ok(*n),
        Value::String(text) => text.parse().map_err(|_| wrong_type("a number", value)),
        _ => Err(wrong_type("a number", value)),
    }
}

fn wrong_type(expected: &str, value: &Value) -> TemplateError {
    let shown = match value {
        Value::Float(n) => print_float_general(*n),
        other => other.to_string(),
    };
    TemplateError::Exec(format!("expected {expected}, got {shown:?}"))
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .flat_map(|c| {
            let upper = start && c.is_lowercase();
            start = !(c.is_alphanumeric() || c == '_' || c == '\'');
            let changed: Vec<char> = if upper { c.to_uppercase().collect() } else { vec![c] };
            changed
        })
        .collect()
}

fn strip_port(host: &str) -> String {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => {
            name.trim_start_matches('[').trim_end_matches(']').to_owned()
        }
        _ => host.to_owned(),
    }
}

/// Addresses have no domain.
fn strip_domain(host: &str) -> String {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, format!(":{port}")),
        _ => (host, String::new()),
    };
    if name.parse::<std::net::IpAddr>().is_ok() || name.starts_with('[') {
        return host.to_owned();
    }
    format!("{}{port}", name.split('.').next().unwrap_or(name))
}

fn link(expression: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", escaped(expression))
}

/// As Go's `url.QueryEscape`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
