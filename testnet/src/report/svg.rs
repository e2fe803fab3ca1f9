//! What the pictures are drawn with: a page with axes, lines, cells and words. SVG 1.1, without scripts or fonts.

use std::fmt::Write;

use super::Report;
use super::text::seconds;

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// What it is called, also as a file.
    pub name: &'static str,
    /// The whole file.
    pub svg: String,
}

impl Report {
    /// Completion curves, who sent to whom, and bytes over time.
    pub fn pictures(&self) -> Vec<Picture> {
        vec![
            Picture { name: "completion", svg: super::completion::draw(self) },
            Picture { name: "matrix", svg: super::matrix::draw(self) },
            Picture { name: "traffic", svg: super::traffic::draw(self) },
        ]
    }
}

/// Colours that are told apart also by those who see few.
pub(super) const COLORS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#000000"];

const WIDTH: u64 = 900;
const HEIGHT: u64 = 420;
const LEFT: u64 = 90;
const RIGHT: u64 = 20;
const TOP: u64 = 44;
const BOTTOM: u64 = 46;
const TICKS: u64 = 5;

/// A page that is being drawn.
pub(super) struct Page {
    body: String,
    width: u64,
    height: u64,
}

impl Page {
    pub(super) fn new(width: u64, height: u64, title: &str) -> Self {
        let mut page = Self { body: String::new(), width, height };
        page.words(16, 24, "start", 15, title);
        page
    }

    pub(super) fn words(&mut self, x: u64, y: u64, anchor: &str, size: u64, words: &str) {
        let words = escaped(words);
        self.put(format_args!(r#"<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}">{words}</text>"#));
    }

    /// Words that run upwards.
    pub(super) fn upward(&mut self, x: u64, y: u64, words: &str) {
        let words = escaped(words);
        self.put(format_args!(
            r#"<text x="{x}" y="{y}" font-size="11" transform="rotate(-60 {x} {y})">{words}</text>"#
        ));
    }

    pub(super) fn cell(&mut self, x: u64, y: u64, size: u64, color: &str, share_percent: u64, note: &str) {
        let (opacity, note) = (share_percent.min(100), escaped(note));
        let opacity = format!("{}.{:02}", opacity / 100, opacity % 100);
        self.put(format_args!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{size}\" height=\"{size}\" fill=\"{color}\" \
             fill-opacity=\"{opacity}\" stroke=\"#cccccc\"><title>{note}</title></rect>"
        ));
    }

    pub(super) fn line(&mut self, points: &[(u64, u64)], color: &str, width: &str, dashes: &str) {
        let points = points.iter().map(|(x, y)| format!("{x},{y}")).collect::<Vec<_>>().join(" ");
        self.put(format_args!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\" \
             stroke-dasharray=\"{dashes}\"/>"
        ));
    }

    pub(super) fn finish(self) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" \
             font-family=\"sans-serif\">\n<rect width=\"{w}\" height=\"{h}\" fill=\"#ffffff\"/>\n{body}</svg>\n",
            w = self.width,
            h = self.height,
            body = self.body
        )
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.body, "{element}");
    }
}

/// A page with time from left to right and a quantity upwards.
pub(super) struct Chart {
    page: Page,
    length_us: u64,
    top: u64,
}

impl Chart {
    /// Axes with marks; `label` writes a value of the upward axis, which ends at `top`.
    pub(super) fn new(title: &str, report: &Report, top: u64, label: impl Fn(u64) -> String) -> Self {
        let mut page = Page::new(WIDTH, HEIGHT, title);
        let length_us = report.length_us.max(1);
        let chart = |at, value| place(at, length_us, value, top.max(1));
        for tick in 0..=TICKS {
            let (at, value) = (length_us / TICKS * tick, top / TICKS * tick);
            let ((x, bottom), (left, y)) = (chart(at, 0), chart(0, value));
            page.line(&[(left, y), (WIDTH - RIGHT, y)], "#e0e0e0", "1", "");
            page.words(x, bottom + 18, "middle", 11, &seconds(at));
            page.words(left - 8, y + 4, "end", 11, &label(value));
        }
        for event in report.events.iter().filter(|event| event.fault) {
            page.line(&[chart(event.at_us, 0), chart(event.at_us, top)], "#d55e00", "0.6", "2 3");
        }
        page.words(WIDTH - RIGHT, HEIGHT - 6, "end", 11, "dotted: faults and their ends");
        Self { page, length_us, top: top.max(1) }
    }

    /// A curve through points of time and value.
    pub(super) fn curve(&mut self, points: impl Iterator<Item = (u64, u64)>, color: &str, width: &str) {
        let places: Vec<_> = points.map(|(at, value)| place(at, self.length_us, value, self.top)).collect();
        self.page.line(&places, color, width, "");
    }

    /// A dashed line upwards with words at its top.
    pub(super) fn mark(&mut self, at_us: u64, words: &str) {
        let (low, high) = (place(at_us, self.length_us, 0, self.top), place(at_us, self.length_us, self.top, self.top));
        self.page.line(&[low, high], "#000000", "1", "6 4");
        self.page.words(high.0 + 4, high.1 + 12, "start", 11, words);
    }

    /// What a colour stands for; `place` counts the lines of the legend.
    pub(super) fn legend(&mut self, place: usize, color: &str, words: &str) {
        let y = TOP + 20 + 16 * place as u64;
        self.page.line(&[(LEFT + 12, y - 4), (LEFT + 36, y - 4)], color, "3", "");
        self.page.words(LEFT + 42, y, "start", 11, words);
    }

    pub(super) fn finish(self) -> String {
        self.page.finish()
    }
}

/// Where on a chart's page.
fn place(at_us: u64, length_us: u64, value: u64, top: u64) -> (u64, u64) {
    let part = |of: u64, whole: u64, room: u64| {
        u64::try_from(u128::from(of.min(whole)) * u128::from(room) / u128::from(whole.max(1))).unwrap_or(0)
    };
    (LEFT + part(at_us, length_us, WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - part(value, top, HEIGHT - TOP - BOTTOM))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
