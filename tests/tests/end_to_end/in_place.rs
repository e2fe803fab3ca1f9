//! Content that stays in the user's files: published and fetched without a second copy, and noticed when it changes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use shoal_node::api::{Fetched, Published};
use shoal_testnet::cluster::Cluster;
use shoal_testnet::command::{FetchOptions, Shoal, fetch_arguments};
use shoal_testnet::content;
use shoal_testnet::resources::disk_bytes;

use crate::support::{MIB, cluster, fetch_and_compare, folder, held_so_far, home, import, refused, run, same, sample};

async fn publish_in_place(shoal: &Shoal, path: &Path) -> Published {
    shoal.json(["publish", "--in-place", "--no-serve", path.to_str().unwrap()]).await.unwrap_or_else(|e| panic!("{e}"))
}

fn in_place() -> FetchOptions {
    FetchOptions { in_place: true, ..FetchOptions::default() }
}

fn hidden(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".shoal-")).collect()
}

#[test]
fn publishing_in_place_gives_the_same_hash_and_takes_next_to_no_disk() {
    run(async {
        let folder = folder();
        let file = sample(folder.path(), "file", 128 * MIB, 1);
        let (copying, keeping) = (home(&folder, "copying"), home(&folder, "keeping"));
        let copied = import(&copying, &file).await;
        let empty = home(&folder, "empty");
        import(&empty, &sample(folder.path(), "little", 1, 1)).await;
        let kept = publish_in_place(&keeping, &file).await;
        assert_eq!((kept.hash, kept.new_bytes), (copied.hash, copied.bytes));
        let taken = disk_bytes(keeping.home()).unwrap() - disk_bytes(empty.home()).unwrap();
        assert!(taken * 200 < 128 * MIB, "{taken} bytes for 128 MiB");
        assert_eq!(publish_in_place(&keeping, &file).await.new_bytes, 0);
        let read = keeping.run(["cat", &kept.hash.to_string()]).await.unwrap().succeeded().unwrap();
        assert!(read.stdout == fs::read(&file).unwrap());
    });
}

#[test]
fn a_folder_in_place_keeps_the_large_files_and_copies_the_small() {
    run(async {
        let cluster = cluster(2).await;
        let source = cluster.folder().join("source");
        fs::create_dir(&source).unwrap();
        content::write_folder(&source, 2).unwrap();
        sample(&source, "second large one", 5 * MIB, 3);
        let publisher = cluster.node(0).shoal();
        let published: Published = publisher.json(["publish", "--in-place", source.to_str().unwrap()]).await.unwrap();
        let output = cluster.folder().join("out");
        let fetcher = cluster.node(1).shoal();
        fetch_and_compare(&fetcher, &published.hash.to_string(), &output, in_place(), &source).await;
        assert_eq!(hidden(cluster.folder()), Vec::<String>::new());
        let disk = disk_bytes(fetcher.home()).unwrap();
        assert!(disk < 4 * MIB, "{disk} bytes: large files were stored twice");
        // And it is served on, out of the output.
        let third = cluster.without_daemon("third");
        let link = format!("shoal:{}?peer={}", published.hash, cluster.node(1).addresses()[0]);
        fetch_and_compare(&third, &link, &cluster.folder().join("again"), FetchOptions::default(), &source).await;
    });
}

#[test]
fn a_changed_or_removed_file_is_named_not_served_and_healed_by_a_fetch() {
    run(async {
        let cluster = cluster(2).await;
        let file = sample(cluster.folder(), "file", 8 * MIB, 4);
        let original = cluster.folder().join("original");
        fs::copy(&file, &original).unwrap();
        let (one, two) = (cluster.node(0).shoal(), cluster.node(1).shoal());
        let published: Published = one.json(["publish", "--in-place", file.to_str().unwrap()]).await.unwrap();
        let hash = published.hash.to_string();
        fetch_and_compare(&two, &hash, &cluster.folder().join("copy"), FetchOptions::default(), &original).await;
        for (at, harm) in ["changed", "cut", "removed"].into_iter().enumerate() {
            match harm {
                "changed" => overwrite(&file, 5 * MIB, b"something else"),
                "cut" => fs::File::options().write(true).open(&file).unwrap().set_len(3 * MIB).unwrap(),
                _ => fs::remove_file(&file).unwrap(),
            }
            if harm == "cut" {
                // Reading heals it, too.
                let read = one.run(["cat", &hash]).await.unwrap().succeeded().unwrap();
                assert!(read.stdout == fs::read(&original).unwrap());
            } else {
                let output = cluster.folder().join(format!("healed {at}"));
                let fetched = fetch_and_compare(&one, &hash, &output, FetchOptions::default(), &original).await;
                assert!(fetched.fetched_bytes > 0, "{harm}: nothing was fetched");
            }
            // The store has its own copy of what was missing now; begin again with a file that is whole.
            let again = one.run(["cat", &hash]).await.unwrap().succeeded().unwrap();
            assert!(again.stdout == fs::read(&original).unwrap());
        }
    });
}

