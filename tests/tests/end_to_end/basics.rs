//! Each command does what the contract says when nothing is wrong.

use std::fs;
use std::path::Path;

use shoal_node::api::{ContentState, EntryType};
use shoal_testnet::command::FetchOptions;
use shoal_testnet::content;

use crate::support::{MIB, cluster, fetch_and_compare, folder, home, import, run, same, sample};

#[test]
fn a_file_over_its_link_without_any_daemon_at_the_fetching_end() {
    run(async {
        let cluster = cluster(1).await;
        let file = sample(cluster.folder(), "file", 5 * MIB + 1, 1);
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        assert_eq!((published.bytes, published.entries), (5 * MIB + 1, 1));
        assert_eq!(published.new_bytes, published.bytes);
        let output = cluster.folder().join("out");
        let alone = cluster.without_daemon("alone");
        let fetched = fetch_and_compare(&alone, &published.link, &output, FetchOptions::default(), &file).await;
        assert_eq!((fetched.fetched_bytes, fetched.reused_bytes), (published.bytes, 0));
        assert_eq!(fetched.hash, published.hash);
        assert_eq!(fetched.peers.iter().map(|share| share.bytes).sum::<u64>(), published.bytes);
        assert_eq!(fetched.peers[0].peer, cluster.node(0).peer_id());
    });
}

#[test]
fn a_folder_with_one_of_everything() {
    run(async {
        let cluster = cluster(2).await;
        let source = cluster.folder().join("source");
        fs::create_dir(&source).unwrap();
        content::write_folder(&source, 2).unwrap();
        let published = cluster.node(0).shoal().publish(&source).await.unwrap();
        let output = cluster.folder().join("out");
        let hash = published.hash.to_string();
        fetch_and_compare(&cluster.node(1).shoal(), &hash, &output, FetchOptions::default(), &source).await;
        check_listing(&cluster.node(1).shoal().ls(&hash).await.unwrap());
    });
}

fn check_listing(entries: &[shoal_node::api::EntryInfo]) {
    let kind = |path: &str| entries.iter().find(|entry| entry.path == path).map(|entry| entry.kind);
    assert_eq!(kind("bin/run.sh"), Some(EntryType::Executable));
    assert_eq!(kind("empty/folder"), Some(EntryType::EmptyFolder));
    assert_eq!(kind("dangling"), Some(EntryType::Symlink));
    assert_eq!(kind("Grüße/日本語/Ελληνικά.txt"), Some(EntryType::File));
    assert!(entries.is_sorted_by(|a, b| a.path.as_bytes() < b.path.as_bytes()), "not in the order of paths");
}

#[test]
fn the_same_content_has_the_same_hash_everywhere_and_is_stored_once() {
    run(async {
        let folder = folder();
        let (a, b) = (sample(folder.path(), "a", 3 * MIB, 3), sample(folder.path(), "b", 3 * MIB, 3));
        let (one, two) = (home(&folder, "one"), home(&folder, "two"));
        let first = import(&one, &a).await;
        assert_eq!(import(&two, &b).await.hash, first.hash);
        let again = import(&one, &b).await;
        assert_eq!((again.hash, again.new_bytes), (first.hash, 0));
    });
}

#[test]
fn a_range_of_a_file_and_a_file_of_a_folder() {
    run(async {
        let folder = folder();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        content::write_folder(&source, 4).unwrap();
        let shoal = home(&folder, "home");
        let hash = import(&shoal, &source).await.hash.to_string();
        let large = fs::read(source.join("data/large.bin")).unwrap();
        let path = format!("{hash}/data/large.bin");
        let cases: [(&[&str], &[u8]); 4] = [
            (&["cat", &path], &large),
            (&["cat", &path, "--range", "0-0"], &large[..1]),
            (&["cat", &path, "--range", "1000000-2000000"], &large[1_000_000..=2_000_000]),
            (&["cat", &path, "--range", "3145727-3145727"], &large[3_145_727..]),
        ];
        for (arguments, expected) in cases {
            let read = shoal.run(arguments).await.unwrap().succeeded().unwrap();
            assert!(read.stdout == expected, "{arguments:?} gave {} bytes", read.stdout.len());
        }
    });
}

