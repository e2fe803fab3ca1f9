//! Opening, closing, locking, sealing, versions.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use shoal_protocol::hash::{ChunkId, NodeId};

use super::super::lock::LOCK_FILE;
use super::super::record::tests::sample;
use super::super::{
    CATALOG_FILE, ContentState, FORMAT_VERSION, IN_PLACE_FILE, INDEX_FILE, ManifestRecord, SEGMENTS_FOLDER,
};
use super::in_place::publish_in_place;
use super::*;

#[test]
fn an_empty_store_holds_nothing_and_weighs_little() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let id = ChunkId::of(b"nothing");
    assert!(store.read_chunk(&id).unwrap().is_none());
    assert_eq!(store.holds_chunks(&[id]).unwrap(), [false]);
    put_all(&store, &[VerifiedChunk::of(Bytes::from(vec![1; 1024]))]).unwrap();
    wait(store.close()).unwrap();
    let files = [home.path().join(INDEX_FILE), home.path().join(CATALOG_FILE), segment(home.path(), 1)];
    let disk: u64 = files.iter().map(|file| file.metadata().unwrap().blocks() * 512).sum();
    assert!(disk < 1 << 20, "a chunk of 1 KiB took {disk} bytes");
}

fn segment(home: &Path, number: u32) -> std::path::PathBuf {
    home.join(SEGMENTS_FOLDER).join(format!("{number:06}.redb"))
}

#[test]
fn one_process_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let refused = Store::open(home.path(), small()).unwrap_err();
    assert!(matches!(&refused, StoreError::Locked { pid: Some(pid), .. } if *pid == std::process::id()), "{refused}");
    let ingest = store.ingest();
    wait(store.close()).unwrap();
    // Neither the closed handle nor what was made from it keeps the home.
    let again = open(home.path());
    let late = wait(ingest.put_chunk(VerifiedChunk::of(Bytes::from_static(b"late")))).unwrap_err();
    assert!(matches!(late, StoreError::Closed));
    assert!(matches!(store.read_chunk(&ChunkId::of(b"late")), Err(crate::store::ReadError::Store(StoreError::Closed))));
    drop(again);
    drop(open(home.path()));
}

#[test]
fn chunks_outlive_sealing_and_reopening() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(1);
    let chunks: Vec<_> = (0..200).map(|_| chunk(&mut rng, 30_000)).collect();
    let store = open(home.path());
    put_all(&store, &chunks).unwrap();
    assert_holds(&store, &chunks);
    let usage = store.usage().unwrap();
    let bytes: u64 = chunks.iter().map(|chunk| chunk.bytes().len() as u64).sum();
    assert_eq!((usage.chunks, usage.chunk_bytes, usage.payload_bytes), (200, bytes, bytes));
    assert!(usage.segments > 5, "{usage:?}");
    wait(store.close()).unwrap();
    let sealed =
        (1..=usage.segments as u32).filter(|n| segment(home.path(), *n).metadata().unwrap().permissions().readonly());
    assert!(sealed.count() >= 4);
    let store = open(home.path());
    assert_holds(&store, &chunks);
    assert_eq!(store.usage().unwrap().chunk_bytes, bytes);
}

#[test]
fn what_is_held_is_not_written_again() {
    let home = tempfile::tempdir().unwrap();
    let mut rng = random(2);
    let chunks: Vec<_> = (0..40).map(|_| chunk(&mut rng, 20_000)).collect();
    let store = open(home.path());
    wait(async {
        let first = store.ingest();
        for chunk in chunks.iter().chain(&chunks) {
            first.put_chunk(chunk.clone()).await.unwrap();
        }
        first.flush().await.unwrap();
        assert_eq!(first.added().chunks, 40);
        let before = store.usage().unwrap();
        let second = store.ingest();
        for chunk in &chunks {
            second.put_chunk(chunk.clone()).await.unwrap();
        }
        second.flush().await.unwrap();
        assert_eq!(second.added().chunks, 0);
        assert_eq!(store.usage().unwrap(), before);
    });
}

#[test]
fn nodes_are_hashed_on_the_way_in() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let encoding = Bytes::from_static(b"a node");
    let id = NodeId::of(&encoding);
    wait(async {
        let ingest = store.ingest();
        let wrong = ingest.put_node(id, Bytes::from_static(b"another")).await.unwrap_err();
        assert!(matches!(wrong, StoreError::WrongBytes { bytes: 7 }));
        ingest.put_node(id, encoding.clone()).await.unwrap();
        ingest.flush().await.unwrap();
    });
    assert_eq!(store.read_node(&id).unwrap(), Some(encoding));
    assert_eq!(store.holds_nodes(&[id, NodeId::of(b"another")]).unwrap(), [true, false]);
    assert_eq!(store.usage().unwrap().chunks, 0);
}

