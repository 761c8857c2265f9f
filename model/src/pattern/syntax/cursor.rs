//! A place in an expression, the errors that name it, and what may still be spent on the result.

use crate::pattern::PatternError;

/// Reads an expression from left to right.
#[derive(Clone)]
pub(super) struct Cursor<'t> {
    text: &'t str,
    /// Bytes read; always at a character's start.
    at: usize,
    /// What may still be spent.
    budget: usize,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str, budget: usize) -> Self {
        Self { text, at: 0, budget }
    }

    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// What is not read yet.
    pub(super) fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn peek_second(&self) -> Option<char> {
        self.rest().chars().nth(1)
    }

    pub(super) fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Reads a character if it is one of those wanted.
    pub(super) fn bump_if(&mut self, wanted: impl FnOnce(char) -> bool) -> Option<char> {
        self.peek().filter(|&c| wanted(c))?;
        self.bump()
    }

    /// Skips `text` if it comes next.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let next = self.rest().starts_with(text);
        if next {
            self.at += text.len();
        }
        next
    }

    /// Skips `bytes` that are known to be ASCII.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Skips to the end.
    pub(super) fn skip_all(&mut self) {
        self.at = self.text.len();
    }

    /// What comes before `end`, which is skipped too, or else the whole rest.
    pub(super) fn take_until(&mut self, end: &str) -> &'t str {
        let rest = self.rest();
        match rest.split_once(end) {
            Some((before, _)) => {
                self.at += before.len() + end.len();
                before
            }
            None => {
                self.skip_all();
                rest
            }
        }
    }

    /// Goes back to an earlier offset.
    pub(super) fn rewind(&mut self, offset: usize) {
        self.at = offset;
    }

    /// The error that what was read from `start` on is wrong.
    pub(super) fn refuse(&self, fault: &str, start: usize) -> PatternError {
        let piece = self.text.get(start..self.at).unwrap_or("");
        PatternError { reason: format!("{fault}: `{piece}`"), offset: start }
    }

    /// The error that everything from `start` on is wrong.
    pub(super) fn refuse_rest(&self, fault: &str, start: usize) -> PatternError {
        let piece = self.text.get(start..).unwrap_or("");
        PatternError { reason: format!("{fault}: `{piece}`"), offset: start }
    }

    /// The error at `offset` that shows the whole expression.
    pub(super) fn refuse_whole(&self, fault: &str, offset: usize) -> PatternError {
        PatternError { reason: format!("{fault}: `{}`", self.text), offset }
    }

    /// Takes `cost` from the budget.
    pub(super) fn spend(&mut self, cost: usize) -> Result<(), PatternError> {
        match self.budget.checked_sub(cost) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(PatternError { reason: "expression too large".into(), offset: self.at }),
        }
    }
}
