//! What differs between two lists of alerts, as JSON in colours: added green, removed red, changed yellow.

use std::collections::BTreeSet;

use model::labels::Labels;

use super::report::ShownAlert;

const ADDED: &str = "\x1b[0;32m";
const REMOVED: &str = "\x1b[0;31m";
const CHANGED: &str = "\x1b[0;33m";
const END: &str = "\x1b[0m";
const INDENT: &str = "    ";

/// Both lists in one, with what is only in one of them or different in both marked. An empty list stands for one alert
/// without labels, as promtool has it.
pub(super) fn difference(expected: &[ShownAlert], found: &[ShownAlert]) -> String {
    let none = [ShownAlert { labels: Labels::empty(), annotations: Labels::empty() }];
    let expected = if expected.is_empty() { &none } else { expected };
    let found = if found.is_empty() { &none } else { found };
    let count = expected.len().max(found.len());
    let alerts: Vec<String> = (0..count)
        .map(|i| match (expected.get(i), found.get(i)) {
            (Some(expected), Some(found)) => both(expected, found),
            (Some(only), None) => marked(REMOVED, &both(only, only)),
            (None, Some(only)) => marked(ADDED, &both(only, only)),
            (None, None) => String::new(),
        })
        .collect();
    list('[', &alerts, ']')
}

fn both(expected: &ShownAlert, found: &ShownAlert) -> String {
    let parts = [
        format!("\"Annotations\": {}", labels(&expected.annotations, &found.annotations)),
        format!("\"Labels\": {}", labels(&expected.labels, &found.labels)),
    ];
    list('{', &parts, '}')
}

fn labels(expected: &Labels, found: &Labels) -> String {
    let names: BTreeSet<&str> = expected.iter().chain(found.iter()).map(|(name, _)| name).collect();
    let quote = model::quote::quote;
    let parts: Vec<String> = names
        .into_iter()
        .map(|name| match (expected.get(name), found.get(name)) {
            (Some(a), Some(b)) if a == b => format!("{}: {}", quote(name), quote(a)),
            (Some(a), Some(b)) => {
                format!("{}: {}", quote(name), marked(CHANGED, &format!("{} => {}", quote(a), quote(b))))
            }
            (Some(a), None) => marked(REMOVED, &format!("{}: {}", quote(name), quote(a))),
            (None, b) => marked(ADDED, &format!("{}: {}", quote(name), quote(b.unwrap_or_default()))),
        })
        .collect();
    list('{', &parts, '}')
}

/// Each line by itself, behind what it is indented by.
fn marked(colour: &str, text: &str) -> String {
    let line = |line: &str| {
        let shown = line.trim_start();
        let indent = line.strip_suffix(shown).unwrap_or_default();
        format!("{indent}{colour}{shown}{END}")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn list(open: char, items: &[String], close: char) -> String {
    if items.is_empty() {
        return format!("{open}{close}");
    }
    let inner = super::report::indented(&items.join(",\n"), INDENT);
    format!("{open}\n{INDENT}{inner}\n{close}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::labels;

    #[test]
    fn what_differs_is_marked() {
        let alert = |labels: Labels| ShownAlert { labels, annotations: Labels::empty() };
        let a = alert(labels! { "a" => "1", "b" => "2", "c" => "3" });
        let b = alert(labels! { "a" => "1", "b" => "4", "d" => "5" });
        let text = difference(&[a], &[b]);
        let inner = [
            "            \"a\": \"1\",",
            "            \"b\": \x1b[0;33m\"2\" => \"4\"\x1b[0m,",
            "            \x1b[0;31m\"c\": \"3\"\x1b[0m,",
            "            \x1b[0;32m\"d\": \"5\"\x1b[0m",
        ];
        let expected = format!(
            "[\n    {{\n        \"Annotations\": {{}},\n        \"Labels\": {{\n{}\n        }}\n    }}\n]",
            inner.join("\n")
        );
        assert_eq!(text, expected);
    }
}
