//! The memory allocator of the program, and the one setting of it that matters.
//!
//! glibc's allocator keeps hundreds of MiB after a large import. mimalloc gives back what is free, but by default only
//! after a second: at 400 MB/s that is more than everything else a node holds.

/// The allocator of every program that calls the command line.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// After so many milliseconds free memory goes back to the system. Measured on fetches of 1 GiB: 1,000 (the default)
/// leaves a peak of 150 to 180 MiB, 200 leaves 140 to 150, 50 and less 125 to 140. 0 costs half as much CPU again; and on
/// a virtual machine that hands free memory to its host at once, 10 makes a fetch take a sixth longer than 50 does.
const PURGE_DELAY_MS: std::ffi::c_long = 25;

/// `mi_option_purge_delay` of mimalloc 3, which the bindings leave out.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Settles how soon free memory is given back. To be called first.
#[allow(
    unsafe_code,
    reason = "mimalloc's options can only be set by a call into C, or from outside by the environment"
)]
pub(crate) fn settle() {
    // SAFETY: the call stores one number in a table of the allocator's own, under an index that is one of its
    // constants; it may come at any time and from any thread.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code, reason = "reads back what was set")]
    fn the_delay_is_taken() {
        // SAFETY: as in `settle`; this one only reads.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        // What this version of mimalloc begins with: if another option stood at the index, this would tell.
        assert_eq!(delay(), 1000);
        settle();
        assert_eq!(delay(), PURGE_DELAY_MS);
    }
}
