//! Panics inside redb, which damaged files cause: caught, and told to the log alone.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// How many [`caught`] this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs `work`; a panic comes back as its words. What `work` changes is not looked at again after one.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    silence_the_hook();
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|panic| text(panic.as_ref()))
}

/// Drops `value`, whatever it panics with.
pub(super) fn drop_quietly<T>(value: T) {
    if let Err(words) = caught(|| drop(value)) {
        tracing::warn!(%words, "closing a damaged file");
    }
}

/// Drops `value` the way a panic that comes through here would. redb commits when a database is closed, but not then; on
/// a damaged file that commit may panic, and once more while it unwinds, which ends the process. (So would a panic in
/// what redb does then: it closes the file.)
pub(super) fn drop_unwinding<T>(value: T) {
    let dropped = caught(|| {
        let _value = value;
        resume_unwind(Box::new("dropped as by a panic"))
    });
    let Err::<std::convert::Infallible, _>(words) = dropped;
    tracing::trace!(%words);
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no reason given").to_owned()
}

/// Whoever runs a node is told of damage in words, and not by a panic's message. Other panics go the way they went.
fn silence_the_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            if DEPTH.get() == 0 {
                others(panic);
            } else {
                tracing::debug!(%panic, "caught");
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_comes_back_as_words() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(caught(|| -> u32 { panic!("no {}", 8) }), Err("no 8".to_owned()));
        struct Loud;
        impl Drop for Loud {
            fn drop(&mut self) {
                panic!("gone");
            }
        }
        drop_quietly(Loud);
        struct Asks<'a>(&'a Cell<bool>);
        impl Drop for Asks<'_> {
            fn drop(&mut self) {
                self.0.set(std::thread::panicking());
            }
        }
        let unwinds = Cell::new(false);
        drop_unwinding(Asks(&unwinds));
        assert!(unwinds.get());
        assert_eq!(caught(|| 9), Ok(9), "it ends there");
    }
}
