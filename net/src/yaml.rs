//! All faults in the shape of a configuration file at once, each with its place and, for a key that does not exist, the
//! nearest that does.
//!
//! The YAML library stops at the first fault. So the entry it is in is taken out of the text, lines keep their numbers,
//! and the text is read again, until it has the right shape or [`FAULTS_MAX`] were found.

use serde::de::DeserializeOwned;
use serde_saphyr::Error;

/// How many faults are looked for.
pub const FAULTS_MAX: usize = 32;

/// How the message of a value ends that must not be left out once its key is there.
const CANNOT_BE_EMPTY: &str = "cannot be empty";
/// How many keys without a value are taken for absent ones where their type needs one.
pub const NULLS_MAX: usize = if cfg!(test) { 20 } else { 1_000 };

/// What is wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line and column, counted from 1, if they are known.
    pub place: Option<(u64, u64)>,
    /// What is wrong. The text around it is not quoted: it may hold secrets.
    pub message: String,
}

impl Fault {
    /// With the file's name, as compilers print places.
    pub fn in_file(&self, file: &str) -> String {
        match self.place {
            Some((line, column)) => format!("{file}:{line}:{column}: {}", self.message),
            None => format!("{file}: {}", self.message),
        }
    }

    fn of(error: &Error) -> Self {
        let place = error.location().map(|place| (place.line(), place.column()));
        let message = match error.without_snippet() {
            Error::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
            Error::SerdeUnknownVariant { variant, expected, .. } => unknown("value", variant, expected),
            // What follows the first line is an excerpt.
            other => {
                let text = other.to_string();
                let first = text.lines().next().unwrap_or("");
                let told = place.map(|(line, column)| format!(" at line {line}, column {column}"));
                in_words(told.and_then(|told| first.strip_suffix(&told)).unwrap_or(first)).to_owned()
            }
        };
        Self { place, message }
    }

    /// With the key whose value it is of, if that stands before it on its line and is not named yet.
    fn with_key(mut self, lines: &[String]) -> Self {
        let key = self.place.and_then(|(line, column)| {
            let line = lines.get(usize::try_from(line).ok()?.checked_sub(1)?)?;
            let before = from_start(line, usize::try_from(column).ok()?.saturating_sub(1));
            let name = before.get(..before.rfind(": ")?)?;
            let start = name.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |at| at + 1);
            name.get(start..).filter(|name| !name.is_empty())
        });
        if let Some(key) = key.filter(|key| !self.message.contains(*key)) {
            self.message = format!("{key}: {}", self.message);
        }
        self
    }
}

/// What the library says of types, in words of who writes the file.
fn in_words(message: &str) -> &str {
    let is_integer = |kind: &str| kind.strip_prefix(['u', 'i']).is_some_and(|bits| bits.parse::<u8>().is_ok());
    match message {
        "expected mapping start" => "expected a map of keys",
        "expected sequence start" => "expected a list",
        "invalid boolean" => "expected true or false",
        "invalid f64" => "expected a number",
        "cannot deserialize null into string; use Option<String>" => "expected a text, got nothing",
        _ if message.strip_prefix("invalid ").is_some_and(is_integer) => "expected a whole number",
        // What follows is advice to programs.
        _ => message.split(". If you").next().unwrap_or(message),
    }
}

/// What a text says as far as it has the right shape, and where it has not.
#[derive(Debug)]
pub struct Outcome<T> {
    /// Without the entries that are at fault; `None` if too little is left to read.
    pub value: Option<T>,
    /// Ordered by place; empty if all is well.
    pub faults: Vec<Fault>,
}

/// Reads a text.
pub fn read_all_faults<T: DeserializeOwned>(text: &str) -> Outcome<T> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut faults: Vec<Fault> = Vec::new();
    let mut value = None;
    let mut nulls = 0;
    while faults.len() < FAULTS_MAX {
        let error = match serde_saphyr::from_str::<T>(&lines.join("\n")) {
            Ok(read) => {
                value = Some(read);
                break;
            }
            Err(error) => error,
        };
        let fault = Fault::of(&error).with_key(&lines);
        // What a type says itself of having no value stands.
        let is_told = fault.message.ends_with(CANNOT_BE_EMPTY);
        if nulls < NULLS_MAX
            && !is_told
            && fault.place.is_some_and(|(line, column)| remove_null(&mut lines, line, column))
        {
            nulls += 1;
            continue;
        }
        let place = fault.place;
        let line = |fault: &Fault| fault.place.map(|(line, _)| line);
        let is_repeated =
            faults.last().is_some_and(|before| before.message == fault.message && line(before) == line(&fault));
        // An entry of which the library complains as a whole is taken out whole.
        let is_whole = is_repeated || matches!(error.without_snippet(), Error::SerdeMissingField { .. });
        if !is_repeated {
            faults.push(fault);
        }
        let removed = place.is_some_and(|(line, column)| remove_entry(&mut lines, line, column, is_whole));
        if !removed {
            break;
        }
    }
    faults.sort_by_key(|fault| fault.place);
    Outcome { value, faults }
}

