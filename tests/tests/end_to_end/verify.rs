//! `shoal verify`: finds damage, names it, and has it fetched anew.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use shoal_node::api::{ContentState, Verified};
use shoal_protocol::chunker::Profile;
use shoal_protocol::hash::ChunkId;
use shoal_testnet::command::FetchOptions;
use shoal_testnet::content;

use crate::support::{MIB, cluster, fetch_and_compare, folder, home, import, refused, run, sample, still_readable};

/// Turns a bit of payload in a segment of a home; says the segment's name.
fn harm(home: &Path, sample: &[u8]) -> String {
    // Some place of the sample that no end of a row cuts in two.
    let find = |content: &[u8]| {
        let at = |sample: &[u8]| content.windows(64).position(|window| window == sample);
        sample.chunks_exact(64).take(64).find_map(at)
    };
    let mut segments = fs::read_dir(home.join("segments")).unwrap().map(|entry| entry.unwrap().path());
    let found = segments.find_map(|path| {
        let content = fs::read(&path).unwrap();
        find(&content).map(|at| (path, content, at))
    });
    let (segment, content, at) = found.expect("the sample is in no segment");
    fs::set_permissions(&segment, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::File::options().write(true).open(&segment).unwrap();
    file.write_all_at(&[content[at] ^ 4], at as u64).unwrap();
    segment.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn damage_in_a_segment_is_named_and_fetched_anew() {
    run(async {
        let mut cluster = cluster(2).await;
        let file = sample(cluster.folder(), "file", 6 * MIB, 1);
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        let hash = published.hash.to_string();
        let shoal = cluster.node(1).shoal();
        fetch_and_compare(&shoal, &hash, &cluster.folder().join("out"), FetchOptions::default(), &file).await;
        let clean: Verified = shoal.json(["verify"]).await.unwrap();
        assert_eq!((clean.damaged, clean.repaired), (0, 0));
        assert!(clean.checked > published.chunks && clean.checked_bytes >= published.bytes, "{clean:?}");
        cluster.stop(1).await.unwrap();
        let segment = harm(shoal.home(), &fs::read(&file).unwrap()[3 << 20..]);
        cluster.restart(1).await.unwrap();
        let shoal = cluster.node(1).shoal();
        let found = shoal.run(["verify", &hash]).await.unwrap();
        refused(&found, 4, &["damaged", "--repair"]);
        assert!(String::from_utf8_lossy(&found.stdout).contains(&segment), "it does not say where");
        let peer = cluster.node(0).addresses()[0].clone();
        let mended: Verified = shoal.json(["verify", "--repair", "--peer", &peer]).await.unwrap();
        assert_eq!((mended.damaged, mended.repaired), (1, 1), "{mended:?}");
        assert_eq!(shoal.json::<Verified, _>(["verify"]).await.unwrap().damaged, 0);
        // Here, and not by the grace of whoever else has it.
        cluster.kill(0).await.unwrap();
        still_readable(&shoal, &published, &file).await;
    });
}

#[test]
fn a_file_in_place_that_changed_is_named_and_its_content_fetched_anew() {
    run(async {
        let cluster = cluster(2).await;
        let file = sample(cluster.folder(), "file", 4 * MIB, 2);
        let original = cluster.folder().join("original");
        fs::copy(&file, &original).unwrap();
        let (one, two) = (cluster.node(0).shoal(), cluster.node(1).shoal());
        let published: shoal_node::api::Published =
            one.json(["publish", "--in-place", file.to_str().unwrap()]).await.unwrap();
        let hash = published.hash.to_string();
        fetch_and_compare(&two, &hash, &cluster.folder().join("copy"), FetchOptions::default(), &original).await;
        fs::remove_file(&file).unwrap();
        let found = one.run(["verify"]).await.unwrap();
        refused(&found, 4, &["damaged"]);
        assert!(String::from_utf8_lossy(&found.stdout).contains(file.to_str().unwrap()));
        let mended: Verified = one.json(["verify", "--repair"]).await.unwrap();
        assert_eq!((mended.damaged, mended.repaired), (published.chunks, published.chunks), "{mended:?}");
        assert_eq!(one.json::<Verified, _>(["verify"]).await.unwrap().damaged, 0);
        still_readable(&one, &published, &original).await;
    });
}

#[test]
fn a_content_whose_file_has_come_back_counts_as_whole_again() {
    run(async {
        let folder = folder();
        let file = sample(folder.path(), "file", 2 * MIB, 8);
        let shoal = home(&folder, "home");
        let publish = ["publish", "--in-place", "--no-serve", file.to_str().unwrap()];
        shoal.json::<shoal_node::api::Published, _>(publish).await.unwrap();
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        refused(&shoal.run(["verify"]).await.unwrap(), 4, &["damaged"]);
        assert_eq!(shoal.list().await.unwrap()[0].state, ContentState::Partial);
        fs::write(&file, &bytes).unwrap();
        assert_eq!(shoal.json::<Verified, _>(["verify"]).await.unwrap().damaged, 0);
        assert_eq!(shoal.list().await.unwrap()[0].state, ContentState::Complete);
    });
}

#[test]
fn what_no_peer_has_stays_damaged_and_what_is_not_held_is_not_found() {
    run(async {
        let folder = folder();
        let (file, other) = (sample(folder.path(), "file", MIB, 3), sample(folder.path(), "other", 1000, 4));
        let shoal = home(&folder, "home");
        let published = import(&shoal, &file).await;
        harm(shoal.home(), &fs::read(&file).unwrap()[500_000..]);
        // However often it is tried.
        for _ in 0..2 {
            let ended = shoal.run(["verify", "--repair", "--timeout", "300ms"]).await.unwrap();
            assert_eq!(ended.code, Some(4), "{}", ended.stderr);
            assert!(ended.stderr.contains("no peer gave it anew"), "{}", ended.stderr);
        }
        let elsewhere = import(&home(&folder, "elsewhere"), &other).await.hash.to_string();
        refused(&shoal.run(["verify", &elsewhere]).await.unwrap(), 3, &["does not hold"]);
        // Publishing it again heals it.
        import(&shoal, &file).await;
        assert_eq!(shoal.json::<Verified, _>(["verify"]).await.unwrap().damaged, 0);
        still_readable(&shoal, &published, &file).await;
    });
}

#[test]
fn of_a_content_in_part_only_what_was_held_is_fetched_anew() {
    run(async {
        let mut cluster = cluster(2).await;
        let source = cluster.folder().join("source");
        fs::create_dir(&source).unwrap();
        // So many that the manifest has several nodes of each kind.
        content::write_small_files(&source.join("small"), 600, 10, 10).unwrap();
        let large = fs::read(sample(&source, "large", 40 * MIB, 11)).unwrap();
        let published = cluster.node(0).shoal().publish(&source).await.unwrap();
        let shoal = cluster.node(1).shoal();
        let (path, range) = (format!("{}/large", published.hash), "1000000-2999999");
        let read = shoal.run(["cat", &path, "--range", range]).await.unwrap().succeeded().unwrap();
        assert_eq!(read.stdout, large[1_000_000..3_000_000]);
        cluster.stop(1).await.unwrap();
        let before: Verified = shoal.json(["verify"]).await.unwrap();
        let listed = shoal.list().await.unwrap().remove(0);
        assert_eq!(listed.state, ContentState::Partial);
        harm(shoal.home(), &large[2_000_000..]);
        // The node of the chunk list that has this chunk: ids and lengths follow each other nowhere else.
        let rows = Profile::V1.cut(&large).skip(10).take(20);
        let rows = rows.map(|chunk| (ChunkId::of(chunk), (chunk.len() as u32).to_le_bytes()));
        harm(shoal.home(), &rows.flat_map(|(id, len)| [id.as_bytes().as_slice(), &len].concat()).collect::<Vec<_>>());
        let found: Verified = shoal.run(["verify", "--json"]).await.unwrap().json().unwrap();
        assert_eq!((found.damaged, found.repaired), (2, 0), "{found:?}");
        // While nobody has it, what is needed below the node is not forgotten.
        cluster.stop(0).await.unwrap();
        let alone = shoal.run(["verify", "--repair", "--timeout", "300ms", "--json"]).await.unwrap();
        let left: Verified = alone.json().unwrap();
        assert_eq!((alone.code, left.damaged, left.repaired), (Some(4), 2, 0), "{left:?}");
        cluster.restart(0).await.unwrap();
        cluster.restart(1).await.unwrap();
        let shoal = cluster.node(1).shoal();
        let peer = cluster.node(0).addresses()[0].clone();
        let mended: Verified = shoal.json(["verify", "--repair", "--peer", &peer]).await.unwrap();
        assert_eq!((mended.damaged, mended.repaired), (2, 2), "{mended:?}");
        let again = shoal.list().await.unwrap().remove(0);
        assert_eq!((again.state, again.held_bytes), (ContentState::Partial, listed.held_bytes));
        let after: Verified = shoal.json(["verify"]).await.unwrap();
        assert_eq!((after.damaged, after.checked, after.checked_bytes), (0, before.checked, before.checked_bytes));
    });
}

#[test]
fn what_was_whole_is_called_damaged_until_it_is_whole_again() {
    run(async {
        let mut cluster = cluster(2).await;
        let file = sample(cluster.folder(), "file", 3 * MIB, 12);
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        let (hash, shoal) = (published.hash.to_string(), cluster.node(1).shoal());
        fetch_and_compare(&shoal, &hash, &cluster.folder().join("out"), FetchOptions::default(), &file).await;
        cluster.stop(1).await.unwrap();
        // Nothing is left that says which chunks were held, but that all were.
        fs::remove_dir_all(shoal.home().join("segments")).unwrap();
        fs::remove_file(shoal.home().join("index.redb")).unwrap();
        for target in [&[][..], &[], &[hash.as_str()]] {
            refused(&shoal.run([&["verify"], target].concat()).await.unwrap(), 4, &["damaged", "--repair"]);
            assert_eq!(shoal.list().await.unwrap()[0].state, ContentState::Partial);
        }
        cluster.restart(1).await.unwrap();
        let shoal = cluster.node(1).shoal();
        let peer = cluster.node(0).addresses()[0].clone();
        let mended: Verified = shoal.json(["verify", "--repair", "--peer", &peer]).await.unwrap();
        assert_eq!((mended.damaged, mended.repaired), (1, 1), "{mended:?}");
        assert_eq!(shoal.list().await.unwrap()[0].state, ContentState::Complete);
        cluster.kill(0).await.unwrap();
        still_readable(&shoal, &published, &file).await;
    });
}
