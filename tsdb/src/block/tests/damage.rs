//! Every byte of a small block flipped, and every file cut at every length: no panic, no wrong sample, a clear error.

use proptest::prelude::*;

use super::*;
use crate::codec::crc32c;

/// Everything that can be asked of a block.
fn read_all(directory: &Path) -> Result<Content, StorageError> {
    let block = Arc::new(Block::open(directory, &cache())?);
    for name in block.label_names(&[])? {
        for value in label_values(&block, &name, &[])? {
            content(&block, &[Matcher::equal(&name, &value)], ALL)?;
        }
        label_values(&block, &name, &[Matcher::equal("parity", "odd")])?;
    }
    content(&block, &[Matcher::new("i", MatchOp::Regex, ".*2").unwrap()], ALL)?;
    content(&block, &[], ALL)
}

fn files_of(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = ["meta.json", "index", "tombstones"].iter().map(|name| directory.join(name)).collect();
    files.extend(fs::list(&directory.join("chunks")).unwrap().iter().map(|e| directory.join("chunks").join(&e.name)));
    files
}

#[test]
fn every_byte_flipped_and_every_length_cut() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = write(scratch.path(), 4);
    let block = Block::open(&directory, &cache()).unwrap();
    block.delete(&Disk, TimeRange { min: 30_000, max: 1_000_000 }, &[Matcher::equal("i", "1")]).unwrap();
    drop(block);
    let expected = read_all(&directory).unwrap();
    let mut unnoticed = 0;
    for path in files_of(&directory) {
        let sound = std::fs::read(&path).unwrap();
        let is_meta = path.ends_with("meta.json");
        for at in 0..sound.len() {
            let mut flipped = sound.clone();
            flipped[at] ^= 1 << (at % 8);
            std::fs::write(&path, flipped).unwrap();
            match read_all(&directory) {
                // meta.json has no checksum: what it says of the samples is only counts.
                Ok(found) => {
                    assert_eq!(found, expected, "byte {at} of {}", path.display());
                    unnoticed += usize::from(!is_meta);
                }
                Err(StorageError::Corrupt { .. }) => {}
                Err(other) => panic!("byte {at} of {}: {other}", path.display()),
            }
        }
        for length in 0..sound.len() {
            std::fs::write(&path, &sound[..length]).unwrap();
            match read_all(&directory) {
                Ok(_) => panic!("{} cut to {length} bytes is taken", path.display()),
                Err(error) => assert!(matches!(error, StorageError::Corrupt { .. }), "{error}"),
            }
        }
        std::fs::write(&path, &sound).unwrap();
    }
    // Padding, offsets of sections that are not read, and the bytes after a version.
    assert!(unnoticed < 120, "{unnoticed} flips changed nothing");
    assert_eq!(read_all(&directory).unwrap(), expected);
}

/// Where checksummed contents stand in an index: begin and end; the checksum follows.
fn contents(index: &[u8]) -> Vec<(usize, usize)> {
    let number = |at: usize| u64::from_be_bytes(index[at..at + 8].try_into().unwrap()) as usize;
    let length = |at: usize| u32::from_be_bytes(index[at..at + 4].try_into().unwrap()) as usize;
    let toc = index.len() - 52;
    let (symbols, series, postings, end) = (number(toc), number(toc + 8), number(toc + 32), number(toc + 24));
    let mut contents = vec![(toc, toc + 48)];
    let mut section = |at: usize| {
        contents.push((at + 4, at + 4 + length(at)));
        at + 4 + length(at) + 4
    };
    section(symbols);
    section(number(toc + 40));
    let mut at = postings;
    while at < end {
        at = section(at.next_multiple_of(4));
    }
    let mut at = series;
    while at + 16 < postings {
        at = at.next_multiple_of(16);
        let content = at + 1;
        assert!(index[at] < 0x80, "the length takes one byte");
        contents.push((content, content + usize::from(index[at])));
        at = content + usize::from(index[at]) + 4;
    }
    contents
}

proptest! {
    /// Whatever an index says under right checksums: an answer or an error, never a panic or a hang.
    #[test]
    fn a_forged_index_is_no_harm(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..5)) {
        let scratch = tempfile::tempdir().unwrap();
        let directory = write(scratch.path(), 3);
        let mut index = std::fs::read(directory.join("index")).unwrap();
        let contents = contents(&index);
        for (place, byte) in changes {
            let (begin, end) = contents[place.index(contents.len())];
            index[begin + place.index(end - begin)] = byte;
        }
        for (begin, end) in contents {
            let checksum = crc32c(&index[begin..end]);
            index[end..end + 4].copy_from_slice(&checksum.to_be_bytes());
        }
        std::fs::write(directory.join("index"), index).unwrap();
        if let Err(error) = read_all(&directory) {
            prop_assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
        }
    }
}
