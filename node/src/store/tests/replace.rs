//! Chunks that lie in files of the user which an output is about to replace, and such as move to another file.

use std::fs;

use shoal_protocol::hash::ChunkId;

use super::super::Effort;
use super::super::in_place::Moves;
use super::in_place::UserFile;
use super::*;

#[test]
fn what_lies_in_a_file_that_is_to_be_replaced_moves_to_the_new_one() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let old = UserFile::make(files.path(), "a", 60, 10);
    old.place(&store);
    // The new one begins with something else, so that all that both have has moved.
    let mut new = UserFile::make(files.path(), "part", 61, 1);
    new.chunks.extend(old.chunks[2..].iter().cloned());
    fs::write(&new.path, new.chunks.iter().flat_map(|chunk| chunk.bytes().to_vec()).collect::<Vec<_>>()).unwrap();
    let replacing = store.replacing(&old.path);
    let mut writer = store.in_place_writer();
    let number = new.add(&mut writer, Some(old.path.clone()));
    writer.keep(&new.kept(number)).unwrap();
    assert_holds(&store, &new.chunks);
    fs::rename(&new.path, &old.path).unwrap();
    drop(replacing);
    writer.finish().unwrap();
    drop(writer);
    assert_holds(&store, &new.chunks);
    drop(store);
    assert_holds(&open(home.path()), &new.chunks);
}

#[test]
fn what_lies_in_a_folder_that_is_to_be_replaced_moves_though_no_new_file_has_the_name() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let (folder, part) = (files.path().join("folder"), files.path().join("part"));
    for folder in [&folder, &part] {
        fs::create_dir(folder).unwrap();
    }
    // Known by a name with a link in it.
    let link = files.path().join("link");
    std::os::unix::fs::symlink(files.path(), &link).unwrap();
    let old = UserFile::make(&link.join("folder"), "old", 62, 10);
    let beside = UserFile::make(files.path(), "folder of another name", 63, 10);
    old.place(&store);
    beside.place(&store);
    let both = || old.chunks.iter().chain(&beside.chunks);
    let path = part.join("new");
    fs::write(&path, both().flat_map(|chunk| chunk.bytes().to_vec()).collect::<Vec<_>>()).unwrap();
    let new = UserFile { path, chunks: both().cloned().collect() };
    let replacing = store.replacing(&folder);
    let ids: Vec<ChunkId> = both().map(VerifiedChunk::id).collect();
    let lost = [[true; 10], [false; 10]].concat();
    assert_eq!(replacing.loses(&ids, &store.hold(None)).unwrap(), lost);
    let mut writer = store.in_place_writer();
    let number = new.add(&mut writer, Some(folder.join("new")));
    writer.keep(&new.kept(number)).unwrap();
    assert_eq!(writer.lie_there(&new.kept(number)).unwrap(), lost);
    fs::remove_dir_all(&folder).unwrap();
    assert_holds(&store, both());
}

#[test]
fn what_lies_where_something_is_to_be_replaced_is_stored_by_whoever_puts_it() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let file = UserFile::make(files.path(), "a", 64, 10);
    let ids: Vec<ChunkId> = file.chunks.iter().map(VerifiedChunk::id).collect();
    file.place(&store);
    // Two are about to replace it, and one gives up.
    let replacing = [store.replacing(&file.path), store.replacing(&file.path)];
    drop(replacing);
    put_all(&store, &file.chunks).unwrap();
    assert_eq!(store.usage().unwrap().payload_bytes, 0);
    let [replacing, other] = [store.replacing(&file.path), store.replacing(&file.path)];
    drop(other);
    // It is held as long as it is there, and need not be fetched.
    assert_eq!(store.find_chunks(&ids, &store.hold(None)).unwrap().0, [true; 10]);
    assert_eq!(replacing.loses(&ids, &store.hold(None)).unwrap(), [true; 10]);
    put_all(&store, &file.chunks).unwrap();
    assert_eq!(replacing.loses(&ids, &store.hold(None)).unwrap(), [false; 10]);
    fs::remove_file(&file.path).unwrap();
    assert_holds(&store, &file.chunks);
}

#[test]
fn a_file_that_another_has_taken_the_name_of_is_not_noted_under_it() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let (file, target) = (UserFile::make(files.path(), "part", 65, 10), files.path().join("target"));
    let mut writer = store.in_place_writer();
    let number = file.add(&mut writer, Some(target.clone()));
    writer.keep(&file.kept(number)).unwrap();
    fs::write(&target, b"another").unwrap();
    writer.finish().unwrap();
    assert_holds(&store, &file.chunks);
    assert!(store.shared().in_place.files().unwrap()[0].1.is_growing);
    fs::rename(&file.path, &target).unwrap();
    writer.finish().unwrap();
    assert_holds(&store, &file.chunks);
    assert!(!store.shared().in_place.files().unwrap()[0].1.is_growing);
}

