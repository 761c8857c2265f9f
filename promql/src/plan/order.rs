//! Joins of which either side may be held while the other streams by: which one is decided when it is known how many
//! series each selects.
//!
//! Only joins on all labels of sides whose series all have the same name, or were grouped: there nothing has two partners,
//! so that neither the result nor a fault depends on the side that is held.

use super::{Binary, Node, NodeKind, project};
use crate::ast::{Cardinality, ValueType};

/// Marks the joins.
pub(super) fn mark(node: &mut Node) {
    if let NodeKind::Binary(binary) = &mut node.kind {
        binary.either_held = has_lone_partners(binary);
    }
    node.children_mut().into_iter().for_each(mark);
}

fn has_lone_partners(binary: &Binary) -> bool {
    let Binary { op, lhs, rhs, matching, .. } = binary;
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    let on_all = matching.card == Cardinality::OneToOne && !matching.on && matching.labels.is_empty();
    let sides = [lhs, rhs];
    on_all
        && !fills
        && !op.is_set()
        && sides.iter().all(|side| side.value_type == ValueType::Vector && project::differ(side))
}
