//! Lengths of time in brackets and after `offset`: literals, or expressions of them.

use super::postfix::DURATION_SECONDS_MAX;
use super::{Parsed, Parser};
use crate::ast::{BinaryOp, DurationExpr, DurationNode, Length, NumberLiteral};
use crate::token::{Kind, Span, Token};

const LOWEST: u8 = 4;
/// A sign binds like `*`; only `^` is tighter.
const ABOVE_SIGN: u8 = 6;

impl Parser<'_> {
    /// A length that must not be zero or negative if it is known.
    pub(super) fn positive_length(&mut self) -> Parsed<Length> {
        let expr = self.duration_expr(LOWEST)?;
        if let DurationNode::Literal(number) = &expr.node
            && !expr.parenthesized
            && number.value <= 0.0
        {
            self.fault(number.span, "duration must be greater than 0");
        }
        Ok(length(expr))
    }

    /// What follows `offset`. A literal or a call ends it, so that `a offset 5m + b` adds; after closing parentheses
    /// the expression goes on, as in upstream's grammar.
    pub(super) fn offset_length(&mut self) -> Parsed<Length> {
        let signed = |kind| matches!(kind, Kind::Add | Kind::Sub);
        if signed(self.kind()) && signed(self.following()) {
            return Ok(length(self.duration_expr(LOWEST)?));
        }
        let sign = signed(self.kind()).then(|| self.next());
        let simple = self.kind() != Kind::LeftParen;
        let operand = self.duration_operand()?;
        let expr = match sign {
            Some(sign) => self.apply_sign(sign, operand),
            None if simple => operand,
            None => self.duration_chain(operand, LOWEST)?,
        };
        Ok(length(expr))
    }

    fn duration_expr(&mut self, precedence: u8) -> Parsed<DurationExpr> {
        let operand = self.nested(|parser| match parser.kind() {
            Kind::Add | Kind::Sub => {
                let sign = parser.next();
                let operand = parser.duration_expr(ABOVE_SIGN)?;
                Ok(parser.apply_sign(sign, operand))
            }
            _ => parser.duration_operand(),
        })?;
        self.duration_chain(operand, precedence)
    }

    fn duration_chain(&mut self, mut lhs: DurationExpr, precedence: u8) -> Parsed<DurationExpr> {
        loop {
            let token = self.token();
            let op = match token.kind {
                Kind::Add | Kind::Sub | Kind::Mul | Kind::Div | Kind::Mod | Kind::Pow => BinaryOp::of(token.kind),
                _ => None,
            };
            let found = token.kind.binary_precedence().filter(|found| *found >= precedence);
            let (Some(op), Some(found)) = (op, found) else { return Ok(lhs) };
            self.next();
            // `^` is right-associative.
            let rhs = self.duration_expr(if op == BinaryOp::Pow { found } else { found + 1 })?;
            self.experimental(lhs.span);
            let zero = matches!(&rhs.node, DurationNode::Literal(n) if n.value == 0.0 && !rhs.parenthesized);
            match op {
                BinaryOp::Div if zero => self.fault(token.span, "division by zero"),
                BinaryOp::Mod if zero => self.fault(token.span, "modulo by zero"),
                _ => {}
            }
            let span = lhs.span.to(rhs.span);
            let node = DurationNode::Arithmetic(op, Box::new(lhs), Box::new(rhs));
            lhs = DurationExpr { node, parenthesized: false, span };
        }
    }

    fn duration_operand(&mut self) -> Parsed<DurationExpr> {
        let token = self.token();
        match token.kind {
            Kind::Number | Kind::Duration => Ok(self.duration_literal()),
            Kind::Step | Kind::Range => {
                self.next();
                self.expect(Kind::LeftParen)?;
                let close = self.expect(Kind::RightParen)?;
                let node = if token.kind == Kind::Step { DurationNode::Step } else { DurationNode::QueryRange };
                let span = token.span.to(close.span);
                self.experimental(span);
                Ok(DurationExpr { node, parenthesized: false, span })
            }
            Kind::MinOf | Kind::MaxOf => self.duration_call(token),
            Kind::LeftParen => {
                let open = self.next();
                let inner = self.duration_expr(LOWEST)?;
                let close = self.expect(Kind::RightParen)?;
                self.experimental(inner.span);
                Ok(DurationExpr { parenthesized: true, span: open.span.to(close.span), ..inner })
            }
            _ => Err(self.unexpected()),
        }
    }

    /// `min_of(a, b)` or `max_of(a, b)`
    fn duration_call(&mut self, name: Token) -> Parsed<DurationExpr> {
        self.next();
        self.expect(Kind::LeftParen)?;
        let a = Box::new(self.duration_expr(LOWEST)?);
        self.expect(Kind::Comma)?;
        let b = Box::new(self.duration_expr(LOWEST)?);
        let close = self.expect(Kind::RightParen)?;
        let span = name.span.to(close.span);
        self.experimental(span);
        let node = if name.kind == Kind::MinOf { DurationNode::MinOf(a, b) } else { DurationNode::MaxOf(a, b) };
        Ok(DurationExpr { node, parenthesized: false, span })
    }

    fn duration_literal(&mut self) -> DurationExpr {
        let mut number = self.number_literal();
        if !(-DURATION_SECONDS_MAX..=DURATION_SECONDS_MAX).contains(&number.value) {
            self.fault(number.span, "duration out of range");
            number.value = 0.0;
        }
        let span = number.span;
        DurationExpr { node: DurationNode::Literal(number), parenthesized: false, span }
    }

    fn apply_sign(&mut self, sign: Token, operand: DurationExpr) -> DurationExpr {
        let span = Span { start: sign.span.start, end: operand.span.end };
        let negative = sign.kind == Kind::Sub;
        match operand.node {
            DurationNode::Literal(number) if !operand.parenthesized => {
                let value = if negative { -number.value } else { number.value };
                let node = DurationNode::Literal(NumberLiteral { value, span, ..number });
                DurationExpr { node, parenthesized: false, span }
            }
            _ if negative => DurationExpr { node: DurationNode::Minus(Box::new(operand)), parenthesized: false, span },
            _ => operand,
        }
    }

    fn experimental(&mut self, span: Span) {
        if !self.options.duration_expressions {
            self.fault(span, "experimental duration expression is not enabled");
        }
    }
}

/// A bare literal is known; it is rounded to nanoseconds first, as upstream does, then cut to milliseconds.
fn length(expr: DurationExpr) -> Length {
    match &expr.node {
        DurationNode::Literal(number) if !expr.parenthesized => Length::Fixed(milliseconds(number.value)),
        _ => Length::Computed(Box::new(expr)),
    }
}

/// Seconds to whole milliseconds, by way of whole nanoseconds.
pub(crate) fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64 / 1_000_000
}
