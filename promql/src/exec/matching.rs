//! Which labels series are matched or grouped by.

use model::labels::{Labels, METRIC_NAME, push_packed};

use crate::ast::Matching;

/// Packed labels that decide which series belong together.
pub(super) type Signature = Vec<u8>;

/// Chooses labels by name.
#[derive(Debug, Clone)]
pub(super) struct Chooser {
    names: Vec<Vec<u8>>,
    /// Whether the names are those to keep.
    keep: bool,
}

impl Chooser {
    /// The labels that two vectors are matched on: never the metric's name, unless `on` asks for it.
    pub(super) fn matching(matching: &Matching) -> Self {
        Self::new(&matching.labels, matching.on)
    }

    /// The labels of an aggregation's groups.
    pub(super) fn grouping(grouping: &[String], without: bool) -> Self {
        Self::new(grouping, !without)
    }

    fn new(names: &[String], keep: bool) -> Self {
        let mut names: Vec<Vec<u8>> = names.iter().map(|n| n.as_bytes().to_vec()).collect();
        if !keep {
            names.push(METRIC_NAME.as_bytes().to_vec());
        }
        Self { names, keep }
    }

    fn chooses(&self, name: &[u8]) -> bool {
        self.names.iter().any(|n| n == name) == self.keep
    }

    /// The chosen labels, packed.
    pub(super) fn signature(&self, labels: &Labels) -> Signature {
        let mut packed = Vec::new();
        self.signature_into(labels, &mut packed);
        packed
    }

    /// The same, in a buffer that is used again.
    pub(super) fn signature_into(&self, labels: &Labels, packed: &mut Vec<u8>) {
        packed.clear();
        if self.keep && self.names.is_empty() {
            return;
        }
        for (name, value) in labels.iter_bytes().filter(|(name, _)| self.chooses(name)) {
            push_packed(packed, name, value);
        }
    }

    /// The chosen labels.
    pub(super) fn labels(&self, labels: &Labels) -> Labels {
        labels.filtered(|name| self.chooses(name))
    }
}
