//! Variables of the environment in a configuration file: `${NAME}` and `${NAME:-default}` in the values of its YAML.
//!
//! Only a name that begins with a letter or `_` is a variable, so `${1}` and `$1` stay what they are; `$$` is a `$`.
//! Comments stay as they are, and so do values that have a language of their own in which `$` means something else:
//! [`UNTOUCHED`]. A value that YAML would read as something else is quoted, so that no variable changes the structure.

/// Keys whose values are left alone: relabelling has references to groups, `external_labels` are expanded by upstream's
/// own rule, where a variable that is not set is empty.
pub const UNTOUCHED: [&str; 4] = ["replacement", "target_label", "regex", "external_labels"];

/// A variable that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// Not set, and no default is given.
    #[error("line {line}: environment variable {name} is not set and ${{{name}:-default}} is not given")]
    NotSet {
        /// Counted from 1.
        line: usize,
        /// The variable.
        name: String,
    },
    /// `${NAME` goes on with something else than `}` or `:-`.
    #[error("line {line}: ${{{name} must end in }} or go on with :-default}}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// The variable.
        name: String,
    },
}

/// The text with its variables replaced by what `environment` says.
///
/// # Errors
/// All variables that cannot be expanded.
pub fn expand_environment(
    text: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<String, Vec<EnvironmentError>> {
    let mut expansion = Expansion::new(&environment);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        expansion.number = number + 1;
        expansion.line(line);
    }
    expansion.end_plain();
    if expansion.errors.is_empty() { Ok(expansion.out) } else { Err(expansion.errors) }
}

/// What surrounds the next character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    Single,
    Double,
    /// Lines of a `|` or `>` text: those with more indentation than this.
    Block(usize),
}

struct Expansion<'e> {
    environment: &'e dyn Fn(&str) -> Option<String>,
    out: String,
    errors: Vec<EnvironmentError>,
    mode: Mode,
    /// Number of the line.
    number: usize,
    /// The last key, and how far its line is indented.
    key: String,
    /// Values indented further than this belong to a key that is left alone.
    untouched: Option<usize>,
    /// The plain scalar being read, expanded.
    plain: String,
    /// Whether something in it must be quoted.
    is_unsafe: bool,
    /// Open `[` and `{`.
    depth: usize,
}

/// One step through a line.
enum Piece<'a> {
    Char(char),
    /// What a reference stands for.
    Value(String),
    /// Nothing: the reference was faulty, and is told.
    Faulty,
    /// As it stands.
    Verbatim(&'a str),
}

