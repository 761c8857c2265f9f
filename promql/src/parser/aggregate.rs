//! Aggregations and the label lists of their modifiers.

use super::{Parsed, Parser};
use crate::ast::{Aggregate, AggregateOp, Expr};
use crate::token::{Kind, Span};

impl Parser<'_> {
    /// Whether an aggregation's name stands before its arguments or modifier; else it is a metric's name.
    pub(super) fn aggregation_follows(&self) -> bool {
        matches!(self.following(), Kind::LeftParen | Kind::By | Kind::Without)
    }

    pub(super) fn aggregation(&mut self) -> Parsed<Expr> {
        let name = self.next();
        self.within("aggregation", "", |parser| {
            let before = parser.aggregate_modifier()?;
            let args = parser.arguments()?;
            let after = if before.is_none() { parser.aggregate_modifier()? } else { None };
            let (without, grouping) = before.or(after).unwrap_or_default();
            let span = Span { start: name.span.start, end: parser.last_end() };
            parser.assemble(name.kind, span, without, grouping, args)
        })
    }

    /// `by (...)` or `without (...)`: whether it leaves out, and the labels.
    fn aggregate_modifier(&mut self) -> Parsed<Option<(bool, Vec<String>)>> {
        let without = match self.kind() {
            Kind::By => false,
            Kind::Without => true,
            _ => return Ok(None),
        };
        self.next();
        Ok(Some((without, self.grouping_labels()?)))
    }

    fn assemble(
        &mut self,
        kind: Kind,
        span: Span,
        without: bool,
        grouping: Vec<String>,
        args: Vec<Expr>,
    ) -> Parsed<Expr> {
        let Some(op) = AggregateOp::of(kind) else { return Err(self.unexpected()) };
        if args.is_empty() {
            self.fault(span, "no arguments for aggregate expression provided");
            return Err(super::Stop);
        }
        if op.is_experimental() && !self.options.experimental_functions {
            let flag = "--enable-feature=promql-experimental-functions";
            self.fault(span, format!("{}() is experimental and must be enabled with {flag}", op.as_str()));
            return Err(super::Stop);
        }
        let desired = if op.takes_param() { 2 } else { 1 };
        if args.len() != desired {
            let found = args.len();
            let message = "wrong number of arguments for aggregate expression provided";
            self.fault(span, format!("{message}, expected {desired}, got {found}"));
            return Err(super::Stop);
        }
        let mut args = args.into_iter();
        let param = if op.takes_param() { args.next() } else { None };
        let Some(expr) = args.next() else { return Err(super::Stop) };
        Ok(Expr::Aggregate(Box::new(Aggregate { op, expr, param, grouping, without, span })))
    }

    /// `(a, "b.c", ...)`, a comma at the end allowed.
    pub(super) fn grouping_labels(&mut self) -> Parsed<Vec<String>> {
        if self.take(Kind::LeftParen).is_none() {
            return Err(self.unexpected_in("grouping opts", "\"(\""));
        }
        let mut labels = Vec::new();
        if self.take(Kind::RightParen).is_some() {
            return Ok(labels);
        }
        loop {
            labels.push(self.grouping_label()?);
            if self.take(Kind::Comma).is_none() {
                break;
            }
            if self.kind() == Kind::RightParen {
                break;
            }
        }
        match self.take(Kind::RightParen) {
            Some(_) => Ok(labels),
            None => Err(self.unexpected_in("grouping opts", "\",\" or \")\"")),
        }
    }

    fn grouping_label(&mut self) -> Parsed<String> {
        let token = self.token();
        let label = match token.kind {
            Kind::String => self.unquoted(token),
            kind if kind.names_label() => self.text_of(token).to_owned(),
            _ => return Err(self.unexpected_in("grouping opts", "label")),
        };
        self.next();
        if label.is_empty() {
            self.fault(token.span, format!("invalid label name for grouping: {}", model::quote::quote(&label)));
        }
        Ok(label)
    }
}
