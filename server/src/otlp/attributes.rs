//! Attributes as labels.

use std::collections::BTreeMap;

use base64::Engine as _;
use model::number::{push_float, push_float_exponent};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::names::Namer;
use crate::config::OtlpConfig;

const SERVICE_NAME: &str = "service.name";
const SERVICE_NAMESPACE: &str = "service.namespace";
const SERVICE_INSTANCE: &str = "service.instance.id";
/// Attributes that `job` and `instance` are made of.
const IDENTIFYING: [&str; 3] = [SERVICE_NAMESPACE, SERVICE_NAME, SERVICE_INSTANCE];

/// Labels by name.
pub(super) type LabelMap = BTreeMap<String, String>;

/// The value as a text; lists and maps as JSON.
pub(super) fn text_of(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        None => String::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => double(*value),
        Some(Value::BytesValue(bytes)) => base64::engine::general_purpose::STANDARD.encode(bytes),
        Some(Value::ArrayValue(_) | Value::KvlistValue(_)) => json_of(value).to_string(),
        Some(_) => String::new(),
    }
}

/// As Go's JSON writes it.
fn double(value: f64) -> String {
    let mut text = String::new();
    let magnitude = value.abs();
    if magnitude != 0.0 && value.is_finite() && !(1e-6..1e21).contains(&magnitude) {
        push_float_exponent(&mut text, value);
    } else {
        push_float(&mut text, value);
    }
    text
}

fn json_of(value: Option<&AnyValue>) -> serde_json::Value {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::BoolValue(value)) => (*value).into(),
        Some(Value::IntValue(value)) => (*value).into(),
        Some(Value::DoubleValue(value)) => (*value).into(),
        Some(Value::ArrayValue(list)) => list.values.iter().map(|value| json_of(Some(value))).collect(),
        Some(Value::KvlistValue(map)) => {
            let pairs = map.values.iter().map(|pair| (pair.key.clone(), json_of(pair.value.as_ref())));
            serde_json::Value::Object(pairs.collect())
        }
        None => serde_json::Value::Null,
        Some(_) => text_of(value).into(),
    }
}

/// Attributes as labels; values of names that fall together are joined, in order of their original names.
pub(super) fn labels_of(attributes: &[KeyValue], namer: Namer, ignored: &[&str]) -> Result<LabelMap, String> {
    let mut sorted: Vec<&KeyValue> = attributes.iter().filter(|pair| !ignored.contains(&pair.key.as_str())).collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let mut labels = LabelMap::new();
    for pair in sorted {
        let value = text_of(pair.value.as_ref());
        if namer.utf8 {
            labels.insert(pair.key.clone(), value);
            continue;
        }
        match labels.entry(namer.label(&pair.key)?) {
            std::collections::btree_map::Entry::Vacant(vacant) => drop(vacant.insert(value)),
            std::collections::btree_map::Entry::Occupied(mut known) if known.get().is_empty() => {
                known.insert(value);
            }
            std::collections::btree_map::Entry::Occupied(mut known) => {
                known.get_mut().push(';');
                known.get_mut().push_str(&value);
            }
        }
    }
    Ok(labels)
}

/// What a resource gives to all its series.
#[derive(Debug, Default)]
pub(super) struct ResourceLabels {
    pub(super) job: String,
    pub(super) instance: String,
    promoted: LabelMap,
}

impl ResourceLabels {
    pub(super) fn new(resource: &Resource, namer: Namer, config: &OtlpConfig) -> Result<Self, String> {
        let value = |key: &str| {
            let found = resource.attributes.iter().find(|pair| pair.key == key);
            found.map(|pair| text_of(pair.value.as_ref()))
        };
        let job = match (value(SERVICE_NAME), value(SERVICE_NAMESPACE)) {
            (Some(name), Some(namespace)) => format!("{namespace}/{name}"),
            (Some(name), None) => name,
            (None, _) => String::new(),
        };
        let is_promoted = |key: &String| match config.promote_all_resource_attributes {
            true => !config.ignore_resource_attributes.contains(key),
            false => config.promote_resource_attributes.contains(key),
        };
        let mut promoted = LabelMap::new();
        for pair in resource.attributes.iter().filter(|pair| is_promoted(&pair.key)) {
            promoted.insert(namer.label(&pair.key)?, text_of(pair.value.as_ref()));
        }
        Ok(Self { job, instance: value(SERVICE_INSTANCE).unwrap_or_default(), promoted })
    }

    /// Adds them to a data point's labels.
    pub(super) fn add_to(&self, labels: &mut LabelMap) {
        for (name, value) in &self.promoted {
            let known = labels.entry(name.clone()).or_default();
            if known.is_empty() {
                known.clone_from(value);
            }
        }
        self.identify(labels);
    }

    /// Adds `job` and `instance`.
    pub(super) fn identify(&self, labels: &mut LabelMap) {
        for (name, value) in [("job", &self.job), ("instance", &self.instance)] {
            if !value.is_empty() {
                labels.insert(name.to_owned(), value.clone());
            }
        }
    }

    /// The labels of `target_info`, if the resource says more than who it is.
    pub(super) fn target_info(
        &self,
        resource: &Resource,
        namer: Namer,
        keeps_identifying: bool,
    ) -> Result<Option<LabelMap>, String> {
        let says_more = resource.attributes.iter().any(|pair| !IDENTIFYING.contains(&pair.key.as_str()));
        if !says_more || (self.job.is_empty() && self.instance.is_empty()) {
            return Ok(None);
        }
        let ignored: &[&str] = if keeps_identifying { &[] } else { &IDENTIFYING };
        let mut labels = labels_of(&resource.attributes, namer, ignored)?;
        self.identify(&mut labels);
        Ok(Some(labels))
    }
}

/// What a scope gives to all its series, if that is wanted and it has a name.
pub(super) fn scope_labels(
    scope: Option<&InstrumentationScope>,
    schema_url: &str,
    namer: Namer,
) -> Result<LabelMap, String> {
    let mut labels = LabelMap::new();
    let Some(scope) = scope.filter(|scope| !scope.name.is_empty()) else { return Ok(labels) };
    for pair in &scope.attributes {
        labels.insert(namer.label(&format!("otel_scope_{}", pair.key))?, text_of(pair.value.as_ref()));
    }
    labels.insert("otel_scope_name".into(), scope.name.clone());
    labels.insert("otel_scope_version".into(), scope.version.clone());
    labels.insert("otel_scope_schema_url".into(), schema_url.to_owned());
    Ok(labels)
}
