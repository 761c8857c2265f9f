//! Sorted texts: names and values of labels from several sources as one list.

use std::cmp::Ordering;

/// Bytes that stand in a key.
const KEY_BYTES: usize = 16;

/// Copies of texts side by side: what is scattered over the heap is touched once, in whatever order suits that best.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    bytes: String,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Texts {
    /// Adds one.
    pub(crate) fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
    }

    fn at(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start..self.ends[index]).unwrap_or("")
    }

    /// Copies of the first `max` as they stand.
    pub(crate) fn copies(&self, max: usize) -> Vec<String> {
        (0..self.ends.len().min(max)).map(|index| self.at(index).to_owned()).collect()
    }

    /// Their copies in order, `max` at most. They mostly begin alike, and what follows their common beginning is short: it
    /// is sorted as a number, and copied from there.
    pub(crate) fn into_sorted(self, max: usize) -> Vec<String> {
        let all = || (0..self.ends.len()).map(|index| self.at(index).as_bytes());
        let Some(first) = all().next() else {
            return Vec::new();
        };
        let common = all().fold(first.len(), |common, text| {
            let same = first.iter().zip(text).take(common);
            same.take_while(|(a, b)| a == b).count()
        });
        let mut keyed: Vec<Keyed> = all().zip(0..).map(|(text, index)| Keyed::of(&text[common..], index)).collect();
        let rest = |keyed: &Keyed| &self.at(keyed.index as usize).as_bytes()[common..];
        keyed.sort_unstable_by(|a, b| match a.key.cmp(&b.key) {
            // Zeros stand for what is behind the end: of two that differ in nothing else the shorter one is first.
            Ordering::Equal if !(a.is_whole() && b.is_whole()) => rest(a).cmp(rest(b)),
            Ordering::Equal => a.length.cmp(&b.length),
            unequal => unequal,
        });
        let copy = |keyed: &Keyed| {
            let text = || self.at(keyed.index as usize).to_owned();
            if !keyed.is_whole() {
                return text();
            }
            let mut bytes = Vec::with_capacity(common + keyed.length as usize);
            bytes.extend_from_slice(&first[..common]);
            bytes.extend_from_slice(&keyed.key.to_be_bytes()[..keyed.length as usize]);
            String::from_utf8(bytes).unwrap_or_else(|_| text())
        };
        keyed.iter().take(max).map(copy).collect()
    }
}

/// What follows the common beginning of a text: its first bytes as a number, zeros behind its end.
struct Keyed {
    key: u128,
    /// No head has 2^32 values, and no value so many bytes.
    index: u32,
    length: u32,
}

impl Keyed {
    fn of(rest: &[u8], index: u32) -> Self {
        let mut key = [0; KEY_BYTES];
        let length = rest.len().min(KEY_BYTES);
        key[..length].copy_from_slice(&rest[..length]);
        Self { key: u128::from_be_bytes(key), index, length: rest.len() as u32 }
    }

    /// Whether the key has all of it.
    fn is_whole(&self) -> bool {
        self.length as usize <= KEY_BYTES
    }
}

/// Adds sorted texts to others that are sorted too, each once. Those that are there already are not copied.
pub(crate) fn add<'a>(all: &mut Vec<String>, texts: impl Iterator<Item = &'a str>) {
    if all.is_empty() {
        all.extend(texts.map(str::to_owned));
        return;
    }
    let (mut missing, mut at) = (Vec::new(), 0);
    for text in texts {
        while all.get(at).is_some_and(|known| known.as_str() < text) {
            at += 1;
        }
        match all.get(at) {
            Some(known) if known == text => at += 1,
            _ => missing.push(text.to_owned()),
        }
    }
    if !missing.is_empty() {
        all.append(&mut missing);
        // Two runs, which are merged.
        all.sort();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_sorted_whatever_they_begin_with(
            prefix in "[a\\x00]{0,3}",
            rests in proptest::collection::vec("[abé\\x00]{0,20}", 0..50),
            max in 0usize..60,
        ) {
            let mut expected: Vec<String> = rests.iter().map(|rest| format!("{prefix}{rest}")).collect();
            let mut texts = Texts::default();
            expected.iter().for_each(|text| texts.push(text));
            expected.sort();
            expected.truncate(max);
            prop_assert_eq!(texts.into_sorted(max), expected);
        }

        #[test]
        fn added_texts_stand_once_in_their_places(
            sets in proptest::collection::vec(proptest::collection::btree_set("[abc]{0,3}", 0..20), 0..5),
        ) {
            let mut all = Vec::new();
            sets.iter().for_each(|set| add(&mut all, set.iter().map(String::as_str)));
            let expected: BTreeSet<String> = sets.into_iter().flatten().collect();
            prop_assert_eq!(all, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
