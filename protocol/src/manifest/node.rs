//! The bytes of a node of either tree.
//!
//! `tag u8, level u8, count u16, rows`. Leaves have level 0; what level a node has and how many rows it takes follows
//! from the rule in [`super::tree`].

use super::error::Defect;
use super::tree::{Row, Tree, is_full};
use crate::codec::{Reader, Writer};

/// No node's encoding is longer.
pub const MAX_NODE_BYTES: usize = 64 * 1024;
/// No node is further above the leaves.
const MAX_LEVEL: u8 = 24;

/// What a node holds.
#[derive(Debug)]
pub(super) enum Node<T: Tree> {
    /// Level 0.
    Leaf(Vec<T::Leaf>),
    /// A level above.
    Inner { level: u8, rows: Vec<T::Branch> },
}

/// The encoding of a node with these rows.
pub(super) fn encode<R: Row>(tag: u8, level: u8, rows: &[R]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_byte(tag);
    out.put_byte(level);
    out.put_word(rows.len() as u16);
    let mut previous = None;
    for row in rows {
        row.encode(previous, &mut out);
        previous = Some(row);
    }
    debug_assert!(out.len() <= MAX_NODE_BYTES, "the rule for the ends of nodes keeps them small");
    out
}

impl<T: Tree> Node<T> {
    /// Takes a node apart. `level` is the one it must have; `None` at the top, where any will do.
    pub(super) fn decode(bytes: &[u8], level: Option<u8>) -> Result<Self, Defect> {
        if bytes.len() > MAX_NODE_BYTES {
            return Err(Defect::TooBig { bytes: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let (tag, found, count) = (reader.u8()?, reader.u8()?, reader.u16()?);
        if tag != T::TAG || level.unwrap_or(found) != found || found > MAX_LEVEL {
            return Err(Defect::Misplaced { expected_tag: T::TAG, expected_level: level, tag, level: found });
        }
        let node = match found {
            0 => Self::Leaf(decode_rows(&mut reader, count)?),
            level => Self::Inner { level, rows: decode_rows(&mut reader, count)? },
        };
        reader.finish()?;
        Ok(node)
    }
}

/// Grows with what is there, not with the count.
fn decode_rows<R: Row>(reader: &mut Reader<'_>, count: u16) -> Result<Vec<R>, Defect> {
    let (mut rows, mut weight): (Vec<R>, usize) = (Vec::new(), 0);
    for _ in 0..count {
        // Paths that share nearly all with the one before take few bytes here and thousands once decoded: what could
        // not be a node any more is not decoded on.
        if is_full(rows.len(), weight) {
            return Err(Defect::Shape { rows: count.into() });
        }
        let row = R::decode(reader, rows.last())?;
        weight += row.weight();
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Entry, EntryKind};
    use super::super::entry_tree::EntryTree;
    use super::super::path::EntryPath;
    use super::*;

    #[test]
    fn what_shares_its_bytes_is_not_multiplied() {
        let folder = ["d".repeat(255), "e".repeat(255)].join("/");
        let entry = |n: u32| {
            let path = EntryPath::new(format!("{folder}/{n:08}")).unwrap();
            Entry { path, kind: EntryKind::EmptyFolder }
        };
        let bytes = |rows: u32| encode(EntryTree::TAG, 0, &(0..rows).map(entry).collect::<Vec<_>>());
        // 77 rows that weigh 533 each are over 40 KiB; a row behind them has no place.
        assert!(Node::<EntryTree>::decode(&bytes(77), Some(0)).is_ok());
        assert!(Node::<EntryTree>::decode(&bytes(78), Some(0)).is_err());
        let bomb = bytes(4_000);
        assert!(bomb.len() < MAX_NODE_BYTES, "{} bytes", bomb.len());
        assert!(matches!(Node::<EntryTree>::decode(&bomb, Some(0)), Err(Defect::Shape { rows: 4_000 })));
    }
}
