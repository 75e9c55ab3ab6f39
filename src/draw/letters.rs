//! The letters of the bundled font: Arimo, as wide as Arial, Helvetica and Liberation Sans, one of which a viewer of an SVG file has. So a
//! text takes the same room in a raster, in a file and on a page. The glyphs are the font's, its outlines are filled by `ab_glyph`.

use ab_glyph::{Font, FontRef, Glyph, PxScale, point};
use std::sync::LazyLock;

/// Regular and bold. [font/README.md](font/README.md) says how they were cut from the whole font.
static FACES: LazyLock<[FontRef<'static>; 2]> = LazyLock::new(|| {
    [&include_bytes!("font/Arimo-Regular.ttf")[..], include_bytes!("font/Arimo-Bold.ttf")]
        .map(|bytes| FontRef::try_from_slice(bytes).expect("the bundled files are fonts"))
});

/// How far the baseline lies beneath the middle of capitals, as a share of the size: the `dy` of SVG text.
pub const BASELINE: f32 = 0.35;

/// How letters look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letters {
    /// The em in pixels, CSS's `font-size`: capitals are 0.69 of it high.
    pub size: f32,
    /// Bold.
    pub is_bold: bool,
}

impl Letters {
    /// Regular letters.
    pub const fn regular(size: f32) -> Self {
        Letters { size, is_bold: false }
    }

    /// Bold letters.
    pub const fn bold(size: f32) -> Self {
        Letters { size, is_bold: true }
    }

    fn face(&self) -> &'static FontRef<'static> {
        &FACES[usize::from(self.is_bold)]
    }

    /// Pixels a unit of the font.
    fn scale(&self) -> f32 {
        self.size / self.face().units_per_em().expect("the bundled fonts have an em")
    }

    /// The width of `text` in pixels: the sum of its advances, without kerning.
    pub fn width(&self, text: &str) -> f32 {
        let face = self.face();
        text.chars().map(|letter| face.h_advance_unscaled(face.glyph_id(letter))).sum::<f32>() * self.scale()
    }

    /// Calls `cover` with column, row and coverage (0 to 1) of every pixel that `text` touches, its baseline beginning at (x, y), pixels'
    /// edges at whole numbers. A character that the font lacks is a box.
    pub(super) fn fill(&self, [mut x, y]: [f32; 2], text: &str, mut cover: impl FnMut(i64, i64, f32)) {
        let (face, scale) = (self.face(), self.scale());
        // `ab_glyph` counts size from the top of the highest letter to the bottom of the lowest.
        let height = PxScale::from(face.height_unscaled() * scale);
        for letter in text.chars() {
            let id = face.glyph_id(letter);
            let glyph: Glyph = id.with_scale_and_position(height, point(x, y));
            x += face.h_advance_unscaled(id) * scale;
            if let Some(outline) = face.outline_glyph(glyph) {
                let corner = outline.px_bounds().min;
                let (left, top) = (corner.x as i64, corner.y as i64);
                outline.draw(|right, down, coverage| cover(left + i64::from(right), top + i64::from(down), coverage.min(1.0)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ink(text: &str, letters: Letters) -> f32 {
        let mut sum = 0.0;
        letters.fill([0.0, 0.0], text, |_, _, coverage| sum += coverage);
        sum
    }

    /// Advances of Arial in 2048ths of an em, as its metrics file has them.
    #[test]
    fn letters_are_as_wide_as_arials() {
        for (text, regular, bold) in
            [("A", 1366.0, 1479.0), ("i", 455.0, 569.0), ("m", 1706.0, 1821.0), ("0.5 %", 5237.0, 5237.0)]
        {
            assert_eq!([Letters::regular(2048.0).width(text), Letters::bold(2048.0).width(text)], [regular, bold], "{text}");
        }
    }

    #[test]
    fn what_pictures_say_has_glyphs() {
        let all = "0123456789 ABCXYZ abcxyz .,:;!?()[]{}<>/\\|%&#@*+-=_~^'\"·–—…−×±≤≥≈°µ→←↑↓²³½äöüßéèçñøåœşłžőćĐİαβγκλμσΔ‘’“”„€\u{a0}\u{202F}\u{2009}";
        for face in FACES.iter() {
            let missing: String = all.chars().filter(|letter| face.glyph_id(*letter).0 == 0).collect();
            assert_eq!(missing, "");
        }
    }

    #[test]
    fn a_missing_glyph_is_a_box_and_not_nothing() {
        let [lacking, two] = ["患", "患\u{1F9B4}"].map(|text| ink(text, Letters::regular(20.0)));
        assert!(lacking > ink("l", Letters::regular(20.0)) && two > 1.9 * lacking, "{lacking} {two}");
        assert!(ink("HHH", Letters::bold(20.0)) > 1.2 * ink("HHH", Letters::regular(20.0)), "bold has more ink");
    }

    #[test]
    fn the_whole_font_is_small() {
        assert!(include_bytes!("font/Arimo-Regular.ttf").len() + include_bytes!("font/Arimo-Bold.ttf").len() < 60_000);
    }
}
