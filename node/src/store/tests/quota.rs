//! The quota: never exceeded, and what goes is what was not used for longest.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::backend::FileCall;
use super::super::quota::home_bytes;
use super::super::reserve::RESERVE_BYTES;
use super::super::{ContentState, Effort, MIN_QUOTA_BYTES, Removal};
use super::content::Sample;
use super::in_place::publish_in_place;
use super::*;

const QUOTA: u64 = (12 << 20) + RESERVE_BYTES;

fn open_within(home: &Path, quota: u64) -> Store {
    Store::open_with(home, &StoreConfig { quota: Some(quota), ..small() }, None).unwrap()
}

#[track_caller]
fn assert_within(home: &Path, quota: u64) {
    let bytes = home_bytes(home).unwrap();
    assert!(bytes <= quota, "{bytes} bytes on the disk, {quota} are allowed");
}

/// Sees how much of the disk a home takes at its most, whatever is under way.
#[derive(Debug)]
struct Watch {
    home: PathBuf,
    most: AtomicU64,
}

impl Watch {
    fn open(home: &Path, quota: u64) -> (Arc<Self>, Store) {
        let watch = Arc::new(Self { home: home.into(), most: AtomicU64::default() });
        let config = StoreConfig { quota: Some(quota), ..small() };
        let store = Store::open_with(home, &config, Some(Arc::<Self>::clone(&watch))).unwrap();
        (watch, store)
    }

    #[track_caller]
    fn assert_never_above(&self, quota: u64) {
        let most = self.most.load(Ordering::Relaxed);
        assert!(most > 0 && most <= quota, "{most} bytes on the disk at a time, {quota} are allowed");
    }
}

impl Faults for Watch {
    fn before(&self, _call: FileCall, _file: &Path) -> io::Result<()> {
        Ok(())
    }

    fn after(&self, call: FileCall) {
        if call != FileCall::Read {
            self.most.fetch_max(home_bytes(&self.home).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

async fn publish_now(store: &Store, sample: &Sample, last_used: u64) -> Result<(), StoreError> {
    let ingest = store.ingest();
    for chunk in &sample.chunks {
        ingest.put_chunk(chunk.clone()).await?;
    }
    ingest.flush().await?;
    sample.put_nodes_now(&ingest).await?;
    ingest.flush().await?;
    let record = sample.record(ContentState::Complete);
    ingest.record(ManifestRecord { last_used_unix_ms: last_used, ..record }).await
}

fn publish(store: &Store, sample: &Sample, last_used: u64) -> Result<(), StoreError> {
    wait(publish_now(store, sample, last_used))
}

fn known(store: &Store, sample: &Sample) -> bool {
    store.manifest(&sample.hash()).unwrap().is_some()
}

#[test]
fn what_was_not_used_for_longest_makes_room_and_what_is_pinned_stays() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(1);
    let store = open_within(home.path(), QUOTA);
    let samples: Vec<_> = (0..12).map(|_| Sample::random(&mut rng, 90)).collect();
    for (at, sample) in samples.iter().enumerate() {
        publish(&store, sample, 10 + at as u64).unwrap();
        assert_within(home.path(), QUOTA);
        match at {
            0 => drop(wait(store.pin_manifest(sample.hash(), true)).unwrap()),
            // Used again, so the next one goes before it.
            2 => drop(wait(store.touch_manifest(samples[1].hash(), 1_000)).unwrap()),
            _ => {}
        }
    }
    samples[0].assert_whole(&store);
    samples[1].assert_whole(&store);
    samples[11].assert_whole(&store);
    assert!(!known(&store, &samples[2]));
    assert!(store.manifests().unwrap().iter().all(|record| record.last_used_unix_ms != 12));
    wait(store.close()).unwrap();
    assert_within(home.path(), QUOTA);
}

#[test]
fn when_nothing_can_go_the_error_says_why_and_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(2);
    let store = open_within(home.path(), QUOTA);
    let (kept, held) = (Sample::random(&mut rng, 120), Sample::random(&mut rng, 120));
    publish(&store, &kept, 1).unwrap();
    wait(store.pin_manifest(kept.hash(), true)).unwrap();
    publish(&store, &held, 2).unwrap();
    let hold = store.hold(Some(held.hash()));
    let more = Sample::random(&mut rng, 400);
    let refused = publish(&store, &more, 3).unwrap_err();
    assert!(
        matches!(refused, StoreError::QuotaReached { quota: QUOTA, pinned_bytes, in_use_bytes }
        if pinned_bytes == kept.bytes() && in_use_bytes >= held.bytes()),
        "{refused:?}"
    );
    for word in ["quota", "pinned", "in use", "unpin"] {
        assert!(refused.to_string().contains(word), "{refused}");
    }
    assert_within(home.path(), QUOTA);
    kept.assert_whole(&store);
    held.assert_whole(&store);
    assert_eq!(wait(store.remove_content(kept.hash())).unwrap(), Removal::Pinned);
    drop(hold);
    // What was in the way may go now, and all of the publish that failed.
    wait(store.ingest().flush()).unwrap();
    let less = Sample::random(&mut rng, 120);
    publish(&store, &less, 4).unwrap();
    less.assert_whole(&store);
    kept.assert_whole(&store);
    assert!(!known(&store, &held));
}

#[test]
fn what_lies_in_place_stays_as_its_going_frees_nothing() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut rng = random(5);
    let store = open_within(home.path(), QUOTA);
    // Unused for longest.
    let (_, in_place) = publish_in_place(&store, files.path(), "in-place", 31);
    let samples: Vec<_> = (0..8).map(|_| Sample::random(&mut rng, 90)).collect();
    for (at, sample) in samples.iter().enumerate() {
        publish(&store, sample, 10 + at as u64).unwrap();
        assert_within(home.path(), QUOTA);
    }
    assert!(!known(&store, &samples[0]), "something had to go");
    assert!(known(&store, &in_place));
    in_place.assert_whole(&store);
    // Nor is it what is in the way of what does not fit.
    let large = Sample::random(&mut rng, 600);
    let refused = publish(&store, &large, 100).unwrap_err();
    assert!(matches!(refused, StoreError::QuotaReached { pinned_bytes: 0, .. }), "{refused:?}");
    in_place.assert_whole(&store);
}

#[test]
fn what_was_given_to_others_counts_as_used() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(3);
    let store = open_within(home.path(), QUOTA);
    let samples: Vec<_> = (0..8).map(|_| Sample::random(&mut rng, 90)).collect();
    publish(&store, &samples[0], 1).unwrap();
    store.note_use(samples[0].hash(), 5);
    for sample in &samples[1..] {
        publish(&store, sample, 2).unwrap();
    }
    samples[0].assert_whole(&store);
    assert_eq!(store.manifest(&samples[0].hash()).unwrap().unwrap().last_used_unix_ms, 5);
    wait(store.close()).unwrap();
    drop(store);
    let store = open_within(home.path(), QUOTA);
    assert_eq!(store.manifest(&samples[0].hash()).unwrap().unwrap().last_used_unix_ms, 5);
}

