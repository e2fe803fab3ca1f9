//! Tables that were found damaged, and mended or given up then: told in the log at once, and by the check that is under
//! way or comes next to whoever asks for one.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::error::StoreError;
use super::verify::{Damage, of_table};

/// The tables, as whoever is told of them knows them.
pub(super) const INDEX: &str = "the index";
pub(super) const CATALOG: &str = "the catalog";
pub(super) const IN_PLACE: &str = "the table of files in place";

/// What has been found so, and nobody has been told of yet. Each thing once: no more than there are tables and records.
#[derive(Debug, Default)]
pub(super) struct Findings(Mutex<Vec<Damage>>);

impl Findings {
    /// What is wrong with the table in `file`, and whether it is mended.
    pub(super) fn note(&self, what: &str, file: &Path, error: &StoreError, mended: bool) {
        tracing::error!(%error, mended, "{what} was damaged");
        let damage = of_table(what, error, file, mended);
        let is_same = |other: &Damage| (&other.what, &other.detail) == (&damage.what, &damage.detail);
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !found.iter().any(is_same) {
            found.push(damage);
        }
    }

    /// Whether records are lost, and nobody has been told.
    pub(super) fn lack_records(&self) -> bool {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.iter().any(|damage| damage.what == CATALOG && !damage.mended)
    }

    /// What has been found since this was asked last.
    pub(super) fn take(&self) -> Vec<Damage> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
