//! Every byte of a small block flipped, and every file cut at every length: no panic, no wrong sample, a clear error.

use super::*;

/// Everything that can be asked of a block.
fn read_all(directory: &Path) -> Result<Content, StorageError> {
    let block = Arc::new(Block::open(directory, &cache())?);
    for name in block.label_names(&[])? {
        for value in block.label_values(&name, &[])? {
            content(&block, &[Matcher::equal(&name, &value)], ALL)?;
        }
        block.label_values(&name, &[Matcher::equal("parity", "odd")])?;
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
