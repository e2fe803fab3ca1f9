//! Hashes that must never change: whatever is made of these contents today is what people have published.

use std::fs;

use shoal_testnet::content;
use shoal_tests::hostile::Served;

use crate::support::{folder, home, import, run, sample};

/// Made by [`content::write_file`] with 5,000,000 bytes of seed 1.
const FILE: &str = "monvywdlfls5skelknav5gelgq2qkgewzps3r5pumq2w4weoaexqigab";
/// Made by [`content::write_folder`] with seed 1.
const FOLDER: &str = "wndicpgvs4h7pnmzaofenabopfpjbdzhukkuho3yqdgllmoe6lj7znab";

#[test]
fn what_the_format_makes_of_them() {
    let folder = folder();
    let file = sample(folder.path(), "file", 5_000_000, 1);
    assert_eq!(Served::file(&fs::read(file).unwrap()).unwrap().hash.to_string(), FILE);
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    content::write_folder(&source, 1).unwrap();
    assert_eq!(Served::folder(&source).unwrap().hash.to_string(), FOLDER);
}

#[test]
fn what_publish_makes_of_them() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "home");
        let file = sample(folder.path(), "file", 5_000_000, 1);
        assert_eq!(import(&shoal, &file).await.hash.to_string(), FILE);
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        content::write_folder(&source, 1).unwrap();
        assert_eq!(import(&shoal, &source).await.hash.to_string(), FOLDER);
    });
}