impl<'e> Expansion<'e> {
    fn new(environment: &'e dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            environment,
            out: String::new(),
            errors: Vec::new(),
            mode: Mode::Plain,
            number: 0,
            key: String::new(),
            untouched: None,
            plain: String::new(),
            is_unsafe: false,
            depth: 0,
        }
    }

    fn line(&mut self, line: &str) {
        let content = line.trim_end_matches(['\n', '\r']);
        let indent = content.len() - content.trim_start_matches(' ').len();
        let is_blank = content.trim().is_empty();
        if let Mode::Block(parent) = self.mode {
            if is_blank || indent > parent {
                return self.block_line(line, indent);
            }
            self.mode = Mode::Plain;
        }
        if self.mode == Mode::Plain && !is_blank && self.untouched.is_some_and(|key| indent <= key) && self.depth == 0 {
            self.untouched = None;
        }
        let mut rest = content;
        let mut before = ' ';
        while let Some(first) = rest.chars().next() {
            if self.mode == Mode::Plain && first == '#' && before.is_whitespace() {
                self.end_plain();
                self.out.push_str(rest);
                break;
            }
            let piece = self.piece(&mut rest);
            before = first;
            self.push(piece, rest, indent);
        }
        if self.mode == Mode::Plain {
            self.end_line(indent);
        }
        self.out.push_str(line.get(content.len()..).unwrap_or(""));
    }

    /// The end of a line outside quotes: a `|` or `>` there begins a block.
    fn end_line(&mut self, indent: usize) {
        let header = self.plain.trim();
        let is_block = header.starts_with(['|', '>'])
            && header.len() <= 3
            && header.chars().skip(1).all(|c| c.is_ascii_digit() || matches!(c, '+' | '-'));
        self.end_plain();
        if is_block && self.depth == 0 {
            self.mode = Mode::Block(block_parent(self.out.lines().last().unwrap_or(""), indent));
        }
    }

    fn block_line(&mut self, line: &str, indent: usize) {
        let mut rest = line;
        while !rest.is_empty() {
            match self.piece(&mut rest) {
                Piece::Char(c) => self.out.push(c),
                Piece::Value(value) => {
                    let broken = format!("\n{}", " ".repeat(indent));
                    self.out.push_str(&value.replace('\n', &broken));
                }
                Piece::Verbatim(text) => self.out.push_str(text),
                Piece::Faulty => {}
            }
        }
    }

    fn push(&mut self, piece: Piece<'_>, rest: &str, indent: usize) {
        match (self.mode, piece) {
            (_, Piece::Faulty) | (Mode::Block(_), _) => {}
            (Mode::Plain, Piece::Char(c)) => self.plain_char(c, rest, indent),
            (Mode::Plain, Piece::Value(value)) => {
                self.is_unsafe |= !is_plain_text(&value);
                self.plain.push_str(&value);
            }
            (Mode::Plain, Piece::Verbatim(text)) => self.plain.push_str(text),
            (Mode::Single, Piece::Char('\'')) => {
                self.out.push('\'');
                self.mode = Mode::Plain;
            }
            (Mode::Double, Piece::Char('"')) => {
                self.out.push('"');
                self.mode = Mode::Plain;
            }
            (_, Piece::Char(c)) => self.out.push(c),
            (_, Piece::Verbatim(text)) => self.out.push_str(text),
            (Mode::Single, Piece::Value(value)) => self.out.push_str(&value.replace('\'', "''")),
            (Mode::Double, Piece::Value(value)) => push_escaped(&mut self.out, &value),
        }
    }

    fn plain_char(&mut self, c: char, rest: &str, indent: usize) {
        let at_start = self.plain.trim().is_empty();
        let ends = rest.is_empty() || rest.starts_with([' ', '\t']);
        match c {
            '\'' | '"' if at_start => {
                self.end_plain();
                self.out.push(c);
                self.mode = if c == '"' { Mode::Double } else { Mode::Single };
            }
            '[' | '{' if at_start => {
                self.end_plain();
                self.out.push(c);
                self.depth += 1;
            }
            ']' | '}' | ',' if self.depth > 0 => {
                self.end_plain();
                self.out.push(c);
                self.depth -= usize::from(c != ',');
                self.leave_flow_value();
            }
            '-' if at_start && ends && self.depth == 0 => {
                self.end_plain();
                self.out.push(c);
            }
            ':' if ends => self.enter_key(indent),
            _ => self.plain.push(c),
        }
    }

    /// What was read is a key.
    fn enter_key(&mut self, indent: usize) {
        let before = self.out.lines().last().unwrap_or("");
        let written = if self.plain.trim().is_empty() { before } else { &self.plain };
        let key = written.trim().trim_matches(['"', '\'']).rsplit(['"', '\'', ' ']).next().unwrap_or("");
        key.clone_into(&mut self.key);
        self.end_plain();
        self.out.push(':');
        if self.untouched.is_none() && UNTOUCHED.contains(&self.key.as_str()) {
            // A key behind dashes stands further in than its line begins.
            let line = self.out.lines().last().unwrap_or("");
            let dashes = line.trim_start_matches([' ', '-']);
            self.untouched = Some(if self.depth > 0 { indent } else { line.len() - dashes.len() });
        }
    }

    /// A value in braces ended, and with it the key that left it alone.
    fn leave_flow_value(&mut self) {
        if UNTOUCHED.contains(&self.key.as_str()) && self.key != "external_labels" {
            self.untouched = None;
            self.key.clear();
        }
    }

    /// Writes the plain scalar, quoted if a variable brought in what YAML would take for something else.
    fn end_plain(&mut self) {
        let plain = std::mem::take(&mut self.plain);
        if std::mem::take(&mut self.is_unsafe) {
            let text = plain.trim_start();
            self.out.push_str(plain.strip_suffix(text).unwrap_or(""));
            self.out.push('"');
            push_escaped(&mut self.out, text.trim_end());
            self.out.push('"');
            self.out.push_str(text.strip_prefix(text.trim_end()).unwrap_or(""));
        } else {
            self.out.push_str(&plain);
        }
    }

    /// Takes the next piece off `rest`, which is not empty.
    fn piece<'a>(&mut self, rest: &mut &'a str) -> Piece<'a> {
        let mut chars = rest.chars();
        let first = chars.next().unwrap_or(' ');
        let after = chars.as_str();
        if self.mode == Mode::Double && first == '\\' {
            let len = 1 + after.chars().next().map_or(0, char::len_utf8);
            let (taken, left) = rest.split_at(len);
            *rest = left;
            return Piece::Verbatim(taken);
        }
        if self.mode == Mode::Single && rest.starts_with("''") {
            let (taken, left) = rest.split_at(2);
            *rest = left;
            return Piece::Verbatim(taken);
        }
        *rest = after;
        if first != '$' || self.untouched.is_some() {
            return Piece::Char(first);
        }
        if let Some(left) = after.strip_prefix('$') {
            *rest = left;
            return Piece::Char('$');
        }
        let Some(inner) =
            after.strip_prefix('{').filter(|i| i.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
        else {
            return Piece::Char('$');
        };
        let name_len = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        let (name, tail) = inner.split_at(name_len);
        self.reference(name, tail, rest)
    }

    /// `${name` was read; `tail` goes on with its end.
    fn reference<'a>(&mut self, name: &str, tail: &'a str, rest: &mut &'a str) -> Piece<'a> {
        let line = self.number;
        let (default, left) = match tail.strip_prefix('}') {
            Some(left) => (None, left),
            None => match tail.strip_prefix(":-").and_then(|default| default.split_once('}')) {
                Some((default, left)) if !default.contains('\n') => (Some(default), left),
                _ => {
                    *rest = tail;
                    self.errors.push(EnvironmentError::Malformed { line, name: name.to_owned() });
                    return Piece::Faulty;
                }
            },
        };
        *rest = left;
        let value = (self.environment)(name);
        match (value, default) {
            (Some(value), None) => Piece::Value(value),
            // As in a shell, an empty variable has its default.
            (value, Some(default)) => {
                Piece::Value(value.filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned()))
            }
            (None, None) => {
                self.errors.push(EnvironmentError::NotSet { line, name: name.to_owned() });
                Piece::Faulty
            }
        }
    }
}

