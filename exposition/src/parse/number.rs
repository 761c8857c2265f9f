//! Numbers on a page, as Go's `strconv.ParseFloat` reads them.

/// A float, without the forms that Prometheus refuses: hexadecimal, `_`, and what does not fit.
#[inline]
pub(super) fn float(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    if let Some(integer) = short_integer(bytes) {
        return Some(integer);
    }
    let value: f64 = fast_float2::parse(bytes).ok()?;
    // Overflow is an error in Go; an infinity must be spelled out.
    if value.is_infinite() && !bytes.iter().any(|b| b.eq_ignore_ascii_case(&b'n')) {
        return None;
    }
    // "-nan" is a number to the library, not to Go.
    if value.is_nan() && bytes.len() != 3 {
        return None;
    }
    Some(value)
}

/// Most values on a page are small whole numbers; 15 digits are exact in a float.
#[inline]
fn short_integer(bytes: &[u8]) -> Option<f64> {
    if bytes.is_empty() || bytes.len() > 15 {
        return None;
    }
    let mut value: u64 = 0;
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value as f64)
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn reads_what_go_reads() {
        for (text, value) in [
            ("0", 0.0),
            ("123456789012345", 123_456_789_012_345.0),
            ("-1.5e3", -1500.0),
            ("+Inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("Infinity", f64::INFINITY),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e-400", 0.0),
        ] {
            assert_eq!(float(text), Some(value), "{text}");
        }
        assert!(float("NaN").is_some_and(f64::is_nan) && float("nan").is_some_and(f64::is_nan));
        for text in ["", "1e400", "0x1p3", "1_0", "abc", "1 ", "--1", "-nan", "1e"] {
            assert_eq!(float(text), None, "{text}");
        }
    }
}
