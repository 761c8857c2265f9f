//! An index of version 1, as Prometheus wrote before 2.1: symbols and series by offset, the table in no order.

use super::*;
use crate::block::index::toc::Toc;
use crate::block::index::{Index, MAGIC};
use crate::codec::{crc32c, put_text, put_uvarint, put_varint};

fn put_section(out: &mut Vec<u8>, content: &[u8]) -> u64 {
    let at = out.len() as u64;
    out.extend_from_slice(&(content.len() as u32).to_be_bytes());
    out.extend_from_slice(content);
    out.extend_from_slice(&crc32c(content).to_be_bytes());
    at
}

/// Writes the index in `directory` anew, in version 1.
fn downgrade(directory: &Path) {
    let index = Index::open(directory).unwrap();
    let mut out = MAGIC.to_be_bytes().to_vec();
    out.push(1);
    let mut symbols = (index.symbol_count() as u32).to_be_bytes().to_vec();
    let mut offsets = std::collections::HashMap::new();
    for (_, text) in index.symbols() {
        offsets.insert(text.to_owned(), (out.len() + 4 + symbols.len()) as u64);
        put_text(&mut symbols, text.as_bytes());
    }
    let mut toc = Toc { symbols: put_section(&mut out, &symbols), ..Toc::default() };
    toc.series = out.len() as u64;
    let mut places = std::collections::HashMap::new();
    for series in index.all_postings().unwrap() {
        let mut entry = SeriesEntry::default();
        index.read_series(series, &mut entry).unwrap();
        let mut content = Vec::new();
        put_uvarint(&mut content, entry.pairs.len() as u64 / 2);
        entry.pairs.iter().for_each(|symbol| put_uvarint(&mut content, offsets[index.symbol(*symbol)]));
        put_uvarint(&mut content, entry.chunks.len() as u64);
        let (mut time, mut reference) = (0, 0);
        for (at, chunk) in entry.chunks.iter().enumerate() {
            match at {
                0 => put_varint(&mut content, chunk.min_time),
                _ => put_uvarint(&mut content, (chunk.min_time - time) as u64),
            }
            put_uvarint(&mut content, (chunk.max_time - chunk.min_time) as u64);
            match at {
                0 => put_uvarint(&mut content, chunk.reference),
                _ => put_varint(&mut content, chunk.reference as i64 - reference),
            }
            (time, reference) = (chunk.max_time, chunk.reference as i64);
        }
        places.insert(series, out.len() as u32);
        put_uvarint(&mut out, content.len() as u64);
        out.extend_from_slice(&content);
        out.extend_from_slice(&crc32c(&content).to_be_bytes());
    }
    let mut entries = Vec::new();
    let mut put_postings = |out: &mut Vec<u8>, name: &str, value: &str| {
        let series = index.postings(name, value).unwrap();
        let mut content = (series.len() as u32).to_be_bytes().to_vec();
        series.iter().for_each(|series| content.extend_from_slice(&places[&series].to_be_bytes()));
        entries.push((name.to_owned(), value.to_owned(), put_section(out, &content)));
    };
    for name in index.label_names() {
        index.values(name, "").for_each(|(value, _)| put_postings(&mut out, name, value));
    }
    put_postings(&mut out, "", "");
    entries.reverse();
    entries.swap(1, 3);
    let mut table = (entries.len() as u32).to_be_bytes().to_vec();
    for (name, value, offset) in entries {
        put_uvarint(&mut table, 2);
        put_text(&mut table, name.as_bytes());
        put_text(&mut table, value.as_bytes());
        put_uvarint(&mut table, offset);
    }
    toc.postings_table = put_section(&mut out, &table);
    toc.put(&mut out);
    std::fs::write(directory.join("index"), out).unwrap();
}

#[test]
fn it_is_read_and_compacted_as_one_of_version_2() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = write(scratch.path(), 90);
    let open = || Arc::new(Block::open(&directory, &cache()).unwrap());
    let matchers = [Matcher::new("i", MatchOp::Regex, "1.*").unwrap(), Matcher::not_equal("parity", "odd")];
    let (all, some) = (content(&open(), &[], ALL).unwrap(), content(&open(), &matchers, ALL).unwrap());
    downgrade(&directory);
    let block = open();
    assert_eq!(block.index.version(), crate::block::index::Version::V1);
    assert_eq!(content(&block, &[], ALL).unwrap(), all);
    assert_eq!(content(&block, &matchers, ALL).unwrap(), some);
    assert_eq!(label_values(&block, "i", &matchers).unwrap().len(), some.len());
    let compactor = crate::compact::Compactor {
        fs: Arc::new(Disk),
        data: scratch.path().to_owned(),
        segment_bytes: 1 << 20,
        cache: cache(),
        instruments: Arc::default(),
        stopwatch: None,
        is_closing: Arc::default(),
    };
    let retention = crate::Retention::default();
    let kept = crate::compact::retention::KeptFrom::new(&retention, 0);
    let child = compactor.compact(&[block], &kept, 1).unwrap().unwrap();
    assert_eq!(child.index.version(), crate::block::index::Version::V2);
    assert_eq!(content(&child, &[], ALL).unwrap(), all);
}
