//! The power fails at a sync: of what was written since the sync before, anything may be on the disk.
//!
//! A recorder hears of each write, of each sync, and of each folder whose names are made durable. At syncs that the
//! seed chooses it makes images of the home as a cut could leave it: nothing of what was not synced, everything, whole
//! writes at random, and each sector of 512 bytes in any of the versions that it has had; and of new, changed and
//! removed names the same. Each image is opened and asked for all that was acknowledged by then; while it is opened,
//! the power fails again in the same ways. Some go on: they collect, take in another content, and are opened once more.
//!
//! What is wrong with an image is written down and not panicked about: the store takes a panic under redb for damage of
//! a file, which it may well mend.

mod recorder;
mod unsynced;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::super::super::{ContentState, Effort, Ingest, Removal};
use super::super::content::Sample;
use super::*;
use shoal_protocol::hash::ContentHash;

use recorder::{Depth, Recorder};
use unsynced::Cut;

/// Things that a life does.
const STEPS: usize = 10;
/// Of the images, one in so many goes on.
const GOES_ON: u64 = 4;

/// What was acknowledged so far.
#[derive(Debug, Default, Clone)]
struct Acknowledged {
    /// Contents that are recorded as complete.
    contents: Vec<Sample>,
    /// Chunks of one that is not recorded yet.
    chunks: Vec<VerifiedChunk>,
    /// Contents that were removed.
    removed: Vec<ContentHash>,
}

/// How many images are still to be made, and what was wrong with those that were.
#[derive(Debug, Default)]
struct Images {
    left: AtomicU64,
    made: AtomicU64,
    /// Those that were made while an image was opened.
    made_again: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Images {
    /// Checks an image, if there are to be more; what is wrong with it is written down.
    fn check(self: &Arc<Self>, image: &Path, cut: Cut, acknowledged: &Acknowledged, seed: u64, depth: Depth) {
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
            return;
        }
        self.made.fetch_add(1, Ordering::Relaxed);
        self.made_again.fetch_add(u64::from(depth == Depth::Again), Ordering::Relaxed);
        if let Err(wrong) = self.opens(image, acknowledged, seed, depth) {
            self.wrong.lock().unwrap().push(format!("{depth:?} {cut:?} (seed {seed}): {wrong}"));
        }
    }

    /// Opens an image and asks for what was acknowledged; says what is wrong.
    fn opens(self: &Arc<Self>, image: &Path, known: &Acknowledged, seed: u64, depth: Depth) -> Result<(), String> {
        let words = |error: StoreError| error.to_string();
        let recorder = (depth == Depth::First).then(|| {
            let images = Arc::clone(self);
            let check = move |image: &Path, cut, known: &Acknowledged, seed| {
                images.check(image, cut, known, seed, Depth::Again);
            };
            Arc::new(Recorder::new(image, seed, Depth::Again, known.clone(), check))
        });
        let store = match &recorder {
            Some(recorder) => open_with(image, recorder.clone()),
            None => Store::open(image, small()),
        };
        let store = store.map_err(words)?;
        has(&store, known)?;
        if seed.is_multiple_of(GOES_ON) {
            let mut known = known.clone();
            let more = Sample::random(&mut random(seed), 2);
            more.publish(&store);
            known.contents.push(more);
            // No record leads to them: they may go.
            known.chunks.clear();
            if let Some(recorder) = recorder {
                recorder.acknowledge(|acknowledged| acknowledged.clone_from(&known));
            }
            wait(store.collect(Effort::Thorough, false)).map_err(words)?;
            has(&store, &known)?;
            wait(store.close()).map_err(words)?;
            drop(store);
            return has(&Store::open(image, small()).map_err(words)?, &known);
        }
        wait(store.close()).map_err(words)
    }
}

/// Whether all of it is there; says what is not.
fn has(store: &Store, known: &Acknowledged) -> Result<(), String> {
    let chunks: Vec<_> = known.contents.iter().flat_map(|content| &content.chunks).chain(&known.chunks).collect();
    let ids: Vec<_> = chunks.iter().map(|chunk| chunk.id()).collect();
    for (chunk, read) in chunks.iter().zip(store.read_chunks(&ids).map_err(|error| error.to_string())?) {
        match read.map_err(|error| error.to_string())? {
            None => return Err(format!("chunk {:?} is lost", chunk.id())),
            Some(bytes) if bytes != *chunk.bytes() => return Err(format!("chunk {:?} has other bytes", chunk.id())),
            Some(_) => {}
        }
    }
    for content in &known.contents {
        content.has_nodes(store)?;
        match store.manifest(&content.hash()).map_err(|error| error.to_string())? {
            Some(record) if record.state == ContentState::Complete => {}
            other => return Err(format!("the record of a content is {other:?}")),
        }
    }
    for hash in &known.removed {
        if store.manifest(hash).map_err(|error| error.to_string())?.is_some() {
            return Err(format!("{hash} was removed and is back"));
        }
    }
    Ok(())
}