#[test]
fn who_has_found_a_chunk_keeps_it_though_it_moves_to_another_file() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let mut file = UserFile::make(files.path(), "a", 25, 10);
    file.place(&store);
    let hold = store.hold(None);
    let ids: Vec<_> = file.chunks.iter().map(VerifiedChunk::id).collect();
    assert_eq!(store.find_chunks(&ids, &hold).unwrap().0, [true; 10]);
    let moved = files.path().join("b");
    fs::rename(&file.path, &moved).unwrap();
    file.path = moved;
    file.place(&store);
    wait(store.collect(Effort::Thorough, false)).unwrap();
    assert_holds(&store, &file.chunks);
    drop(hold);
    wait(store.collect(Effort::Thorough, false)).unwrap();
    assert_eq!(store.holds_chunks(&ids).unwrap(), [false; 10]);
}

/// A file, and another with the same bytes.
fn twins(folder: &Path, seed: u64) -> (UserFile, UserFile) {
    let (file, path) = (UserFile::make(folder, "a", seed, 10), folder.join("b"));
    fs::copy(&file.path, &path).unwrap();
    let other = UserFile { path, chunks: file.chunks.clone() };
    (file, other)
}

#[test]
fn nothing_moves_while_others_may_find_out_where_it_lies() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let (file, other) = twins(files.path(), 66);
    let mut writer = store.in_place_writer();
    let number = other.add(&mut writer, None);
    let kept = other.kept(number);
    let reliance = writer.look(&kept).unwrap();
    // After the look, so that nothing is known of that file.
    file.place(&store);
    let looking = store.shared().holds.looking();
    let left = writer.place(&kept, &reliance, Moves::Left).unwrap();
    drop(looking);
    assert_eq!(left.len(), 10);
    assert_eq!(writer.lie_there(&kept).unwrap(), [false; 10]);
    let deciding = store.shared().holds.deciding();
    assert!(writer.place(&left, &reliance, Moves::Made).unwrap().is_empty());
    drop(deciding);
    assert_eq!(writer.lie_there(&kept).unwrap(), [true; 10]);
    assert_holds(&store, &file.chunks);
}

#[test]
fn what_was_looked_at_before_something_is_about_to_be_replaced_is_not_relied_on() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let (file, other) = twins(files.path(), 67);
    file.place(&store);
    let mut writer = store.in_place_writer();
    let number = other.add(&mut writer, None);
    let kept = other.kept(number);
    let reliance = writer.look(&kept).unwrap();
    assert!(writer.place(&kept, &reliance, Moves::Left).unwrap().is_empty(), "they are held there");
    let replacing = store.replacing(&file.path);
    assert_eq!(writer.place(&kept, &reliance, Moves::Left).unwrap().len(), 10);
    writer.keep(&kept).unwrap();
    assert_eq!(writer.lie_there(&kept).unwrap(), [true; 10]);
    drop(replacing);
    fs::remove_file(&file.path).unwrap();
    assert_holds(&store, &file.chunks);
}

#[test]
fn a_file_keeps_its_chunks_when_another_is_about_to_be_replaced() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let (file, other) = twins(files.path(), 68);
    file.place(&store);
    let mut writer = store.in_place_writer();
    let number = other.add(&mut writer, None);
    let kept = other.kept(number);
    let reliance = writer.look(&kept).unwrap();
    let _replacing = store.replacing(&other.path);
    assert_eq!(writer.place(&kept, &reliance, Moves::IfSure).unwrap().len(), 10, "nobody knows any more");
    writer.keep(&kept).unwrap();
    assert_eq!(writer.lie_there(&kept).unwrap(), [false; 10]);
    assert_holds(&store, &file.chunks);
}

#[test]
fn what_stands_in_two_files_of_one_group_is_placed_once() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(home.path());
    let (file, other) = twins(files.path(), 69);
    let mut writer = store.in_place_writer();
    let numbers = [&file, &other].map(|file| file.add(&mut writer, None));
    let both: Vec<_> = file.kept(numbers[0]).into_iter().chain(other.kept(numbers[1])).collect();
    let reliance = writer.look(&both).unwrap();
    assert!(writer.place(&both, &reliance, Moves::Left).unwrap().is_empty(), "nothing moves");
    assert_eq!(writer.lie_there(&both[..10]).unwrap(), [true; 10]);
    assert_eq!(writer.added().chunks, 10);
}
