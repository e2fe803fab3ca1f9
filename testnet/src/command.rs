//! The command line of one node: runs commands against its home, reads what they print.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::de::DeserializeOwned;
use shoal_node::api::{ContentInfo, EntryInfo, Fetched, Identity, PeerInfo, Published, Status};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::error::TestnetError;

/// How long a command may take unless told otherwise.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(120);

/// A `shoal` executable with a home: what to put before the arguments of every command.
#[derive(Debug, Clone)]
pub struct Shoal {
    program: PathBuf,
    home: PathBuf,
    environment: Vec<(OsString, OsString)>,
    process_group: Option<i32>,
    user: Option<u32>,
    survives_file_limit: bool,
    deadline: Duration,
}

/// How a command ended and what it printed.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: Vec<u8>,
    /// All of stderr.
    pub stderr: String,
}

/// What a fetch may be told besides the hash.
#[derive(Debug, Clone, Default)]
pub struct FetchOptions {
    /// Addresses for `--peer`.
    pub peers: Vec<String>,
    /// Bytes a second for `--limit-down`.
    pub limit_down: Option<u64>,
    /// How long to look for a first provider.
    pub timeout: Option<Duration>,
    /// `--force`.
    pub force: bool,
    /// `--in-place`.
    pub in_place: bool,
    /// Hashes for `--base`.
    pub bases: Vec<String>,
}

impl Shoal {
    /// Commands of `program` with `--home home`.
    pub fn new(program: impl Into<PathBuf>, home: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            home: home.into(),
            environment: Vec::new(),
            process_group: None,
            user: None,
            survives_file_limit: false,
            deadline: COMMAND_DEADLINE,
        }
    }

    /// The same with an environment variable more.
    pub fn with_environment(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The same where a node that a command runs itself, with no daemon to ask, listens on loopback only and leaves
    /// mDNS alone.
    pub fn on_loopback(self) -> Self {
        self.with_environment("SHOAL_LISTEN", "/ip4/127.0.0.1/tcp/0").with_environment("SHOAL_MDNS", "false")
    }

    /// The same with processes that start in this process group.
    pub fn in_process_group(mut self, number: i32) -> Self {
        self.process_group = Some(number);
        self
    }

    /// The same with processes that run as this user and group; takes being root.
    pub fn as_user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// The same with processes for which a write beyond the limit on file sizes is an error and not their end: the
    /// signal that comes with it is ignored from the start. Takes `/bin/sh`.
    pub fn surviving_file_limit(mut self) -> Self {
        self.survives_file_limit = true;
        self
    }

    /// The same with another deadline for a whole command.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A command that is not started yet, with stdin at its end. It is killed when its handle is dropped.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = if self.survives_file_limit {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#]).arg(&self.program);
            shell
        } else {
            Command::new(&self.program)
        };
        command.arg("--home").arg(&self.home).args(arguments);
        // What the caller's own shell sets must not reach a test's node.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SHOAL_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        if let Some(number) = self.process_group {
            command.process_group(number);
        }
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Starts a command with both outputs piped.
    pub fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Child, TestnetError> {
        spawn(&mut self.command(arguments))
    }

    /// Runs a command to its end, whatever the exit code.
    pub async fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Finished, TestnetError> {
        let mut command = self.command(arguments);
        let words =
            std::iter::once("shoal".into()).chain(command.as_std().get_args().skip(2).map(OsStr::to_string_lossy));
        let line = words.collect::<Vec<_>>().join(" ");
        let child = spawn(&mut command)?;
        let output = match timeout(self.deadline, child.wait_with_output()).await {
            Ok(output) => output.map_err(TestnetError::file(&self.program))?,
            Err(_) => return Err(TestnetError::Deadline { what: format!("`{line}`"), deadline: self.deadline }),
        };
        Ok(Finished {
            command: line,
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command with `--json` and reads the one document that it prints.
    pub async fn json<T: DeserializeOwned, A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<T, TestnetError> {
        self.run(with_json(arguments)).await?.succeeded()?.json()
    }

    /// Runs a command with `--json` that lists things: an array or a line for each.
    pub async fn json_list<T: DeserializeOwned, A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Vec<T>, TestnetError> {
        self.run(with_json(arguments)).await?.succeeded()?.json_list()
    }

    /// `publish PATH`.
    pub async fn publish(&self, path: &Path) -> Result<Published, TestnetError> {
        self.json([OsStr::new("publish"), path.as_os_str()]).await
    }

    /// `fetch HASH -o PATH`.
    pub async fn fetch(&self, what: &str, output: &Path, options: &FetchOptions) -> Result<Fetched, TestnetError> {
        self.json(fetch_arguments(what, output, options)).await
    }

    /// `id`.
    pub async fn id(&self) -> Result<Identity, TestnetError> {
        self.json(["id"]).await
    }

    /// `status`.
    pub async fn status(&self) -> Result<Status, TestnetError> {
        self.json(["status"]).await
    }

    /// `peers`.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, TestnetError> {
        self.json_list(["peers"]).await
    }

    /// `list`.
    pub async fn list(&self) -> Result<Vec<ContentInfo>, TestnetError> {
        self.json_list(["list"]).await
    }

    /// `ls HASH[/PATH]`.
    pub async fn ls(&self, what: &str) -> Result<Vec<EntryInfo>, TestnetError> {
        self.json_list(["ls", what]).await
    }
}

impl Finished {
    /// Itself, or an error when the exit code is not 0.
    pub fn succeeded(self) -> Result<Self, TestnetError> {
        match self.code {
            Some(0) => Ok(self),
            code => Err(TestnetError::Command { command: self.command, code, stderr: self.stderr }),
        }
    }

    /// The one document on stdout.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, TestnetError> {
        serde_json::from_slice(&self.stdout).map_err(|source| self.unexpected(source))
    }

    /// The documents on stdout: an array, or any number of documents one after another.
    pub fn json_list<T: DeserializeOwned>(&self) -> Result<Vec<T>, TestnetError> {
        let text = self.stdout.trim_ascii_start();
        if text.starts_with(b"[") {
            return self.json();
        }
        serde_json::Deserializer::from_slice(text)
            .into_iter::<T>()
            .collect::<Result<_, _>>()
            .map_err(|source| self.unexpected(source))
    }

    fn unexpected(&self, source: serde_json::Error) -> TestnetError {
        let stdout = String::from_utf8_lossy(&self.stdout).chars().take(400).collect();
        TestnetError::Output { command: self.command.clone(), source, stdout }
    }
}

