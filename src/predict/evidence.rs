//! Evidence: how much each spot of a picture speaks for an answer, in nats, and the spots that speak most.
//!
//! With p the probability of what is asked about (a class, or any metastasis), the evidence of a pixel is what `-ln(1 - p)` would lose,
//! to the first order, had the pixel the uptake of its surroundings: `max(g, 0) (x - s)` where its value x is above s, the mean of the
//! body around it, and g is the gradient, smoothed. That is a Taylor decomposition (Montavon et al. 2017, eq. 5) about a picture without
//! hot spots. It is absolute: where little speaks for the answer, or the answer is improbable, the map is pale.

use crate::image::{Image, blur};
use crate::report::{CELLS, SPOT};

/// The gradient is smoothed by a Gaussian of so many cells: single pixels of it are noise (Smilkov et al. 2017, section 2).
const SMOOTHED: f32 = 1.0;

/// The surroundings of a pixel: a Gaussian of so many cells. A body's width is some 40 of them, a vertebra's 2.
const SURROUNDINGS: f32 = 4.0;

/// A spot of evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    /// Its hottest pixel.
    pub row: usize,
    /// Its hottest pixel.
    pub column: usize,
    /// Nats in all of it.
    pub evidence: f64,
}

/// The evidence of each pixel in nats, from the network's input, the gradient of `-ln(1 - p)` by it, and which of its pixels are the body;
/// outside the body there is none.
pub fn map(input: &Image, gradient: &Image, body: &[bool]) -> Image {
    let Image { rows, columns, .. } = *input;
    let cell = columns as f32 / CELLS;
    let blurred = |mut pixels: Vec<f32>, cells: f32| {
        // Less than half a pixel is none.
        if cells * cell >= 0.5 {
            blur(&mut pixels, rows, columns, cells * cell);
        }
        pixels
    };
    let within = |value: &dyn Fn(usize) -> f32| (0..body.len()).map(|at| if body[at] { value(at) } else { 0.0 }).collect();
    let gradient = blurred(gradient.pixels.clone(), SMOOTHED);
    // The mean of the body alone: sums of its values over sums of its pixels.
    let (sums, counts) = (blurred(within(&|at| input.pixels[at]), SURROUNDINGS), blurred(within(&|_| 1.0), SURROUNDINGS));
    let excess = |at: usize| (input.pixels[at] - sums[at] / counts[at].max(f32::MIN_POSITIVE)).max(0.0);
    Image { rows, columns, pixels: within(&|at| gradient[at].max(0.0) * excess(at)) }
}

/// The spots with the most evidence, the strongest first, at most `most` of them, each with at least `least` nats. Their hottest pixels
/// are more than the reach of a spot apart.
pub fn spots(map: &Image, least: f64, most: usize) -> Vec<Spot> {
    /// So many are looked at, however weak: a wide spot may hold more than one with a hotter pixel.
    const LOOKED_AT: usize = 64;
    let reach = SPOT * map.columns as f32 / CELLS;
    let (mut left, mut found) = (map.clone(), Vec::new());
    for _ in 0..LOOKED_AT {
        let hottest = (0..left.pixels.len()).fold(0, |best, at| if left.pixels[at] > left.pixels[best] { at } else { best });
        if left.pixels.get(hottest).is_none_or(|value| *value <= 0.0) {
            break;
        }
        let (row, column) = (hottest / map.columns, hottest % map.columns);
        let mut evidence = 0.0;
        for at in disc(map, [row as f32, column as f32], reach) {
            evidence += f64::from(std::mem::take(&mut left.pixels[at]));
        }
        found.push(Spot { row, column, evidence });
    }
    found.sort_by(|one, other| other.evidence.total_cmp(&one.evidence)); // stable: of equals the hotter pixel first
    found.retain(|spot| spot.evidence >= least);
    found.truncate(most);
    found
}

