//! Tables for people: aligned columns, safe for a terminal.

use unicode_width::UnicodeWidthStr;

use crate::escape::printable;

/// Which side a column's cells keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Rows under a line of headings.
#[derive(Debug)]
pub(crate) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and no rows.
    pub(crate) fn new(columns: &[(&str, Side)]) -> Self {
        let headings = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        Self { sides: columns.iter().map(|(_, side)| *side).collect(), rows: vec![headings] }
    }

    /// Adds a row; cells may hold any text.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.sides.len());
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// The lines of the table, headings first, two spaces between columns and none at the end.
    pub(crate) fn lines(&self) -> Vec<String> {
        let widths = (0..self.sides.len())
            .map(|column| {
                self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
            })
            .collect::<Vec<_>>();
        let line = |row: &Vec<String>| {
            let mut line = String::new();
            for ((cell, width), side) in row.iter().zip(&widths).zip(&self.sides) {
                let padding = " ".repeat(width.saturating_sub(cell.width()));
                match side {
                    Side::Left => line.extend([cell, padding.as_str(), "  "]),
                    Side::Right => line.extend([padding.as_str(), cell, "  "]),
                }
            }
            line.truncate(line.trim_end().len());
            line
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let mut table = Table::new(&[("NAME", Side::Left), ("SIZE", Side::Right), ("WHERE", Side::Left)]);
        table.row(["日本".into(), "7 B".into(), "here".into()]);
        table.row(["a\u{1b}b".into(), "1023 B".into(), String::new()]);
        assert_eq!(table.lines(), ["NAME        SIZE  WHERE", "日本         7 B  here", "a\\u{1b}b  1023 B"]);
    }
}
