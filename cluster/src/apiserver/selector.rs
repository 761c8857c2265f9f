//! Label and field selectors: reading them and matching objects.

use serde_json::Value;

use crate::api::status::Failure;
use crate::api::{Resource, meta, names};

/// The longest selector that is read, in bytes.
const SELECTOR_BYTES_MAX: usize = 64 * 1024;

/// Requirements on labels, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

/// Requirements on fields, all of which must hold.
#[derive(Clone, Debug, Default)]
pub(super) struct FieldSelector(Vec<FieldRequirement>);

#[derive(Clone, Debug)]
struct FieldRequirement {
    pointer: &'static str,
    absent: &'static str,
    equal: bool,
    value: String,
}

impl LabelSelector {
    /// Reads `a=b,c!=d,e in (f,g),h,!i,j>1`.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(Failure::bad_request(format!("labelSelector: longer than {SELECTOR_BYTES_MAX} bytes")));
        }
        let failed = |why: String| Failure::bad_request(format!("unable to parse requirement: {why} in {text:?}"));
        let mut tokens = Tokens { rest: text }.peekable();
        let mut requirements = Vec::new();
        while tokens.peek().is_some() {
            requirements.push(requirement(&mut tokens).map_err(failed)?);
            match tokens.next() {
                None => break,
                Some(",") if tokens.peek().is_some() => {}
                Some(other) => return Err(failed(format!("found {other:?}, expected ','"))),
            }
        }
        Ok(Self(requirements))
    }

    /// Whether an object's labels satisfy it.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = meta::labels(object);
        self.0.iter().all(|requirement| {
            let value = labels.and_then(|labels| labels.get(&requirement.key)).and_then(Value::as_str);
            let number = || value.and_then(|value| value.parse::<i64>().ok());
            match &requirement.operator {
                Operator::Exists => value.is_some(),
                Operator::Absent => value.is_none(),
                Operator::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
                Operator::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
                Operator::Greater(bound) => number().is_some_and(|number| number > *bound),
                Operator::Less(bound) => number().is_some_and(|number| number < *bound),
            }
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Cuts a selector into words and signs.
struct Tokens<'a> {
    rest: &'a str,
}

const SIGNS: [&str; 9] = ["==", "!=", "=", "!", ",", "(", ")", "<", ">"];

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() {
            return None;
        }
        let sign = SIGNS.iter().find(|sign| self.rest.starts_with(**sign)).map(|sign| sign.len());
        let end = sign.unwrap_or_else(|| {
            self.rest
                .find(|letter: char| letter.is_whitespace() || "=!,()<>".contains(letter))
                .unwrap_or(self.rest.len())
        });
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(token)
    }
}

fn is_sign(token: &str) -> bool {
    SIGNS.contains(&token)
}

fn requirement<'a>(tokens: &mut std::iter::Peekable<Tokens<'a>>) -> Result<Requirement, String> {
    let mut first = tokens.next().unwrap_or("");
    let absent = first == "!";
    if absent {
        first = tokens.next().unwrap_or("");
    }
    names::qualified(first).map_err(|rule| format!("key {first:?}: {rule}"))?;
    let key = first.to_owned();
    if absent {
        return Ok(Requirement { key, operator: Operator::Absent });
    }
    let operator = match tokens.peek().copied() {
        None | Some(",") => Operator::Exists,
        Some(word) => {
            tokens.next();
            match word {
                "=" | "==" => Operator::In(vec![value(tokens)?]),
                "!=" => Operator::NotIn(vec![value(tokens)?]),
                "in" => Operator::In(values(tokens)?),
                "notin" => Operator::NotIn(values(tokens)?),
                ">" => Operator::Greater(bound(tokens)?),
                "<" => Operator::Less(bound(tokens)?),
                other => return Err(format!("found {other:?}, expected: in, notin, =, ==, !=, >, <")),
            }
        }
    };
    Ok(Requirement { key, operator })
}

fn value<'a>(tokens: &mut std::iter::Peekable<Tokens<'a>>) -> Result<String, String> {
    let value = match tokens.peek().copied() {
        None | Some(",") | Some(")") => "",
        Some(sign) if is_sign(sign) => return Err(format!("found {sign:?}, expected a value")),
        Some(word) => {
            tokens.next();
            word
        }
    };
    names::label_value(value).map_err(|rule| format!("value {value:?}: {rule}"))?;
    Ok(value.to_owned())
}

fn values<'a>(tokens: &mut std::iter::Peekable<Tokens<'a>>) -> Result<Vec<String>, String> {
    if tokens.next() != Some("(") {
        return Err("expected '(' after 'in' or 'notin'".to_owned());
    }
    let mut values = vec![value(tokens)?];
    loop {
        match tokens.next() {
            Some(",") => values.push(value(tokens)?),
            Some(")") => return Ok(values),
            other => return Err(format!("found {:?}, expected ',' or ')'", other.unwrap_or(""))),
        }
    }
}

