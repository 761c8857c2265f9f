//! Label sets: one allocation each, sorted and unique by construction, compared and hashed as plain bytes.
//!
//! A set is packed as `name 0xff value 0xff name 0xff value 0xff ...`, ordered by name. The byte 0xff never occurs in
//! UTF-8, so the packing is unambiguous, and its XXH64 is exactly the hash Prometheus computes over a label set
//! (`labels.StableHash`: every name and value followed by 0xff), in one pass and without building anything.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::quote;

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";
/// The label that holds the name of an alert.
pub const ALERT_NAME: &str = "alertname";
/// The upper bound of a classic histogram's bucket.
pub const BUCKET_BOUND: &str = "le";
/// The quantile of a summary's sample.
pub const QUANTILE: &str = "quantile";
/// The target a sample was scraped from.
pub const INSTANCE: &str = "instance";
/// The scrape job a sample belongs to.
pub const JOB: &str = "job";

/// Ends each name and each value in the packed form.
pub const SEPARATOR: u8 = 0xff;

/// A set of labels, sorted by name, each name once, no empty value (an empty value means the label is absent).
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Labels(Arc<[u8]>);

/// Why a list of pairs is not a label set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelsError {
    /// The same name occurs twice.
    #[error("label name {0:?} is not unique")]
    DuplicateName(String),
    /// A name is not allowed under the naming scheme in force.
    #[error("invalid label name {0:?}")]
    InvalidName(String),
    /// A metric name is not allowed under the naming scheme in force.
    #[error("invalid metric name {0:?}")]
    InvalidMetricName(String),
    /// Packed bytes are damaged.
    #[error("packed labels are damaged at byte {0}")]
    Corrupt(usize),
}

/// Which label and metric names are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameScheme {
    /// Any non-empty UTF-8 string.
    #[default]
    Utf8,
    /// `[a-zA-Z_][a-zA-Z0-9_]*`, with `:` allowed in metric names.
    Legacy,
}

impl NameScheme {
    /// Whether `name` may name a label.
    pub fn label_name_is_valid(self, name: &str) -> bool {
        match self {
            NameScheme::Utf8 => !name.is_empty(),
            NameScheme::Legacy => is_legacy_label_name(name),
        }
    }

    /// Whether `name` may name a metric.
    pub fn metric_name_is_valid(self, name: &str) -> bool {
        match self {
            NameScheme::Utf8 => !name.is_empty(),
            NameScheme::Legacy => is_legacy_metric_name(name),
        }
    }
}

/// Whether `name` is `[a-zA-Z_][a-zA-Z0-9_]*`, the names that need no quotes.
pub fn is_legacy_label_name(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    !name.is_empty() && name.bytes().enumerate().all(|(i, b)| letter(b) || (i > 0 && b.is_ascii_digit()))
}

/// Whether `name` is `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_legacy_metric_name(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_' || b == b':';
    !name.is_empty() && name.bytes().enumerate().all(|(i, b)| letter(b) || (i > 0 && b.is_ascii_digit()))
}

