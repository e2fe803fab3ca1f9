//! The record store's quotas.

use std::collections::HashSet;
use std::time::Instant;

use libp2p::kad::store::RecordStore;
use libp2p::kad::{ProviderRecord, RecordKey};
use libp2p::{Multiaddr, PeerId as LibPeerId};

use super::*;
use crate::network::records::Records;

fn limits(own: usize, foreign: usize, per_key: usize) -> NetworkLimits {
    NetworkLimits { own_records: own, foreign_records: foreign, providers_per_key: per_key, ..NetworkLimits::default() }
}

fn record_key(n: u8) -> RecordKey {
    RecordKey::new(&[n; 32])
}

fn record(n: u8, provider: LibPeerId) -> ProviderRecord {
    let mut record = ProviderRecord::new(record_key(n), provider, vec!["/ip4/192.0.2.1/tcp/1".parse().unwrap()]);
    record.expires = Some(Instant::now() + Duration::from_secs(3600));
    record
}

fn all(records: &Records, n: u8) -> HashSet<LibPeerId> {
    records.all(&record_key(n), Instant::now()).map(|(peer, _)| peer).collect()
}

#[test]
fn strangers_cannot_crowd_out_own_records() {
    let local = LibPeerId::random();
    let mut records = Records::new(local, &limits(2, 50, 10));
    for n in 0..200 {
        records.add_provider(record(n, LibPeerId::random())).unwrap();
    }
    assert_eq!(records.foreign_count(), 50, "the oldest made room");
    assert!(all(&records, 0).is_empty());
    assert_eq!(all(&records, 199).len(), 1);
    records.add_provider(ProviderRecord::new(record_key(1), local, Vec::new())).unwrap();
    records.add_provider(ProviderRecord::new(record_key(2), local, Vec::new())).unwrap();
    assert!(records.add_provider(ProviderRecord::new(record_key(3), local, Vec::new())).is_err());
    records.add_provider(ProviderRecord::new(record_key(2), local, Vec::new())).unwrap();
    assert_eq!(records.providers(&record_key(1))[0].provider, local);
    records.remove_provider(&record_key(1), &local);
    assert!(records.providers(&record_key(1)).is_empty());
    assert_eq!(records.foreign_count(), 50);
}

#[test]
fn the_freshest_of_a_key_are_kept() {
    let mut records = Records::new(LibPeerId::random(), &limits(1, 10_000, 200));
    let peers: Vec<LibPeerId> = (0..300).map(|_| LibPeerId::random()).collect();
    for peer in &peers {
        records.add_provider(record(1, *peer)).unwrap();
    }
    assert_eq!(all(&records, 1), peers[100..].iter().copied().collect());
    // Announcing again is what keeps a record fresh.
    records.add_provider(record(1, peers[100])).unwrap();
    records.add_provider(record(1, LibPeerId::random())).unwrap();
    assert!(all(&records, 1).contains(&peers[100]));
    assert!(!all(&records, 1).contains(&peers[101]));
    assert_eq!(records.foreign_count(), 200);
}

#[test]
fn answers_are_samples_of_all() {
    let mut records = Records::new(LibPeerId::random(), &limits(1, 10_000, 200));
    for _ in 0..200 {
        records.add_provider(record(1, LibPeerId::random())).unwrap();
    }
    let mut seen = HashSet::new();
    for _ in 0..200 {
        let answer: HashSet<_> = records.providers(&record_key(1)).into_iter().map(|record| record.provider).collect();
        assert_eq!(answer.len(), 22, "each peer once");
        seen.extend(answer);
    }
    assert_eq!(seen.len(), 200, "all come up sooner or later");
}

#[test]
fn no_single_peer_takes_all_the_room() {
    let mut records = Records::new(LibPeerId::random(), &limits(1, 40, 10));
    let greedy = LibPeerId::random();
    let taken = (0..40).filter(|n| records.add_provider(record(*n, greedy)).is_ok()).count();
    assert_eq!(taken, 10);
    records.remove_provider(&record_key(0), &greedy);
    assert!(records.add_provider(record(39, greedy)).is_ok());
}

#[test]
fn expired_records_are_neither_answered_nor_kept() {
    let mut records = Records::new(LibPeerId::random(), &limits(1, 100, 10));
    for n in 0..10 {
        let mut old = record(n, LibPeerId::random());
        old.expires = Some(Instant::now());
        records.add_provider(old).unwrap();
    }
    assert!(records.providers(&record_key(1)).is_empty());
    assert!(all(&records, 1).is_empty());
    records.add_provider(record(50, LibPeerId::random())).unwrap();
    assert_eq!(records.foreign_count(), 1);
}

#[test]
fn what_a_record_claims_is_bounded() {
    let mut records = Records::new(LibPeerId::random(), &limits(1, 100, 10));
    let odd = ProviderRecord::new(RecordKey::new(&[1; 31]), LibPeerId::random(), Vec::new());
    assert!(records.add_provider(odd).is_err());
    let long: Multiaddr = format!("/dns/{}/tcp/1", "x".repeat(300)).parse().unwrap();
    let many = (0..100).map(|n| format!("/ip4/192.0.2.{n}/tcp/1").parse().unwrap());
    let addresses = std::iter::once(long).chain(many).collect();
    records.add_provider(ProviderRecord::new(record_key(1), LibPeerId::random(), addresses)).unwrap();
    assert_eq!(records.providers(&record_key(1))[0].addresses.len(), 8);
}
