//! The memory allocator of the program, and its settings.
//!
//! Chunks of 16 to 256 KiB come and go at hundreds of MB/s, made by one thread and freed by another. Measured with
//! fetches of 1 GiB over loopback, peak of provider and fetcher in MiB: glibc keeps hundreds after a large import;
//! mimalloc 3, told to give memory back after 25 ms, 150 and 126; jemalloc with the settings below 66 and 76, at the
//! same speed, and a node at rest goes back to half of what mimalloc leaves it with.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The allocator of every program that calls the command line.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Two arenas: threads share what others have freed, and two cores hardly ever wait for each other (with four, the
/// peaks grow by a fifth). What is free goes back to the system within half a second, by a thread of jemalloc's own, so
/// also when nothing happens any more.
const SETTINGS: &std::ffi::CStr = c"narenas:2,background_thread:true,dirty_decay_ms:500,muzzy_decay_ms:0";

/// A pointer that threads may share, as jemalloc reads it once at start.
#[repr(transparent)]
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the symbol below must be public to be found")]
pub struct Settings(*const std::ffi::c_char);

// SAFETY: it points to a constant that nobody writes.
#[allow(unsafe_code, reason = "a pointer to constant text may be read from any thread")]
unsafe impl Sync for Settings {}

/// Where jemalloc looks for its settings before anything is allocated (`malloc_conf` in its manual, with the prefix of
/// the bindings).
#[allow(unsafe_code, unreachable_pub, reason = "jemalloc finds its settings by the name of the symbol")]
// SAFETY: no other symbol of the program has this name, and it has the type that jemalloc declares: const char *.
#[unsafe(export_name = "_rjem_malloc_conf")]
#[used]
pub static MALLOC_CONF: Settings = Settings(SETTINGS.as_ptr());

/// What jemalloc reads its settings from at a start, after those above.
const VARIABLE: &str = "_RJEM_MALLOC_CONF";

/// Memory in pages of 2 MiB. What is freed is kept: to give a part of such a page back takes it apart, and of a
/// simulation of a thousand peers half the memory then was in small pages again, which cost it a sixteenth of its time.
const LARGE_PAGES: &str = "thp:always,metadata_thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1";

/// Starts this process anew, once, with memory in pages of 2 MiB: a simulation of a thousand peers waits for memory
/// most of its time, and takes a sixth less with them, for a tenth more memory. jemalloc can be told of it at a start
/// alone. What was set by hand stays, and where the system does not let it, the process goes on as it is.
pub(crate) fn with_large_pages(words: &[OsString]) {
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let mut anew = Command::new(program);
        if let Some(name) = words.first() {
            anew.arg0(name);
        }
        // It returns only if it cannot.
        let _ = anew.args(words.iter().skip(1)).env(VARIABLE, LARGE_PAGES).exec();
    }
}

#[cfg(test)]
mod tests {
    use tikv_jemalloc_ctl::opt;

    #[test]
    fn the_settings_are_taken() {
        assert_eq!(opt::narenas::read().ok(), Some(2));
        assert_eq!(opt::background_thread::read().ok(), Some(true));
    }
}
