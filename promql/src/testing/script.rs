//! The language of test scripts, read line by line.

use model::duration::Duration;
use model::labels::Labels;
use model::pattern::Search;

use super::start_times::{self, StartTimes};
use crate::parser::parse_number;
use crate::series_description::{SequenceValue, parse_series_description};

/// A script that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ScriptError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// One command.
pub(super) enum Command {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

/// What is loaded.
pub(super) struct Load {
    pub(super) step: i64,
    pub(super) custom_buckets: bool,
    pub(super) series: Vec<LoadedSeries>,
}

/// A series with its values and, if a line gave any, their start timestamps.
pub(super) struct LoadedSeries {
    pub(super) labels: Labels,
    pub(super) values: Vec<SequenceValue>,
    pub(super) starts: StartTimes,
}

/// What is evaluated.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// A query with what it must give.
pub(super) struct Eval {
    pub(super) line: usize,
    pub(super) query: String,
    pub(super) when: When,
    pub(super) ordered: bool,
    pub(super) fails: Option<Expectation>,
    pub(super) warnings: Messages,
    pub(super) infos: Messages,
    pub(super) values: Expected,
    /// With `expect range vector`: times of its samples.
    pub(super) range_vector: Option<(i64, i64, i64)>,
}

/// What values must come.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) scalar: Option<f64>,
    pub(super) string: Option<String>,
    /// In the order written.
    pub(super) series: Vec<(Labels, Vec<SequenceValue>)>,
}

/// What a message must be.
pub(super) enum Expectation {
    Anything,
    Message(String),
    Matching(Box<Search>),
}

impl Expectation {
    pub(super) fn accepts(&self, text: &str) -> bool {
        match self {
            Expectation::Anything => true,
            Expectation::Message(message) => message == text,
            Expectation::Matching(search) => search.is_match(text),
        }
    }
}

/// What annotations of one kind must come.
#[derive(Default)]
pub(super) struct Messages {
    /// At least one of any kind.
    pub(super) some: bool,
    pub(super) none: bool,
    pub(super) expected: Vec<Expectation>,
}

/// Reads a whole script.
pub(super) fn parse(text: &str) -> Result<Vec<Command>, ScriptError> {
    let lines: Vec<&str> = text.lines().map(|l| l.trim()).map(|l| if l.starts_with('#') { "" } else { l }).collect();
    let mut reader = Reader { lines, at: 0 };
    let mut commands = Vec::new();
    while let Some(line) = reader.next_filled() {
        let word = line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        commands.push(match word.as_str() {
            "clear" => Command::Clear,
            w if w.starts_with("load") => reader.load(line)?,
            w if w.starts_with("eval") => Command::Eval(Box::new(reader.eval(line)?)),
            _ => return Err(reader.fault(format!("invalid command {line:?}"))),
        });
    }
    Ok(commands)
}

struct Reader<'a> {
    lines: Vec<&'a str>,
    /// One past the line read last.
    at: usize,
}

impl<'a> Reader<'a> {
    fn fault(&self, message: impl Into<String>) -> ScriptError {
        ScriptError { line: self.at, message: message.into() }
    }

    fn next_filled(&mut self) -> Option<&'a str> {
        while let Some(line) = self.lines.get(self.at) {
            self.at += 1;
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    }

