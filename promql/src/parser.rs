//! Tokens to syntax tree: precedence climbing by hand, with upstream's error texts and positions.
//!
//! Faults are collected in the order upstream's parser finds them, and the first one is reported. A fault of syntax
//! ends the parse; one of meaning does not. Where several texts could be given for an unexpected token, that of the
//! innermost construct that has one is.

mod aggregate;
mod binary;
mod duration;
mod number;
mod postfix;
mod selector;

pub(crate) use self::number::parse_number;

use model::labels::Labels;
use model::matcher::Matcher;

use crate::ast::{Call, Expr, NumberLiteral, Paren, StringLiteral, Unary};
use crate::check;
use crate::error::ParseError;
use crate::function;
use crate::lexer;
use crate::string_literal;
use crate::token::{Kind, Span, Token};

/// The longest query, in bytes.
pub const QUERY_BYTES_MAX: usize = 1024 * 1024;
/// How deep parentheses, calls and signs may nest.
pub const NESTING_MAX: usize = 150;
/// How high the tree may grow, chains of operators included.
pub const HEIGHT_MAX: usize = 400;

/// What beyond the stable language is allowed; upstream's feature flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// `promql-experimental-functions`
    pub experimental_functions: bool,
    /// `promql-duration-expr`; on by default since 3.14.
    pub duration_expressions: bool,
    /// `promql-extended-range-selectors`
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`
    pub fill_modifiers: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            experimental_functions: false,
            duration_expressions: true,
            extended_range_selectors: false,
            fill_modifiers: false,
        }
    }
}

impl Options {
    /// Everything on, as upstream's test scripts need it.
    pub fn all() -> Self {
        Self {
            experimental_functions: true,
            duration_expressions: true,
            extended_range_selectors: true,
            fill_modifiers: true,
        }
    }
}

/// Parses and checks an expression of the stable language.
///
/// # Errors
/// The first fault, with its place.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_with(text, &Options::default())
}

/// Parses and checks an expression, with what of the experimental language `options` allow.
///
/// # Errors
/// The first fault, with its place.
pub fn parse_with(text: &str, options: &Options) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, options)?;
    let parsed = parser.whole_expression();
    match (parsed, parser.faults.is_empty()) {
        (Ok(expr), true) => {
            check::check(&expr, text, &mut parser.faults);
            parser.finish(expr)
        }
        (Ok(expr), false) => parser.finish(expr),
        (Err(Stop), _) => Err(parser.first_fault()),
    }
}

/// Parses a selector such as `up{job="node"}` to its matchers.
///
/// # Errors
/// The first fault, with its place.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let options = Options::default();
    let mut parser = Parser::new(text, &options)?;
    let Ok(selector) = parser.lone_selector() else { return Err(parser.first_fault()) };
    parser.finish(selector.matchers)
}

/// Parses a metric with its labels, such as `up{job="node"}`, at the start of `text`: the labels, and where they end.
pub(crate) fn parse_metric(text: &str) -> Result<(Labels, usize), ParseError> {
    let options = Options::default();
    let mut parser = Parser::new(text, &options)?;
    let Ok(labels) = parser.metric() else { return Err(parser.first_fault()) };
    let end = parser.last_end();
    parser.finish((labels, end))
}

/// A fault of syntax was recorded: nothing more can be read.
#[derive(Debug, Clone, Copy)]
struct Stop;

type Parsed<T> = Result<T, Stop>;

/// What a fault of an unexpected token is called in the construct being read.
#[derive(Debug, Clone, Copy)]
struct Context {
    name: &'static str,
    expected: &'static str,
}

struct Parser<'a> {
    text: &'a str,
    options: &'a Options,
    tokens: Vec<Token>,
    lexer_error: Option<String>,
    at: usize,
    /// Enclosing constructs that name an unexpected token, innermost last.
    contexts: Vec<Context>,
    nesting: usize,
    faults: Vec<ParseError>,
}

/// Lower than every binary operator.
const LOWEST: u8 = 1;

impl<'a> Parser<'a> {
    fn new(text: &'a str, options: &'a Options) -> Result<Self, ParseError> {
        if text.len() > QUERY_BYTES_MAX {
            let message = format!("query of {} bytes is longer than {QUERY_BYTES_MAX} bytes", text.len());
            return Err(ParseError { position: "1:1".to_owned(), message, span: Span::default() });
        }
        let lexed = lexer::lex(text);
        Ok(Self {
            text,
            options,
            tokens: lexed.tokens,
            lexer_error: lexed.error,
            at: 0,
            contexts: Vec::new(),
            nesting: 0,
            faults: Vec::new(),
        })
    }

    fn finish<T>(self, value: T) -> Result<T, ParseError> {
        self.faults.into_iter().next().map_or(Ok(value), Err)
    }

    fn first_fault(self) -> ParseError {
        self.faults.into_iter().next().unwrap_or_else(|| ParseError {
            position: "1:1".to_owned(),
            message: "unexpected error".to_owned(),
            span: Span::default(),
        })
    }

    fn token(&self) -> Token {
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn kind(&self) -> Kind {
        self.token().kind
    }

    fn following(&self) -> Kind {
        self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    fn next(&mut self) -> Token {
        let token = self.token();
        self.at += 1;
        token
    }

    fn take(&mut self, kind: Kind) -> Option<Token> {
        (self.kind() == kind).then(|| self.next())
    }

    fn text_of(&self, token: Token) -> &'a str {
        self.text.get(token.span.start..token.span.end).unwrap_or_default()
    }

    /// End of the token before this one.
    fn last_end(&self) -> usize {
        self.at.checked_sub(1).map_or(0, |at| self.tokens[at].span.end)
    }

    fn fault(&mut self, span: Span, message: impl Into<String>) {
        self.faults.push(ParseError { position: span.position(self.text), message: message.into(), span });
    }

    /// Records that the present token fits nowhere.
    fn unexpected(&mut self) -> Stop {
        let token = self.token();
        if token.kind == Kind::Error {
            let message = self.lexer_error.clone().unwrap_or_default();
            self.fault(token.span, message);
            return Stop;
        }
        let mut message = format!("unexpected {}", token.describe(self.text));
        if let Some(context) = self.contexts.last() {
            message.push_str(" in ");
            message.push_str(context.name);
            if !context.expected.is_empty() {
                message.push_str(", expected ");
                message.push_str(context.expected);
            }
        }
        self.fault(token.span, message);
        Stop
    }

    fn unexpected_in(&mut self, name: &'static str, expected: &'static str) -> Stop {
        self.contexts.push(Context { name, expected });
        let stop = self.unexpected();
        self.contexts.pop();
        stop
    }

    fn expect(&mut self, kind: Kind) -> Parsed<Token> {
        self.take(kind).ok_or(()).map_err(|()| self.unexpected())
    }

    /// Reads something inside a construct that names unexpected tokens.
    fn within<T>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        read: impl FnOnce(&mut Self) -> Parsed<T>,
    ) -> Parsed<T> {
        self.contexts.push(Context { name, expected });
        let result = read(self);
        self.contexts.pop();
        result
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting == NESTING_MAX {
            let span = self.token().span;
            self.fault(span, format!("expression nests deeper than {NESTING_MAX} levels"));
            return Err(Stop);
        }
        self.nesting += 1;
        let result = read(self);
        self.nesting -= 1;
        result
    }

    fn whole_expression(&mut self) -> Parsed<Expr> {
        if self.kind() == Kind::Eof {
            self.fault(Span::default(), "no expression found in input");
            return Err(Stop);
        }
        let expr = self.expression(LOWEST)?;
        self.expect(Kind::Eof)?;
        if height(&expr) > HEIGHT_MAX {
            let span = expr.span();
            self.fault(span, format!("expression is higher than {HEIGHT_MAX} levels"));
            return Err(Stop);
        }
        Ok(expr)
    }

    /// An operand and the operators after it that bind at least as tightly as `precedence`.
    fn expression(&mut self, precedence: u8) -> Parsed<Expr> {
        let mut expr = self.nested(Self::operand)?;
        let mut chained = 0;
        while let Some(found) = self.kind().binary_precedence().filter(|found| *found >= precedence) {
            expr = self.binary(expr, found)?;
            chained += 1;
            if chained > HEIGHT_MAX {
                let span = self.token().span;
                self.fault(span, format!("expression is higher than {HEIGHT_MAX} levels"));
                return Err(Stop);
            }
        }
        Ok(expr)
    }

    /// A sign with what it stands before, or something with its modifiers.
    fn operand(&mut self) -> Parsed<Expr> {
        if matches!(self.kind(), Kind::Add | Kind::Sub) {
            return self.signed();
        }
        let primary = self.primary()?;
        self.postfix(primary)
    }

    /// A sign binds like `*`: `-a ^ b` is `-(a ^ b)`, `-a * b` is `(-a) * b`.
    fn signed(&mut self) -> Parsed<Expr> {
        let sign = self.next();
        let negative = sign.kind == Kind::Sub;
        let tighter = Kind::Pow.binary_precedence().unwrap_or(LOWEST);
        Ok(match self.expression(tighter)? {
            Expr::Number(number) => Expr::Number(NumberLiteral {
                value: if negative { -number.value } else { number.value },
                span: Span { start: sign.span.start, end: number.span.end },
                ..number
            }),
            expr => Expr::Unary(Box::new(Unary { negative, expr, start: sign.span.start })),
        })
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let token = self.token();
        let called = self.following() == Kind::LeftParen;
        match token.kind {
            kind if kind.is_aggregator() && self.aggregation_follows() => self.aggregation(),
            Kind::Identifier | Kind::Start | Kind::End | Kind::Step | Kind::Range | Kind::MaxOf | Kind::MinOf
                if called =>
            {
                self.call()
            }
            Kind::Number | Kind::Duration => Ok(Expr::Number(self.number_literal())),
            Kind::String => {
                self.next();
                let value = self.unquoted(token);
                let literal = self.text_of(token);
                let bytes = (!string_literal::is_text(literal)).then(|| literal.to_owned());
                Ok(Expr::String(StringLiteral { value, bytes, span: token.span }))
            }
            Kind::LeftParen => {
                let open = self.next();
                let expr = self.expression(LOWEST)?;
                let close = self.expect(Kind::RightParen)?;
                Ok(Expr::Paren(Box::new(Paren { expr, span: open.span.to(close.span) })))
            }
            Kind::LeftBrace => Ok(Expr::Selector(Box::new(self.selector()?))),
            kind if kind.names_metric() => Ok(Expr::Selector(Box::new(self.selector()?))),
            _ => Err(self.unexpected()),
        }
    }

    fn call(&mut self) -> Parsed<Expr> {
        let name = self.next();
        let args = self.arguments()?;
        let word = self.text_of(name);
        let span = Span { start: name.span.start, end: self.last_end() };
        // Keywords are read in any case, function names as they are.
        let Some(function) = function::find(word) else {
            self.fault(name.span, format!("unknown function with name {}", model::quote::quote(word)));
            return Err(Stop);
        };
        if function.experimental && !self.options.experimental_functions {
            self.fault(name.span, format!("function {} is not enabled", model::quote::quote(word)));
        }
        Ok(Expr::Call(Call { function, args, span }))
    }

    /// `(a, b, ...)`
    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        self.expect(Kind::LeftParen)?;
        let mut args = Vec::new();
        if self.take(Kind::RightParen).is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expression(LOWEST)?);
            let Some(comma) = self.take(Kind::Comma) else { break };
            if self.kind() == Kind::RightParen {
                self.fault(comma.span, "trailing commas not allowed in function call args");
                break;
            }
        }
        self.expect(Kind::RightParen)?;
        Ok(args)
    }

    fn unquoted(&mut self, token: Token) -> String {
        let literal = self.text_of(token);
        string_literal::unquote(literal).unwrap_or_else(|reason| {
            self.fault(token.span, format!("error unquoting string {}: {reason}", model::quote::quote(literal)));
            String::new()
        })
    }
}

/// How many nodes stand above each other.
pub(crate) fn height(expr: &Expr) -> usize {
    1 + expr.children().into_iter().map(height).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