#[test]
fn a_range_is_fetched_without_the_rest() {
    run(async {
        let cluster = cluster(2).await;
        let file = sample(cluster.folder(), "file", 64 * MIB, 5);
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        let shoal = cluster.node(1).shoal();
        let hash = published.hash.to_string();
        let read = shoal.run(["cat", &hash, "--range", "33000000-33999999"]).await.unwrap().succeeded().unwrap();
        assert!(read.stdout == fs::read(&file).unwrap()[33_000_000..34_000_000]);
        // The range, a chunk at each end, and what was asked ahead: far from all of it.
        let taken = shoal.status().await.unwrap().received_bytes;
        assert!(taken < 24 * MIB, "{taken} bytes were fetched for 1,000,000");
    });
}

#[test]
fn listings_say_what_is_held_and_who_is_there() {
    run(async {
        let cluster = cluster(2).await;
        let file = sample(cluster.folder(), "some name", MIB, 6);
        let shoal = cluster.node(0).shoal();
        let published = shoal.publish(&file).await.unwrap();
        let list = shoal.list().await.unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].hash, list[0].state), (published.hash, ContentState::Complete));
        assert_eq!((list[0].name.as_deref(), list[0].held_bytes), (Some("some name"), MIB));
        let identity = shoal.id().await.unwrap();
        assert_eq!(identity.peer_id, cluster.node(0).peer_id());
        assert!(identity.addresses.iter().all(|address| address.ends_with(&identity.peer_id)));
        let peers = shoal.peers().await.unwrap();
        assert!(peers.iter().any(|peer| peer.peer == cluster.node(1).peer_id()));
        let status = shoal.status().await.unwrap();
        assert_eq!((status.contents, status.payload_bytes), (1, MIB));
        assert_eq!(status.problems, Vec::<String>::new());
    });
}

#[test]
fn a_node_is_the_same_after_a_restart_and_still_serves() {
    run(async {
        let mut cluster = cluster(2).await;
        let file = sample(cluster.folder(), "file", 2 * MIB, 7);
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        let before = cluster.node(0).peer_id().to_owned();
        cluster.stop(0).await.unwrap();
        cluster.restart(0).await.unwrap();
        assert_eq!(cluster.node(0).peer_id(), before);
        let link = format!("{}?peer={}", published.hash, cluster.node(0).addresses()[0]);
        let output = cluster.folder().join("out");
        let link = format!("shoal:{link}");
        fetch_and_compare(&cluster.node(1).shoal(), &link, &output, FetchOptions::default(), &file).await;
    });
}

#[test]
fn a_fetch_of_what_is_held_moves_nothing() {
    run(async {
        let folder = folder();
        let file = sample(folder.path(), "file", 9 * MIB, 8);
        let shoal = home(&folder, "home");
        let published = import(&shoal, &file).await;
        let output = folder.path().join("out");
        let hash = published.hash.to_string();
        let fetched = fetch_and_compare(&shoal, &hash, &output, FetchOptions::default(), &file).await;
        assert_eq!((fetched.fetched_bytes, fetched.reused_bytes), (0, 9 * MIB));
    });
}

#[test]
fn the_default_output_is_the_links_name_in_the_current_folder() {
    run(async {
        let folder = folder();
        let file = sample(folder.path(), "a name", 1000, 9);
        let shoal = home(&folder, "home");
        let published = import(&shoal, &file).await;
        let current = folder.path().join("current");
        fs::create_dir(&current).unwrap();
        let mut command = shoal.command(["fetch", &published.link]);
        let output = command.current_dir(&current).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        same(&file, &current.join("a name"));
        assert!(String::from_utf8(output.stdout).unwrap().trim_end().ends_with("a name"));
    });
}

#[test]
fn what_pipes_read_is_on_stdout_and_nothing_else() {
    run(async {
        let folder = folder();
        let file = sample(folder.path(), "file", 1000, 10);
        let shoal = home(&folder, "home");
        let printed =
            shoal.run([Path::new("publish"), Path::new("--no-serve"), &file]).await.unwrap().succeeded().unwrap();
        let stdout = String::from_utf8(printed.stdout).unwrap();
        assert_eq!(stdout.lines().count(), 1, "{stdout}");
        assert!(stdout.starts_with("shoal:"), "{stdout}");
    });
}
