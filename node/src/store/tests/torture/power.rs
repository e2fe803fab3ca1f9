//! The power fails at a sync: of what was written since the sync before, anything may be on the disk.
//!
//! A recorder under every writable database keeps what each unsynced write has overwritten. At each sync it makes
//! images of the home as a cut could leave it: nothing of what was not synced, everything, whole writes at random, and
//! each sector of 512 bytes in any of the versions that it has had. Each image is opened and asked for all that was
//! acknowledged by then; while it is opened, the power fails again in the same ways.
//!
//! What is wrong with an image is written down and not panicked about: the store takes a panic under redb for damage of
//! a file, which it may well mend.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use super::super::super::backend::FileCall;
use super::super::super::record::tests::sample;
use super::super::super::{FileStamp, KeptChunk, NewFile, SEGMENTS_FOLDER};
use super::*;

const SECTOR: u64 = 512;

/// What was acknowledged so far.
#[derive(Debug, Default, Clone)]
struct Acknowledged {
    chunks: Vec<VerifiedChunk>,
    records: usize,
}

/// A write that no sync has followed yet.
#[derive(Debug)]
struct Unsynced {
    offset: u64,
    /// What was there before.
    before: Vec<u8>,
}

#[derive(Debug, Default)]
struct File {
    writes: Vec<Unsynced>,
    /// Its length at the last sync, if it has changed since.
    synced_len: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Cut {
    Nothing,
    Everything,
    Writes,
    Sectors,
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

struct State {
    rng: ChaCha8Rng,
    files: HashMap<PathBuf, File>,
    acknowledged: Acknowledged,
    in_call: bool,
}

/// Makes images at each sync, and has them checked.
struct Recorder {
    home: PathBuf,
    state: Mutex<State>,
    free: Condvar,
    images: Arc<Images>,
    /// Whether images are cut again while they are opened.
    again: bool,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    fn new(home: &Path, seed: u64, acknowledged: Acknowledged, images: Arc<Images>, again: bool) -> Self {
        let state = State { rng: random(seed), files: HashMap::new(), acknowledged, in_call: false };
        Self { home: home.into(), state: Mutex::new(state), free: Condvar::new(), images, again }
    }

    fn images(&self, state: &mut State) {
        for cut in [Cut::Nothing, Cut::Everything, Cut::Writes, Cut::Sectors] {
            let more = self.images.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if more.is_err() {
                return;
            }
            self.images.made.fetch_add(1, Ordering::Relaxed);
            self.images.made_again.fetch_add(u64::from(!self.again), Ordering::Relaxed);
            let image = copy_at_rest(&self.home);
            for (path, file) in &state.files {
                let inside = path.strip_prefix(&self.home).unwrap();
                if image.path().join(inside).exists() {
                    cut_file(&image.path().join(inside), file, cut, &mut state.rng);
                }
            }
            let seed = state.rng.next_u64();
            let again = self.again.then(|| Arc::clone(&self.images));
            if let Err(wrong) = check(image.path(), &state.acknowledged, seed, again) {
                self.images.wrong.lock().unwrap().push(format!("{cut:?} (seed {seed}): {wrong}"));
            }
        }
    }
}

impl Faults for Recorder {
    fn before(&self, call: FileCall, path: &Path) -> std::io::Result<()> {
        if call == FileCall::Read {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap();
        while state.in_call {
            state = self.free.wait(state).unwrap();
        }
        state.in_call = true;
        // A file keeps its stem when it gets its own name; what is open under the name of passage goes on under it.
        let path = if path.exists() { path.to_owned() } else { path.with_extension("redb") };
        let len = fs::metadata(&path).map_or(0, |meta| meta.len());
        match call {
            FileCall::Write { offset, bytes } => {
                let mut before = vec![0; bytes];
                let there = usize::try_from(len.saturating_sub(offset)).unwrap().min(bytes);
                fs::File::open(&path).unwrap().read_exact_at(&mut before[..there], offset).unwrap();
                state.files.entry(path).or_default().writes.push(Unsynced { offset, before });
            }
            FileCall::Resize => {
                // What it cuts off is not known before: all of it is kept.
                let before = fs::read(&path).unwrap();
                let file = state.files.entry(path).or_default();
                file.synced_len.get_or_insert(len);
                file.writes.push(Unsynced { offset: 0, before });
            }
            FileCall::Sync => {
                let state = &mut *state;
                self.images(state);
                state.files.remove(&path);
            }
            FileCall::Read => {}
        }
        Ok(())
    }

    fn after(&self, call: FileCall) {
        if call != FileCall::Read {
            self.state.lock().unwrap().in_call = false;
            self.free.notify_one();
        }
    }
}

/// A copy of a home between two changes of names, which nobody records: begun anew when one came in between.
fn copy_at_rest(home: &Path) -> tempfile::TempDir {
    loop {
        let (before, image) = (names(home), tempfile::tempdir().unwrap());
        if copy(home, image.path()).is_ok() && names(home) == before {
            return image;
        }
    }
}

fn names(home: &Path) -> Vec<PathBuf> {
    let folders = [home.to_owned(), home.join(SEGMENTS_FOLDER)];
    let items = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let mut names: Vec<_> = items.map(|item| item.unwrap().path()).collect();
    names.sort_unstable();
    names
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for item in fs::read_dir(from)? {
        let item = item?;
        let target = to.join(item.file_name());
        match item.file_type()? {
            kind if kind.is_dir() => {
                fs::create_dir(&target)?;
                copy(&item.path(), &target)?;
            }
            kind if kind.is_file() => drop(fs::copy(item.path(), target)?),
            _ => {}
        }
    }
    Ok(())
}

/// Makes of a file what a cut may leave of it. Versions of a sector are what its writes have overwritten, and what is
/// there now.
fn cut_file(path: &Path, file: &File, cut: Cut, rng: &mut ChaCha8Rng) {
    use std::os::unix::fs::PermissionsExt;
    if matches!(cut, Cut::Everything) {
        return;
    }
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let target = fs::File::options().read(true).write(true).open(path).unwrap();
    match cut {
        Cut::Nothing | Cut::Writes => {
            // Backwards: what the first write found is there in the end.
            for write in file.writes.iter().rev() {
                if matches!(cut, Cut::Nothing) || below(rng, 2) == 0 {
                    target.write_all_at(&write.before, write.offset).unwrap();
                }
            }
        }
        Cut::Sectors => {
            let mut sectors: BTreeMap<u64, Vec<&Unsynced>> = BTreeMap::new();
            for write in &file.writes {
                let end = write.offset + write.before.len() as u64;
                for sector in write.offset / SECTOR..end.div_ceil(SECTOR) {
                    sectors.entry(sector).or_default().push(write);
                }
            }
            for (sector, writes) in sectors {
                let back_to = below(rng, writes.len() + 1);
                for write in writes[back_to..].iter().rev() {
                    let start = write.offset.max(sector * SECTOR);
                    let end = (write.offset + write.before.len() as u64).min((sector + 1) * SECTOR);
                    let (from, to) = ((start - write.offset) as usize, (end - write.offset) as usize);
                    target.write_all_at(&write.before[from..to], start).unwrap();
                }
            }
        }
        Cut::Everything => {}
    }
    if let Some(len) = file.synced_len
        && (matches!(cut, Cut::Nothing) || below(rng, 2) == 0)
    {
        target.set_len(len).unwrap();
    }
    fs::set_permissions(path, mode).unwrap();
}

/// Opens an image and asks for what was acknowledged; says what is wrong. `again`: the power fails while it is opened,
/// too.
fn check(image: &Path, acknowledged: &Acknowledged, seed: u64, again: Option<Arc<Images>>) -> Result<(), String> {
    let opened = match again {
        Some(images) => open_with(image, Arc::new(Recorder::new(image, seed, acknowledged.clone(), images, false))),
        None => Store::open(image, small()),
    };
    let store = opened.map_err(|error| error.to_string())?;
    let ids: Vec<_> = acknowledged.chunks.iter().map(VerifiedChunk::id).collect();
    for (chunk, read) in acknowledged.chunks.iter().zip(store.read_chunks(&ids).map_err(|error| error.to_string())?) {
        match read.map_err(|error| error.to_string())? {
            None => return Err(format!("chunk {:?} is lost", chunk.id())),
            Some(bytes) if bytes != *chunk.bytes() => return Err(format!("chunk {:?} has other bytes", chunk.id())),
            Some(_) => {}
        }
    }
    let records = store.manifests().map_err(|error| error.to_string())?.len();
    if records < acknowledged.records {
        return Err(format!("{records} of {} records are there", acknowledged.records));
    }
    wait(store.close()).map_err(|error| error.to_string())
}

/// One life of a store, with its power cut at each sync.
fn life(seed: u64, images: &Arc<Images>) {
    println!("seed {seed}: {} images to go", images.left.load(Ordering::Relaxed));
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut rng = random(seed);
    let recorder = Arc::new(Recorder::new(home.path(), seed, Acknowledged::default(), Arc::clone(images), true));
    for round in 0..2 {
        let store = open_with(home.path(), recorder.clone()).unwrap();
        for step in 0..3 {
            let chunks: Vec<_> = (0..1 + below(&mut rng, 6)).map(|_| chunk(&mut rng, 60_000)).collect();
            put_all(&store, &chunks).unwrap();
            recorder.state.lock().unwrap().acknowledged.chunks.extend(chunks);
            wait(store.put_manifest(sample(&format!("{round} {step}")))).unwrap();
            recorder.state.lock().unwrap().acknowledged.records += 1;
            let kept = place(&store, &files.path().join(format!("{round} {step}")), &mut rng);
            recorder.state.lock().unwrap().acknowledged.chunks.extend(kept);
        }
        wait(store.close()).unwrap();
    }
}

/// Places chunks in a file of the user, which is not what this is about: it is never cut.
fn place(store: &Store, path: &Path, rng: &mut ChaCha8Rng) -> Vec<VerifiedChunk> {
    let chunks: Vec<_> = (0..4).map(|_| chunk(rng, 5_000)).collect();
    fs::write(path, chunks.iter().flat_map(|chunk| chunk.bytes().to_vec()).collect::<Vec<_>>()).unwrap();
    let stamp = FileStamp::of(&fs::metadata(path).unwrap());
    let mut writer = store.in_place_writer();
    let file = writer.add(NewFile { path: path.to_owned(), becomes: None, stamp }).unwrap();
    let mut offset = 0;
    let kept = chunks.iter().map(|chunk| {
        let len = chunk.bytes().len() as u32;
        offset += u64::from(len);
        KeptChunk { id: chunk.id(), file, offset: offset - u64::from(len), len }
    });
    writer.keep(&kept.collect::<Vec<_>>()).unwrap();
    chunks
}

#[test]
fn whatever_a_power_cut_leaves_nothing_acknowledged_is_lost() {
    let images = Arc::new(Images { left: AtomicU64::new(amount(160, 10_000)), ..Images::default() });
    let mut seed = 0;
    while images.left.load(Ordering::Relaxed) > 0 {
        life(seed, &images);
        let wrong = images.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        seed += 1;
    }
    let (made, again) = (images.made.load(Ordering::Relaxed), images.made_again.load(Ordering::Relaxed));
    println!("{made} images in {seed} lives, {again} of them cut while one was opened: nothing acknowledged was lost");
}