/// Takes a key out that is given without a value, as upstream does; whether there is one at that place.
fn remove_null(lines: &mut [String], line: u64, column: u64) -> bool {
    let at = usize::try_from(line).ok().and_then(|line| lines.get(line.checked_sub(1)?));
    let column = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
    let Some((mut before, mut value)) = at.and_then(|line| line.split_at_checked(column)) else { return false };
    // Where nothing at all is given, the place is that of the colon.
    if let (Some(rest), Some(line)) = (value.strip_prefix(':'), at) {
        (before, value) = (from_start(line, column + 1), rest);
    }
    let is_null = is_blank(value) || matches!(value.trim_end(), "~" | "null" | "Null" | "NULL");
    let (_, key) = starts_of(before);
    let is_key = before.trim_end().ends_with(':') && !from(before, key).starts_with(['{', '[', '#']);
    is_null && is_key && remove_entry(lines, line, key as u64 + 1, false)
}

/// `unknown key "x", did you mean "y"?`, or the list where nothing is near.
fn unknown(what: &str, given: &str, expected: &[&str]) -> String {
    let near = expected.iter().map(|known| (distance(given, known), known)).min();
    match near {
        Some((steps, known)) if steps <= known.len().max(given.len()) / 3 + 1 => {
            format!("unknown {what} {given:?}, did you mean {known:?}?")
        }
        _ if expected.len() <= 8 => format!("unknown {what} {given:?}, expected one of {}", expected.join(", ")),
        _ => format!("unknown {what} {given:?}"),
    }
}

/// How many characters must be changed, put in or left out to come from one text to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let changed = corner + usize::from(from != *to);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Empties the lines of the entry at a place: of the key there, or of the list's item; with `is_whole`, of the one that
/// holds it. `false` if it stands among others on a line.
fn remove_entry(lines: &mut [String], line: u64, column: u64, is_whole: bool) -> bool {
    let Some(mut at) = usize::try_from(line).ok().and_then(|line| line.checked_sub(1)).filter(|at| *at < lines.len())
    else {
        return false;
    };
    let (mut start, mut key) = starts_of(&lines[at]);
    let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    if is_whole || column < key && start == key {
        let Some(parent) = (0..at).rev().find(|i| !is_blank(&lines[*i]) && starts_of(&lines[*i]).0 < key) else {
            return false;
        };
        at = parent;
        (start, key) = starts_of(&lines[at]);
    }
    let is_key = has_key(from(&lines[at], key));
    let indent = if is_key { key } else { start };
    let belongs = |line: &str| {
        let (start, _) = starts_of(line);
        // The items of a list may stand as far out as its key.
        is_blank(line)
            || start > indent
            || is_key && start == indent && from(line, start).starts_with("- ") && start == key
    };
    let end = (at + 1..lines.len()).find(|i| !belongs(&lines[*i])).unwrap_or(lines.len());
    let is_first_of_item = is_key && key > start;
    let has_sibling = end < lines.len() && starts_of(&lines[end]) == (key, key);
    let is_alone = !has_sibling && !has_sibling_before(&lines[..at], key);
    for line in &mut lines[at + 1..end] {
        line.clear();
    }
    let kept = lines[at].get(..key).unwrap_or("").to_owned();
    lines[at] = match (is_first_of_item, has_sibling) {
        (true, true) => kept,
        (true, false) => kept + "{}",
        (false, _) if is_key && is_alone => kept + "{}",
        (false, _) => String::new(),
    };
    true
}

/// Whether the map whose keys begin at `key` has one in the lines before.
fn has_sibling_before(lines: &[String], key: usize) -> bool {
    for line in lines.iter().rev().filter(|line| !is_blank(line)) {
        let (start, own) = starts_of(line);
        let is_of_map = own == key && !from(line, key).trim().is_empty();
        // The item begins with a dash, perhaps one whose key was taken out.
        if own < key || start < key || is_of_map {
            return is_of_map;
        }
    }
    false
}

fn is_blank(line: &str) -> bool {
    let content = line.trim_start();
    content.is_empty() || content.starts_with('#')
}

/// Where a line's content begins, dashes included, and where it begins behind them.
fn starts_of(line: &str) -> (usize, usize) {
    let start = line.len() - line.trim_start_matches(' ').len();
    let mut key = start;
    while let Some(rest) = from(line, key).strip_prefix("- ") {
        key += 2 + rest.len() - rest.trim_start_matches(' ').len();
    }
    (start, key)
}