#[test]
fn a_changed_file_that_nobody_else_has_is_named_and_not_shown() {
    run(async {
        let folder = folder();
        let file = sample(folder.path(), "file", 8 * MIB, 6);
        let shoal = home(&folder, "home");
        let hash = publish_in_place(&shoal, &file).await.hash.to_string();
        overwrite(&file, 5 * MIB, b"something else");
        let read = shoal.run(["cat", "--timeout", "300ms", &hash]).await.unwrap();
        refused(&read, 4, &["damaged", file.to_str().unwrap(), "written to since"]);
        assert!(read.stdout.len() < 8 << 20);
    });
}

fn overwrite(file: &Path, offset: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    fs::File::options().write(true).open(file).unwrap().write_all_at(bytes, offset).unwrap();
}

#[test]
fn the_next_version_fetched_over_the_one_in_place_is_held_whole() {
    run(async {
        let mut cluster = cluster(2).await;
        let old = sample(cluster.folder(), "old", 24 * MIB, 7);
        let new = cluster.folder().join("new");
        let mut bytes = b"what all else is moved by".to_vec();
        bytes.extend(fs::read(&old).unwrap());
        fs::write(&new, bytes).unwrap();
        let first = cluster.node(0).shoal().publish(&old).await.unwrap();
        let second = cluster.node(0).shoal().publish(&new).await.unwrap();
        let fetcher = cluster.node(1).shoal();
        let output = cluster.folder().join("out");
        fetch_and_compare(&fetcher, &first.hash.to_string(), &output, in_place(), &old).await;
        let over = FetchOptions { force: true, ..in_place() };
        let fetched = fetch_and_compare(&fetcher, &second.hash.to_string(), &output, over, &new).await;
        assert!(fetched.fetched_bytes < MIB, "{} bytes", fetched.fetched_bytes);
        cluster.kill(0).await.unwrap();
        let read = fetcher.run(["cat", &second.hash.to_string()]).await.unwrap().succeeded().unwrap();
        assert!(read.stdout == fs::read(&new).unwrap());
    });
}

/// A copy of `from` behind some other bytes, so that all that both have lies elsewhere in it.
fn behind_a_preface(from: &Path, to: &Path) {
    let mut bytes = vec![9; 70_000];
    bytes.extend(fs::read(from).unwrap());
    fs::write(to, bytes).unwrap();
}

#[test]
fn what_replaces_a_file_in_place_and_is_not_in_place_itself_is_held_whole() {
    run(async {
        let mut cluster = cluster(2).await;
        let old = sample(cluster.folder(), "old", 12 * MIB, 8);
        let new = cluster.folder().join("new");
        behind_a_preface(&old, &new);
        let source = cluster.node(0).shoal();
        let (first, second) = (source.publish(&old).await.unwrap(), source.publish(&new).await.unwrap());
        let fetcher = cluster.node(1).shoal();
        let output = cluster.folder().join("out");
        let over = || FetchOptions { force: true, ..FetchOptions::default() };
        // The same content once more, and the next version.
        for (content, original) in [(&first, &old), (&second, &new)] {
            fetch_and_compare(
                &fetcher,
                &first.hash.to_string(),
                &output,
                FetchOptions { force: true, ..in_place() },
                &old,
            )
            .await;
            let fetched = fetch_and_compare(&fetcher, &content.hash.to_string(), &output, over(), original).await;
            assert!(fetched.fetched_bytes < MIB, "{} bytes", fetched.fetched_bytes);
        }
        cluster.kill(0).await.unwrap();
        fs::remove_file(&output).unwrap();
        for (content, original) in [(&first, &old), (&second, &new)] {
            let read = fetcher.run(["cat", &content.hash.to_string()]).await.unwrap().succeeded().unwrap();
            assert!(read.stdout == fs::read(original).unwrap());
        }
    });
}

#[test]
fn a_folder_in_place_is_replaced_by_one_in_which_files_have_other_names_or_are_small() {
    run(async {
        let mut cluster = cluster(2).await;
        let (old, new) = (cluster.folder().join("old"), cluster.folder().join("new"));
        [&old, &new].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
        let named = sample(&old, "has another name", 5 * MIB, 9);
        behind_a_preface(&named, &new.join("than before"));
        // Below 1 MiB what is left of it is copied.
        let cut = sample(&old, "is cut", MIB + 1, 10);
        fs::write(new.join("a"), &fs::read(&cut).unwrap()[..800_000]).unwrap();
        let source = cluster.node(0).shoal();
        let (first, second) = (source.publish(&old).await.unwrap(), source.publish(&new).await.unwrap());
        let fetcher = cluster.node(1).shoal();
        let output = cluster.folder().join("out");
        fetch_and_compare(&fetcher, &first.hash.to_string(), &output, in_place(), &old).await;
        let over = FetchOptions { force: true, ..in_place() };
        let fetched = fetch_and_compare(&fetcher, &second.hash.to_string(), &output, over, &new).await;
        assert!(fetched.fetched_bytes < MIB / 2, "{} bytes", fetched.fetched_bytes);
        cluster.kill(0).await.unwrap();
        let copy = cluster.folder().join("copy");
        fetch_and_compare(&fetcher, &second.hash.to_string(), &copy, FetchOptions::default(), &new).await;
    });
}