#[test]
fn more_than_the_queue_holds_waits_for_room() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let mut rng = random(3);
    let chunks: Vec<_> = (0..8).map(|_| (0..40).map(|_| chunk(&mut rng, 60_000)).collect::<Vec<_>>()).collect();
    wait(async {
        let tasks = chunks.iter().map(|chunks| {
            let ingest = store.ingest();
            async move {
                for chunk in chunks {
                    ingest.put_chunk(chunk.clone()).await.unwrap();
                }
                ingest.flush().await.unwrap();
                assert_eq!(ingest.added().chunks, 40);
            }
        });
        futures::future::join_all(tasks).await;
    });
    assert_holds(&store, chunks.iter().flatten());
}

#[test]
fn what_is_recorded_as_whole_is_not_taken_back_by_a_fetch_that_began_before() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let fetching = sample("a");
    let complete = ManifestRecord { state: ContentState::Complete, last_used_unix_ms: 90, ..fetching.clone() };
    let recorded = || store.manifest(&fetching.hash).unwrap().unwrap();
    wait(store.put_manifest(complete.clone())).unwrap();
    // A fetch that looked before the publish was done knows of no record, and writes its own.
    let late = ManifestRecord { name: None, pinned: false, created_unix_ms: 80, ..fetching.clone() };
    wait(store.put_manifest(late)).unwrap();
    assert_eq!(recorded(), complete);
    // What turns out to be damaged is another matter.
    assert!(wait(store.incomplete_manifest(fetching.hash)).unwrap());
    let damaged = ManifestRecord { state: ContentState::Damaged, ..complete.clone() };
    assert_eq!(recorded(), damaged);
    // Whoever begins to fetch it anew does not know better that it was whole; what never was does not become it.
    wait(store.put_manifest(fetching.clone())).unwrap();
    assert_eq!(recorded(), damaged);
    let partial = sample("b");
    wait(store.put_manifest(partial.clone())).unwrap();
    assert!(wait(store.incomplete_manifest(partial.hash)).unwrap());
    assert_eq!(store.manifest(&partial.hash).unwrap(), Some(partial));
    assert!(!wait(store.incomplete_manifest(sample("c").hash)).unwrap());
    wait(store.put_manifest(complete.clone())).unwrap();
    assert_eq!(recorded(), complete);
}

#[test]
fn a_record_that_comes_while_all_are_read_is_not_a_lost_one() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..100).for_each(|n| wait(store.put_manifest(sample(&n.to_string()))).unwrap()));
        while !writer.is_finished() {
            store.shared().catalog.all_records().unwrap();
        }
    });
    assert_eq!(store.shared().catalog.all_records().unwrap().len(), 100);
}

#[test]
fn an_object_that_is_too_large_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let large = VerifiedChunk::of(Bytes::from(vec![0; crate::store::MAX_OBJECT_BYTES + 1]));
    let refused = put_all(&store, &[large]).unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { .. }));
}

#[test]
fn records_are_kept_replaced_touched_and_removed() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let (a, b) = (sample("a"), sample("b"));
    wait(async {
        store.put_manifest(a.clone()).await.unwrap();
        store.put_manifest(b.clone()).await.unwrap();
        assert!(store.touch_manifest(b.hash, 99).await.unwrap());
        assert!(!store.touch_manifest(sample("c").hash, 99).await.unwrap());
        store.put_manifest(ManifestRecord { name: Some("new".into()), ..a.clone() }).await.unwrap();
        assert!(store.pin_manifest(a.hash, false).await.unwrap());
        assert!(!store.pin_manifest(sample("c").hash, true).await.unwrap());
    });
    let a = ManifestRecord { name: Some("new".into()), pinned: false, ..a };
    let b = ManifestRecord { last_used_unix_ms: 99, ..b };
    let check = |store: &Store| {
        let mut expected = vec![a.clone(), b.clone()];
        expected.sort_by_key(|record| *record.hash.as_bytes());
        assert_eq!(store.manifests().unwrap(), expected);
        assert_eq!(store.manifest(&a.hash).unwrap().as_ref(), Some(&a));
        assert_eq!(store.manifest_by_key(&b.hash.discovery_key()).unwrap().as_ref(), Some(&b));
    };
    check(&store);
    wait(store.close()).unwrap();
    let store = open(home.path());
    check(&store);
    assert!(wait(store.incomplete_manifest(a.hash)).unwrap());
    assert_eq!(store.manifest(&a.hash).unwrap().unwrap().state, ContentState::Fetching);
    assert!(wait(store.remove_manifest(a.hash)).unwrap());
    assert!(!wait(store.remove_manifest(a.hash)).unwrap());
    assert_eq!(store.manifests().unwrap(), [b]);
    assert!(store.manifest_by_key(&a.hash.discovery_key()).unwrap().is_none());
}

