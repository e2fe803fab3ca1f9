//! Chunks that lie in files of the user.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use shoal_protocol::hash::ChunkId;

use super::super::in_place::InPlaceWriter;
use super::super::{
    ContentState, Effort, FileNumber, FileStamp, IN_PLACE_FILE, KeptChunk, NewFile, ReadError, Removal,
};
use super::content::Sample;
use super::*;

/// A file of the user, made of these chunks.
pub(super) struct UserFile {
    pub(super) path: PathBuf,
    pub(super) chunks: Vec<VerifiedChunk>,
}

impl UserFile {
    pub(super) fn make(folder: &Path, name: &str, seed: u64, count: usize) -> Self {
        let mut rng = random(seed);
        let chunks: Vec<_> = (0..count).map(|_| chunk(&mut rng, 30_000)).collect();
        let path = folder.join(name);
        fs::write(&path, chunks.iter().flat_map(|chunk| chunk.bytes().to_vec()).collect::<Vec<_>>()).unwrap();
        Self { path, chunks }
    }

    pub(super) fn add(&self, writer: &mut InPlaceWriter, becomes: Option<PathBuf>) -> FileNumber {
        let stamp = FileStamp::of(&fs::metadata(&self.path).unwrap());
        writer.add(NewFile { path: self.path.clone(), becomes, stamp }).unwrap()
    }

    pub(super) fn kept(&self, file: FileNumber) -> Vec<KeptChunk> {
        let mut offset = 0;
        let kept = self.chunks.iter().map(|chunk| {
            let len = chunk.bytes().len() as u32;
            offset += u64::from(len);
            KeptChunk { id: chunk.id(), file, offset: offset - u64::from(len), len }
        });
        kept.collect()
    }

    pub(super) fn place(&self, store: &Store) -> u64 {
        let mut writer = store.in_place_writer();
        let file = self.add(&mut writer, None);
        writer.keep(&self.kept(file)).unwrap();
        writer.added().chunks
    }
}

fn damage(store: &Store, id: &ChunkId) -> String {
    match store.read_chunk(id).unwrap_err() {
        error @ ReadError::Damaged { .. } => error.to_string(),
        other => panic!("{other}"),
    }
}

#[test]
fn chunks_in_place_are_held_read_and_counted_and_outlive_a_kill_and_a_lost_index() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = UserFile::make(files.path(), "a", 1, 50);
    let mut store = open(home.path());
    assert!(!home.path().join(IN_PLACE_FILE).exists());
    assert_eq!(file.place(&store), 50);
    assert_holds(&store, &file.chunks);
    let bytes: u64 = file.chunks.iter().map(|chunk| chunk.bytes().len() as u64).sum();
    let usage = store.usage().unwrap();
    assert_eq!((usage.chunks, usage.chunk_bytes, usage.payload_bytes, usage.in_place_bytes), (50, bytes, 0, bytes));
    assert_eq!(file.place(&store), 0, "the same again is nothing new");
    assert_eq!(store.usage().unwrap().in_place_bytes, bytes);
    for _ in 0..2 {
        drop(store);
        fs::remove_file(home.path().join(super::super::INDEX_FILE)).unwrap();
        store = open(home.path());
        assert_holds(&store, &file.chunks);
    }
    // What is held in place is not stored too.
    put_all(&store, &file.chunks).unwrap();
    assert_eq!(store.usage().unwrap().payload_bytes, 0);
}

#[test]
fn what_a_segment_holds_is_not_placed() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = UserFile::make(files.path(), "a", 2, 20);
    let store = open(home.path());
    put_all(&store, &file.chunks[..12]).unwrap();
    assert_eq!(file.place(&store), 8);
    let kept = |range: std::ops::Range<usize>| {
        let ids: Vec<ChunkId> = file.chunks[range].iter().map(VerifiedChunk::id).collect();
        store.keeps_chunks(&ids).unwrap()
    };
    assert!(kept(0..12) && !kept(12..20) && !kept(0..13));
    fs::remove_file(&file.path).unwrap();
    assert_holds(&store, &file.chunks[..12]);
    assert!(damage(&store, &file.chunks[12].id()).contains("the file is gone"));
}

