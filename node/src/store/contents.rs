//! The store's contents: their records, what their user decided about them, and when they were used.

use shoal_protocol::hash::{ContentHash, DiscoveryKey};
use tokio::sync::broadcast;

use super::catalog::Change;
use super::{ManifestRecord, Removal, Store, StoreError};

impl Store {
    /// Adds a content's record, or brings the one that is there up to date: its pin and its first time stay, its last
    /// use and its state never go back. Durable on return; dropped while waiting, it may happen or not.
    ///
    /// # Errors
    /// The disk's.
    pub async fn put_manifest(&self, record: ManifestRecord) -> Result<(), StoreError> {
        self.shared().catalog.change(Change::Put(record)).await.map(drop)
    }

    /// Notes, durably, that something of a content was found damaged or gone; says whether there is a record. One of
    /// which never all was held stays what it is.
    ///
    /// # Errors
    /// The disk's.
    pub async fn incomplete_manifest(&self, hash: ContentHash) -> Result<bool, StoreError> {
        self.shared().catalog.change(Change::Incomplete(hash)).await
    }

    /// Pins or unpins a content, durably; says whether there is a record. A pinned content is not evicted.
    ///
    /// # Errors
    /// The disk's.
    pub async fn pin_manifest(&self, hash: ContentHash, pinned: bool) -> Result<bool, StoreError> {
        self.shared().catalog.change(Change::Pin(hash, pinned)).await
    }

    /// Forgets a content's record, durably; says whether there was one. Its chunks stay.
    ///
    /// # Errors
    /// The disk's.
    pub async fn remove_manifest(&self, hash: ContentHash) -> Result<bool, StoreError> {
        self.shared().catalog.change(Change::Remove(hash)).await
    }

    /// Forgets a content's record, durably, unless it is pinned or somebody works with it. Its room comes back with the
    /// next [`collect`](Self::collect), which is for the caller to ask for.
    ///
    /// # Errors
    /// The disk's.
    pub async fn remove_content(&self, hash: ContentHash) -> Result<Removal, StoreError> {
        let store = self.clone();
        let record = tokio::task::spawn_blocking(move || store.manifest(&hash)).await;
        let record = record.map_err(|_| StoreError::Closed)??;
        // First: a fetch that has just begun has no record yet.
        if self.shared().holds.is_in_use(&hash) {
            return Ok(Removal::InUse);
        }
        let Some(record) = record else {
            return Ok(Removal::Unknown);
        };
        if record.pinned || !self.shared().catalog.change(Change::RemoveUnpinned(hash)).await? {
            return Ok(Removal::Pinned);
        }
        self.shared().collector.note_removed(record.bytes);
        Ok(Removal::Removed)
    }

    /// Notes that a content was used, in milliseconds of Unix time; says whether there is a record. A power cut may
    /// take it back.
    ///
    /// # Errors
    /// The disk's.
    pub async fn touch_manifest(&self, hash: ContentHash, now_unix_ms: u64) -> Result<bool, StoreError> {
        self.shared().catalog.change(Change::Touch(hash, now_unix_ms)).await
    }

    /// Whether there is surely no record of a content; `false` says nothing. Does not block.
    pub fn lacks_manifest(&self, hash: &ContentHash) -> bool {
        self.shared().catalog.lacks(hash)
    }

    /// The record of a content. Blocks.
    ///
    /// # Errors
    /// The disk's, or that the record is damaged.
    pub fn manifest(&self, hash: &ContentHash) -> Result<Option<ManifestRecord>, StoreError> {
        self.shared().catalog.record(hash)
    }

    /// The record of the content that announces itself under `key`. Blocks.
    ///
    /// # Errors
    /// The disk's, or that the record is damaged.
    pub fn manifest_by_key(&self, key: &DiscoveryKey) -> Result<Option<ManifestRecord>, StoreError> {
        self.shared().catalog.record_by_key(key)
    }

    /// The records of all contents, in the order of their hashes. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn manifests(&self) -> Result<Vec<ManifestRecord>, StoreError> {
        self.shared().catalog.records()
    }

    /// Notes that others were given something of a content, in milliseconds of Unix time. Costs no write now; an
    /// unclean end may take back the last minutes of it.
    pub fn note_use(&self, hash: ContentHash, now_unix_ms: u64) {
        self.shared().catalog.note_use(hash, now_unix_ms);
    }

    /// Follows which contents are evicted.
    pub fn evicted(&self) -> broadcast::Receiver<ContentHash> {
        self.shared().evicted.subscribe()
    }
}
