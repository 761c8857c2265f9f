//! `@st` lines of `load` commands: when the counting of each sample of a series began, relative to the sample.

use model::duration::Duration;
use model::labels::Labels;

use crate::series_description::{REPEAT_MAX, parse_series_description};

/// Start timestamps of one series: milliseconds from each sample, `None` where there is none.
pub(super) type StartTimes = Vec<Option<i64>>;

/// The series and its start timestamps, if the line is such a line: `metric{labels}@st offsets`.
pub(super) fn parse_line(line: &str) -> Option<Result<(Labels, StartTimes), String>> {
    let (head, offsets) = line.split_once(char::is_whitespace)?;
    let metric = head.strip_suffix("@st")?;
    Some(parse(metric, offsets))
}

fn parse(metric: &str, offsets: &str) -> Result<(Labels, StartTimes), String> {
    let (labels, _) = parse_series_description(&format!("{metric} _"))
        .map_err(|e| format!("invalid @st line metric {}: {e}", model::quote::quote(metric)))?;
    let mut starts = Vec::new();
    for item in offsets.split_whitespace() {
        let expanded = expand(item).map_err(|e| format!("invalid start time {}: {e}", model::quote::quote(item)))?;
        starts.extend(expanded);
    }
    Ok((labels, starts))
}

/// `_`, `_xN`, `d`, `dxN`, `d+dxN` or `d-dxN`
fn expand(item: &str) -> Result<StartTimes, String> {
    if let Some(rest) = item.strip_prefix('_') {
        let times = if rest.is_empty() { 1 } else { repetition(rest)? };
        return Ok(vec![None; times]);
    }
    let (base, rest) = offset(item)?;
    if rest.is_empty() {
        return Ok(vec![Some(base)]);
    }
    if rest.starts_with('x') {
        return Ok(vec![Some(base); repetition(rest)? + 1]);
    }
    // Its sign is that of the step.
    let (step, rest) = offset(rest)?;
    let times = repetition(rest)?;
    Ok((0..=times as i64).map(|i| Some(base.saturating_add(step.saturating_mul(i)))).collect())
}

fn repetition(text: &str) -> Result<usize, String> {
    let times: u64 = text.strip_prefix('x').and_then(|n| n.parse().ok()).ok_or("expected x and a repetition count")?;
    if times > REPEAT_MAX {
        return Err(format!("{times} repetitions are more than {REPEAT_MAX}"));
    }
    usize::try_from(times).map_err(|e| e.to_string())
}

/// A duration that may have a sign, in milliseconds, and what follows it.
fn offset(text: &str) -> Result<(i64, &str), String> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
    let (_, unit) = unsigned.split_at(digits);
    let letters = unit.find(|c: char| !c.is_ascii_alphabetic() || c == 'x').unwrap_or(unit.len());
    let (duration, rest) = unsigned.split_at(digits + letters);
    let ms = duration.parse::<Duration>().map_err(|e| e.to_string())?.as_millis();
    Ok((if text.starts_with('-') { -ms } else { ms }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(offsets: &str, expected: &[Option<i64>]) {
        let (labels, starts) = parse_line(&format!("a{{b=\"c\"}}@st {offsets}")).unwrap().unwrap();
        assert_eq!(
            (labels.to_string().as_str(), starts.as_slice()),
            ("{__name__=\"a\", b=\"c\"}", expected),
            "{offsets}"
        );
    }

    #[test]
    fn offsets_expand() {
        check("_ -1m 0 1ms", &[None, Some(-60_000), Some(0), Some(1)]);
        check("_x2 -1msx1", &[None, None, Some(-1), Some(-1)]);
        check("-30s-1mx2", &[Some(-30_000), Some(-90_000), Some(-150_000)]);
        check("5s+1sx1", &[Some(5_000), Some(6_000)]);
        assert!(parse_line("a 1 2").is_none());
        assert!(parse_line("a@st 1y2").unwrap().is_err());
        assert!(parse_line("a@st -1sx99999999999").unwrap().is_err());
    }
}
