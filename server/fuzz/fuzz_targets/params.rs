//! Forms with times, durations and numbers: no panic, whatever the bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/http/params/decode.rs"]
mod decode;

fuzz_target!(|bytes: &[u8]| {
    let mut pairs = Vec::new();
    if decode::read(bytes, &mut pairs).is_ok() {
        for (name, value) in &pairs {
            let _read = (decode::parse_time(value), decode::parse_duration(value), decode::parse_integer(name));
        }
    }
});
