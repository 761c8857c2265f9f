//! The symbol table: each label name and value of the head once, by number.

use std::hash::BuildHasher;
use std::str::Utf8Error;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// A string of the table. Numbers of strings that nobody uses any more are used again.
pub(crate) type Symbol = u32;

/// Strings by number and numbers by string.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    numbers: HashTable<Symbol>,
    entries: Vec<Entry>,
    free: Vec<Symbol>,
    hasher: RandomState,
    text_bytes: u64,
    /// Those of the series that was made last.
    last: Vec<Symbol>,
}

#[derive(Debug)]
struct Entry {
    text: Box<str>,
    /// How many labels of series use it; 0 means the number is free.
    uses: u32,
}

impl Symbols {
    /// The number of `text`, entered if it is new, with one use more.
    pub(crate) fn intern(&mut self, text: &str) -> Symbol {
        let hash = self.hasher.hash_one(text);
        if let Some(&symbol) = self.numbers.find(hash, |symbol| self.text(*symbol) == text) {
            self.entries[symbol as usize].uses += 1;
            return symbol;
        }
        let entry = Entry { text: text.into(), uses: 1 };
        let symbol = match self.free.pop() {
            Some(symbol) => {
                self.entries[symbol as usize] = entry;
                symbol
            }
            None => {
                self.entries.push(entry);
                // 2^26 series of at most a few dozen labels each that are all distinct do not fit memory.
                u32::try_from(self.entries.len() - 1).expect("fewer symbols than 2^32")
            }
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.numbers.insert_unique(hash, symbol, |symbol| hasher.hash_one(&*entries[*symbol as usize].text));
        self.text_bytes += text.len() as u64;
        symbol
    }

    /// The numbers of a series' names and values in turn, each with one use more. Series made one after the other have most
    /// of them in common: the one that stood there last is compared before anything is hashed or looked at.
    ///
    /// # Errors
    /// If one of them is no text; then none is used more.
    pub(crate) fn intern_labels<'a>(
        &mut self,
        texts: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Box<[Symbol]>, Utf8Error> {
        let mut row = std::mem::take(&mut self.last);
        let mut count = 0;
        for text in texts {
            let same = row.get(count).map(|symbol| &mut self.entries[*symbol as usize]);
            if let Some(entry) = same.filter(|entry| entry.uses > 0 && entry.text.as_bytes() == text) {
                entry.uses += 1;
                count += 1;
                continue;
            }
            let text = std::str::from_utf8(text).inspect_err(|_| {
                row[..count].iter().for_each(|symbol| self.release(*symbol));
            })?;
            let symbol = self.intern(text);
            match row.get_mut(count) {
                Some(place) => *place = symbol,
                None => row.push(symbol),
            }
            count += 1;
        }
        row.truncate(count);
        let symbols = Box::from(&row[..]);
        self.last = row;
        Ok(symbols)
    }

    /// The number of `text`, if it is in use.
    pub(crate) fn find(&self, text: &str) -> Option<Symbol> {
        self.numbers.find(self.hasher.hash_one(text), |symbol| self.text(*symbol) == text).copied()
    }

    /// The string of a number in use.
    pub(crate) fn text(&self, symbol: Symbol) -> &str {
        &self.entries[symbol as usize].text
    }

    /// Takes one use away; after the last the string is gone.
    pub(crate) fn release(&mut self, symbol: Symbol) {
        let entry = &mut self.entries[symbol as usize];
        entry.uses -= 1;
        if entry.uses > 0 {
            return;
        }
        let text = std::mem::take(&mut entry.text);
        self.text_bytes -= text.len() as u64;
        if let Ok(found) = self.numbers.find_entry(self.hasher.hash_one(&*text), |found| *found == symbol) {
            found.remove();
        }
        self.free.push(symbol);
    }

    /// Bytes of the strings and of the table around them.
    pub(crate) fn bytes(&self) -> u64 {
        let table = self.entries.capacity() * size_of::<Entry>() + self.numbers.capacity() * 5;
        self.text_bytes + table as u64
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.numbers.len()
    }
}

#[cfg(test)]
mod tests {
    use model::labels;
    use model::labels::Labels;

    use super::*;

    fn texts_of(labels: &Labels) -> impl Iterator<Item = &[u8]> {
        labels.iter_bytes().flat_map(|(name, value)| [name, value])
    }

    #[test]
    fn strings_are_kept_as_long_as_they_are_used() {
        let mut symbols = Symbols::default();
        let (a, b) = (symbols.intern("a"), symbols.intern("b"));
        assert_eq!(symbols.intern("a"), a);
        symbols.release(a);
        assert_eq!((symbols.find("a"), symbols.find("b"), symbols.find("c")), (Some(a), Some(b), None));
        symbols.release(a);
        assert_eq!((symbols.find("a"), symbols.len()), (None, 1));
        assert_eq!(symbols.intern("c"), a, "the number is used again");
        assert_eq!((symbols.text(a), symbols.text(b)), ("c", "b"));
    }

    #[test]
    fn labels_get_the_numbers_of_their_strings_whatever_came_last() {
        let mut symbols = Symbols::default();
        let sets = [labels! { "a" => "1", "b" => "2" }, labels! { "b" => "2" }, labels! { "a" => "1", "b" => "3" }];
        let mut made = Vec::new();
        for set in sets.iter().cycle().take(9) {
            let interned = symbols.intern_labels(texts_of(set)).unwrap();
            let texts: Vec<&str> = interned.iter().map(|symbol| symbols.text(*symbol)).collect();
            assert_eq!(texts, set.iter().flat_map(|(name, value)| [name, value]).collect::<Vec<_>>());
            made.push(interned);
        }
        assert_eq!((&made[0], symbols.len()), (&made[3], 5));
        made.into_iter().flatten().for_each(|symbol| symbols.release(symbol));
        assert_eq!(symbols.len(), 0);
        // Those that came last are gone, and their numbers free for others.
        assert_eq!(symbols.intern_labels(texts_of(&labels! { "x" => "1" })).unwrap().len(), 2);
        assert_eq!((symbols.find("a"), symbols.len()), (None, 2));
        let broken = [b"x".as_slice(), b"2", b"\xff"];
        assert!(symbols.intern_labels(broken.into_iter()).is_err());
        assert_eq!((symbols.find("2"), symbols.len()), (None, 2), "nothing of it is left");
    }
}
