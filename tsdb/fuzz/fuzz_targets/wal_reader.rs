//! Fuzzes the reading of segments and records of the write-ahead log.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tsdb::fuzz::wal_reader(bytes);
});
