//! Unicode's categories and scripts: `\pL`, `\p{Greek}`, `\P{^Lu}`.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

use super::class;
use super::cursor::Cursor;
use crate::pattern::PatternError;

/// The scripts whose name is as long as a script's code.
const SCRIPTS_OF_FOUR_LETTERS: [&str; 9] = ["ahom", "cham", "kawi", "lisu", "miao", "modi", "newa", "thai", "toto"];

/// Reads a property, at its backslash.
pub(super) fn property(cursor: &mut Cursor<'_>, fold: bool) -> Result<Vec<ClassUnicodeRange>, PatternError> {
    const FAULT: &str = "invalid character class range";
    let start = cursor.offset();
    let mut negated = cursor.rest().starts_with("\\P");
    cursor.skip(2);
    let name_start = cursor.rest();
    let name = if cursor.eat("{") {
        if !cursor.rest().contains('}') {
            return Err(cursor.refuse_rest(FAULT, start));
        }
        cursor.take_until("}")
    } else {
        let bytes = cursor.bump().map_or(0, char::len_utf8);
        name_start.get(..bytes).unwrap_or("")
    };
    let name = match name.strip_prefix('^') {
        Some(name) => {
            negated = !negated;
            name
        }
        None => name,
    };
    let class = named(name).ok_or_else(|| cursor.refuse(FAULT, start))?;
    class::finished(cursor, class, fold, negated)
}

/// The characters of a category or script, by its name in Go: case, `_`, `-` and spaces do not matter.
fn named(name: &str) -> Option<ClassUnicode> {
    let name: String = name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).map(|c| c.to_ascii_lowercase()).collect();
    match &*name {
        "any" => return Some(ClassUnicode::new([ClassUnicodeRange::new('\0', char::MAX)])),
        "ascii" => return Some(ClassUnicode::new([ClassUnicodeRange::new('\0', '\x7F')])),
        "assigned" => {
            let mut class = table("gc", "cn")?;
            class.negate();
            return Some(class);
        }
        "cs" | "surrogate" => return Some(ClassUnicode::empty()),
        _ => {}
    }
    // Rust's tables know prefixes and four-letter codes of scripts, which Go's do not.
    if !name.bytes().all(|b| b.is_ascii_alphanumeric()) || name.starts_with("is") {
        return None;
    }
    table("gc", &name).or_else(|| {
        let code = name.len() == 4 && !SCRIPTS_OF_FOUR_LETTERS.contains(&&*name);
        if code { None } else { table("sc", &name) }
    })
}

/// Asks the parser of Rust's syntax, which holds Unicode's tables.
fn table(kind: &str, name: &str) -> Option<ClassUnicode> {
    match regex_syntax::parse(&format!("\\p{{{kind}={name}}}")).ok()?.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        // A table of one character comes as a literal.
        HirKind::Literal(literal) => {
            let c = std::str::from_utf8(&literal.0).ok()?.chars().next()?;
            Some(ClassUnicode::new([ClassUnicodeRange::new(c, c)]))
        }
        _ => None,
    }
}
