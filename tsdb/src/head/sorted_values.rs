//! The values of labels that have many, sorted, as they were last asked for: until a value comes or goes they need not be
//! looked up and sorted again.

use std::sync::Arc;

use super::symbols::Symbol;
use crate::sync::Mutex;
use crate::texts::Texts;

/// Fewer values are sorted whenever they are asked for.
pub(crate) const VALUES_MIN: usize = if cfg!(test) { 2 } else { 4096 };
/// Labels whose values are kept, and bytes of those of one.
const LABELS_MAX: usize = 4;
const BYTES_MAX: usize = 16 << 20;

/// Sorted values by label.
#[derive(Debug, Default)]
pub(crate) struct SortedValues {
    /// Those that were asked for last stand at the end.
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    name: Symbol,
    /// Of the label's values in the postings when they were looked up; no version ever comes again.
    version: u64,
    texts: Arc<Texts>,
}

impl SortedValues {
    /// The values of a label as of that version.
    pub(crate) fn find(&self, name: Symbol, version: u64) -> Option<Arc<Texts>> {
        let mut kept = self.kept.lock();
        let at = kept.iter().position(|kept| (kept.name, kept.version) == (name, version))?;
        kept[at..].rotate_left(1);
        kept.last().map(|found| Arc::clone(&found.texts))
    }

    /// Keeps the sorted values of a label.
    pub(crate) fn keep(&self, name: Symbol, version: u64, sorted: &[String]) {
        if sorted.len() < VALUES_MIN || sorted.iter().map(String::len).sum::<usize>() > BYTES_MAX {
            return;
        }
        let mut texts = Texts::default();
        sorted.iter().for_each(|text| texts.push(text));
        let mut kept = self.kept.lock();
        kept.retain(|kept| kept.name != name);
        if kept.len() == LABELS_MAX {
            kept.remove(0);
        }
        kept.push(Kept { name, version, texts: texts.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_last_is_kept_as_long_as_nothing_changed() {
        let sorted = SortedValues::default();
        let values = ["a".to_owned(), "b".to_owned()];
        (0..4).for_each(|name| sorted.keep(name, 1, &values));
        assert_eq!(sorted.find(0, 1).map(|texts| texts.copies(9)), Some(values.to_vec()));
        assert!(sorted.find(0, 2).is_none());
        sorted.keep(4, 7, &values);
        let found: Vec<bool> = (0..5).map(|name| sorted.find(name, if name == 4 { 7 } else { 1 }).is_some()).collect();
        assert_eq!(found, [true, false, true, true, true]);
        sorted.keep(0, 2, &values[..1]);
        assert!(sorted.find(0, 1).is_some(), "one value is not worth keeping");
    }
}
