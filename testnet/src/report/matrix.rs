//! Who sent to whom: a square of cells, darker where more was sent; by groups where there are many nodes.

use std::collections::BTreeMap;

use super::Report;
use super::svg::{COLORS, Page};
use crate::size::show_size;

/// Nodes that have a row each.
const MAX_ROWS: usize = 64;
const CELL: u64 = 22;
const LEFT: u64 = 170;
const TOP: u64 = 150;

pub(super) fn draw(report: &Report) -> String {
    let (names, place) = rows(report);
    let mut sent: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for transfer in &report.transfers {
        if let (Some(from), Some(to)) = (place.get(transfer.from), place.get(transfer.to)) {
            *sent.entry((*from, *to)).or_default() += transfer.bytes;
        }
    }
    let most = sent.values().copied().max().unwrap_or(0).max(1);
    let side = CELL * names.len() as u64;
    let title = format!("{}, seed {}: who sent to whom", report.scenario, report.seed);
    let mut page = Page::new((LEFT + side + 60).max(520), TOP + side + 40, &title);
    let most_words = format!("rows send, columns receive; the darkest cell is {}", show_size(most));
    page.words(16, 42, "start", 11, &most_words);
    for (row, name) in names.iter().enumerate() {
        let at = CELL * row as u64;
        page.words(LEFT - 8, TOP + at + 15, "end", 11, name);
        page.upward(LEFT + at + 14, TOP - 6, name);
        for (column, to) in names.iter().enumerate() {
            let bytes = sent.get(&(row, column)).copied().unwrap_or(0);
            let percent = u64::try_from(u128::from(bytes) * 100 / u128::from(most)).unwrap_or(100);
            // What was sent at all is seen.
            let percent = if bytes > 0 { percent.max(4) } else { 0 };
            let note = format!("{name} to {to}: {}", show_size(bytes));
            page.cell(LEFT + CELL * column as u64, TOP + at, CELL, COLORS[0], percent, &note);
        }
    }
    page.finish()
}

/// The names of the rows, and which row each node belongs to.
fn rows(report: &Report) -> (Vec<String>, Vec<usize>) {
    if report.nodes.len() <= MAX_ROWS {
        return (report.nodes.iter().map(|node| node.name.clone()).collect(), (0..report.nodes.len()).collect());
    }
    let mut names: Vec<String> = Vec::new();
    let mut place = Vec::new();
    for node in &report.nodes {
        let known = names.iter().position(|name| *name == node.group);
        place.push(known.unwrap_or(names.len()));
        if known.is_none() {
            names.push(node.group.clone());
        }
    }
    (names, place)
}