/// All files below a folder, and what is in them.
fn contents_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents_of(&path));
        } else if !path.ends_with(LOCK_FILE) {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn another_format_version_is_named_and_nothing_is_changed() {
    let (original, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open_steady(original.path());
    publish_in_place(&store, files.path(), "in-place", 31);
    put_all(&store, &(0..20).map(|at| chunk(&mut random(70 + at), 30_000)).collect::<Vec<_>>()).unwrap();
    let segments = std::fs::read_dir(original.path().join(SEGMENTS_FOLDER)).unwrap();
    let last = segments.map(|entry| entry.unwrap().path()).max().unwrap();
    let last = last.strip_prefix(original.path()).unwrap();
    // As they are while the store is open: each has something to be put right.
    let unclean = contents_of(original.path());
    for file in [Path::new(CATALOG_FILE), Path::new(INDEX_FILE), Path::new(IN_PLACE_FILE), last] {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(SEGMENTS_FOLDER)).unwrap();
        for (path, bytes) in &unclean {
            std::fs::write(home.path().join(path.strip_prefix(original.path()).unwrap()), bytes).unwrap();
        }
        claim_version(&home.path().join(file), 9);
        let before = contents_of(home.path());
        let refused = Store::open(home.path(), small()).unwrap_err();
        assert!(
            matches!(&refused, StoreError::Version { found: 9, known: FORMAT_VERSION, file: named } if named.ends_with(file)),
            "{refused}"
        );
        assert!(contents_of(home.path()) == before, "a file was changed because of {}", file.display());
    }
}

#[test]
fn a_record_of_another_version_is_named_and_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    wait(store.put_manifest(sample("a"))).unwrap();
    wait(store.put_manifest(sample("b"))).unwrap();
    wait(store.close()).unwrap();
    drop(store);
    let catalog = home.path().join(CATALOG_FILE);
    let newer = sample("b").encode_as(3);
    let database = redb::Database::open(&catalog).unwrap();
    let transaction = database.begin_write().unwrap();
    for name in ["manifests", "manifest copies"] {
        let table = redb::TableDefinition::<&[u8; 32], &[u8]>::new(name);
        transaction.open_table(table).unwrap().insert(sample("b").hash.as_bytes(), newer.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let refused = Store::open(home.path(), small()).unwrap_err();
    assert!(matches!(&refused, StoreError::Version { found: 3, file, .. } if *file == catalog), "{refused}");
    let words = refused.to_string();
    assert!(words.contains("format 3") && words.contains("use the version of shoal that wrote it"), "{words}");
    // It is left as it is.
    let database = redb::Database::open(&catalog).unwrap();
    let transaction = redb::ReadableDatabase::begin_read(&database).unwrap();
    let table = transaction.open_table(redb::TableDefinition::<&[u8; 32], &[u8]>::new("manifests")).unwrap();
    assert_eq!(table.get(sample("b").hash.as_bytes()).unwrap().unwrap().value(), newer);
}

#[test]
fn a_segment_of_another_version_is_named_and_the_rest_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let chunks: Vec<_> = (0..80).map(|at| chunk(&mut random(70 + at), 30_000)).collect();
    let store = open(home.path());
    put_all(&store, &chunks).unwrap();
    wait(store.close()).unwrap();
    drop(store);
    let newer = segment(home.path(), 1);
    let mode = newer.metadata().unwrap().permissions();
    std::fs::set_permissions(&newer, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    claim_version(&newer, 9);
    std::fs::set_permissions(&newer, mode).unwrap();
    let store = open(home.path());
    let mut named = 0;
    for chunk in &chunks {
        match store.read_chunk(&chunk.id()) {
            Ok(read) => assert_eq!(read.as_ref(), Some(chunk.bytes())),
            Err(error) => {
                let words = error.to_string();
                assert!(words.contains("000001.redb") && words.contains("format 9"), "{words}");
                named += 1;
            }
        }
    }
    assert!(named > 0);
    let more = chunk(&mut random(69), 30_000);
    put_all(&store, [&more]).unwrap();
    assert_holds(&store, [&more]);
}

fn claim_version(file: &Path, version: u8) {
    let database = redb::Database::open(file).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, &[u8]>::new("shoal");
    transaction.open_table(table).unwrap().insert("format", [version, 0, 0, 0].as_slice()).unwrap();
    transaction.commit().unwrap();
}

#[test]
fn a_flush_always_finds_a_writer_awake() {
    let home = tempfile::tempdir().unwrap();
    // A writer that is not woken sleeps until tomorrow.
    let config = StoreConfig { group_delay: Duration::from_secs(86_400), writers: 3, ..small() };
    let store = Store::open(home.path(), config).unwrap();
    let tasks: Vec<_> = (0..4u64)
        .map(|task| {
            let ingest = store.ingest();
            std::thread::spawn(move || {
                let mut rng = random(task);
                for _ in 0..200 {
                    let flushed = async {
                        ingest.put_chunk(chunk(&mut rng, 200)).await?;
                        ingest.flush().await
                    };
                    let done = wait(async { tokio::time::timeout(Duration::from_secs(300), flushed).await });
                    done.expect("no writer was woken").unwrap();
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
}
