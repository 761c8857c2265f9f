//! Matchers to series: set algebra over postings, the cheap conditions first.

use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use roaring::RoaringBitmap;

use super::Head;
use super::slab::Slot;
use super::sorted_values::VALUES_MIN;
use super::symbols::{Symbol, Symbols};
use crate::postings::{Posting, Postings};
use crate::texts::Texts;

/// With fewer candidates than one in this many values, candidates are looked at instead of values.
const VALUES_PER_CANDIDATE: u64 = 2;

/// The tables a selection reads.
struct Tables<'a> {
    head: &'a Head,
    symbols: &'a Symbols,
    postings: &'a Postings,
}

impl Head {
    /// The series that all matchers accept.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let symbols = self.symbols.read();
        let postings = self.postings.read();
        let tables = Tables { head: self, symbols: &symbols, postings: &postings };
        tables.select(matchers)
    }

    /// Names of labels on series that the matchers accept, sorted.
    pub(crate) fn label_names(&self, matchers: &[Matcher]) -> Vec<String> {
        let symbols = self.symbols.read();
        let postings = self.postings.read();
        let tables = Tables { head: self, symbols: &symbols, postings: &postings };
        let mut names: Vec<Symbol> = if matchers.is_empty() {
            postings.names().map(|(name, _)| name).collect()
        } else {
            tables.names_of(&tables.select(matchers))
        };
        names.sort_unstable_by_key(|name| symbols.text(*name));
        names.into_iter().map(|name| symbols.text(name).to_owned()).collect()
    }

    /// Values of label `name` on series that the matchers accept, sorted; at most `limit` if not 0.
    pub(crate) fn label_values(&self, name: &str, matchers: &[Matcher], limit: usize) -> Vec<String> {
        let symbols = self.symbols.read();
        let postings = self.postings.read();
        let tables = Tables { head: self, symbols: &symbols, postings: &postings };
        let Some(name) = symbols.find(name) else {
            return Vec::new();
        };
        let Some(values) = postings.values(name) else {
            return Vec::new();
        };
        let limit = if limit == 0 { usize::MAX } else { limit };
        let version = values.version();
        let is_kept = matchers.is_empty() && values.len() >= VALUES_MIN;
        if is_kept && let Some(sorted) = self.sorted_values.find(name, version) {
            drop(postings);
            drop(symbols);
            return sorted.copies(limit);
        }
        // By number, which mostly is the order in which they were made and stand in memory.
        let mut found: Vec<Symbol> = if matchers.is_empty() {
            values.keys().copied().collect()
        } else {
            let selected = tables.select(matchers);
            values.iter().filter(|(_, posting)| posting.meets(&selected)).map(|(value, _)| *value).collect()
        };
        found.sort_unstable();
        let mut texts = Texts::default();
        found.iter().for_each(|value| texts.push(symbols.text(*value)));
        // What is left is sorted and copied without keeping anyone out.
        drop(postings);
        drop(symbols);
        let sorted = texts.into_sorted(limit);
        if is_kept && limit == usize::MAX {
            self.sorted_values.keep(name, version, &sorted);
        }
        sorted
    }

    /// The series of `slots`, ordered by their labels.
    pub(crate) fn sorted_by_labels(&self, slots: &RoaringBitmap) -> Vec<(Labels, Slot)> {
        let mut series: Vec<_> = slots.iter().map(|slot| (self.labels_at(slot), slot)).collect();
        series.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        series
    }
}