#[test]
fn a_changed_file_is_named_with_what_changed_and_healed_by_putting_again() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    type Harm = fn(&Path);
    let cases: [(&str, Harm, &str); 4] = [
        ("cut", |path| fs::File::options().write(true).open(path).unwrap().set_len(10).unwrap(), "10 bytes now"),
        ("replaced", |path| replace(path), "another file has taken its place"),
        ("written", |path| flip(path), "written to since"),
        ("a folder", |path| drop((fs::remove_file(path), fs::create_dir(path))), "the file is gone"),
    ];
    for (at, (name, harm, words)) in cases.into_iter().enumerate() {
        let file = UserFile::make(files.path(), name, 3 + at as u64, 10);
        file.place(&store);
        assert_holds(&store, &file.chunks);
        harm(&file.path);
        let victim = &file.chunks[0];
        let error = damage(&store, &victim.id());
        assert!(error.contains(words) && error.contains(file.path.to_str().unwrap()), "{name}: {error}");
        assert_eq!(store.holds_chunks(&[victim.id()]).unwrap(), [false], "{name}");
        put_all(&store, &file.chunks).unwrap();
        let _ = store.read_chunks(&file.chunks.iter().map(VerifiedChunk::id).collect::<Vec<_>>());
        put_all(&store, &file.chunks).unwrap();
        assert_holds(&store, &file.chunks);
    }
}

#[test]
fn what_lies_in_a_changed_file_is_not_relied_on() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let harms: [fn(&Path); 4] = [
        |path| fs::remove_file(path).unwrap(),
        replace,
        flip,
        |path| fs::rename(path, path.with_extension("b")).unwrap(),
    ];
    for (at, harm) in harms.into_iter().enumerate() {
        let file = UserFile::make(files.path(), &at.to_string(), 50 + at as u64, 10);
        let ids: Vec<ChunkId> = file.chunks.iter().map(VerifiedChunk::id).collect();
        file.place(&store);
        assert_eq!(store.find_chunks(&ids, &store.hold(None)).unwrap().0, [true; 10]);
        harm(&file.path);
        // A flip harms one chunk, which is told from the others by a look at them.
        let (found, damage) = store.find_chunks(&ids, &store.hold(None)).unwrap();
        let expected: Vec<bool> = (0..10).map(|chunk| at == 2 && chunk != 0).collect();
        assert_eq!(found, expected, "{at}");
        assert!(damage.unwrap().to_string().contains(file.path.to_str().unwrap()), "{at}");
        // Put once, and nobody has read what is there.
        put_all(&store, &file.chunks).unwrap();
        assert_holds(&store, &file.chunks);
    }
}

/// Puts another file of the same size in the place of one.
fn replace(path: &Path) {
    let other = path.with_extension("other");
    fs::write(&other, vec![7; fs::metadata(path).unwrap().len() as usize]).unwrap();
    fs::rename(other, path).unwrap();
}

fn flip(path: &Path) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 0).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 0).unwrap();
}

#[test]
fn a_file_that_comes_back_is_held_again_and_one_that_moved_can_be_placed_anew() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let mut file = UserFile::make(files.path(), "a", 9, 10);
    file.place(&store);
    let away = files.path().join("away");
    fs::rename(&file.path, &away).unwrap();
    let id = file.chunks[0].id();
    damage(&store, &id);
    // One read is enough to know of all that is in it.
    assert_eq!(store.holds_chunks(&[file.chunks[9].id()]).unwrap(), [false]);
    fs::rename(&away, &file.path).unwrap();
    assert_holds_after_a_look(&store, &file);
    fs::rename(&file.path, &away).unwrap();
    file.path = away;
    assert_eq!(file.place(&store), 0, "its chunks were known");
    assert_holds(&store, &file.chunks);
    assert_eq!(store.shared().in_place.files().unwrap().len(), 1, "the row of the old place is gone");
}

