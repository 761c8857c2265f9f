//! The table of postings of an index: for each label pair the place of its postings, found through every 32nd value of a
//! name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::Version;
use crate::codec::{Decoder, Truncated, put_text, put_uvarint};

/// Of so many values of a name one's place is kept.
const STRIDE: u64 = 32;
/// What stands before each entry: the count of the strings that follow.
const STRINGS: u64 = 2;

/// Where the entries stand.
#[derive(Debug)]
pub(crate) struct PostingsTable {
    entries: Entries,
    names: BTreeMap<Box<str>, NameEntries>,
}

#[derive(Debug)]
enum Entries {
    Mapped(Range<usize>),
    /// Of version 1, whose entries are in no order: sorted here.
    Sorted(Vec<u8>),
}

/// The entries of one label name.
#[derive(Debug, Default)]
struct NameEntries {
    count: u64,
    /// Where every 32nd entry begins.
    places: Vec<u32>,
    /// Where the last one ends.
    end: u32,
}

struct Entry<'a> {
    name: &'a str,
    value: &'a str,
    offset: u64,
}

fn read_entry<'a>(decoder: &mut Decoder<'a>) -> Result<Entry<'a>, Truncated> {
    if decoder.uvarint()? != STRINGS {
        return Err(Truncated);
    }
    let mut text = || std::str::from_utf8(decoder.text()?).map_err(|_| Truncated);
    let (name, value) = (text()?, text()?);
    Ok(Entry { name, value, offset: decoder.uvarint()? })
}

/// As [`read_entry`], of a name that is known: the value and the place of its postings.
#[inline]
fn read_value<'a>(decoder: &mut Decoder<'a>) -> Result<(&'a str, u64), Truncated> {
    decoder.uvarint()?;
    decoder.text()?;
    let value = std::str::from_utf8(decoder.text()?).map_err(|_| Truncated)?;
    Ok((value, decoder.uvarint()?))
}

/// Appends an entry to `out`.
pub(crate) fn put_entry(out: &mut Vec<u8>, name: &str, value: &str, offset: u64) {
    put_uvarint(out, STRINGS);
    put_text(out, name.as_bytes());
    put_text(out, value.as_bytes());
    put_uvarint(out, offset);
}

impl PostingsTable {
    /// Looks through the section's content, which is checked already.
    pub(crate) fn open(bytes: &[u8], section: Range<usize>, version: Version) -> Result<Self, &'static str> {
        let broken = "a table of postings that cannot be read";
        let content = &bytes[section.clone()];
        let (count, content) = content.split_first_chunk::<4>().ok_or(broken)?;
        let count = u32::from_be_bytes(*count);
        let (entries, sorted) = match version {
            Version::V2 => (Entries::Mapped(section.start + 4..section.end), Cow::Borrowed(content)),
            Version::V1 => {
                let sorted = sort(content, count).map_err(|_| broken)?;
                (Entries::Sorted(sorted.clone()), Cow::Owned(sorted))
            }
        };
        let mut names: BTreeMap<Box<str>, NameEntries> = BTreeMap::new();
        let mut decoder = Decoder::new(&sorted);
        let mut current: Option<(&str, NameEntries)> = None;
        let mut previous: Option<(&str, &str)> = None;
        for _ in 0..count {
            // A section is shorter than 4 GiB.
            let place = decoder.position() as u32;
            let entry = read_entry(&mut decoder).map_err(|_| broken)?;
            if previous.is_some_and(|previous| previous >= (entry.name, entry.value)) {
                return Err("a table of postings that is not sorted");
            }
            previous = Some((entry.name, entry.value));
            if current.as_ref().is_none_or(|(name, _)| *name != entry.name) {
                if let Some((name, entries)) = current.take() {
                    names.insert(name.into(), entries);
                }
                current = Some((entry.name, NameEntries::default()));
            }
            if let Some((_, entries)) = &mut current {
                if entries.count.is_multiple_of(STRIDE) {
                    entries.places.push(place);
                }
                entries.count += 1;
                entries.end = decoder.position() as u32;
            }
        }
        if let Some((name, entries)) = current {
            names.insert(name.into(), entries);
        }
        if decoder.is_empty() { Ok(Self { entries, names }) } else { Err(broken) }
    }

    fn content<'a>(&'a self, bytes: &'a [u8]) -> &'a [u8] {
        match &self.entries {
            Entries::Mapped(range) => &bytes[range.clone()],
            Entries::Sorted(sorted) => sorted,
        }
    }

    /// Label names, sorted; the empty one stands for all series.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(|name| &**name)
    }

    pub(crate) fn value_count(&self, name: &str) -> u64 {
        self.names.get(name).map_or(0, |entries| entries.count)
    }

    /// The values of a name from the first one not below `from` on, with the places of their postings.
    pub(crate) fn values<'a>(
        &'a self,
        bytes: &'a [u8],
        name: &str,
        from: &str,
    ) -> impl Iterator<Item = (&'a str, u64)> + use<'a> {
        let content = self.content(bytes);
        let range = self.names.get(name).map_or(0..0, |entries| {
            let value_at = |place: &u32| read_entry(&mut Decoder::new(&content[*place as usize..])).map(|e| e.value);
            let group = entries.places.partition_point(|place| value_at(place).is_ok_and(|value| value <= from));
            entries.places[group.saturating_sub(1)] as usize..entries.end as usize
        });
        let mut decoder = Decoder::new(&content[range]);
        // The table was read through when it was opened: an error is its end.
        let mut first = read_value(&mut decoder).ok();
        while first.is_some_and(|(value, _)| value < from) {
            first = read_value(&mut decoder).ok();
        }
        first.into_iter().chain(std::iter::from_fn(move || read_value(&mut decoder).ok()))
    }

    /// The place of a pair's postings.
    pub(crate) fn find(&self, bytes: &[u8], name: &str, value: &str) -> Option<u64> {
        let (found, offset) = self.values(bytes, name, value).next()?;
        (found == value).then_some(offset)
    }
}

fn sort(content: &[u8], count: u32) -> Result<Vec<u8>, Truncated> {
    let mut decoder = Decoder::new(content);
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(read_entry(&mut decoder)?);
    }
    if !decoder.is_empty() {
        return Err(Truncated);
    }
    entries.sort_by_key(|entry| (entry.name, entry.value));
    let mut sorted = Vec::with_capacity(content.len());
    entries.iter().for_each(|entry| put_entry(&mut sorted, entry.name, entry.value, entry.offset));
    Ok(sorted)
}
