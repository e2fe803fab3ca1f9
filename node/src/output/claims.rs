//! Which targets have an output under way. One that is written anew counts on what lies in files that stay, as do all
//! others: so none may be at work where another replaces something, nor beneath.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::OutputError;
use crate::real_path::real_path;

/// The targets of all outputs that a node has under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims(Arc<Mutex<Vec<PathBuf>>>);

impl Claims {
    // Held for a few instructions.
    fn targets(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a target, unless another output is under way there, above it or beneath.
    pub(super) fn claim(&self, target: &Path) -> Result<Claim, OutputError> {
        let real = real_path(target);
        let mut targets = self.targets();
        if targets.iter().any(|other| other.starts_with(&real) || real.starts_with(other)) {
            return Err(OutputError::Busy { path: target.to_owned() });
        }
        targets.push(real.clone());
        drop(targets);
        Ok(Claim { claims: self.clone(), real })
    }
}

/// A target that no other output may have as long as this lives.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Claims,
    real: PathBuf,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.targets().retain(|target| *target != self.real);
    }
}

#[cfg(test)]
mod tests {
    use shoal_protocol::hash::{ContentHash, NodeId};

    use super::super::{Leftovers, Output, Shape};
    use super::*;

    #[test]
    fn a_target_has_one_output_at_a_time_whatever_its_content_and_manner() {
        let folder = tempfile::tempdir().unwrap();
        let (claims, target) = (Claims::default(), folder.path().join("target"));
        let create = |path: &Path, what: &[u8], leftovers| {
            let hash = ContentHash::from_root(NodeId::of(what));
            Output::create(&claims, path, &hash, Shape::File { bytes: 3 }, true, leftovers)
        };
        let first = create(&target, b"a", Leftovers::Remove).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        for path in [&target, &link.join("target")] {
            for (what, leftovers) in [(b"a", Leftovers::Keep), (b"b", Leftovers::Remove)] {
                assert!(matches!(create(path, what, leftovers), Err(OutputError::Busy { .. })));
            }
        }
        let beside = create(&folder.path().join("target of another name"), b"b", Leftovers::Remove).unwrap();
        drop((first, beside));
        let mut second = create(&target, b"b", Leftovers::Remove).unwrap();
        second.write(0, b"abc").unwrap();
        second.finish().unwrap();
        std::fs::remove_file(&target).unwrap();
        std::fs::create_dir(&target).unwrap();
        let beneath = create(&target.join("file"), b"a", Leftovers::Remove).unwrap();
        assert!(matches!(create(&target, b"b", Leftovers::Remove), Err(OutputError::Busy { .. })));
        drop(beneath);
        drop(create(&target, b"b", Leftovers::Remove).unwrap());
    }
}
