//! The scenarios that come with the program.

use super::{Scenario, ScenarioError};

/// A scenario that comes with the program.
#[derive(Debug, Clone, Copy)]
pub struct Shipped {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        [$(Shipped { name: $name, text: include_str!(concat!("../../scenarios/", $name, ".toml")) }),*]
    };
}

const ALL: [Shipped; 12] = shipped![
    "steady-fetch",
    "flash-crowd",
    "rolling-restart",
    "churn",
    "six-of-twenty",
    "partition",
    "bad-lines",
    "slow-providers",
    "liars",
    "disk-full",
    "damage",
    "update",
];

/// All of them, in the order in which they are worth reading.
pub fn shipped_scenarios() -> &'static [Shipped] {
    &ALL
}

/// The one of that name.
pub fn shipped(name: &str) -> Option<&'static Shipped> {
    ALL.iter().find(|shipped| shipped.name == name)
}

impl Shipped {
    /// Reads it.
    ///
    /// # Errors
    /// None: every one is read by a test.
    pub fn scenario(&self) -> Result<Scenario, ScenarioError> {
        Scenario::parse(self.text)
    }
}
