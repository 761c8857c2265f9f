//! Numbers as Go prints and parses them: the shortest digits that read back the same.
//!
//! Digits come from `zmij`; only their layout is decided here. Rust's own `{}` picks other digits at ties.

/// Appends `value` as Go's `strconv.FormatFloat(v, 'f', -1, 64)`: never an exponent; `NaN`, `+Inf`, `-Inf`.
/// This is how sample values appear in the HTTP API.
pub fn push_float(out: &mut String, value: f64) {
    if let Some(text) = ShortText::new().plain(value) {
        out.push_str(text);
    } else if !push_special(out, value) {
        Digits::of(value).push_plain(out);
    }
}

/// [`push_float`] into bytes: bodies of answers are bytes, and have millions of numbers.
pub fn append_float(out: &mut Vec<u8>, value: f64) {
    match ShortText::new().plain(value) {
        Some(text) => out.extend_from_slice(text.as_bytes()),
        None => out.extend_from_slice(print_float(value).as_bytes()),
    }
}

/// Appends `value` as Go's `strconv.FormatFloat(v, 'g', -1, 64)`: an exponent below 1e-4 and from 1e6 on, as `fmt`
/// does with `%v`. Metrics pages, templates and canonical `le` labels are written so.
pub fn push_float_general(out: &mut String, value: f64) {
    if (1e-4..1e6).contains(&value.abs())
        && let Some(text) = ShortText::new().plain(value)
    {
        return out.push_str(text);
    }
    if push_special(out, value) {
        return;
    }
    let digits = Digits::of(value);
    let exponent = digits.point - 1;
    if value != 0.0 && !(-4..6).contains(&exponent) {
        digits.push_exponent(out);
    } else {
        digits.push_plain(out);
    }
}

/// Appends `value` as Go's `'e'` format with the shortest digits: `1e+00`, as alerts' values in the API.
pub fn push_float_exponent(out: &mut String, value: f64) {
    if push_special(out, value) {
        return;
    }
    Digits::of(value).push_exponent(out);
}

/// [`push_float`] as a new string.
pub fn print_float(value: f64) -> String {
    let mut out = String::new();
    push_float(&mut out, value);
    out
}

/// [`push_float_general`] as a new string.
pub fn print_float_general(value: f64) -> String {
    let mut out = String::new();
    push_float_general(&mut out, value);
    out
}

/// The value of a `le` or `quantile` label, as 3.x normalises it on ingestion: `1` becomes `1.0`, `1e3` `1000.0`.
/// (OpenMetrics' canonical float: general format, with `.0` added to what looks like an integer.)
pub fn print_float_canonical(value: f64) -> String {
    let mut out = print_float_general(value);
    if out.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        out.push_str(".0");
    }
    out
}

/// Whole numbers below that are exact, and so are all their digits.
const INTEGER_LIMIT: f64 = 9_007_199_254_740_992.0;
/// From here up to [`INTEGER_LIMIT`] `zmij` writes no exponent.
const PLAIN_FROM: f64 = 1e-5;

/// Room for the text of a number while it is made: most need no digits laid out anew.
struct ShortText {
    whole: itoa::Buffer,
    fraction: zmij::Buffer,
}

impl ShortText {
    fn new() -> Self {
        Self { whole: itoa::Buffer::new(), fraction: zmij::Buffer::new() }
    }

    /// The text of [`push_float`], if the number is neither huge nor tiny.
    fn plain(&mut self, value: f64) -> Option<&str> {
        let magnitude = value.abs();
        // NaN is below nothing.
        if magnitude >= INTEGER_LIMIT || magnitude.is_nan() {
            return None;
        }
        let whole = value as i64;
        if whole as f64 == value {
            let negative_zero = whole == 0 && value.is_sign_negative();
            return Some(if negative_zero { "-0" } else { self.whole.format(whole) });
        }
        (magnitude >= PLAIN_FROM).then(|| self.fraction.format_finite(value))
    }
}

fn push_special(out: &mut String, value: f64) -> bool {
    let text = match value {
        v if v.is_nan() => "NaN",
        f64::INFINITY => "+Inf",
        f64::NEG_INFINITY => "-Inf",
        _ => return false,
    };
    out.push_str(text);
    true
}

/// The shortest decimal digits of a finite number: `0.d1d2d3... x 10^point`, with the sign kept apart.
struct Digits {
    negative: bool,
    digits: [u8; 20],
    count: usize,
    point: i32,
}

