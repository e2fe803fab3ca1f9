//! What is set, and where: flag, then environment, then `config.toml` in the home, then default.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::json;
use shoal_node::api::FailureKind;

use crate::args::NetworkArgs;
use crate::config_file::ConfigFile;
use crate::duration::{parse_duration, show_duration};
use crate::own_node::{DEFAULT_NETWORK, check_address, check_network_name};
use crate::paths;
use crate::quota::{Quota, parse_quota};
use crate::size::{Limit, parse_limit, show_rate, show_size};
use crate::stop::{Outcome, Stop};

/// Every key of `config.toml`; its environment variable is `SHOAL_` and the key in capitals.
pub(crate) const KEYS: [&str; 11] = [
    "network",
    "listen",
    "announce",
    "bootstrap",
    "mdns",
    "limit_up",
    "limit_up_per_peer",
    "limit_up_per_content",
    "limit_down",
    "quota",
    "timeout",
];

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line.
    Flag,
    /// An environment variable.
    Environment(String),
    /// The configuration file.
    File,
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File => f.write_str("config.toml"),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

/// All settings of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The folder that the node lives in.
    pub(crate) home: Setting<PathBuf>,
    /// The network to be in.
    pub(crate) network: Setting<String>,
    /// Addresses to listen on; none: any port on all interfaces.
    pub(crate) listen: Setting<Vec<String>>,
    /// Addresses to give to others; none: those that are listened on.
    pub(crate) announce: Setting<Vec<String>>,
    /// Peers through which to find others.
    pub(crate) bootstrap: Setting<Vec<String>>,
    /// Whether to find peers on the local network.
    pub(crate) mdns: Setting<bool>,
    /// Most bytes a second to give.
    pub(crate) limit_up: Setting<Limit>,
    /// Most bytes a second to give to one peer.
    pub(crate) limit_up_per_peer: Setting<Limit>,
    /// Most bytes a second to give of one content.
    pub(crate) limit_up_per_content: Setting<Limit>,
    /// Most bytes a second to take.
    pub(crate) limit_down: Setting<Limit>,
    /// Most bytes of the disk that the home may take.
    pub(crate) quota: Setting<Quota>,
    /// How long to look for a first provider.
    pub(crate) timeout: Setting<Duration>,
}

/// What the flags of a command say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    pub(crate) home: Option<PathBuf>,
    pub(crate) network: NetworkArgs,
    pub(crate) limit_up: Option<Limit>,
    pub(crate) limit_down: Option<Limit>,
    pub(crate) quota: Option<Quota>,
    pub(crate) timeout: Option<Duration>,
}

/// Reads environment variables; a test brings its own.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The environment of this process.
pub(crate) fn process_environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

impl Settings {
    /// Works out every setting.
    pub(crate) fn resolve(flags: Flags, environment: Environment<'_>) -> Outcome<Self> {
        let home = home(flags.home, environment)?;
        let file = ConfigFile::read(&config_path(&home.value))?;
        let sources = Sources { environment, file };
        let some_list = |list: Vec<String>| (!list.is_empty()).then_some(list);
        let network = flags.network;
        Ok(Self {
            network: sources
                .setting("network", network.network, DEFAULT_NETWORK.to_owned(), |text| one(text, parse_name))?,
            listen: sources.setting("listen", some_list(network.listen), Vec::new(), addresses)?,
            announce: sources.setting("announce", some_list(network.announce), Vec::new(), addresses)?,
            bootstrap: sources.setting("bootstrap", some_list(network.bootstrap), Vec::new(), addresses)?,
            mdns: sources.setting("mdns", network.no_mdns.then_some(false), true, |text| one(text, parse_bool))?,
            limit_up: sources.setting("limit_up", flags.limit_up, Limit(None), |text| one(text, parse_limit))?,
            limit_up_per_peer: sources
                .setting("limit_up_per_peer", None, Limit(None), |text| one(text, parse_limit))?,
            limit_up_per_content: sources
                .setting("limit_up_per_content", None, Limit(None), |text| one(text, parse_limit))?,
            limit_down: sources.setting("limit_down", flags.limit_down, Limit(None), |text| one(text, parse_limit))?,
            quota: sources.setting("quota", flags.quota, Quota(None), |text| one(text, parse_quota))?,
            timeout: sources.setting("timeout", flags.timeout, DEFAULT_TIMEOUT, |text| one(text, parse_duration))?,
            home,
        })
    }

