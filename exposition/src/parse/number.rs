//! Numbers on a page, as Go's `strconv.ParseFloat` reads them.

use model::sample::NORMAL_NAN_BITS;

/// Digits that are exact in a float, whatever they are.
const DIGITS_MAX: usize = 15;
/// Powers of ten that are exact in a float.
const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// The number that `bytes` begin with, and its length, if it is one of the usual short ones and a blank, a line's end or
/// nothing comes after it. `None` says nothing: take the word and ask [`float`].
///
/// Up to 15 digits and up to 22 powers of ten are exact, and one division of two exact floats is rounded as it should be.
#[inline]
pub(super) fn short_float(bytes: &[u8]) -> Option<(f64, usize)> {
    let is_negative = bytes.first() == Some(&b'-');
    let mut at = usize::from(is_negative);
    let mut digits: u64 = 0;
    let mut point = None;
    let start = at;
    loop {
        match bytes.get(at) {
            Some(byte @ b'0'..=b'9') => digits = digits.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')),
            Some(b'.') if point.is_none() => point = Some(at),
            _ => break,
        }
        at += 1;
    }
    let count = at - start - usize::from(point.is_some());
    if count == 0 || count > DIGITS_MAX {
        return None;
    }
    let mut exponent = point.map_or(0, |point| point as i32 + 1 - at as i32);
    if let Some(b'e' | b'E') = bytes.get(at) {
        let (written, len) = short_exponent(bytes.get(at + 1..)?)?;
        exponent += written;
        at += 1 + len;
    }
    if !matches!(bytes.get(at), None | Some(b'\n' | b' ' | b'\t')) {
        return None;
    }
    let tens = *TENS.get(exponent.unsigned_abs() as usize)?;
    let value = if exponent < 0 { digits as f64 / tens } else { digits as f64 * tens };
    Some((if is_negative { -value } else { value }, at))
}

/// One or two digits, perhaps signed.
#[inline]
fn short_exponent(bytes: &[u8]) -> Option<(i32, usize)> {
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let len = bytes.iter().skip(sign).take_while(|byte| byte.is_ascii_digit()).count();
    if len == 0 || len > 2 {
        return None;
    }
    let digits = bytes.get(sign..sign + len)?;
    let value = digits.iter().fold(0, |value, digit| value * 10 + i32::from(digit - b'0'));
    Some((if bytes[0] == b'-' { -value } else { value }, sign + len))
}

/// A float, without the forms that Prometheus refuses: hexadecimal, `_`, and what does not fit.
#[inline]
pub(super) fn float(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let value: f64 = fast_float2::parse(bytes).ok()?;
    // Overflow is an error in Go; an infinity must be spelled out.
    if value.is_infinite() && !bytes.iter().any(|b| b.eq_ignore_ascii_case(&b'n')) {
        return None;
    }
    if value.is_nan() {
        // "-nan" is a number to the library, not to Go. One of all NaNs is stored: others mean something.
        return (bytes.len() == 3).then_some(f64::from_bits(NORMAL_NAN_BITS));
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::{float, short_float};

    #[test]
    fn reads_what_go_reads() {
        for (text, value) in [
            ("0", 0.0),
            ("+5", 5.0),
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
        assert_eq!(["NaN", "nan"].map(|text| float(text).map(f64::to_bits)), [Some(0x7ff8_0000_0000_0001); 2]);
        for text in ["", "1e400", "0x1p3", "1_0", "abc", "1 ", "--1", "-nan", "1e", "infinit"] {
            assert_eq!(float(text), None, "{text}");
        }
    }

    #[test]
    fn short_numbers_are_read_as_all_others() {
        for text in [
            "0",
            "-0",
            "7",
            "-7",
            "1.5",
            "-0.25",
            ".5",
            "5.",
            "123456789012345",
            "0.00000000000001",
            "4.9351e-05",
            "1e22",
            "1E+5",
            "2.5e2",
            "99999999999999.9",
            "0.1",
            "1.1e-7",
            "3.141592653589",
        ] {
            let (value, len) = short_float(format!("{text} 1\n").as_bytes()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((value.to_bits(), len), (float(text).unwrap().to_bits(), text.len()), "{text}");
            assert_eq!(short_float(text.as_bytes()).map(|(_, len)| len), Some(text.len()));
        }
        for text in ["", "-", ".", "1.2.3", "1e", "1e+", "1e123", "1e23", "1234567890123456", "1x", "+1", "Inf", "1e5x"]
        {
            assert_eq!(short_float(text.as_bytes()), None, "{text}");
        }
    }
}
