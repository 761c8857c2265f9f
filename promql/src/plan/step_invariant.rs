//! Which parts of a plan have the same value at every step, and where to mark them.

use super::{Node, NodeKind};

/// How a built node relates to the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrap {
    /// Its value changes with the step.
    No,
    /// The same at every step, but not worth (numbers, texts) or not fit (ranges) to be marked by itself.
    Constant,
    /// The same at every step: to be marked where its parent is not so.
    Invariant,
}

/// A node with that knowledge.
pub(super) struct Built {
    pub(super) node: Node,
    pub(super) wrap: Wrap,
}

impl Built {
    /// The node, marked if it is worth it.
    pub(super) fn wrapped(self) -> Node {
        match self.wrap {
            Wrap::Invariant => self.invariant(),
            Wrap::No | Wrap::Constant => self.node,
        }
    }

    /// The node, marked.
    pub(super) fn invariant(self) -> Node {
        let (span, value_type) = (self.node.span, self.node.value_type);
        Node::new(NodeKind::StepInvariant(Box::new(self.node)), value_type, span)
    }
}
