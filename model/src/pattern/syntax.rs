//! Go's regular-expression syntax (RE2 with Perl's classes and flags), parsed into the form `regex-automata` compiles.
//!
//! One loop over the text with an explicit stack of open groups, so that no depth of nesting costs call stack here. What
//! recurses over the result later is bounded by [`HEIGHT_MAX`].

mod class;
mod cursor;
mod escape;
mod group;
mod repeat;
mod unicode;

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, Look};

use self::class::code_point_range;
use self::cursor::Cursor;
use self::group::{Frame, Opening};
use self::repeat::Piece;
use super::PatternError;

/// The deepest nesting of groups and operators, as in Go.
const HEIGHT_MAX: u32 = 1000;
/// What a parsed expression may cost: one for each range of its classes (more where their other cases are looked up),
/// [`PIECE_COST`] for each of its pieces, and one for each piece that a group hands to the group around it.
const COST_MAX: usize = 4 * 1024 * 1024;
/// What a piece costs beyond its ranges.
const PIECE_COST: usize = 8;

/// An expression ready to compile.
pub(super) struct Parsed {
    pub(super) hir: Hir,
    /// Name of each group by index; 0 is the whole match.
    pub(super) group_names: Vec<Option<Box<str>>>,
}

/// What `.` matches where the expression does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dot {
    /// Every character.
    Anything,
    /// Every character but the newline.
    NotNewline,
}

/// What `(?imsU)` switches.
#[derive(Debug, Clone, Copy)]
struct Flags {
    /// `i`: letters match both cases.
    fold: bool,
    /// `m`: `^` and `$` match at lines.
    multi_line: bool,
    /// `s`: `.` matches newlines.
    dot_newline: bool,
    /// `U`: `x*` is lazy and `x*?` greedy.
    swap_greed: bool,
}

/// Parses `expression`; nothing is anchored.
pub(super) fn parse(expression: &str, dot: Dot) -> Result<Parsed, PatternError> {
    let flags = Flags { fold: false, multi_line: false, dot_newline: dot == Dot::Anything, swap_greed: false };
    let mut parser = Parser {
        cursor: Cursor::new(expression, COST_MAX),
        flags,
        frame: Frame::new(0, None, flags),
        outer: Vec::new(),
        group_names: vec![None],
        operator_start: None,
    };
    while let Some(c) = parser.cursor.peek() {
        parser.step(c)?;
    }
    parser.finish()
}

struct Parser<'t> {
    cursor: Cursor<'t>,
    flags: Flags,
    /// The innermost open group, or the whole expression.
    frame: Frame,
    /// The groups around it, outermost first.
    outer: Vec<Frame>,
    group_names: Vec<Option<Box<str>>>,
    /// Where the repetition operator just before the cursor starts, if there is one.
    operator_start: Option<usize>,
}

