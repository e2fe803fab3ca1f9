//! What is in a file or folder, down to the bytes, to compare what was published with what arrived.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// One thing in a folder. Times and owners do not count, as they are no part of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A file.
    File {
        /// Its length.
        bytes: u64,
        /// The BLAKE3 hash of its bytes.
        hash: blake3::Hash,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A folder with nothing in it.
    EmptyFolder,
    /// A symbolic link and its text.
    Symlink(PathBuf),
    /// Anything else.
    Special,
}

/// Everything under a path, by the path from there; a single file is one item without a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, Item>);

impl Tree {
    /// Reads all of it. The executable bit of a single file does not count: its manifest has none.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut items = BTreeMap::new();
        if fs::symlink_metadata(root)?.is_dir() {
            read_folder(root, Path::new(""), &mut items)?;
        } else {
            let mut item = read_item(root)?;
            if let Item::File { executable, .. } = &mut item {
                *executable = false;
            }
            items.insert(PathBuf::new(), item);
        }
        Ok(Self(items))
    }

    /// The bytes of all files under a path, by their lengths alone; nothing is read.
    pub fn sizes(root: &Path) -> io::Result<u64> {
        let about = fs::symlink_metadata(root)?;
        if !about.is_dir() {
            return Ok(if about.is_file() { about.len() } else { 0 });
        }
        fs::read_dir(root)?.try_fold(0_u64, |sum, entry| Ok(sum.saturating_add(Self::sizes(&entry?.path())?)))
    }

    /// The items by path.
    pub fn items(&self) -> &BTreeMap<PathBuf, Item> {
        &self.0
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.0.values().map(|item| if let Item::File { bytes, .. } = item { *bytes } else { 0 }).sum()
    }

    /// What is missing, additional or different in `other`, a line each; empty when both are alike.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, item) in &self.0 {
            match other.0.get(path) {
                None => lines.push(format!("{} is missing", Named(path))),
                Some(found) if found != item => lines.push(format!("{}: {item:?} became {found:?}", Named(path))),
                Some(_) => {}
            }
        }
        let additional = other.0.keys().filter(|path| !self.0.contains_key(*path));
        lines.extend(additional.map(|path| format!("{} is additional", Named(path))));
        lines
    }
}

struct Named<'a>(&'a Path);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.as_os_str().is_empty() { f.write_str("the file") } else { self.0.display().fmt(f) }
    }
}

fn read_folder(root: &Path, within: &Path, items: &mut BTreeMap<PathBuf, Item>) -> io::Result<()> {
    let mut empty = true;
    for entry in fs::read_dir(root.join(within))? {
        let entry = entry?;
        empty = false;
        let path = within.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            read_folder(root, &path, items)?;
        } else {
            items.insert(path, read_item(&entry.path())?);
        }
    }
    if empty && !within.as_os_str().is_empty() {
        items.insert(within.to_owned(), Item::EmptyFolder);
    }
    Ok(())
}

fn read_item(path: &Path) -> io::Result<Item> {
    let about = fs::symlink_metadata(path)?;
    Ok(if about.is_symlink() {
        Item::Symlink(fs::read_link(path)?)
    } else if about.is_file() {
        let mut hasher = blake3::Hasher::new();
        let bytes = io::copy(&mut File::open(path)?, &mut hasher)?;
        Item::File { bytes, hash: hasher.finalize(), executable: about.permissions().mode() & 0o100 != 0 }
    } else {
        Item::Special
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comparing a sample folder with a changed copy of it says.
    fn check(change: impl Fn(&Path), expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        for root in [&a, &b] {
            fs::create_dir_all(root.join("sub/empty")).unwrap();
            fs::write(root.join("sub/file"), "words").unwrap();
        }
        change(&b);
        let found = Tree::read(&a).unwrap().differences(&Tree::read(&b).unwrap());
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found} lacks {expected}");
        }
    }

    #[test]
    fn sizes_are_those_of_the_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/file"), "words").unwrap();
        fs::write(folder.path().join("file"), "more").unwrap();
        std::os::unix::fs::symlink("file", folder.path().join("link")).unwrap();
        assert_eq!(Tree::sizes(folder.path()).unwrap(), 9);
        assert_eq!(Tree::sizes(&folder.path().join("file")).unwrap(), 4);
        assert_eq!(Tree::sizes(folder.path()).unwrap(), Tree::read(folder.path()).unwrap().bytes());
    }

    #[test]
    fn alike() {
        check(|_| {}, &[]);
    }

    #[test]
    fn other_bytes() {
        check(|b| fs::write(b.join("sub/file"), "wordz").unwrap(), &["sub/file: File"]);
    }

    #[test]
    fn a_mode_that_changed() {
        let make_executable = |b: &Path| fs::set_permissions(b.join("sub/file"), fs::Permissions::from_mode(0o755));
        check(|b| make_executable(b).unwrap(), &["sub/file: File"]);
    }

    #[test]
    fn missing_and_additional() {
        check(
            |b| fs::rename(b.join("sub/file"), b.join("sub/new")).unwrap(),
            &["sub/file is missing", "sub/new is additional"],
        );
        check(|b| fs::remove_dir(b.join("sub/empty")).unwrap(), &["sub/empty is missing"]);
    }
}
