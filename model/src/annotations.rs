//! Warnings and notes that travel beside a query's result without failing it.

use std::collections::BTreeSet;

/// The most warnings, and the most notes, that an answer carries.
pub const SHOWN_MAX: usize = 10;

/// Warnings and notes ("infos"), each text once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Annotations {
    warnings: BTreeSet<String>,
    infos: BTreeSet<String>,
}

impl Annotations {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a warning: the result may not be what was meant.
    pub fn warn(&mut self, text: impl Into<String>) {
        self.warnings.insert(text.into());
    }

    /// Adds a note.
    pub fn info(&mut self, text: impl Into<String>) {
        self.infos.insert(text.into());
    }

    /// Takes over everything in `other`.
    pub fn merge(&mut self, other: Annotations) {
        self.warnings.extend(other.warnings);
        self.infos.extend(other.infos);
    }

    /// All warnings, sorted.
    pub fn warnings(&self) -> impl ExactSizeIterator<Item = &str> {
        self.warnings.iter().map(String::as_str)
    }

    /// All notes, sorted.
    pub fn infos(&self) -> impl ExactSizeIterator<Item = &str> {
        self.infos.iter().map(String::as_str)
    }

    /// Whether there is neither.
    pub fn is_empty(&self) -> bool {
        self.warnings.is_empty() && self.infos.is_empty()
    }

    /// The warnings as an answer shows them: the first [`SHOWN_MAX`], and how many were left out.
    pub fn shown_warnings(&self) -> Vec<String> {
        shown(&self.warnings, "warning")
    }

    /// The notes as an answer shows them.
    pub fn shown_infos(&self) -> Vec<String> {
        shown(&self.infos, "info")
    }
}

fn shown(all: &BTreeSet<String>, kind: &str) -> Vec<String> {
    let mut texts: Vec<String> = all.iter().take(SHOWN_MAX).cloned().collect();
    if all.len() > SHOWN_MAX {
        texts.push(format!("{} more {kind} annotations omitted", all.len() - SHOWN_MAX));
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_kept_once_and_long_lists_are_cut() {
        let mut annotations = Annotations::new();
        for i in 0..12 {
            annotations.warn(format!("w{i:02}"));
            annotations.warn(format!("w{i:02}"));
        }
        assert_eq!(annotations.warnings().len(), 12);
        let shown = annotations.shown_warnings();
        assert_eq!((shown.len(), shown[10].as_str()), (11, "2 more warning annotations omitted"));
        assert!(annotations.shown_infos().is_empty());
    }
}
