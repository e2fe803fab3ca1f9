//! Shares and factors: exact numbers, so that a plan is the same on every machine.

use std::fmt;

/// A part of a whole, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Share(u32);

/// How many times, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Factor(u32);

impl Share {
    /// Nothing of it.
    pub const NONE: Self = Self(0);
    /// All of it.
    pub const ALL: Self = Self(1_000_000);

    /// So many millionths, at most all.
    pub fn from_millionths(millionths: u32) -> Self {
        Self(millionths.min(Self::ALL.0))
    }

    /// So many hundredths.
    pub(super) const fn from_percent(percent: u8) -> Self {
        Self(percent as u32 * 10_000)
    }

    /// In millionths.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// This share of a number, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        u64::try_from(u128::from(whole) * u128::from(self.0) / 1_000_000).unwrap_or(u64::MAX)
    }

    /// Reads `12%` or `0.5%`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a share; write it like \"10%\" or \"0.5%\", at most \"100%\"");
        let number = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim_end();
        let millionths = decimal(number, 4).ok_or_else(wrong)?;
        u32::try_from(millionths).ok().filter(|share| *share <= Self::ALL.0).map(Self).ok_or_else(wrong)
    }
}

impl Factor {
    /// So many thousandths.
    pub const fn from_thousandths(thousandths: u32) -> Self {
        Self(thousandths)
    }

    /// In thousandths.
    pub const fn thousandths(self) -> u32 {
        self.0
    }

    /// So many times a number, rounded down.
    pub fn of(self, number: u64) -> u64 {
        u64::try_from(u128::from(number) * u128::from(self.0) / 1_000).unwrap_or(u64::MAX)
    }

    /// Takes a number as TOML has it.
    pub(super) fn from_number(number: f64) -> Option<Self> {
        // Exact for every number of at most three decimals that anyone would write here.
        (number > 0.0 && number <= 1_000_000.0).then(|| Self((number * 1_000.0).round() as u32))
    }
}

/// A number with a point, times ten to the power of `places`.
fn decimal(text: &str, places: u32) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > places as usize {
        return None;
    }
    let scale = 10_u64.pow(places - u32::try_from(fraction.len()).ok()?);
    whole.parse::<u64>().ok()?.checked_mul(10_u64.pow(places))?.checked_add(fraction.parse::<u64>().ok()? * scale)
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} %", trimmed(self.0, 10_000)))
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&trimmed(self.0, 1_000))
    }
}

/// A number of `unit`s with as many decimals as it needs.
fn trimmed(number: u32, unit: u32) -> String {
    let places = unit.ilog10() as usize;
    let text = format!("{}.{:0places$}", number / unit, number % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact() {
        for (text, millionths, shown) in
            [("1%", 10_000, "1 %"), ("0.5%", 5_000, "0.5 %"), ("100 %", 1_000_000, "100 %"), ("0.0001%", 1, "0.0001 %")]
        {
            let share = Share::parse(text).unwrap();
            assert_eq!((share.millionths(), share.to_string().as_str()), (millionths, shown));
        }
        for wrong in ["", "1", "%", "-1%", "101%", "1.%", "0.00001%", "1e1%"] {
            assert!(Share::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Share::from_millionths(250_000).of(10), 2);
        assert_eq!(Share::ALL.of(u64::MAX), u64::MAX);
    }

    #[test]
    fn factors_are_exact() {
        assert_eq!(Factor::from_number(1.25).unwrap().of(10), 12);
        assert_eq!(Factor::from_number(1.15).unwrap().thousandths(), 1_150);
        assert_eq!(Factor::from_number(2.0).unwrap().to_string(), "2");
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Factor::from_number(wrong), None);
        }
    }
}
