//! The shape of a lesion, from its outline alone.

use crate::annotation::Mask;
use serde::{Deserialize, Serialize};

/// What a lesion looks like: the three shapes that dominate the paper's figure 12.
///
/// The paper names them and gives no rule. Osteon's looks at the pixels within the lesion's outlines, in millimetres:
///
/// 1. **mottled** where they fill less than [`MOTTLED_SOLIDITY`] of their convex hull: spots apart from each other, or an area
///    that is all bays;
/// 2. else **punctate** where they are no longer than [`SPOT_MM`], or small and round: less than [`PUNCTATE_AREA_MM2`], and less
///    than [`PUNCTATE_ELONGATION`] times as long as wide;
/// 3. else **mottled** where they are no wider than [`SPOT_MM`]: a row of spots, as along a rib;
/// 4. else **patchy**: one area, larger or longer than a spot.
///
/// Length and width are four standard deviations of the pixels' positions along the principal axes (of an ellipse: its axes). The
/// limits were chosen on phantoms, and agree with the simulator in nine of ten lesions that it drew as one of these shapes; the
/// camera's blur, which they contain, is a usual gamma camera's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LesionShape {
    /// One small round spot.
    Punctate,
    /// An area.
    Patchy,
    /// Spots beside each other.
    Mottled,
}

/// Of the convex hull's area; a disc on pixels of 2.3 mm has 0.92.
pub const MOTTLED_SOLIDITY: f64 = 0.85;
/// A spot of 8 mm deviation behind the collimator, outlined at 40 % of its peak, has 500 to 600.
pub const PUNCTATE_AREA_MM2: f64 = 600.0;
/// Length over width.
pub const PUNCTATE_ELONGATION: f64 = 1.15;
/// Length and width of what the camera makes of a spot.
pub const SPOT_MM: f64 = 22.0;

impl LesionShape {
    /// In the order of tables and figures.
    pub const ALL: [LesionShape; 3] = [LesionShape::Punctate, LesionShape::Patchy, LesionShape::Mottled];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            LesionShape::Punctate => "punctate",
            LesionShape::Patchy => "patchy",
            LesionShape::Mottled => "mottled",
        }
    }

    /// The shape of a lesion that covers these pixels, of `[height, width]` millimetres each; `None` for no pixels.
    pub fn of(mask: &Mask, pixel_mm: [f64; 2]) -> Option<Self> {
        let form = Measures::of(mask, pixel_mm)?;
        Some(match form {
            _ if form.area_mm2 < MOTTLED_SOLIDITY * form.hull_mm2 => LesionShape::Mottled,
            _ if form.length_mm <= SPOT_MM => LesionShape::Punctate,
            _ if form.area_mm2 < PUNCTATE_AREA_MM2 && form.length_mm < PUNCTATE_ELONGATION * form.width_mm => {
                LesionShape::Punctate
            }
            _ if form.width_mm <= SPOT_MM => LesionShape::Mottled,
            _ => LesionShape::Patchy,
        })
    }
}

/// What the rule looks at.
struct Measures {
    area_mm2: f64,
    hull_mm2: f64,
    length_mm: f64,
    width_mm: f64,
}

impl Measures {
    fn of(mask: &Mask, [height, width]: [f64; 2]) -> Option<Self> {
        let count = mask.area() as f64;
        if mask.is_empty() {
            return None;
        }
        let mut sums = [0.0; 5]; // of y, x, yy, yx, xx
        for (row, column) in mask.pixels() {
            let (y, x) = (row as f64 * height, column as f64 * width);
            sums.iter_mut().zip([y, x, y * y, y * x, x * x]).for_each(|(sum, value)| *sum += value);
        }
        let [y, x, yy, yx, xx] = sums.map(|sum| sum / count);
        // A pixel is a box: its variance is a twelfth of its side's square.
        let (down, across, both) = (yy - y * y + height * height / 12.0, xx - x * x + width * width / 12.0, yx - y * x);
        let (middle, half) = ((down + across) / 2.0, ((down - across) / 2.0).hypot(both));
        let axis = |variance: f64| 4.0 * variance.max(0.0).sqrt();
        // The hull of a run's four corners is that of all its pixels'.
        let corners = mask.runs().iter().flat_map(|&[row, first, length]| {
            let [top, left, right] = [row, first, first + length].map(f64::from);
            [[left, top], [right, top], [left, top + 1.0], [right, top + 1.0]]
        });
        Some(Measures {
            area_mm2: count * height * width,
            hull_mm2: hull_area(corners.collect()) * height * width,
            length_mm: axis(middle + half),
            width_mm: axis(middle - half),
        })
    }
}

