//! Matchers to series of a block: set algebra over postings, the cheap conditions first, each one's result cached.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::matcher::{MatchOp, Matcher};
use model::storage::StorageError;
use roaring::RoaringBitmap;

use super::Block;
use super::index::SeriesEntry;
use crate::texts;

/// With fewer candidates than one in this many values, candidates are looked at instead of values.
const VALUES_PER_CANDIDATE: u64 = 2;

/// Which values a set is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Accepted,
    Refused,
}

impl Block {
    /// The series that all matchers accept.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, StorageError> {
        // A matcher that refuses the empty value names series; one that accepts it only takes some away.
        let (mut naming, taking): (Vec<_>, Vec<_>) = matchers.iter().partition(|matcher| !matcher.matches_empty());
        naming.sort_by_key(|matcher| cost(matcher));
        let mut selected: Option<RoaringBitmap> = None;
        for matcher in naming {
            let narrowed = match selected {
                None => (*self.set_of(matcher, Side::Accepted)?).clone(),
                Some(candidates) if self.has_few_candidates(&candidates, matcher) => {
                    self.filtered(&candidates, matcher)?
                }
                Some(candidates) => candidates & &*self.set_of(matcher, Side::Accepted)?,
            };
            if narrowed.is_empty() {
                return Ok(narrowed);
            }
            selected = Some(narrowed);
        }
        let mut selected = match selected {
            Some(selected) => selected,
            None => (*self.cached("", || self.index.all_postings())?).clone(),
        };
        for matcher in taking {
            if matcher.pattern().is_some_and(|p| p.matches_anything()) && matcher.op() == MatchOp::Regex {
                continue;
            }
            if self.has_few_candidates(&selected, matcher) {
                selected = self.filtered(&selected, matcher)?;
            } else {
                selected -= &*self.set_of(matcher, Side::Refused)?;
            }
        }
        Ok(selected)
    }

    fn cached(
        &self,
        key: &str,
        make: impl FnOnce() -> Result<RoaringBitmap, StorageError>,
    ) -> Result<Arc<RoaringBitmap>, StorageError> {
        if let Some(found) = self.cache.find(self.id, key) {
            return Ok(found);
        }
        let made = Arc::new(make()?);
        self.cache.keep(self.id, key, &made);
        Ok(made)
    }

    /// The series with a value that the matcher accepts, or refuses.
    fn set_of(&self, matcher: &Matcher, side: Side) -> Result<Arc<RoaringBitmap>, StorageError> {
        // Each operator with its opposite: an accepted `!=` is a refused `=`.
        let is_positive = matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
        let is_regex = matches!(matcher.op(), MatchOp::Regex | MatchOp::NotRegex);
        let wants_match = (side == Side::Accepted) == is_positive;
        let (equal, regex) = if wants_match { ("=", "=~") } else { ("!=", "!~") };
        let op = if is_regex { regex } else { equal };
        let key = format!("{}\u{0}{op}{}", matcher.name(), matcher.value());
        self.cached(&key, || self.find_set(matcher, side, wants_match))
    }

    fn find_set(&self, matcher: &Matcher, side: Side, wants_match: bool) -> Result<RoaringBitmap, StorageError> {
        let name = matcher.name();
        let listed: Option<Vec<&str>> = match matcher.pattern() {
            _ if !wants_match => None,
            None => Some(vec![matcher.value()]),
            Some(pattern) => pattern.literals().map(|literals| literals.iter().map(|literal| &**literal).collect()),
        };
        let mut series = Vec::new();
        if let Some(values) = listed {
            for value in values {
                if let Some((_, offset)) = self.index.values(name, value).next().filter(|(found, _)| *found == value) {
                    self.index.read_postings(offset, &mut series)?;
                }
            }
            return self.index.bitmap_of(series);
        }
        let prefix = if wants_match { matcher.pattern().map_or("", |pattern| pattern.prefix()) } else { "" };
        let values = self.index.values(name, prefix).take_while(|(value, _)| value.starts_with(prefix));
        for (_, offset) in values.filter(|(value, _)| matcher.matches(value) == (side == Side::Accepted)) {
            self.index.read_postings(offset, &mut series)?;
        }
        self.index.bitmap_of(series)
    }

    /// Whether looking at each candidate's value is cheaper than looking at each value.
    fn has_few_candidates(&self, candidates: &RoaringBitmap, matcher: &Matcher) -> bool {
        let is_listed = match matcher.op() {
            MatchOp::Equal | MatchOp::NotEqual => !matcher.value().is_empty(),
            MatchOp::Regex | MatchOp::NotRegex => matcher.pattern().is_some_and(|p| p.literals().is_some()),
        };
        !is_listed && candidates.len() * VALUES_PER_CANDIDATE < self.index.value_count(matcher.name())
    }

    fn filtered(&self, candidates: &RoaringBitmap, matcher: &Matcher) -> Result<RoaringBitmap, StorageError> {
        let mut accepted = Vec::new();
        self.each_value(candidates, matcher.name(), |series, value| {
            if matcher.matches(value) {
                accepted.push(series);
            }
        })?;
        self.index.bitmap_of(accepted)
    }

    /// Hands over each series with its value of label `name`, the empty one if it has none.
    fn each_value(
        &self,
        series: &RoaringBitmap,
        name: &str,
        mut visit: impl FnMut(u32, &str),
    ) -> Result<(), StorageError> {
        let symbol = self.index.find_symbol(name);
        let mut entry = SeriesEntry::default();
        for reference in series {
            self.index.read_series(reference, &mut entry)?;
            let pair = entry.pairs.chunks_exact(2).find(|pair| Some(pair[0]) == symbol);
            visit(reference, pair.map_or("", |pair| self.index.symbol(pair[1])));
        }
        Ok(())
    }

    /// Names of labels on series that the matchers accept.
    pub(crate) fn label_names(&self, matchers: &[Matcher]) -> Result<BTreeSet<String>, StorageError> {
        if matchers.is_empty() {
            return Ok(self.index.label_names().map(str::to_owned).collect());
        }
        let mut symbols = BTreeSet::new();
        let mut entry = SeriesEntry::default();
        // Series of a metric mostly have the same names.
        let mut last: Vec<u32> = Vec::new();
        for series in &self.select(matchers)? {
            self.index.read_series(series, &mut entry)?;
            let names = || entry.pairs.iter().step_by(2);
            if !names().eq(&last) {
                symbols.extend(names());
                last.clear();
                last.extend(names());
            }
        }
        Ok(symbols.into_iter().map(|symbol| self.index.symbol(symbol).to_owned()).collect())
    }

    /// Adds the values of label `name` on series that the matchers accept to those of other sources, all of them sorted. If
    /// `limit` is not 0, no more of its own are needed.
    pub(crate) fn add_label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
        all: &mut Vec<String>,
    ) -> Result<(), StorageError> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        if matchers.is_empty() {
            if all.is_empty() {
                all.reserve_exact((self.index.value_count(name) as usize).min(limit));
            }
            texts::add(all, self.index.values(name, "").map(|(value, _)| value).take(limit));
            return Ok(());
        }
        let found = self.label_values_where(name, matchers)?;
        texts::add(all, found.iter().map(String::as_str).take(limit));
        Ok(())
    }

    fn label_values_where(&self, name: &str, matchers: &[Matcher]) -> Result<Vec<String>, StorageError> {
        let selected = self.select(matchers)?;
        let mut found = BTreeSet::new();
        if selected.len() < self.index.value_count(name) {
            self.each_value(&selected, name, |_, value| {
                if !value.is_empty() && !found.contains(value) {
                    found.insert(value.to_owned());
                }
            })?;
            return Ok(found.into_iter().collect());
        }
        let (mut found, mut series) = (Vec::new(), Vec::new());
        for (value, offset) in self.index.values(name, "") {
            series.clear();
            self.index.read_postings(offset, &mut series)?;
            if series.iter().any(|reference| selected.contains(*reference)) {
                found.push(value.to_owned());
            }
        }
        Ok(found)
    }
}

/// Cheap conditions first: they leave few candidates for the others.
fn cost(matcher: &Matcher) -> u8 {
    match (matcher.op(), matcher.pattern().and_then(|pattern| pattern.literals())) {
        (MatchOp::Equal, _) => 0,
        (_, Some(_)) => 1,
        (MatchOp::NotEqual, None) => 3,
        _ => 2,
    }
}
