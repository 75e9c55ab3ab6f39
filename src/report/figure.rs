//! A figure is a list of marks, written twice: as SVG (a file, or inline in a page whose colours it follows) and as PNG through
//! [`Raster`]. Drawn by hand, not by a plotting crate: both outputs come of one list, with a description that is read aloud and
//! colours that follow a page's style sheet.

use super::frame::printable;
use crate::draw::{Anchor, Color, Raster};
use maud::{Markup, html};
use std::fmt::Write;

/// A colour by its role, so that a page can give it another value in the dark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ink {
    /// The paper.
    Ground,
    /// Words.
    Text,
    /// Lesser words.
    Muted,
    /// Rules and ticks.
    Grid,
    /// Shades of a matrix.
    Accent,
    /// White in any light.
    White,
    /// One of the curves.
    Series(usize),
}

/// Curves' colours: apart for every kind of colour vision, by lightness too.
const SERIES: [Color; 6] =
    [[0x0b, 0x83, 0x7f], [0xd9, 0x6a, 0x10], [0x77, 0x4b, 0xc4], [0xbf, 0x2f, 0x56], [0x2a, 0x6f, 0xd1], [0x6d, 0x7d, 0x1c]];

impl Ink {
    fn color(self) -> Color {
        match self {
            Ink::Ground | Ink::White => [0xff; 3],
            Ink::Text => [0x17, 0x21, 0x2e],
            Ink::Muted => [0x5a, 0x68, 0x78],
            Ink::Grid => [0xdf, 0xe5, 0xec],
            Ink::Accent => [0x1f, 0x5f, 0xb8],
            Ink::Series(index) => SERIES[index % SERIES.len()],
        }
    }

    /// The page's variable of the colour.
    fn variable(self) -> String {
        match self {
            Ink::Ground => "var(--panel)".to_owned(),
            Ink::Text => "var(--text)".to_owned(),
            Ink::Muted => "var(--muted)".to_owned(),
            Ink::Grid => "var(--grid)".to_owned(),
            Ink::Accent => "var(--accent)".to_owned(),
            Ink::White => "#fff".to_owned(),
            Ink::Series(index) => format!("var(--series{})", index % SERIES.len()),
        }
    }

    fn hexadecimal(self) -> String {
        let [red, green, blue] = self.color();
        format!("#{red:02x}{green:02x}{blue:02x}")
    }
}

/// Lengths in CSS pixels, x to the right, y down.
#[derive(Clone, Debug)]
enum Mark {
    Rectangle { x: f32, y: f32, width: f32, height: f32, ink: Ink, opacity: f32 },
    Polyline { points: Vec<[f32; 2]>, width: f32, ink: Ink, is_dashed: bool },
    Disc { x: f32, y: f32, radius: f32, ink: Ink },
    Text { x: f32, y: f32, text: String, size: f32, anchor: Anchor, ink: Ink, is_bold: bool, is_upright: bool },
}

/// What an SVG element is drawn in: a file has its own colours, a page's change with its style sheet.
#[derive(Clone, Copy)]
enum Medium {
    File,
    Page,
}

impl Medium {
    /// The value of a file's `fill` or `stroke`.
    fn attribute(self, ink: Ink) -> Option<String> {
        matches!(self, Medium::File).then(|| ink.hexadecimal())
    }

    /// The style of a page's element.
    fn style(self, property: &str, ink: Ink) -> Option<String> {
        matches!(self, Medium::Page).then(|| format!("{property}:{}", ink.variable()))
    }
}

/// Lines through the points; one that is not finite interrupts them.
fn path(points: &[[f32; 2]]) -> String {
    let (mut path, mut is_pen_down) = (String::new(), false);
    for [x, y] in points {
        let is_finite = x.is_finite() && y.is_finite();
        if is_finite {
            // Writing to a String cannot fail.
            let _ = write!(path, "{}{x:.2} {y:.2}", if is_pen_down { "L" } else { "M" });
        }
        is_pen_down = is_finite;
    }
    path
}

fn text_anchor(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Left => "start",
        Anchor::Center => "middle",
        Anchor::Right => "end",
    }
}

