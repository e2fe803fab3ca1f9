//! Two versions of real things: what the second adds to a store that has the first, against the bytes that differ.
//!
//! The sources of OpenSSL come through cargo, as the crates `openssl-src` of two versions; the dump is made up, as a
//! database of customers would give it a day later.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use shoal_node::api::Published;
use shoal_testnet::command::Shoal;
use shoal_testnet::content::Stream;

use super::BenchError;
use super::floors::run;
use super::lab::{Lab, Medium, remove};
use super::measure::Runs;
use super::report::{Bar, Row};

/// Crates whose archives are upstream's sources: OpenSSL 3.5.0 and 3.5.1.
const SOURCES: [&str; 2] = ["300.5.0+3.5.0", "300.5.1+3.5.1"];
const MIB: f64 = (1 << 20) as f64;
/// A page of a file system.
const PAGE: usize = 4096;

/// What a difference is counted in.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Line,
    Page,
}

/// A row for each pair.
pub(super) async fn measure(lab: &mut Lab) -> Result<Vec<Row>, BenchError> {
    let folder = lab.folder(Medium::Disk, 4 << 30)?;
    let place = folder.path();
    let rows = u32::try_from(lab.bytes(2_000_000)).unwrap_or(u32::MAX);
    let dumps = [place.join("monday.sql"), place.join("tuesday.sql")];
    for (day, path) in (0..).zip(&dumps) {
        write_dump(path, rows, day).map_err(BenchError::file(path))?;
    }
    let mut report = vec![pair(lab, place, "a database dump, a day later", [&dumps; 2], Unit::Line).await?];
    match archives(place) {
        Ok(tars) => {
            let trees = trees(place, &tars)?;
            report.push(pair(lab, place, "OpenSSL's sources as a tar, 3.5.0 to 3.5.1", [&tars; 2], Unit::Line).await?);
            report.push(pair(lab, place, "the same as a folder", [&trees, &tars], Unit::Line).await?);
            let what = "an ext4 image, these sources upgraded in it";
            report.push(match images(place, &trees) {
                Ok(images) => pair(lab, place, what, [&images; 2], Unit::Page).await?,
                Err(error) => Row::skipped(what, Bar::None, error.to_string()),
            });
        }
        Err(error) => report.push(Row::skipped("OpenSSL's sources", Bar::None, error.to_string())),
    }
    Ok(report)
}

/// Publishes one version after the other; what differs is counted in two files.
async fn pair(
    lab: &Lab,
    place: &Path,
    what: &str,
    [published, compared]: [&[PathBuf; 2]; 2],
    unit: Unit,
) -> Result<Row, BenchError> {
    let home = place.join("home");
    lab.import(&home, &published[0]).await?;
    let shoal = Shoal::new(&lab.program, &home).on_loopback();
    let words = [Path::new("publish"), Path::new("--no-serve"), published[1].as_path()];
    let second: Published = shoal.json(words).await?;
    remove(&home)?;
    let differing = differing(&compared[0], &compared[1], unit).map_err(BenchError::file(&compared[1]))?;
    let mut runs = Runs::default();
    runs.push(second.new_bytes as f64 / second.bytes as f64 * 100.0);
    let unit = match unit {
        Unit::Line => "lines",
        Unit::Page => "pages of 4 KiB",
    };
    let detail = format!(
        "{:.1} of {:.1} MiB; {unit} that the first has nowhere make up {:.1} MiB ({:.1} %)",
        second.new_bytes as f64 / MIB,
        second.bytes as f64 / MIB,
        differing as f64 / MIB,
        differing as f64 / second.bytes as f64 * 100.0,
    );
    Ok(Row::plain(format!("new bytes of version 2: {what}"), runs, "%", Bar::None).with_detail(detail))
}

