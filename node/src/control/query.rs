//! The query part of a request's URI: written by the client, read by the server.

use std::borrow::Cow;
use std::fmt::{Display, Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::api::{Failure, FailureKind};

/// What needs no escape in a value: what RFC 3986 calls unreserved, and the slash.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// Appends `key=value` to a URI.
pub(super) fn push(uri: &mut String, key: &str, value: impl Display) {
    let mark = if uri.contains('?') { '&' } else { '?' };
    let value = value.to_string();
    // Writing to a string cannot fail.
    let _ = write!(uri, "{mark}{key}={}", utf8_percent_encode(&value, ESCAPED));
}

/// A key and its value.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The pairs of a query, decoded.
pub(super) fn pairs(query: &str) -> Result<Vec<Pair<'_>>, Failure> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Result<Cow<'_, str>, Failure> {
    percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| Failure::new(FailureKind::Usage, format!("{text} in the query is not UTF-8")))
}

/// Reads a number of a query.
pub(super) fn number(key: &str, value: &str) -> Result<u64, Failure> {
    value.parse().map_err(|_| Failure::new(FailureKind::Usage, format!("{key} is to be a whole number, not {value:?}")))
}

/// Reads `true` or `false` of a query.
pub(super) fn yes_or_no(key: &str, value: &str) -> Result<bool, Failure> {
    value.parse().map_err(|_| Failure::new(FailureKind::Usage, format!("{key} is to be true or false, not {value:?}")))
}

/// Reads `A-B`, `A-` or `-` as first and last byte.
pub(super) fn range(value: &str) -> Result<(Option<u64>, Option<u64>), Failure> {
    let wrong = || Failure::new(FailureKind::Usage, format!("range is to be A-B or A-, not {value:?}"));
    let (start, end) = value.split_once('-').ok_or_else(wrong)?;
    let side = |text: &str| if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| wrong()) };
    Ok((side(start)?, side(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_comes_back() {
        let value = "a b/ü&=?#%+\n/ip4/127.0.0.1/tcp/1/p2p/x";
        let mut uri = String::from("/v1/x");
        push(&mut uri, "path", value);
        push(&mut uri, "timeout_ms", 7);
        let query = uri.split_once('?').unwrap().1;
        assert_eq!(pairs(query).unwrap(), [("path".into(), value.into()), ("timeout_ms".into(), "7".into())]);
    }

    #[test]
    fn ranges_have_either_side_or_none() {
        assert_eq!(range("3-9").unwrap(), (Some(3), Some(9)));
        assert_eq!(range("3-").unwrap(), (Some(3), None));
        assert_eq!(range("-").unwrap(), (None, None));
        for wrong in ["", "3", "a-b", "1-2-3", "99999999999999999999-"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