    /// Key, value and origin of each setting, the home first.
    pub(crate) fn rows(&self) -> [(&'static str, String, &Origin); 12] {
        let list = |list: &Vec<String>, none: &str| if list.is_empty() { none.to_owned() } else { list.join(", ") };
        let limit = |limit: Limit| limit.0.map_or("no limit".to_owned(), show_rate);
        [
            ("home", self.home.value.display().to_string(), &self.home.origin),
            ("network", self.network.value.clone(), &self.network.origin),
            ("listen", list(&self.listen.value, "any port on all interfaces"), &self.listen.origin),
            ("announce", list(&self.announce.value, "those listened on"), &self.announce.origin),
            ("bootstrap", list(&self.bootstrap.value, "none"), &self.bootstrap.origin),
            ("mdns", self.mdns.value.to_string(), &self.mdns.origin),
            ("limit_up", limit(self.limit_up.value), &self.limit_up.origin),
            ("limit_up_per_peer", limit(self.limit_up_per_peer.value), &self.limit_up_per_peer.origin),
            ("limit_up_per_content", limit(self.limit_up_per_content.value), &self.limit_up_per_content.origin),
            ("limit_down", limit(self.limit_down.value), &self.limit_down.origin),
            ("quota", self.quota.value.0.map_or("no limit".to_owned(), show_size), &self.quota.origin),
            ("timeout", show_duration(self.timeout.value), &self.timeout.origin),
        ]
    }

    /// The values in the order of [`Self::rows`], as JSON: limits in bytes a second, times in milliseconds.
    pub(crate) fn values(&self) -> [serde_json::Value; 12] {
        [
            json!(self.home.value),
            json!(self.network.value),
            json!(self.listen.value),
            json!(self.announce.value),
            json!(self.bootstrap.value),
            json!(self.mdns.value),
            json!(self.limit_up.value.0),
            json!(self.limit_up_per_peer.value.0),
            json!(self.limit_up_per_content.value.0),
            json!(self.limit_down.value.0),
            json!(self.quota.value.0),
            json!(self.timeout.value.as_millis()),
        ]
    }

    /// Names of the flags that only matter to a node that is started now.
    pub(crate) fn network_flags(&self) -> Vec<&'static str> {
        let from_flag = |origin: &Origin| *origin == Origin::Flag;
        [
            ("--listen", from_flag(&self.listen.origin)),
            ("--announce", from_flag(&self.announce.origin)),
            ("--bootstrap", from_flag(&self.bootstrap.origin)),
            ("--network", from_flag(&self.network.origin)),
            ("--no-mdns", from_flag(&self.mdns.origin)),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }
}

/// Where the configuration of a home lies.
pub(crate) fn config_path(home: &Path) -> PathBuf {
    home.join("config.toml")
}

fn home(flag: Option<PathBuf>, environment: Environment<'_>) -> Outcome<Setting<PathBuf>> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let (value, origin) = match (flag, variable("SHOAL_HOME")) {
        (Some(home), _) => (home, Origin::Flag),
        (None, Some(home)) => (home, Origin::Environment("SHOAL_HOME".to_owned())),
        (None, None) => (data_folder(environment)?.join("shoal"), Origin::Default),
    };
    Ok(Setting { value: paths::absolute(&value)?, origin })
}

/// Where programs of this user keep what they hold.
pub(crate) fn data_folder(environment: Environment<'_>) -> Outcome<PathBuf> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = variable("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let data = data.or_else(|| Some(variable("HOME")?.join(".local/share")));
    data.ok_or_else(|| Stop::usage("there is no HOME to live in; name a folder with --home"))
}

struct Sources<'a> {
    environment: Environment<'a>,
    file: ConfigFile,
}

impl Sources<'_> {
    fn setting<T>(
        &self,
        key: &str,
        flag: Option<T>,
        default: T,
        parse: impl Fn(&[String]) -> Result<T, String>,
    ) -> Outcome<Setting<T>> {
        if let Some(value) = flag {
            return Ok(Setting { value, origin: Origin::Flag });
        }
        let name = format!("SHOAL_{}", key.to_ascii_uppercase());
        if let Some(value) = (self.environment)(&name).filter(|value| !value.is_empty()) {
            let wrong = |error| Stop::usage(format!("{name} in the environment: {error}"));
            let text = value.to_str().ok_or_else(|| wrong("it is not UTF-8".to_owned()))?;
            let parts = text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty());
            let value = parse(&parts.collect::<Vec<_>>()).map_err(wrong)?;
            return Ok(Setting { value, origin: Origin::Environment(name) });
        }
        if let Some(texts) = self.file.texts(key)? {
            let value = parse(&texts).map_err(|error| self.file.wrong(key, &error))?;
            return Ok(Setting { value, origin: Origin::File });
        }
        Ok(Setting { value: default, origin: Origin::Default })
    }
}

fn one<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
    match texts {
        [text] => parse(text),
        _ => Err("it takes one value".to_owned()),
    }
}

fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// Reads the name of a network.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    check_network_name(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn addresses(texts: &[String]) -> Result<Vec<String>, String> {
    texts.iter().map(|text| parse_address(text)).collect()
}

/// Reads an address.
pub(crate) fn parse_address(text: &str) -> Result<String, String> {
    check_address(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// A failure to use the configuration file.
pub(crate) fn config_failure(kind: FailureKind, path: &Path, what: &str) -> Stop {
    Stop::new(kind, format!("{}: {what}", path.display()))
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
