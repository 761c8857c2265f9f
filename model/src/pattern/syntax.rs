//! Go's regular-expression syntax, parsed into the form `regex-automata` compiles.
use regex_syntax::hir::Hir;

use super::PatternError;

/// An expression ready to compile.
pub(super) struct Parsed {
    pub(super) hir: Hir,
    /// Name of each group by index; 0 is the whole match.
    pub(super) group_names: Vec<Option<Box<str>>>,
}

pub(super) fn parse(expression: &str) -> Result<Parsed, PatternError> {
    let hir = regex_syntax::ParserBuilder::new()
        .dot_matches_new_line(true)
        .build()
        .parse(expression)
        .map_err(|e| PatternError { reason: e.to_string(), offset: 0 })?;
    Ok(Parsed { hir, group_names: vec![None] })
}
