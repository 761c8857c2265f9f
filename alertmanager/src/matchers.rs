//! Matchers as routes, inhibitions, silences and API filters write them: `name op "value"`, comma-separated, in braces
//! or not; values may stand without quotes.

use model::matcher::{MatchOp, Matcher};
use model::pattern::PatternError;

/// The text is no list of matchers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatcherError {
    /// Something else stands where something was expected.
    #[error("bad matcher format: {text:?}: expected {expected} at byte {offset}")]
    Format {
        /// The whole text.
        text: String,
        /// What should have stood there.
        expected: &'static str,
        /// Where.
        offset: usize,
    },
    /// A value is no regular expression.
    #[error("{text:?}: {source}")]
    Pattern {
        /// The whole text.
        text: String,
        /// What is wrong.
        source: PatternError,
    },
}

/// Parses a list of matchers; an empty list is allowed.
///
/// # Errors
/// See [`MatcherError`].
pub fn parse(text: &str) -> Result<Vec<Matcher>, MatcherError> {
    let inner = text.trim();
    let braced = inner.strip_prefix('{').map(|rest| rest.strip_suffix('}'));
    let inner = match braced {
        None => inner,
        Some(Some(inner)) => inner,
        Some(None) => return Err(fault(text, "'}'", text.len())),
    };
    let mut matchers = Vec::new();
    let mut rest = inner.trim_start();
    while !rest.is_empty() {
        let offset = text.len().saturating_sub(rest.len());
        let (matcher, tail) = one(text, rest, offset)?;
        matchers.push(matcher);
        let tail = tail.trim_start();
        rest = match tail.strip_prefix(',') {
            Some(tail) => tail.trim_start(),
            None if tail.is_empty() => tail,
            None => return Err(fault(text, "','", text.len().saturating_sub(tail.len()))),
        };
    }
    Ok(matchers)
}

fn fault(text: &str, expected: &'static str, offset: usize) -> MatcherError {
    MatcherError::Format { text: text.to_owned(), expected, offset }
}

fn one<'a>(text: &str, rest: &'a str, offset: usize) -> Result<(Matcher, &'a str), MatcherError> {
    let (name, tail) = word(rest, &['=', '!', '~', ',']).ok_or_else(|| fault(text, "a closing quote", offset))?;
    if name.is_empty() {
        return Err(fault(text, "a label name", offset));
    }
    let tail = tail.trim_start();
    let ops = [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];
    let found = ops.iter().find_map(|(op, kind)| Some((*kind, tail.strip_prefix(op)?)));
    let at = offset + rest.len() - tail.len();
    let (op, tail) = found.ok_or_else(|| fault(text, "one of = != =~ !~", at))?;
    let tail = tail.trim_start();
    let (value, tail) = word(tail, &[',']).ok_or_else(|| fault(text, "a closing quote", at))?;
    let matcher =
        Matcher::new(&name, op, &value).map_err(|source| MatcherError::Pattern { text: text.to_owned(), source })?;
    Ok((matcher, tail))
}

/// A quoted string, or what stands before one of `ends`, without the blanks after it.
fn word<'a>(text: &'a str, ends: &[char]) -> Option<(String, &'a str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(ends).unwrap_or(text.len());
        let (word, tail) = text.split_at(end);
        return Some((word.trim_end().to_owned(), tail));
    };
    let mut out = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, quoted.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                c @ ('"' | '\\') => out.push(c),
                c => out.extend(['\\', c]),
            },
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let check = |text: &str, expected: &[&str]| {
            let matchers: Vec<String> = parse(text).unwrap().iter().map(ToString::to_string).collect();
            assert_eq!(matchers, expected, "{text}");
        };
        check("", &[]);
        check("{}", &[]);
        check(r#"a="b""#, &[r#"a="b""#]);
        check(
            r#"{a = b , c=~"d|e",f!~g.*, "h i"!="j\"k",}"#,
            &[r#"a="b""#, r#"c=~"d|e""#, r#"f!~"g.*""#, r#""h i"!="j\"k""#],
        );
        check("a=", &[r#"a="""#]);
    }

    #[test]
    fn says_what_is_missing() {
        for (text, expected) in [
            ("{a=b", "'}'"),
            ("a", "one of"),
            ("=b", "a label name"),
            ("a=\"b", "a closing quote"),
            ("a=\"b\" c=d", "','"),
        ] {
            assert!(parse(text).unwrap_err().to_string().contains(expected), "{text}");
        }
        assert!(matches!(parse("a=~("), Err(MatcherError::Pattern { .. })));
    }
}
