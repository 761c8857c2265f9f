//! What follows an operand: ranges, subqueries, `offset`, `@`, `anchored`, `smoothed`.

use super::{Parsed, Parser};
use crate::ast::{At, Expr, Extension, Length, RangeSelector, Shift, Subquery};
use crate::token::{Kind, Span, Token};

const LENGTHS: &str = "number, duration, step(), or range()";
/// Upstream's bounds of a duration, in seconds.
pub(super) const DURATION_SECONDS_MAX: f64 = 9_223_372_036.854_776;

impl Parser<'_> {
    pub(super) fn postfix(&mut self, mut expr: Expr) -> Parsed<Expr> {
        loop {
            expr = match self.kind() {
                Kind::LeftBracket => self.range_or_subquery(expr)?,
                Kind::Offset => self.offset(expr)?,
                Kind::At => self.at(expr)?,
                Kind::Anchored => self.extension(expr, Extension::Anchored, "anchored"),
                Kind::Smoothed => self.extension(expr, Extension::Smoothed, "smoothed"),
                _ => return Ok(expr),
            };
        }
    }

    fn range_or_subquery(&mut self, expr: Expr) -> Parsed<Expr> {
        let open = self.next();
        let range = self.within("subquery or range selector", LENGTHS, Self::positive_length)?;
        match self.kind() {
            Kind::RightBracket => {
                let close = self.next();
                Ok(self.range(expr, range, open, close))
            }
            Kind::Colon => {
                self.next();
                self.subquery(expr, range)
            }
            _ => Err(self.unexpected_in("subquery or range", "\":\" or \"]\"")),
        }
    }

    fn subquery(&mut self, expr: Expr, range: Length) -> Parsed<Expr> {
        let expected = "number, duration, step(), range(), or \"]\"";
        let step = match self.kind() {
            Kind::RightBracket => None,
            _ => Some(self.within("subquery selector", expected, Self::positive_length)?),
        };
        let Some(close) = self.take(Kind::RightBracket) else {
            return Err(self.unexpected_in("subquery selector", "\"]\""));
        };
        let span = expr.span().to(close.span);
        Ok(Expr::Subquery(Box::new(Subquery { expr, range, step, shift: Shift::default(), span })))
    }

    fn range(&mut self, expr: Expr, range: Length, open: Token, close: Token) -> Expr {
        let brackets = open.span.to(close.span);
        let message = match &expr {
            Expr::Selector(s) if s.shift.offset.is_some() => "no offset modifiers allowed before range",
            Expr::Selector(s) if s.shift.at.is_some() => "no @ modifiers allowed before range",
            Expr::Selector(_) => "",
            _ => "ranges only allowed for vector selectors",
        };
        if !message.is_empty() {
            self.fault(brackets, message);
        }
        match expr {
            Expr::Selector(selector) => {
                let span = selector.span.to(close.span);
                Expr::Range(Box::new(RangeSelector { selector: *selector, range, span }))
            }
            other => other,
        }
    }

    fn offset(&mut self, mut expr: Expr) -> Parsed<Expr> {
        self.next();
        let offset = self.within("offset", LENGTHS, Self::offset_length)?;
        let end = self.last_end();
        let whole = expr.span();
        let subject = "instant vector selector or range vector selector or a subquery";
        let Some((shift, span)) = shift_of(&mut expr) else {
            self.fault(whole, format!("offset modifier must be preceded by an {subject}"));
            return Ok(expr);
        };
        let twice = shift.offset.is_some();
        span.end = end;
        // An offset of zero counts as none, as upstream has it.
        if !matches!(offset, Length::Fixed(0)) {
            shift.offset = Some(offset);
        }
        if twice {
            self.fault(whole, "offset may not be set multiple times");
        }
        Ok(expr)
    }

    fn at(&mut self, mut expr: Expr) -> Parsed<Expr> {
        self.next();
        let whole = expr.span();
        let at = self.within("@", "timestamp", |parser| parser.at_time(whole))?;
        let end = self.last_end();
        let subject = "instant vector selector or range vector selector or a subquery";
        let Some((shift, span)) = shift_of(&mut expr) else {
            self.fault(whole, format!("@ modifier must be preceded by an {subject}"));
            return Ok(expr);
        };
        if shift.at.is_some() {
            self.fault(whole, "@ <timestamp> may not be set multiple times");
            return Ok(expr);
        }
        shift.at = Some(at);
        span.end = end;
        Ok(expr)
    }

    fn at_time(&mut self, whole: Span) -> Parsed<At> {
        match self.kind() {
            Kind::Start | Kind::End => {
                let at = if self.next().kind == Kind::Start { At::Start } else { At::End };
                self.expect(Kind::LeftParen)?;
                self.expect(Kind::RightParen)?;
                return Ok(at);
            }
            _ => {}
        }
        let negative = match self.kind() {
            Kind::Add | Kind::Sub => self.next().kind == Kind::Sub,
            _ => false,
        };
        if !matches!(self.kind(), Kind::Number | Kind::Duration) {
            return Err(self.unexpected());
        }
        let value = self.number_literal().value;
        let seconds = if negative { -value } else { value };
        const BOUND: f64 = i64::MAX as f64;
        if !(seconds > -BOUND && seconds < BOUND) {
            let shown = if seconds.is_finite() { format!("{seconds:.6}") } else { model::number::print_float(seconds) };
            self.fault(whole, format!("timestamp out of bounds for @ modifier: {shown}"));
        }
        Ok(At::Timestamp((seconds * 1000.0).round() as i64))
    }

    fn extension(&mut self, mut expr: Expr, extension: Extension, word: &str) -> Expr {
        self.next();
        let whole = expr.span();
        if !self.options.extended_range_selectors {
            self.fault(whole, format!("{word} modifier is experimental and not enabled"));
            return expr;
        }
        let selector = match &mut expr {
            Expr::Selector(selector) => selector.as_mut(),
            Expr::Range(range) => &mut range.selector,
            Expr::Subquery(_) => {
                self.fault(whole, format!("{word} modifier is not supported for subqueries"));
                return expr;
            }
            _ => {
                self.fault(whole, format!("{word} modifier not implemented"));
                return expr;
            }
        };
        let clash = selector.extension != Extension::None && selector.extension != extension;
        selector.extension = extension;
        if clash {
            self.fault(whole, "anchored and smoothed modifiers cannot be used together");
        }
        expr
    }
}

/// What `offset` and `@` change: the modifiers, and the span that grows over them.
fn shift_of(expr: &mut Expr) -> Option<(&mut Shift, &mut Span)> {
    match expr {
        Expr::Selector(selector) => Some((&mut selector.shift, &mut selector.span)),
        Expr::Range(range) => Some((&mut range.selector.shift, &mut range.span)),
        Expr::Subquery(subquery) => Some((&mut subquery.shift, &mut subquery.span)),
        _ => None,
    }
}
