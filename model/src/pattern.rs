//! Anchored regular expressions in Go's RE2 syntax, with fast paths for what label matchers mostly are: a literal, a
//! set of literals, a prefix, a suffix, "anything".
//!
//! The syntax is parsed by our own front end (`pattern/syntax.rs`), because Rust's and Go's differ in many places; the
//! automaton is `regex-automata`'s.

mod syntax;

use std::sync::{Arc, OnceLock};

use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// The most literals a pattern is expanded to; beyond it the automaton is used.
pub const LITERALS_MAX: usize = 10_000;
/// The largest compiled automaton, in bytes.
pub const AUTOMATON_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 1024 * 1024;
/// The longest expression whose automaton may wait until it is asked for: if its shape is known, it cannot be too large.
const LAZY_BYTES_MAX: usize = 32 * 1024;

/// The text is not a regular expression in Go's syntax.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {reason}")]
pub struct PatternError {
    /// What is wrong, in Go's words, with the offending piece.
    pub reason: String,
    /// Where in the expression, in bytes.
    pub offset: usize,
}

/// What an expression comes down to.
#[derive(Debug, Clone)]
enum Shape {
    /// Matches every string: `.*`.
    Anything,
    /// Matches every string but the empty one: `.+`.
    NotEmpty,
    /// Matches exactly these strings, sorted.
    Literals(Vec<Box<str>>),
    /// Matches what starts with the text: `prefix.*`.
    Prefix(Box<str>),
    /// Matches what ends with the text: `.*suffix`.
    Suffix(Box<str>),
    /// Matches what contains the text: `.*infix.*`.
    Contains(Box<str>),
    /// Anything else: the automaton decides, after the prefix every match must have.
    Automaton(Box<str>),
}

/// A compiled expression that matches whole strings only; `.` matches newlines too, as in Prometheus 3.
#[derive(Clone)]
pub struct Pattern {
    expression: Arc<str>,
    shape: Shape,
    /// Built at once if the shape needs it or it may be too large, else when groups are first asked for.
    automaton: Arc<OnceLock<Option<Regex>>>,
    group_names: Arc<[Option<Box<str>>]>,
}

impl Pattern {
    /// Compiles `expression`, anchored at both ends.
    ///
    /// # Errors
    /// If it is not valid in Go's syntax, too long, or too large when compiled.
    pub fn new(expression: &str) -> Result<Self, PatternError> {
        let parsed = parse(expression, syntax::Dot::Anything)?;
        let shape = shape_of(&parsed.hir);
        let automaton = OnceLock::new();
        if matches!(shape, Shape::Automaton(_)) || expression.len() > LAZY_BYTES_MAX {
            let built = compile(&anchored(parsed.hir))?;
            automaton.get_or_init(|| Some(built));
        }
        Ok(Self {
            expression: expression.into(),
            shape,
            automaton: Arc::new(automaton),
            group_names: parsed.group_names.into(),
        })
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.expression
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        match &self.shape {
            Shape::Anything => true,
            Shape::NotEmpty => !text.is_empty(),
            Shape::Literals(set) => set.binary_search_by(|literal| (**literal).cmp(text)).is_ok(),
            Shape::Prefix(prefix) => text.starts_with(&**prefix),
            Shape::Suffix(suffix) => text.ends_with(&**suffix),
            Shape::Contains(infix) => memchr::memmem::find(text.as_bytes(), infix.as_bytes()).is_some(),
            Shape::Automaton(prefix) => {
                text.starts_with(&**prefix) && self.automaton().is_some_and(|automaton| automaton.is_match(text))
            }
        }
    }

    /// All strings it matches, sorted, if they are few enough to list: `a|b|c[12]`.
    pub fn literals(&self) -> Option<&[Box<str>]> {
        match &self.shape {
            Shape::Literals(set) => Some(set),
            _ => None,
        }
    }

    /// What every match starts with; empty if nothing is known.
    pub fn prefix(&self) -> &str {
        match &self.shape {
            Shape::Prefix(prefix) | Shape::Automaton(prefix) => prefix,
            _ => "",
        }
    }

    /// Whether it matches every string.
    pub fn matches_anything(&self) -> bool {
        matches!(self.shape, Shape::Anything)
    }

