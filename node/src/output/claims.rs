//! Which targets have an output under way. One that is written anew counts on what lies in files that stay, as do all
//! others: so none may be at work where another replaces something, nor beneath.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::OutputError;
use crate::real_path::real_path;

/// The targets of all outputs that a node has under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims(Arc<watch::Sender<Vec<PathBuf>>>);

impl Claims {
    /// Ready when no output is under way: each has its name, or what was left of it is gone.
    pub(crate) async fn given_up(&self) {
        // Cannot fail: the sender is here.
        let _ = self.0.subscribe().wait_for(Vec::is_empty).await;
    }

    /// Claims a target, unless another output is under way there, above it or beneath.
    pub(super) fn claim(&self, target: &Path) -> Result<Claim, OutputError> {
        let real = real_path(target);
        let is_free = self.0.send_if_modified(|targets| {
            let is_free = !targets.iter().any(|other| other.starts_with(&real) || real.starts_with(other));
            targets.extend(is_free.then(|| real.clone()));
            is_free
        });
        match is_free {
            true => Ok(Claim { claims: self.clone(), real }),
            false => Err(OutputError::Busy { path: target.to_owned() }),
        }
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
        self.claims.0.send_modify(|targets| targets.retain(|target| *target != self.real));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
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
        assert!(claims.given_up().now_or_never().is_some());
        let first = create(&target, b"a", Leftovers::Remove).unwrap();
        assert!(claims.given_up().now_or_never().is_none(), "one is under way");
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
        assert!(claims.given_up().now_or_never().is_some());
    }
}
