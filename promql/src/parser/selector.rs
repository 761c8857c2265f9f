//! Vector selectors: a metric's name, matchers in braces, or both.

use model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};

use super::{Parsed, Parser};
use crate::ast::{Extension, Shift, VectorSelector};
use crate::token::{Kind, Span, Token};

impl Parser<'_> {
    /// A selector that is the whole text.
    pub(super) fn lone_selector(&mut self) -> Parsed<VectorSelector> {
        if self.kind() != Kind::LeftBrace && !self.kind().names_metric() {
            return Err(self.unexpected());
        }
        let selector = self.selector()?;
        self.expect(Kind::Eof)?;
        Ok(selector)
    }

    /// A metric with its labels; what follows is left alone.
    pub(super) fn metric(&mut self) -> Parsed<Labels> {
        let mut labels = LabelsBuilder::new();
        if self.kind().names_metric() {
            let name = self.next();
            labels.set(METRIC_NAME, self.text_of(name));
            if self.kind() != Kind::LeftBrace || self.token().span.start != name.span.end {
                return Ok(labels.build());
            }
        }
        self.expect(Kind::LeftBrace)?;
        while self.kind() != Kind::RightBrace {
            self.label(&mut labels)?;
            if self.take(Kind::Comma).is_none() {
                break;
            }
        }
        match self.take(Kind::RightBrace) {
            Some(_) => Ok(labels.build()),
            None => Err(self.unexpected_in("label set", "\",\" or \"}\"")),
        }
    }

    /// `a="b"`, or a quoted metric name.
    fn label(&mut self, labels: &mut LabelsBuilder) -> Parsed<()> {
        let token = self.token();
        let name = match token.kind {
            Kind::Identifier => self.text_of(token).to_owned(),
            Kind::String => self.unquoted(token),
            _ => return Err(self.unexpected_in("label set", "identifier or \"}\"")),
        };
        self.next();
        if self.take(Kind::Assign).is_none() {
            if token.kind == Kind::String {
                labels.set(METRIC_NAME, &name);
                return Ok(());
            }
            return Err(self.unexpected_in("label set", "\"=\""));
        }
        let value = self.token();
        if value.kind != Kind::String {
            return Err(self.unexpected_in("label set", "string"));
        }
        self.next();
        let value = self.unquoted(value);
        labels.set(&name, &value);
        Ok(())
    }

    pub(super) fn selector(&mut self) -> Parsed<VectorSelector> {
        let start = self.token().span.start;
        let named = self.kind() != Kind::LeftBrace;
        let name = if named {
            let token = self.next();
            self.text_of(token).to_owned()
        } else {
            String::new()
        };
        let mut matchers = if self.kind() == Kind::LeftBrace { self.matchers()? } else { Vec::new() };
        if named {
            matchers.push(Matcher::equal(METRIC_NAME, &name));
        }
        Ok(VectorSelector {
            name,
            matchers,
            shift: Shift::default(),
            extension: Extension::None,
            span: Span { start, end: self.last_end() },
        })
    }

    /// `{a="b", ...}`, a comma at the end allowed.
    fn matchers(&mut self) -> Parsed<Vec<Matcher>> {
        self.expect(Kind::LeftBrace)?;
        let mut matchers = Vec::new();
        if self.take(Kind::RightBrace).is_some() {
            return Ok(matchers);
        }
        loop {
            matchers.extend(self.matcher()?);
            if self.take(Kind::Comma).is_none() || self.kind() == Kind::RightBrace {
                break;
            }
        }
        match self.take(Kind::RightBrace) {
            Some(_) => Ok(matchers),
            None => Err(self.unexpected_in("label matching", "\",\" or \"}\"")),
        }
    }

    /// One matcher, or a quoted metric name. `None` if its expression is recorded as bad.
    fn matcher(&mut self) -> Parsed<Option<Matcher>> {
        let label = self.token();
        if !matches!(label.kind, Kind::Identifier | Kind::String) {
            return Err(self.unexpected_in("label matching", "identifier or \"}\""));
        }
        self.next();
        let name = match label.kind {
            Kind::String => self.unquoted(label),
            _ => self.text_of(label).to_owned(),
        };
        let op = match self.kind() {
            Kind::Assign => MatchOp::Equal,
            Kind::NotEqual => MatchOp::NotEqual,
            Kind::Regex => MatchOp::Regex,
            Kind::NotRegex => MatchOp::NotRegex,
            _ if label.kind == Kind::String => return Ok(Some(Matcher::equal(METRIC_NAME, &name))),
            _ => return Err(self.unexpected_in("label matching", "label matching operator")),
        };
        self.next();
        let value = self.token();
        if value.kind != Kind::String {
            return Err(self.unexpected_in("label matching", "string"));
        }
        self.next();
        Ok(self.compile(label, &name, op, value))
    }

    fn compile(&mut self, label: Token, name: &str, op: MatchOp, value: Token) -> Option<Matcher> {
        let text = self.unquoted(value);
        Matcher::new(name, op, &text).map_err(|error| self.fault(label.span.to(value.span), error.to_string())).ok()
    }
}