impl Parser<'_> {
    /// Reads the item that starts with `c`.
    fn step(&mut self, c: char) -> Result<(), PatternError> {
        let operator_before = self.operator_start.take();
        match c {
            '(' => self.open(),
            ')' => self.close(),
            '|' => {
                self.cursor.bump();
                self.frame.end_branch();
                Ok(())
            }
            '[' => {
                let class = class::bracketed(&mut self.cursor, self.flags.fold)?;
                self.push_class(class)
            }
            '.' => {
                self.cursor.bump();
                self.push_class(any_character(self.flags.dot_newline))
            }
            '^' => self.push_look(1, if self.flags.multi_line { Look::StartLF } else { Look::Start }),
            '$' => self.push_look(1, if self.flags.multi_line { Look::EndLF } else { Look::End }),
            '*' | '+' | '?' | '{' => self.repeat(operator_before),
            '\\' => self.escape(),
            _ => {
                self.cursor.bump();
                self.push_literal(u32::from(c))
            }
        }
    }

    fn open(&mut self) -> Result<(), PatternError> {
        let start = self.cursor.offset();
        let (capture, inner_flags) = match group::opening(&mut self.cursor, self.flags)? {
            Opening::Flags(flags) => {
                self.flags = flags;
                return Ok(());
            }
            Opening::Group(flags) => (None, flags),
            Opening::Capture(name) => {
                self.group_names.push(name);
                (Some(self.group_names.len() - 1), self.flags)
            }
        };
        let frame = Frame::new(start, capture, self.flags);
        self.outer.push(std::mem::replace(&mut self.frame, frame));
        self.flags = inner_flags;
        Ok(())
    }

    fn close(&mut self) -> Result<(), PatternError> {
        let Some(outer) = self.outer.pop() else {
            return Err(self.cursor.refuse_whole("unexpected )", self.cursor.offset()));
        };
        self.cursor.bump();
        let inner = std::mem::replace(&mut self.frame, outer);
        self.flags = inner.flags_outside();
        let piece = inner.into_piece();
        // What is joined with the outer group's pieces is moved once per level.
        self.cursor.spend(piece.width())?;
        self.push(piece)
    }

    fn repeat(&mut self, operator_before: Option<usize>) -> Result<(), PatternError> {
        let start = self.cursor.offset();
        let Some(counts) = repeat::counts(&mut self.cursor)? else {
            self.cursor.bump();
            return self.push_literal(u32::from('{'));
        };
        let lazy = self.cursor.eat("?");
        if let Some(before) = operator_before {
            return Err(self.cursor.refuse("invalid nested repetition operator", before));
        }
        let Some(piece) = self.frame.take_last() else {
            return Err(self.cursor.refuse("missing argument to repetition operator", start));
        };
        let greedy = lazy == self.flags.swap_greed;
        let Some(repeated) = piece.repeated(counts, greedy) else {
            return Err(self.cursor.refuse("invalid repeat count", start));
        };
        self.operator_start = Some(start);
        self.push(repeated)
    }

    fn escape(&mut self) -> Result<(), PatternError> {
        match self.cursor.peek_second() {
            Some('A') => return self.push_look(2, Look::Start),
            Some('z') => return self.push_look(2, Look::End),
            Some('b') => return self.push_look(2, Look::WordAscii),
            Some('B') => return self.push_look(2, Look::WordAsciiNegate),
            Some('Q') => {
                self.cursor.skip(2);
                for c in self.cursor.take_until("\\E").chars() {
                    self.push_literal(u32::from(c))?;
                }
                return Ok(());
            }
            _ => {}
        }
        if let Some(ranges) = class::escaped(&mut self.cursor, self.flags.fold)? {
            return self.push_class(ClassUnicode::new(ranges));
        }
        let code_point = escape::code_point(&mut self.cursor)?;
        self.push_literal(code_point)
    }

    fn push_look(&mut self, bytes: usize, look: Look) -> Result<(), PatternError> {
        self.cursor.skip(bytes);
        self.push(Piece::leaf(Hir::look(look)))
    }

    fn push_class(&mut self, class: ClassUnicode) -> Result<(), PatternError> {
        self.cursor.spend(class.ranges().len())?;
        self.push(Piece::leaf(Hir::class(Class::Unicode(class))))
    }

    /// Appends one character, or its cases where case does not matter. A surrogate is in no text and matches nothing.
    fn push_literal(&mut self, code_point: u32) -> Result<(), PatternError> {
        let Some(c) = char::from_u32(code_point) else {
            return self.push(Piece::leaf(Hir::fail()));
        };
        if self.flags.fold {
            let cases = class::folded(ClassUnicode::new(code_point_range(code_point, code_point)))?;
            if cases.ranges().len() != 1 || cases.ranges()[0].start() != cases.ranges()[0].end() {
                self.cursor.spend(cases.ranges().len() + PIECE_COST)?;
                return self.push(Piece::cases(cases));
            }
        }
        self.frame.push_char(c);
        Ok(())
    }

    fn push(&mut self, piece: Piece) -> Result<(), PatternError> {
        self.cursor.spend(PIECE_COST)?;
        if piece.height() > HEIGHT_MAX {
            return Err(self.cursor.refuse_whole("expression nests too deeply", self.cursor.offset()));
        }
        self.frame.push(piece);
        Ok(())
    }

    fn finish(self) -> Result<Parsed, PatternError> {
        if !self.outer.is_empty() {
            return Err(self.cursor.refuse_whole("missing closing )", self.frame.start()));
        }
        let piece = self.frame.into_piece();
        if piece.height() > HEIGHT_MAX {
            return Err(self.cursor.refuse_whole("expression nests too deeply", 0));
        }
        Ok(Parsed { hir: piece.into_hir(), group_names: self.group_names })
    }
}

/// The class of `.`: one range over everything, which the shapes of `Pattern` know by sight.
fn any_character(newline: bool) -> ClassUnicode {
    if newline {
        return ClassUnicode::new([ClassUnicodeRange::new('\0', char::MAX)]);
    }
    ClassUnicode::new([ClassUnicodeRange::new('\0', '\t'), ClassUnicodeRange::new('\u{b}', char::MAX)])
}