/// Publishes ten contents into a home without a quota, each a little later than the one before.
fn more_than_the_quota(home: &Path, rng: &mut ChaCha8Rng) -> Vec<Sample> {
    let store = open(home);
    let samples: Vec<_> = (0..10).map(|_| Sample::random(rng, 90)).collect();
    for (at, sample) in samples.iter().enumerate() {
        publish(&store, sample, at as u64).unwrap();
    }
    wait(store.close()).unwrap();
    samples
}

#[test]
fn a_quota_below_what_is_used_is_reached_by_evicting() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(4);
    let samples = more_than_the_quota(home.path(), &mut rng);
    assert!(home_bytes(home.path()).unwrap() > QUOTA);
    let store = open_within(home.path(), QUOTA);
    let one_more = Sample::random(&mut rng, 5);
    publish(&store, &one_more, 100).unwrap();
    assert_within(home.path(), QUOTA);
    assert!(!known(&store, &samples[0]));
    samples[9].assert_whole(&store);
    one_more.assert_whole(&store);
}

#[test]
fn a_lowered_quota_changes_nothing_until_something_is_put_or_collected() {
    let home = tempfile::tempdir().unwrap();
    let samples = more_than_the_quota(home.path(), &mut random(6));
    let before = home_bytes(home.path()).unwrap();
    assert!(before > QUOTA);
    let store = open_within(home.path(), QUOTA);
    let dry = wait(store.collect(Effort::Thorough, true)).unwrap();
    assert_eq!((dry.reclaimed_bytes, store.manifests().unwrap().len()), (0, samples.len()), "{dry:?}");
    let collected = wait(store.collect(Effort::Thorough, false)).unwrap();
    assert_within(home.path(), QUOTA);
    assert!(collected.reclaimed_bytes > (before - QUOTA) / 2, "{collected:?}");
    assert!(!known(&store, &samples[0]));
    samples[9].assert_whole(&store);
}

#[test]
fn what_can_never_fit_is_refused_and_pins_are_named() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(7);
    let store = open_within(home.path(), 2 * QUOTA);
    assert!(store.check_fits(QUOTA).is_ok());
    let refused = store.check_fits(2 * QUOTA - 1000).unwrap_err();
    assert!(matches!(refused, StoreError::LargerThanQuota { .. }), "{refused:?}");
    // Half of each segment is garbage, and what is pinned alone is more than the quota.
    for _ in 0..12 {
        let (kept, gone) = (Sample::random(&mut rng, 60), Sample::random(&mut rng, 30));
        publish(&store, &kept, 1).unwrap();
        publish(&store, &gone, 1).unwrap();
        wait(store.pin_manifest(kept.hash(), true)).unwrap();
        wait(store.remove_manifest(gone.hash())).unwrap();
    }
    wait(store.close()).unwrap();
    drop(store);
    let config = StoreConfig { quota: Some(QUOTA / 2), ..small() };
    let store = Store::open_with(home.path(), &config, None).unwrap();
    publish(&store, &Sample::random(&mut rng, 30), 2).unwrap_err();
    match wait(store.collect(Effort::Thorough, false)) {
        Ok(_) => {}
        Err(error) => assert!(matches!(error, StoreError::QuotaReached { .. }), "{error}"),
    }
    assert!(store.manifests().unwrap().iter().all(|record| record.pinned));
}

