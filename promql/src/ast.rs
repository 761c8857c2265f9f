//! The syntax tree. Every node knows where it stands in the text.

use model::matcher::Matcher;

use crate::function::Function;
use crate::token::{Kind, Span};

/// The type of an expression's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A number per step.
    Scalar,
    /// An instant vector: series with one sample each.
    Vector,
    /// A range vector: series with many samples each.
    Matrix,
    /// A text.
    String,
}

impl ValueType {
    /// The name in the HTTP API.
    pub fn as_str(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Vector => "vector",
            ValueType::Matrix => "matrix",
            ValueType::String => "string",
        }
    }

    /// The name in error texts.
    pub fn documented(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
            ValueType::String => "string",
        }
    }
}

/// An expression.
#[derive(Debug, Clone)]
pub enum Expr {
    /// `1.5`, `5m`
    Number(NumberLiteral),
    /// `"text"`
    String(StringLiteral),
    /// `up{job="node"}`
    Selector(Box<VectorSelector>),
    /// `up[5m]`
    Range(Box<RangeSelector>),
    /// `rate(up[5m])[1h:1m]`
    Subquery(Box<Subquery>),
    /// `rate(...)`
    Call(Call),
    /// `sum by (job) (...)`
    Aggregate(Box<Aggregate>),
    /// `a + b`
    Binary(Box<Binary>),
    /// `-a`
    Unary(Box<Unary>),
    /// `(a)`
    Paren(Box<Paren>),
}

/// A number, possibly written as a duration.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberLiteral {
    /// Its value; seconds if a duration.
    pub value: f64,
    /// Whether it was written with units.
    pub duration: bool,
    /// Where it stands.
    pub span: Span,
}

/// A text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StringLiteral {
    /// What it stands for, without quotes and escapes.
    pub value: String,
    /// As written, if its escapes stand for bytes that are no UTF-8; `value` has U+FFFD in their place.
    pub bytes: Option<String>,
    /// Where it stands.
    pub span: Span,
}

/// What `@` fixes the evaluation time to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since the epoch.
    Timestamp(i64),
    /// `start()`
    Start,
    /// `end()`
    End,
}

/// A length of time in a selector: known, or computed when the query's range is known.
#[derive(Debug, Clone)]
pub enum Length {
    /// In milliseconds.
    Fixed(i64),
    /// To be computed.
    Computed(Box<DurationExpr>),
}

/// Which samples a range keeps at its boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extension {
    /// Those inside.
    #[default]
    None,
    /// `anchored`: also the last one at or before the start.
    Anchored,
    /// `smoothed`: interpolated at both boundaries.
    Smoothed,
}

/// `offset` and `@` of a selector or subquery.
#[derive(Debug, Clone, Default)]
pub struct Shift {
    /// How far back, in milliseconds; `None` if not written.
    pub offset: Option<Length>,
    /// The fixed time.
    pub at: Option<At>,
}

/// An instant-vector selector.
#[derive(Debug, Clone)]
pub struct VectorSelector {
    /// The metric name written before the braces, or empty.
    pub name: String,
    /// All matchers, that of the name last.
    pub matchers: Vec<Matcher>,
    /// Its modifiers.
    pub shift: Shift,
    /// `anchored` or `smoothed`.
    pub extension: Extension,
    /// Where it stands.
    pub span: Span,
}

/// A range-vector selector.
#[derive(Debug, Clone)]
pub struct RangeSelector {
    /// What it selects; the modifiers written after the brackets are here.
    pub selector: VectorSelector,
    /// How far back it reaches.
    pub range: Length,
    /// Where it stands.
    pub span: Span,
}

/// An expression evaluated at many steps to give a range vector.
#[derive(Debug, Clone)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// How far back it reaches.
    pub range: Length,
    /// How often; the default interval if not written.
    pub step: Option<Length>,
    /// Its modifiers.
    pub shift: Shift,
    /// Where it stands.
    pub span: Span,
}

