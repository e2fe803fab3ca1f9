//! Sizes and rates as people write and read them: `64KiB`, `10GB`, `1.5 GiB`, `20MB/s`.

/// Units in the order in which they are tried; longer names before those they end with.
const UNITS: [(&str, u64); 11] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("pib", 1 << 50),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("pb", 1_000_000_000_000_000),
    ("b", 1),
];
/// Digits after the point beyond these change no size that fits into 64 bits.
const MAX_FRACTION_DIGITS: u32 = 18;

/// Reads a size in bytes.
///
/// # Errors
/// A line for the person who wrote it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size; write it like 64KiB, 10GB or 1.5GiB");
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = match UNITS.iter().find_map(|(name, unit)| Some((lower.strip_suffix(name)?, *unit))) {
        Some((number, unit)) => (number.trim_end(), unit),
        None if lower
            .strip_suffix(['k', 'm', 'g', 't', 'p'])
            .is_some_and(|number| number.ends_with(|c: char| c.is_ascii_digit())) =>
        {
            return Err(format!("{text:?} could be powers of 1000 or of 1024; write it like 64KB or 64KiB"));
        }
        None => (lower.as_str(), 1),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(wrong());
    }
    let fraction = fraction.get(..MAX_FRACTION_DIGITS as usize).unwrap_or(fraction);
    let places = u32::try_from(fraction.len()).map_err(|_| wrong())?;
    let too_big = || format!("{text:?} is more than 64 bits can count");
    let parts = whole.parse::<u64>().map_err(|_| too_big())?;
    let scale = 10u128.pow(places);
    let scaled = u128::from(parts) * scale + u128::from(fraction.parse::<u64>().map_err(|_| wrong())?);
    let bytes = scaled.checked_mul(u128::from(unit)).ok_or_else(too_big)? / scale;
    u64::try_from(bytes).map_err(|_| too_big())
}

/// Reads a rate in bytes a second; `/s` may be left out.
///
/// # Errors
/// A line for the person who wrote it.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let size = text.trim().strip_suffix("/s").unwrap_or(text);
    parse_size(size).map_err(|error| error.replace("is not a size", "is not a rate"))
}

/// Reads a rate that bounds something: `0` means no bound.
///
/// # Errors
/// A line for the person who wrote it.
pub fn parse_limit(text: &str) -> Result<Limit, String> {
    parse_rate(text).map(|rate| Limit((rate > 0).then_some(rate)))
}

/// Most bytes a second, or no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(
    /// Bytes a second; `None` for no bound.
    pub Option<u64>,
);

/// A size for people: three or more digits, powers of 1024.
pub fn show_size(bytes: u64) -> String {
    const NAMES: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut name = "KiB";
    for next in NAMES.iter().skip(1) {
        // What would be shown as 1024.0 is 1.0 of the next.
        if size < 1023.95 {
            break;
        }
        size /= 1024.0;
        name = next;
    }
    format!("{size:.1} {name}")
}

/// A rate for people.
pub fn show_rate(bytes_per_second: u64) -> String {
    format!("{}/s", show_size(bytes_per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("64KiB", 65_536),
            ("64 kib", 65_536),
            ("10GB", 10_000_000_000),
            ("1.5 GiB", 1_610_612_736),
            (" 1.5GiB ", 1_610_612_736),
            ("0.1KB", 100),
            ("1.0000000000000000000001TB", 1_000_000_000_000),
            ("18446744073709551615", u64::MAX),
            ("15.999PiB", 18013272609575141),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn nonsense_is_told_apart() {
        for (text, word) in [
            ("", "not a size"),
            ("x", "not a size"),
            ("-1", "not a size"),
            ("1.2.3KB", "not a size"),
            (".5GB", "not a size"),
            ("5.GB", "not a size"),
            ("1e9", "not a size"),
            ("GiB", "not a size"),
            ("٣KB", "not a size"),
            ("64K", "64KiB"),
            ("18446744073709551616", "64 bits"),
            ("99999PiB", "64 bits"),
        ] {
            let error = parse_size(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn rates_may_have_their_second() {
        assert_eq!(parse_rate("20MB/s"), Ok(20_000_000));
        assert_eq!(parse_rate("1.5 MiB"), Ok(1_572_864));
        assert!(parse_rate("20MB/m").unwrap_err().contains("not a rate"));
        assert_eq!(parse_limit("0"), Ok(Limit(None)));
        assert_eq!(parse_limit("1KB/s"), Ok(Limit(Some(1_000))));
    }

    #[test]
    fn sizes_are_shown() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_610_612_736, "1.5 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(show_size(bytes), text);
        }
    }
}
