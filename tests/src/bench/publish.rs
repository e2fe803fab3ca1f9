//! Publishing 1 GiB, stored and durable, against `cp` and fsync; and what it takes on disk.

use shoal_testnet::content;
use shoal_testnet::resources::disk_bytes;

use super::BenchError;
use super::floors::{copy_file, settle};
use super::lab::{Lab, Medium, remove};
use super::measure::{Runs, rate};
use super::report::{Bar, Row};

/// Two rows: time and disk. On disk, as durable is what it is about.
pub(super) async fn measure(lab: &mut Lab) -> Result<Vec<Row>, BenchError> {
    let bytes = lab.bytes(1 << 30);
    let folder = lab.folder(Medium::Disk, bytes * 3 + bytes / 4)?;
    let source = folder.path().join("source");
    content::write_file(&source, bytes, 3).map_err(BenchError::file(&source))?;
    // Nothing of its making is still to be written while others are timed.
    super::floors::sync_file(&source)?;
    let (mut ours, mut floor, mut disk) = (Runs::default(), Runs::default(), Runs::default());
    for _ in 0..lab.runs {
        let copy = folder.path().join("copy");
        lab.warm(bytes * 5 / 2)?;
        settle(folder.path())?;
        floor.push(copy_file(&source, &copy)?);
        remove(&copy)?;
        let home = folder.path().join("home");
        lab.warm(bytes * 5 / 2)?;
        settle(folder.path())?;
        let (seconds, published) = lab.import(&home, &source).await?;
        ours.push(seconds);
        let used = disk_bytes(&home).map_err(BenchError::file(&home))?;
        disk.push(used as f64 / published.bytes as f64);
        remove(&home)?;
    }
    let detail =
        format!("{:.2} s ({:.0} MB/s), floor {:.2} s", ours.median(), rate(bytes, ours.median()), floor.median());
    let what = format!("publish {} MiB, stored and durable, time to cp + fsync", bytes >> 20);
    let time = Row::against(what, ours, floor, |ours, floor| ours / floor, Bar::AtMost(2.2)).with_detail(detail);
    let space = Row::plain("disk used to payload after publish", disk, "x", Bar::AtMost(1.03));
    Ok(vec![lab.judged(time), lab.judged(space)])
}
