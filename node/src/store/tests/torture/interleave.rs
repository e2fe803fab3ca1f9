//! Collections with publishes, fetches, pins and removals in between their steps, from seeds.
//!
//! The collector calls back at each of its steps, and what the seed says happens there: so each of the interleavings is
//! the same every time, as far as the store's own threads allow.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use shoal_protocol::hash::ContentHash;

use super::super::super::{ContentState, Effort, Hold, Ingest, Removal};
use super::super::content::Sample;
use super::*;

/// Interleavings on one store, with a new start after some of them.
const ON_ONE_STORE: u64 = 20;
/// Contents that are worked on at a time.
const WORKS: usize = 3;
/// Contents that are held at a time.
const CONTENTS: usize = 8;
/// Most things that happen within one collection.
const WITHIN: usize = 24;

/// A publish or a fetch under way.
struct Work {
    sample: Sample,
    ingest: Ingest,
    /// A fetch keeps its content from being removed, and looks for each chunk before it takes it in.
    fetch: Option<Hold>,
    next: usize,
}

struct World {
    store: Store,
    rng: ChaCha8Rng,
    /// What has a complete record, and whether it is pinned.
    live: HashMap<ContentHash, (Sample, bool)>,
    /// What was removed or abandoned: its chunks may be garbage, or gone.
    gone: Vec<Sample>,
    works: Vec<Work>,
    /// Contents that somebody has begun to fetch.
    fetched: HashSet<ContentHash>,
    /// What may still happen within this collection, and what has happened within all of them.
    within: usize,
    happened: usize,
}

impl World {
    fn step(&mut self) {
        match below(&mut self.rng, 10) {
            0..=1 if self.live.len() >= CONTENTS => self.remove(),
            0..=1 if self.works.len() < WORKS => self.begin(),
            0..=6 => self.go_on(),
            7 => self.pin(),
            8 => self.remove(),
            _ if !self.works.is_empty() => {
                let at = below(&mut self.rng, self.works.len());
                self.gone.push(self.works.swap_remove(at).sample);
            }
            _ => {}
        }
    }

    fn any_live(&mut self) -> Option<ContentHash> {
        let mut hashes: Vec<_> = self.live.keys().copied().collect();
        hashes.sort_unstable_by_key(|hash| *hash.as_bytes());
        (!hashes.is_empty()).then(|| hashes[below(&mut self.rng, hashes.len())])
    }

    /// A content that is new, or was here before, or shares chunks with one that is or was.
    fn choose(&mut self) -> Sample {
        let known = match below(&mut self.rng, 3) {
            0 if !self.gone.is_empty() => Some(self.gone[below(&mut self.rng, self.gone.len())].clone()),
            1 => self.any_live().map(|hash| self.live[&hash].0.clone()),
            _ => None,
        };
        match known {
            Some(sample) if below(&mut self.rng, 2) == 0 => sample,
            Some(sample) => sample.changed(&mut self.rng, 2),
            None => {
                let chunks = 1 + below(&mut self.rng, 8);
                Sample::random(&mut self.rng, chunks)
            }
        }
    }

    fn begin(&mut self) {
        let sample = self.choose();
        let fetch = (below(&mut self.rng, 2) == 0).then(|| self.store.hold(Some(sample.hash())));
        let ingest = match &fetch {
            Some(hold) => self.store.ingest_under(hold.clone()),
            None => self.store.ingest(),
        };
        if fetch.is_some() {
            self.fetched.insert(sample.hash());
            wait(self.store.put_manifest(sample.record(ContentState::Fetching))).unwrap();
        }
        sample.put_nodes(&ingest);
        wait(ingest.flush()).unwrap();
        self.works.push(Work { sample, ingest, fetch, next: 0 });
    }

