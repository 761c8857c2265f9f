//! The type checker: what the grammar allows and the language does not, in upstream's words and order.

use model::labels::METRIC_NAME;
use model::quote::quote;

use crate::ast::{Aggregate, AggregateOp, Binary, Call, Cardinality, Expr, ValueType, VectorSelector};
use crate::error::ParseError;
use crate::function::{Apply, Variadic};
use crate::token::Span;

/// Appends to `faults` what is wrong with `expr`, which was read from `text`.
pub(crate) fn check(expr: &Expr, text: &str, faults: &mut Vec<ParseError>) {
    Checker { text, faults }.expr(expr, false);
}

struct Checker<'a> {
    text: &'a str,
    faults: &'a mut Vec<ParseError>,
}

impl Checker<'_> {
    fn fault(&mut self, span: Span, message: impl Into<String>) {
        self.faults.push(ParseError { position: span.position(self.text), message: message.into(), span });
    }

    /// `may_match_all`: the second argument of `info` needs no matcher that refuses the empty string.
    fn expr(&mut self, expr: &Expr, may_match_all: bool) {
        match expr {
            Expr::Number(_) | Expr::String(_) => {}
            Expr::Selector(selector) => self.selector(selector, selector.span, may_match_all),
            Expr::Range(range) => self.selector(&range.selector, range.selector.span, false),
            Expr::Subquery(subquery) => {
                self.expr(&subquery.expr, false);
                let found = subquery.expr.value_type();
                if found != ValueType::Vector {
                    let message = "subquery is only allowed on instant vector";
                    self.fault(subquery.span, format!("{message}, got {} instead", found.as_str()));
                }
            }
            Expr::Call(call) => self.call(call),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => self.binary(binary, expr.span()),
            Expr::Unary(unary) => {
                self.expr(&unary.expr, false);
                let found = unary.expr.value_type();
                if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                    let message = "unary expression only allowed on expressions of type scalar or instant vector";
                    self.fault(expr.span(), format!("{message}, got {}", quote(found.documented())));
                }
            }
            Expr::Paren(paren) => self.expr(&paren.expr, false),
        }
    }

    fn expect_type(&mut self, expr: &Expr, wanted: ValueType, context: &str) {
        self.expr(expr, false);
        let found = expr.value_type();
        if found != wanted {
            let (wanted, found) = (wanted.documented(), found.documented());
            self.fault(expr.span(), format!("expected type {wanted} in {context}, got {found}"));
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate) {
        self.expect_type(&aggregate.expr, ValueType::Vector, "aggregation expression");
        if let Some(param) = &aggregate.param {
            let wanted = match aggregate.op {
                AggregateOp::CountValues => ValueType::String,
                _ => ValueType::Scalar,
            };
            self.expect_type(param, wanted, "aggregation parameter");
        }
    }

    fn binary(&mut self, binary: &Binary, span: Span) {
        self.expr(&binary.lhs, false);
        self.expr(&binary.rhs, false);
        let (left, right) = (binary.lhs.value_type(), binary.rhs.value_type());
        let scalars = left == ValueType::Scalar && right == ValueType::Scalar;
        if binary.return_bool && !binary.op.is_comparison() {
            let at = self.operator_span(binary);
            self.fault(at, "bool modifier can only be used on comparison operators");
        }
        if binary.op.is_comparison() && !binary.return_bool && scalars {
            let at = self.operator_span(binary);
            self.fault(at, "comparisons between scalars must use BOOL modifier");
        }
        self.shared_labels(binary);
        for (side, found) in [(&binary.lhs, left), (&binary.rhs, right)] {
            if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                self.fault(side.span(), "binary expression must contain only scalar and instant vector types");
            }
        }
        if left == ValueType::Vector && right == ValueType::Vector {
            self.set_operation(binary, span);
        } else {
            self.no_matching(binary, span);
        }
        if (left == ValueType::Scalar || right == ValueType::Scalar) && binary.op.is_set() {
            let name = quote(binary.op.as_str());
            self.fault(span, format!("set operator {name} not allowed in binary scalar expression"));
        }
    }

    fn shared_labels(&mut self, binary: &Binary) {
        let Some(matching) = binary.matching.as_ref().filter(|m| m.on) else { return };
        for label in matching.labels.iter().filter(|l| matching.include.contains(l)) {
            let at = self.operator_span(binary);
            self.fault(at, format!("label {} must not occur in ON and GROUP clause at once", quote(label)));
        }
    }

    fn no_matching(&mut self, binary: &Binary, span: Span) {
        let Some(matching) = &binary.matching else { return };
        if !matching.labels.is_empty() {
            self.fault(span, "vector matching only allowed between instant vectors");
        }
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            self.fault(span, "filling in missing series only allowed between instant vectors");
        }
    }

    fn set_operation(&mut self, binary: &Binary, span: Span) {
        let Some(matching) = binary.matching.as_ref().filter(|_| binary.op.is_set()) else { return };
        if matches!(matching.card, Cardinality::OneToMany | Cardinality::ManyToOne) {
            self.fault(span, format!("no grouping allowed for {} operation", quote(binary.op.as_str())));
            self.fault(span, "set operations must always be many-to-many");
        }
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            self.fault(span, "filling in missing series not allowed for set operators");
        }
    }

    /// Where the operator and its modifiers stand, without the spaces around them.
    fn operator_span(&self, binary: &Binary) -> Span {
        let (from, to) = (binary.lhs.span().end, binary.rhs.span().start);
        let between = self.text.get(from..to).unwrap_or_default();
        let start = from + (between.len() - between.trim_start().len());
        Span { start, end: (from + between.trim_end().len()).max(start) }
    }

    fn call(&mut self, call: &Call) {
        let function = call.function;
        let (name, found) = (quote(function.name), call.args.len());
        let required = function.required();
        if function.variadic == Variadic::No {
            if found != required {
                self.fault(call.span, format!("expected {required} argument(s) in call to {name}, got {found}"));
            }
        } else if found < required {
            self.fault(call.span, format!("expected at least {required} argument(s) in call to {name}, got {found}"));
        } else if let Some(allowed) = function.allowed().filter(|allowed| found > *allowed) {
            self.fault(call.span, format!("expected at most {allowed} argument(s) in call to {name}, got {found}"));
        }
        let info = matches!(function.apply, Apply::Info);
        if info {
            self.info_selector(call);
        }
        for (i, arg) in call.args.iter().enumerate() {
            if i >= function.args.len() && function.variadic == Variadic::No {
                break;
            }
            let Some(&wanted) = function.args.get(i).or(function.args.last()) else { break };
            self.expr(arg, info && i == 1);
            let found = arg.value_type();
            if found != wanted {
                let (wanted, found) = (wanted.documented(), found.documented());
                self.fault(arg.span(), format!("expected type {wanted} in call to function {name}, got {found}"));
            }
        }
    }

    fn info_selector(&mut self, call: &Call) {
        let Some(arg) = call.args.get(1) else { return };
        let found = arg.value_type();
        if found != ValueType::Vector {
            let (wanted, found) = (ValueType::Vector.documented(), found.documented());
            self.fault(call.span, format!("expected type {wanted} in call to function \"info\", got {found}"));
        }
        match arg {
            Expr::Selector(selector) if selector.name.is_empty() => {}
            Expr::Selector(selector) => {
                self.fault(selector.span, "expected label selectors only, got vector selector instead");
            }
            other => self.fault(other.span(), "expected label selectors only"),
        }
    }

    fn selector(&mut self, selector: &VectorSelector, span: Span, may_match_all: bool) {
        if !selector.name.is_empty() {
            // The last matcher is the one of the name before the braces.
            let others = selector.matchers.len().saturating_sub(1);
            for matcher in selector.matchers.iter().take(others).filter(|m| m.name() == METRIC_NAME) {
                let (first, second) = (quote(&selector.name), quote(matcher.value()));
                self.fault(span, format!("metric name must not be set twice: {first} or {second}"));
            }
            return;
        }
        if !may_match_all && selector.matchers.iter().all(model::matcher::Matcher::matches_empty) {
            self.fault(span, "vector selector must contain at least one non-empty matcher");
        }
    }
}
