//! The files we write, byte for byte: `tests/golden/block-1` holds a block. `CRESSET_BLESS=1` writes it anew.

use super::*;

const FILES: [&str; 4] = ["meta.json", "index", "tombstones", "chunks/000001"];

#[test]
fn a_block_is_written_and_read_as_ever() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = write(scratch.path(), 4);
    Block::open(&directory, &cache())
        .unwrap()
        .delete(&Disk, TimeRange { min: 30_000, max: 1_000_000 }, &[Matcher::equal("i", "1")])
        .unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/block-1");
    for name in FILES {
        if std::env::var_os("CRESSET_BLESS").is_some() {
            std::fs::create_dir_all(golden.join(name).parent().unwrap()).unwrap();
            std::fs::copy(directory.join(name), golden.join(name)).unwrap();
        }
        let is_same = std::fs::read(directory.join(name)).unwrap() == std::fs::read(golden.join(name)).unwrap();
        assert!(is_same, "{name} is no longer written as in {}", golden.display());
    }
    let expected = content(&Arc::new(Block::open(&directory, &cache()).unwrap()), &[], ALL).unwrap();
    assert_eq!(expected[&series(1).to_string()].len(), 6);
    let kept = Arc::new(Block::open(&golden, &cache()).unwrap());
    assert_eq!(content(&kept, &[], ALL).unwrap(), expected);
}
