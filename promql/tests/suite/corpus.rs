//! The corpus of the fuzz target, as a test.

use std::path::Path;

#[test]
fn the_corpus_is_parsed_without_fault() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/parse");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        promql::testing::check_parser(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 18, "{count} files");
}
