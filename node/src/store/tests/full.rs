//! What is written where there is no room, or where nobody would find it.

use super::super::ContentState;
use super::content::Sample;
use super::faults::FullDisk;
use super::verify::{Found, flip_everywhere};
use super::*;

#[test]
fn what_cannot_be_written_anew_stays_held_where_it_is() {
    let home = tempfile::tempdir().unwrap();
    let chunks = super::verify::filled(home.path(), 4);
    for file in super::damage::segments(home.path()) {
        flip_everywhere(&file, chunks[9].id().as_bytes(), 77);
    }
    let disk = Arc::new(FullDisk::default());
    let store = open_with(home.path(), disk.clone()).unwrap();
    disk.fill(0);
    let mut found = Found::default();
    store.verify_tables(true, &mut found).unwrap();
    assert!(found.damage.iter().any(|damage| !damage.mended), "{:?}", found.damage);
    assert_holds(&store, &chunks);
    disk.free();
    assert!(super::verify::verify(&store, true).damage.iter().all(|damage| damage.mended));
    assert_eq!(super::verify::verify(&store, false).damage.len(), 0);
    assert_holds(&store, &chunks);
}

#[test]
fn a_segment_that_was_moved_away_takes_nothing_more() {
    let home = tempfile::tempdir().unwrap();
    let store = open_steady(home.path());
    let mut rng = random(5);
    let mut content = || Sample::random(&mut rng, 2);
    let (before, lost, after) = (content(), content(), content());
    before.publish(&store);
    let segment = super::damage::segments(home.path()).pop().unwrap();
    std::fs::rename(&segment, home.path().join("away")).unwrap();
    let refused = put_all(&store, &lost.chunks).unwrap_err().to_string();
    assert!(refused.contains(segment.to_str().unwrap()) && refused.contains("moved away"), "{refused}");
    assert_eq!((lost.held(&store), before.held(&store)), (0, 0));
    after.publish(&store);
    wait(store.close()).unwrap();
    drop(store);
    let store = open_steady(home.path());
    after.assert_whole(&store);
    assert_eq!(store.manifest(&after.hash()).unwrap().unwrap().state, ContentState::Complete);
}
