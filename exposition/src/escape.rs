//! Names outside the legacy charset, written so that readers who know no others take them.
//!
//! Reference: the `escaping` parameter of media types in Prometheus' "Escaping Schemes for Metric and Label Names".

use std::borrow::Cow;

use model::labels::is_legacy_metric_name;

/// How a reader wants names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Escaping {
    /// As they are.
    AllowUtf8,
    /// Every other character as `_`.
    #[default]
    Underscores,
    /// `.` as `_dot_`, `_` as `__`, every other character as `__`.
    Dots,
    /// Reversibly: `U__` in front, `_` as `__`, every other character as its code point between underscores.
    Values,
}

impl Escaping {
    /// The scheme with the name that the `escaping` parameter has.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "allow-utf-8" => Some(Escaping::AllowUtf8),
            "underscores" => Some(Escaping::Underscores),
            "dots" => Some(Escaping::Dots),
            "values" => Some(Escaping::Values),
            _ => None,
        }
    }

    /// Its name in the `escaping` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Escaping::AllowUtf8 => "allow-utf-8",
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
        }
    }

    /// A name of a metric or label in this scheme.
    pub fn name(self, name: &str) -> Cow<'_, str> {
        let is_plain = name.is_empty() || is_legacy_metric_name(name);
        // Dots are written with underscores: those that stand there already must be told from them.
        if self == Escaping::AllowUtf8 || is_plain && self != Escaping::Dots {
            return name.into();
        }
        let mut out = String::with_capacity(name.len() + 8);
        if self == Escaping::Values {
            out.push_str("U__");
        }
        for (index, c) in name.chars().enumerate() {
            let is_legacy = c.is_ascii_alphabetic() || matches!(c, '_' | ':') || c.is_ascii_digit() && index > 0;
            match (self, c) {
                (Escaping::Dots | Escaping::Values, '_') => out.push_str("__"),
                (Escaping::Dots, '.') => out.push_str("_dot_"),
                (_, c) if is_legacy => out.push(c),
                (Escaping::Dots, _) => out.push_str("__"),
                (Escaping::Values, c) => out.push_str(&format!("_{:x}_", u32::from(c))),
                (Escaping::Underscores | Escaping::AllowUtf8, _) => out.push('_'),
            }
        }
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_the_scheme_says() {
        for (name, underscores, dots, values) in [
            ("up", "up", "up", "up"),
            ("a_b", "a_b", "a__b", "a_b"),
            ("my.metric_x", "my_metric_x", "my_dot_metric__x", "U__my_2e_metric__x"),
            ("0ä", "__", "____", "U___30__e4_"),
        ] {
            assert_eq!(Escaping::Underscores.name(name), underscores);
            assert_eq!(Escaping::Dots.name(name), dots);
            assert_eq!(Escaping::Values.name(name), values);
            assert_eq!(Escaping::AllowUtf8.name(name), name);
        }
        assert_eq!(Escaping::from_name(Escaping::Dots.as_str()), Some(Escaping::Dots));
    }
}