/// A drawing that can be written as PNG or SVG.
#[derive(Clone, Debug)]
pub struct Figure {
    width: f32,
    height: f32,
    spoken: String,
    heading: String,
    note: String,
    marks: Vec<Mark>,
}

/// Raster pixels a CSS pixel: sharp on a dense screen and on paper.
const PNG_SCALE: f32 = 2.0;

impl Figure {
    /// An empty figure; `spoken` says what it shows, for those who cannot see it.
    pub(super) fn new(width: f32, height: f32, spoken: impl Into<String>) -> Self {
        Figure { width, height, spoken: spoken.into(), heading: String::new(), note: String::new(), marks: Vec::new() }
    }

    /// What a file of the figure says above and beneath it; a page has its own headings.
    pub(super) fn framed(mut self, heading: impl Into<String>, note: impl Into<String>) -> Self {
        (self.heading, self.note) = (heading.into(), note.into());
        self
    }

    /// The figure as it stands in a file: heading above, note beneath.
    fn file(&self) -> Figure {
        let mut file = self.clone();
        let (above, beneath) = (44.0, if self.note.is_empty() { 8.0 } else { 30.0 });
        for mark in &mut file.marks {
            match mark {
                Mark::Rectangle { y, .. } | Mark::Disc { y, .. } | Mark::Text { y, .. } => *y += above,
                Mark::Polyline { points, .. } => points.iter_mut().for_each(|[_, y]| *y += above),
            }
        }
        file.height += above + beneath;
        file.bold(16.0, 22.0, &self.heading, 15.0, Anchor::Left, Ink::Text);
        if !self.note.is_empty() {
            // As wide as the figure allows, in the raster's letters of half their height.
            let size = (self.width - 24.0) / (0.57 * self.note.chars().count() as f32);
            let (x, y) = (self.width / 2.0, file.height - 15.0);
            file.text(x, y, &self.note, size.min(10.5), Anchor::Center, Ink::Muted);
        }
        file
    }

    pub(super) fn rectangle(&mut self, x: f32, y: f32, width: f32, height: f32, ink: Ink, opacity: f32) {
        self.marks.push(Mark::Rectangle { x, y, width, height, ink, opacity });
    }

    pub(super) fn polyline(&mut self, points: Vec<[f32; 2]>, width: f32, ink: Ink) {
        self.marks.push(Mark::Polyline { points, width, ink, is_dashed: false });
    }

    pub(super) fn dashes(&mut self, from: [f32; 2], to: [f32; 2], width: f32, ink: Ink) {
        self.marks.push(Mark::Polyline { points: vec![from, to], width, ink, is_dashed: true });
    }

    pub(super) fn disc(&mut self, [x, y]: [f32; 2], radius: f32, ink: Ink) {
        self.marks.push(Mark::Disc { x, y, radius, ink });
    }

    /// Text with its middle height at `y`.
    pub(super) fn text(&mut self, x: f32, y: f32, text: impl Into<String>, size: f32, anchor: Anchor, ink: Ink) {
        self.marks.push(Mark::Text { x, y, text: text.into(), size, anchor, ink, is_bold: false, is_upright: true });
    }

    pub(super) fn bold(&mut self, x: f32, y: f32, text: impl Into<String>, size: f32, anchor: Anchor, ink: Ink) {
        self.marks.push(Mark::Text { x, y, text: text.into(), size, anchor, ink, is_bold: true, is_upright: true });
    }

    /// Text that reads upwards, centred.
    pub(super) fn sideways(&mut self, x: f32, y: f32, text: impl Into<String>, size: f32, ink: Ink) {
        let (text, anchor) = (text.into(), Anchor::Center);
        self.marks.push(Mark::Text { x, y, text, size, anchor, ink, is_bold: false, is_upright: false });
    }

