use super::super::{ContentState, Removal};
use super::content::Sample;
use super::damage::{flip_in, segments};
use super::*;

/// Whether the store says that something may have gone meanwhile.
fn loses(store: &Store, work: impl FnOnce()) -> bool {
    let before = store.losses();
    work();
    store.losses() > before
}

#[test]
fn what_goes_is_told_and_what_comes_is_not() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let mut rng = random(21);
    for sample in [Sample::random(&mut rng, 3), Sample::random(&mut rng, 3)] {
        let hash = sample.hash();
        let comes = || {
            sample.publish(&store);
            wait(store.pin_manifest(hash, true)).unwrap();
            wait(store.pin_manifest(hash, false)).unwrap();
            wait(store.touch_manifest(hash, 2)).unwrap();
            sample.assert_whole(&store);
        };
        assert!(!loses(&store, comes));
        assert!(loses(&store, || assert!(wait(store.incomplete_manifest(hash)).unwrap())));
        wait(store.put_manifest(sample.record(ContentState::Complete))).unwrap();
        assert!(loses(&store, || assert_eq!(wait(store.remove_content(hash)).unwrap(), Removal::Removed)));
    }
}

#[test]
fn damage_is_told_as_a_loss_when_it_is_found() {
    let home = tempfile::tempdir().unwrap();
    let sample = Sample::random(&mut random(22), 3);
    let store = open(home.path());
    sample.publish(&store);
    wait(store.close()).unwrap();
    drop(store);
    flip_in(&segments(home.path()), &sample.chunks[1].bytes()[..24], 5);
    let store = open(home.path());
    assert!(!loses(&store, || drop(store.read_chunk(&sample.chunks[0].id()).unwrap())));
    assert!(loses(&store, || drop(store.read_chunk(&sample.chunks[1].id()).unwrap_err())));
}