/// The arguments of a fetch to a path.
pub fn fetch_arguments(what: &str, output: &Path, options: &FetchOptions) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["fetch".into(), what.into(), "-o".into(), output.into()];
    for peer in &options.peers {
        arguments.extend(["--peer".into(), peer.into()]);
    }
    for base in &options.bases {
        arguments.extend(["--base".into(), base.into()]);
    }
    if let Some(rate) = options.limit_down {
        arguments.extend(["--limit-down".into(), rate_text(rate)]);
    }
    if let Some(timeout) = options.timeout {
        arguments.extend(["--timeout".into(), format!("{}ms", timeout.as_millis()).into()]);
    }
    if options.force {
        arguments.push("--force".into());
    }
    if options.in_place {
        arguments.push("--in-place".into());
    }
    arguments
}

/// A rate as the command line takes it.
pub fn rate_text(bytes_per_second: u64) -> OsString {
    format!("{bytes_per_second}B/s").into()
}

fn with_json<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Vec<OsString> {
    std::iter::once("--json".into()).chain(arguments.into_iter().map(|a| a.as_ref().to_owned())).collect()
}

fn spawn(command: &mut Command) -> Result<Child, TestnetError> {
    let program = PathBuf::from(command.as_std().get_program());
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| TestnetError::Start { program, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(folder: &Path, script: &str) -> Shoal {
        Shoal::new(crate::fake::program(folder, &format!("#!/bin/sh\n{script}\n")), folder.join("home"))
    }

    #[tokio::test]
    async fn reads_documents_arrays_and_lines() {
        let folder = tempfile::tempdir().unwrap();
        let shoal = fake(folder.path(), r#"[ "$3" = --json ] || exit 9; shift 3; printf '%s\n' "$@""#);
        assert_eq!(shoal.json::<u32, _>(["7"]).await.unwrap(), 7);
        assert_eq!(shoal.json_list::<u32, _>(["[1,", "2]"]).await.unwrap(), [1, 2]);
        assert_eq!(shoal.json_list::<u32, _>(["1", "2"]).await.unwrap(), [1, 2]);
        assert!(shoal.json_list::<u32, _>([""]).await.unwrap().is_empty());
        let error = shoal.json::<u32, _>(["seven"]).await.unwrap_err().to_string();
        assert!(error.contains("shoal --json seven"), "{error}");
    }

    #[tokio::test]
    async fn a_failure_carries_command_code_and_words() {
        let folder = tempfile::tempdir().unwrap();
        let shoal = fake(folder.path(), "echo nobody has it >&2; exit 3");
        let error = shoal.json::<u32, _>(["fetch", "x"]).await.unwrap_err();
        assert!(matches!(&error, TestnetError::Command { code: Some(3), stderr, .. } if stderr.contains("nobody")));
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let shoal = fake(folder.path(), "exec sleep 600").with_deadline(Duration::from_millis(200));
        assert!(matches!(shoal.run(["id"]).await, Err(TestnetError::Deadline { .. })));
    }

    #[test]
    fn a_fetch_as_the_command_line_takes_it() {
        let options = FetchOptions {
            peers: vec!["/ip4/127.0.0.1/tcp/1".into()],
            limit_down: Some(5),
            timeout: Some(Duration::from_secs(2)),
            force: true,
            in_place: true,
            bases: vec!["old".into()],
        };
        let expected = "fetch h -o out --peer /ip4/127.0.0.1/tcp/1 --base old --limit-down 5B/s --timeout 2000ms --force --in-place";
        assert_eq!(fetch_arguments("h", Path::new("out"), &options), expected.split(' ').collect::<Vec<_>>());
    }
}
