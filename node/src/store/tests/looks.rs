//! Files in place that were touched, and found to have what they had.

use std::fs;
use std::time::{Duration, SystemTime};

use super::super::FileNumber;
use super::content::whole_chunk;
use super::in_place::{UserFile, flip};
use super::verify::verify;
use super::*;

/// A file in place.
struct Placed {
    file: UserFile,
    touched: u64,
}

impl Placed {
    fn make(store: &Store, folder: &Path, seed: u64) -> Self {
        let mut rng = random(seed);
        let chunks: Vec<_> = (0..10).map(|_| whole_chunk(&mut rng)).collect();
        let path = folder.join(seed.to_string());
        fs::write(&path, chunks.iter().flat_map(|chunk| chunk.bytes().to_vec()).collect::<Vec<_>>()).unwrap();
        let file = UserFile { path, chunks };
        file.place(store);
        Self { file, touched: 0 }
    }

    /// Gives the file a time that it has not had.
    fn touch(&mut self) {
        self.touched += 1;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(self.touched);
        fs::File::options().write(true).open(&self.file.path).unwrap().set_modified(time).unwrap();
    }

    fn is_relied_on(&self, store: &Store) -> bool {
        let ids: Vec<_> = self.file.chunks.iter().map(|chunk| *chunk.id().as_bytes()).collect();
        let entries = store.shared().find(ids.iter(), &store.hold(None)).unwrap();
        let held = entries.iter().filter(|entry| entry.is_held()).count();
        assert!(held == 0 || held == ids.len());
        held > 0
    }

    fn number(&self, store: &Store) -> FileNumber {
        let files = store.shared().in_place.files().unwrap();
        files.into_iter().find(|(_, row)| row.path == self.file.path).unwrap().0
    }

    fn read(&self, store: &Store, range: std::ops::Range<usize>) {
        let ids: Vec<_> = self.file.chunks[range].iter().map(VerifiedChunk::id).collect();
        assert!(store.read_chunks(&ids).unwrap().iter().all(Result::is_ok));
    }
}

#[test]
fn a_file_that_was_only_touched_is_relied_on_again_once_it_was_verified() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let (mut one, mut other) = (Placed::make(&store, files.path(), 1), Placed::make(&store, files.path(), 2));
    for placed in [&mut one, &mut other] {
        assert!(placed.is_relied_on(&store));
        placed.touch();
        assert!(!placed.is_relied_on(&store));
    }
    // A copy is as good.
    fs::copy(&other.file.path, other.file.path.with_extension("copy")).unwrap();
    fs::rename(other.file.path.with_extension("copy"), &other.file.path).unwrap();
    assert!(verify(&store, false).damage.is_empty());
    assert!(one.is_relied_on(&store) && other.is_relied_on(&store));
    drop(store);
    let store = open(home.path());
    assert!(one.is_relied_on(&store) && other.is_relied_on(&store));
    assert_holds(&store, one.file.chunks.iter().chain(&other.file.chunks));
}

#[test]
fn a_file_of_which_a_part_was_read_or_that_has_changed_is_not_relied_on() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let mut placed = Placed::make(&store, files.path(), 3);
    placed.touch();
    placed.read(&store, 0..9);
    placed.read(&store, 0..9);
    assert!(!placed.is_relied_on(&store));
    placed.touch();
    placed.read(&store, 9..10);
    assert!(!placed.is_relied_on(&store), "it was touched in between");
    placed.read(&store, 1..10);
    assert!(!placed.is_relied_on(&store));
    placed.read(&store, 0..1);
    assert!(placed.is_relied_on(&store));
    flip(&placed.file.path);
    placed.touch();
    for _ in 0..2 {
        assert_eq!(verify(&store, false).damage.len(), 1);
        assert!(!placed.is_relied_on(&store));
    }
}

#[test]
fn what_is_placed_in_a_file_meanwhile_was_not_read() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let mut placed = Placed::make(&store, files.path(), 4);
    let mut writer = store.in_place_writer();
    // Found as it was.
    assert_eq!(placed.file.add(&mut writer, None), placed.number(&store));
    placed.touch();
    placed.read(&store, 0..10);
    assert!(!placed.is_relied_on(&store), "somebody may place more");
    drop(writer);
    placed.read(&store, 0..10);
    assert!(placed.is_relied_on(&store));
}

#[test]
fn a_file_of_which_a_part_is_stored_as_well_is_relied_on_again_too() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let mut placed = Placed::make(&store, files.path(), 5);
    placed.touch();
    // Not relied on, it is stored.
    put_all(&store, &placed.file.chunks[..3]).unwrap();
    placed.file.chunks.drain(..3);
    assert!(!placed.is_relied_on(&store));
    placed.read(&store, 0..7);
    assert!(!placed.is_relied_on(&store));
    assert!(verify(&store, false).damage.is_empty());
    assert!(placed.is_relied_on(&store));
}