/// The line up to a place beside a byte of ASCII.
fn from_start(line: &str, end: usize) -> &str {
    line.get(..end).unwrap_or("")
}

/// The line from a place on that one of its blanks or dashes comes before.
fn from(line: &str, at: usize) -> &str {
    line.get(at..).unwrap_or("")
}

fn has_key(content: &str) -> bool {
    !content.starts_with(['{', '[']) && (content.contains(": ") || content.trim_end().ends_with(':'))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        global: Global,
        #[serde(default)]
        scrape_configs: Vec<Job>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Global {
        scrape_interval: String,
        sample_limit: u64,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Job {
        job_name: String,
        honor_labels: bool,
        scheme: Option<Scheme>,
        static_configs: Vec<Group>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Scheme {
        Http,
        Https,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Group {
        targets: Vec<String>,
        labels: std::collections::BTreeMap<String, String>,
    }

    fn faults(text: &str) -> (Option<File>, Vec<String>) {
        let Outcome { value, faults } = read_all_faults::<File>(text);
        (value, faults.iter().map(|fault| fault.in_file("f")).collect())
    }

    #[test]
    fn all_faults_are_told_with_the_nearest_key() {
        let text = "global:\n  scrape_intervall: 15s\n  sample_limit: many\nscrape_configs:\n- job_nam: a\n  \
            static_config:\n  - targets: [a]\n  honor_labels: true\n- jobname: b\n- job_name: c\n  scheme: htp\n  \
            static_configs:\n  - targets: [a]\n    label: {a: b}\nrulefiles: []\n";
        let (value, told) = faults(text);
        let expected = [
            "f:2:3: unknown key \"scrape_intervall\", did you mean \"scrape_interval\"?",
            "f:3:17: sample_limit: expected a whole number",
            "f:5:3: unknown key \"job_nam\", did you mean \"job_name\"?",
            "f:6:3: unknown key \"static_config\", did you mean \"static_configs\"?",
            "f:9:3: unknown key \"jobname\", did you mean \"job_name\"?",
            "f:11:11: scheme: unknown value \"htp\", did you mean \"http\"?",
            "f:14:5: unknown key \"label\", did you mean \"labels\"?",
            "f:15:1: unknown key \"rulefiles\"",
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told} is not {expected}");
        }
        let file = value.expect("the rest can be read");
        assert_eq!(file.scrape_configs.len(), 3);
        assert!(file.scrape_configs[0].honor_labels && file.scrape_configs[2].job_name == "c");
        assert_eq!(file.global, Global::default());
    }

    #[test]
    fn what_cannot_be_taken_out_ends_the_search() {
        assert_eq!(faults("global: {a: 1, b: 2}\nx: 1\n").1.len(), 2, "the line that holds both, and the next");
        let twice = faults("scrape_configs:\n- a: 1\n  honor_labels: x\n- a: 1\n  honor_labels: x\n").1;
        assert_eq!(twice.len(), 4, "the same fault at two places: {twice:?}");
        assert!(!faults("global: \"x\n").1.is_empty() && !faults("a: 1\n".repeat(3).as_str()).1.is_empty());
        let many: String = (0..100).map(|i| format!("key{i}: 1\n")).collect();
        assert_eq!(faults(&many).1.len(), FAULTS_MAX);
        let (value, told) = faults("scrape_configs: []\n");
        assert!(value.is_some() && told.is_empty());
    }

    #[test]
    fn keys_without_a_value_are_as_good_as_absent() {
        let text = "global:\n  scrape_interval: # none\n  sample_limit:\nscrape_configs:\n- job_name: a\n  \
            honor_labels: null\n  scheme: ~\n  static_configs:\n  - targets:\n    labels:\n- honor_labels:\n  job_name: b\n";
        let (value, told) = faults(text);
        assert_eq!(told, Vec::<String>::new());
        let file = value.expect("it is valid");
        assert_eq!((file.global, file.scrape_configs.len()), (Global::default(), 2));
        assert_eq!((file.scrape_configs[0].static_configs.len(), file.scrape_configs[1].job_name.as_str()), (1, "b"));
        assert_eq!(faults("scrape_configs:\n-\n- job_name: a\n").1.len(), 1, "an item is not a key");
        let many: String = (0..NULLS_MAX + 2).map(|i| format!("- job_name: a{i}\n  honor_labels:\n")).collect();
        assert_eq!(faults(&format!("scrape_configs:\n{many}")).1.len(), 2);
    }

    #[test]
    fn distances_are_counted_in_changes() {
        assert_eq!([("", "ab"), ("ab", "ab"), ("kitten", "sitting")].map(|(a, b)| distance(a, b)), [2, 0, 3]);
    }
}
