//! Groups: their opening, with name or flags, and what is collected while they are open.

use super::Flags;
use super::cursor::Cursor;
use super::repeat::Piece;
use crate::pattern::PatternError;

/// What an opening parenthesis turned out to be.
pub(super) enum Opening {
    /// `(`, `(?P<name>` or `(?<name>`.
    Capture(Option<Box<str>>),
    /// `(?i:`, with the flags inside it.
    Group(Flags),
    /// `(?i)`, which is no group but sets the flags to the end of the group around it.
    Flags(Flags),
}

/// An open group: the branches that are complete, and the one being read.
pub(super) struct Frame {
    start: usize,
    capture: Option<usize>,
    flags_outside: Flags,
    branches: Vec<Piece>,
    branch: Vec<Piece>,
    /// Characters that follow `branch` and are not yet a piece of it.
    literal: String,
}

impl Frame {
    pub(super) fn new(start: usize, capture: Option<usize>, flags_outside: Flags) -> Self {
        Self { start, capture, flags_outside, branches: Vec::new(), branch: Vec::new(), literal: String::new() }
    }

    pub(super) fn start(&self) -> usize {
        self.start
    }

    pub(super) fn flags_outside(&self) -> Flags {
        self.flags_outside
    }

    pub(super) fn push_char(&mut self, c: char) {
        self.literal.push(c);
    }

    pub(super) fn push(&mut self, piece: Piece) {
        self.end_literal();
        self.branch.push(piece);
    }

    /// Takes back what a repetition operator binds to.
    pub(super) fn take_last(&mut self) -> Option<Piece> {
        match self.literal.pop() {
            Some(c) => Some(Piece::literal(c.encode_utf8(&mut [0; 4]))),
            None => self.branch.pop(),
        }
    }

    /// Ends a branch, at `|`.
    pub(super) fn end_branch(&mut self) {
        self.end_literal();
        self.branches.push(Piece::concat(std::mem::take(&mut self.branch)));
    }

    pub(super) fn into_piece(mut self) -> Piece {
        self.end_branch();
        let piece = Piece::alternation(self.branches);
        match self.capture {
            Some(index) => piece.captured(index),
            None => piece,
        }
    }

    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            self.branch.push(Piece::literal(&std::mem::take(&mut self.literal)));
        }
    }
}

/// Reads a group's opening, at its parenthesis.
pub(super) fn opening(cursor: &mut Cursor<'_>, flags: Flags) -> Result<Opening, PatternError> {
    let start = cursor.offset();
    cursor.skip(1);
    if !cursor.eat("?") {
        return Ok(Opening::Capture(None));
    }
    // At the very end of the expression the name is not missing: the flag is unknown, as Go has it.
    let named = ["P<", "<"].into_iter().find(|mark| cursor.rest().strip_prefix(mark).is_some_and(|r| !r.is_empty()));
    if let Some(mark) = named {
        cursor.skip(mark.len());
        return name(cursor, start).map(|name| Opening::Capture(Some(name)));
    }
    flag_letters(cursor, flags, start)
}

fn name(cursor: &mut Cursor<'_>, start: usize) -> Result<Box<str>, PatternError> {
    const FAULT: &str = "invalid named capture";
    if !cursor.rest().contains('>') {
        return Err(cursor.refuse_rest(FAULT, start));
    }
    let name = cursor.take_until(">");
    if name.is_empty() || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
        return Err(cursor.refuse(FAULT, start));
    }
    Ok(name.into())
}

/// Reads `imsU-imsU` and the `)` or `:` after it.
fn flag_letters(cursor: &mut Cursor<'_>, mut flags: Flags, start: usize) -> Result<Opening, PatternError> {
    let mut value = true;
    // A minus wants something after it.
    let mut complete = true;
    while let Some(c) = cursor.bump() {
        match c {
            'i' => flags.fold = value,
            'm' => flags.multi_line = value,
            's' => flags.dot_newline = value,
            'U' => flags.swap_greed = value,
            '-' if value => value = false,
            ')' if complete => return Ok(Opening::Flags(flags)),
            ':' if complete => return Ok(Opening::Group(flags)),
            _ => break,
        }
        complete = c != '-';
    }
    Err(cursor.refuse("invalid or unsupported Perl syntax", start))
}