/// How far the key or dash is indented that a block of text belongs to, by the line that begins it.
fn block_parent(line: &str, indent: usize) -> usize {
    let content = line.trim_start_matches([' ', '-']);
    let before = line.strip_suffix(content).unwrap_or("");
    match content.starts_with(['|', '>']) {
        true => before.rfind('-').unwrap_or(indent),
        false => before.len(),
    }
}

/// Whether YAML reads a plain scalar of this text as just that text, wherever it stands.
fn is_plain_text(value: &str) -> bool {
    let is_usual = |c: char| c.is_alphanumeric() || "_./@%+=~-: ".contains(c);
    value.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '/' | '.' | '-'))
        && value.chars().all(is_usual)
        && !value.contains(": ")
        && !value.starts_with("- ")
        && !value.ends_with([':', ' '])
}

/// As in a string in double quotes.
fn push_escaped(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        Some(match name {
            "HOST" => "db.example:9090".into(),
            "N" => "7".into(),
            "SECRET" => "a: \"b\" #c'\\".into(),
            "LINES" => "one\ntwo".into(),
            "EMPTY" => String::new(),
            _ => return None,
        })
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(expand_environment(text, environment).as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn values_are_expanded_where_they_stand() {
        check("a: ${HOST}\nb: x-${N}-${N} # ${NONE}\n", "a: db.example:9090\nb: x-7-7 # ${NONE}\n");
        check("a: ${NONE:-15s}\nb: ${N:-1}\nc: ${EMPTY:-d}\n", "a: 15s\nb: 7\nc: d\n");
        check("[${HOST}, '${N}', {k: ${N}}]", "[db.example:9090, '7', {k: 7}]");
        check("- ${N}\n- - ${N}\n${N}: x", "- 7\n- - 7\n7: x");
        check("# ${NONE}\na: b#${N}", "# ${NONE}\na: b#7");
        check("no variables: $x $ ${1} $1 ${-x}", "no variables: $x $ ${1} $1 ${-x}");
        check("a: $$x $${N} '$$'", "a: $x ${N} '$'");
    }

    #[test]
    fn what_would_change_the_structure_is_quoted() {
        check("a: ${SECRET} # x", r#"a: "a: \"b\" #c'\\" # x"#);
        check("a: x${SECRET}", r#"a: "xa: \"b\" #c'\\""#);
        check("a: '${SECRET}'", r#"a: 'a: "b" #c''\'"#);
        check(r#"a: "\"${SECRET}" # ${NONE}"#, r#"a: "\"a: \"b\" #c'\\" # ${NONE}"#);
        check("a: ${LINES}\nb: ${EMPTY}\n", "a: \"one\\ntwo\"\nb: \"\"\n");
        check("a: |\n  x ${LINES}\n  # ${N}\nb: ${N}\n", "a: |\n  x one\n  two\n  # 7\nb: 7\n");
        check(
            "- a: >-\n    x # ${N}\n  b: ${N} # ${NONE}\n- |\n  # ${N}\n",
            "- a: >-\n    x # 7\n  b: 7 # ${NONE}\n- |\n  # 7\n",
        );
        check("a: 'it''s ${N}'\nb: ${N}", "a: 'it''s 7'\nb: 7");
        check("a: \"two\n  lines # ${N}\"\nb: ${N} # ${NONE}", "a: \"two\n  lines # 7\"\nb: 7 # ${NONE}");
    }

    #[test]
    fn languages_of_their_own_are_left_alone() {
        let relabel = "- regex: (?P<name>.*)${NONE}\n  replacement: ${name}-$1 ${NONE}\n  target_label: \"${name}\"\n";
        check(relabel, relabel);
        check("replacement: ${name}\na: ${N}", "replacement: ${name}\na: 7");
        check("{replacement: '${name}', a: ${N}}", "{replacement: '${name}', a: 7}");
        check(
            "global:\n  external_labels:\n    a: ${NONE}$$\n    b: x\n  c: ${N}\n",
            "global:\n  external_labels:\n    a: ${NONE}$$\n    b: x\n  c: 7\n",
        );
    }

    #[test]
    fn all_that_is_missing_is_told_with_its_line() {
        let errors = expand_environment("a: ${NONE}\n\nb: '${OTHER}'\nc: ${N\n", environment).unwrap_err();
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "line 1: environment variable NONE is not set and ${NONE:-default} is not given",
                "line 3: environment variable OTHER is not set and ${OTHER:-default} is not given",
                "line 4: ${N must end in } or go on with :-default}",
            ]
        );
    }
}