/// A function call.
#[derive(Debug, Clone)]
pub struct Call {
    /// What is called.
    pub function: &'static Function,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// Where it stands.
    pub span: Span,
}

/// An aggregation.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Expr,
    /// The first argument of those that take two.
    pub param: Option<Expr>,
    /// Labels of `by` or `without`.
    pub grouping: Vec<String>,
    /// Whether `grouping` is what to leave out.
    pub without: bool,
    /// Where it stands.
    pub span: Span,
}

/// A binary operation.
#[derive(Debug, Clone)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// The left side.
    pub lhs: Expr,
    /// The right side.
    pub rhs: Expr,
    /// `bool`: 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How series find each other, as written; see [`Binary::vector_matching`].
    pub matching: Option<Matching>,
}

/// A sign before an expression that is no number.
#[derive(Debug, Clone)]
pub struct Unary {
    /// Whether the sign is `-`.
    pub negative: bool,
    /// What it stands before.
    pub expr: Expr,
    /// Where the sign stands.
    pub start: usize,
}

/// Parentheses.
#[derive(Debug, Clone)]
pub struct Paren {
    /// What they hold.
    pub expr: Expr,
    /// Where they stand.
    pub span: Span,
}

/// How many series may match on either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cardinality {
    /// One on each.
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How series of both sides of an operation find each other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matching {
    /// How many may match.
    pub card: Cardinality,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Whether `labels` are those to match on.
    pub on: bool,
    /// Labels taken over from the "one" side.
    pub include: Vec<String>,
    /// What stands for a missing left series.
    pub fill_left: Option<f64>,
    /// What stands for a missing right series.
    pub fill_right: Option<f64>,
}

/// An expression of lengths of time.
#[derive(Debug, Clone)]
pub struct DurationExpr {
    /// What it is.
    pub node: DurationNode,
    /// Whether it stands in parentheses.
    pub parenthesized: bool,
    /// Where it stands.
    pub span: Span,
}

/// The forms of [`DurationExpr`].
#[derive(Debug, Clone)]
pub enum DurationNode {
    /// A number of seconds.
    Literal(NumberLiteral),
    /// `step()`
    Step,
    /// `range()`: end minus start of the query.
    QueryRange,
    /// `-d`
    Minus(Box<DurationExpr>),
    /// The smaller.
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// The greater.
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `+ - * / % ^`
    Arithmetic(BinaryOp, Box<DurationExpr>, Box<DurationExpr>),
}

macro_rules! operators {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $kind:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each variant is named as it is written in PromQL")]
        pub enum $name {
            $($variant,)*
        }

        impl $name {
            /// The operator a token stands for.
            pub(crate) fn of(kind: Kind) -> Option<Self> {
                match kind {
                    $(Kind::$kind => Some($name::$variant),)*
                    _ => None,
                }
            }

            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => Kind::$kind.text().unwrap_or_default(),)*
                }
            }
        }
    };
}

operators! {
    /// A binary operator.
    BinaryOp {
        Add = Add, Sub = Sub, Mul = Mul, Div = Div, Mod = Mod, Pow = Pow, Atan2 = Atan2,
        Equal = Equal, NotEqual = NotEqual, Greater = Greater, Less = Less,
        GreaterOrEqual = GreaterOrEqual, LessOrEqual = LessOrEqual,
        TrimUpper = TrimUpper, TrimLower = TrimLower,
        And = And, Or = Or, Unless = Unless,
    }
}

operators! {
    /// An aggregation.
    AggregateOp {
        Avg = Avg, Bottomk = Bottomk, Count = Count, CountValues = CountValues, Group = Group, Max = Max, Min = Min,
        Quantile = Quantile, Stddev = Stddev, Stdvar = Stdvar, Sum = Sum, Topk = Topk, Limitk = Limitk,
        LimitRatio = LimitRatio,
    }
}

