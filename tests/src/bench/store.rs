//! The store by itself: a file imported, imported in place and again, read, exported, and a home opened after a kill.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use shoal_node::api::Published;
use shoal_node::store::{Damage, Store, StoreConfig, Watcher};
use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::command::{FetchOptions, Shoal};
use shoal_testnet::content;
use shoal_testnet::resources::disk_bytes;

use super::BenchError;
use super::floors::{copy_file, settle, sync_file};
use super::lab::{Lab, Medium, remove};
use super::measure::{Runs, rate};
use super::pipeline::import_flat;
use super::report::{Bar, Row};

const BUFFER_BYTES: usize = 1 << 20;

/// What each run gave: seconds, but for what is on the disk and the rate of reading.
#[derive(Default)]
struct Figures {
    /// `cp` and fsync; and `cp` into memory, where nothing is durable.
    copy: Runs,
    copy_in_memory: Runs,
    /// The floor of importing that cuts and hashes too.
    flat: Runs,
    import: Runs,
    disk: Runs,
    again: Runs,
    reads: Runs,
    export: Runs,
    export_into_memory: Runs,
    hash: Runs,
    in_place: Runs,
    in_place_disk: Runs,
}

/// Ten rows. On disk, as durable is what it is about.
pub(super) async fn measure(lab: &mut Lab) -> Result<Vec<Row>, BenchError> {
    let bytes = lab.bytes(1 << 30);
    let folder = lab.folder(Medium::Disk, bytes * 4)?;
    let source = folder.path().join("source");
    content::write_file(&source, bytes, 11).map_err(BenchError::file(&source))?;
    sync_file(&source)?;
    let mut figures = Figures::default();
    for _ in 0..lab.runs {
        figures.copies(lab, folder.path(), &source, bytes).await?;
        figures.in_place(lab, folder.path(), &source, bytes).await?;
    }
    let mut rows: Vec<Row> = figures.rows(bytes).into_iter().map(|row| lab.judged(row)).collect();
    rows.push(opening(lab, folder.path(), &source, bytes).await?);
    Ok(rows)
}

impl Figures {
    /// A file copied, imported, imported again and exported.
    async fn copies(&mut self, lab: &Lab, folder: &Path, source: &Path, bytes: u64) -> Result<(), BenchError> {
        let (home, out) = (folder.join("home"), folder.join("out"));
        // What was removed goes from the disk before anything is timed.
        let ready = || lab.warm(bytes * 5 / 2).and_then(|()| settle(folder));
        ready()?;
        self.copy.push(copy_file(source, &out)?);
        remove(&out)?;
        ready()?;
        self.flat.push(import_flat(source, &out)?);
        remove(&out)?;
        ready()?;
        let (seconds, published) = lab.import(&home, source).await?;
        self.import.push(seconds);
        let used = home_bytes(&home)?;
        self.disk.push(used / bytes as f64);
        lab.import(&home, source).await?;
        self.again.push((home_bytes(&home)? - used) / bytes as f64);
        self.reads.push(read_verified(&home).await?);
        let shoal = Shoal::new(&lab.program, &home).on_loopback();
        let export = async |out: &Path| -> Result<f64, BenchError> {
            ready()?;
            let started = Instant::now();
            shoal.fetch(&published.hash.to_string(), out, &FetchOptions::default()).await?;
            let seconds = started.elapsed().as_secs_f64();
            remove(out)?;
            Ok(seconds)
        };
        self.export.push(export(&out).await?);
        let memory = lab.folder(Medium::Memory, bytes * 2)?;
        let out = memory.path().join("out");
        self.export_into_memory.push(export(&out).await?);
        ready()?;
        self.copy_in_memory.push(copy_file(source, &out)?);
        remove(&home)
    }

    /// A file hashed, and imported where it is.
    async fn in_place(&mut self, lab: &Lab, folder: &Path, source: &Path, bytes: u64) -> Result<(), BenchError> {
        let home = folder.join("home");
        settle(folder)?;
        self.hash.push(hash_with_two_threads(source, bytes)?);
        let shoal = Shoal::new(&lab.program, &home).on_loopback();
        let started = Instant::now();
        let words = [Path::new("publish"), Path::new("--no-serve"), Path::new("--in-place"), source];
        shoal.json::<Published, _>(words).await?;
        self.in_place.push(started.elapsed().as_secs_f64());
        self.in_place_disk.push(home_bytes(&home)? / bytes as f64);
        remove(&home)
    }

