//! Where everything a command says goes: results to stdout, the rest to stderr.
//!
//! The only place that knows the standard streams. With `--json` stdout carries JSON alone; errors are the same one
//! line on stderr with and without it, and stdout stays empty then.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;

use serde::Serialize;
use shoal_node::api::{Failure, FailureKind};
use shoal_testnet::Screen;

use crate::escape::Printable;
use crate::progress::{Bar, Lines, ProgressSink, Silent};
use crate::stop::{Outcome, Stop};
use crate::table::Table;

const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[1;33m";
const RESET: &str = "\u{1b}[0m";

/// A stream to write to and what stands at its other end.
pub(crate) struct Stream {
    pub(crate) writer: Box<dyn Write + Send>,
    pub(crate) terminal: bool,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Even into a pipe.
    Always,
    /// Not even on a terminal.
    Never,
}

/// How much is said on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Verbosity {
    /// Errors only.
    Quiet,
    /// Notes, warnings and, on a terminal, progress.
    #[default]
    Normal,
    /// Causes of errors, progress without a terminal, and what the node logs.
    Verbose,
}

/// How to say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Manner {
    pub(crate) json: bool,
    pub(crate) verbosity: Verbosity,
    pub(crate) color: ColorChoice,
}

/// The two streams of a command.
pub(crate) struct Output {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    manner: Manner,
    color_stdout: bool,
    color_stderr: bool,
    draws: bool,
    stdout_terminal: bool,
}

impl Output {
    /// Writes to the standard streams of this process.
    pub(crate) fn standard(manner: Manner) -> Self {
        let out = io::stdout();
        let terminal = out.is_terminal();
        // A file of our own on the same descriptor: the standard handle would look for line ends in every write.
        let writer: Box<dyn Write + Send> = match out.as_fd().try_clone_to_owned() {
            Ok(descriptor) => Box::new(File::from(descriptor)),
            Err(_) => Box::new(out),
        };
        let err = Stream { terminal: io::stderr().is_terminal(), writer: Box::new(io::stderr()) };
        Self::new(Stream { writer, terminal }, err, manner)
    }

    /// Writes to these streams.
    pub(crate) fn new(stdout: Stream, stderr: Stream, manner: Manner) -> Self {
        let color = |terminal: bool| match manner.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !plain_terminal(),
        };
        Self {
            stdout: Box::new(BufWriter::new(stdout.writer)),
            stderr: stderr.writer,
            manner,
            color_stdout: color(stdout.terminal),
            color_stderr: color(stderr.terminal),
            draws: stderr.terminal,
            stdout_terminal: stdout.terminal,
        }
    }

    /// Whether results are JSON.
    pub(crate) fn json(&self) -> bool {
        self.manner.json
    }

    /// Where a story for people goes that is the result itself: stdout, unless that is for JSON.
    pub(crate) fn story(&mut self) -> &mut (dyn Write + Send) {
        if self.manner.json { &mut self.stderr } else { &mut self.stdout }
    }

    /// Whether the story's lines may be drawn over.
    pub(crate) fn tells_live(&self) -> bool {
        if self.manner.json { self.draws } else { self.stdout_terminal }
    }

    /// The terminal that a story is told on, if it is one.
    pub(crate) fn screen(&self) -> Option<Screen> {
        if !self.tells_live() || is_dumb() {
            return None;
        }
        let terminal = if self.manner.json { console::Term::stderr() } else { console::Term::stdout() };
        let (rows, columns) = terminal.size();
        Some(Screen { rows: usize::from(rows), columns: usize::from(columns) })
    }

    /// A result on a line of its own. The text must be safe for a terminal.
    pub(crate) fn line(&mut self, text: &str) -> Outcome {
        let written = self.stdout.write_all(text.as_bytes()).and_then(|()| self.stdout.write_all(b"\n"));
        written.map_err(|error| stdout_failed(&error))
    }

    /// A table, its headings in bold where there are colours.
    pub(crate) fn table(&mut self, table: &Table) -> Outcome {
        for (at, line) in table.lines().into_iter().enumerate() {
            match at {
                0 if self.color_stdout => self.line(&format!("{BOLD}{line}{RESET}"))?,
                _ => self.line(&line)?,
            }
        }
        Ok(())
    }

    /// A result as JSON on one line.
    pub(crate) fn document(&mut self, value: &impl Serialize) -> Outcome {
        let text = serde_json::to_string(value)
            .map_err(|error| Stop::new(FailureKind::Failed, format!("cannot write the result as JSON: {error}")))?;
        self.line(&text)
    }

    /// Clears the terminal that stdout is, for what is drawn anew.
    pub(crate) fn clear_screen(&mut self) -> Outcome {
        self.stdout.write_all(b"\x1b[H\x1b[2J").map_err(|error| stdout_failed(&error))
    }

    /// Hands on what was written so far.
    pub(crate) fn flush(&mut self) -> Outcome {
        self.stdout.flush().map_err(|error| stdout_failed(&error))
    }

    /// Gives stdout away, to a thread that writes bytes to it.
    pub(crate) fn take_stdout(&mut self) -> Box<dyn Write + Send> {
        std::mem::replace(&mut self.stdout, Box::new(io::sink()))
    }

    /// Something a person may want to know.
    pub(crate) fn note(&mut self, text: &str) {
        if self.manner.verbosity >= Verbosity::Normal {
            self.say(&format!("{}", Printable(text)));
        }
    }

    /// Something a person should know.
    pub(crate) fn warn(&mut self, text: &str) {
        if self.manner.verbosity >= Verbosity::Normal {
            let word = self.paint(YELLOW, "warning:");
            self.say(&format!("{word} {}", Printable(text)));
        }
    }

    /// What went wrong: one line, and the causes under it with `-v`.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        let word = self.paint(RED, "shoal:");
        self.say(&format!("{word} {}", Printable(&failure.message)));
        if self.manner.verbosity >= Verbosity::Verbose {
            for cause in &failure.causes {
                self.say(&format!("  because: {}", Printable(cause)));
            }
        }
    }

    /// Whether [`Self::progress`] shows anything.
    pub(crate) fn shows_progress(&self) -> bool {
        match self.manner.verbosity {
            Verbosity::Quiet => false,
            Verbosity::Normal => self.draws,
            Verbosity::Verbose => true,
        }
    }

    /// Shows how a long operation goes on, as fits stderr.
    pub(crate) fn progress(&self) -> Box<dyn ProgressSink> {
        match self.manner.verbosity {
            Verbosity::Quiet => Box::new(Silent),
            _ if self.draws => Box::new(Bar::new(self.color_stderr)),
            Verbosity::Normal => Box::new(Silent),
            Verbosity::Verbose => Box::new(Lines::default()),
        }
    }

    /// Writes help or the like as it is: to stdout if it was asked for, else to stderr.
    pub(crate) fn page(&mut self, text: &str, asked_for: bool) -> Outcome {
        if asked_for {
            return self.stdout.write_all(text.as_bytes()).map_err(|error| stdout_failed(&error));
        }
        self.say(text.trim_end());
        Ok(())
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.color_stderr { format!("{color}{text}{RESET}") } else { text.to_owned() }
    }

    fn say(&mut self, text: &str) {
        // There is nobody left to tell that stderr is closed.
        let _ = writeln!(self.stderr, "{text}").and_then(|()| self.stderr.flush());
    }
}

