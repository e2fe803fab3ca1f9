//! Verifying: everything that is held, or one content, is hashed again; what is damaged is fetched anew on request.

mod found;
mod walk;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shoal_protocol::hash::ContentHash;
use tokio::task::spawn_blocking;

use crate::api::{DamageInfo, Failure, FailureKind, Phase, Progress, Verified, VerifyRequest};
use crate::fetch::{FetchError, Fetching, Goal, Job};
use crate::operation::Reporter;
use crate::store::{ContentState, Damage, ManifestRecord, ReadError, Store, Watcher};
use found::Found;
use walk::{Follower, Walk};

/// Damaged objects that are remembered by their ids, 32 bytes each, to be counted once and looked for after a repair.
const MAX_REMEMBERED: usize = 1 << 20;

/// What has been looked at and found, and how fast it may go on.
struct Tally {
    checked: u64,
    checked_bytes: u64,
    ids: HashSet<[u8; 32]>,
    /// Damage that has no id, or too many before it.
    others: u64,
    others_mended: u64,
    found: Found,
    rate: Option<u64>,
    started: Instant,
    stop: Arc<AtomicBool>,
    progress: tokio::sync::watch::Sender<Progress>,
}

impl Watcher for Tally {
    fn checked(&mut self, objects: u64, bytes: u64) -> bool {
        self.checked += objects;
        self.checked_bytes += bytes;
        let done = self.checked_bytes;
        self.progress.send_modify(|progress| {
            progress.phase = Phase::Verifying;
            progress.done_bytes = done;
        });
        if let Some(rate) = self.rate.filter(|rate| *rate > 0) {
            let due = Duration::from_secs_f64(self.checked_bytes as f64 / rate as f64);
            // In short steps, so that whoever hangs up is noticed.
            while let Some(left) = due.checked_sub(self.started.elapsed())
                && !self.stop.load(Ordering::Relaxed)
            {
                std::thread::sleep(left.min(Duration::from_millis(200)));
            }
        }
        !self.stop.load(Ordering::Relaxed)
    }

    fn damaged(&mut self, damage: Damage) {
        let Damage { id, what, file, detail, mended } = damage;
        match id {
            Some(id) if self.ids.contains(&id) => return,
            Some(id) if self.ids.len() < MAX_REMEMBERED => drop(self.ids.insert(id)),
            _ => {
                self.others += 1;
                self.others_mended += u64::from(mended);
            }
        }
        self.found.add(DamageInfo { what, file, detail, count: 1 }, id.is_some());
    }
}

/// A tally of one content.
struct OfContent<'a> {
    tally: &'a mut Tally,
    hash: ContentHash,
    /// Whether all of it should be there, even if an earlier look has found that it is not.
    should_be_whole: bool,
    /// It needs something that is damaged.
    is_harmed: bool,
}

impl Follower for OfContent<'_> {
    fn read(&mut self, objects: u64, bytes: u64) -> bool {
        self.tally.checked(objects, bytes)
    }

    fn damaged(&mut self, id: [u8; 32], error: ReadError) {
        self.is_harmed = true;
        let (what, file, detail) = match error {
            ReadError::Damaged { what, file, detail } => (what, file, detail),
            other => (String::new(), PathBuf::new(), other.to_string()),
        };
        self.tally.damaged(Damage { id: Some(id), what, file, detail, mended: false });
    }

    fn missing(&mut self, id: [u8; 32], what: &str) {
        self.is_harmed |= self.tally.ids.contains(&id);
        if self.should_be_whole {
            let detail = format!("it belongs to {} and is not there", self.hash);
            let what = what.to_owned();
            self.tally.damaged(Damage { id: Some(id), what, file: PathBuf::new(), detail, mended: false });
        }
    }
}

/// What of the lost objects contents need.
struct Needed<'a> {
    lost: &'a HashSet<[u8; 32]>,
    ids: HashSet<[u8; 32]>,
    /// What they need below a damaged node cannot be told.
    is_unsure: bool,
}

impl Follower for Needed<'_> {
    fn read(&mut self, _: u64, _: u64) -> bool {
        true
    }

    fn damaged(&mut self, id: [u8; 32], _: ReadError) {
        self.missing(id, "");
        self.is_unsure = true;
    }

    fn missing(&mut self, id: [u8; 32], _: &str) {
        self.ids.extend(self.lost.get(&id));
    }
}