/// The pixels whose centre is within `reach` of the centre of a pixel (row, column), row after row.
pub(super) fn disc(image: &Image, [row, column]: [f32; 2], reach: f32) -> impl Iterator<Item = usize> + use<> {
    let (rows, columns) = (image.rows, image.columns);
    let span = move |centre: f32, size: usize| {
        let first = (centre - reach).ceil().max(0.0) as usize;
        first..((centre + reach).floor() + 1.0).clamp(0.0, size as f32) as usize
    };
    span(row, rows).flat_map(move |r| {
        let near = move |c: &usize| (r as f32 - row).powi(2) + (*c as f32 - column).powi(2) <= reach * reach;
        span(column, columns).filter(near).map(move |c| r * columns + c)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of 1 with spots of 2, and a gradient of 0.5.
    fn picture(columns: usize, spots: &[[usize; 2]]) -> (Image, Image, Vec<bool>) {
        let rows = 2 * columns;
        let inside = |at: usize| (columns / 4..3 * columns / 4).contains(&(at % columns));
        let body: Vec<bool> = (0..rows * columns).map(inside).collect();
        let mut input = Image { rows, columns, pixels: body.iter().map(|inside| f32::from(*inside)).collect() };
        spots.iter().for_each(|[row, column]| input.pixels[row * columns + column] = 2.0);
        let gradient = Image { rows, columns, pixels: vec![0.5; rows * columns] };
        (input, gradient, body)
    }

    #[test]
    fn a_hot_spot_is_its_excess_times_the_gradient() {
        let (input, gradient, body) = picture(64, &[[60, 30]]);
        let map = map(&input, &gradient, &body);
        let spot = map.pixels[60 * 64 + 30];
        // Its own share of its surroundings is 1 / (2 pi 4^2).
        assert!((spot - 0.5 * (1.0 - 0.01)).abs() < 0.002, "{spot}");
        assert!(map.pixels.iter().enumerate().all(|(at, value)| at == 60 * 64 + 30 || *value < 1e-3));
        assert!(map.pixels.iter().zip(&body).all(|(value, inside)| *inside || *value == 0.0));
        let found = spots(&map, 0.01, 5);
        assert_eq!((found.len(), found[0].row, found[0].column), (1, 60, 30));
    }

    #[test]
    fn a_cold_spot_and_a_gradient_against_it_are_no_evidence() {
        let (mut input, mut gradient, body) = picture(64, &[[60, 30]]);
        gradient.pixels.fill(-0.5);
        assert!(map(&input, &gradient, &body).pixels.iter().all(|value| *value == 0.0));
        gradient.pixels.fill(0.5);
        input.pixels[60 * 64 + 30] = 0.5;
        let map = map(&input, &gradient, &body);
        assert_eq!(map.pixels[60 * 64 + 30], 0.0);
        // What is around it is a little brighter than its mean.
        assert!(map.pixels.iter().all(|value| *value < 0.003));
    }

    #[test]
    fn spots_are_apart_and_the_strongest_come_first() {
        let mut map = Image::zeros(128, 64);
        for (at, value) in
            [(40 * 64 + 20, 0.5), (40 * 64 + 22, 0.4), (40 * 64 + 23, 0.2), (80 * 64 + 50, 0.6), (90 * 64 + 10, 0.01)]
        {
            map.pixels[at] = value;
        }
        let of = |least, most| spots(&map, least, most).iter().map(|spot| [spot.row, spot.column]).collect::<Vec<_>>();
        assert_eq!(of(0.1, 5), [[40, 20], [80, 50], [40, 23]]);
        assert_eq!(of(0.1, 1), [[40, 20]]);
        assert_eq!(of(0.7, 5), [[40, 20]]);
        assert!(spots(&Image::zeros(3, 3), 0.0, 5).is_empty() && spots(&Image::zeros(0, 0), 0.0, 5).is_empty());
    }

    /// Twice the pixels across: each has a quarter of a cell, and a spot as much evidence as before.
    #[test]
    fn the_size_of_the_picture_does_not_matter() {
        let blocks = |columns: usize| {
            let scale = columns / 64;
            let spots: Vec<[usize; 2]> =
                (0..4 * scale * scale).map(|at| [60 * scale + at / (2 * scale), 30 * scale + at % (2 * scale)]).collect();
            let (input, mut gradient, body) = picture(columns, &spots);
            gradient.pixels.iter_mut().for_each(|g| *g /= (scale * scale) as f32);
            super::spots(&map(&input, &gradient, &body), 0.01, 5)[0].evidence
        };
        let [small, large] = [blocks(64), blocks(128)];
        assert!((small / large - 1.0).abs() < 0.05, "{small} {large}");
    }
}