impl BinaryOp {
    /// Whether it compares.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Greater | Less | GreaterOrEqual | LessOrEqual)
    }

    /// Whether it combines sets of series.
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }

    /// Whether it cuts histograms.
    pub fn is_trim(self) -> bool {
        matches!(self, BinaryOp::TrimLower | BinaryOp::TrimUpper)
    }
}

impl AggregateOp {
    /// Whether it takes a parameter before the expression.
    pub fn takes_param(self) -> bool {
        use AggregateOp::{Bottomk, CountValues, LimitRatio, Limitk, Quantile, Topk};
        matches!(self, Topk | Bottomk | CountValues | Quantile | Limitk | LimitRatio)
    }

    /// Whether it needs a feature flag.
    pub fn is_experimental(self) -> bool {
        matches!(self, AggregateOp::Limitk | AggregateOp::LimitRatio)
    }

    /// Whether its output are series of its input.
    pub fn selects_series(self) -> bool {
        use AggregateOp::{Bottomk, LimitRatio, Limitk, Topk};
        matches!(self, Topk | Bottomk | Limitk | LimitRatio)
    }
}

impl Binary {
    /// How series find each other, if both sides are instant vectors.
    pub fn vector_matching(&self) -> Option<&Matching> {
        let vectors = self.lhs.value_type() == ValueType::Vector && self.rhs.value_type() == ValueType::Vector;
        self.matching.as_ref().filter(|_| vectors)
    }
}

impl Expr {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Expr::Number(n) => n.span,
            Expr::String(s) => s.span,
            Expr::Selector(s) => s.span,
            Expr::Range(r) => r.span,
            Expr::Subquery(s) => s.span,
            Expr::Call(c) => c.span,
            Expr::Aggregate(a) => a.span,
            Expr::Binary(b) => b.lhs.span().to(b.rhs.span()),
            Expr::Unary(u) => Span { start: u.start, end: u.expr.span().end },
            Expr::Paren(p) => p.span,
        }
    }

    /// The type of its value.
    pub fn value_type(&self) -> ValueType {
        match self {
            Expr::Number(_) => ValueType::Scalar,
            Expr::String(_) => ValueType::String,
            Expr::Selector(_) | Expr::Aggregate(_) => ValueType::Vector,
            Expr::Range(_) | Expr::Subquery(_) => ValueType::Matrix,
            Expr::Call(c) => c.function.returns,
            Expr::Binary(b) => match (b.lhs.value_type(), b.rhs.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            Expr::Unary(u) => u.expr.value_type(),
            Expr::Paren(p) => p.expr.value_type(),
        }
    }

    /// Its direct parts, in the order upstream visits them.
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Expr::Number(_) | Expr::String(_) | Expr::Selector(_) | Expr::Range(_) => Vec::new(),
            Expr::Subquery(s) => vec![&s.expr],
            Expr::Call(c) => c.args.iter().collect(),
            Expr::Aggregate(a) => std::iter::once(&a.expr).chain(&a.param).collect(),
            Expr::Binary(b) => vec![&b.lhs, &b.rhs],
            Expr::Unary(u) => vec![&u.expr],
            Expr::Paren(p) => vec![&p.expr],
        }
    }

    /// Calls `visit` on this expression and all below it, parents first.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        visit(self);
        for child in self.children() {
            child.walk(visit);
        }
    }

    /// The matchers of every selector in it, in order: what the expression depends on.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut found = Vec::new();
        self.walk(&mut |expr| match expr {
            Expr::Selector(s) => found.push(s.as_ref()),
            Expr::Range(r) => found.push(&r.selector),
            _ => {}
        });
        found
    }

    /// Itself without the parentheses around it.
    pub fn unwrap_parens(&self) -> &Expr {
        let mut expr = self;
        while let Expr::Paren(paren) = expr {
            expr = &paren.expr;
        }
        expr
    }
}
