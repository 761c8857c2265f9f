//! JSON written piece by piece, escaped as Go's encoder does.

use std::fmt::Write;

/// Appends a JSON string: quotes, backslashes, control characters, `<`, `>`, `&`, U+2028 and U+2029 are escaped.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a String cannot fail");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// An object in the making; fields come in the order they are given.
pub(crate) struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn new(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    /// A field whose value `push` writes.
    pub(crate) fn with(mut self, key: &str, push: impl FnOnce(&mut String)) -> Self {
        if !std::mem::take(&mut self.empty) {
            self.out.push(',');
        }
        push_string(self.out, key);
        self.out.push(':');
        push(self.out);
        self
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.with(key, |out| push_string(out, value))
    }

    pub(crate) fn flag(self, key: &str, value: bool) -> Self {
        self.with(key, |out| out.push_str(if value { "true" } else { "false" }))
    }

    pub(crate) fn number(self, key: &str, value: impl std::fmt::Display) -> Self {
        self.with(key, |out| write!(out, "{value}").expect("writing to a String cannot fail"))
    }

    /// A field that is null if there is no value.
    pub(crate) fn optional<T>(self, key: &str, value: Option<T>, push: impl FnOnce(&mut String, T)) -> Self {
        self.with(key, |out| match value {
            Some(value) => push(out, value),
            None => out.push_str("null"),
        })
    }

    pub(crate) fn list<T>(self, key: &str, items: &[T], mut push: impl FnMut(&mut String, &T)) -> Self {
        self.with(key, |out| {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push(out, item);
            }
            out.push(']');
        })
    }

    pub(crate) fn texts(self, key: &str, items: &[impl AsRef<str>]) -> Self {
        self.list(key, items, |out, item| push_string(out, item.as_ref()))
    }

    pub(crate) fn end(self) {
        self.out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        let mut out = String::new();
        Object::new(&mut out).text("a\"", "<\\\n\x01é&\u{2028}").number("n", -2).texts("l", &["x", "y"]).end();
        assert_eq!(out, r#"{"a\"":"\u003c\\\n\u0001é\u0026\u2028","n":-2,"l":["x","y"]}"#);
    }
}
