//! The colours of pages and figures, in the light and in the dark, and how lines differ besides.
//!
//! The series stay apart for those who lack the red or the green cones, and every text stands out from what it lies on: tests hold both.

use crate::draw::Color;
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
    /// A curve that is the only one.
    Accent,
    /// The fullest shade of a matrix; words are written over it.
    Shade,
    /// One of the curves.
    Series(usize),
}

/// How many series there are colours for.
pub(super) const SERIES: usize = 6;

/// Strokes and gaps of each series' line in CSS pixels, where a line is 2 wide and its ends are round. The first is whole.
const DASHES: [&[f32]; SERIES] =
    [&[], &[8.0, 5.0], &[0.1, 4.5], &[9.0, 5.0, 0.1, 5.0], &[3.0, 5.0], &[9.0, 4.5, 0.1, 4.5, 0.1, 4.5]];

/// The variables of the style sheet, each in the light and in the dark.
const COLORS: [(&str, u32, u32); 20] = [
    ("ground", 0xf3f5f8, 0x0e1319),
    ("panel", 0xffffff, 0x171e27),
    ("text", 0x17212e, 0xe4eaf1),
    ("muted", 0x55626f, 0x9aa8b8),
    ("grid", 0xdfe5ec, 0x2a3441),
    ("line", 0xd5dce5, 0x2f3a48),
    ("accent", 0x1f5fb8, 0x5a96ec),
    ("shade", 0x5f95e2, 0x2a5ca6),
    ("wrong", 0xb3261e, 0xff9b8f),
    ("wrong-ground", 0xfdf0ee, 0x2c1a1c),
    ("right", 0x0f7a4a, 0x62d39b),
    ("amber", 0x7a4b00, 0xffd78a),
    ("amber-ground", 0xfff4dc, 0x2e2410),
    ("amber-line", 0xefc877, 0x6a5220),
    ("series0", 0x108d8b, 0x38ad99),
    ("series1", 0xde6f0f, 0xe78e32),
    ("series2", 0x75008f, 0x936ca7),
    ("series3", 0xc3355d, 0xd65166),
    ("series4", 0x1496ff, 0x88a6ff),
    ("series5", 0x425900, 0xf4fb91),
];

impl Ink {
    /// The name of its variable.
    fn name(self) -> String {
        match self {
            Ink::Ground => "panel".to_owned(),
            Ink::Text => "text".to_owned(),
            Ink::Muted => "muted".to_owned(),
            Ink::Grid => "grid".to_owned(),
            Ink::Accent => "accent".to_owned(),
            Ink::Shade => "shade".to_owned(),
            Ink::Series(index) => format!("series{}", index % SERIES),
        }
    }

    /// The colour of files, which are on white.
    pub fn color(self) -> Color {
        color(&self.name(), false)
    }

    /// The page's value.
    pub fn variable(self) -> String {
        format!("var(--{})", self.name())
    }

    pub fn hexadecimal(self) -> String {
        let [red, green, blue] = self.color();
        format!("#{red:02x}{green:02x}{blue:02x}")
    }

    /// Strokes and gaps of its lines; none where they are whole.
    pub fn dash(self) -> &'static [f32] {
        match self {
            Ink::Series(index) => DASHES[index % SERIES],
            _ => &[],
        }
    }
}

/// The colour of a variable of the style sheet.
fn color(name: &str, is_dark: bool) -> Color {
    let (_, light, dark) = COLORS.into_iter().find(|(known, ..)| *known == name).expect("every role has a colour");
    let [_, rgb @ ..] = if is_dark { dark } else { light }.to_be_bytes();
    rgb
}

