//! Classes of characters: `[a-z]`, `[[:alpha:]]`, `\d`, `\pL`.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use super::cursor::Cursor;
use super::{escape, unicode};
use crate::pattern::PatternError;

type Ranges = Vec<ClassUnicodeRange>;

/// POSIX's classes, in bytes.
const POSIX: [(&str, &[(u8, u8)]); 14] = [
    ("alnum", &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')]),
    ("alpha", &[(b'A', b'Z'), (b'a', b'z')]),
    ("ascii", &[(0, 0x7F)]),
    ("blank", &[(b'\t', b'\t'), (b' ', b' ')]),
    ("cntrl", &[(0, 0x1F), (0x7F, 0x7F)]),
    ("digit", &[(b'0', b'9')]),
    ("graph", &[(b'!', b'~')]),
    ("lower", &[(b'a', b'z')]),
    ("print", &[(b' ', b'~')]),
    ("punct", &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')]),
    ("space", &[(b'\t', b'\r'), (b' ', b' ')]),
    ("upper", &[(b'A', b'Z')]),
    ("word", WORD),
    ("xdigit", &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')]),
];
const WORD: &[(u8, u8)] = &[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')];
const DIGIT: &[(u8, u8)] = &[(b'0', b'9')];
/// Perl's white space, which lacks POSIX's vertical tab.
const SPACE: &[(u8, u8)] = &[(b'\t', b'\n'), (0x0C, b'\r'), (b' ', b' ')];

/// What the other cases of a range cost, as looking them up takes its time.
const FOLD_COST: usize = 16;
/// So many characters of a range cost one more.
const FOLD_FREE: usize = 16;

/// Reads a class in brackets, at the opening one.
pub(super) fn bracketed(cursor: &mut Cursor<'_>, fold: bool) -> Result<ClassUnicode, PatternError> {
    let start = cursor.offset();
    cursor.skip(1);
    let negated = cursor.eat("^");
    let mut ranges = Ranges::new();
    let mut first = true;
    while first || !cursor.eat("]") {
        first = false;
        let found = match posix(cursor, fold)? {
            Some(found) => found,
            None => match escaped(cursor, fold)? {
                Some(found) => found,
                None => range(cursor, start)?,
            },
        };
        cursor.spend(found.len())?;
        ranges.extend(found);
    }
    finished(cursor, ClassUnicode::new(ranges), fold, negated).map(ClassUnicode::new)
}

/// Reads `\d` and its like, or `\pN` and its like; `None`, with nothing read, if the cursor is at something else.
pub(super) fn escaped(cursor: &mut Cursor<'_>, fold: bool) -> Result<Option<Ranges>, PatternError> {
    if cursor.peek() != Some('\\') {
        return Ok(None);
    }
    let Some(letter) = cursor.peek_second() else {
        return Ok(None);
    };
    let bytes = match letter.to_ascii_lowercase() {
        'd' => DIGIT,
        's' => SPACE,
        'w' => WORD,
        'p' => return unicode::property(cursor, fold).map(Some),
        _ => return Ok(None),
    };
    cursor.skip(2);
    finished(cursor, byte_class(bytes), fold, letter.is_ascii_uppercase()).map(Some)
}

/// The class with the other cases of its characters, if wanted, and then all but these, if wanted.
pub(super) fn finished(
    cursor: &mut Cursor<'_>,
    mut class: ClassUnicode,
    fold: bool,
    negated: bool,
) -> Result<Ranges, PatternError> {
    if fold {
        let wide: usize = class.ranges().iter().map(|range| range.len() / FOLD_FREE).sum();
        cursor.spend(wide + FOLD_COST * (1 + class.ranges().len()))?;
        class = folded(class)?;
    }
    if negated {
        class.negate();
    }
    Ok(class.ranges().to_vec())
}

/// The class with the other cases of its characters.
pub(super) fn folded(mut class: ClassUnicode) -> Result<ClassUnicode, PatternError> {
    match class.try_case_fold_simple() {
        Ok(()) => Ok(class),
        Err(e) => Err(PatternError { reason: format!("cannot fold case: {e}"), offset: 0 }),
    }
}

/// The characters from `low` to `high`; surrogates are none.
pub(super) fn code_point_range(low: u32, high: u32) -> Option<ClassUnicodeRange> {
    let low = char::from_u32(low).unwrap_or('\u{E000}');
    let high = char::from_u32(high).unwrap_or('\u{D7FF}');
    (low <= high).then(|| ClassUnicodeRange::new(low, high))
}

/// Reads `[:alpha:]` or `[:^alpha:]`.
fn posix(cursor: &mut Cursor<'_>, fold: bool) -> Result<Option<Ranges>, PatternError> {
    let start = cursor.offset();
    let Some((name, _)) = cursor.rest().strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
        return Ok(None);
    };
    cursor.skip(name.len() + "[::]".len());
    let (negated, name) = match name.strip_prefix('^') {
        Some(name) => (true, name),
        None => (false, name),
    };
    match POSIX.iter().find(|(known, _)| *known == name) {
        Some((_, bytes)) => finished(cursor, byte_class(bytes), fold, negated).map(Some),
        None => Err(cursor.refuse("invalid character class range", start)),
    }
}

/// Reads `a` or `a-z` in the class that starts at `class_start`.
fn range(cursor: &mut Cursor<'_>, class_start: usize) -> Result<Ranges, PatternError> {
    let start = cursor.offset();
    let low = code_point(cursor, class_start)?;
    let rest = cursor.rest();
    if !rest.starts_with('-') || rest.len() < 2 || rest.starts_with("-]") {
        return Ok(code_point_range(low, low).into_iter().collect());
    }
    cursor.skip(1);
    let high = code_point(cursor, class_start)?;
    if high < low {
        return Err(cursor.refuse("invalid character class range", start));
    }
    Ok(code_point_range(low, high).into_iter().collect())
}

fn code_point(cursor: &mut Cursor<'_>, class_start: usize) -> Result<u32, PatternError> {
    if cursor.peek() == Some('\\') {
        return escape::code_point(cursor);
    }
    cursor.bump().map(u32::from).ok_or_else(|| cursor.refuse_rest("missing closing ]", class_start))
}

fn byte_class(ranges: &[(u8, u8)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|&(low, high)| ClassUnicodeRange::new(low.into(), high.into())))
}
