//! A scenario file as it is written, before anything in it has been looked up or checked.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, SeqAccess, Visitor};
use toml::Spanned;

/// A text with its place.
pub(super) type Text = Spanned<String>;
/// A number with its place. TOML's are signed; what is impossible is told in our words.
pub(super) type Number = Spanned<i64>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: Text,
    pub(super) purpose: String,
    pub(super) seed: Option<Number>,
    pub(super) deadline: Option<Text>,
    #[serde(default)]
    pub(super) nodes: Vec<Nodes>,
    #[serde(default)]
    pub(super) content: Vec<Content>,
    #[serde(default)]
    pub(super) publish: Vec<Publish>,
    #[serde(default)]
    pub(super) fetch: Vec<Fetch>,
    #[serde(default)]
    pub(super) fault: Vec<Fault>,
    pub(super) checks: Option<Checks>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nodes {
    pub(super) name: Text,
    pub(super) count: Option<Number>,
    pub(super) up: Option<Text>,
    pub(super) down: Option<Text>,
    pub(super) delay: Option<Text>,
    pub(super) loss: Option<Text>,
    pub(super) limit_up: Option<Text>,
    pub(super) limit_down: Option<Text>,
    pub(super) liar: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    pub(super) name: Text,
    pub(super) size: Option<Text>,
    pub(super) files: Option<Number>,
    pub(super) version_of: Option<Text>,
    pub(super) changed: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publish {
    pub(super) content: Text,
    pub(super) nodes: Spanned<Names>,
    pub(super) at: Option<Text>,
    pub(super) apart: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fetch {
    pub(super) content: Text,
    pub(super) nodes: Spanned<Names>,
    pub(super) at: Option<Text>,
    pub(super) apart: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    pub(super) what: Text,
    pub(super) nodes: Spanned<Names>,
    pub(super) pick: Option<Number>,
    pub(super) at: Text,
    pub(super) times: Option<Number>,
    pub(super) every: Option<Text>,
    pub(super) one_by_one: Option<Text>,
    #[serde(rename = "for")]
    pub(super) lasts: Option<Text>,
    pub(super) up: Option<Text>,
    pub(super) down: Option<Text>,
    pub(super) delay: Option<Text>,
    pub(super) loss: Option<Text>,
    pub(super) bytes: Option<Number>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checks {
    pub(super) complete: Option<bool>,
    pub(super) within: Option<Spanned<f64>>,
    pub(super) wasted: Option<Text>,
    pub(super) seeder_copies: Option<Spanned<f64>>,
    pub(super) fetched: Option<Text>,
}

/// One name or a list of names.
#[derive(Debug)]
pub(super) struct Names(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Names, E> {
                Ok(Names(vec![name.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}
