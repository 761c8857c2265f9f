//! The syntax of names, label keys and values, ports and the like. Each rule answers with the sentence to show.

/// Longest DNS label, label value, and name part of a qualified name, in bytes.
pub const LABEL_BYTES_MAX: usize = 63;
/// Longest DNS subdomain, in bytes.
pub const SUBDOMAIN_BYTES_MAX: usize = 253;

/// What a rule answers: nothing, or the rule that is broken.
pub type Outcome = Result<(), &'static str>;

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn bounded(text: &str, inner: impl Fn(u8) -> bool, outer: impl Fn(u8) -> bool) -> bool {
    match text.as_bytes() {
        [] => false,
        bytes => bytes.iter().all(|&byte| inner(byte)) && outer(bytes[0]) && outer(bytes[bytes.len() - 1]),
    }
}

/// A DNS label: lower case letters, digits and `-`, at most 63 bytes.
pub fn dns_label(text: &str) -> Outcome {
    if text.len() > LABEL_BYTES_MAX {
        return Err("must be no more than 63 bytes");
    }
    match bounded(text, |byte| alphanumeric(byte) || byte == b'-', alphanumeric) {
        true => Ok(()),
        false => Err(
            "an RFC 1123 label is made of lower case letters, digits and '-', and begins and ends with a letter or digit",
        ),
    }
}

/// A DNS label that begins with a letter (names of Services).
pub fn dns1035_label(text: &str) -> Outcome {
    let starts = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    match starts && dns_label(text).is_ok() {
        true => Ok(()),
        false => Err(
            "a DNS-1035 label is made of at most 63 lower case letters, digits and '-', begins with a letter and ends with a letter or digit",
        ),
    }
}

/// DNS labels joined by dots, at most 253 bytes.
pub fn dns_subdomain(text: &str) -> Outcome {
    if text.len() > SUBDOMAIN_BYTES_MAX {
        return Err("must be no more than 253 bytes");
    }
    match text.split('.').all(|part| bounded(part, |byte| alphanumeric(byte) || byte == b'-', alphanumeric)) {
        true => Ok(()),
        false => Err(
            "a lowercase RFC 1123 subdomain is made of lower case letters, digits, '-' and '.', and begins and ends with a letter or digit",
        ),
    }
}

/// `[prefix/]name` as label and annotation keys, finalizers and condition types are written.
pub fn qualified(text: &str) -> Outcome {
    let name = match text.split_once('/') {
        Some((prefix, name)) => {
            dns_subdomain(prefix).map_err(|_| "the prefix before '/' must be a DNS subdomain")?;
            name
        }
        None => text,
    };
    if name.is_empty() {
        return Err("name part must be non-empty");
    }
    if name.len() > LABEL_BYTES_MAX {
        return Err("name part must be no more than 63 bytes");
    }
    match label_text(name) {
        true => Ok(()),
        false => {
            Err("name part is made of letters, digits, '-', '_' and '.', and begins and ends with a letter or digit")
        }
    }
}

/// The value of a label.
pub fn label_value(text: &str) -> Outcome {
    if text.len() > LABEL_BYTES_MAX {
        return Err("must be no more than 63 bytes");
    }
    match text.is_empty() || label_text(text) {
        true => Ok(()),
        false => Err(
            "a valid label value is empty, or made of letters, digits, '-', '_' and '.', and begins and ends with a letter or digit",
        ),
    }
}

fn label_text(text: &str) -> bool {
    let outer = |byte: u8| byte.is_ascii_alphanumeric();
    bounded(text, |byte| outer(byte) || matches!(byte, b'-' | b'_' | b'.'), outer)
}

/// The name of a port: at most 15 bytes, at least one letter.
pub fn port_name(text: &str) -> Outcome {
    if text.len() > 15 {
        return Err("must be no more than 15 bytes");
    }
    let shaped = bounded(text, |byte| alphanumeric(byte) || byte == b'-', alphanumeric);
    if !shaped || text.contains("--") {
        return Err(
            "must contain only lower case letters, digits and single hyphens, and begin and end with a letter or digit",
        );
    }
    match text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        true => Ok(()),
        false => Err("must contain at least one letter (a-z)"),
    }
}

/// A port number.
pub fn port_number(number: i64) -> Outcome {
    match (1..=65535).contains(&number) {
        true => Ok(()),
        false => Err("must be between 1 and 65535, inclusive"),
    }
}

/// A key of a ConfigMap or Secret.
pub fn config_key(text: &str) -> Outcome {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match !text.is_empty()
        && text.len() <= SUBDOMAIN_BYTES_MAX
        && text.bytes().all(inner)
        && text != "."
        && !text.starts_with("..")
    {
        true => Ok(()),
        false => Err(
            "a valid config key is made of at most 253 letters, digits, '-', '_' or '.', and is not '.' nor begins with '..'",
        ),
    }
}

/// The name of an environment variable: printable ASCII without `=`.
pub fn environment_name(text: &str) -> Outcome {
    match !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
        true => Ok(()),
        false => Err("a valid environment variable name is made of printable ASCII characters other than '='"),
    }
}

/// An IP address, version 4 or 6.
pub fn ip_address(text: &str) -> Outcome {
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
    }
}

/// An amount with an optional suffix, such as `100m`, `1.5Gi` or `1e3`.
pub fn quantity(text: &str) -> Outcome {
    const SUFFIXES: [&str; 15] = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi"];
    let unsigned = text.trim_start_matches(['+', '-']);
    let end = unsigned.bytes().position(|byte| !byte.is_ascii_digit() && byte != b'.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let numeric =
        number.bytes().any(|byte| byte.is_ascii_digit()) && number.bytes().filter(|&byte| byte == b'.').count() <= 1;
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|digits| digits.parse::<i16>().is_ok());
    match numeric && text.len() - unsigned.len() <= 1 && (exponent || suffix == "Ei" || SUFFIXES.contains(&suffix)) {
        true => Ok(()),
        false => Err("quantities are a number with an optional suffix such as m, k, M, Ki, Mi or an exponent"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> Outcome, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(rule(text), Ok(()), "{text:?}");
        }
        for text in bad {
            assert!(rule(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names() {
        check(dns_label, &["a", "a-1", "1a"], &["", "-a", "a-", "A", "a.b", "ü", &"a".repeat(64)]);
        check(dns1035_label, &["a1"], &["1a", "", "a."]);
        check(dns_subdomain, &["a.b-c.d", "1"], &["", ".", "a..b", "a.-b", "A", &"a".repeat(254)]);
        check(qualified, &["app", "a.b/App_1"], &["", "/x", "a/", "A/x", "a/b/c", "-x"]);
        check(label_value, &["", "V1.a_b-c"], &["-a", "a b", "ü"]);
    }

    #[test]
    fn ports_and_amounts() {
        check(port_name, &["http", "p-1"], &["", "8080", "a--b", "HTTP", "a-very-long-port-name"]);
        check(
            quantity,
            &["1", "1.5Gi", "100m", "1e3", "+2k", "-1", ".5"],
            &["", "Gi", "1 G", "1.2.3", "1x", "--1", "1e"],
        );
        check(config_key, &["a.B_c-1"], &["", ".", "..x", "a/b"]);
        assert!(port_number(0).is_err() && port_number(65536).is_err() && port_number(1).is_ok());
    }
}
