//! Pieces of an expression and their repetition.

use regex_syntax::hir::{Capture, Class, ClassUnicode, Hir, Repetition};

use super::cursor::Cursor;
use crate::pattern::PatternError;

/// The most a piece may be repeated, nested counts multiplied, as in Go.
const COUNT_MAX: u32 = 1000;

/// How often something is repeated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    min: u32,
    /// `None` has no end.
    max: Option<u32>,
    /// Whether written in braces.
    explicit: bool,
}

/// What a piece is to the one around it, which swallows its own kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Characters, with or without their other cases.
    Literal,
    Concat,
    Alternation,
    Other,
}

/// A parsed part of an expression, with what its limits are counted by.
#[derive(Debug)]
pub(super) struct Piece {
    hir: Hir,
    kind: Kind,
    /// Nesting of groups and operators.
    height: u32,
    /// The largest product of nested counts, at least 1.
    copies: u32,
    /// How many pieces it is joined from, those of its own pieces included.
    width: usize,
}

impl Piece {
    pub(super) fn literal(text: &str) -> Self {
        Self { hir: Hir::literal(text.as_bytes()), kind: Kind::Literal, height: 1, copies: 1, width: 1 }
    }

    /// A character that also matches in its other cases.
    pub(super) fn cases(class: ClassUnicode) -> Self {
        Self { kind: Kind::Literal, ..Self::leaf(Hir::class(Class::Unicode(class))) }
    }

    pub(super) fn leaf(hir: Hir) -> Self {
        Self { hir, kind: Kind::Other, height: 1, copies: 1, width: 1 }
    }

    pub(super) fn concat(pieces: Vec<Self>) -> Self {
        Self::joined(pieces, Kind::Concat, Hir::concat)
    }

    pub(super) fn alternation(pieces: Vec<Self>) -> Self {
        Self::joined(pieces, Kind::Alternation, Hir::alternation)
    }

    fn joined(mut pieces: Vec<Self>, kind: Kind, join: impl FnOnce(Vec<Hir>) -> Hir) -> Self {
        if pieces.len() == 1
            && let Some(only) = pieces.pop()
        {
            return only;
        }
        let all_literal = kind == Kind::Concat && pieces.iter().all(|p| p.kind == Kind::Literal);
        let kind = match kind {
            _ if pieces.is_empty() => Kind::Other,
            _ if all_literal => Kind::Literal,
            _ => kind,
        };
        let inner = pieces.iter().map(|p| p.height - u32::from(p.kind == kind)).max().unwrap_or(0);
        let copies = pieces.iter().map(|p| p.copies).max().unwrap_or(1);
        let width = pieces.iter().map(|p| p.width).sum::<usize>().max(1);
        let hir = join(pieces.into_iter().map(|p| p.hir).collect());
        Self { hir, kind, height: inner + 1, copies, width }
    }

    pub(super) fn captured(self, index: usize) -> Self {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let hir = Hir::capture(Capture { index, name: None, sub: Box::new(self.hir) });
        Self { hir, kind: Kind::Other, height: self.height + 1, copies: self.copies, width: 1 }
    }

    /// The piece repeated, or `None` if that makes too many copies.
    pub(super) fn repeated(self, counts: Counts, greedy: bool) -> Option<Self> {
        let copies = match counts {
            Counts { explicit: false, .. } => self.copies,
            Counts { max: Some(0), .. } => 1,
            Counts { min, max, .. } => self.copies.saturating_mul(max.unwrap_or(min).max(1)),
        };
        if copies > COUNT_MAX {
            return None;
        }
        let repetition = Repetition { min: counts.min, max: counts.max, greedy, sub: Box::new(self.hir) };
        Some(Self { hir: Hir::repetition(repetition), kind: Kind::Other, height: self.height + 1, copies, width: 1 })
    }

    pub(super) fn height(&self) -> u32 {
        self.height
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn into_hir(self) -> Hir {
        self.hir
    }
}

/// Reads `*`, `+`, `?`, `{n}`, `{n,}` or `{n,m}`; `None`, with nothing read, at a brace that is meant literally.
pub(super) fn counts(cursor: &mut Cursor<'_>) -> Result<Option<Counts>, PatternError> {
    let start = cursor.offset();
    let (min, max) = match cursor.peek() {
        Some('*') => (0, None),
        Some('+') => (1, None),
        Some('?') => (0, Some(1)),
        _ => {
            let Some((min, max)) = braced(cursor) else {
                cursor.rewind(start);
                return Ok(None);
            };
            if min.max(max.unwrap_or(min)) > COUNT_MAX || max.is_some_and(|max| min > max) {
                return Err(cursor.refuse("invalid repeat count", start));
            }
            return Ok(Some(Counts { min, max, explicit: true }));
        }
    };
    cursor.bump();
    Ok(Some(Counts { min, max, explicit: false }))
}

fn braced(cursor: &mut Cursor<'_>) -> Option<(u32, Option<u32>)> {
    cursor.bump_if(|c| c == '{')?;
    let min = number(cursor)?;
    if cursor.eat("}") {
        return Some((min, Some(min)));
    }
    cursor.bump_if(|c| c == ',')?;
    if cursor.eat("}") {
        return Some((min, None));
    }
    let max = number(cursor)?;
    cursor.bump_if(|c| c == '}')?;
    Some((min, Some(max)))
}

/// A number without leading zeros; too large a one stays too large.
fn number(cursor: &mut Cursor<'_>) -> Option<u32> {
    let first = cursor.bump_if(|c| c.is_ascii_digit())?.to_digit(10)?;
    let mut value = first;
    while let Some(digit) = cursor.bump_if(|c| c.is_ascii_digit()).and_then(|c| c.to_digit(10)) {
        if first == 0 {
            return None;
        }
        value = value.saturating_mul(10).saturating_add(digit);
    }
    Some(value)
}
