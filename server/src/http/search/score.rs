//! How well a text matches what was searched for: 1 is best, no score is no match.

/// How terms match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// The term's characters in their order, with gaps.
    Subsequence,
    /// The term as a part, or a text that is alike by Jaro and Winkler.
    JaroWinkler,
}

/// A subsequence that is not the whole text, or its beginning, scores a little less than one that is.
const INEXACT_SCALE: f64 = 0.999;
/// Characters at the beginning that Winkler's bonus counts, and what each is worth.
const PREFIX_MAX: usize = 4;
const PREFIX_WEIGHT: f64 = 0.1;

/// The terms of one search; a text matches if it matches one of them.
#[derive(Debug)]
pub(super) struct Terms {
    terms: Vec<String>,
    algorithm: Algorithm,
    threshold: f64,
    is_case_sensitive: bool,
}

impl Terms {
    pub(super) fn new(terms: &[&str], algorithm: Algorithm, threshold: f64, is_case_sensitive: bool) -> Self {
        let folded = |term: &&str| if is_case_sensitive { (*term).to_owned() } else { term.to_lowercase() };
        let terms = terms.iter().filter(|term| !term.is_empty()).map(folded).collect();
        Self { terms, algorithm, threshold, is_case_sensitive }
    }

    /// The best score of any term.
    pub(super) fn score(&self, text: &str) -> Option<f64> {
        if self.terms.is_empty() {
            return Some(1.0);
        }
        let folded;
        let text = if self.is_case_sensitive {
            text
        } else {
            folded = text.to_lowercase();
            &folded
        };
        self.terms.iter().filter_map(|term| self.score_of(term, text)).max_by(f64::total_cmp)
    }

    fn score_of(&self, term: &str, text: &str) -> Option<f64> {
        match self.algorithm {
            Algorithm::Subsequence if text.starts_with(term) => Some(1.0),
            Algorithm::Subsequence => subsequence(term, text).filter(|score| *score > 0.0 && *score >= self.threshold),
            Algorithm::JaroWinkler => part(term, text).or_else(|| {
                let score = jaro_winkler(term, text);
                (self.threshold > 0.0 && score >= self.threshold).then_some(score)
            }),
        }
    }
}

/// From 1, at the beginning, down to 0.1, at the end.
fn part(term: &str, text: &str) -> Option<f64> {
    let (before, _) = text.split_once(term)?;
    let position = before.chars().count();
    let last = text.chars().count().saturating_sub(term.chars().count());
    if position == 0 || last == 0 { Some(1.0) } else { Some(1.0 - 0.9 * position as f64 / last as f64) }
}

/// Squares of the lengths of runs, less the share of what lies between and beside them; the best over all beginnings.
fn subsequence(term: &str, text: &str) -> Option<f64> {
    let (term, text): (Vec<char>, Vec<char>) = (term.chars().collect(), text.chars().collect());
    let first = *term.first()?;
    let starts = 0..=text.len().checked_sub(term.len())?;
    let scores = starts.filter(|start| text[*start] == first).map_while(|start| score_from(&term, &text, start));
    let best = scores.fold(f64::NEG_INFINITY, f64::max);
    (best >= 0.0).then(|| best / (term.len() * term.len()) as f64 * INEXACT_SCALE)
}

fn score_from(term: &[char], text: &[char], start: usize) -> Option<f64> {
    let share = 1.0 / text.len() as f64;
    let (mut at, mut matched, mut end, mut score) = (start, 0, 0, 0.0);
    while matched < term.len() {
        at += text[at..].iter().position(|c| *c == term[matched])?;
        let from = at;
        while matched < term.len() && at < text.len() && text[at] == term[matched] {
            (at, matched) = (at + 1, matched + 1);
        }
        // Before the first run, and between runs.
        score -= (from - end) as f64 * share;
        score += ((at - from) * (at - from)) as f64;
        end = at;
    }
    Some(score - (text.len() - end) as f64 * share * 0.5)
}

fn jaro_winkler(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let jaro = jaro(&a, &b);
    let prefix = a.iter().zip(&b).take(PREFIX_MAX).take_while(|(a, b)| a == b).count();
    jaro + prefix as f64 * PREFIX_WEIGHT * (1.0 - jaro)
}

fn jaro(a: &[char], b: &[char]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return if a.len() == b.len() { 1.0 } else { 0.0 };
    }
    let window = (a.len().max(b.len()) / 2).saturating_sub(1);
    let mut taken = vec![false; b.len()];
    let mut from_a = Vec::new();
    for (i, c) in a.iter().enumerate() {
        let range = i.saturating_sub(window)..(i + window + 1).min(b.len());
        if let Some(j) = range.into_iter().find(|&j| !taken[j] && b[j] == *c) {
            taken[j] = true;
            from_a.push(*c);
        }
    }
    if from_a.is_empty() {
        return 0.0;
    }
    let from_b = b.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(c, _)| *c);
    let swapped = from_a.iter().zip(from_b).filter(|(a, b)| *a != b).count();
    let matches = from_a.len() as f64;
    let swaps = swapped as f64 / 2.0;
    (matches / a.len() as f64 + matches / b.len() as f64 + (matches - swaps) / matches) / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(algorithm: Algorithm, threshold: f64, term: &str, text: &str) -> Option<f64> {
        Terms::new(&[term], algorithm, threshold, true).score(text)
    }

    #[test]
    fn subsequences_score_by_their_runs() {
        let score = |term, text| score(Algorithm::Subsequence, 0.0, term, text);
        assert_eq!(score("http", "http_requests"), Some(1.0));
        assert_eq!(score("xyz", "http_requests"), None);
        let (whole, broken) = (score("req", "http_requests").unwrap(), score("hrq", "http_requests").unwrap());
        assert!(whole > broken && broken > 0.0, "{whole} {broken}");
        // One run of three of eight characters, two before it and three behind.
        assert_eq!(score("cde", "abcdefgh"), Some((9.0 - 2.0 / 8.0 - 3.0 / 8.0 * 0.5) / 9.0 * 0.999));
    }

    #[test]
    fn alike_texts_score_by_jaro_and_winkler() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(jaro_winkler("MARTHA", "MARHTA"), 0.961_111_111_111_111_1));
        assert!(close(jaro_winkler("DIXON", "DICKSONX"), 0.813_333_333_333_333_3));
        let score = |threshold, term, text| score(Algorithm::JaroWinkler, threshold, term, text);
        assert_eq!(score(0.0, "marhta", "martha"), None, "without a threshold only parts match");
        assert!(score(0.9, "marhta", "martha").is_some());
        assert_eq!(score(0.0, "b", "abc"), Some(1.0 - 0.9 / 2.0));
        let folded = Terms::new(&["UP"], Algorithm::Subsequence, 0.0, false);
        assert_eq!(folded.score("Up"), Some(1.0));
        assert_eq!(Terms::new(&[], Algorithm::Subsequence, 0.0, true).score("x"), Some(1.0));
    }
}