fn bound<'a>(tokens: &mut std::iter::Peekable<Tokens<'a>>) -> Result<i64, String> {
    let text = tokens.next().unwrap_or("");
    text.parse().map_err(|_| format!("found {text:?}, expected a number"))
}

impl FieldSelector {
    /// Reads `a=b,c!=d` with the fields that the kind has.
    pub(super) fn parse(text: &str, resource: &Resource) -> Result<Self, Failure> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(Failure::bad_request(format!("fieldSelector: longer than {SELECTOR_BYTES_MAX} bytes")));
        }
        let requirements = split_terms(text).into_iter().filter(|term| !term.is_empty());
        requirements.map(|term| field_requirement(&term, resource)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an object's fields satisfy it.
    pub(super) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|requirement| {
            let equal = match object.pointer(requirement.pointer) {
                Some(Value::String(text)) => *text == requirement.value,
                None | Some(Value::Null) => requirement.value == requirement.absent,
                Some(Value::Bool(flag)) => requirement.value == if *flag { "true" } else { "false" },
                Some(other) => format!("{other}") == requirement.value,
            };
            equal == requirement.equal
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Selects one object by its name.
    pub(super) fn name(name: &str) -> Self {
        Self(vec![FieldRequirement { pointer: "/metadata/name", absent: "", equal: true, value: name.to_owned() }])
    }

    /// Both selectors.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

/// Splits at commas that no backslash stands before; backslashes are taken away.
fn split_terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for letter in text.chars() {
        match letter {
            '\\' if !escaped => escaped = true,
            ',' if !escaped => terms.push(String::new()),
            _ => {
                escaped = false;
                terms.last_mut().into_iter().for_each(|term| term.push(letter));
            }
        }
    }
    terms
}

fn field_requirement(term: &str, resource: &Resource) -> Result<FieldRequirement, Failure> {
    let split = term.find(['=', '!']);
    let (label, rest) = term.split_at(split.unwrap_or(term.len()));
    let sign = ["==", "!=", "="].into_iter().find_map(|sign| Some((sign, rest.strip_prefix(sign)?)));
    let Some((sign, value)) = sign else {
        return Err(Failure::bad_request(format!(
            "invalid field selector: {term:?}; can't understand it, expected field=value or field!=value"
        )));
    };
    let (pointer, absent) = match label {
        "metadata.name" => ("/metadata/name", ""),
        "metadata.namespace" if resource.namespaced => ("/metadata/namespace", ""),
        _ => match resource.fields.iter().find(|field| field.label == label) {
            Some(field) => (field.pointer, field.absent),
            None => return Err(Failure::bad_request(format!("field label not supported: {label}"))),
        },
    };
    Ok(FieldRequirement { pointer, absent, equal: sign != "!=", value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api;

    fn check(selector: &str, expected: Result<bool, ()>) {
        let object = json!({ "metadata": { "labels": { "app": "web", "tier": "front", "n": "5" } } });
        let found = LabelSelector::parse(selector).map(|selector| selector.matches(&object)).map_err(|_| ());
        assert_eq!(found, expected, "{selector:?}");
    }

    #[test]
    fn label_selectors() {
        for yes in [
            "",
            "app",
            "app=web",
            "app==web",
            "app = web , tier",
            "app!=x",
            "nope!=x",
            "!nope",
            "app in (a, web)",
            "nope notin (a)",
            "app notin (a,b)",
            "n>4",
            "n<6",
            "app in (web),tier in (front,)",
        ] {
            check(yes, Ok(true));
        }
        for no in [
            "app=",
            "nope",
            "!app",
            "app!=web",
            "app in (a,b)",
            "app notin (web)",
            "n>5",
            "tier<3",
            "app=web,tier=back",
        ] {
            check(no, Ok(false));
        }
        for bad in ["=", "a b", "a=b=c", "a in b", "a in (b", "a,", ",a", "-a", "a>x", "a in ()x", "a=-", "!", "a=b,,c"]
        {
            check(bad, Err(()));
        }
    }

    #[test]
    fn field_selectors() {
        let pods = api::find("", "v1", "pods").unwrap();
        let pod = json!({ "metadata": { "name": "p" }, "spec": { "nodeName": "n", "hostNetwork": true }, "status": { "phase": "Running" } });
        let check = |selector: &str, expected: Option<bool>| {
            assert_eq!(
                FieldSelector::parse(selector, pods).ok().map(|selector| selector.matches(&pod)),
                expected,
                "{selector:?}"
            );
        };
        check("metadata.name=p,status.phase!=Failed", Some(true));
        check("spec.nodeName==n,spec.hostNetwork=true", Some(true));
        check("spec.nodeName=", Some(false));
        check("status.podIP=", Some(true));
        check("metadata.labels=x", None);
        check("status.phase", None);
        check("metadata.name=a\\,b", Some(false));
    }
}