/// Bytes of the units of a file that are nowhere in the other.
fn differing(first: &Path, second: &Path, unit: Unit) -> io::Result<u64> {
    let (first, second) = (fs::read(first)?, fs::read(second)?);
    let known: HashSet<&[u8]> = units(&first, unit).collect();
    Ok(units(&second, unit).filter(|unit| !known.contains(unit)).map(|unit| unit.len() as u64).sum())
}

fn units(bytes: &[u8], unit: Unit) -> Box<dyn Iterator<Item = &[u8]> + '_> {
    match unit {
        Unit::Line => Box::new(bytes.split_inclusive(|byte| *byte == b'\n')),
        Unit::Page => Box::new(bytes.chunks(PAGE)),
    }
}

/// A table as `pg_dump` writes it. A day later 1 in 5,000 of all rows and half of the newest 1 % have changed, 1 in
/// 20,000 is gone, and 1 % is new.
fn write_dump(path: &Path, rows: u32, day: u32) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    writeln!(out, "COPY public.customers (id, name, mail, town, balance, seen, note) FROM stdin;")?;
    let recent = rows - rows / 100;
    for row in 0..rows + day * (rows / 100) {
        let chance = number(row, 1);
        let is_changed = day > 0 && (chance.is_multiple_of(5_000) || (row >= recent && chance.is_multiple_of(2)));
        if day > 0 && chance % 20_000 == 7 {
            continue;
        }
        let state = if is_changed { number(row, 3) } else { number(row, 2) };
        let (who, town) = (number(row, 4), number(row, 5) % 4_000);
        writeln!(
            out,
            "{row}\tcustomer {who:016x}\t{who:x}@mail{}.example\ttown {town}\t{}.{:02}\t2026-11-{:02} {:02}:{:02}:00\t\\N",
            who % 40,
            state % 100_000,
            state % 100,
            1 + state % 28,
            state % 24,
            state % 60,
        )?;
    }
    writeln!(out, "\\.")?;
    out.flush()
}

/// A number that belongs to a row and a purpose.
fn number(row: u32, purpose: u32) -> u64 {
    let bytes = Stream::new(u64::from(row) << 8 | u64::from(purpose)).bytes(8);
    u64::from_le_bytes(bytes.try_into().unwrap_or_default())
}

/// The uncompressed archives of both versions, which cargo fetches if it has not done so before.
fn archives(place: &Path) -> Result<[PathBuf; 2], BenchError> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    let mut tars = Vec::new();
    for version in SOURCES {
        let package = place.join(format!("package-{version}"));
        let manifest = format!(
            "[package]\nname = \"pair\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nopenssl-src = \"={version}\"\n"
        );
        fs::create_dir_all(package.join("src")).map_err(BenchError::file(&package))?;
        fs::write(package.join("Cargo.toml"), manifest).map_err(BenchError::file(&package))?;
        fs::write(package.join("src/lib.rs"), "").map_err(BenchError::file(&package))?;
        run("cargo", Command::new("cargo").arg("fetch").current_dir(&package))?;
        let caches = home.join("registry/cache");
        let cached = fs::read_dir(&caches).map_err(BenchError::file(&caches))?.flatten();
        let name = format!("openssl-src-{version}.crate");
        let archive = cached.map(|cache| cache.path().join(&name)).find(|path| path.exists());
        let missing = || io::Error::new(io::ErrorKind::NotFound, "cargo has not kept it");
        let archive = archive.ok_or_else(missing).map_err(BenchError::file(caches.join(&name)))?;
        let tar = place.join(format!("openssl-{version}.tar"));
        let into = File::create(&tar).map_err(BenchError::file(&tar))?;
        run("gzip", Command::new("gzip").arg("-dc").arg(&archive).stdout(into))?;
        tars.push(tar);
    }
    <[PathBuf; 2]>::try_from(tars).map_err(|_| BenchError::Part("two versions".to_owned()))
}