fn assert_holds_after_a_look(store: &Store, file: &UserFile) {
    store.read_chunk(&file.chunks[0].id()).unwrap();
    assert_holds(store, &file.chunks);
}

#[test]
fn a_file_is_found_before_and_after_it_gets_its_final_name() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = files.path().join("whole");
    let file = UserFile::make(files.path(), ".part", 10, 10);
    let mut store = open(home.path());
    let mut writer = store.in_place_writer();
    let number = file.add(&mut writer, Some(target.clone()));
    writer.keep(&file.kept(number)[..5]).unwrap();
    assert_eq!(store.holds_chunks(&[file.chunks[4].id(), file.chunks[5].id()]).unwrap(), [true, false]);
    drop((writer, store));
    // It goes on under the same number.
    store = open(home.path());
    let mut writer = store.in_place_writer();
    assert_eq!(file.add(&mut writer, Some(target.clone())), number);
    assert_eq!(writer.lie_there(&file.kept(number)).unwrap(), [[true; 5], [false; 5]].concat());
    writer.keep(&file.kept(number)).unwrap();
    assert_holds(&store, &file.chunks);
    fs::rename(&file.path, &target).unwrap();
    assert_holds(&store, &file.chunks);
    writer.finish().unwrap();
    drop((writer, store));
    store = open(home.path());
    assert_holds(&store, &file.chunks);
    let files = store.shared().in_place.files().unwrap();
    assert_eq!((files.len(), &files[0].1.path, files[0].1.is_growing), (1, &target, false));
}

#[test]
fn a_sweep_takes_what_is_dead_and_nothing_that_is_being_placed() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let (dead, live) = (UserFile::make(files.path(), "dead", 11, 30), UserFile::make(files.path(), "live", 12, 30));
    let young = UserFile::make(files.path(), "young", 13, 30);
    dead.place(&store);
    live.place(&store);
    let mut writer = store.in_place_writer();
    let number = young.add(&mut writer, None);
    writer.keep(&young.kept(number)).unwrap();
    let in_place = &store.shared().in_place;
    let files = in_place.files().unwrap();
    let live_file = files.iter().find(|(_, row)| row.path == live.path).unwrap().0;
    let is_live = |place: &crate::store::in_place::FilePlace| place.file == live_file;
    let swept = in_place.sweep(|| (), is_live).unwrap();
    assert_eq!((swept.chunks, swept.files), (30, 1));
    assert_holds(&store, live.chunks.iter().chain(&young.chunks));
    assert_eq!(store.holds_chunks(&[dead.chunks[0].id()]).unwrap(), [false]);
    drop(writer);
    assert_eq!(in_place.sweep(|| (), is_live).unwrap().chunks, 30);
    assert!(dead.path.exists() && young.path.exists(), "files of the user were touched");
}

#[test]
fn a_ruined_table_costs_what_lay_in_place_and_no_more() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = UserFile::make(files.path(), "a", 14, 20);
    let stored = [chunk(&mut random(15), 9_000)];
    let store = open(home.path());
    file.place(&store);
    put_all(&store, &stored).unwrap();
    wait(store.close()).unwrap();
    drop(store);
    fs::write(home.path().join(IN_PLACE_FILE), [0x5a; 50_000]).unwrap();
    let store = open(home.path());
    assert_holds(&store, &stored);
    assert_eq!(store.holds_chunks(&[file.chunks[0].id()]).unwrap(), [false]);
    assert_eq!(file.place(&store), 20);
    assert_holds(&store, &file.chunks);
}