#[test]
fn what_is_refused_takes_nothing_down_that_comes_later() {
    let home = tempfile::tempdir().unwrap();
    let config = StoreConfig { quota: Some(QUOTA), group_delay: Duration::from_secs(86_400), ..small() };
    let store = Store::open_with(home.path(), &config, None).unwrap();
    let mut rng = random(71);
    for _ in 0..3 {
        wait(async {
            let too_much = store.ingest();
            let refused = loop {
                if let Err(error) = too_much.put_chunk(chunk(&mut rng, 30_000)).await {
                    break error;
                }
            };
            assert!(matches!(refused, StoreError::QuotaReached { .. }), "{refused}");
            drop(too_much);
            // What was put last by the one before is still on its way.
            let late = store.ingest();
            late.put_chunk(chunk(&mut rng, 30_000)).await.unwrap();
            late.flush().await.unwrap();
        });
    }
}

#[test]
fn whatever_is_done_the_quota_is_never_exceeded() {
    for seed in 0..6 {
        println!("seed {seed}");
        let home = tempfile::tempdir().unwrap();
        let mut rng = random(seed);
        let (mut watch, mut store) = Watch::open(home.path(), QUOTA);
        let (mut samples, mut pinned): (Vec<Sample>, Vec<Sample>) = (Vec::new(), Vec::new());
        for step in 0..30u64 {
            match below(&mut rng, 8) {
                0..=3 => {
                    // Up to three at once, each of which may need what the others hold.
                    let count = 1 + below(&mut rng, 3);
                    let fresh: Vec<_> = (0..3)
                        .map(|at| {
                            let chunks = if at < count { 1 + below(&mut rng, 180 / count) } else { 1 };
                            Sample::random(&mut rng, chunks)
                        })
                        .collect();
                    let bytes: u64 = pinned.iter().chain(&fresh).map(Sample::bytes).sum();
                    let one = |at: usize| publish_now(&store, &fresh[at], step);
                    let outcomes = wait(async { tokio::join!(one(0), one(1), one(2)) });
                    for (sample, outcome) in fresh.iter().zip([outcomes.0, outcomes.1, outcomes.2]) {
                        match outcome {
                            Ok(()) => samples.push(sample.clone()),
                            Err(StoreError::QuotaReached { .. }) => assert!(bytes > QUOTA / 2, "{bytes} needed"),
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                4 if !samples.is_empty() => {
                    let sample = &samples[below(&mut rng, samples.len())];
                    let kept: u64 = pinned.iter().map(Sample::bytes).sum();
                    if kept < QUOTA / 4 && wait(store.pin_manifest(sample.hash(), true)).unwrap() {
                        pinned.push(sample.clone());
                    }
                }
                5 if !samples.is_empty() => {
                    let hash = samples[below(&mut rng, samples.len())].hash();
                    wait(store.remove_content(hash)).unwrap();
                }
                6 => drop(wait(store.collect(Effort::Thorough, false)).unwrap()),
                _ => {
                    wait(store.close()).unwrap();
                    watch.assert_never_above(QUOTA);
                    (watch, store) = Watch::open(home.path(), QUOTA);
                }
            }
            watch.assert_never_above(QUOTA);
            assert_within(home.path(), QUOTA);
            for sample in &pinned {
                sample.assert_whole(&store);
            }
            for sample in &samples {
                if known(&store, sample) {
                    sample.assert_whole(&store);
                }
            }
        }
    }
}

#[test]
fn a_quota_that_leaves_no_room_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let config = StoreConfig { quota: Some(MIN_QUOTA_BYTES - 1), ..StoreConfig::default() };
    let refused = Store::open(home.path(), config).unwrap_err();
    assert!(matches!(refused, StoreError::QuotaTooSmall { .. }) && refused.to_string().contains("64 MiB"), "{refused}");
    let config = StoreConfig { quota: Some(MIN_QUOTA_BYTES), ..StoreConfig::default() }.fitted();
    assert!(config.segment_bytes + config.group_bytes as u64 <= MIN_QUOTA_BYTES / 16);
    assert!(config.segment_bytes > 2 << 20 && config.group_bytes >= 256 << 10);
    let large = StoreConfig { quota: Some(1 << 40), ..StoreConfig::default() }.fitted();
    assert_eq!(large.segment_bytes, StoreConfig::default().segment_bytes);
}
