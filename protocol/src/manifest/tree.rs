//! What the two trees of a manifest have in common: rows, sums and the rule by which nodes end.

use super::error::Defect;
use crate::codec::Reader;
use crate::hash::NodeId;

/// A node that has this many rows may end.
const MIN_ROWS: usize = 32;
/// A node that has this many rows ends.
const MAX_ROWS: usize = 1024;
/// How many low bits of a row's cut word are zero where a node may end: one row in 128.
const CUT_BITS: u32 = 7;
/// A node whose rows weigh this much ends. A row weighs at most 8,205, so nodes stay far below their hard limit.
const FULL_WEIGHT: usize = 40 * 1024;

/// A row of a node, in a leaf or above it.
pub(super) trait Row: Clone + PartialEq + std::fmt::Debug {
    /// What rows add up to.
    type Sum: Sum;
    /// A part of the tree that somebody wants to read.
    type Bounds: Clone + std::fmt::Debug;

    /// Appends the row; `previous` is the one before it in the same node.
    fn encode(&self, previous: Option<&Self>, out: &mut Vec<u8>);
    /// Takes a row; `previous` is the one before it in the same node.
    fn decode(reader: &mut Reader<'_>, previous: Option<&Self>) -> Result<Self, Defect>;
    /// What the row, with all below it, holds.
    fn sum(&self) -> Self::Sum;
    /// Decides with [`ends_node`] where nodes end: evenly spread, and the same whatever stands around the row.
    fn cut_word(&self) -> u32;
    /// Bytes of the row when nothing is left out: at least what its encoding takes.
    fn weight(&self) -> usize;
    /// Whether all of it lies before the wanted part. `before` is the sum of all rows before it in the tree, `next`
    /// the row after it in its node.
    fn precedes(&self, bounds: &Self::Bounds, before: &Self::Sum, next: Option<&Self>) -> bool;
    /// Whether all of it lies behind the wanted part.
    fn succeeds(&self, bounds: &Self::Bounds, before: &Self::Sum) -> bool;
}

/// A row that stands for a node below.
pub(super) trait Branch<Leaf>: Row {
    /// The row for a node of leaf rows. `None` if it has none.
    fn over_leaves(id: NodeId, rows: &[Leaf]) -> Result<Option<Self>, Defect>;
    /// The row for a node of rows like this one. `None` if it has none.
    fn over_branches(id: NodeId, rows: &[Self]) -> Result<Option<Self>, Defect>;
    /// The node it stands for.
    fn id(&self) -> NodeId;
    /// Whether a subtree that makes `made` is the one that this row promises.
    fn promises(&self, made: &Self) -> Result<(), Defect>;
}

/// One of the two trees.
pub(super) trait Tree: Clone + std::fmt::Debug {
    /// The first byte of its nodes.
    const TAG: u8;
    /// What the rows add up to.
    type Sum: Sum;
    /// A part of the tree that somebody wants to read.
    type Bounds: Clone + std::fmt::Debug;
    /// A row of a leaf.
    type Leaf: Row<Sum = Self::Sum, Bounds = Self::Bounds>;
    /// A row above the leaves.
    type Branch: Branch<Self::Leaf, Sum = Self::Sum, Bounds = Self::Bounds>;
    /// What is watched over all leaf rows as they go by in order.
    type Order: Default + Clone + std::fmt::Debug;

    /// Lets the next leaf row pass, or says why it may not come here.
    fn accept(order: &mut Self::Order, row: &Self::Leaf) -> Result<(), Defect>;
}

/// Totals that are added up with care.
pub(super) trait Sum: Copy + Default + PartialEq + Eq + std::fmt::Debug {
    /// The sum of both. `None` if it is more than a content may have.
    fn plus(self, other: Self) -> Option<Self>;
}

/// The sum of all rows.
pub(super) fn total<R: Row>(rows: &[R]) -> Result<R::Sum, Defect> {
    rows.iter().try_fold(R::Sum::default(), |sum, row| sum.plus(row.sum())).ok_or(Defect::Overflow)
}

/// Whether a node ends after a row, given how many rows it has then and what they weigh. This and nothing else
/// decides where nodes end, save that the last node of a level ends with it.
pub(super) fn ends_node<R: Row>(row: &R, rows: usize, weight: usize) -> bool {
    is_full(rows, weight) || (rows >= MIN_ROWS && row.cut_word().trailing_zeros() >= CUT_BITS)
}

/// Whether a node of so many rows of this weight ends whatever its last row is.
pub(super) const fn is_full(rows: usize, weight: usize) -> bool {
    rows >= MAX_ROWS || weight >= FULL_WEIGHT
}

/// Refuses rows that do not end where [`ends_node`] says. The last node of a level may end anywhere before that.
pub(super) fn check_shape<R: Row>(rows: &[R], is_last: bool) -> Result<(), Defect> {
    let shape = Err(Defect::Shape { rows: rows.len() });
    let Some((last, earlier)) = rows.split_last() else { return shape };
    let mut weight = 0;
    for (index, row) in earlier.iter().enumerate() {
        weight += row.weight();
        if ends_node(row, index + 1, weight) {
            return shape;
        }
    }
    if is_last || ends_node(last, rows.len(), weight + last.weight()) { Ok(()) } else { shape }
}
