//! Durations and times as people write and read them: `30s`, `5m`, `1h30m`, `2 min ago`.

use std::time::Duration;

/// Units in the order in which they are tried.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a duration.
///
/// # Errors
/// A line for the person who wrote it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write it like 500ms, 30s, 5m or 1h30m");
    let too_long = || format!("{text:?} is too long");
    let mut rest = text.trim();
    let mut millis = 0u64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let (tail, unit) =
            UNITS.iter().find_map(|(name, unit)| Some((tail.strip_prefix(name)?, *unit))).ok_or_else(wrong)?;
        let part = number.parse::<u64>().map_err(|_| too_long())?.checked_mul(unit).ok_or_else(too_long)?;
        millis = millis.checked_add(part).ok_or_else(too_long)?;
        rest = tail.trim_start();
    }
    Ok(Duration::from_millis(millis))
}

/// A duration for people, in the one or two units that matter.
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.subsec_millis()),
        1..=9 => format!("{:.1} s", duration.as_secs_f64()),
        10..=59 => format!("{seconds} s"),
        60..=3_599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// For how long something has been so, for people, when only whole seconds are known.
pub fn show_seconds(seconds: u64) -> String {
    match seconds {
        0 => "under 1 s".to_owned(),
        1..=9 => format!("{seconds} s"),
        _ => show_duration(Duration::from_secs(seconds)),
    }
}

/// How long before `now_ms` something was, for people; both in milliseconds of Unix time.
pub fn show_age(then_ms: u64, now_ms: u64) -> String {
    match now_ms.saturating_sub(then_ms) / 1_000 {
        0..=59 => "just now".to_owned(),
        seconds @ 60..=3_599 => format!("{} min ago", seconds / 60),
        seconds @ 3_600..=86_399 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, millis) in
            [("30s", 30_000), ("5m", 300_000), ("500ms", 500), ("1h30m", 5_400_000), (" 2 d ", 172_800_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "s", "5", "5x", "-5s", "1.5s", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_shown() {
        for (millis, text) in [
            (0, "0 ms"),
            (1_500, "1.5 s"),
            (59_000, "59 s"),
            (61_000, "1 min 1 s"),
            (3_660_000, "1 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(show_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!([0, 9, 10, 61].map(show_seconds), ["under 1 s", "9 s", "10 s", "1 min 1 s"]);
        assert_eq!(show_age(5_000, 1_000), "just now");
        assert_eq!(show_age(0, 7_300_000), "2 h ago");
    }
}
