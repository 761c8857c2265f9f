//! JUnit XML, as promtool writes it.

use std::fmt::Write;

/// The tests of a file.
pub(super) struct Suite {
    name: String,
    failures: usize,
    errors: usize,
    /// When it was run, without a zone.
    timestamp: String,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    failures: Vec<String>,
    error: Option<String>,
}

impl Suite {
    pub(super) fn new(name: String) -> Self {
        Self { name, failures: 0, errors: 0, timestamp: String::new(), cases: Vec::new() }
    }

    /// Notes when it was run.
    pub(super) fn begin(&mut self, now_ms: i64) {
        if let Ok(now) = jiff::Timestamp::from_millisecond(now_ms) {
            self.timestamp = now.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        }
    }

    /// Begins a test.
    pub(super) fn case(&mut self, name: &str) {
        self.cases.push(Case { name: name.to_owned(), failures: Vec::new(), error: None });
    }

    fn last(&mut self) -> Option<&mut Case> {
        if self.cases.is_empty() {
            self.case("unknown");
        }
        self.cases.last_mut()
    }

    /// The last test failed.
    pub(super) fn fail(&mut self, text: &str) {
        self.failures += 1;
        if let Some(case) = self.last() {
            case.failures.push(text.to_owned());
        }
    }

    /// Nothing could be tested.
    pub(super) fn abort(&mut self, text: &str) {
        self.errors += 1;
        if let Some(case) = self.last() {
            case.error = Some(text.to_owned());
        }
    }
}

/// All suites as one document.
pub(super) fn print(suites: &[Suite]) -> String {
    let mut out = String::from("<testsuites>");
    for suite in suites {
        let Suite { name, failures, errors, timestamp, cases } = suite;
        write!(
            out,
            r#"<testsuite name="{}" tests="{}" failures="{failures}" errors="{errors}" skipped="0" timestamp="{}">"#,
            escaped(name),
            cases.len(),
            escaped(timestamp)
        )
        .expect("writing to a String cannot fail");
        for case in cases {
            push_case(&mut out, case);
        }
        out.push_str("</testsuite>");
    }
    out.push_str("</testsuites>");
    out
}

fn push_case(out: &mut String, case: &Case) {
    out.push_str(&format!(r#"<testcase name="{}">"#, escaped(&case.name)));
    for failure in &case.failures {
        out.push_str(&format!("<failure>{}</failure>", escaped(failure)));
    }
    if let Some(error) = &case.error {
        out.push_str(&format!("<error>{}</error>", escaped(error)));
    }
    out.push_str("</testcase>");
}

/// Escaped as Go's encoder does.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\t' => out.push_str("&#x9;"),
            '\n' => out.push_str("&#xA;"),
            '\r' => out.push_str("&#xD;"),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_written_with_their_cases() {
        let mut suite = Suite::new("a.yml".into());
        suite.begin(1_700_000_000_000);
        suite.case("one");
        suite.case("two & three");
        suite.fail("exp:\t\"x\"\n");
        let mut broken = Suite::new("b.yml".into());
        broken.abort("no <yaml>");
        assert_eq!(
            print(&[suite, broken]),
            concat!(
                r#"<testsuites><testsuite name="a.yml" tests="2" failures="1" errors="0" skipped="0" "#,
                r#"timestamp="2023-11-14T22:13:20"><testcase name="one"></testcase>"#,
                r#"<testcase name="two &amp; three"><failure>exp:&#x9;&#34;x&#34;&#xA;</failure></testcase></testsuite>"#,
                r#"<testsuite name="b.yml" tests="1" failures="0" errors="1" skipped="0" timestamp="">"#,
                r#"<testcase name="unknown"><error>no &lt;yaml&gt;</error></testcase></testsuite></testsuites>"#
            )
        );
    }
}