    /// The groups of a match of the whole of `text`: index 0 is the match itself, a group that took no part is `None`.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Vec<Option<&'t str>>> {
        let automaton = self.automaton()?;
        let mut captures: Captures = automaton.create_captures();
        automaton.captures(text, &mut captures);
        captures.is_match().then(|| groups_of(&captures, text, self.group_names.len()))
    }

    /// Replaces `$1`, `${1}`, `$name`, `${name}` and `$$` in `template` by the groups of a match of the whole of `text`;
    /// `None` if there is no match. Names are the longest run of letters, digits and `_`, as Go's `Regexp.Expand`.
    pub fn expand(&self, text: &str, template: &str) -> Option<String> {
        let groups = self.captures(text)?;
        let mut out = String::with_capacity(template.len() + text.len());
        expand_into(&mut out, template, &groups, &self.group_names);
        Some(out)
    }

    /// The automaton; it is there, because [`Pattern::new`] has built it or knows that it can be built.
    fn automaton(&self) -> Option<&Regex> {
        let build = || compile(&anchored(parse(&self.expression, syntax::Dot::Anything).ok()?.hir)).ok();
        self.automaton.get_or_init(build).as_ref()
    }
}

/// A compiled expression that is looked for anywhere in a text, as templates' `match` and `reReplaceAll` do; `.` does not
/// match newlines.
#[derive(Debug, Clone)]
pub struct Search {
    automaton: Regex,
    group_names: Vec<Option<Box<str>>>,
}

impl Search {
    /// Compiles `expression`.
    ///
    /// # Errors
    /// As [`Pattern::new`].
    pub fn new(expression: &str) -> Result<Self, PatternError> {
        let parsed = parse(expression, syntax::Dot::NotNewline)?;
        let automaton = compile(&parsed.hir)?;
        Ok(Self { automaton, group_names: parsed.group_names })
    }

    /// Whether it occurs in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.automaton.is_match(text)
    }

    /// `text` with every occurrence replaced by `template`, in which `$1` and `${name}` stand for groups.
    pub fn replace_all(&self, text: &str, template: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        for captures in self.automaton.captures_iter(text) {
            let Some(whole) = captures.get_match() else { continue };
            let groups = groups_of(&captures, text, self.group_names.len());
            out.push_str(text.get(end..whole.start()).unwrap_or(""));
            expand_into(&mut out, template, &groups, &self.group_names);
            end = whole.end();
        }
        out.push_str(text.get(end..).unwrap_or(""));
        out
    }
}

fn parse(expression: &str, dot: syntax::Dot) -> Result<syntax::Parsed, PatternError> {
    if expression.len() > EXPRESSION_BYTES_MAX {
        return Err(PatternError { reason: "expression too large".into(), offset: EXPRESSION_BYTES_MAX });
    }
    syntax::parse(expression, dot)
}

fn anchored(hir: Hir) -> Hir {
    Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)])
}

fn compile(hir: &Hir) -> Result<Regex, PatternError> {
    Regex::builder()
        .configure(Regex::config().utf8_empty(true).nfa_size_limit(Some(AUTOMATON_BYTES_MAX)))
        .build_from_hir(hir)
        .map_err(|e| PatternError { reason: format!("expression too large: {e}"), offset: 0 })
}

/// All `count` groups of a match; the automaton does not know those that `{0}` has removed.
fn groups_of<'t>(captures: &Captures, text: &'t str, count: usize) -> Vec<Option<&'t str>> {
    (0..count).map(|i| captures.get_group(i).and_then(|span| text.get(span.range()))).collect()
}

/// Appends `template` with its `$references` replaced.
fn expand_into(out: &mut String, template: &str, groups: &[Option<&str>], names: &[Option<Box<str>>]) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        match group_reference(after) {
            Some((name, tail)) => {
                out.push_str(group_by(name, groups, names).unwrap_or(""));
                rest = tail;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
}

/// The group of this number or, of those with this name, the first that took part.
fn group_by<'t>(name: &str, groups: &[Option<&'t str>], names: &[Option<Box<str>>]) -> Option<&'t str> {
    let leading_zero = name.len() > 1 && name.starts_with('0');
    if let Some(index) = name.parse::<usize>().ok().filter(|_| !leading_zero) {
        return groups.get(index).copied().flatten();
    }
    let mut named = names.iter().zip(groups).filter(|(known, _)| known.as_deref() == Some(name));
    named.find_map(|(_, group)| *group)
}

/// The name after a `$` and what follows it, or `None` if it is no reference and stays as written.
fn group_reference(after: &str) -> Option<(&str, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if let Some(braced) = after.strip_prefix('{') {
        let (name, tail) = braced.split_once('}')?;
        return (!name.is_empty() && name.chars().all(is_word)).then_some((name, tail));
    }
    let end = after.find(|c| !is_word(c)).unwrap_or(after.len());
    (end > 0).then(|| after.split_at(end))
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pattern({:?}, {:?})", self.expression, self.shape)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression
    }
}

