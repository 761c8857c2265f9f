//! Tokens of PromQL and where they stand in the text.

use model::quote::quote;

/// A range of bytes in the query text: `start <= end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// From the start of `self` to the end of `last`.
    pub fn to(self, last: Span) -> Span {
        Span { start: self.start, end: last.end }
    }

    /// `line:column` of its start, both from 1, columns in bytes, as upstream counts them.
    pub fn position(self, text: &str) -> String {
        if text.is_empty() {
            return "unknown position".to_owned();
        }
        let Some(before) = text.as_bytes().get(..self.start) else { return "invalid position".to_owned() };
        let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
        let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        format!("{line}:{}", self.start - line_start + 1)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $(= $text:literal)?,)*) => {
        /// What a token is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// The fixed text of the token, if it has one.
            pub fn text(self) -> Option<&'static str> {
                match self {
                    $($(Kind::$name => Some($text),)?)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// The end of the text.
    Eof,
    /// What no token can be made of; the lexer's message stands beside it.
    Error,
    /// A word without a colon.
    Identifier,
    /// A word with a colon.
    MetricIdentifier,
    /// A quoted string, quotes included.
    String,
    /// A number.
    Number,
    /// Numbers with units.
    Duration,
    /// `(`
    LeftParen = "(",
    /// `)`
    RightParen = ")",
    /// `{`
    LeftBrace = "{",
    /// `}`
    RightBrace = "}",
    /// `[`
    LeftBracket = "[",
    /// `]`
    RightBracket = "]",
    /// `,`
    Comma = ",",
    /// `:`
    Colon = ":",
    /// `=`
    Assign = "=",
    /// `+`
    Add = "+",
    /// `-`
    Sub = "-",
    /// `*`
    Mul = "*",
    /// `/`
    Div = "/",
    /// `%`
    Mod = "%",
    /// `^`
    Pow = "^",
    /// `==`
    Equal = "==",
    /// `!=`
    NotEqual = "!=",
    /// `>`
    Greater = ">",
    /// `<`
    Less = "<",
    /// `>=`
    GreaterOrEqual = ">=",
    /// `<=`
    LessOrEqual = "<=",
    /// `</`
    TrimUpper = "</",
    /// `>/`
    TrimLower = ">/",
    /// `=~`
    Regex = "=~",
    /// `!~`
    NotRegex = "!~",
    /// `@`
    At = "@",
    /// `and`
    And = "and",
    /// `or`
    Or = "or",
    /// `unless`
    Unless = "unless",
    /// `atan2`
    Atan2 = "atan2",
    /// `avg`
    Avg = "avg",
    /// `bottomk`
    Bottomk = "bottomk",
    /// `count`
    Count = "count",
    /// `count_values`
    CountValues = "count_values",
    /// `group`
    Group = "group",
    /// `max`
    Max = "max",
    /// `min`
    Min = "min",
    /// `quantile`
    Quantile = "quantile",
    /// `stddev`
    Stddev = "stddev",
    /// `stdvar`
    Stdvar = "stdvar",
    /// `sum`
    Sum = "sum",
    /// `topk`
    Topk = "topk",
    /// `limitk`
    Limitk = "limitk",
    /// `limit_ratio`
    LimitRatio = "limit_ratio",
    /// `bool`
    Bool = "bool",
    /// `by`
    By = "by",
    /// `group_left`
    GroupLeft = "group_left",
    /// `group_right`
    GroupRight = "group_right",
    /// `fill`
    Fill = "fill",
    /// `fill_left`
    FillLeft = "fill_left",
    /// `fill_right`
    FillRight = "fill_right",
    /// `ignoring`
    Ignoring = "ignoring",
    /// `offset`
    Offset = "offset",
    /// `smoothed`
    Smoothed = "smoothed",
    /// `anchored`
    Anchored = "anchored",
    /// `on`
    On = "on",
    /// `without`
    Without = "without",
    /// `start`
    Start = "start",
    /// `end`
    End = "end",
    /// `step`
    Step = "step",
    /// `range`
    Range = "range",
    /// `max_of`
    MaxOf = "max_of",
    /// `min_of`
    MinOf = "min_of",
}

/// Words that are not plain identifiers outside braces.
const KEYWORDS: [Kind; 37] = [
    Kind::And,
    Kind::Or,
    Kind::Unless,
    Kind::Atan2,
    Kind::Avg,
    Kind::Bottomk,
    Kind::Count,
    Kind::CountValues,
    Kind::Group,
    Kind::Max,
    Kind::Min,
    Kind::Quantile,
    Kind::Stddev,
    Kind::Stdvar,
    Kind::Sum,
    Kind::Topk,
    Kind::Limitk,
    Kind::LimitRatio,
    Kind::Bool,
    Kind::By,
    Kind::GroupLeft,
    Kind::GroupRight,
    Kind::Fill,
    Kind::FillLeft,
    Kind::FillRight,
    Kind::Ignoring,
    Kind::Offset,
    Kind::Smoothed,
    Kind::Anchored,
    Kind::On,
    Kind::Without,
    Kind::Start,
    Kind::End,
    Kind::Step,
    Kind::Range,
    Kind::MaxOf,
    Kind::MinOf,
];

impl Kind {
    /// The keyword that `word` is in any case; `inf` and `nan` are numbers.
    pub fn keyword(word: &str) -> Option<Kind> {
        if word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("nan") {
            return Some(Kind::Number);
        }
        KEYWORDS.into_iter().find(|k| k.text().is_some_and(|text| word.eq_ignore_ascii_case(text)))
    }

    /// Whether it is one of the aggregations.
    pub fn is_aggregator(self) -> bool {
        matches!(
            self,
            Kind::Avg
                | Kind::Bottomk
                | Kind::Count
                | Kind::CountValues
                | Kind::Group
                | Kind::Max
                | Kind::Min
                | Kind::Quantile
                | Kind::Stddev
                | Kind::Stdvar
                | Kind::Sum
                | Kind::Topk
                | Kind::Limitk
                | Kind::LimitRatio
        )
    }

    /// Whether it is an operator in upstream's error texts (`@` and the regex comparisons are).
    pub fn is_operator(self) -> bool {
        self.binary_precedence().is_some() || matches!(self, Kind::Regex | Kind::NotRegex | Kind::At)
    }

    /// Whether it is a modifier word.
    pub fn is_keyword(self) -> bool {
        matches!(
            self,
            Kind::Bool
                | Kind::By
                | Kind::GroupLeft
                | Kind::GroupRight
                | Kind::Fill
                | Kind::FillLeft
                | Kind::FillRight
                | Kind::Ignoring
                | Kind::Offset
                | Kind::Smoothed
                | Kind::Anchored
                | Kind::On
                | Kind::Without
        )
    }

    /// How tightly a binary operator binds, from 1 (`or`) to 6 (`^`).
    pub fn binary_precedence(self) -> Option<u8> {
        Some(match self {
            Kind::Or => 1,
            Kind::And | Kind::Unless => 2,
            Kind::Equal
            | Kind::NotEqual
            | Kind::Greater
            | Kind::Less
            | Kind::GreaterOrEqual
            | Kind::LessOrEqual
            | Kind::TrimUpper
            | Kind::TrimLower => 3,
            Kind::Add | Kind::Sub => 4,
            Kind::Mul | Kind::Div | Kind::Mod | Kind::Atan2 => 5,
            Kind::Pow => 6,
            _ => return None,
        })
    }

    /// Whether a metric may bear this word as its name.
    pub fn names_metric(self) -> bool {
        let reserved =
            matches!(self, Kind::Bool | Kind::On | Kind::Ignoring | Kind::GroupLeft | Kind::GroupRight | Kind::Atan2);
        matches!(self, Kind::Identifier | Kind::MetricIdentifier) || (KEYWORDS.contains(&self) && !reserved)
    }

    /// Whether a grouping label may bear this word as its name.
    pub fn names_label(self) -> bool {
        let reserved = matches!(self, Kind::Without);
        matches!(self, Kind::Identifier | Kind::MetricIdentifier) || (KEYWORDS.contains(&self) && !reserved)
    }
}

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub span: Span,
}

impl Token {
    /// The token as error texts show it.
    pub fn describe(self, query: &str) -> String {
        let text = query.get(self.span.start..self.span.end).unwrap_or_default();
        match self.kind {
            Kind::Eof => "end of input".to_owned(),
            Kind::Identifier => format!("identifier {}", quote(text)),
            Kind::MetricIdentifier => format!("metric identifier {}", quote(text)),
            Kind::String => format!("string {}", shortened(text)),
            Kind::Number => format!("number {}", shortened(text)),
            Kind::Duration => format!("duration {}", shortened(text)),
            kind if kind.is_keyword() => format!("<{text}>"),
            kind if kind.is_operator() => format!("<op:{text}>"),
            kind if kind.is_aggregator() => format!("<aggr:{text}>"),
            _ => shortened(text),
        }
    }
}

fn shortened(text: &str) -> String {
    if text.len() <= 10 {
        return quote(text);
    }
    let head: String = text.chars().take(10).collect();
    format!("{}...", quote(&head))
}
