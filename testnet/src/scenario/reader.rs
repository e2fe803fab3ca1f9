//! Values of a scenario file: each read from its text, bounded, and refused with its line.

use std::collections::BTreeSet;
use std::time::Duration;

use toml::Spanned;

use super::file::{Names, Number, Text};
use super::names::NameTable;
use super::{ContentIndex, Line, Moment, NodeIndex, ScenarioError, Share};
use crate::duration::parse_duration;
use crate::size::parse_rate;

pub(super) const MAX_DEADLINE: Duration = Duration::from_secs(3600);
const MAX_DELAY: Duration = Duration::from_secs(10);
/// Above that nothing gets through that could be waited for.
const MAX_LOSS: Share = Share::from_percent(50);
const MAX_NAME_CHARS: usize = 40;

pub(super) type Outcome<T> = Result<T, ScenarioError>;

/// Knows the text, to say in which line something is wrong.
pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    /// What may be waited for to be done: all who fetch it stand further up.
    pub(super) fetched: BTreeSet<ContentIndex>,
    /// What may be waited for to be published: all who publish it stand further up.
    pub(super) published: BTreeSet<ContentIndex>,
}

impl Reader<'_> {
    pub(super) fn line(
        &self,
        up: &Option<Text>,
        down: &Option<Text>,
        delay: &Option<Text>,
        loss: &Option<Text>,
    ) -> Outcome<Line> {
        let loss = match loss {
            Some(text) => {
                let loss = self.share(text)?;
                if loss > MAX_LOSS {
                    return Err(self.wrong(text, format!("a line loses at most {MAX_LOSS}")));
                }
                loss
            }
            None => Share::NONE,
        };
        let delay = delay.as_ref().map_or(Ok(Duration::ZERO), |text| self.duration(text, MAX_DELAY))?;
        Ok(Line { up: self.rate(up.as_ref())?, down: self.rate(down.as_ref())?, delay, loss })
    }

    pub(super) fn moment(&self, names: &NameTable, text: Option<&Text>, deadline: Duration) -> Outcome<Moment> {
        let Some(text) = text else { return Ok(Moment::Time(Duration::ZERO, Duration::ZERO)) };
        let words = text.as_ref();
        if let Some(content) = words.strip_suffix(" done") {
            let content = names.content(content).map_err(|reason| self.wrong(text, reason))?;
            return match self.fetched.contains(&content) {
                true => Ok(Moment::Done(content)),
                false => {
                    Err(self.wrong(text, "it is never done: every [[fetch]] of it has to stand further up in the file"))
                }
            };
        }
        if let Some(content) = words.strip_suffix(" published") {
            let content = names.content(content).map_err(|reason| self.wrong(text, reason))?;
            return match self.published.contains(&content) {
                true => Ok(Moment::Published(content)),
                false => Err(self
                    .wrong(text, "it is never published: every [[publish]] of it has to stand further up in the file")),
            };
        }
        let (from, to) = words.split_once("..").unwrap_or((words, words));
        let backwards = || self.wrong(text, format!("{words:?} ends before it begins"));
        if words.contains('%') {
            let read = |part: &str| Share::parse(part).map_err(|reason| self.wrong(text, reason));
            let (from, to) = (read(from)?, read(to)?);
            return if from <= to { Ok(Moment::Progress(from, to)) } else { Err(backwards()) };
        }
        let read = |part: &str| parse_duration(part).map_err(|reason| self.wrong(text, reason));
        let (from, to) = (read(from)?, read(to)?);
        if to >= deadline {
            return Err(
                self.wrong(text, format!("{words:?} is past the deadline of the run ({} s)", deadline.as_secs()))
            );
        }
        if from <= to { Ok(Moment::Time(from, to)) } else { Err(backwards()) }
    }

    pub(super) fn apart(&self, text: Option<&Text>) -> Outcome<Duration> {
        text.map_or(Ok(Duration::ZERO), |text| self.duration(text, MAX_DEADLINE))
    }

    pub(super) fn nodes(&self, names: &NameTable, listed: &Spanned<Names>) -> Outcome<Vec<NodeIndex>> {
        names.nodes(&listed.as_ref().0).map_err(|reason| self.wrong(listed, reason))
    }

    pub(super) fn content(&self, names: &NameTable, listed: &Text) -> Outcome<ContentIndex> {
        names.content(listed.as_ref()).map_err(|reason| self.wrong(listed, reason))
    }

    pub(super) fn name(&self, text: &Text) -> Outcome<String> {
        let name = text.as_ref();
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(allowed) {
            let reason = format!("{name:?} is no name: 1 to {MAX_NAME_CHARS} of a-z, 0-9 and '-'");
            return Err(self.wrong(text, reason));
        }
        Ok(name.clone())
    }

    pub(super) fn rate(&self, text: Option<&Text>) -> Outcome<Option<u64>> {
        let Some(text) = text else { return Ok(None) };
        match parse_rate(text.as_ref()).map_err(|reason| self.wrong(text, reason))? {
            0 => Err(self.wrong(text, "a rate of 0 moves nothing; a partition cuts a line")),
            rate => Ok(Some(rate)),
        }
    }

    pub(super) fn share(&self, text: &Text) -> Outcome<Share> {
        Share::parse(text.as_ref()).map_err(|reason| self.wrong(text, reason))
    }

    pub(super) fn duration(&self, text: &Text, most: Duration) -> Outcome<Duration> {
        let duration = parse_duration(text.as_ref()).map_err(|reason| self.wrong(text, reason))?;
        if duration > most {
            return Err(self.wrong(text, format!("{:?} is more than {} s", text.as_ref(), most.as_secs())));
        }
        Ok(duration)
    }

    pub(super) fn number(&self, number: &Number, least: i64, most: i64) -> Outcome<i64> {
        let found = *number.as_ref();
        if !(least..=most).contains(&found) {
            return Err(self.wrong(number, format!("{found} is not from {least} to {most}")));
        }
        Ok(found)
    }

    /// Something is nowhere in the file: told of its last line, after which it could stand.
    pub(super) fn missing(&self, reason: &str) -> ScenarioError {
        ScenarioError::at(self.text, self.text.trim_end().len(), reason)
    }

    pub(super) fn wrong<T>(&self, place: &Spanned<T>, reason: impl Into<String>) -> ScenarioError {
        ScenarioError::at(self.text, place.span().start, reason)
    }
}
