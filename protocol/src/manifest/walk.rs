//! Reading a tree of a manifest: in order, from any place, node by node, with nobody trusted.
//!
//! What is kept is the way down to the current place and what was read ahead; a thousand leaves or a billion make no
//! difference. Where nodes come from is not this module's business.

use std::collections::VecDeque;
use std::sync::Arc;

use super::error::{Defect, ManifestError};
use super::node::Node;
use super::tree::{Branch, Row, Sum, Tree, check_shape};
use crate::hash::NodeId;

/// How many nodes above the leaves [`Walk::needs`] names at once: enough to have the next one at hand.
const INNER_READ_AHEAD: usize = 2;

/// What comes next in a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<L> {
    /// The next leaf, in order.
    Leaf(L),
    /// The next leaf waits for this node to be fed; others may be asked for meanwhile.
    Need(NodeId),
    /// Nothing is left.
    Done,
}

/// A place in a tree and all that is to be read behind it.
#[derive(Debug, Clone)]
pub(super) struct Walk<T: Tree> {
    bounds: T::Bounds,
    slots: VecDeque<Slot<T>>,
    order: T::Order,
}

/// A subtree that lies ahead.
#[derive(Debug, Clone)]
enum Slot<T: Tree> {
    Wanted(Wanted<T>),
    /// Its rows may be shared with other slots: the same node can stand in many places.
    Ready {
        id: NodeId,
        before: T::Sum,
        rows: Arc<[T::Leaf]>,
    },
}

/// A node that is not here yet, and what it has to be.
#[derive(Debug, Clone)]
struct Wanted<T: Tree> {
    promise: T::Branch,
    /// What the tree holds before it.
    before: T::Sum,
    /// `None` at the top, where any level will do.
    level: Option<u8>,
    /// Whether it is the last node of its level, which may end anywhere.
    is_last: bool,
}

/// Rows of a leaf that are wanted, and what the tree holds before them.
#[derive(Debug)]
pub(super) struct Rows<T: Tree> {
    pub(super) before: T::Sum,
    pub(super) rows: Vec<T::Leaf>,
}

impl<T: Tree> Walk<T> {
    /// Stands before the tree whose top is promised, if there is one.
    pub(super) fn new(top: Option<T::Branch>, bounds: T::Bounds) -> Self {
        let before = T::Sum::default();
        let top = top.map(|promise| Slot::Wanted(Wanted { promise, before, level: None, is_last: true }));
        Self { bounds, slots: top.into_iter().collect(), order: T::Order::default() }
    }

    /// The nodes to get next, at most `limit`, nearest first.
    pub(super) fn needs(&self, limit: usize) -> Vec<NodeId> {
        let (mut ids, mut inner) = (Vec::new(), 0);
        for slot in &self.slots {
            if ids.len() >= limit || inner >= INNER_READ_AHEAD {
                break;
            }
            if let Slot::Wanted(wanted) = slot {
                let id = wanted.promise.id();
                if !ids.contains(&id) {
                    ids.push(id);
                    inner += usize::from(wanted.level != Some(0));
                }
            }
        }
        ids
    }

    /// Takes a node. One that is not wanted is ignored; after an error nothing has changed.
    pub(super) fn feed(&mut self, id: NodeId, bytes: &[u8]) -> Result<(), ManifestError> {
        let is_it = |slot: &Slot<T>| matches!(slot, Slot::Wanted(wanted) if wanted.promise.id() == id);
        let Some(first) = self.slots.iter().position(is_it) else { return Ok(()) };
        let found = NodeId::of(bytes);
        if found != id {
            return Err(ManifestError::WrongBytes { id, found });
        }
        let Some(Slot::Wanted(wanted)) = self.slots.get(first).cloned() else { return Ok(()) };
        let malformed = |defect| ManifestError::Malformed { id, defect };
        match Node::<T>::decode(bytes, wanted.level).map_err(malformed)? {
            Node::Leaf(rows) => {
                let rows: Arc<[T::Leaf]> = rows.into();
                // The same leaf ahead is filled too, where it is what its place promises; elsewhere it comes up again.
                check_leaf(&wanted, id, &rows).map_err(malformed)?;
                for slot in self.slots.iter_mut().skip(first) {
                    if let Slot::Wanted(other) = slot
                        && other.promise.id() == id
                        && other.level == wanted.level
                        && check_leaf(other, id, &rows).is_ok()
                    {
                        *slot = Slot::Ready { id, before: other.before, rows: Arc::clone(&rows) };
                    }
                }
            }
            Node::Inner { level, rows } => {
                // Only this one place: a node that stands in many would multiply what is kept.
                let children = self.children(&wanted, id, level, rows).map_err(malformed)?;
                let behind = self.slots.split_off(first + 1);
                self.slots.pop_back();
                self.slots.extend(children.into_iter().map(Slot::Wanted));
                self.slots.extend(behind);
            }
        }
        Ok(())
    }

