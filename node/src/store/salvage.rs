//! What can be read of a damaged database of the home.

use std::path::Path;
use std::sync::Arc;

use redb::{Key, ReadTransaction, TableDefinition, Value};

use super::backend::Faults;
use super::database::{OpenDatabase, peek};
use super::error::{StoreError, Trouble};

/// A database with a damaged page, to be read for the last time.
pub(super) struct Salvage<'a> {
    /// As it is open. It may refuse to be read.
    pub(super) open: &'a OpenDatabase,
    pub(super) path: &'a Path,
    pub(super) cache_bytes: usize,
    pub(super) faults: Option<&'a Arc<dyn Faults>>,
}

impl Salvage<'_> {
    /// Gives `each` the rows of a table, some of them twice: all up to the first page that cannot be read, and all
    /// after the last one. Says whether these are all.
    ///
    /// # Errors
    /// The disk's: of what it fails to give nothing is known.
    pub(super) fn rows<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'_, K, V>,
        mut each: impl FnMut(K::SelfType<'_>, V::SelfType<'_>),
    ) -> Result<bool, StoreError> {
        let mut read = |transaction: &ReadTransaction, is_reversed| {
            let mut rows = transaction.open_table(table)?.range::<K::SelfType<'_>>(..)?;
            while let Some(row) = if is_reversed { rows.next_back() } else { rows.next() } {
                let (key, value) = row?;
                each(key.value(), value.value());
            }
            Ok(())
        };
        if self.open.read(self.path, |transaction| read(transaction, false)).is_ok() {
            return Ok(true);
        }
        for is_reversed in [false, true] {
            match self.peek(|transaction| read(transaction, is_reversed)) {
                Err(error) if error.is_damage() => {}
                read => return read.map(|()| true),
            }
        }
        Ok(false)
    }

    /// Runs `work` on what the file says. It is opened for that alone: when a damaged page leads beyond its end, redb
    /// refuses all that comes after it.
    pub(super) fn peek<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, Trouble>) -> Result<T, StoreError> {
        peek(self.path, self.cache_bytes, self.faults, work)
    }
}