/// Publishes a file at one node and fetches it in place with the other, which is killed when it holds a quarter; gives
/// what is published, and where the output is that is not whole.
async fn killed_at_a_quarter(cluster: &mut Cluster, file: &Path, output: &Path) -> (Published, PathBuf) {
    let published = cluster.node(0).shoal().publish(file).await.unwrap();
    let options = FetchOptions { limit_down: Some(16 * MIB), ..in_place() };
    let arguments = fetch_arguments(&published.hash.to_string(), output, &options);
    let shoal = cluster.node(1).shoal();
    let mut child = shoal.start(arguments).unwrap();
    held_so_far(&shoal, &published, published.bytes / 4).await;
    cluster.kill(1).await.unwrap();
    let _ = child.wait().await;
    let parts = hidden(cluster.folder());
    assert_eq!(parts.len(), 1, "{parts:?}");
    (published, cluster.folder().join(&parts[0]))
}

/// Starts the killed node and fetches the rest.
async fn fetch_the_rest(cluster: &mut Cluster, published: &Published, output: &Path, file: &Path) -> Fetched {
    cluster.restart(1).await.unwrap();
    let link = format!("shoal:{}?peer={}", published.hash, cluster.node(0).addresses()[0]);
    fetch_and_compare(&cluster.node(1).shoal(), &link, output, in_place(), file).await
}

#[test]
fn a_fetch_in_place_that_was_killed_goes_on_in_its_output() {
    run(async {
        let mut cluster = cluster(2).await;
        let file = sample(cluster.folder(), "file", 96 * MIB, 5);
        let output = cluster.folder().join("out");
        let (published, part) = killed_at_a_quarter(&mut cluster, &file, &output).await;
        let before = fs::metadata(part).unwrap().ino();
        let fetched = fetch_the_rest(&mut cluster, &published, &output, &file).await;
        assert!(fetched.reused_bytes >= 24 * MIB, "{fetched:?}");
        assert_eq!(fs::metadata(&output).unwrap().ino(), before, "it was begun anew");
        assert_eq!(hidden(cluster.folder()), Vec::<String>::new());
        still_there(&cluster, &published, &file).await;
    });
}

#[test]
fn what_a_killed_fetch_wrote_and_did_not_record_is_not_fetched_again() {
    run(async {
        let mut cluster = cluster(2).await;
        let file = sample(cluster.folder(), "file", 64 * MIB, 11);
        let output = cluster.folder().join("out");
        let (published, part) = killed_at_a_quarter(&mut cluster, &file, &output).await;
        // As if it had been killed much later, before anything more was durable; some of it is wrong.
        let whole = fs::read(&file).unwrap();
        let middle = whole.len() / 2;
        overwrite(&part, middle as u64, &whole[middle..]);
        overwrite(&part, 50 * MIB, b"something else");
        let fetched = fetch_the_rest(&mut cluster, &published, &output, &file).await;
        // Of the first half what it did not hold; without what it finds there, of the second half, too.
        assert!((1..33 * MIB).contains(&fetched.fetched_bytes), "{fetched:?}");
        still_there(&cluster, &published, &file).await;
    });
}

async fn still_there(cluster: &Cluster, published: &Published, file: &Path) {
    let shoal = cluster.node(1).shoal();
    let disk = disk_bytes(shoal.home()).unwrap();
    assert!(disk < 4 * MIB, "{disk} bytes: it was stored twice");
    let read = shoal.run(["cat", &published.hash.to_string()]).await.unwrap().succeeded().unwrap();
    assert!(read.stdout == fs::read(file).unwrap());
}

#[test]
fn replacing_an_output_in_place() {
    run(async {
        let cluster = cluster(2).await;
        let file = sample(cluster.folder(), "file", 4 * MIB, 6);
        let published = cluster.node(0).shoal().publish(&file).await.unwrap();
        let output = sample(cluster.folder(), "out", 100, 7);
        let options = FetchOptions { force: true, ..in_place() };
        let shoal = cluster.node(1).shoal();
        fetch_and_compare(&shoal, &published.hash.to_string(), &output, options, &file).await;
        still_there(&cluster, &published, &file).await;
        // Once more, to another place: the store counts on the first one still.
        let second = cluster.folder().join("second");
        shoal.fetch(&published.hash.to_string(), &second, &in_place()).await.unwrap();
        same(&file, &second);
        fs::remove_file(&second).unwrap();
        still_there(&cluster, &published, &file).await;
    });
}
