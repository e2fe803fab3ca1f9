//! The set against a plain one, and its bounds.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Run(u64, u64),
    Remove(u64),
    Bitmap(u64, Vec<u8>),
    Sixteen(u64, u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u64..20_000, 0u64..9_000).prop_map(|(start, count)| Step::Run(start, count)),
        (0u64..20_000).prop_map(Step::Remove),
        (0u64..20_000, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(at, bits)| Step::Bitmap(at, bits)),
        (0u64..1250, any::<u16>()).prop_map(|(at, bits)| Step::Sixteen(at * 16, bits)),
    ]
}

fn apply(set: &mut Availability, model: &mut BTreeSet<u64>, step: &Step) {
    match step {
        Step::Run(start, count) => {
            set.insert_range(ChunkRange { start: ChunkIndex(*start), count: *count as u32 });
            model.extend(*start..start + count);
        }
        Step::Remove(index) => {
            set.remove(ChunkIndex(*index));
            model.remove(index);
        }
        Step::Bitmap(start, bits) => {
            let count = (bits.len() as u64 * 8).saturating_sub(3);
            set.insert_part(&AvailabilityPart {
                start: ChunkIndex(*start),
                count,
                chunks: PartChunks::Bitmap(Bytes::copy_from_slice(bits)),
            });
            model.extend((0..count).filter(|at| bits[(at / 8) as usize] >> (at % 8) & 1 == 1).map(|at| start + at));
        }
        Step::Sixteen(first, bits) => {
            let before = set.sixteen(*first);
            assert_eq!(set.insert_sixteen(*first, *bits), set.sixteen(*first) & !before);
            model.extend((0..16).filter(|at| bits >> at & 1 == 1).map(|at| first + at));
        }
    }
}

proptest! {
    #[test]
    fn behaves_as_a_plain_set_does(
        steps in prop::collection::vec(step(), 0..25), count in 0u64..30_000, early in any::<bool>(),
    ) {
        let mut set = if early { Availability::new(count) } else { Availability::default() };
        let mut model = BTreeSet::new();
        for step in &steps {
            apply(&mut set, &mut model, step);
            let known = model.iter().filter(|index| !early || **index < count).count();
            prop_assert_eq!(set.len(), known as u64);
        }
        set.set_count(count);
        model.retain(|index| *index < count);
        prop_assert_eq!(set.len(), model.len() as u64);
        for index in (0..30_000).step_by(7).chain(model.iter().copied()) {
            prop_assert_eq!(set.contains(ChunkIndex(index)), model.contains(&index), "chunk {}", index);
        }
        for first in (0..30_000).step_by(16) {
            let expected = (0..16).filter(|at| model.contains(&(first + at))).fold(0u16, |bits, at| bits | 1 << at);
            prop_assert_eq!(set.sixteen(first), expected);
        }
        let mut copy = Availability::new(count);
        for part in set.parts() {
            if let PartChunks::Bitmap(bits) = &part.chunks {
                prop_assert_eq!(bits.len() as u64, part.count.div_ceil(8));
                prop_assert!(part.count <= MAX_BITMAP_CHUNKS);
            }
            copy.insert_part(&part);
        }
        prop_assert_eq!(copy, set);
    }
}

proptest! {
    #[test]
    fn sets_meet_where_plain_ones_do(
        steps in prop::collection::vec((step(), any::<bool>()), 0..12), removed in prop::collection::vec(0u64..20_000, 0..40),
    ) {
        let mut sets = [Availability::new(20_000), Availability::new(u64::MAX)];
        let mut models = [BTreeSet::new(), BTreeSet::new()];
        for (step, which) in &steps {
            apply(&mut sets[usize::from(*which)], &mut models[usize::from(*which)], step);
        }
        models[0].retain(|index| *index < 20_000);
        // What both have goes, but for a few: to meet in one chunk counts, too.
        let shared: Vec<u64> = models[0].intersection(&models[1]).copied().collect();
        prop_assert_eq!(sets[0].meets(&sets[1]), !shared.is_empty());
        for index in shared.iter().filter(|index| !removed.contains(index)) {
            sets[0].remove(ChunkIndex(*index));
            models[0].remove(index);
        }
        let meets = !models[0].is_disjoint(&models[1]);
        prop_assert_eq!((sets[0].meets(&sets[1]), sets[1].meets(&sets[0])), (meets, meets));
    }
}

#[test]
fn all_that_can_be_numbered_is_counted_once() {
    let mut set = Availability::default();
    let all = AvailabilityPart { start: ChunkIndex(0), count: u64::MAX, chunks: PartChunks::All };
    for _ in 0..2 {
        set.insert(ChunkIndex(5000));
        set.insert_part(&all);
        assert_eq!(set.len(), u64::MAX);
    }
}

#[test]
fn a_seeder_of_anything_is_one_part() {
    for count in [1, 4095, 4096, 4097, 100_000_000_001] {
        let all = Availability::all(count);
        assert!(all.is_complete(), "{count}");
        let part = AvailabilityPart { start: ChunkIndex(0), count, chunks: PartChunks::All };
        assert_eq!(all.parts(), [part], "{count}");
    }
    assert!(Availability::all(0).is_complete());
    assert_eq!(Availability::all(0).parts(), []);
}

#[test]
fn claims_cost_no_more_than_the_bound() {
    let mut set = Availability::default();
    set.insert_run(0, u64::MAX);
    assert_eq!((set.full.len(), set.pages.len()), (1, 1));
    let mut set = Availability::default();
    for page in 0..100_000 {
        set.insert(ChunkIndex(page * PAGE_CHUNKS * 2));
        set.insert_run((page * 2 + 1) * PAGE_CHUNKS, (page * 2 + 2) * PAGE_CHUNKS);
    }
    assert_eq!((set.full.len(), set.pages.len()), (UNCOUNTED_PAGES, UNCOUNTED_PAGES));
    set.insert_run(u64::MAX - 5, u64::MAX);
    set.set_count(0);
    assert!(set.is_empty());
}

#[test]
fn runs_grow_only_by_what_follows() {
    let mut ranges = Vec::new();
    for index in [3, 4, 5, 9, 10, 2] {
        push_index(&mut ranges, ChunkIndex(index));
    }
    let run = |start, count| ChunkRange { start: ChunkIndex(start), count };
    assert_eq!(ranges, [run(3, 3), run(9, 2), run(2, 1)]);
}
