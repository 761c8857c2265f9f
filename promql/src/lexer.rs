//! Text to tokens, on nom: the pieces (words, numbers, strings, operators) are nom parsers, and a small state decides
//! which of them may stand where (inside braces every word is an identifier, inside brackets only durations occur).
//!
//! The first thing that is no token ends the list with a [`Kind::Error`] token and upstream's message.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{char, one_of};
use nom::combinator::{opt, recognize};
use nom::multi::many0_count;
use nom::sequence::{pair, preceded};
use nom::{IResult, Parser};

use crate::string_literal::{self, quote_char};
use crate::token::{Kind, Span, Token};

/// What the lexer made of a text: tokens that end with `Eof`, or with `Error` and why.
#[derive(Debug, Clone)]
pub(crate) struct Lexed {
    /// The tokens; comments and spaces are left out.
    pub(crate) tokens: Vec<Token>,
    /// The message of the `Error` token, if there is one.
    pub(crate) error: Option<String>,
}

/// Splits `text` into tokens.
pub(crate) fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer { text, ..Lexer::default() };
    let mut tokens = Vec::new();
    loop {
        let start = lexer.skip_blank();
        match lexer.token(start) {
            Ok(kind) => {
                tokens.push(Token { kind, span: Span { start, end: lexer.at } });
                if kind == Kind::Eof {
                    return Lexed { tokens, error: None };
                }
            }
            Err(fault) => {
                tokens.push(Token { kind: Kind::Error, span: Span { start: fault.at, end: text.len() } });
                return Lexed { tokens, error: Some(fault.message) };
            }
        }
    }
}

struct Fault {
    at: usize,
    message: String,
}

/// What stands around the next token.
#[derive(Default)]
struct Lexer<'a> {
    text: &'a str,
    at: usize,
    paren_depth: usize,
    brace_open: bool,
    bracket: Bracket,
    got_colon: bool,
    got_duration: bool,
}

/// Where in a range's brackets the lexer is: after the first number the words outside are allowed again.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    #[default]
    Closed,
    Opened,
    AfterNumber,
}

type Scan<'a> = IResult<&'a str, &'a str>;

fn blank(text: &str) -> Scan<'_> {
    let comment = preceded(char('#'), take_while(|c| c != '\n' && c != '\r'));
    recognize(many0_count(alt((take_while1(|c| matches!(c, ' ' | '\t' | '\n' | '\r')), recognize(comment)))))
        .parse(text)
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

fn word(text: &str) -> Scan<'_> {
    take_while1(|c| is_alphanumeric(c) || c == ':').parse(text)
}

fn identifier(text: &str) -> Scan<'_> {
    take_while1(is_alphanumeric).parse(text)
}

fn digits(text: &str) -> Scan<'_> {
    take_while1(|c: char| c.is_ascii_digit()).parse(text)
}

/// The tail of a duration after its first digits: a unit, then digits with units. Which units and in which order is
/// checked when the duration is read.
fn duration_tail(text: &str) -> Scan<'_> {
    let first = pair(one_of("smhdwy"), opt(char('s')));
    let more = (digits, one_of("smhdw"), opt(char('s')));
    recognize((first, many0_count(more))).parse(text)
}

fn operator(text: &str) -> IResult<&str, Kind> {
    let two = alt((
        tag("==").map(|_| Kind::Equal),
        tag("!=").map(|_| Kind::NotEqual),
        tag("<=").map(|_| Kind::LessOrEqual),
        tag(">=").map(|_| Kind::GreaterOrEqual),
        tag("</").map(|_| Kind::TrimUpper),
        tag(">/").map(|_| Kind::TrimLower),
    ));
    let one = one_of(",*/%+-^=<>@").map(|c| match c {
        ',' => Kind::Comma,
        '*' => Kind::Mul,
        '/' => Kind::Div,
        '%' => Kind::Mod,
        '+' => Kind::Add,
        '-' => Kind::Sub,
        '^' => Kind::Pow,
        '=' => Kind::Assign,
        '<' => Kind::Less,
        '>' => Kind::Greater,
        _ => Kind::At,
    });
    alt((two, one)).parse(text)
}

