//! A report as files in a folder.

use std::io;
use std::path::{Path, PathBuf};

use super::Report;

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A file or the folder could not be written.
    #[error("cannot write {path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A number that JSON cannot have.
    #[error("cannot write the report as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Makes the folder of a report, if it is missing, and sees whether files can be made in it; none is left.
///
/// # Errors
/// When it cannot be made or written.
pub fn make_folder(folder: &Path) -> Result<(), ReportError> {
    let made = std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
    made.map(drop).map_err(|source| ReportError::File { path: folder.to_owned(), source })
}

impl Report {
    /// Writes `report.json`, `report.txt` and the pictures into a folder, which is made if it is missing; files of
    /// an earlier report are replaced. Says what was written.
    ///
    /// # Errors
    /// When a file cannot be written; those before it stay.
    pub fn write_to(&self, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ReportError::File { path, source }
        };
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        let mut files = vec![("report.json".to_owned(), json), ("report.txt".to_owned(), self.text())];
        files.extend(self.pictures().into_iter().map(|picture| (format!("{}.svg", picture.name), picture.svg)));
        let mut written = Vec::new();
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(failed(&path))?;
            written.push(path);
        }
        Ok(written)
    }
}