impl Labels {
    /// The set without labels.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Builds a set from pairs in any order; pairs with an empty value are left out.
    ///
    /// # Errors
    /// [`LabelsError::DuplicateName`] if a name occurs twice.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, LabelsError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().filter(|(_, v)| !v.as_ref().is_empty()).collect();
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        if let Some(twice) = pairs.windows(2).find(|w| w[0].0.as_ref() == w[1].0.as_ref()) {
            return Err(LabelsError::DuplicateName(twice[0].0.as_ref().to_owned()));
        }
        Ok(Self::pack(pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref()))))
    }

    /// Packs pairs that are already sorted by name, unique, and without empty values, as a storage reads them.
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let labels = Self::pack(pairs);
        debug_assert!(
            labels.iter().zip(labels.iter().skip(1)).all(|(a, b)| a.0 < b.0),
            "from_sorted needs sorted unique names"
        );
        labels
    }

    /// Takes bytes in the packed form, as [`Labels::as_bytes`] gave them.
    ///
    /// # Errors
    /// [`LabelsError::Corrupt`] if they are not sorted, unique, UTF-8 pairs each ended by 0xff.
    pub fn from_packed(packed: &[u8]) -> Result<Self, LabelsError> {
        let mut previous: Option<&[u8]> = None;
        let mut at = 0;
        while at < packed.len() {
            let name_end = at + memchr::memchr(SEPARATOR, &packed[at..]).ok_or(LabelsError::Corrupt(at))?;
            let value_at = name_end + 1;
            let rest = packed.get(value_at..).ok_or(LabelsError::Corrupt(at))?;
            let value_end = value_at + memchr::memchr(SEPARATOR, rest).ok_or(LabelsError::Corrupt(value_at))?;
            let (name, value) = (&packed[at..name_end], &packed[value_at..value_end]);
            let text = std::str::from_utf8(name).is_ok() && std::str::from_utf8(value).is_ok();
            if !text || previous.is_some_and(|p| p >= name) || value.is_empty() {
                return Err(LabelsError::Corrupt(at));
            }
            previous = Some(name);
            at = value_end + 1;
        }
        Ok(Self(Arc::from(packed)))
    }

    fn pack<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut packed = Vec::with_capacity(256);
        for (name, value) in pairs {
            push_packed(&mut packed, name.as_bytes(), value.as_bytes());
        }
        Self(Arc::from(packed))
    }

    /// The value of `name`, or `None` if the label is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_bytes(name.as_bytes()).map(as_text)
    }

    /// The value of `name` as bytes; the names before it are skipped without being decoded.
    pub fn get_bytes(&self, name: &[u8]) -> Option<&[u8]> {
        for (n, v) in self.iter_bytes() {
            match n.cmp(name) {
                Ordering::Less => {}
                Ordering::Equal => return Some(v),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The metric name, if the set has one.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// Whether the label is present.
    pub fn contains(&self, name: &str) -> bool {
        self.get_bytes(name.as_bytes()).is_some()
    }

    /// The pairs in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.iter_bytes().map(|(n, v)| (as_text(n), as_text(v)))
    }

    /// The pairs in order of their names, as bytes.
    pub fn iter_bytes(&self) -> PairsIter<'_> {
        PairsIter { rest: &self.0 }
    }

    /// How many labels the set has.
    pub fn len(&self) -> usize {
        memchr::memchr_iter(SEPARATOR, &self.0).count() / 2
    }

    /// Whether the set has no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// XXH64 with seed 0 over the packed form: Prometheus' stable label hash.
    pub fn hash64(&self) -> u64 {
        hash_packed(&self.0)
    }

    /// The packed form: `name 0xff value 0xff ...`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same set without the metric name.
    pub fn without_metric_name(&self) -> Self {
        self.filtered(|name| name != METRIC_NAME.as_bytes())
    }

    /// The labels whose names `keep` accepts. Shares the allocation if all are kept.
    pub fn filtered(&self, mut keep: impl FnMut(&[u8]) -> bool) -> Self {
        if self.iter_bytes().all(|(n, _)| keep(n)) {
            return self.clone();
        }
        let mut packed = Vec::with_capacity(self.0.len());
        for (name, value) in self.iter_bytes().filter(|(n, _)| keep(n)) {
            push_packed(&mut packed, name, value);
        }
        Self(Arc::from(packed))
    }

    /// A builder that starts from this set.
    pub fn to_builder(&self) -> LabelsBuilder {
        let pairs = self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        LabelsBuilder { pairs }
    }

    /// Checks all names against `scheme`.
    ///
    /// # Errors
    /// Names the first label or metric name that the scheme does not allow.
    pub fn validate(&self, scheme: NameScheme) -> Result<(), LabelsError> {
        for (name, value) in self.iter() {
            if name == METRIC_NAME && !scheme.metric_name_is_valid(value) {
                return Err(LabelsError::InvalidMetricName(value.to_owned()));
            }
            if !scheme.label_name_is_valid(name) {
                return Err(LabelsError::InvalidName(name.to_owned()));
            }
        }
        Ok(())
    }
}

/// Appends one pair in the packed form to `packed`. Callers that build a set by hand append in order of names.
pub fn push_packed(packed: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    packed.extend_from_slice(name);
    packed.push(SEPARATOR);
    packed.extend_from_slice(value);
    packed.push(SEPARATOR);
}

/// XXH64 (seed 0) of a packed label set.
pub fn hash_packed(packed: &[u8]) -> u64 {
    twox_hash::XxHash64::oneshot(0, packed)
}

/// Names and values enter as `str` everywhere, so this cannot fail; if it ever did, the text is still shown.
fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("labels are packed from UTF-8 strings only")
}

/// Iterates over the packed pairs of a set.
#[derive(Clone)]
pub struct PairsIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for PairsIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = split_at_separator(self.rest)?;
        let (value, rest) = split_at_separator(rest)?;
        self.rest = rest;
        Some((name, value))
    }
}

/// Names and values are short: a plain scan beats a SIMD search's set-up here.
fn split_at_separator(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&b| b == SEPARATOR)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

impl Ord for Labels {
    /// Orders as Prometheus does: by first differing name or value, a prefix before what it begins.
    ///
    /// The separator sorts below every byte of text, so the first differing byte decides.
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.as_bytes(), other.as_bytes());
        match a.iter().zip(b).position(|(x, y)| x != y) {
            Some(at) => a[at].wrapping_add(1).cmp(&b[at].wrapping_add(1)),
            None => a.len().cmp(&b.len()),
        }
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Labels {
    /// `{a="b", c="d"}` as Go Prometheus prints a label set; names that need quotes get them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{}={}", print_name(name), quote::quote(value))?;
        }
        f.write_str("}")
    }
}