    /// The next line of the present block.
    fn next_in_block(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.at).filter(|line| !line.is_empty())?;
        self.at += 1;
        Some(line)
    }

    fn duration(&self, text: &str) -> Result<i64, ScriptError> {
        let negative = text.strip_prefix('-');
        let parsed = negative.unwrap_or(text).parse::<Duration>();
        let ms = parsed.map_err(|e| self.fault(format!("invalid duration {text:?}: {e}")))?.as_millis();
        Ok(if negative.is_some() { -ms } else { ms })
    }

    fn series(&self, line: &str) -> Result<(Labels, Vec<SequenceValue>), ScriptError> {
        parse_series_description(line).map_err(|e| self.fault(e.to_string()))
    }

    fn load(&mut self, line: &str) -> Result<Command, ScriptError> {
        let mut words = line.split_whitespace();
        let custom_buckets = match words.next() {
            Some("load") => false,
            Some("load_with_nhcb") => true,
            other => return Err(self.fault(format!("invalid load command {other:?}"))),
        };
        let step = words.next().ok_or_else(|| self.fault("load without a step"))?;
        let step = self.duration(step)?;
        let mut series = Vec::new();
        let mut pending: Option<(Labels, StartTimes)> = None;
        while let Some(line) = self.next_in_block() {
            if let Some(parsed) = start_times::parse_line(line) {
                if pending.is_some() {
                    return Err(self.fault("@st line has no following sample line"));
                }
                pending = Some(parsed.map_err(|e| self.fault(e))?);
                continue;
            }
            let (labels, values) = self.series(line)?;
            let starts = self.starts_of(pending.take(), &labels, values.len())?;
            series.push(LoadedSeries { labels, values, starts });
        }
        if pending.is_some() {
            return Err(self.fault("@st line has no following sample line"));
        }
        Ok(Command::Load(Load { step, custom_buckets, series }))
    }

    /// The start timestamps of a series, which the line above it gives.
    fn starts_of(
        &self,
        pending: Option<(Labels, StartTimes)>,
        labels: &Labels,
        values: usize,
    ) -> Result<StartTimes, ScriptError> {
        let Some((of, starts)) = pending else { return Ok(Vec::new()) };
        if of != *labels {
            return Err(self.fault("@st metric does not match the following sample line metric"));
        }
        if starts.len() != values {
            let message = format!("@st line has {} values but sample line has {values}", starts.len());
            return Err(self.fault(message));
        }
        Ok(starts)
    }

    fn eval(&mut self, line: &str) -> Result<Eval, ScriptError> {
        let (head, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let (when, query) = self.when(rest.trim_start())?;
        let mut eval = Eval {
            line: self.at,
            query: query.to_owned(),
            when,
            ordered: head == "eval_ordered",
            fails: (head == "eval_fail").then_some(Expectation::Anything),
            warnings: Messages { some: head == "eval_warn", ..Messages::default() },
            infos: Messages { some: head == "eval_info", ..Messages::default() },
            values: Expected::default(),
            range_vector: None,
        };
        while let Some(line) = self.next_in_block() {
            self.expectation(&mut eval, line)?;
        }
        Ok(eval)
    }

    /// `instant [at T] query` or `range from A to B step S query`
    fn when<'t>(&self, text: &'t str) -> Result<(When, &'t str), ScriptError> {
        let word = |text: &'t str| text.split_once(char::is_whitespace).map(|(w, rest)| (w, rest.trim_start()));
        let named = |text: &'t str, name: &str| {
            let (found, rest) = word(text).filter(|(w, _)| *w == name).ok_or(())?;
            debug_assert!(found == name, "filtered");
            word(rest).ok_or(())
        };
        let bad = |()| self.fault(format!("invalid evaluation command {text:?}"));
        match word(text) {
            Some(("instant", rest)) => match named(rest, "at") {
                Ok((at, query)) => Ok((When::Instant(self.duration(at)?), query)),
                Err(()) => Ok((When::Instant(0), rest)),
            },
            Some(("range", rest)) => {
                let (from, rest) = named(rest, "from").map_err(bad)?;
                let (to, rest) = named(rest, "to").map_err(bad)?;
                let (step, query) = named(rest, "step").map_err(bad)?;
                let (start, end, step) = (self.duration(from)?, self.duration(to)?, self.duration(step)?);
                Ok((When::Range { start, end, step }, query))
            }
            _ => Err(bad(())),
        }
    }

    fn expectation(&self, eval: &mut Eval, line: &str) -> Result<(), ScriptError> {
        if let Some(message) = line.strip_prefix("expected_fail_message") {
            eval.fails = Some(Expectation::Message(message.trim().to_owned()));
        } else if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
            eval.fails = Some(self.search(pattern.trim())?);
        } else if let Some(rest) = line.strip_prefix("expect range vector") {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let ["from", from, "to", to, "step", step] = words.as_slice() else {
                return Err(self.fault(format!("invalid range vector definition {line:?}")));
            };
            eval.range_vector = Some((self.duration(from)?, self.duration(to)?, self.duration(step)?));
        } else if let Some(rest) = line.strip_prefix("expect string") {
            let text = crate::string_literal::unquote(rest.trim()).map_err(|e| self.fault(e))?;
            eval.values.string = Some(text);
        } else if let Some(rest) = line.strip_prefix("expect ") {
            self.expect(eval, rest.trim())?;
        } else if let Some(value) = number(line) {
            eval.values.scalar = Some(value);
        } else {
            eval.values.series.push(self.series(line)?);
        }
        Ok(())
    }

    fn expect(&self, eval: &mut Eval, text: &str) -> Result<(), ScriptError> {
        let (kind, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        let expectation = if let Some(message) = rest.strip_prefix("msg:") {
            Expectation::Message(message.trim().to_owned())
        } else if let Some(pattern) = rest.strip_prefix("regex:") {
            self.search(pattern.trim())?
        } else {
            Expectation::Anything
        };
        match kind {
            "fail" => eval.fails = Some(expectation),
            "ordered" => eval.ordered = true,
            "warn" => eval.warnings.expected.push(expectation),
            "no_warn" => eval.warnings.none = true,
            "info" => eval.infos.expected.push(expectation),
            "no_info" => eval.infos.none = true,
            other => return Err(self.fault(format!("invalid expected error/annotation type {other}"))),
        }
        Ok(())
    }

    fn search(&self, pattern: &str) -> Result<Expectation, ScriptError> {
        Search::new(pattern).map(|s| Expectation::Matching(Box::new(s))).map_err(|e| self.fault(e.to_string()))
    }
}

/// A line that is only a number is the value of a scalar.
fn number(line: &str) -> Option<f64> {
    let (negative, digits) = match line.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, line.strip_prefix('+').unwrap_or(line)),
    };
    let value = parse_number(digits).ok()?;
    Some(if negative { -value } else { value })
}
