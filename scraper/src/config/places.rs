//! Where in a file a key stands: what is wrong with a value is told with line and column, as what is wrong with the
//! shape of the text is.

use std::fmt;

use net::yaml::Fault;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::NonFiniteFloatPolicy;

/// One step from a value to one inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// What is wrong with a value of the right shape, and the keys that lead there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFault {
    /// From the inside out.
    steps: Vec<Step>,
    /// What is wrong.
    pub reason: String,
}

impl KeyFault {
    /// Of the value at hand.
    pub fn here(reason: impl Into<String>) -> Self {
        Self { steps: Vec::new(), reason: reason.into() }
    }

    /// Of the value of a key.
    pub fn of(key: &str, reason: impl Into<String>) -> Self {
        Self::here(reason).within(key)
    }

    /// What it is of is the value of a key.
    #[must_use]
    pub fn within(mut self, key: &str) -> Self {
        self.steps.push(Step::Key(key.to_owned()));
        self
    }

    /// What it is of is an item of a list.
    #[must_use]
    pub fn item(mut self, index: usize) -> Self {
        self.steps.push(Step::Index(index));
        self
    }

    /// With words in front of the reason.
    #[must_use]
    pub fn told_of(mut self, what: &str) -> Self {
        self.reason = format!("{what}: {}", self.reason);
        self
    }

    /// The key it is of, unless the reason names it or, as those of whole items of a section do, what it is of.
    fn unnamed_key(&self) -> Option<&str> {
        if matches!(self.steps[..], [Step::Index(_), Step::Key(_)]) {
            return None;
        }
        let key = self.steps.iter().find_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })?;
        (!mentions(&self.reason, key)).then_some(key)
    }

    fn message(&self) -> String {
        self.unnamed_key().map_or_else(|| self.reason.clone(), |key| format!("{key}: {}", self.reason))
    }
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

/// Whether `text` has `key` as a word.
fn mentions(text: &str, key: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(key).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at + key.len()..).and_then(|after| after.chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Line and column, counted from 1.
type Place = (u64, u64);

/// A text's keys and items with their places.
#[derive(Debug, Clone, Default)]
pub struct Places {
    root: Node,
}

#[derive(Debug, Clone, Default)]
enum Node {
    #[default]
    Plain,
    Map(Vec<(String, Place, Node)>),
    List(Vec<(Place, Node)>),
}

impl Places {
    /// Of a text; none of what is no YAML.
    pub fn of(text: &str) -> Self {
        let options = serde_saphyr::options! { non_finite_float_policy: NonFiniteFloatPolicy::PassThrough };
        Self { root: serde_saphyr::from_str_with_options(text, options).unwrap_or_default() }
    }

    /// A fault with its place: of the key it is of or, where there is none such, of what should hold it; and of the key
    /// inside that its reason speaks of, if there is one.
    pub fn place(&self, fault: &KeyFault) -> Fault {
        let (mut node, mut place) = (Some(&self.root), None);
        for step in fault.steps.iter().rev() {
            let found = match (node, step) {
                (Some(Node::Map(entries)), Step::Key(key)) => {
                    entries.iter().find(|(name, ..)| name == key).map(|(_, place, node)| (*place, node))
                }
                (Some(Node::List(items)), Step::Index(index)) => items.get(*index).map(|(place, node)| (*place, node)),
                _ => None,
            };
            node = found.map(|(_, node)| node);
            let Some((at, _)) = found else { break };
            place = Some(at);
        }
        while let Some(Node::Map(entries)) = node {
            let Some((_, at, inner)) = entries.iter().find(|(key, ..)| mentions(&fault.reason, key)) else { break };
            (node, place) = (Some(inner), Some(*at));
        }
        Fault { place, message: fault.message() }
    }

    /// Whether one of `faults` is in the same section, or in the same item of a section that is a list, as `fault`: what
    /// was taken out of it may be why the rest is wrong.
    pub fn is_beside(&self, fault: &KeyFault, faults: &[Fault]) -> bool {
        let mut outer = fault.steps.iter().rev();
        let (Node::Map(entries), Some(Step::Key(section))) = (&self.root, outer.next()) else { return true };
        let Some(number) = entries.iter().position(|(key, ..)| key == section) else { return true };
        let (_, start, node) = &entries[number];
        let end = entries.get(number + 1).map(|(_, place, _)| *place);
        let (start, end) = match (node, outer.next()) {
            (Node::List(items), Some(Step::Index(index))) if *index < items.len() => {
                (items[*index].0, items.get(index + 1).map(|(place, _)| *place).or(end))
            }
            _ => (*start, end),
        };
        // A list's item begins behind its dash.
        let is_inside = |place: Place| place.0 >= start.0 && end.is_none_or(|end| place.0 < end.0);
        faults.iter().any(|fault| fault.place.is_none_or(is_inside))
    }
}

/// Takes a value of any shape.
struct Shape;

/// Methods that take a scalar.
macro_rules! plain {
    ($($name:ident: $kind:ty,)*) => {
        $(fn $name<E>(self, _: $kind) -> Result<Node, E> {
            Ok(Node::Plain)
        })*
    };
}

impl<'de> Visitor<'de> for Shape {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let place = (key.referenced.line(), key.referenced.column());
            entries.push((key.value, place, map.next_value()?));
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Node>>()? {
            items.push(((item.referenced.line(), item.referenced.column()), item.value));
        }
        Ok(Node::List(items))
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Node, D::Error> {
        Node::deserialize(inner)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Node, D::Error> {
        Node::deserialize(inner)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    plain! {
        visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_u128: u128, visit_f64: f64,
        visit_str: &str, visit_bytes: &[u8],
    }

    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, data: A) -> Result<Node, A::Error> {
        let _tagged: (IgnoredAny, A::Variant) = data.variant()?;
        Ok(Node::Plain)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "global:\n  a: 1\njobs:\n- name: x\n  rules:\n  - action: hashmod\n  - regex: '('\n    other: .inf\n\
        - name: y\n  basic: {user: u, password: ~}\n";

    fn check(fault: KeyFault, expected: &str) {
        assert_eq!(Places::of(TEXT).place(&fault).in_file("f"), expected);
    }

    #[test]
    fn a_fault_is_told_with_the_place_of_its_key() {
        let rule = |index| KeyFault::here("is wrong").item(index).within("rules").item(0).within("jobs");
        check(rule(0), "f:6:5: rules: is wrong");
        check(rule(1), "f:7:5: rules: is wrong");
        check(rule(2), "f:5:3: rules: is wrong");
        check(KeyFault::of("name", "name is there twice").item(1).within("jobs"), "f:9:3: name is there twice");
        check(KeyFault::here("one basic user").item(1).within("jobs"), "f:10:11: one basic user");
        check(KeyFault::of("none", "is missing"), "f: none: is missing");
    }

    #[test]
    fn faults_of_one_item_are_beside_each_other() {
        let places = Places::of(TEXT);
        let shape = |line| [Fault { place: Some((line, 1)), message: String::new() }];
        let of = |index| KeyFault::here("").item(index).within("jobs");
        assert!(places.is_beside(&of(0), &shape(6)) && !places.is_beside(&of(1), &shape(6)));
        assert!(places.is_beside(&of(1), &shape(10)) && !places.is_beside(&of(1), &shape(2)));
        assert!(places.is_beside(&KeyFault::of("global", ""), &shape(2)));
        assert!(!places.is_beside(&KeyFault::of("global", ""), &shape(4)));
    }
}