#[test]
fn a_damaged_row_of_a_file_costs_what_lay_in_it_and_fails_nobody() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let file = UserFile::make(files.path(), "a", 28, 10);
    let ids: Vec<ChunkId> = file.chunks.iter().map(VerifiedChunk::id).collect();
    file.place(&store);
    store.shared().in_place.damage_files();
    // The chunks are put by one who finds it out, and by one who knows.
    put_all(&store, &file.chunks[..4]).unwrap();
    assert_eq!(store.find_chunks(&ids, &store.hold(None)).unwrap().0, [[true; 4].as_slice(), &[false; 6]].concat());
    assert!(damage(&store, &ids[9]).contains("its row is lost"));
    file.place(&store);
    assert_holds(&store, &file.chunks);
}

/// A content whose chunks lie in a file of the user, and its record.
pub(super) fn publish_in_place(store: &Store, folder: &Path, name: &str, seed: u64) -> (UserFile, Sample) {
    let content = Sample::random(&mut random(seed), 12);
    let path = folder.join(name);
    fs::write(&path, content.chunks.iter().flat_map(|chunk| chunk.bytes().to_vec()).collect::<Vec<_>>()).unwrap();
    let file = UserFile { path, chunks: content.chunks.clone() };
    let ingest = store.ingest();
    content.put_nodes(&ingest);
    file.place(store);
    wait(ingest.flush()).unwrap();
    wait(ingest.record(content.record(ContentState::Complete))).unwrap();
    (file, content)
}

#[test]
fn a_collection_forgets_what_lies_in_place_for_nobody() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let (kept, _) = publish_in_place(&store, files.path(), "kept", 21);
    let (gone, content) = publish_in_place(&store, files.path(), "gone", 22);
    assert!(wait(store.remove_manifest(content.hash())).unwrap());
    // Somebody has found them just now, and is about to record them.
    let hold = store.hold(None);
    let ids: Vec<_> = gone.chunks.iter().map(VerifiedChunk::id).collect();
    assert!(store.find_chunks(&ids, &hold).unwrap().0.into_iter().all(|held| held));
    wait(store.collect(Effort::Thorough, false)).unwrap();
    assert_holds(&store, kept.chunks.iter().chain(&gone.chunks));
    drop(hold);
    wait(store.collect(Effort::Thorough, true)).unwrap();
    assert_holds(&store, &gone.chunks);
    wait(store.collect(Effort::Thorough, false)).unwrap();
    assert_holds(&store, &kept.chunks);
    assert!(store.holds_chunks(&ids).unwrap().into_iter().all(|held| !held));
    assert_eq!(store.shared().in_place.files().unwrap().len(), 1);
    assert!(gone.path.exists());
}

#[test]
fn what_was_damaged_and_has_been_placed_anew_is_not_forgotten() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let file = UserFile::make(files.path(), "a", 26, 3);
    file.place(&store);
    let bytes = fs::read(&file.path).unwrap();
    fs::write(&file.path, vec![7; bytes.len()]).unwrap();
    let ids: Vec<_> = file.chunks.iter().map(VerifiedChunk::id).collect();
    ids.iter().for_each(|id| drop(damage(&store, id)));
    fs::write(&file.path, bytes).unwrap();
    let mut writer = store.in_place_writer();
    let number = file.add(&mut writer, None);
    writer.keep(&file.kept(number)[..2]).unwrap();
    let objects: Vec<_> = ids.iter().map(|id| *id.as_bytes()).collect();
    store.forget_damaged(&objects).unwrap();
    assert_holds(&store, &file.chunks[..2]);
    assert!(store.read_chunk(&ids[2]).unwrap().is_none(), "nothing speaks of the third any more");
}

#[test]
fn what_lay_in_place_is_forgotten_when_its_content_is_removed() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let (kept, _) = publish_in_place(&store, files.path(), "kept", 23);
    let (_, content) = publish_in_place(&store, files.path(), "gone", 24);
    assert_eq!(wait(store.remove_content(content.hash())).unwrap(), Removal::Removed);
    wait(store.collect(Effort::Routine, false)).unwrap();
    assert_eq!(store.shared().in_place.files().unwrap().len(), 1);
    assert_holds(&store, &kept.chunks);
}