/// A store at work, with its power cut at some of its syncs.
struct Life {
    rng: ChaCha8Rng,
    recorder: Arc<Recorder<Acknowledged>>,
    contents: Vec<Sample>,
    /// Files of the user, which are not what this is about: they are never cut.
    files: tempfile::TempDir,
}

impl Life {
    fn step(&mut self, store: &Store, step: usize) {
        match below(&mut self.rng, 8) {
            0 if !self.contents.is_empty() => {
                let at = below(&mut self.rng, self.contents.len());
                let hash = self.contents.swap_remove(at).hash();
                self.recorder.acknowledge(|known| known.contents.retain(|content| content.hash() != hash));
                if wait(store.remove_content(hash)).unwrap() == Removal::Removed {
                    self.recorder.acknowledge(|known| known.removed.push(hash));
                }
            }
            1 => drop(wait(store.collect(Effort::Thorough, false)).unwrap()),
            2 => self.publish_in_place(store, step),
            _ => self.publish(store),
        }
    }

    fn sample(&mut self) -> Sample {
        let chunks = 1 + below(&mut self.rng, 3);
        Sample::random(&mut self.rng, chunks)
    }

    fn publish(&mut self, store: &Store) {
        let content = self.sample();
        if below(&mut self.rng, 2) == 0 {
            content.complete(store);
            return self.recorded(content);
        }
        let ingest = store.ingest();
        content.put(store, &ingest);
        self.recorder.acknowledge(|known| known.chunks.clone_from(&content.chunks));
        self.record(&ingest, content);
    }

    fn publish_in_place(&mut self, store: &Store, step: usize) {
        let content = self.sample();
        let ingest = store.ingest();
        content.place(store, &ingest, &self.files.path().join(step.to_string()));
        self.recorder.acknowledge(|known| known.chunks.clone_from(&content.chunks));
        self.record(&ingest, content);
    }

    fn record(&mut self, ingest: &Ingest, content: Sample) {
        wait(ingest.record(content.record(ContentState::Complete))).unwrap();
        self.recorded(content);
    }

    fn recorded(&mut self, content: Sample) {
        self.recorder.acknowledge(|known| {
            known.chunks.clear();
            known.contents.push(content.clone());
        });
        self.contents.push(content);
    }
}

/// Publishes, removes, collects, ends and begins again.
fn live(seed: u64, images: &Arc<Images>) {
    let home = scratch();
    let checking = Arc::clone(images);
    let check = move |image: &Path, cut, known: &Acknowledged, seed| {
        checking.check(image, cut, known, seed, Depth::First);
    };
    let recorder = Arc::new(Recorder::new(home.path(), seed, Depth::First, Acknowledged::default(), check));
    let mut life = Life { rng: random(seed), recorder, contents: Vec::new(), files: scratch() };
    let mut store = open_with(home.path(), life.recorder.clone()).unwrap();
    for step in 0..STEPS {
        life.step(&store, step);
        if below(&mut life.rng, 5) == 0 {
            if below(&mut life.rng, 2) == 0 {
                wait(store.close()).unwrap();
            }
            drop(store);
            store = open_with(home.path(), life.recorder.clone()).unwrap();
        }
    }
    wait(store.close()).unwrap();
}

#[test]
fn whatever_a_power_cut_leaves_nothing_acknowledged_is_lost() {
    let images = Arc::new(Images { left: AtomicU64::new(amount(160, 10_000)), ..Images::default() });
    let began = Instant::now();
    let is_wanted = |_| images.left.load(Ordering::Relaxed) > 0;
    let lives = side_by_side(0, is_wanted, |seed| {
        live(seed, &images);
        let wrong = std::mem::take(&mut *images.wrong.lock().unwrap());
        assert!(wrong.is_empty(), "{wrong:#?}");
        println!("seed {seed}: {} images to go after {:?}", images.left.load(Ordering::Relaxed), began.elapsed());
    });
    let (made, again) = (images.made.load(Ordering::Relaxed), images.made_again.load(Ordering::Relaxed));
    println!("{made} images in {lives} lives, {again} of them cut while one was opened: nothing acknowledged was lost");
}
