//! Matchers: one condition on one label, compiled once.

use std::fmt;
use std::sync::Arc;

use crate::labels::{Labels, print_name};
use crate::pattern::{Pattern, PatternError};
use crate::quote::quote;

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regex,
    /// `!~`, anchored at both ends
    NotRegex,
}

impl MatchOp {
    /// The operator as written.
    pub fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

/// A condition on one label. An absent label counts as the empty string.
#[derive(Clone)]
pub struct Matcher {
    name: Arc<str>,
    op: MatchOp,
    value: Arc<str>,
    /// Present exactly for the two regular-expression operators.
    pattern: Option<Arc<Pattern>>,
}

impl Matcher {
    /// Compiles a matcher.
    ///
    /// # Errors
    /// If `op` takes a regular expression and `value` is not one.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, PatternError> {
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Arc::new(Pattern::new(value)?)),
        };
        Ok(Self { name: name.into(), op, value: value.into(), pattern })
    }

    /// `name="value"`.
    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None }
    }

    /// `name!="value"`.
    pub fn not_equal(name: &str, value: &str) -> Self {
        Self { name: name.into(), op: MatchOp::NotEqual, value: value.into(), pattern: None }
    }

    /// The label it looks at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with, as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The compiled expression of `=~` and `!~`.
    pub fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_deref()
    }

    /// Whether a label with this value is accepted.
    pub fn matches(&self, value: &str) -> bool {
        match self.op {
            MatchOp::Equal => *self.value == *value,
            MatchOp::NotEqual => *self.value != *value,
            MatchOp::Regex => self.pattern_matches(value),
            MatchOp::NotRegex => !self.pattern_matches(value),
        }
    }

    fn pattern_matches(&self, value: &str) -> bool {
        self.pattern.as_ref().is_some_and(|p| p.is_match(value))
    }

    /// Whether series without the label are accepted.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Whether a whole label set is accepted.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.name == other.name && self.value == other.value
    }
}

impl Eq for Matcher {}

impl std::hash::Hash for Matcher {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.name, self.op, &self.value).hash(state);
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", print_name(&self.name), self.op.as_str(), quote(&self.value))
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_label_counts_as_empty() {
        let accepts = |op, value: &str| Matcher::new("a", op, value).unwrap().matches_empty();
        assert!(accepts(MatchOp::Equal, ""));
        assert!(accepts(MatchOp::NotEqual, "x"));
        assert!(accepts(MatchOp::Regex, ".*") && !accepts(MatchOp::Regex, ".+"));
        assert!(accepts(MatchOp::NotRegex, "x") && !accepts(MatchOp::NotRegex, "x?"));
    }

    #[test]
    fn expressions_are_anchored() {
        let matcher = Matcher::new("a", MatchOp::Regex, "b|c").unwrap();
        assert!(matcher.matches("b") && matcher.matches("c") && !matcher.matches("bc") && !matcher.matches("xb"));
        assert_eq!(matcher.to_string(), r#"a=~"b|c""#);
        assert!(Matcher::new("a", MatchOp::Regex, "(").is_err());
    }
}