fn brace_operator(text: &str) -> IResult<&str, Kind> {
    alt((
        tag("=~").map(|_| Kind::Regex),
        tag("!~").map(|_| Kind::NotRegex),
        tag("!=").map(|_| Kind::NotEqual),
        tag("=").map(|_| Kind::Assign),
        tag(",").map(|_| Kind::Comma),
    ))
    .parse(text)
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Moves past what a nom parser took.
    fn take<T>(&mut self, result: IResult<&'a str, T>) -> Option<T> {
        let (rest, taken) = result.ok()?;
        self.at = self.text.len() - rest.len();
        Some(taken)
    }

    fn skip_blank(&mut self) -> usize {
        self.take(blank(self.rest()));
        self.at
    }

    fn fault<T>(&self, at: usize, message: impl Into<String>) -> Result<T, Fault> {
        Err(Fault { at, message: message.into() })
    }

    fn token(&mut self, start: usize) -> Result<Kind, Fault> {
        match () {
            () if self.brace_open => self.in_braces(start),
            () if self.bracket == Bracket::Opened => self.in_brackets(start),
            () => self.statement(start),
        }
    }

    fn statement(&mut self, start: usize) -> Result<Kind, Fault> {
        let Some(c) = self.peek() else { return self.end(start) };
        if c == '=' && self.rest().starts_with("=~") {
            return self.fault(start, "unexpected character after '=': '~'");
        }
        if c == '!' && !self.rest().starts_with("!=") {
            return self.fault(start, format!("unexpected character after '!': {}", quote_after(self.rest())));
        }
        if let Some(kind) = self.take(operator(self.rest())) {
            return Ok(kind);
        }
        match c {
            _ if starts_number(self.rest()) => self.number_or_duration(start),
            '"' | '\'' | '`' => self.string(start),
            c if is_alpha(c) || c == ':' => self.word(start, c),
            '(' | ')' => self.parenthesis(start, c),
            '{' => {
                self.at += 1;
                self.brace_open = true;
                Ok(Kind::LeftBrace)
            }
            '[' if self.bracket != Bracket::Closed => self.fault(start, "unexpected left bracket '['"),
            '[' => {
                self.at += 1;
                self.got_colon = false;
                self.bracket = Bracket::Opened;
                Ok(Kind::LeftBracket)
            }
            ']' if self.bracket == Bracket::Closed => self.fault(start, "unexpected right bracket ']'"),
            ']' => {
                self.at += 1;
                self.bracket = Bracket::Closed;
                Ok(Kind::RightBracket)
            }
            c => self.fault(start, format!("unexpected character: {}", quote_char(c))),
        }
    }

    fn end(&self, start: usize) -> Result<Kind, Fault> {
        if self.paren_depth != 0 {
            return self.fault(start, "unclosed left parenthesis");
        }
        if self.bracket != Bracket::Closed {
            return self.fault(start, "unclosed left bracket");
        }
        Ok(Kind::Eof)
    }

    fn parenthesis(&mut self, start: usize, c: char) -> Result<Kind, Fault> {
        self.at += 1;
        if c == '(' {
            self.paren_depth += 1;
            return Ok(Kind::LeftParen);
        }
        match self.paren_depth.checked_sub(1) {
            Some(depth) => {
                self.paren_depth = depth;
                Ok(Kind::RightParen)
            }
            // Upstream has taken the token by then: the place is behind it.
            None => self.fault(start + 1, "unexpected right parenthesis ')'"),
        }
    }

    /// A keyword, an identifier, or inside brackets a colon or one of the words of duration expressions.
    fn word(&mut self, start: usize, c: char) -> Result<Kind, Fault> {
        if self.bracket != Bracket::Closed {
            return self.bracket_word(start, c, "unexpected character: ", ", expected ':'");
        }
        let Some(word) = self.take(word(self.rest())) else {
            return self.fault(start, format!("unexpected character: {}", quote_char(c)));
        };
        Ok(match Kind::keyword(word) {
            // So that metrics called `fill` go on working.
            Some(Kind::Fill | Kind::FillLeft | Kind::FillRight) if !self.parenthesis_follows() => Kind::Identifier,
            Some(kind) => kind,
            None if word.contains(':') => Kind::MetricIdentifier,
            None => Kind::Identifier,
        })
    }

    fn parenthesis_follows(&self) -> bool {
        self.rest().trim_start_matches([' ', '\t', '\n', '\r']).starts_with('(')
    }

    fn bracket_word(&mut self, start: usize, c: char, before: &str, after: &str) -> Result<Kind, Fault> {
        if c == ':' {
            if self.got_colon {
                return self.fault(start, "unexpected colon ':'");
            }
            self.at += 1;
            self.got_colon = true;
            return Ok(Kind::Colon);
        }
        let letters = take_while1::<_, _, nom::error::Error<&str>>(is_alpha).parse(self.rest());
        let kind = letters.as_ref().ok().and_then(|(_, word)| Kind::keyword(word));
        match kind {
            Some(kind @ (Kind::Step | Kind::Range | Kind::MaxOf | Kind::MinOf)) => {
                self.take(letters);
                Ok(kind)
            }
            _ => self.fault(start, format!("{before}{}{after}", quote_char(c))),
        }
    }

    /// Inside brackets, before the first number.
    fn in_brackets(&mut self, start: usize) -> Result<Kind, Fault> {
        let Some(c) = self.peek() else {
            return self.fault(start, "unexpected end of input in duration expression");
        };
        match c {
            ']' => {
                self.at += 1;
                self.bracket = Bracket::Closed;
                self.got_colon = false;
                Ok(Kind::RightBracket)
            }
            ':' if !self.got_duration => {
                self.fault(start + 1, "unexpected colon before duration in duration expression")
            }
            ':' if self.got_colon => self.fault(start + 1, "unexpected repeated colon in duration expression"),
            ':' => {
                self.at += 1;
                self.got_colon = true;
                Ok(Kind::Colon)
            }
            '(' | ')' => self.parenthesis(start, c),
            '+' | '-' | '*' | '/' | '%' | '^' | ',' => {
                let kind = self.take(operator(self.rest()));
                kind.map_or_else(|| self.fault(start, "unexpected operator in duration expression"), Ok)
            }
            _ if starts_number(self.rest()) => {
                self.got_duration = true;
                self.bracket = Bracket::AfterNumber;
                self.number_or_duration(start)
            }
            c => self.bracket_word(start, c, "unexpected character in duration expression: ", ""),
        }
    }

    fn in_braces(&mut self, start: usize) -> Result<Kind, Fault> {
        let Some(c) = self.peek() else {
            return self.fault(start, "unexpected end of input inside braces");
        };
        if let Some(kind) = self.take(brace_operator(self.rest())) {
            return Ok(kind);
        }
        match c {
            c if is_alpha(c) => {
                self.take(identifier(self.rest()));
                Ok(Kind::Identifier)
            }
            '"' | '\'' | '`' => self.string(start),
            '!' => {
                let next = quote_after(self.rest());
                self.fault(start, format!("unexpected character after '!' inside braces: {next}"))
            }
            '{' => self.fault(start, "unexpected left brace '{'"),
            '}' => {
                self.at += 1;
                self.brace_open = false;
                Ok(Kind::RightBrace)
            }
            c => self.fault(start, format!("unexpected character inside braces: {}", quote_char(c))),
        }
    }

    fn string(&mut self, start: usize) -> Result<Kind, Fault> {
        match string_literal::scan(self.rest()) {
            Ok(length) => {
                self.at += length;
                Ok(Kind::String)
            }
            Err(message) => self.fault(start, message),
        }
    }

    fn number_or_duration(&mut self, start: usize) -> Result<Kind, Fault> {
        let (length, whole) = scan_number(self.rest());
        self.at = start + length;
        if whole {
            return Ok(Kind::Number);
        }
        let tail = self.take(duration_tail(self.rest()));
        if tail.is_some() && !self.peek().is_some_and(is_alphanumeric) {
            return Ok(Kind::Duration);
        }
        // What upstream has read by then: behind a unit all digits, or one letter.
        let digits = self.rest().len() - self.rest().trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let letter = usize::from(self.peek().is_some_and(is_alpha));
        let next = if tail.is_some() { digits.max(letter) } else { 0 };
        let bad = self.text.get(start..self.at + next).unwrap_or_default();
        self.fault(start, format!("bad number or duration syntax: {}", model::quote::quote(bad)))
    }
}

