//! Binary operators with their modifiers.

use super::{Parsed, Parser};
use crate::ast::{Binary, BinaryOp, Cardinality, Expr, Matching};
use crate::token::Kind;

impl Parser<'_> {
    /// The operator at hand with its modifiers and right side. `precedence` is the operator's.
    pub(super) fn binary(&mut self, lhs: Expr, precedence: u8) -> Parsed<Expr> {
        let token = self.next();
        let Some(op) = BinaryOp::of(token.kind) else { return Err(self.unexpected()) };
        let return_bool = self.take(Kind::Bool).is_some();
        let mut matching = self.matching()?;
        if op.is_set() && matching.card == Cardinality::OneToOne {
            matching.card = Cardinality::ManyToMany;
        }
        // `^` is right-associative: its right side may hold another one.
        let rhs = self.expression(if op == BinaryOp::Pow { precedence } else { precedence + 1 })?;
        let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
        let binary = Binary { op, lhs, rhs, return_bool, matching: Some(matching) };
        let expr = Expr::Binary(Box::new(binary));
        if filled && !self.options.fill_modifiers {
            self.fault(expr.span(), "binop fill modifiers are experimental and not enabled");
        }
        Ok(expr)
    }

    fn matching(&mut self) -> Parsed<Matching> {
        let mut matching = Matching::default();
        let on = match self.kind() {
            Kind::On => true,
            Kind::Ignoring => false,
            _ => return self.fills(matching),
        };
        self.next();
        matching.on = on;
        matching.labels = self.grouping_labels()?;
        let card = match self.kind() {
            Kind::GroupLeft => Cardinality::ManyToOne,
            Kind::GroupRight => Cardinality::OneToMany,
            _ => return self.fills(matching),
        };
        self.next();
        matching.card = card;
        if self.kind() == Kind::LeftParen {
            matching.include = self.grouping_labels()?;
        }
        self.fills(matching)
    }

    /// `fill(x)`, or `fill_left(x)` and `fill_right(x)` in either order.
    fn fills(&mut self, mut matching: Matching) -> Parsed<Matching> {
        match self.kind() {
            Kind::Fill => {
                let value = self.fill_value()?;
                (matching.fill_left, matching.fill_right) = (Some(value), Some(value));
            }
            Kind::FillLeft => {
                matching.fill_left = Some(self.fill_value()?);
                if self.kind() == Kind::FillRight {
                    matching.fill_right = Some(self.fill_value()?);
                }
            }
            Kind::FillRight => {
                matching.fill_right = Some(self.fill_value()?);
                if self.kind() == Kind::FillLeft {
                    matching.fill_left = Some(self.fill_value()?);
                }
            }
            _ => {}
        }
        Ok(matching)
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.next();
        self.expect(Kind::LeftParen)?;
        let negative = match self.kind() {
            Kind::Sub | Kind::Add => self.next().kind == Kind::Sub,
            _ => false,
        };
        if !matches!(self.kind(), Kind::Number | Kind::Duration) {
            return Err(self.unexpected());
        }
        let value = self.number_literal().value;
        self.expect(Kind::RightParen)?;
        Ok(if negative { -value } else { value })
    }
}
