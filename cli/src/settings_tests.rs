//! Which source of a setting wins, and what is said of a wrong one.

use std::collections::BTreeMap;

use super::*;

struct World {
    home: tempfile::TempDir,
    environment: BTreeMap<&'static str, String>,
}

impl World {
    fn new(file: &str, environment: &[(&'static str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(config_path(home.path()), file).unwrap();
        Self { home, environment: environment.iter().map(|(name, value)| (*name, (*value).to_owned())).collect() }
    }

    fn resolve(&self, flags: Flags) -> Outcome<Settings> {
        let flags = Flags { home: Some(self.home.path().to_owned()), ..flags };
        Settings::resolve(flags, &|name| self.environment.get(name).map(OsString::from))
    }
}

fn check_error(file: &str, environment: &[(&'static str, &str)], words: &[&str]) {
    let stop = World::new(file, environment).resolve(Flags::default()).unwrap_err();
    assert_eq!(stop.exit_code(), 2, "{stop:?}");
    let text = format!("{stop:?}");
    for word in words {
        assert!(text.contains(word), "{text} lacks {word}");
    }
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let flags =
        Flags { network: NetworkArgs { network: Some("flag".into()), ..NetworkArgs::default() }, ..Flags::default() };
    let full = World::new("network = 'file'", &[("SHOAL_NETWORK", "environment")]);
    let named = |settings: Settings| (settings.network.value, settings.network.origin);
    assert_eq!(named(full.resolve(flags).unwrap()), ("flag".into(), Origin::Flag));
    let origin = Origin::Environment("SHOAL_NETWORK".into());
    assert_eq!(named(full.resolve(Flags::default()).unwrap()), ("environment".into(), origin));
    let file = World::new("network = 'file'", &[("SHOAL_NETWORK", "")]);
    assert_eq!(named(file.resolve(Flags::default()).unwrap()), ("file".into(), Origin::File));
    let none = World::new("", &[]);
    assert_eq!(named(none.resolve(Flags::default()).unwrap()), (DEFAULT_NETWORK.into(), Origin::Default));
}

#[test]
fn every_key_can_stand_in_the_file() {
    let file = "network = 'lab'\nlisten = ['/ip4/0.0.0.0/tcp/1', '/ip4/0.0.0.0/udp/1/quic-v1']\n\
                announce = '/ip4/9.9.9.9/tcp/4'\n\
                bootstrap = '/ip4/1.2.3.4/tcp/5'\nmdns = false\nlimit_up = '20MB/s'\nlimit_up_per_peer = '5MB/s'\n\
                limit_up_per_content = '9MB/s'\nlimit_down = 1000\nquota = '1GiB'\n\
                timeout = '1m'";
    let settings = World::new(file, &[]).resolve(Flags::default()).unwrap();
    assert_eq!(settings.listen.value.len(), 2);
    assert_eq!(settings.bootstrap.value, ["/ip4/1.2.3.4/tcp/5"]);
    assert!(!settings.mdns.value);
    assert_eq!(settings.limit_up.value, Limit(Some(20_000_000)));
    assert_eq!(settings.limit_up_per_peer.value, Limit(Some(5_000_000)));
    assert_eq!(settings.limit_up_per_content.value, Limit(Some(9_000_000)));
    assert_eq!(settings.limit_down.value, Limit(Some(1_000)));
    assert_eq!(settings.quota.value.0, Some(1 << 30));
    assert_eq!(settings.timeout.value, Duration::from_secs(60));
    let rows = settings.rows();
    assert_eq!(rows.iter().map(|(key, ..)| *key).skip(1).collect::<Vec<_>>(), KEYS);
    assert!(rows.iter().skip(1).all(|(_, _, origin)| **origin == Origin::File));
}

#[test]
fn lists_in_the_environment_have_commas() {
    let world = World::new("", &[("SHOAL_BOOTSTRAP", "/ip4/1.2.3.4/tcp/5, /dns4/a/tcp/6,")]);
    assert_eq!(world.resolve(Flags::default()).unwrap().bootstrap.value, ["/ip4/1.2.3.4/tcp/5", "/dns4/a/tcp/6"]);
}

#[test]
fn a_wrong_value_is_told_with_its_place() {
    check_error("netwrok = 'x'", &[], &["config.toml", "netwrok", "did you mean", "network"]);
    check_error("colour = 'x'", &[], &["config.toml", "unknown key", "colour"]);
    check_error("quota = 'much'", &[], &["config.toml", "quota", "size"]);
    check_error("quota = '1MB'", &[], &["config.toml", "quota", "64.0 MiB"]);
    check_error("limit_up = 'fast'", &[], &["config.toml", "limit_up", "rate"]);
    check_error("limit_up = -5", &[], &["config.toml", "limit_up"]);
    check_error("network = 1.5", &[], &["config.toml", "network"]);
    check_error("listen = [1, [2]]", &[], &["config.toml", "listen"]);
    check_error("network =", &[], &["config.toml", "line 1"]);
    check_error("", &[("SHOAL_MDNS", "maybe")], &["SHOAL_MDNS", "maybe"]);
    check_error("", &[("SHOAL_NETWORK", "a,b")], &["SHOAL_NETWORK", "one value"]);
    check_error("", &[("SHOAL_LISTEN", "localhost:80")], &["SHOAL_LISTEN", "/ip4/"]);
    check_error("", &[("SHOAL_BOOTSTRAP", "/ip4/1.2.3/tcp/4")], &["SHOAL_BOOTSTRAP", "/ip4/1.2.3/tcp/4"]);
    check_error("", &[("SHOAL_NETWORK", "Main")], &["SHOAL_NETWORK", "'M'", "a-z"]);
    check_error("network = 'Main'", &[], &["config.toml", "network", "'M'"]);
}

#[test]
fn the_home_follows_the_environment() {
    let at = |variables: &[(&'static str, &str)]| {
        let map = variables.iter().copied().collect::<BTreeMap<_, _>>();
        home(None, &|name| map.get(name).map(OsString::from)).map(|home| home.value)
    };
    assert_eq!(at(&[("HOME", "/h")]).unwrap(), Path::new("/h/.local/share/shoal"));
    assert_eq!(at(&[("HOME", "/h"), ("XDG_DATA_HOME", "/x")]).unwrap(), Path::new("/x/shoal"));
    assert_eq!(at(&[("HOME", "/h"), ("XDG_DATA_HOME", "relative")]).unwrap(), Path::new("/h/.local/share/shoal"));
    assert_eq!(at(&[("HOME", "/h"), ("SHOAL_HOME", "/s/")]).unwrap(), Path::new("/s"));
    assert_eq!(at(&[]).unwrap_err().exit_code(), 2);
}

#[test]
fn flags_that_a_running_node_ignores_are_known() {
    let network = NetworkArgs { listen: vec!["/ip4/127.0.0.1/tcp/0".into()], no_mdns: true, ..NetworkArgs::default() };
    let settings = World::new("network = 'x'", &[]).resolve(Flags { network, ..Flags::default() }).unwrap();
    assert_eq!(settings.network_flags(), ["--listen", "--no-mdns"]);
}
