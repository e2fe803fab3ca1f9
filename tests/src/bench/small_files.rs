//! A tree of 10,000 files of 10 KiB: publishing, exporting and fetching it. Every run has fresh folders, as making
//! files right after mass deletes is several times slower.

use std::path::Path;
use std::time::Instant;

use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::command::{FetchOptions, Shoal};
use shoal_testnet::content;
use shoal_testnet::resources::disk_bytes;
use tempfile::TempDir;

use super::BenchError;
use super::floors::{copy_tree, settle};
use super::lab::{Lab, Medium};
use super::measure::Runs;
use super::report::{Bar, Row};

const FILE_BYTES: u64 = 10 << 10;

/// Six rows: publish and its disk, export, fetch.
pub(super) async fn measure(lab: &mut Lab) -> Result<Vec<Row>, BenchError> {
    let files = u32::try_from(lab.bytes(10_000)).unwrap_or(u32::MAX);
    let (mut publish, mut floor, mut disk, mut fetch) =
        (Runs::default(), Runs::default(), Runs::default(), Runs::default());
    let mut export = Runs::default();
    // Kept until the end: see above.
    let mut folders: Vec<TempDir> = Vec::new();
    for run in 0..lab.runs {
        let folder = lab.folder(Medium::Disk, u64::from(files) * FILE_BYTES * 8)?;
        let source = folder.path().join("source");
        content::write_small_files(&source, files, FILE_BYTES, run as u64).map_err(BenchError::file(&source))?;
        // Nothing of what was made before is to be written while something is timed.
        let ready = || lab.warm(u64::from(files) * FILE_BYTES * 4).and_then(|()| settle(folder.path()));
        ready()?;
        floor.push(copy_tree(&source, &folder.path().join("copy"))?);
        ready()?;
        let home = folder.path().join("home");
        let (seconds, published) = lab.import(&home, &source).await?;
        publish.push(seconds);
        disk.push(disk_bytes(&home).map_err(BenchError::file(&home))? as f64 / published.bytes as f64);
        let shoal = Shoal::new(&lab.program, &home).on_loopback();
        ready()?;
        let started = Instant::now();
        let out = folder.path().join("exported");
        shoal.fetch(&published.hash.to_string(), &out, &FetchOptions::default()).await?;
        export.push(started.elapsed().as_secs_f64());
        fetch.push(fetch_once(lab, folder.path(), &source).await?);
        folders.push(folder);
    }
    let detail = format!("cp -r + syncfs {:.2} s", floor.median());
    let ratio = |ours: f64, floor: f64| floor / ours;
    let rows = [
        Row::against(
            "import of small files, rate to cp -r + syncfs",
            publish.clone(),
            floor.clone(),
            ratio,
            Bar::AtLeast(0.5),
        ),
        Row::against("export of small files, rate to cp -r + syncfs", export.clone(), floor, ratio, Bar::AtLeast(0.5)),
        Row::plain(format!("export a tree of {files} x 10 KiB, durable"), export, "s", Bar::AtMost(1.5))
            .with_detail(&detail),
        Row::plain(format!("publish a tree of {files} x 10 KiB"), publish, "s", Bar::AtMost(1.0)).with_detail(&detail),
        Row::plain(format!("fetch a tree of {files} x 10 KiB, on disk"), fetch, "s", Bar::AtMost(1.5))
            .with_detail(detail),
        Row::plain("disk used to payload, tree of small files", disk, "x", Bar::AtMost(1.03)),
    ];
    Ok(rows.into_iter().map(|row| lab.judged(row)).collect())
}

async fn fetch_once(lab: &Lab, folder: &Path, source: &Path) -> Result<f64, BenchError> {
    let mut cluster = lab.publisher(folder, NodeOptions::default()).await?;
    let published = cluster.node(0).shoal().publish(source).await?;
    let node = cluster.add(NodeOptions::default()).await?;
    let (seconds, _) = lab.fetch(&cluster, node, &published.link, source, &folder.join("fetched")).await?;
    Ok(seconds)
}
