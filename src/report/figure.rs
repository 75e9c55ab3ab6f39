//! A figure is a list of marks, written twice: as SVG (a file, or inline in a page whose colours it follows) and as PNG through
//! [`Raster`]. Drawn by hand, not by a plotting crate: both outputs come of one list, with a description that is read aloud and
//! colours that follow a page's style sheet.

pub(super) use super::palette::Ink;

use super::frame::printable;
use crate::draw::{Anchor, BASELINE, Letters, Raster};
use maud::{Markup, html};
use std::fmt::Write;

/// Lengths in CSS pixels, x to the right, y down.
#[derive(Clone, Debug)]
enum Mark {
    Rectangle { x: f32, y: f32, width: f32, height: f32, ink: Ink, opacity: f32 },
    Polyline { points: Vec<[f32; 2]>, width: f32, ink: Ink, dash: &'static [f32] },
    Disc { x: f32, y: f32, radius: f32, ink: Ink },
    Text { x: f32, y: f32, text: String, letters: Letters, anchor: Anchor, ink: Ink, is_upright: bool },
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

/// The piece of a curve in a key: long enough for the strokes and gaps of any series.
const KEY_LINE: f32 = 30.0;
const KEY_SIZE: f32 = 12.0;

/// The room that an entry of a key takes, with a gap behind it.
pub(super) fn key_width(name: &str) -> f32 {
    KEY_LINE + 8.0 + Letters::regular(KEY_SIZE).width(name) + 18.0
}

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
            // As large as the figure's width allows.
            let size = (self.width - 24.0) / Letters::regular(1.0).width(&self.note);
            let (x, y) = (self.width / 2.0, file.height - 15.0);
            file.text(x, y, &self.note, size.min(10.5), Anchor::Center, Ink::Muted);
        }
        file
    }

    pub(super) fn rectangle(&mut self, x: f32, y: f32, width: f32, height: f32, ink: Ink, opacity: f32) {
        self.marks.push(Mark::Rectangle { x, y, width, height, ink, opacity });
    }

    /// A rule or an axis.
    pub(super) fn polyline(&mut self, points: Vec<[f32; 2]>, width: f32, ink: Ink) {
        self.marks.push(Mark::Polyline { points, width, ink, dash: &[] });
    }

    /// A curve: a series has strokes and gaps of its own.
    pub(super) fn curve(&mut self, points: Vec<[f32; 2]>, width: f32, ink: Ink) {
        self.marks.push(Mark::Polyline { points, width, ink, dash: ink.dash() });
    }

    /// A line to compare with.
    pub(super) fn dashes(&mut self, from: [f32; 2], to: [f32; 2], width: f32, ink: Ink) {
        self.marks.push(Mark::Polyline { points: vec![from, to], width, ink, dash: &[3.0, 4.0] });
    }

    /// An entry of a key: a piece of a curve and its name, from `x` on. How far it reaches, with a gap behind it.
    pub(super) fn key(&mut self, x: f32, y: f32, name: &str, width: f32, ink: Ink) -> f32 {
        self.curve(vec![[x, y], [x + KEY_LINE, y]], width, ink);
        self.text(x + KEY_LINE + 8.0, y, name, KEY_SIZE, Anchor::Left, Ink::Text);
        key_width(name)
    }

    pub(super) fn disc(&mut self, [x, y]: [f32; 2], radius: f32, ink: Ink) {
        self.marks.push(Mark::Disc { x, y, radius, ink });
    }

    /// Text, the middle of its capitals at `y`.
    pub(super) fn text(&mut self, x: f32, y: f32, text: impl Into<String>, size: f32, anchor: Anchor, ink: Ink) {
        let letters = Letters::regular(size);
        self.marks.push(Mark::Text { x, y, text: text.into(), letters, anchor, ink, is_upright: true });
    }

    pub(super) fn bold(&mut self, x: f32, y: f32, text: impl Into<String>, size: f32, anchor: Anchor, ink: Ink) {
        let letters = Letters::bold(size);
        self.marks.push(Mark::Text { x, y, text: text.into(), letters, anchor, ink, is_upright: true });
    }

    /// Text that reads upwards, centred.
    pub(super) fn sideways(&mut self, x: f32, y: f32, text: impl Into<String>, size: f32, ink: Ink) {
        let (text, anchor, letters) = (text.into(), Anchor::Center, Letters::regular(size));
        self.marks.push(Mark::Text { x, y, text, letters, anchor, ink, is_upright: false });
    }

    /// The figure as an SVG file on white.
    pub fn svg(&self) -> String {
        // All are as wide as the raster's letters, which are not kerned either.
        const FONTS: &str = "Arial,'Liberation Sans',Arimo,Helvetica,sans-serif";
        const STYLE: &str = "font-kerning:none;font-variant-ligatures:none";
        let file = self.file();
        let (width, height) = (file.width, file.height);
        printable(html! {
            svg xmlns="http://www.w3.org/2000/svg" width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } role="img"
                font-family=(FONTS) style=(STYLE) stroke-linejoin="round" stroke-linecap="round"
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
            svg.figure viewBox={ "0 0 " (width) " " (height) } style={ "max-width:" (width) "px" } role="img" aria-label=(self.spoken)
                stroke-linejoin="round" stroke-linecap="round"
            {
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
                    Mark::Polyline { points, width, ink, dash } => {
                        path d=(path(points)) fill="none" stroke=[medium.attribute(*ink)] style=[medium.style("stroke", *ink)]
                            stroke-width=(width)
                            stroke-dasharray=[(!dash.is_empty()).then(|| dash.iter().map(f32::to_string).collect::<Vec<_>>().join(" "))] {}
                    }
                    Mark::Disc { x, y, radius, ink } => {
                        circle cx=(two(x)) cy=(two(y)) r=(radius) fill=[medium.attribute(*ink)] style=[medium.style("fill", *ink)] {}
                    }
                    Mark::Text { x, y, text, letters: Letters { size, is_bold }, anchor, ink, is_upright } => {
                        text x=(two(x)) y=(two(y)) dy={ (BASELINE) "em" } font-size=(size) text-anchor=(text_anchor(*anchor))
                            font-weight=[is_bold.then_some("700")]
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
                Mark::Polyline { points, width, ink, dash } => {
                    // Pixel centres lie at whole numbers in a raster, at halves in SVG.
                    let points: Vec<[f32; 2]> = points.iter().map(|[x, y]| [x * s - 0.5, y * s - 0.5]).collect();
                    let dash: Vec<f32> = dash.iter().map(|length| length * s).collect();
                    raster.dashed(&points, width * s, &dash, ink.color());
                }
                Mark::Disc { x, y, radius, ink } => raster.disc([x * s - 0.5, y * s - 0.5], radius * s, ink.color()),
                Mark::Text { x, y, text, letters, anchor, ink, is_upright } => {
                    let write = if *is_upright { Raster::text } else { Raster::sideways };
                    let letters = Letters { size: letters.size * s, ..*letters };
                    write(&mut raster, [x * s - 0.5, y * s - 0.5], text, letters, *anchor, ink.color());
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

#[cfg(test)]
pub(super) mod tests {
    use super::super::palette::tests::{contrast, shown};
    use super::*;
    use crate::draw::Color;

    /// Asserts that every text of a figure stands out, in the light and in the dark, from all that was drawn beneath it before.
    pub fn assert_legible(figure: &Figure) {
        let file = figure.file();
        for is_dark in [false, true] {
            for (at, mark) in file.marks.iter().enumerate() {
                let Mark::Text { x, y, text, letters, anchor, ink, is_upright } = mark else { continue };
                let (width, half) = (letters.width(text), 0.35 * letters.size);
                let start = match anchor {
                    Anchor::Left => 0.0,
                    Anchor::Center => -width / 2.0,
                    Anchor::Right => -width,
                };
                let inside =
                    |share: f32| if *is_upright { [x + start + share * width, *y] } else { [*x, y - start - share * width] };
                for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
                    let [px, py] = inside(share);
                    assert!(
                        (-0.6..=file.width + 0.6).contains(&px) && (half - 0.6..=file.height - half + 0.6).contains(&py),
                        "`{text}` is cut: {px} {py} of {} {}",
                        file.width,
                        file.height
                    );
                    let mut below = shown(Ink::Ground, is_dark).map(f32::from);
                    for mark in &file.marks[..at] {
                        if let Mark::Rectangle { x, y, width, height, ink, opacity } = mark
                            && (*x..x + width).contains(&px)
                            && (*y..y + height).contains(&py)
                        {
                            let above = shown(*ink, is_dark).map(f32::from);
                            below = [0, 1, 2].map(|channel| below[channel] + (above[channel] - below[channel]) * opacity);
                        }
                    }
                    let below: Color = below.map(|value| value.round() as u8);
                    let found = contrast(shown(*ink, is_dark), below);
                    assert!(found >= 4.5, "`{text}` on {below:?}, dark: {is_dark}: {found:.2}");
                }
            }
        }
    }

    /// The two ways in which a figure is written put a text at the same place in the same size: the raster's ink lies where the SVG's
    /// numbers say.
    #[test]
    fn a_raster_letters_as_its_svg_says() {
        let mut figure = Figure::new(300.0, 100.0, "");
        figure.text(290.0, 50.0, "HEH", 20.0, Anchor::Right, Ink::Text);
        let svg = figure.svg();
        assert!(svg.contains("x=\"290.00\" y=\"94.00\" dy=\"0.35em\" font-size=\"20\" text-anchor=\"end\""), "{svg}");
        let raster = figure.raster();
        let dark = |row: usize, column: usize| raster.get(row, column).is_some_and(|rgb| rgb[0] < 140);
        let rows: Vec<usize> = (0..raster.rows()).filter(|&row| (0..raster.columns()).any(|column| dark(row, column))).collect();
        let columns: Vec<usize> =
            (0..raster.columns()).filter(|&column| (0..raster.rows()).any(|row| dark(row, column))).collect();
        // Twice: the baseline at 94 + 0.35 * 20, capitals 1409 / 2048 em above it; Arial's H and E are 1479 and 1366 wide, with bearings
        // of 150 left and right of H.
        let (baseline, capitals, width) = (202.0, 40.0 * 1409.0 / 2048.0, 40.0 * (2.0 * 1479.0 + 1366.0) / 2048.0);
        let near = |found: usize, expected: f32| (found as f32 - expected).abs() <= 1.5;
        assert!(near(rows[0], baseline - capitals) && near(rows[rows.len() - 1] + 1, baseline), "{rows:?}");
        let bearing = 40.0 * 150.0 / 2048.0;
        assert!(
            near(columns[0], 580.0 - width + bearing) && near(columns[columns.len() - 1] + 1, 580.0 - bearing),
            "{columns:?}"
        );
    }
}
