//! Chunks are a function of the bytes and of nothing else.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use proptest::prelude::*;
use shoal_protocol::chunker::{Candidates, Cutter, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, Profile};
use support::{chunks_of, noise};

/// The definition of docs/format.md, word for word and slowly.
fn cuts_by_definition(run: &[u8]) -> Vec<usize> {
    let mut output = blake3::Hasher::new_derive_key("shoal v1 gear table").finalize_xof();
    let table: Vec<u64> = (0..256)
        .map(|_| {
            let mut word = [0; 8];
            output.fill(&mut word);
            u64::from_le_bytes(word)
        })
        .collect();
    let Profile { min, target, max, strict_bits, loose_bits } = Profile::V1;
    let (mut cuts, mut start) = (Vec::new(), 0);
    for end in 1..=run.len() {
        let len = (end - start) as u32;
        let is_cut = len >= min && {
            let hash = run[end - 64..end].iter().fold(0u64, |hash, &b| (hash << 1).wrapping_add(table[b as usize]));
            hash.leading_zeros() >= if len < target { strict_bits } else { loose_bits }
        };
        if is_cut || len == max || end == run.len() {
            cuts.push(end - start);
            start = end;
        }
    }
    cuts
}

fn cuts(run: &[u8]) -> Vec<usize> {
    chunks_of(run).iter().map(|row| row.len as usize).collect()
}

/// Cuts of a run that comes in pieces of these lengths, over and over.
fn cuts_in_pieces(run: &[u8], pieces: &[usize]) -> Vec<usize> {
    let (mut cutter, mut lengths, mut open) = (Cutter::default(), Vec::new(), 0);
    let (mut sizes, mut at) = (pieces.iter().cycle(), 0);
    while at < run.len() {
        let end = run.len().min(at + sizes.next().unwrap());
        let before = &run[at.saturating_sub(Candidates::REACH_BYTES)..at];
        let parts = cutter.cut(&Candidates::of(before, &run[at..end]));
        let behind = end - at - parts.iter().sum::<usize>();
        for part in parts {
            lengths.push(open + part);
            open = 0;
        }
        open += behind;
        at = end;
    }
    assert_eq!(cutter.finish(), open);
    lengths.extend(Some(open).filter(|&len| len > 0));
    lengths
}

#[test]
fn cuts_are_those_of_the_definition() {
    let runs = [
        noise("definition", 3_000_000),
        vec![0; 2_000_000],
        noise("text", 2_000_000).iter().map(|byte| b"etaoin shrdlu\n\0e"[usize::from(byte % 16)]).collect(),
        [noise("a", 700_000), vec![0; 900_000], noise("a", 700_000)].concat(),
    ];
    for run in runs {
        let cuts = cuts(&run);
        assert_eq!(cuts, cuts_by_definition(&run));
        assert_eq!(cuts.iter().sum::<usize>(), run.len());
    }
}

#[test]
fn lengths_keep_their_bounds_at_the_edges() {
    let (min, max) = (MIN_CHUNK_BYTES as usize, MAX_CHUNK_BYTES as usize);
    for len in [0, 1, 63, 64, 65, min - 65, min - 64, min - 1, min, min + 1, max - 1, max, max + 1, 2 * max] {
        // The gear hash of no repeated byte has zeros up there, so a run of one value is cut at the most only.
        for value in 0..=255 {
            let expected: Vec<_> =
                std::iter::repeat_n(max, len / max).chain(Some(len % max).filter(|&l| l > 0)).collect();
            if len <= max + 1 || value == 0 {
                assert_eq!(cuts(&vec![value; len]), expected, "{len} x {value}");
            }
        }
    }
}

#[test]
fn an_insertion_moves_only_its_neighbourhood() {
    let before = noise("neighbourhood", 20_000_000);
    let mut after = before.clone();
    after.splice(5_000_000..5_000_000, *b"an insertion");
    let held: std::collections::HashSet<_> = chunks_of(&before).iter().map(|row| row.id).collect();
    let fresh = chunks_of(&after).iter().filter(|row| !held.contains(&row.id)).count();
    assert!((1..=3).contains(&fresh), "{fresh} chunks changed");
}

#[test]
fn a_finished_run_leaves_nothing_behind() {
    let run = noise("again", 1_000_000);
    let mut cutter = Cutter::default();
    assert_eq!(cutter.cut(&Candidates::of(&[], &run[..1000])), []);
    assert_eq!(cutter.finish(), 1000);
    assert_eq!(cutter.finish(), 0);
    let parts = cutter.cut(&Candidates::of(&[], &run));
    assert_eq!(parts, cuts(&run)[..parts.len()]);
    assert!(!parts.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_split_gives_the_same_chunks(
        label in "[a-z]{4}",
        len in 0usize..2_500_000,
        zeros in 0usize..600_000,
        pieces in prop::collection::vec(prop_oneof![1usize..300, 1usize..70_000, 30_000usize..800_000], 1..20),
    ) {
        let run = [noise(&label, len / 2), vec![0; zeros], noise(&label, len / 2)].concat();
        let whole = cuts(&run);
        prop_assert_eq!(&cuts_in_pieces(&run, &pieces), &whole);
        let Some((_, all_but_last)) = whole.split_last() else { return Ok(()) };
        prop_assert!(all_but_last.iter().all(|&cut| (MIN_CHUNK_BYTES as usize..=MAX_CHUNK_BYTES as usize).contains(&cut)));
    }
}

#[test]
fn byte_by_byte_is_the_same_too() {
    let run = noise("byte by byte", 1_200_000);
    assert_eq!(cuts_in_pieces(&run, &[1]), cuts(&run));
}