    fn rows(self, bytes: u64) -> Vec<Row> {
        let Self { copy, copy_in_memory, flat, import, disk, again, reads, .. } = self;
        let Self { export, export_into_memory, hash, in_place, in_place_disk, .. } = self;
        let detail = |runs: &Runs| format!("{:.2} s ({:.0} MB/s)", runs.median(), rate(bytes, runs.median()));
        let timed = |what: &str, ours: &Runs, floor: &Runs, most: f64| {
            let ratio = |ours: f64, floor: f64| ours / floor;
            Row::against(what, ours.clone(), floor.clone(), ratio, Bar::AtMost(most)).with_detail(format!(
                "{}, floor {:.2} s",
                detail(ours),
                floor.median()
            ))
        };
        vec![
            timed("import, durable, time to cp + fsync", &import, &copy, 2.0),
            timed("import, durable, time to the same pipeline into a flat file", &import, &flat, 1.5),
            Row::plain("disk used to payload after import", disk, "x", Bar::AtMost(1.01)),
            Row::plain("new disk for the same file again, to its size", again, "x", Bar::AtMost(0.01)),
            Row::plain("verified reads, one thread", reads, "GB/s", Bar::AtLeast(1.4)),
            timed("import in place, time to hashing with 2 threads", &in_place, &hash, 5.0),
            Row::plain("disk used to payload after import in place", in_place_disk, "x", Bar::AtMost(0.005)),
            timed("export, durable, time to cp + fsync", &export, &copy, 1.5),
            timed("export into memory, not durable, time to cp there", &export_into_memory, &copy_in_memory, 2.0),
        ]
    }
}

fn home_bytes(home: &Path) -> Result<f64, BenchError> {
    Ok(disk_bytes(home).map_err(BenchError::file(home))? as f64)
}

#[derive(Default)]
struct Count {
    bytes: u64,
    damaged: u64,
}

impl Watcher for Count {
    fn checked(&mut self, _: u64, bytes: u64) -> bool {
        self.bytes += bytes;
        true
    }

    fn damaged(&mut self, _: Damage) {
        self.damaged += 1;
    }
}

/// Reads and hashes all that a home holds, with one thread, in GB/s.
async fn read_verified(home: &Path) -> Result<f64, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::file(home)(std::io::Error::other(error.to_string()));
    let store = Store::open(home, StoreConfig::default()).map_err(|error| failed(&error))?;
    let reading = store.clone();
    let read = tokio::task::spawn_blocking(move || {
        let (started, mut count) = (Instant::now(), Count::default());
        let outcome = reading.verify_objects(&mut count);
        outcome.map(|()| (count.bytes as f64 / started.elapsed().as_secs_f64() / 1e9, count.damaged))
    });
    let read = read.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error));
    store.close().await.map_err(|error| failed(&error))?;
    match read? {
        (rate, 0) => Ok(rate),
        (_, damaged) => Err(failed(&format!("{damaged} objects are damaged"))),
    }
}

/// What `b3sum --num-threads 2` does, in seconds: each half of the file read and hashed by a thread.
fn hash_with_two_threads(source: &Path, bytes: u64) -> Result<f64, BenchError> {
    let started = Instant::now();
    let half = bytes / 2;
    let hash = |from: u64, to: u64| -> std::io::Result<blake3::Hash> {
        let file = File::open(source)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut at = from;
        while at < to {
            let most = usize::try_from(to - at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
            let read = file.read_at(&mut buffer[..most], at)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            at += read as u64;
        }
        Ok(hasher.finalize())
    };
    let hashed = std::thread::scope(|scope| {
        let other = scope.spawn(|| hash(half, bytes));
        let own = hash(0, half);
        own.and(other.join().unwrap_or_else(|_| Err(std::io::Error::other("a hashing thread broke off"))))
    });
    hashed.map_err(BenchError::file(source))?;
    Ok(started.elapsed().as_secs_f64())
}

/// How long a node that was killed takes until it answers again.
async fn opening(lab: &Lab, folder: &Path, source: &Path, bytes: u64) -> Result<Row, BenchError> {
    let mut cluster = lab.publisher(folder, NodeOptions::default()).await?;
    cluster.node(0).shoal().publish(source).await?;
    let mut runs = Runs::default();
    for _ in 0..lab.runs {
        cluster.kill(0).await?;
        let started = Instant::now();
        cluster.restart(0).await?;
        runs.push(started.elapsed().as_secs_f64());
    }
    let what = format!("opening a home of {} MiB after kill -9, until it serves", bytes >> 20);
    Ok(lab.judged(Row::plain(what, runs, "s", Bar::AtMost(0.5))))
}