    /// Passes over what stands below the node that the next rows wait for. `false`: they wait for none.
    pub(super) fn skip(&mut self) -> bool {
        let waits = matches!(self.slots.front(), Some(Slot::Wanted(_)));
        if waits {
            self.slots.pop_front();
        }
        waits
    }

    /// The next rows in order, or the node they wait for.
    pub(super) fn step(&mut self) -> Result<Step<Rows<T>>, ManifestError> {
        loop {
            let (id, before, rows) = match self.slots.front() {
                None => return Ok(Step::Done),
                Some(Slot::Wanted(wanted)) => return Ok(Step::Need(wanted.promise.id())),
                Some(Slot::Ready { id, before, rows }) => (*id, *before, Arc::clone(rows)),
            };
            let malformed = |defect| ManifestError::Malformed { id, defect };
            let rows = self.wanted_rows(&rows, before).map_err(malformed)?;
            rows.rows.iter().try_for_each(|row| T::accept(&mut self.order, row)).map_err(malformed)?;
            self.slots.pop_front();
            if !rows.rows.is_empty() {
                return Ok(Step::Leaf(rows));
            }
        }
    }

    fn children(
        &self,
        parent: &Wanted<T>,
        id: NodeId,
        level: u8,
        rows: Vec<T::Branch>,
    ) -> Result<Vec<Wanted<T>>, Defect> {
        check_shape(&rows, parent.is_last)?;
        // A top with a single node below would not be the top: that node would.
        if parent.level.is_none() && rows.len() < 2 {
            return Err(Defect::Shape { rows: rows.len() });
        }
        if let Some(made) = T::Branch::over_branches(id, &rows)? {
            parent.promise.promises(&made)?;
        }
        let mut before = parent.before;
        let mut children = Vec::new();
        let mut rows = rows.into_iter().peekable();
        while let Some(promise) = rows.next() {
            let here = before;
            before = before.plus(promise.sum()).ok_or(Defect::Overflow)?;
            if promise.precedes(&self.bounds, &here, rows.peek()) {
                continue;
            }
            if promise.succeeds(&self.bounds, &here) {
                break;
            }
            let is_last = parent.is_last && rows.peek().is_none();
            children.push(Wanted { promise, before: here, level: level.checked_sub(1), is_last });
        }
        Ok(children)
    }

    fn wanted_rows(&self, rows: &[T::Leaf], mut before: T::Sum) -> Result<Rows<T>, Defect> {
        let mut wanted = rows;
        while let Some((row, rest)) = wanted.split_first()
            && row.precedes(&self.bounds, &before, rest.first())
        {
            before = before.plus(row.sum()).ok_or(Defect::Overflow)?;
            wanted = rest;
        }
        let (mut here, mut kept) = (before, Vec::new());
        for row in wanted {
            if row.succeeds(&self.bounds, &here) {
                break;
            }
            here = here.plus(row.sum()).ok_or(Defect::Overflow)?;
            kept.push(row.clone());
        }
        Ok(Rows { before, rows: kept })
    }
}

fn check_leaf<T: Tree>(wanted: &Wanted<T>, id: NodeId, rows: &[T::Leaf]) -> Result<(), Defect> {
    check_shape(rows, wanted.is_last)?;
    match T::Branch::over_leaves(id, rows)? {
        Some(made) => wanted.promise.promises(&made),
        None => Ok(()),
    }
}