/// The area of the convex hull of points: Andrew's monotone chain, then the shoelace formula.
fn hull_area(mut points: Vec<[f64; 2]>) -> f64 {
    points.sort_unstable_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    points.dedup();
    let cross = |o: [f64; 2], a: [f64; 2], b: [f64; 2]| (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);
    let chain = |points: &mut dyn Iterator<Item = [f64; 2]>| {
        let mut chain: Vec<[f64; 2]> = Vec::new();
        for point in points {
            while chain.len() > 1 && cross(chain[chain.len() - 2], chain[chain.len() - 1], point) <= 0.0 {
                chain.pop();
            }
            chain.push(point);
        }
        chain.pop(); // it begins the other chain
        chain
    };
    let mut hull = chain(&mut points.iter().copied());
    hull.extend(chain(&mut points.iter().rev().copied()));
    let twice: f64 = (0..hull.len()).map(|at| cross([0.0; 2], hull[at], hull[(at + 1) % hull.len()])).sum();
    twice.abs() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotation::{Form, Mask};
    use crate::image::Size;

    const PICTURE: Size = Size { rows: 200, columns: 100 };
    const PIXEL: [f64; 2] = [2.26; 2];

    fn disc(x: f64, y: f64, radius: f64) -> Mask {
        Mask::of(&Form::Circle([[x, y], [x + radius, y]]), PICTURE)
    }

    fn bar(width: f64, height: f64) -> Mask {
        Mask::of(&Form::Rectangle([[10.0, 10.0], [10.0 + width, 10.0 + height]]), PICTURE)
    }

    #[test]
    fn the_rule_in_pictures() {
        let shape = |mask: &Mask| LesionShape::of(mask, PIXEL).unwrap();
        assert_eq!(shape(&disc(50.0, 50.0, 4.5)), LesionShape::Punctate);
        assert_eq!(shape(&disc(50.0, 50.0, 8.0)), LesionShape::Patchy);
        assert_eq!(shape(&Mask::union(&[disc(40.0, 50.0, 4.0), disc(52.0, 60.0, 4.0)])), LesionShape::Mottled);
        assert_eq!(shape(&bar(20.0, 12.0)), LesionShape::Patchy);
        assert_eq!(shape(&bar(20.0, 5.0)), LesionShape::Mottled, "a row of spots along a rib");
        assert_eq!(LesionShape::of(&Mask::default(), PIXEL), None);
        assert_eq!(shape(&bar(4.0, 2.0)), LesionShape::Punctate, "nothing is smaller than a spot");
        // The same lesion on finer pixels.
        assert_eq!(LesionShape::of(&disc(50.0, 50.0, 9.0), [1.13; 2]), Some(LesionShape::Punctate));
    }

    #[test]
    fn measures_are_those_of_geometry() {
        let measures = Measures::of(&bar(20.0, 12.0), [1.0, 2.0]).unwrap();
        assert_eq!((measures.area_mm2, measures.hull_mm2), (480.0, 480.0));
        // Four deviations of a uniform distribution.
        assert!((measures.length_mm - 4.0 * 40.0 / 12f64.sqrt()).abs() < 1e-9);
        assert!((measures.width_mm - 4.0 * 12.0 / 12f64.sqrt()).abs() < 1e-9);
        assert_eq!(hull_area(vec![[0.0, 0.0], [4.0, 0.0], [0.0, 3.0], [1.0, 1.0], [2.0, 0.0]]), 6.0);
    }
}