/// Whether the environment asks for no colours.
fn plain_terminal() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    set("NO_COLOR") || is_dumb()
}

/// Whether the terminal knows no more than lines.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// What a failed write to stdout means.
pub(crate) fn stdout_failed(error: &io::Error) -> Stop {
    let kind = match error.kind() {
        io::ErrorKind::BrokenPipe => return Stop::ReaderGone,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => FailureKind::Denied,
        _ => FailureKind::Failed,
    };
    Stop::new(kind, format!("cannot write to stdout: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shared, streams};

    fn check(manner: Manner, terminal: bool, say: impl Fn(&mut Output), stdout: &str, stderr: &str) {
        let (out, err) = (Shared::default(), Shared::default());
        let (first, second) = streams(&out, &err, terminal);
        let mut output = Output::new(first, second, manner);
        say(&mut output);
        output.flush().unwrap();
        assert_eq!((out.text().as_str(), err.text().as_str()), (stdout, stderr));
    }

    fn sample() -> Failure {
        Failure { kind: FailureKind::Failed, message: "no \u{1b}[2J".into(), causes: vec!["disk".into()] }
    }

    #[test]
    fn a_failure_is_one_safe_line_and_its_causes_come_with_v() {
        let normal = Manner::default();
        check(normal, false, |o| o.failure(&sample()), "", "shoal: no \\u{1b}[2J\n");
        let verbose = Manner { verbosity: Verbosity::Verbose, ..normal };
        check(verbose, false, |o| o.failure(&sample()), "", "shoal: no \\u{1b}[2J\n  because: disk\n");
        let quiet = Manner { verbosity: Verbosity::Quiet, json: true, ..normal };
        check(quiet, false, |o| o.failure(&sample()), "", "shoal: no \\u{1b}[2J\n");
    }

    #[test]
    fn quiet_keeps_results_and_drops_notes() {
        let quiet = Manner { verbosity: Verbosity::Quiet, ..Manner::default() };
        let say = |output: &mut Output| {
            output.note("note");
            output.warn("warning");
            output.line("result").unwrap();
        };
        check(quiet, false, say, "result\n", "");
        check(Manner::default(), false, say, "result\n", "note\nwarning: warning\n");
    }

    #[test]
    fn colours_come_when_asked_for() {
        let always = Manner { color: ColorChoice::Always, ..Manner::default() };
        check(always, false, |o| o.warn("w"), "", "\u{1b}[1;33mwarning:\u{1b}[0m w\n");
        let never = Manner { color: ColorChoice::Never, ..Manner::default() };
        check(never, true, |o| o.warn("w"), "", "warning: w\n");
    }

    #[test]
    fn a_gone_reader_is_no_error() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(stdout_failed(&gone), Stop::ReaderGone);
        assert_eq!(stdout_failed(&io::Error::from(io::ErrorKind::StorageFull)).exit_code(), 5);
    }
}