/// A label name as PromQL writes it: bare where the legacy charset allows, else quoted.
pub fn print_name(name: &str) -> Cow<'_, str> {
    if is_legacy_label_name(name) { Cow::Borrowed(name) } else { Cow::Owned(quote::quote(name)) }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of label names to values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut pairs: Vec<(String, String)> = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Labels::from_pairs(pairs).map_err(serde::de::Error::custom)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Builds a label set step by step: set and delete in any order, then [`LabelsBuilder::build`].
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    /// Sorted by name, unique; values may be empty until `build`.
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// A builder without labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `name` to `value`; an empty value deletes the label.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(at) if value.is_empty() => {
                self.pairs.remove(at);
            }
            Ok(at) => value.clone_into(&mut self.pairs[at].1),
            Err(_) if value.is_empty() => {}
            Err(at) => self.pairs.insert(at, (name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Deletes `name` if it is there.
    pub fn delete(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// The value of `name`, or `None` if absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
        Some(&self.pairs[at].1)
    }

    /// The pairs in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Keeps the labels that `keep(name, value)` accepts.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.pairs.retain(|(n, v)| keep(n, v));
    }

    /// The set as it stands.
    pub fn build(&self) -> Labels {
        Labels::pack(self.iter())
    }
}

/// Builds a label set from literals in tests and for the program's own series.
///
/// ```
/// let labels = model::labels! { "__name__" => "up", "job" => "node" };
/// assert_eq!(labels.get("job"), Some("node"));
/// ```
#[macro_export]
macro_rules! labels {
    ($($name:expr => $value:expr),* $(,)?) => {{
        let mut builder = $crate::labels::LabelsBuilder::new();
        $( builder.set($name, $value); )*
        builder.build()
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_prometheus_does() {
        // XXH64("a\xff1\xffb\xff2\xff"), the input of labels.StableHash for {a="1", b="2"}.
        let labels = labels! { "b" => "2", "a" => "1" };
        assert_eq!(labels.as_bytes(), b"a\xff1\xffb\xff2\xff");
        assert_eq!(labels.hash64(), twox_hash::XxHash64::oneshot(0, b"a\xff1\xffb\xff2\xff"));
        assert_eq!(Labels::empty().hash64(), 0xef46_db37_51d8_e999);
    }

    #[test]
    fn orders_by_names_then_values_with_prefixes_first() {
        let ordered = [
            Labels::empty(),
            labels! { "a" => "1" },
            labels! { "a" => "1", "b" => "1" },
            labels! { "a" => "10" },
            labels! { "a" => "2" },
            labels! { "aa" => "1" },
            labels! { "b" => "\u{7f}" },
            labels! { "b" => "\u{10ffff}" },
        ];
        for pair in ordered.windows(2) {
            assert_eq!(pair[0].cmp(&pair[1]), Ordering::Less, "{} < {}", pair[0], pair[1]);
            let plain = pair[0].iter().collect::<Vec<_>>().cmp(&pair[1].iter().collect::<Vec<_>>());
            assert_eq!(plain, Ordering::Less, "the naive order agrees");
        }
    }

    #[test]
    fn an_empty_value_means_absent_and_a_name_occurs_once() {
        let labels = Labels::from_pairs([("b", "2"), ("a", ""), ("c", "3")]).unwrap();
        assert_eq!(labels.to_string(), r#"{b="2", c="3"}"#);
        assert_eq!(labels.len(), 2);
        assert_eq!(labels.get("a"), None);
        assert_eq!(Labels::from_pairs([("b", "2"), ("b", "3")]), Err(LabelsError::DuplicateName("b".into())));
    }

    #[test]
    fn packed_bytes_are_checked() {
        let labels = labels! { "__name__" => "up", "job" => "ü" };
        assert_eq!(Labels::from_packed(labels.as_bytes()).unwrap(), labels);
        for bad in [&b"a"[..], b"a\xff", b"a\xff1", b"b\xff1\xffa\xff1\xff", b"a\xff\xff", b"a\xff\xc3\xff"] {
            assert!(Labels::from_packed(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn prints_names_that_need_quotes_in_quotes() {
        let labels = labels! { "my.label" => "a\"b\n", "x" => "é" };
        assert_eq!(labels.to_string(), r#"{"my.label"="a\"b\n", x="é"}"#);
    }

    #[test]
    fn filters_without_copying_when_all_stay() {
        let labels = labels! { "__name__" => "up", "job" => "node" };
        assert!(Arc::ptr_eq(&labels.filtered(|_| true).0, &labels.0));
        assert_eq!(labels.without_metric_name(), labels! { "job" => "node" });
    }
}
