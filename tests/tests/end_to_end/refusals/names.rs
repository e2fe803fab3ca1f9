//! Hashes, links, paths and ranges that are none.

use crate::support::{folder, home, import, nothing_at, refused, run, sample, still_readable};

/// Fetches what `change` makes of a good hash; it must be refused at once as wrong usage.
fn check(words: &'static [&'static str], change: impl Fn(&str) -> String) {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let file = sample(folder.path(), "file", 10_000, 1);
        let published = import(&shoal, &file).await;
        let what = change(&published.hash.to_string());
        let output = folder.path().join("out");
        let finished = shoal.run(["fetch", &what, "-o", output.to_str().unwrap()]).await.unwrap();
        refused(&finished, 2, words);
        nothing_at(&output);
        for command in ["cat", "ls"] {
            refused(&shoal.run([command, &what]).await.unwrap(), 2, words);
        }
        still_readable(&shoal, &published, &file).await;
    });
}

#[test]
fn a_hash_that_was_cut() {
    check(&["56 characters"], |hash| hash[..50].to_owned());
}

#[test]
fn a_hash_with_a_typo() {
    check(&["checksum"], |hash| {
        let with = if hash.starts_with('a') { "b" } else { "a" };
        format!("{with}{}", &hash[1..])
    });
}

#[test]
fn a_hash_with_a_character_that_it_cannot_have() {
    check(&["position 3"], |hash| format!("{}8{}", &hash[..2], &hash[3..]));
}

#[test]
fn something_else_altogether() {
    check(&["hash"], |_| "https://example.org/file".to_owned());
}

#[test]
fn nothing() {
    check(&["hash"], |_| String::new());
}

#[test]
fn a_link_whose_hash_was_cut() {
    check(&["56 characters"], |hash| format!("shoal:{}?name=x", &hash[..20]));
}

/// Only `fetch` takes links with hints.
#[test]
fn a_link_with_a_malformed_hint() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let file = sample(folder.path(), "file", 10_000, 2);
        let hash = import(&shoal, &file).await.hash;
        let output = folder.path().join("out");
        let long = format!("name={}", "x".repeat(256));
        for (hint, word) in [("name=%ff", "utf-8"), ("base=abc", "base"), (&long, "255")] {
            let link = format!("shoal:{hash}?{hint}");
            let finished = shoal.run(["fetch", &link, "-o", output.to_str().unwrap()]).await.unwrap();
            refused(&finished, 2, &["link", word]);
            nothing_at(&output);
        }
    });
}

#[test]
fn a_range_beyond_the_end() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let file = sample(folder.path(), "file", 10_000, 3);
        let hash = import(&shoal, &file).await.hash.to_string();
        for range in ["10000-10000", "9000-10000", "20000-30000"] {
            let finished = shoal.run(["cat", &hash, "--range", range]).await.unwrap();
            refused(&finished, 2, &["10000", "range"]);
            assert!(finished.stdout.is_empty());
        }
        for range in ["7-3", "a-b", "5"] {
            assert_eq!(shoal.run(["cat", &hash, "--range", range]).await.unwrap().code, Some(2), "{range}");
        }
    });
}

#[test]
fn a_path_that_the_content_does_not_have() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let source = folder.path().join("source");
        std::fs::create_dir_all(source.join("sub")).unwrap();
        sample(&source, "sub/file", 100, 4);
        let hash = import(&shoal, &source).await.hash.to_string();
        for path in ["none", "sub/none", "../file", "sub/file/below"] {
            let finished = shoal.run(["cat", &format!("{hash}/{path}")]).await.unwrap();
            refused(&finished, finished.code.filter(|code| *code != 0).unwrap_or(1), &[path]);
        }
        let finished = shoal.run(["cat", &format!("{hash}/sub")]).await.unwrap();
        refused(&finished, finished.code.filter(|code| *code != 0).unwrap_or(1), &["sub", "folder"]);
    });
}

#[test]
fn wrong_usage_is_told_from_failure() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        for arguments in [&["no-such-command"][..], &["fetch"], &["publish"], &["id", "--no-such-flag"]] {
            assert_eq!(shoal.run(arguments).await.unwrap().code, Some(2), "{arguments:?}");
        }
    });
}
