//! Numbers of things for people: `1 chunk`, `7 chunks`.

/// The number and its noun, with an `s` unless there is one of them.
pub(crate) fn show_count(count: impl Into<u64>, noun: &str) -> String {
    match count.into() {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        for (count, text) in [(0u32, "0 chunks"), (1, "1 chunk"), (2, "2 chunks")] {
            assert_eq!(show_count(count, "chunk"), text);
        }
    }
}
