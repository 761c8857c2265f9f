//! Any bytes as a query, a selector and a described series.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| promql::testing::check_parser(data));
