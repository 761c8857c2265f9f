//! The symbol table of an index: sorted strings, found by number through the place of every fourth.

use std::ops::Range;

use super::Version;
use crate::codec::Decoder;

/// Of so many symbols one's place is kept.
const STRIDE: usize = 4;

/// Where the symbols stand.
#[derive(Debug)]
pub(crate) struct SymbolTable {
    version: Version,
    /// The strings, each after its length.
    strings: Range<usize>,
    count: usize,
    /// Places of every fourth string within `strings`.
    places: Vec<u32>,
}

impl SymbolTable {
    /// Looks through the section's content, which is checked already.
    pub(crate) fn open(bytes: &[u8], section: Range<usize>, version: Version) -> Result<Self, &'static str> {
        let broken = "symbols that cannot be read";
        let content = &bytes[section.clone()];
        let (count, strings) = content.split_first_chunk::<4>().ok_or(broken)?;
        let count = u32::from_be_bytes(*count) as usize;
        if count > strings.len() {
            return Err(broken);
        }
        let mut places = Vec::with_capacity(count.div_ceil(STRIDE));
        let mut decoder = Decoder::new(strings);
        let mut previous: Option<&[u8]> = None;
        for at in 0..count {
            if at.is_multiple_of(STRIDE) {
                // A section is shorter than 4 GiB.
                places.push(decoder.position() as u32);
            }
            let text = decoder.text().map_err(|_| broken)?;
            if std::str::from_utf8(text).is_err() {
                return Err("a symbol that is not UTF-8");
            }
            if previous.is_some_and(|previous| previous >= text) {
                return Err("symbols that are not sorted");
            }
            previous = Some(text);
        }
        if !decoder.is_empty() {
            return Err(broken);
        }
        Ok(Self { version, strings: section.start + 4..section.end, count, places })
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether the symbol is one of the table.
    pub(crate) fn contains(&self, symbol: u32) -> bool {
        match self.version {
            Version::V1 => self.strings.contains(&(symbol as usize)),
            Version::V2 => (symbol as usize) < self.count,
        }
    }

    /// The string of a symbol.
    pub(crate) fn text<'a>(&self, bytes: &'a [u8], symbol: u32) -> Option<&'a str> {
        let strings = &bytes[self.strings.clone()];
        let at = symbol as usize;
        let mut decoder = match self.version {
            Version::V1 => Decoder::new(strings.get(at.checked_sub(self.strings.start)?..)?),
            Version::V2 if at >= self.count => return None,
            Version::V2 => Decoder::new(&strings[self.places[at / STRIDE] as usize..]),
        };
        let skipped = if self.version == Version::V2 { at % STRIDE } else { 0 };
        for _ in 0..skipped {
            decoder.text().ok()?;
        }
        std::str::from_utf8(decoder.text().ok()?).ok()
    }

    /// The symbol of `text`.
    pub(crate) fn find(&self, bytes: &[u8], text: &str) -> Option<u32> {
        let strings = &bytes[self.strings.clone()];
        let first_at = |place: &u32| Decoder::new(&strings[*place as usize..]).text().unwrap_or(&[]);
        let group = self.places.partition_point(|place| first_at(place) <= text.as_bytes()).checked_sub(1)?;
        let place = self.places[group] as usize;
        let mut decoder = Decoder::new(&strings[place..]);
        for at in 0..STRIDE.min(self.count - group * STRIDE) {
            let offset = self.strings.start + place + decoder.position();
            if decoder.text().ok()? == text.as_bytes() {
                return match self.version {
                    Version::V1 => u32::try_from(offset).ok(),
                    Version::V2 => Some((group * STRIDE + at) as u32),
                };
            }
        }
        None
    }

    /// All symbols with their strings, sorted by these.
    pub(crate) fn iter<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = (u32, &'a str)> + use<'a> {
        let (version, start, count) = (self.version, self.strings.start, self.count);
        let mut decoder = Decoder::new(&bytes[self.strings.clone()]);
        (0..count).map_while(move |at| {
            let offset = start + decoder.position();
            let text = std::str::from_utf8(decoder.text().ok()?).ok()?;
            Some((if version == Version::V1 { offset as u32 } else { at as u32 }, text))
        })
    }
}