/// The archives unpacked.
fn trees(place: &Path, tars: &[PathBuf; 2]) -> Result<[PathBuf; 2], BenchError> {
    let trees = [place.join("tree-1"), place.join("tree-2")];
    for (tar, tree) in tars.iter().zip(&trees) {
        fs::create_dir_all(tree).map_err(BenchError::file(tree))?;
        run("tar", Command::new("tar").arg("-xf").arg(tar).arg("--strip-components=1").arg("-C").arg(tree))?;
    }
    Ok(trees)
}

/// A file system with the first tree in it, and the same one with the files of the second written over it.
fn images(place: &Path, trees: &[PathBuf; 2]) -> Result<[PathBuf; 2], BenchError> {
    let images = [place.join("image-1"), place.join("image-2")];
    let make = ["-q", "-t", "ext4", "-U", "5e0a1000-0000-4000-8000-000000000001", "-d"];
    run("mke2fs", Command::new("mke2fs").args(make).arg(&trees[0]).arg(&images[0]).arg("256M"))?;
    fs::copy(&images[0], &images[1]).map_err(BenchError::file(&images[1]))?;
    let script = place.join("upgrade");
    let mut orders = String::new();
    upgrade(trees, Path::new(""), &mut orders).map_err(BenchError::file(&trees[1]))?;
    fs::write(&script, orders).map_err(BenchError::file(&script))?;
    run("debugfs", Command::new("debugfs").arg("-w").arg("-f").arg(&script).arg(&images[1]))?;
    Ok(images)
}

/// What `debugfs` is to do so that a folder in the image becomes that of the second tree.
fn upgrade(trees: &[PathBuf; 2], folder: &Path, orders: &mut String) -> io::Result<()> {
    use std::fmt::Write as _;
    let names = |tree: &Path| -> io::Result<Vec<std::ffi::OsString>> {
        let mut names: Vec<_> =
            fs::read_dir(tree.join(folder))?.map(|item| item.map(|item| item.file_name())).collect::<Result<_, _>>()?;
        names.sort();
        Ok(names)
    };
    let before = if trees[0].join(folder).is_dir() { names(&trees[0])? } else { Vec::new() };
    let after = names(&trees[1])?;
    for name in before.iter().filter(|name| !after.contains(name)) {
        let path = folder.join(name);
        // A folder that goes may stay: nothing in it is read.
        if trees[0].join(&path).is_file() {
            let _ = writeln!(orders, "rm /{}", path.display());
        }
    }
    for name in after {
        let path = folder.join(name);
        let (old, new) = (trees[0].join(&path), trees[1].join(&path));
        if new.is_dir() {
            if !old.is_dir() {
                let _ = writeln!(orders, "mkdir /{}", path.display());
            }
            upgrade(trees, &path, orders)?;
        } else if new.is_file() && fs::read(&old).ok() != fs::read(&new).ok() {
            if old.is_file() {
                let _ = writeln!(orders, "rm /{}", path.display());
            }
            let _ = writeln!(orders, "write {} /{}", new.display(), path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_changes_a_little_in_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let days = [folder.path().join("1"), folder.path().join("2")];
        for (day, path) in (0..).zip(&days) {
            write_dump(path, 20_000, day).unwrap();
        }
        let bytes = fs::metadata(&days[1]).unwrap().len();
        let differing = differing(&days[0], &days[1], Unit::Line).unwrap();
        assert!(differing > bytes / 100 && differing < bytes / 50, "{differing} of {bytes}");
    }

    #[test]
    fn only_what_is_nowhere_in_the_first_differs() {
        let folder = tempfile::tempdir().unwrap();
        let check = |first: &[u8], second: &[u8], unit, expected| {
            let paths = [folder.path().join("1"), folder.path().join("2")];
            fs::write(&paths[0], first).unwrap();
            fs::write(&paths[1], second).unwrap();
            assert_eq!(differing(&paths[0], &paths[1], unit).unwrap(), expected);
        };
        check(b"a\nb\nc\n", b"c\na\nnew\n", Unit::Line, 4);
        check(&[1; PAGE * 2], &[[1; PAGE], [2; PAGE]].concat(), Unit::Page, PAGE as u64);
    }
}
