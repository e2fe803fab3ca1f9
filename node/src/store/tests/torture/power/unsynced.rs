//! What a file may be after a cut: what it was when it was last synced, and any of what has happened to it since.

use std::collections::HashMap;

use super::super::*;

/// Bytes that a disk writes all or not at all.
const SECTOR: usize = 512;

/// Which of the things that were not synced a cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// Whole writes, at random.
    Writes,
    /// Each sector as any number of the writes to it have left it.
    Sectors,
}

pub(super) const CUTS: [Cut; 4] = [Cut::Nothing, Cut::Everything, Cut::Writes, Cut::Sectors];

/// Something done to a file.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Resize(usize),
}

/// A file since it was last synced.
#[derive(Debug, Clone)]
pub(super) struct Unsynced {
    pub(super) synced: Vec<u8>,
    pub(super) changes: Vec<Change>,
}

impl Unsynced {
    /// One that nothing has been done to.
    pub(super) const fn new(synced: Vec<u8>) -> Self {
        Self { synced, changes: Vec::new() }
    }

    /// What a cut leaves of it.
    pub(super) fn cut(&self, cut: Cut, rng: &mut ChaCha8Rng) -> Vec<u8> {
        let mut left = self.synced.clone();
        let mut allowed = if cut == Cut::Sectors { self.versions(rng) } else { HashMap::new() };
        for change in &self.changes {
            let is_kept = match cut {
                Cut::Nothing => false,
                Cut::Everything => true,
                Cut::Writes => below(rng, 2) == 0,
                Cut::Sectors => matches!(change, Change::Write { .. }) || below(rng, 2) == 0,
            };
            match change {
                _ if !is_kept => {}
                Change::Resize(len) => left.resize(*len, 0),
                Change::Write { offset, bytes } if cut == Cut::Sectors => {
                    for (sector, at, part) in sectors(*offset, bytes) {
                        let allowed = allowed.get_mut(&sector).unwrap();
                        if *allowed > 0 {
                            *allowed -= 1;
                            put(&mut left, at, part);
                        }
                    }
                }
                Change::Write { offset, bytes } => put(&mut left, *offset, bytes),
            }
        }
        left
    }

    /// How many of the writes to each sector are on the disk.
    fn versions(&self, rng: &mut ChaCha8Rng) -> HashMap<usize, usize> {
        let mut writes = std::collections::BTreeMap::<usize, usize>::new();
        for change in &self.changes {
            if let Change::Write { offset, bytes } = change {
                for (sector, ..) in sectors(*offset, bytes) {
                    *writes.entry(sector).or_default() += 1;
                }
            }
        }
        writes.into_iter().map(|(sector, writes)| (sector, below(rng, writes + 1))).collect()
    }
}

/// The parts of a write, each within one sector: which, where it begins, and the bytes.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, usize, &[u8])> {
    let mut at = offset;
    std::iter::from_fn(move || {
        let rest = &bytes[at - offset..];
        let part = &rest[..rest.len().min(SECTOR - at % SECTOR)];
        let found = (!part.is_empty()).then_some((at / SECTOR, at, part));
        at += part.len();
        found
    })
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    file.resize(file.len().max(offset + bytes.len()), 0);
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn a_cut_leaves_any_of_what_was_not_synced_and_all_of_what_was() {
    let mut file = Unsynced::new(vec![1; 1_500]);
    let nine = |offset, bytes| Change::Write { offset, bytes: vec![9; bytes] };
    file.changes = vec![Change::Resize(3_000), nine(400, 700), nine(2_000, 1_000), Change::Resize(2_500)];
    let all = file.cut(Cut::Everything, &mut random(0));
    assert_eq!((all.len(), all[399], all[400], all[1_500], all[2_499]), (2_500, 1, 9, 0, 9));
    assert_eq!(file.cut(Cut::Nothing, &mut random(0)), file.synced);
    let (mut torn, mut whole, mut lengths) = (0, 0, std::collections::BTreeSet::new());
    for seed in 0..200 {
        let left = file.cut(Cut::Writes, &mut random(seed));
        assert!(left[400..1_100].iter().all(|byte| *byte == left[400]), "a write is all there or not at all");
        let left = file.cut(Cut::Sectors, &mut random(seed));
        assert!(left[..400].iter().all(|byte| *byte == 1) && left[1_100..1_500].iter().all(|byte| *byte == 1));
        assert!(left[512..1_024].iter().all(|byte| *byte == left[512]), "a sector is all there or not at all");
        lengths.insert(left.len());
        if left[400] == left[512] && left[512] == left[1_024] { whole += 1 } else { torn += 1 }
    }
    assert!(torn > 0 && whole > 0 && lengths.contains(&2_500) && lengths.contains(&3_000), "{lengths:?}");
}
