//! Tells what happens: lines with the time before them, and under them, on a terminal, a board that is drawn anew.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How often progress is told where nothing can be drawn over.
const PLAIN_INTERVAL: Duration = Duration::from_secs(1);

/// What is told could not be written out.
#[derive(Debug, thiserror::Error)]
#[error("cannot write what happens: {0}")]
pub struct NarrationError(#[source] pub io::Error);

/// The terminal that a story is told on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Lines that are seen at once.
    pub rows: usize,
    /// Characters in a line.
    pub columns: usize,
}

/// Where the story goes.
pub(crate) struct Narrator<'a> {
    out: &'a mut (dyn Write + Send),
    screen: Option<Screen>,
    /// Whether only the board is shown, and no line before the outcome.
    board_only: bool,
    started: Instant,
    last_progress: Option<Instant>,
    /// The board as it stands, above the cursor.
    board: Vec<String>,
}

impl<'a> Narrator<'a> {
    /// `screen`: the terminal that the writer is; `None` if it is none, and nothing may be drawn over.
    pub(crate) fn new(out: &'a mut (dyn Write + Send), screen: Option<Screen>, board_only: bool) -> Self {
        Self { out, screen, board_only, started: Instant::now(), last_progress: None, board: Vec::new() }
    }

    /// Since the story began.
    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// One line, with the time before it.
    pub(crate) fn say(&mut self, text: &str) -> Result<(), NarrationError> {
        if self.board_only {
            return Ok(());
        }
        let at = self.elapsed().as_secs_f64();
        self.line(&format!("{at:5.1} s  {text}"))
    }

    /// How many rows a board may have; `None` where there is no terminal to draw one on.
    pub(crate) fn board_rows(&self) -> Option<usize> {
        // Room for the summary, the cursor's own line and some of the story.
        self.screen.map(|screen| screen.rows.saturating_sub(6))
    }

    /// How far it is: on a terminal a board of these rows with the summary under them; elsewhere the summary alone, now
    /// and then.
    pub(crate) fn progress(&mut self, summary: &str, rows: Vec<String>) -> Result<(), NarrationError> {
        if let Some(screen) = self.screen {
            let lines = rows.iter().map(String::as_str).chain([summary]);
            // A line that is wrapped would be two to go back.
            let shown = lines.map(|line| line.chars().take(screen.columns.saturating_sub(1)).collect());
            return self.draw("", shown.collect());
        }
        if self.last_progress.is_some_and(|last| last.elapsed() < PLAIN_INTERVAL) {
            return Ok(());
        }
        self.last_progress = Some(Instant::now());
        self.say(summary)
    }

    /// One line as it is.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), NarrationError> {
        let board = self.board.clone();
        self.draw(&format!("{}\n", text.trim_end()), board)
    }

    /// Takes the board away.
    pub(crate) fn end_board(&mut self) -> Result<(), NarrationError> {
        self.draw("", Vec::new())
    }

    /// Text in place of the board, and the board that stands under it from now on; in one write, so that nothing
    /// flickers.
    fn draw(&mut self, text: &str, board: Vec<String>) -> Result<(), NarrationError> {
        let back = match self.board.len() {
            0 => String::new(),
            lines => format!("\x1b[{lines}F\x1b[J"),
        };
        let lines: String = board.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        self.board = board;
        let all = format!("{back}{text}{lines}");
        self.out.write_all(all.as_bytes()).and_then(|()| self.out.flush()).map_err(NarrationError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(screen: Option<Screen>, board_only: bool, tell: impl Fn(&mut Narrator<'_>)) -> String {
        let mut out = Vec::new();
        tell(&mut Narrator::new(&mut out, screen, board_only));
        String::from_utf8(out).unwrap()
    }

    fn story(narrator: &mut Narrator<'_>) {
        let most = narrator.board_rows();
        narrator.progress("7 %", most.map(|most| format!("node, {most} fit")).into_iter().collect()).unwrap();
        narrator.line("something happened").unwrap();
        narrator.progress("8 %", Vec::new()).unwrap();
        narrator.end_board().unwrap();
    }

    #[test]
    fn a_board_is_drawn_over_and_stays_under_the_lines() {
        let screen = Some(Screen { rows: 24, columns: 80 });
        assert_eq!(
            told(screen, false, story),
            "node, 18 fit\n7 %\n\x1b[2F\x1b[Jsomething happened\nnode, 18 fit\n7 %\n\x1b[2F\x1b[J8 %\n\x1b[1F\x1b[J"
        );
        let narrow = Some(Screen { rows: 24, columns: 6 });
        assert!(told(narrow, false, story).starts_with("node,\n7 %\n"));
    }

    #[test]
    fn without_a_terminal_there_are_plain_lines_now_and_then() {
        let text = told(None, false, story);
        let lines: Vec<&str> = text.lines().map(|line| line.trim_start_matches([' ', '0', '.', 's'])).collect();
        assert_eq!(lines, ["7 %", "omething happened"], "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn of_a_series_only_the_board_is_seen() {
        assert_eq!(told(None, true, |narrator| narrator.say("seen").unwrap()), "");
    }
}
