//! `config.toml` in the home: known keys with values as text.

use std::path::{Path, PathBuf};

use shoal_node::api::FailureKind;
use toml::{Table, Value};

use crate::settings::{KEYS, config_failure};
use crate::stop::{Outcome, Stop};

/// Longest configuration file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// How like a known key an unknown one must be for the known one to be proposed.
const LIKENESS: f64 = 0.7;

/// A configuration file that holds known keys only; empty when there is none.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    table: Table,
}

impl ConfigFile {
    /// Reads the file if it is there.
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let text = match std::fs::metadata(path) {
            Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
                return Err(config_failure(FailureKind::Usage, path, "it is over 1 MiB: this is no configuration"));
            }
            Ok(_) => std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            // A home that is a file: whoever opens the home says it better.
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => String::new(),
            Err(error) => return Err(unreadable(path, &error)),
        };
        let table = text.parse::<Table>().map_err(|error| {
            let line = error.span().map(|span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
            let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            config_failure(FailureKind::Usage, path, &format!("{line}{}", error.message().replace('\n', ", ")))
        })?;
        match table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            Some(key) => Err(config_failure(FailureKind::Usage, path, &unknown(key))),
            None => Ok(Self { path: path.to_owned(), table }),
        }
    }

    /// The value of a key as text, a list as several.
    pub(crate) fn texts(&self, key: &str) -> Outcome<Option<Vec<String>>> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let scalar = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Integer(number) => Ok(number.to_string()),
            Value::Boolean(is) => Ok(is.to_string()),
            other => Err(self.wrong(key, &format!("it cannot be a {}", other.type_str()))),
        };
        match value {
            Value::Array(values) => values.iter().map(scalar).collect::<Outcome<Vec<_>>>().map(Some),
            value => Ok(Some(vec![scalar(value)?])),
        }
    }

    /// What is wrong with the value of a key.
    pub(crate) fn wrong(&self, key: &str, what: &str) -> Stop {
        config_failure(FailureKind::Usage, &self.path, &format!("{key}: {what}"))
    }
}

fn unknown(key: &str) -> String {
    let nearest = KEYS
        .iter()
        .map(|known| (strsim::jaro_winkler(known, &key.replace('-', "_").to_ascii_lowercase()), *known))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, known)) if likeness >= LIKENESS => format!("unknown key {key:?}: did you mean {known}?"),
        _ => format!("unknown key {key:?}; known are {}", KEYS.join(", ")),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Stop {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied => FailureKind::Denied,
        _ => FailureKind::Failed,
    };
    config_failure(kind, path, &format!("cannot be read: {error}"))
}
