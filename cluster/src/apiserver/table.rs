//! Tables: what `kubectl get` prints. The columns and cells of each kind.

mod cluster;
mod network;
mod pod;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::reply::{Include, partial};
use crate::api::{Resource, meta};

/// A column of a kind's table. Wide columns are only shown by `-o wide`.
#[derive(Debug)]
struct Column {
    name: &'static str,
    kind: &'static str,
    wide: bool,
}

/// What makes the row of an object.
type RowOf = fn(&Value, Timestamp) -> Row;

/// A row: its cells, and for finished pods the condition that says so.
struct Row {
    cells: Vec<Value>,
    conditions: Vec<Value>,
}

impl From<Vec<Value>> for Row {
    fn from(cells: Vec<Value>) -> Self {
        Self { cells, conditions: Vec::new() }
    }
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: "string", wide: false }
}

const fn count(name: &'static str) -> Column {
    Column { name, kind: "integer", wide: false }
}

const fn wide(name: &'static str) -> Column {
    Column { name, kind: "string", wide: true }
}

/// The columns and the row function of a resource.
fn printer(resource: &Resource) -> (&'static [Column], RowOf) {
    match resource.plural {
        "pods" => (pod::COLUMNS, pod::row),
        "services" => (network::SERVICE, network::service),
        "endpoints" => (network::ENDPOINTS, network::endpoints),
        "endpointslices" => (network::SLICE, network::slice),
        "nodes" => (cluster::NODE, cluster::node),
        "namespaces" => (cluster::NAMESPACE, cluster::namespace),
        "events" => (cluster::EVENT, cluster::event),
        "configmaps" => (cluster::CONFIG_MAP, cluster::config_map),
        "secrets" => (cluster::SECRET, cluster::secret),
        "serviceaccounts" => (cluster::SERVICE_ACCOUNT, cluster::service_account),
        "leases" => (cluster::LEASE, cluster::lease),
        _ => (cluster::OTHER, cluster::other),
    }
}

/// A table of objects.
pub(super) fn table<'a>(
    resource: &Resource,
    objects: impl Iterator<Item = &'a Value>,
    metadata: Value,
    include: Include,
    columns_shown: bool,
) -> Value {
    let now = Timestamp::now();
    let (columns, row) = printer(resource);
    let definitions: Vec<Value> = columns.iter().filter(|_| columns_shown).map(Column::definition).collect();
    let rows: Vec<Value> = objects
        .map(|object| {
            let Row { cells, conditions } = row(object, now);
            let mut row = json!({ "cells": cells });
            if !conditions.is_empty() {
                row["conditions"] = json!(conditions);
            }
            match include {
                Include::Metadata => row["object"] = partial(object),
                Include::Object => row["object"] = object.clone(),
                Include::None => {}
            }
            row
        })
        .collect();
    json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": definitions, "rows": rows })
}

impl Column {
    fn definition(&self) -> Value {
        let format = if self.name == "Name" { "name" } else { "" };
        json!({ "name": self.name, "type": self.kind, "format": format, "description": self.name, "priority": i32::from(self.wide) })
    }
}

/// How long ago an object was made.
fn age(object: &Value, now: Timestamp) -> Value {
    json!(since(meta::text(object, "/metadata/creationTimestamp"), now))
}

/// How long ago a time was, in words.
fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => duration(now.duration_since(time).as_secs()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// A duration as people read it: two units at most, the smaller one only while it matters.
fn duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let pair = |large: i64, unit: &str, small: i64, sub: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{sub}"),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10800 => format!("{minutes}m"),
        10800..28800 => pair(hours, "h", minutes % 60, "m"),
        28800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

/// A text, or a word for its absence.
fn or<'a>(text: &'a str, absent: &'a str) -> &'a str {
    if text.is_empty() { absent } else { text }
}

/// Labels as they stand in a selector.
fn selector(object: &Value, pointer: &str) -> String {
    let pairs: Vec<_> = meta::map(object, pointer)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    or(&pairs.join(","), "<none>").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;

    #[test]
    fn durations() {
        let check = |seconds: i64, expected: &str| assert_eq!(duration(seconds), expected, "{seconds}");
        for (seconds, expected) in [
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10799, "179m"),
            (10800, "3h"),
            (10860, "3h1m"),
            (28800, "8h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
        ] {
            check(seconds, expected);
        }
    }

    #[test]
    fn every_row_fills_its_columns() {
        for resource in api::RESOURCES {
            let object = json!({ "metadata": { "name": "x" } });
            let table = table(resource, std::iter::once(&object), json!({}), Include::Metadata, true);
            let (columns, cells) = (&table["columnDefinitions"], &table["rows"][0]["cells"]);
            assert_eq!(columns.as_array().unwrap().len(), cells.as_array().unwrap().len(), "{}", resource.plural);
        }
    }
}