impl Digits {
    fn of(value: f64) -> Self {
        let mut this = Self { negative: value.is_sign_negative(), digits: [b'0'; 20], count: 0, point: 1 };
        if value == 0.0 {
            this.count = 1;
            return this;
        }
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value.abs());
        let mut exponent = 0;
        let mut before_point = 0;
        let mut seen_point = false;
        for (i, b) in text.bytes().enumerate() {
            match b {
                b'.' => seen_point = true,
                b'e' | b'E' => {
                    exponent = text.get(i + 1..).and_then(|e| e.parse().ok()).unwrap_or(0);
                    break;
                }
                digit => {
                    if !seen_point {
                        before_point += 1;
                    }
                    this.push_digit(digit);
                }
            }
        }
        this.point += before_point + exponent - 1;
        this.trim();
        this
    }

    /// Leading zeros move the point instead of being kept.
    fn push_digit(&mut self, digit: u8) {
        if self.count == 0 && digit == b'0' {
            self.point -= 1;
            return;
        }
        if self.count < self.digits.len() {
            self.digits[self.count] = digit;
            self.count += 1;
        }
    }

    fn trim(&mut self) {
        while self.count > 1 && self.digits[self.count - 1] == b'0' {
            self.count -= 1;
        }
    }

    fn push_sign(&self, out: &mut String) {
        if self.negative {
            out.push('-');
        }
    }

    fn push_digits(&self, out: &mut String, from: usize, to: usize) {
        out.extend(self.digits[from..to].iter().map(|&b| char::from(b)));
    }

    fn push_plain(&self, out: &mut String) {
        self.push_sign(out);
        let count = self.count as i32;
        if self.point <= 0 {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', (-self.point) as usize));
            self.push_digits(out, 0, self.count);
        } else if self.point >= count {
            self.push_digits(out, 0, self.count);
            out.extend(std::iter::repeat_n('0', (self.point - count) as usize));
        } else {
            self.push_digits(out, 0, self.point as usize);
            out.push('.');
            self.push_digits(out, self.point as usize, self.count);
        }
    }

    fn push_exponent(&self, out: &mut String) {
        self.push_sign(out);
        self.push_digits(out, 0, 1);
        if self.count > 1 {
            out.push('.');
            self.push_digits(out, 1, self.count);
        }
        let exponent = if self.count == 1 && self.digits[0] == b'0' { 0 } else { self.point - 1 };
        out.push('e');
        out.push(if exponent < 0 { '-' } else { '+' });
        let magnitude = exponent.unsigned_abs();
        if magnitude < 10 {
            out.push('0');
        }
        out.push_str(itoa::Buffer::new().format(magnitude));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lays_digits_out_as_go_does() {
        // (value, 'f' -1, 'g' -1, 'e' -1), from Go's strconv and fmt; "" where the text is too long to list.
        for (value, plain, general, exponent) in [
            (0.0, "0", "0", "0e+00"),
            (-0.0, "-0", "-0", "-0e+00"),
            (1.0, "1", "1", "1e+00"),
            (-1.5, "-1.5", "-1.5", "-1.5e+00"),
            (0.001, "0.001", "0.001", "1e-03"),
            (0.0001, "0.0001", "0.0001", "1e-04"),
            (0.00001, "0.00001", "1e-05", "1e-05"),
            (123456789.0, "123456789", "1.23456789e+08", "1.23456789e+08"),
            (1e21, "1000000000000000000000", "1e+21", "1e+21"),
            (1.7976931348623157e308, "", "1.7976931348623157e+308", "1.7976931348623157e+308"),
            (5e-324, "", "5e-324", "5e-324"),
            (1125899906842624.2, "1125899906842624.2", "", "1.1258999068426242e+15"),
            (0.1 + 0.2, "0.30000000000000004", "0.30000000000000004", "3.0000000000000004e-01"),
        ] {
            let mut e = String::new();
            push_float_exponent(&mut e, value);
            assert_eq!(e, exponent, "e of {value}");
            if !plain.is_empty() {
                assert_eq!(print_float(value), plain, "f of {value}");
            }
            if !general.is_empty() {
                assert_eq!(print_float_general(value), general, "g of {value}");
            }
        }
        assert_eq!(print_float_general(1234567.0), "1.234567e+06");
        assert_eq!(print_float_general(123456.0), "123456");
        assert_eq!(print_float(f64::NAN), "NaN");
        assert_eq!(print_float(f64::INFINITY), "+Inf");
        assert_eq!(print_float(f64::NEG_INFINITY), "-Inf");
    }

    #[test]
    fn canonical_labels_have_a_point_or_an_exponent() {
        for (value, text) in
            [(1.0, "1.0"), (0.5, "0.5"), (1e3, "1000.0"), (1e6, "1e+06"), (f64::INFINITY, "+Inf"), (1e22, "1e+22")]
        {
            assert_eq!(print_float_canonical(value), text);
        }
    }

    /// The layout of digits, which knows nothing of short texts.
    fn laid_out(value: f64) -> String {
        let mut out = String::new();
        if !push_special(&mut out, value) {
            Digits::of(value).push_plain(&mut out);
        }
        out
    }

    fn check_short(value: f64) {
        for value in [value, -value] {
            let plain = laid_out(value);
            assert_eq!(print_float(value), plain);
            let mut bytes = b"[".to_vec();
            append_float(&mut bytes, value);
            assert_eq!(bytes, format!("[{plain}").as_bytes());
            let exponent = Digits::of(if value.is_finite() { value } else { 0.0 }).point - 1;
            if value.is_finite() && (value == 0.0 || (-4..6).contains(&exponent)) {
                assert_eq!(print_float_general(value), plain);
            }
        }
    }

    #[test]
    fn short_texts_are_those_that_are_laid_out() {
        let edges = [0.0, 1e-4, 1e-5, 1e-6, 1.0, 1e6, 1e15, 1e16, 1e17, 1e21, INTEGER_LIMIT, f64::MAX, f64::INFINITY];
        for edge in edges {
            [edge, edge.next_down(), edge.next_up(), edge + 0.5, edge - 0.5].into_iter().for_each(check_short);
        }
        check_short(f64::NAN);
        check_short(f64::MIN_POSITIVE);
        for whole in (0..10_000).chain((0..53).map(|bit| (1_i64 << bit) - 1)) {
            check_short(whole as f64);
            check_short(whole as f64 / 100.0);
            check_short(whole as f64 / 1e7);
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4096))]

        #[test]
        fn any_bits_have_the_text_that_is_laid_out(bits: u64, whole: i64, places in 0_i32..12) {
            check_short(f64::from_bits(bits));
            check_short(whole as f64);
            check_short(whole as f64 / 10_f64.powi(places));
            check_short((whole % 1_000_000_000) as f64 / 10_f64.powi(places));
        }
    }

    #[test]
    fn printed_numbers_read_back_the_same() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = f64::from_bits(bits ^ (bits >> 29));
            if value.is_finite() {
                assert_eq!(print_float(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
                assert_eq!(print_float_general(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
            }
        }
    }
}