fn shape_of(hir: &Hir) -> Shape {
    let hir = unwrap_groups(hir);
    if let Some(inner) = without_anchors(hir) {
        return shape_of(&inner);
    }
    if is_any_star(hir) {
        return Shape::Anything;
    }
    if is_any_plus(hir) {
        return Shape::NotEmpty;
    }
    if let Some(mut literals) = literals_of(hir, LITERALS_MAX) {
        literals.sort_unstable();
        literals.dedup();
        return Shape::Literals(literals.into_iter().map(String::into_boxed_str).collect());
    }
    let HirKind::Concat(parts) = hir.kind() else {
        return Shape::Automaton("".into());
    };
    let (prefix, rest) = leading_literal(parts);
    match rest {
        [end] if is_any_star(end) && !prefix.is_empty() => Shape::Prefix(prefix.into()),
        [start, middle @ ..] if prefix.is_empty() && is_any_star(start) => {
            let (text, tail) = leading_literal(middle);
            match tail {
                [] if !text.is_empty() => Shape::Suffix(text.into()),
                [end] if is_any_star(end) && !text.is_empty() => Shape::Contains(text.into()),
                _ => Shape::Automaton("".into()),
            }
        }
        _ => Shape::Automaton(prefix.into()),
    }
}

/// What is left of `^...$`, whose ends say nothing that is not so anyway.
fn without_anchors(hir: &Hir) -> Option<Hir> {
    let HirKind::Concat(parts) = hir.kind() else {
        return None;
    };
    let is_look = |part: &Hir, look| matches!(part.kind(), HirKind::Look(l) if *l == look);
    let start = parts.iter().take_while(|part| is_look(part, Look::Start)).count();
    let inner = parts.get(start..)?;
    let end = inner.iter().rev().take_while(|part| is_look(part, Look::End)).count();
    let inner = inner.get(..inner.len() - end)?;
    (inner.len() < parts.len()).then(|| Hir::concat(inner.to_vec()))
}

fn unwrap_groups(hir: &Hir) -> &Hir {
    match hir.kind() {
        HirKind::Capture(group) => unwrap_groups(&group.sub),
        _ => hir,
    }
}

fn is_any_star(hir: &Hir) -> bool {
    is_repeated_any(unwrap_groups(hir), 0)
}

fn is_any_plus(hir: &Hir) -> bool {
    is_repeated_any(unwrap_groups(hir), 1)
}

fn is_repeated_any(hir: &Hir, min: u32) -> bool {
    let HirKind::Repetition(repetition) = hir.kind() else {
        return false;
    };
    let HirKind::Class(Class::Unicode(class)) = unwrap_groups(&repetition.sub).kind() else {
        return false;
    };
    let all = class.ranges().len() == 1 && class.ranges()[0].start() == '\0' && class.ranges()[0].end() == char::MAX;
    all && repetition.min == min && repetition.max.is_none()
}

/// The text at the start of a concatenation and the parts after it.
fn leading_literal(parts: &[Hir]) -> (String, &[Hir]) {
    let mut text = String::new();
    let mut rest = parts;
    while let [first, tail @ ..] = rest {
        let HirKind::Literal(literal) = unwrap_groups(first).kind() else {
            break;
        };
        let Ok(piece) = std::str::from_utf8(&literal.0) else {
            break;
        };
        text.push_str(piece);
        rest = tail;
    }
    (text, rest)
}

/// Every string the expression matches, or `None` if they are more than `max` or cannot be listed.
fn literals_of(hir: &Hir, max: usize) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![std::str::from_utf8(&literal.0).ok()?.to_owned()]),
        HirKind::Capture(group) => literals_of(&group.sub, max),
        HirKind::Class(Class::Unicode(class)) => {
            let count: u64 = class.ranges().iter().map(|r| u64::from(r.end()) - u64::from(r.start()) + 1).sum();
            if count == 0 || count > max.min(256) as u64 {
                return None;
            }
            Some(class.ranges().iter().flat_map(|r| (r.start()..=r.end()).map(String::from)).collect())
        }
        HirKind::Repetition(repetition) if repetition.min == 0 && repetition.max == Some(1) => {
            let mut literals = literals_of(&repetition.sub, max.checked_sub(1)?)?;
            literals.push(String::new());
            Some(literals)
        }
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(literals_of(branch, max.checked_sub(all.len())?)?);
            }
            (all.len() <= max).then_some(all)
        }
        HirKind::Concat(parts) => {
            let mut heads = vec![String::new()];
            for part in parts {
                let tails = literals_of(part, max)?;
                if heads.len().checked_mul(tails.len())? > max {
                    return None;
                }
                heads = heads.iter().flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}"))).collect();
            }
            Some(heads)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