fn quote_after(text: &str) -> String {
    text.chars().nth(1).map_or_else(|| "'\\ufffd'".to_owned(), quote_char)
}

fn starts_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    digit(0) || (bytes.first() == Some(&b'.') && digit(1))
}

/// How far a number reaches, and whether it is one: where it stops a duration's unit may follow, or an error.
pub(crate) fn scan_number(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    let hex = bytes.first() == Some(&b'0') && matches!(bytes.get(1), Some(b'x' | b'X'));
    let digit = |b: u8| if hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() };
    // A point at the very start does not count as one, as upstream has it: `.5.` is taken whole, and is no number.
    let mut at = if hex { 2 } else { usize::from(bytes.first() == Some(&b'.')) };
    if hex && bytes.get(at) == Some(&b'_') {
        at += 1;
    }
    let (mut dot, mut exponent) = (false, false);
    while let Some(&b) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        match b {
            b if digit(b) => at += 1,
            b'.' if !dot && matches!(next, Some(b'_' | b'.')) => return (at + 2, false),
            b'.' if dot || hex => return (at + 1, false),
            b'.' => {
                dot = true;
                at += 1;
            }
            b'e' | b'E' if exponent => return (at + 1, false),
            b'e' | b'E' => {
                exponent = true;
                at += 1 + usize::from(matches!(next, Some(b'+' | b'-')));
                if matches!(bytes.get(at), None | Some(b'.' | b'_' | b'e' | b'E')) {
                    return ((at + 1).min(bytes.len()), false);
                }
            }
            b'_' if matches!(next, None | Some(b'.' | b'_' | b'e' | b'E')) => {
                return ((at + 2).min(bytes.len()), false);
            }
            b'_' => at += 1,
            _ => break,
        }
    }
    let follows = text.get(at..).and_then(|rest| rest.chars().next()).is_some_and(is_alphanumeric);
    (at, !follows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let lexed = lex(text);
        let shown: Vec<String> = lexed
            .tokens
            .iter()
            .map(|t| match t.kind {
                Kind::Error => format!("!{}", lexed.error.as_deref().unwrap_or_default()),
                Kind::Eof => "$".to_owned(),
                kind => format!("{kind:?}:{}", text.get(t.span.start..t.span.end).unwrap_or_default()),
            })
            .collect();
        assert_eq!(shown.join(" "), expected, "{text}");
    }

    #[test]
    fn words_depend_on_where_they_stand() {
        check("SUM by(sum)", "Sum:SUM By:by LeftParen:( Sum:sum RightParen:) $");
        check("{sum=~'a'}", "LeftBrace:{ Identifier:sum Regex:=~ String:'a' RightBrace:} $");
        check("a:b # c\n+ fill", "MetricIdentifier:a:b Add:+ Identifier:fill $");
        check("fill (", "Fill:fill LeftParen:( !unclosed left parenthesis");
        check(
            "foo[5m:step()]",
            "Identifier:foo LeftBracket:[ Duration:5m Colon:: Step:step LeftParen:( RightParen:) RightBracket:] $",
        );
    }

    #[test]
    fn numbers_and_durations() {
        check(
            "1 .5 1.e3 0x1F 1_000 1h30m 5ms Inf",
            "Number:1 Number:.5 Number:1.e3 Number:0x1F Number:1_000 Duration:1h30m Duration:5ms Number:Inf $",
        );
        for (text, bad) in [("2.5.", "2.5."), ("100..4", "100.."), ("0deadbeef", "0de"), ("5mm", "5mm"), ("5m1", "5m1")]
        {
            check(text, &format!("!bad number or duration syntax: {bad:?}"));
        }
    }

    #[test]
    fn faults_have_upstreams_words() {
        check("a !~ b", "Identifier:a !unexpected character after '!': '~'");
        check("a =~ b", "Identifier:a !unexpected character after '=': '~'");
        check("1)", "Number:1 !unexpected right parenthesis ')'");
        check("foo[5m", "Identifier:foo LeftBracket:[ Duration:5m !unclosed left bracket");
        check("foo[5mx]", "Identifier:foo LeftBracket:[ !bad number or duration syntax: \"5mx\"");
        check("foo[\"5m\"]", "Identifier:foo LeftBracket:[ !unexpected character in duration expression: '\"'");
        check("{a:b}", "LeftBrace:{ Identifier:a !unexpected character inside braces: ':'");
        check("\"abc", "!unterminated quoted string");
    }
}
