//! Numbers for people: `1.234k`, `1h 2m 3s`, `12.3%`.

/// Above one and below, each a thousandfold.
const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

/// Go's `%.4g`: four significant digits, an exponent where it is shorter, no trailing zeros.
pub(crate) fn four_digits(value: f64) -> String {
    if !value.is_finite() {
        return model::number::print_float_general(value);
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    let scientific = format!("{value:.3e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..4).contains(&exponent) {
        return trimmed(&format!("{value:.*}", (3 - exponent).max(0) as usize)).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
}

fn trimmed(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// With a metric prefix.
pub(crate) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (value, prefix) = match value.abs() >= 1.0 {
        true => divided(value, 1000.0, &LARGE),
        false => multiplied(value),
    };
    format!("{}{prefix}", four_digits(value))
}

/// With a binary prefix.
pub(crate) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (value, prefix) = divided(value, 1024.0, &BINARY);
    format!("{}{prefix}", four_digits(value))
}

fn divided(mut value: f64, base: f64, prefixes: &[&'static str]) -> (f64, &'static str) {
    let mut shown = "";
    for prefix in prefixes {
        if value.abs() < base {
            break;
        }
        shown = prefix;
        value /= base;
    }
    (value, shown)
}

fn multiplied(mut value: f64) -> (f64, &'static str) {
    let mut shown = "";
    for prefix in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        shown = prefix;
        value *= 1000.0;
    }
    (value, shown)
}

/// Seconds as days, hours, minutes and seconds, or as a fraction of one.
pub(crate) fn duration(value: f64) -> String {
    if !value.is_finite() {
        return four_digits(value);
    }
    if value == 0.0 {
        return format!("{}s", four_digits(value));
    }
    if value.abs() < 1.0 {
        let (value, prefix) = multiplied(value);
        return format!("{}{prefix}s", four_digits(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let whole = value.abs() as i64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{}s", four_digits(value)),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, ..) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

/// A ratio in percent.
pub(crate) fn percentage(value: f64) -> String {
    format!("{}%", four_digits(value * 100.0))
}

/// Seconds since the epoch as Go prints a time in UTC.
pub(crate) fn timestamp(value: f64) -> String {
    if !value.is_finite() {
        return four_digits(value);
    }
    let nanoseconds = (value * 1e9).round() as i128;
    match jiff::Timestamp::from_nanosecond(nanoseconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string(),
        Err(_) => four_digits(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_significant_digits_as_go_prints_them() {
        for (value, text) in [
            (1.0, "1"),
            (1234.5, "1234"),
            (12345.0, "1.234e+04"),
            (0.00012345, "0.0001234"),
            (0.000012345, "1.234e-05"),
            (999.96, "1000"),
            (0.1, "0.1"),
            (-2.50, "-2.5"),
        ] {
            assert_eq!(four_digits(value), text);
        }
    }

    #[test]
    fn prefixes() {
        for (value, text) in
            [(1234567.0, "1.235M"), (0.00123, "1.23m"), (0.0, "0"), (-1500.0, "-1.5k"), (999.9, "999.9")]
        {
            assert_eq!(humanize(value), text);
        }
        assert_eq!(humanize_1024(1_048_576.0), "1Mi");
        for (value, text) in
            [(0.0, "0s"), (59.5, "59.5s"), (60.0, "1m 0s"), (90_061.0, "1d 1h 1m 1s"), (-61.0, "-1m 1s")]
        {
            assert_eq!(duration(value), text);
        }
    }
}
