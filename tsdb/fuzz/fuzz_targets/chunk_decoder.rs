//! Fuzzes the reading of chunks of every encoding.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tsdb::fuzz::chunk_decoder(bytes);
});