    /// The figure as an SVG file on white.
    pub fn svg(&self) -> String {
        const FONTS: &str = "system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif";
        let file = self.file();
        let (width, height) = (file.width, file.height);
        printable(html! {
            svg xmlns="http://www.w3.org/2000/svg" width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } role="img"
                font-family=(FONTS)
            {
                title { (file.spoken) }
                rect width=(width) height=(height) fill="#fff" {}
                (file.elements(Medium::File))
            }
        })
    }

    /// The figure as an element of a page: it scales with its place and takes the page's colours.
    pub(crate) fn inline(&self) -> Markup {
        let (width, height) = (self.width, self.height);
        html! {
            svg.figure viewBox={ "0 0 " (width) " " (height) } style={ "max-width:" (width) "px" } role="img" aria-label=(self.spoken) {
                (self.elements(Medium::Page))
            }
        }
    }

    fn elements(&self, medium: Medium) -> Markup {
        let two = |value: &f32| format!("{value:.2}");
        html! {
            @for mark in &self.marks {
                @match mark {
                    Mark::Rectangle { x, y, width, height, ink, opacity } => {
                        rect x=(two(x)) y=(two(y)) width=(two(width)) height=(two(height)) fill=[medium.attribute(*ink)]
                            style=[medium.style("fill", *ink)] fill-opacity=(format_args!("{opacity:.3}")) {}
                    }
                    Mark::Polyline { points, width, ink, is_dashed } => {
                        path d=(path(points)) fill="none" stroke=[medium.attribute(*ink)] style=[medium.style("stroke", *ink)]
                            stroke-width=(width) stroke-linejoin="round" stroke-dasharray=[is_dashed.then_some("4 4")] {}
                    }
                    Mark::Disc { x, y, radius, ink } => {
                        circle cx=(two(x)) cy=(two(y)) r=(radius) fill=[medium.attribute(*ink)] style=[medium.style("fill", *ink)] {}
                    }
                    Mark::Text { x, y, text, size, anchor, ink, is_bold, is_upright } => {
                        text x=(two(x)) y=(two(y)) dy=".35em" font-size=(size) text-anchor=(text_anchor(*anchor))
                            font-weight=[is_bold.then_some("600")]
                            transform=[(!is_upright).then(|| format!("rotate(-90 {x:.2} {y:.2})"))]
                            fill=[medium.attribute(*ink)] style=[medium.style("fill", *ink)] { (text) }
                    }
                }
            }
        }
    }

    /// The figure as a raster, twice its size in CSS pixels, on white.
    pub fn raster(&self) -> Raster {
        let (file, s) = (self.file(), PNG_SCALE);
        let mut raster = Raster::new((file.height * s).ceil() as usize, (file.width * s).ceil() as usize, Ink::Ground.color());
        for mark in &file.marks {
            match mark {
                Mark::Rectangle { x, y, width, height, ink, opacity } => {
                    for row in (y * s).round() as i64..((y + height) * s).round() as i64 {
                        for column in (x * s).round() as i64..((x + width) * s).round() as i64 {
                            raster.blend(row, column, ink.color(), *opacity);
                        }
                    }
                }
                Mark::Polyline { points, width, ink, is_dashed } => {
                    // Pixel centres lie at whole numbers in a raster, at halves in SVG.
                    let points: Vec<[f32; 2]> = points.iter().map(|[x, y]| [x * s - 0.5, y * s - 0.5]).collect();
                    match (is_dashed, points.as_slice()) {
                        (true, [from, to]) => {
                            let length = (to[0] - from[0]).hypot(to[1] - from[1]);
                            let at = |t: f32| [0, 1].map(|axis| from[axis] + (to[axis] - from[axis]) * (t / length).min(1.0));
                            let mut begin = 0.0;
                            while begin < length {
                                raster.line(at(begin), at(begin + 4.0 * s), width * s, ink.color());
                                begin += 8.0 * s;
                            }
                        }
                        _ => raster.polyline(&points, width * s, ink.color()),
                    }
                }
                Mark::Disc { x, y, radius, ink } => raster.disc([x * s - 0.5, y * s - 0.5], radius * s, ink.color()),
                Mark::Text { x, y, text, size, anchor, ink, is_bold, is_upright } => {
                    raster.lettering([x * s, y * s], text, size * s, *anchor, ink.color(), *is_bold, *is_upright);
                }
            }
        }
        raster
    }

    /// The figure as a PNG file's bytes.
    pub fn png(&self) -> Vec<u8> {
        self.raster().png()
    }
}
