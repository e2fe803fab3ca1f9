//! The figures that Shoal promises, measured with real processes on this machine.
//!
//! Both ends of every transfer run here, over loopback. Each figure is a median of five runs (`--runs`) with its floor
//! (nginx and curl, `cp`, plain rustls) measured in between; a figure whose floor spreads by more than 1.3 x says
//! nothing and is not judged. Network figures are taken with homes in memory, so that they show the network path, and
//! again on disk. All that is made goes away with the run.

mod collect;
mod crowd;
mod delta;
mod error;
mod far;
mod fetch;
mod floors;
mod hostile;
mod lab;
mod large;
mod latency;
mod limited;
mod measure;
mod memory;
mod options;
mod peers;
mod pipeline;
mod publish;
mod raw_stream;
mod report;
mod small_files;
mod store;
mod versions;
mod warm;
mod web_server;

use std::io::Write;

pub use error::BenchError;
pub use options::{Figure, Options};
pub use report::{Report, Row, Verdict};

use fetch::Copies;
use lab::{Lab, Medium};

/// Measures what was asked for; `notes` takes a line for each thing that is begun.
///
/// # Errors
/// Only when measuring itself is impossible; a figure that misses its bar, or whose floor is not installed, is a row
/// of the report.
pub async fn run(options: Options, notes: &mut (dyn Write + Send)) -> Result<Report, BenchError> {
    let mut lab = Lab::new(&options)?;
    let mut report = Report::new(&options);
    for figure in options.figures() {
        lab.note(notes, &format!("measuring: {}", figure.title()));
        let rows = match figure {
            Figure::Fetch => {
                let mut rows = fetch::measure(&mut lab, Medium::Memory, Copies::Two).await?;
                rows.extend(fetch::measure(&mut lab, Medium::Disk, Copies::Two).await?);
                rows.extend(fetch::measure(&mut lab, Medium::Memory, Copies::One).await?);
                rows
            }
            Figure::RawStream => vec![raw_stream::measure(&lab).await?],
            Figure::Limited => limited::measure(&mut lab).await?,
            Figure::Far => far::measure(&mut lab).await?,
            Figure::Latency => latency::measure(&mut lab).await?,
            Figure::Peers => peers::measure(&mut lab).await?,
            Figure::Hostile => hostile::measure(&mut lab).await?,
            Figure::Delta => delta::measure(&mut lab).await?,
            Figure::Crowd => crowd::measure(&mut lab).await?,
            Figure::Publish => publish::measure(&mut lab).await?,
            Figure::SmallFiles => small_files::measure(&mut lab).await?,
            Figure::Store => store::measure(&mut lab).await?,
            Figure::Versions => versions::measure(&mut lab).await?,
            Figure::Collect => collect::measure(&mut lab, collect::SOME).await?,
            Figure::CollectMuch => collect::measure(&mut lab, collect::MUCH).await?,
            Figure::Memory => memory::measure(&mut lab).await?,
            Figure::Large => large::measure(&mut lab).await?,
        };
        for row in rows {
            lab.note(notes, &format!("  {}", row.line()));
            report.rows.push(row);
        }
    }
    Ok(report)
}