    fn go_on(&mut self) {
        if self.works.is_empty() {
            return;
        }
        let at = below(&mut self.rng, self.works.len());
        let work = &mut self.works[at];
        let end = (work.next + 1 + below(&mut self.rng, 3)).min(work.sample.chunks.len());
        for chunk in &work.sample.chunks[work.next..end] {
            let is_held =
                work.fetch.as_ref().is_some_and(|hold| self.store.find_chunks(&[chunk.id()], hold).unwrap().0[0]);
            if !is_held {
                wait(work.ingest.put_chunk(chunk.clone())).unwrap();
            }
        }
        work.next = end;
        if below(&mut self.rng, 3) == 0 {
            wait(work.ingest.flush()).unwrap();
        }
        if work.next == work.sample.chunks.len() {
            let work = self.works.swap_remove(at);
            wait(work.ingest.flush()).unwrap();
            wait(work.ingest.record(work.sample.record(ContentState::Complete))).unwrap();
            let hash = work.sample.hash();
            let pinned = self.live.get(&hash).is_some_and(|(_, pinned)| *pinned);
            self.live.insert(hash, (work.sample, pinned));
        }
    }

    fn pin(&mut self) {
        let pinned = below(&mut self.rng, 2) == 0;
        if let Some(hash) = self.any_live() {
            assert!(wait(self.store.pin_manifest(hash, pinned)).unwrap());
            self.live.get_mut(&hash).unwrap().1 = pinned;
        }
    }

    fn remove(&mut self) {
        let Some(hash) = self.any_live() else { return };
        let (sample, pinned) = self.live[&hash].clone();
        match wait(self.store.remove_content(hash)).unwrap() {
            Removal::Removed => {
                assert!(!pinned);
                self.gone.push(sample);
                self.live.remove(&hash);
            }
            Removal::Pinned => assert!(pinned),
            // One that was given up is over once what it had put is written.
            Removal::InUse => assert!(self.fetched.contains(&hash)),
            Removal::Unknown => panic!("a content that was recorded is not known"),
        }
    }

    fn check(&self) {
        for (hash, (sample, pinned)) in &self.live {
            sample.assert_whole(&self.store);
            let record = self.store.manifest(hash).unwrap().unwrap();
            assert_eq!((record.state, record.pinned), (ContentState::Complete, *pinned));
        }
    }
}

fn run(seeds: std::ops::Range<u64>) {
    let home = tempfile::tempdir().unwrap();
    let mut world = World {
        store: open(home.path()),
        rng: random(seeds.start),
        live: HashMap::new(),
        gone: Vec::new(),
        works: Vec::new(),
        fetched: HashSet::new(),
        within: 0,
        happened: 0,
    };
    let mut emptied = 0;
    for seed in seeds {
        println!("seed {seed}");
        world.rng = random(seed);
        if seed % 5 == 4 {
            world.gone.extend(world.works.drain(..).map(|work| work.sample));
            wait(world.store.close()).unwrap();
            world.store = open(home.path());
        }
        for _ in 0..below(&mut world.rng, 20) {
            world.step();
        }
        world.within = WITHIN;
        let store = world.store.clone();
        let shared = Arc::new(Mutex::new(world));
        let inside = Arc::clone(&shared);
        let step = move || {
            let mut world = inside.lock().unwrap();
            for _ in 0..below(&mut world.rng, 4).saturating_sub(1).min(world.within) {
                world.step();
                world.within -= 1;
                world.happened += 1;
            }
        };
        *store.shared().collector.steps.0.lock().unwrap() = Some(Box::new(step));
        match wait(store.collect(Effort::Thorough, false)) {
            Ok(collected) => emptied += collected.dropped_segments + collected.rewritten_segments,
            // A publish that keeps asking for what was about to go.
            Err(StoreError::Overtaken) => {}
            Err(error) => panic!("{error}"),
        }
        *store.shared().collector.steps.0.lock().unwrap() = None;
        world = Arc::into_inner(shared).unwrap().into_inner().unwrap();
        world.check();
    }
    assert!(emptied > 0 && world.happened > 0, "nothing met: {emptied} segments, {} things", world.happened);
    // In the end everything that nothing needs goes.
    world.gone.extend(world.works.drain(..).map(|work| work.sample));
    let collected = wait(world.store.collect(Effort::Thorough, false)).unwrap();
    world.check();
    assert!(collected.garbage_bytes * 8 <= collected.live_bytes + collected.garbage_bytes, "{collected:?}");
}

#[test]
fn whatever_comes_between_its_steps_a_collection_loses_nothing() {
    for first in (0..amount(40, 500)).step_by(ON_ONE_STORE as usize) {
        run(first..first + ON_ONE_STORE);
    }
}