/// Ends the work on other threads when nobody waits for it any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Verifies what was asked for.
pub(crate) async fn verify(
    store: &Store,
    fetching: &Fetching,
    request: VerifyRequest,
    reporter: Reporter,
) -> Result<Verified, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let _stop = StopOnDrop(Arc::clone(&stop));
    let tally = Tally {
        checked: 0,
        checked_bytes: 0,
        ids: HashSet::new(),
        others: 0,
        others_mended: 0,
        found: Found::default(),
        rate: request.rate,
        started: Instant::now(),
        stop,
        progress: reporter.progress.clone(),
    };
    let (looking, wanted, repair) = (store.clone(), request.hash, request.repair);
    let looked = spawn_blocking(move || look(&looking, wanted, repair, tally)).await;
    let Looked { tally, lacking, returned } = looked.map_err(|_| FetchError::Broken)??;
    for record in lacking.iter().filter(|record| record.state == ContentState::Complete) {
        // From here on it is served, listed and fetched as what it is.
        store.incomplete_manifest(record.hash).await.map_err(FetchError::from)?;
    }
    let mut repaired = tally.others_mended;
    // Of what was never whole nobody has asked for the rest.
    let goal_of = |record: &ManifestRecord| match record.state.was_whole() {
        true => Goal::Everything { output: None },
        false => Goal::Repair,
    };
    let repairs = lacking.iter().filter(|_| request.repair).map(|record| (record, goal_of(record)));
    // Of what has come back all is here: a fetch finds that, and records it.
    let returns = returned.iter().map(|record| (record, Goal::Everything { output: None }));
    for (record, goal) in repairs.chain(returns) {
        let hold = store.hold(Some(record.hash));
        // The look took its time: what has been removed meanwhile stays so.
        let (looking, hash) = (store.clone(), record.hash);
        if let Ok(Ok(None)) = spawn_blocking(move || looking.manifest(&hash)).await {
            continue;
        }
        let job = Job::new(record.hash, goal, &request.peers, request.timeout_ms, reporter.clone(), hold)?;
        if let Err(error) = fetching.everything(job).await {
            // A full queue or nobody who reads loses the note; the count tells all the same.
            let _ = reporter.notes.try_send(format!("not repaired: {error}"));
        }
    }
    if request.repair {
        let (store, ids) = (store.clone(), tally.ids.iter().copied().collect::<Vec<_>>());
        let mended = spawn_blocking(move || mended(&store, &ids, &lacking)).await;
        repaired += mended.map_err(|_| FetchError::Broken)??;
    }
    Ok(Verified {
        checked: tally.checked,
        checked_bytes: tally.checked_bytes,
        damaged: tally.ids.len() as u64 + tally.others,
        repaired,
        damage: tally.found.into_list(),
    })
}

/// What a look has found.
struct Looked {
    tally: Tally,
    /// Contents that are not whole and were, or that need what is damaged.
    lacking: Vec<ManifestRecord>,
    /// Contents that are whole and do not count as that: a file in place has come back, or another content has brought
    /// what was missing.
    returned: Vec<ManifestRecord>,
}

/// Looks at everything or one content. Blocks.
fn look(store: &Store, wanted: Option<ContentHash>, repair: bool, mut tally: Tally) -> Result<Looked, Failure> {
    let records = match wanted {
        None => {
            store.verify_tables(repair, &mut tally).map_err(FetchError::from)?;
            store.verify_objects(&mut tally).map_err(FetchError::from)?;
            store.manifests().map_err(FetchError::from)?
        }
        Some(hash) => {
            let record = store.manifest(&hash).map_err(FetchError::from)?;
            let absent =
                || Failure::new(FailureKind::NotFound, format!("this node does not hold {hash}: nothing to verify"));
            vec![record.ok_or_else(absent)?]
        }
    };
    let (mut lacking, mut returned) = (Vec::new(), Vec::new());
    for record in records {
        let (hash, should_be_whole) = (record.hash, record.state.was_whole());
        let mut follower = OfContent { tally: &mut tally, hash, should_be_whole, is_harmed: false };
        let walked = Walk { store, hash, deep: wanted.is_some(), follower: &mut follower }.run();
        let is_whole = walked.map_err(|error| FetchError::manifest(hash, error))?;
        if follower.is_harmed || !is_whole && should_be_whole {
            lacking.push(record);
        } else if is_whole && record.state != ContentState::Complete {
            returned.push(record);
        }
    }
    Ok(Looked { tally, lacking, returned })
}

/// How many of the damaged objects are held now. Those that no content needs are forgotten, which mends them too.
fn mended(store: &Store, ids: &[[u8; 32]], contents: &[ManifestRecord]) -> Result<u64, FetchError> {
    let mut mended = 0;
    let held = store.holds_objects(ids)?;
    mended += held.iter().filter(|held| **held).count() as u64;
    let lost: HashSet<[u8; 32]> = ids.iter().zip(held).filter(|(_, held)| !held).map(|(id, _)| *id).collect();
    if lost.is_empty() {
        return Ok(mended);
    }
    let mut needed = Needed { lost: &lost, ids: HashSet::new(), is_unsure: false };
    for ManifestRecord { hash, .. } in contents {
        let walked = Walk { store, hash: *hash, deep: false, follower: &mut needed }.run();
        walked.map_err(|error| FetchError::manifest(*hash, error))?;
    }
    if needed.is_unsure {
        return Ok(mended);
    }
    let needless: Vec<[u8; 32]> = lost.difference(&needed.ids).copied().collect();
    store.forget_damaged(&needless)?;
    Ok(mended + needless.len() as u64)
}
