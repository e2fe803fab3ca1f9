//! Manifests that no builder makes: written byte by byte, after docs/format.md.

use shoal_protocol::manifest::{BuildError, ContentKind, Root};

use super::Served;

const KIND_FILE: u8 = 0;
const KIND_SYMLINK: u8 = 3;

/// A row of an entry leaf: a file of so many bytes, or with `target` a symbolic link.
pub fn entry_row(shared: u16, rest_of_path: &str, bytes: u64, target: Option<&str>) -> Vec<u8> {
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    let mut row = shared.to_le_bytes().to_vec();
    text(&mut row, rest_of_path);
    match target {
        None => {
            row.push(KIND_FILE);
            row.extend_from_slice(&bytes.to_le_bytes());
        }
        Some(target) => {
            row.push(KIND_SYMLINK);
            text(&mut row, target);
        }
    }
    row
}

/// A folder whose one leaf has these rows and whose files hold these bytes.
///
/// # Errors
/// None for what fits in memory.
pub fn forge_folder(rows: &[Vec<u8>], bytes: &[u8]) -> Result<Served, BuildError> {
    let mut served = Served::file(bytes)?;
    let mut leaf = vec![b'E', 0];
    leaf.extend_from_slice(&u16::try_from(rows.len()).unwrap_or(u16::MAX).to_le_bytes());
    rows.iter().for_each(|row| leaf.extend_from_slice(row));
    let entry_root = Some(served.add_node(leaf));
    let root = Root {
        kind: ContentKind::Folder,
        entries: rows.len() as u64,
        small_bytes: bytes.len() as u64,
        entry_root,
        ..served.root.clone()
    };
    Ok(served.with_root(root.encode()))
}

/// A file whose root claims other totals than its chunks have.
///
/// # Errors
/// None for what fits in memory.
pub fn forge_totals(bytes: &[u8], claimed_bytes: u64, claimed_chunks: u64) -> Result<Served, BuildError> {
    let served = Served::file(bytes)?;
    let root = Root { bytes: claimed_bytes, chunks: claimed_chunks, ..served.root.clone() };
    Ok(served.with_root(root.encode()))
}

/// A file whose root is of another version of the format.
///
/// # Errors
/// None for what fits in memory.
pub fn forge_version(bytes: &[u8], version: u8) -> Result<Served, BuildError> {
    let served = Served::file(bytes)?;
    let mut encoding = served.root.encode();
    // After the five letters of the name.
    if let Some(byte) = encoding.get_mut(5) {
        *byte = version;
    }
    Ok(served.with_root(encoding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_protocol::manifest::Root;

    #[test]
    fn an_honest_file_is_what_a_node_makes_of_it() {
        let served = Served::file(&[7; 3_000_000]).unwrap();
        assert_eq!(served.chunks.iter().map(bytes::Bytes::len).sum::<usize>(), 3_000_000);
        assert_eq!(served.root.content_hash(), served.hash);
    }

    /// A forged root is as its author says, and under its own hash.
    fn check(served: &Served) -> Result<Root, shoal_protocol::manifest::ManifestError> {
        let encoding = served.nodes.get(&served.hash.root()).unwrap();
        Root::decode(&served.hash, encoding)
    }

    #[test]
    fn forged_folders_have_proper_roots_and_forged_versions_do_not() {
        let row = entry_row(0, "../up", 3, None);
        assert_eq!(check(&forge_folder(&[row], b"abc").unwrap()).unwrap().entries, 1);
        assert!(check(&forge_version(b"abc", 9).unwrap()).is_err());
    }
}
