//! What a study is like as a measurement: what a model remembers of its training scans, and what a scan is held against.

use super::Preprocessing;
use super::views::Fused;
use crate::image::{Image, View, body_pixels};
use crate::intake::Study;
use serde::{Deserialize, Serialize};

/// A number that every study has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The sum of a view's pixels, the mean of the views.
    Counts,
    /// Height of the views, in pixels.
    Rows,
    /// Width of the views, in pixels.
    Columns,
    /// Height of a pixel, in millimetres, where the scan's file says it.
    PixelHeight,
    /// Width of a pixel, in millimetres, where the scan's file says it.
    PixelWidth,
    /// The body's height, as a share of the picture's.
    BodyHeight,
    /// The body's width, as a share of the picture's.
    BodyWidth,
    /// The share of the network's input that is body.
    Lit,
    /// The standard deviation of the noise of the body in the network's input, as a share of its mean there: from the second differences along
    /// rows, which of independent noise have 6 times its variance. What is finer than the input's pixels does not count.
    Noise,
}

impl Measure {
    /// In the order of their declaration.
    pub const ALL: [Measure; 9] = [
        Measure::Counts,
        Measure::Rows,
        Measure::Columns,
        Measure::PixelHeight,
        Measure::PixelWidth,
        Measure::BodyHeight,
        Measure::BodyWidth,
        Measure::Lit,
        Measure::Noise,
    ];
}

/// A study's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// The only view, of a study of one.
    pub only: Option<View>,
    /// One for each of [`Measure::ALL`]; none where it is not known.
    pub values: [Option<f64>; Measure::ALL.len()],
}

impl Measures {
    /// Those of a study, whose views are fused, and whose input for the network is made of that.
    pub fn of(study: &Study, fused: &Fused, input: &Image, preprocessing: &Preprocessing) -> Self {
        let views = [&study.anterior, &study.posterior];
        let totals = views.into_iter().flatten().map(|view| view.pixels.iter().map(|count| f64::from(*count)).sum::<f64>());
        let counts = totals.clone().sum::<f64>() / totals.count().max(1) as f64;
        let only = match views {
            [Some(_), Some(_)] | [None, None] => None,
            [Some(_), None] => Some(View::Anterior),
            [None, Some(_)] => Some(View::Posterior),
        };
        let size = [fused.image.rows, fused.image.columns].map(|side| side as f64);
        let points = fused.anterior_points.or(fused.posterior_points);
        let share = |axis: usize| points.map(|points| points.extent(axis)).map(|[first, end]| (end - first) / size[axis]);
        let body = body_pixels(input, preprocessing.body_value());
        let lit = body.iter().filter(|is_body| **is_body).count() as f64 / body.len().max(1) as f64;
        let [height, width] = [0, 1].map(|axis| study.pixel_mm.map(|sides| sides[axis]));
        let values = Measure::ALL.map(|measure| match measure {
            Measure::Counts => Some(counts),
            Measure::Rows => Some(size[0]),
            Measure::Columns => Some(size[1]),
            Measure::PixelHeight => height,
            Measure::PixelWidth => width,
            Measure::BodyHeight => share(0),
            Measure::BodyWidth => share(1),
            Measure::Lit => Some(lit),
            Measure::Noise => noise(input, preprocessing.body_value()),
        });
        Measures { only, values: values.map(|value| value.filter(|value| value.is_finite())) }
    }

    /// One of them.
    pub fn get(&self, measure: Measure) -> Option<f64> {
        self.values[measure as usize]
    }
}

/// [`Measure::Noise`], of the pixels whose value is at least `least`.
fn noise(image: &Image, least: f32) -> Option<f64> {
    let (mut squares, mut sum, mut pixels) = (0.0, 0.0, 0usize);
    for row in image.pixels.chunks_exact(image.columns) {
        for neighbours in row.windows(3).filter(|neighbours| neighbours.iter().all(|count| *count >= least)) {
            let [left, here, right] = [0, 1, 2].map(|at| f64::from(neighbours[at]));
            squares += (left - 2.0 * here + right).powi(2);
            sum += here;
            pixels += 1;
        }
    }
    let pixels = pixels as f64;
    (sum > 0.0).then(|| (squares / pixels / 6.0).sqrt() / (sum / pixels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::views;
    use crate::random::{Purpose, stream, symmetric};

    /// A body of one rectangle, half as high and wide as the picture, with noise.
    fn study(level: f32, noise: f32) -> Study {
        let mut random = stream(Purpose::Order, 1, 0, 0);
        let mut image = Image::zeros(256, 64);
        for (at, pixel) in image.pixels.iter_mut().enumerate() {
            if (64..192).contains(&(at / 64)) && (16..48).contains(&(at % 64)) {
                *pixel = level * (1.0 + noise * symmetric(&mut random));
            }
        }
        Study { anterior: Some(image.clone()), posterior: Some(image), pixel_mm: Some([2.0, 2.5]), ..Study::default() }
    }

    fn measures(study: &Study) -> Measures {
        let preprocessing = Preprocessing::default();
        let fused = views::fuse(study, &preprocessing).unwrap();
        let input = views::network_input(&fused.image, [256, 64], &preprocessing);
        Measures::of(study, &fused, &input, &preprocessing)
    }

    #[test]
    fn a_plain_body_has_the_numbers_it_was_made_of() {
        let found = measures(&study(100.0, 0.3));
        let is_near = |measure: Measure, expected: f64, within: f64| {
            let value = found.get(measure).unwrap();
            assert!((value - expected).abs() <= within, "{measure:?}: {value} in place of {expected}");
        };
        is_near(Measure::Counts, 128.0 * 32.0 * 100.0, 8000.0);
        is_near(Measure::Rows, 256.0, 0.0);
        is_near(Measure::Columns, 64.0, 0.0);
        is_near(Measure::PixelHeight, 2.0, 0.0);
        is_near(Measure::PixelWidth, 2.5, 0.0);
        is_near(Measure::BodyHeight, 0.5, 0.02);
        is_near(Measure::BodyWidth, 0.5, 0.05);
        is_near(Measure::Lit, 0.25, 0.02);
        // Uniform noise of +-0.3 has the deviation 0.3 / sqrt 3. The sum adds the posterior view's mirror image, whose noise is another
        // pixel's: 1 / sqrt 2 of it is left, and of that the square root of the counts has half.
        is_near(Measure::Noise, 0.3 / 3f64.sqrt() / 2f64.sqrt() / 2.0, 0.01);
        assert_eq!(found.only, None);
    }

    #[test]
    fn one_view_and_no_spacing_are_told() {
        let both = study(100.0, 0.0);
        let found = measures(&Study { anterior: None, pixel_mm: None, ..both });
        assert_eq!(found.only, Some(View::Posterior));
        assert_eq!(found.get(Measure::PixelHeight), None);
        assert_eq!(found.get(Measure::Counts), Some(128.0 * 32.0 * 100.0));
    }
}
