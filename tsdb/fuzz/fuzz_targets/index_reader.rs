//! Fuzzes the reading of indexes of blocks.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tsdb::fuzz::index_reader(bytes);
});
