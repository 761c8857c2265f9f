//! Rule files by pattern: `*`, `?` and `[...]` within the parts of a path.

use std::path::{Component, Path, PathBuf};

/// Existing files that a pattern stands for, in order of their names; relative patterns start at `base`.
pub(super) fn matching(base: &Path, pattern: &str) -> Vec<PathBuf> {
    let pattern = Path::new(pattern);
    let mut found = vec![if pattern.is_absolute() { PathBuf::new() } else { base.to_path_buf() }];
    for part in pattern.components() {
        found = match part {
            Component::Normal(name) => {
                let name = name.to_string_lossy();
                found.into_iter().flat_map(|folder| inside(&folder, &name)).collect()
            }
            other => found.into_iter().map(|folder| folder.join(other)).collect(),
        };
    }
    found.retain(|path| path.exists());
    found
}

fn inside(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    if !pattern.contains(['*', '?', '[', '\\']) {
        return vec![folder.join(pattern)];
    }
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(listed) else { return Vec::new() };
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| matches(pattern, name)).collect();
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// Whether a name matches, as Go's `filepath.Match` has it.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    matches_from(&pattern, &name)
}

fn matches_from(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=name.len()).any(|skipped| matches_from(rest, &name[skipped..])),
        (['?', rest @ ..], [_, tail @ ..]) => matches_from(rest, tail),
        (['[', rest @ ..], [c, tail @ ..]) => match class(rest, *c) {
            Some((true, rest)) => matches_from(rest, tail),
            _ => false,
        },
        (['\\', escaped, rest @ ..], [c, tail @ ..]) => escaped == c && matches_from(rest, tail),
        ([literal, rest @ ..], [c, tail @ ..]) => literal == c && matches_from(rest, tail),
        _ => false,
    }
}

/// Whether a character is in the class that `pattern` begins with, and what follows the class.
fn class(pattern: &[char], c: char) -> Option<(bool, &[char])> {
    let (negated, mut rest) = match pattern {
        ['^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut found = false;
    let mut first = true;
    loop {
        match rest {
            [']', tail @ ..] if !first => return Some((found != negated, tail)),
            [low, '-', high, tail @ ..] if *high != ']' => {
                found |= (*low..=*high).contains(&c);
                rest = tail;
            }
            [one, tail @ ..] => {
                found |= *one == c;
                rest = tail;
            }
            [] => return None,
        }
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_go() {
        for (pattern, name, expected) in [
            ("*.yml", "rules.yml", true),
            ("*.yml", "rules.yaml", false),
            ("r?les*", "rules", true),
            ("[a-r]ules", "rules", true),
            ("[^r]ules", "rules", false),
            ("\\*", "*", true),
            ("[", "[", false),
            ("a*b*c", "aXbYbZc", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
