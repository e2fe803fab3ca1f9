//! Text from others, made safe for a terminal.
//!
//! Names of files, peers' agents and a remote node's words may hold escape sequences or characters that reorder what
//! a person reads. Everything that goes to people passes through here; JSON keeps the text as it is.

use std::fmt::{self, Write};

/// Shows text on one line, with control characters and reordering marks as escapes.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\n' | '\r' | '\t' => write!(f, "{}", character.escape_default())?,
                c if c.is_control() || deceives(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Marks that are not seen themselves but change how the text around them is seen.
fn deceives(character: char) -> bool {
    matches!(
        character,
        '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

/// The text as a string safe to print.
pub(crate) fn printable(text: &str) -> String {
    Printable(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_letters() {
        for (text, shown) in [
            ("größe 日本 a\\b", "größe 日本 a\\b"),
            ("a\nb\t\r", "a\\nb\\t\\r"),
            ("\u{1b}[2J\u{7}", "\\u{1b}[2J\\u{7}"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("exe\u{202e}gpj.", "exe\\u{202e}gpj."),
        ] {
            assert_eq!(printable(text), shown);
        }
    }
}