/// The variables, for the head of a style sheet. Paper is light.
pub(super) fn variables() -> String {
    let (mut light, mut dark) = (String::new(), String::new());
    for (name, by_day, by_night) in COLORS {
        // Writing to a String cannot fail.
        let _ = write!(light, "--{name}:#{by_day:06x};");
        let _ = write!(dark, "--{name}:#{by_night:06x};");
    }
    format!(":root{{{light}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    pub use crate::draw::tests::contrast;
    use crate::draw::tests::linear;

    /// The colour of a role in the light or in the dark.
    pub fn shown(ink: Ink, is_dark: bool) -> Color {
        color(&ink.name(), is_dark)
    }

    /// Machado, Oliveira and Fernandes 2009, table of severity 1: protanopia and deuteranopia; before them, all cones.
    const CONES: [[[f64; 3]; 3]; 3] = [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ];

    fn product(matrix: &[[f64; 3]; 3], vector: [f64; 3]) -> [f64; 3] {
        matrix.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
    }

    /// CIE L*a*b* under D65, of linear sRGB.
    fn lab(linear: [f64; 3]) -> [f64; 3] {
        const XYZ: [[f64; 3]; 3] =
            [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]];
        let [x, y, z] = product(&XYZ, linear);
        let [x, y, z] = [x / 0.95047, y, z / 1.08883].map(|t| if t > 0.008856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 });
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    /// CIEDE2000 (Sharma, Wu and Dalal 2005, equations 2 to 22).
    fn difference(one: [f64; 3], other: [f64; 3]) -> f64 {
        let seventh = |chroma: f64| (chroma.powi(7) / (chroma.powi(7) + 25f64.powi(7))).sqrt();
        let g = 0.5 * (1.0 - seventh((one[1].hypot(one[2]) + other[1].hypot(other[2])) / 2.0));
        let polar = |[l, a, b]: [f64; 3]| {
            let a = a * (1.0 + g);
            let hue = if a == 0.0 && b == 0.0 { 0.0 } else { b.atan2(a).to_degrees().rem_euclid(360.0) };
            (l, a.hypot(b), hue)
        };
        let ((l1, c1, h1), (l2, c2, h2)) = (polar(one), polar(other));
        let is_gray = c1 * c2 == 0.0;
        let turn = match h2 - h1 {
            _ if is_gray => 0.0,
            turn if turn > 180.0 => turn - 360.0,
            turn if turn < -180.0 => turn + 360.0,
            turn => turn,
        };
        let (l, c, sum) = ((l1 + l2) / 2.0, (c1 + c2) / 2.0, h1 + h2);
        let h = match (h1 - h2).abs() {
            _ if is_gray => sum,
            apart if apart <= 180.0 => sum / 2.0,
            _ if sum < 360.0 => (sum + 360.0) / 2.0,
            _ => (sum - 360.0) / 2.0,
        };
        let cos = |degrees: f64| degrees.to_radians().cos();
        let t = 1.0 - 0.17 * cos(h - 30.0) + 0.24 * cos(2.0 * h) + 0.32 * cos(3.0 * h + 6.0) - 0.20 * cos(4.0 * h - 63.0);
        let lightness = (l2 - l1) / (1.0 + 0.015 * (l - 50.0).powi(2) / (20.0 + (l - 50.0).powi(2)).sqrt());
        let chroma = (c2 - c1) / (1.0 + 0.045 * c);
        let hue = 2.0 * (c1 * c2).sqrt() * (turn / 2.0).to_radians().sin() / (1.0 + 0.015 * c * t);
        let rotation = -(60.0 * (-((h - 275.0) / 25.0).powi(2)).exp()).to_radians().sin() * 2.0 * seventh(c);
        (lightness.powi(2) + chroma.powi(2) + hue.powi(2) + rotation * chroma * hue).sqrt()
    }

    /// The least difference of two colours for those with all cones, without the red and without the green ones.
    pub fn apart(one: Color, other: Color) -> f64 {
        let seen = |color: Color, cones| lab(product(cones, linear(color)).map(|value| value.clamp(0.0, 1.0)));
        CONES.iter().map(|cones| difference(seen(one, cones), seen(other, cones))).fold(f64::INFINITY, f64::min)
    }

    /// Pairs 1, 4, 7, 13, 17, 20 and 25 of the paper's table 1.
    #[test]
    fn differences_are_those_of_the_paper() {
        for (one, other, expected) in [
            ([50.0, 2.6772, -79.7751], [50.0, 0.0, -82.7485], 2.0425),
            ([50.0, -1.3802, -84.2814], [50.0, 0.0, -82.7485], 1.0000),
            ([50.0, 0.0, 0.0], [50.0, -1.0, 2.0], 2.3669),
            ([50.0, 2.5, 0.0], [50.0, 0.0, -2.5], 4.3065),
            ([50.0, 2.5, 0.0], [73.0, 25.0, -18.0], 27.1492),
            ([50.0, 2.5, 0.0], [58.0, 24.0, 15.0], 19.4535),
            ([60.2574, -34.0099, 36.2677], [60.4626, -34.1751, 39.4387], 1.2644),
        ] {
            let found = difference(one, other);
            assert!((found - expected).abs() < 6e-5 && (difference(other, one) - expected).abs() < 6e-5, "{found} {expected}");
        }
        assert_eq!(apart([9, 200, 50], [9, 200, 50]), 0.0);
    }

    /// The colours of nADMet and of metastatic of before: 3.6 apart for who lacks the red cones.
    #[test]
    fn colours_that_were_alike_are_called_so() {
        assert!(apart([0x77, 0x4b, 0xc4], [0x1f, 0x5f, 0xb8]) < 5.0);
    }

    /// Any two series, and the colour of words, which is that of a curve too.
    #[test]
    fn series_stay_apart_for_every_kind_of_cones() {
        for is_dark in [false, true] {
            let of = |ink| shown(ink, is_dark);
            let mut least: (f64, Ink, Ink) = (f64::INFINITY, Ink::Text, Ink::Text);
            for one in 0..SERIES {
                for other in (0..one).map(Ink::Series).chain([Ink::Text]) {
                    let found = apart(of(Ink::Series(one)), of(other));
                    least = if found < least.0 { (found, Ink::Series(one), other) } else { least };
                }
                assert!(contrast(of(Ink::Series(one)), of(Ink::Ground)) >= 3.0, "series {one} on its ground, dark: {is_dark}");
            }
            assert!(least.0 >= 15.0, "{least:?}, dark: {is_dark}");
            assert!(apart(of(Ink::Text), of(Ink::Muted)) >= 15.0);
        }
        for one in 0..SERIES {
            assert!((0..one).all(|other| Ink::Series(one).dash() != Ink::Series(other).dash()));
        }
    }

    /// What page.css writes on what.
    #[test]
    fn words_stand_out_from_what_they_lie_on() {
        let pairs = [
            ("text", &["ground", "panel", "wrong-ground", "shade"][..]),
            ("muted", &["ground", "panel", "wrong-ground"]),
            ("wrong", &["ground", "panel", "wrong-ground"]),
            ("right", &["ground", "panel"]),
            ("accent", &["ground", "panel"]),
            ("amber", &["amber-ground"]),
        ];
        for is_dark in [false, true] {
            for (words, grounds) in pairs {
                for ground in grounds {
                    let found = contrast(color(words, is_dark), color(ground, is_dark));
                    assert!(found >= 4.5, "{words} on {ground}, dark: {is_dark}: {found:.2}");
                }
            }
        }
        assert!((contrast([0; 3], [255; 3]) - 21.0).abs() < 1e-9);
    }

    /// A word's colour is no other than one whose contrast is held above.
    #[test]
    fn the_style_sheet_colours_words_with_these_alone() {
        let style = include_str!("page.css");
        let colors = style.split([';', '{', ' ']).zip(style.split([';', '{', ' ']).skip(1));
        let words: Vec<&str> = colors.filter(|(property, _)| *property == "color:").map(|(_, value)| value).collect();
        assert!(words.len() > 20, "{words:?}");
        for word in words {
            let known = ["text", "muted", "wrong", "right", "accent", "amber"].map(|name| format!("var(--{name})"));
            assert!(known.iter().any(|known| known == word) || word == "inherit", "{word}");
        }
        assert!(!style.contains("opacity"), "words that shine through have another colour");
        for variable in style.split("var(--").skip(1).map(|rest| rest.split([')', ',']).next().unwrap()) {
            let is_local = ["c", "p", "w", "tall", "ratio", "zoom"].contains(&variable);
            assert!(is_local || COLORS.iter().any(|(name, ..)| *name == variable), "{variable}");
        }
    }

    #[test]
    fn the_variables_are_written_once_for_each_light() {
        let variables = variables();
        assert_eq!(variables.matches("--series0:").count(), 2);
        assert!(variables.contains(&format!("--text:{};", Ink::Text.hexadecimal())), "{variables}");
    }
}