impl Tables<'_> {
    fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        // A matcher that refuses the empty value names series; one that accepts it only takes some away.
        let (mut naming, taking): (Vec<_>, Vec<_>) = matchers.iter().partition(|matcher| !matcher.matches_empty());
        naming.sort_by_key(|matcher| cost(matcher));
        let mut selected: Option<RoaringBitmap> = None;
        for matcher in naming {
            let narrowed = match selected {
                None => self.named(matcher),
                Some(candidates) => self.narrow(candidates, matcher),
            };
            if narrowed.is_empty() {
                return narrowed;
            }
            selected = Some(narrowed);
        }
        let mut selected = selected.unwrap_or_else(|| self.postings.all().clone());
        for matcher in taking {
            self.take_away(&mut selected, matcher);
        }
        selected
    }

    fn posting(&self, name: &str, value: &str) -> Option<&Posting> {
        self.postings.posting(self.symbols.find(name)?, self.symbols.find(value)?)
    }

    /// The series with a value that the matcher accepts.
    fn named(&self, matcher: &Matcher) -> RoaringBitmap {
        let mut set = RoaringBitmap::new();
        self.each_posting(matcher, true, |posting| posting.add_to(&mut set));
        set
    }

    /// Hands over the postings of all values that the matcher accepts (or, if not `accepted`, refuses).
    fn each_posting(&self, matcher: &Matcher, accepted: bool, mut visit: impl FnMut(&Posting)) {
        // Each operator with its opposite: an accepted `!=` is a refused `=`.
        let wants_match = accepted == matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
        let listed: Option<Vec<&str>> = match matcher.pattern() {
            _ if !wants_match => None,
            None => Some(vec![matcher.value()]),
            Some(pattern) => pattern.literals().map(|literals| literals.iter().map(|l| &**l).collect()),
        };
        if let Some(values) = listed {
            values.iter().filter_map(|value| self.posting(matcher.name(), value)).for_each(visit);
            return;
        }
        let Some(values) = self.symbols.find(matcher.name()).and_then(|name| self.postings.values(name)) else {
            return;
        };
        for (value, posting) in values.iter() {
            if matcher.matches(self.symbols.text(*value)) == accepted {
                visit(posting);
            }
        }
    }

    /// The candidates that the matcher, which refuses the empty value, accepts.
    fn narrow(&self, mut candidates: RoaringBitmap, matcher: &Matcher) -> RoaringBitmap {
        if matcher.op() == MatchOp::Equal {
            match self.posting(matcher.name(), matcher.value()) {
                Some(posting) => posting.intersect(&mut candidates),
                None => candidates.clear(),
            }
            return candidates;
        }
        if self.has_few_candidates(&candidates, matcher) {
            return self.filtered(&candidates, matcher);
        }
        candidates &= self.named(matcher);
        candidates
    }

    fn take_away(&self, selected: &mut RoaringBitmap, matcher: &Matcher) {
        if self.has_few_candidates(selected, matcher) {
            *selected = self.filtered(selected, matcher);
            return;
        }
        self.each_posting(matcher, false, |posting| posting.subtract_from(selected));
    }

    /// Whether looking at each candidate's value is cheaper than looking at each value.
    fn has_few_candidates(&self, candidates: &RoaringBitmap, matcher: &Matcher) -> bool {
        let is_listed = match matcher.op() {
            MatchOp::Equal | MatchOp::NotEqual => true,
            MatchOp::Regex | MatchOp::NotRegex => matcher.pattern().is_some_and(|p| p.literals().is_some()),
        };
        let values = self.symbols.find(matcher.name()).and_then(|name| self.postings.values(name));
        // `!=""` and its like list nothing: they look at all values.
        let all_values = matcher.value().is_empty() && !is_regex(matcher);
        (!is_listed || all_values)
            && values.is_some_and(|values| candidates.len() * VALUES_PER_CANDIDATE < values.len() as u64)
    }

    fn filtered(&self, candidates: &RoaringBitmap, matcher: &Matcher) -> RoaringBitmap {
        let name = self.symbols.find(matcher.name());
        let accepts = |slot: &Slot| {
            let value = name.and_then(|name| self.value_of(*slot, name));
            matcher.matches(value.map_or("", |value| self.symbols.text(value)))
        };
        candidates.iter().filter(accepts).collect()
    }

    fn value_of(&self, slot: Slot, name: Symbol) -> Option<Symbol> {
        let series = self.head.slab.cell(slot)?.lock();
        series.symbols.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1])
    }

    /// The label names of a set of series.
    fn names_of(&self, slots: &RoaringBitmap) -> Vec<Symbol> {
        let has_any = |values: &crate::postings::Values| values.values().any(|posting| posting.meets(slots));
        self.postings.names().filter(|(_, values)| has_any(values)).map(|(name, _)| name).collect()
    }
}

fn is_regex(matcher: &Matcher) -> bool {
    matches!(matcher.op(), MatchOp::Regex | MatchOp::NotRegex)
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
