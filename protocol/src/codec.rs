//! Reading and writing the fixed-width parts of which manifest nodes and wire frames are made.
//!
//! Integers are little-endian, texts are a `u16` length and UTF-8. A [`Reader`] takes what it gives from a slice that
//! is already there: it never panics, and never allocates for a length that the input merely claims. It knows nothing
//! of nodes or frames; what a value means, and which values are allowed, is the caller's business.

/// Why some bytes are not what they were taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a value.
    #[error("it ends {missing} bytes too early, at byte {at}")]
    Truncated {
        /// Where the value that is cut begins.
        at: usize,
        /// How many bytes it lacks.
        missing: usize,
    },
    /// Bytes follow after the last value.
    #[error("{extra} bytes follow its end at byte {at}")]
    Trailing {
        /// Where the values end.
        at: usize,
        /// How many bytes follow.
        extra: usize,
    },
    /// A text that is not UTF-8.
    #[error("the text at byte {at} is not UTF-8")]
    NotUtf8 {
        /// Where the text begins, after its length.
        at: usize,
    },
    /// A length or a count above what its place allows.
    #[error("the length {found} at byte {at} is above the limit of {limit}")]
    TooLong {
        /// Where the length stands.
        at: usize,
        /// The length it states.
        found: u64,
        /// The highest one allowed there.
        limit: u64,
    },
}

/// Takes values from the front of a slice, in bounds always.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

macro_rules! integer {
    ($(#[$doc:meta])* $name:ident, $kind:ty) => {
        $(#[$doc])*
        pub fn $name(&mut self) -> Result<$kind, DecodeError> {
            Ok(<$kind>::from_le_bytes(*self.array()?))
        }
    };
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their beginning.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes have been taken.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some((taken, _)) = rest.split_at_checked(count) else {
            return Err(DecodeError::Truncated { at: self.at, missing: count - rest.len() });
        };
        self.at += count;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], DecodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some((taken, _)) = rest.split_first_chunk::<N>() else {
            return Err(DecodeError::Truncated { at: self.at, missing: N - rest.len() });
        };
        self.at += N;
        Ok(taken)
    }

    integer!(
        /// The next byte.
        u8,
        u8
    );
    integer!(
        /// The next 2 bytes.
        u16,
        u16
    );
    integer!(
        /// The next 4 bytes.
        u32,
        u32
    );
    integer!(
        /// The next 8 bytes.
        u64,
        u64
    );

    /// A `u16` length, at most `limit`, and that many bytes.
    pub fn bytes(&mut self, limit: u16) -> Result<&'a [u8], DecodeError> {
        let at = self.at;
        let length = self.u16()?;
        if length > limit {
            return Err(DecodeError::TooLong { at, found: length.into(), limit: limit.into() });
        }
        self.take(length.into())
    }

    /// A `u16` length, at most `limit` bytes, and that much UTF-8.
    pub fn text(&mut self, limit: u16) -> Result<&'a str, DecodeError> {
        let bytes = self.bytes(limit)?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { at: self.at - bytes.len() })
    }

    /// A `u16` count of things to follow, at most `limit`.
    pub fn count(&mut self, limit: u16) -> Result<u16, DecodeError> {
        let at = self.at;
        let count = self.u16()?;
        if count > limit {
            return Err(DecodeError::TooLong { at, found: count.into(), limit: limit.into() });
        }
        Ok(count)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.bytes.len();
        rest
    }

    /// Says that nothing may follow.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            extra => Err(DecodeError::Trailing { at: self.at, extra }),
        }
    }
}

/// Appends values to a buffer in the form that [`Reader`] takes them.
///
/// Implemented for whatever [`bytes::BufMut`] is: `Vec<u8>` and `BytesMut`.
pub trait Writer {
    /// Appends one byte.
    fn put_byte(&mut self, value: u8);
    /// Appends 2 bytes.
    fn put_word(&mut self, value: u16);
    /// Appends 4 bytes.
    fn put_dword(&mut self, value: u32);
    /// Appends 8 bytes.
    fn put_qword(&mut self, value: u64);
    /// Appends bytes as they are, without a length.
    fn put_raw(&mut self, bytes: &[u8]);

    /// Appends a `u16` length and the bytes. The caller has made sure that they are at most 65,535: what is longer
    /// is cut there, so that a mistake stays inside its own value.
    fn put_bytes(&mut self, bytes: &[u8]) {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.put_word(length);
        self.put_raw(bytes.get(..length.into()).unwrap_or_default());
    }
}

impl<B: bytes::BufMut> Writer for B {
    fn put_byte(&mut self, value: u8) {
        self.put_u8(value);
    }
    fn put_word(&mut self, value: u16) {
        self.put_u16_le(value);
    }
    fn put_dword(&mut self, value: u32) {
        self.put_u32_le(value);
    }
    fn put_qword(&mut self, value: u64) {
        self.put_u64_le(value);
    }
    fn put_raw(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut buffer = Vec::new();
        buffer.put_byte(1);
        buffer.put_word(0x0203);
        buffer.put_dword(0x0405_0607);
        buffer.put_qword(0x0809_0a0b_0c0d_0e0f);
        buffer.put_bytes("schön".as_bytes());
        buffer.put_raw(&[9, 9]);
        assert_eq!(buffer[..7], [1, 3, 2, 7, 6, 5, 4], "little-endian");
        let mut reader = Reader::new(&buffer);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0203));
        assert_eq!(reader.u32(), Ok(0x0405_0607));
        assert_eq!(reader.u64(), Ok(0x0809_0a0b_0c0d_0e0f));
        assert_eq!(reader.text(10), Ok("schön"));
        assert_eq!(reader.clone().finish(), Err(DecodeError::Trailing { at: 23, extra: 2 }));
        assert_eq!(reader.rest(), [9, 9]);
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_cut_is_noticed_and_moves_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u64(), Err(DecodeError::Truncated { at: 0, missing: 5 }));
        assert_eq!(reader.take(4), Err(DecodeError::Truncated { at: 0, missing: 1 }));
        assert_eq!(reader.take(usize::MAX), Err(DecodeError::Truncated { at: 0, missing: usize::MAX - 3 }));
        assert_eq!(reader.u16(), Ok(0x0201));
    }

    #[test]
    fn lengths_have_limits_and_texts_are_utf8() {
        assert_eq!(Reader::new(&[4, 0, 1, 2]).bytes(3), Err(DecodeError::TooLong { at: 0, found: 4, limit: 3 }));
        assert_eq!(Reader::new(&[4, 0]).count(3), Err(DecodeError::TooLong { at: 0, found: 4, limit: 3 }));
        assert_eq!(Reader::new(&[4, 0, 1]).bytes(4), Err(DecodeError::Truncated { at: 2, missing: 3 }));
        assert_eq!(Reader::new(&[1, 0, 0xff]).text(4), Err(DecodeError::NotUtf8 { at: 2 }));
    }
}
