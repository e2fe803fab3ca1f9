//! A quota as people write it: a size, or 0 for none.

use crate::own_node::MIN_QUOTA_BYTES;
use crate::size::{parse_size, show_size};

/// Most bytes of the disk that a home may take, or no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota(pub(crate) Option<u64>);

/// Reads a quota; one that leaves no room for the databases themselves is refused.
pub(crate) fn parse_quota(text: &str) -> Result<Quota, String> {
    match parse_size(text)? {
        0 => Ok(Quota(None)),
        bytes if bytes < MIN_QUOTA_BYTES => Err(format!(
            "{text:?} is too little: the databases need {} to work in, more is for contents; 0 is no quota",
            show_size(MIN_QUOTA_BYTES)
        )),
        bytes => Ok(Quota(Some(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_sizes_that_leave_room_to_work_in() {
        assert_eq!(parse_quota("0"), Ok(Quota(None)));
        assert_eq!(parse_quota("1.5GiB"), Ok(Quota(Some(3 << 29))));
        assert_eq!(parse_quota("64MiB"), Ok(Quota(Some(64 << 20))));
        assert!(parse_quota("63MiB").unwrap_err().contains("64.0 MiB"));
        assert!(parse_quota("all").unwrap_err().contains("not a size"));
    }
}
