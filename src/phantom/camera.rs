//! The gamma camera: two detectors pass over the patient and count what reaches them.
//!
//! Photons of 140 keV are attenuated on their way through the body, so each view shows best what lies near its detector. An
//! expected image is the line integral of activity times that attenuation, blurred by the collimator (the more, the farther
//! away); the image is Poisson counts of it.

use super::LesionInView;
use super::body::{Patient, Point, Stack};
use super::hospital::{Camera, Scanning};
use super::random::Random;
use super::skeleton::{Bead, Ellipsoid, Skeleton};
use crate::image::{Image, blur};

/// Rows of the format that lengths and activities are written for; its pixel is the reference pixel.
const REFERENCE_ROWS: f32 = 1024.0;
/// Side of the reference pixel: 1024 of them are the 231 cm that a whole-body sweep covers.
pub(super) const REFERENCE_PIXEL_CM: f32 = 0.226;
/// Counts of the view that activities of lesions are stated for (Counts Accumulated of a real scan).
pub(super) const REFERENCE_COUNTS: f32 = 3.6e6;
/// Linear attenuation of water for 140 keV is 0.154 a centimetre for a narrow beam; scatter that the energy window lets through
/// makes it look smaller.
const ATTENUATION: f32 = 0.13;
/// Full width at half maximum to standard deviation.
const FWHM: f32 = 2.354_82;
/// Width of the haze that scatter makes.
const SCATTER_SIGMA_CM: f32 = 3.0;

/// The size of a picture and the part of it that the sweep covered.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub rows: usize,
    pub columns: usize,
    /// Side of a pixel.
    pub pixel_cm: f32,
    /// From the first row to the vertex.
    above_cm: f32,
    /// First and one past the last row and column that were exposed.
    exposed_rows: (usize, usize),
    exposed_columns: (usize, usize),
}

impl Field {
    /// Draws how the patient was laid into the field and how far the sweep went.
    pub fn draw(rows: usize, columns: usize, scanning: &Scanning, patient: &Patient, random: &mut Random) -> Self {
        let Scanning { camera, laying, .. } = scanning;
        let pixel_cm = camera.pixel_cm * REFERENCE_ROWS / rows as f32;
        let above_cm = random.between(laying.above.0, laying.above.1);
        let start = above_cm - random.between(4.0, 10.0);
        // Sometimes the sweep ends before the feet do, or begins below the vertex.
        let ends = if random.chance(laying.cut) {
            patient.stature_cm - random.between(2.0, 22.0)
        } else {
            patient.stature_cm + random.between(4.0, 14.0)
        };
        let half_width = random.typical(laying.half_width, 0.8);
        let row = |y: f32| ((y / pixel_cm).round().max(0.0) as usize).min(rows);
        let column = |x: f32| ((columns as f32 / 2.0 + x / pixel_cm).round().max(0.0) as usize).min(columns);
        Field {
            rows,
            columns,
            pixel_cm,
            above_cm,
            exposed_rows: (row(start), row(above_cm + ends)),
            exposed_columns: (column(-half_width), column(half_width)),
        }
    }

    /// Row and column in the anterior view; fractions count from pixel centres.
    fn pixel(&self, [x, y, _]: Point) -> (f32, f32) {
        ((y + self.above_cm) / self.pixel_cm - 0.5, self.columns as f32 / 2.0 + x / self.pixel_cm - 0.5)
    }

    /// The row that a point is seen in, cut to the picture.
    pub fn row(&self, point: Point) -> usize {
        (self.pixel(point).0.round().max(0.0) as usize).min(self.rows)
    }

    /// Height in the body of a row's centre.
    fn height(&self, row: usize) -> f32 {
        (row as f32 + 0.5) * self.pixel_cm - self.above_cm
    }

    /// Whether a point lies in the exposed field, `margin_cm` from its edge.
    pub fn sees(&self, point: Point, margin_cm: f32) -> bool {
        let (row, column) = self.pixel(point);
        let margin = margin_cm / self.pixel_cm;
        let inside = |value: f32, (first, end): (usize, usize)| value >= first as f32 + margin && value < end as f32 - margin;
        inside(row, self.exposed_rows) && inside(column, self.exposed_columns)
    }

    /// Pixels of this picture in one reference pixel's area.
    fn area(&self) -> f32 {
        (self.pixel_cm / REFERENCE_PIXEL_CM).powi(2)
    }
}

/// A blob of a lesion.
#[derive(Clone, Copy)]
pub(super) struct Blob {
    pub at: Point,
    /// Standard deviation, centimetres.
    pub sigma: f32,
    /// Brightness against the lesion's other blobs, before attenuation and blur; negative for a cold one.
    pub weight: f32,
}

/// Blobs that make one lesion or one benign finding.
pub(super) struct Foci {
    pub blobs: Vec<Blob>,
    /// Expected counts a reference pixel above the background where the lesion is brightest, for the reference counts and on a
    /// background of [`USUAL_BACKGROUND`].
    pub excess: f32,
}

/// Metal that photons hardly pass: an ellipse in the image's plane.
#[derive(Clone, Copy)]
pub(super) struct Metal {
    pub at: Point,
    /// Half axes, centimetres.
    pub half: [f32; 2],
    /// Rotation in the image's plane, radians.
    pub tilt: f32,
    /// The share that comes through, in the anterior and in the posterior view.
    pub through: [f32; 2],
}

/// A patient who moved while the detectors passed: what lies beyond a height is seen at two places.
#[derive(Clone, Copy)]
pub(super) struct Movement {
    /// The height, and whether what moved lies above it.
    pub from_cm: f32,
    pub upwards: bool,
    pub by_cm: f32,
    /// Share of the time spent at the other place.
    pub time: f32,
}

impl Movement {
    /// Share of the time that something at this height spent at the other place; it rises over some centimetres.
    fn share(&self, y: f32) -> f32 {
        let beyond = if self.upwards { self.from_cm - y } else { y - self.from_cm };
        self.time * (beyond / 5.0).clamp(0.0, 1.0)
    }
}

/// Expected counts a reference pixel of both views, both in the anterior's orientation; index 0 is anterior.
pub(super) struct Exposure {
    field: Field,
    camera: Camera,
    movement: Option<Movement>,
    /// The share of photons that metal lets through; empty where there is none.
    shades: [Vec<f32>; 2],
    views: [Vec<f32>; 2],
    /// Front and back of the body, centimetres; front < back where there is none.
    surface: [Vec<f32>; 2],
    /// Share of the reference counts that this scan collects.
    brightness: f32,
}

impl Exposure {
    /// The healthy patient.
    pub fn new(
        field: Field,
        camera: Camera,
        patient: &Patient,
        skeleton: &Skeleton,
        metal: &[Metal],
        movement: Option<Movement>,
    ) -> Self {
        let pixels = field.rows * field.columns;
        let mut exposure = Exposure {
            field,
            camera,
            movement,
            shades: [Vec::new(), Vec::new()],
            views: [vec![0.0; pixels], vec![0.0; pixels]],
            surface: [vec![f32::NEG_INFINITY; pixels], vec![f32::INFINITY; pixels]],
            brightness: patient.counts / REFERENCE_COUNTS,
        };
        for stack in patient.soft_tissue() {
            exposure.outline(&stack);
        }
        exposure.fill(patient);
        for organ in &skeleton.organs {
            exposure.ellipsoid(organ);
        }
        exposure.double();
        let sigma = exposure.blur_sigma(8.0) / field.pixel_cm;
        for view in &mut exposure.views {
            blur(view, field.rows, field.columns, sigma);
        }
        let beads = skeleton.bones.iter().flat_map(|bone| &bone.beads).chain(&skeleton.strays);
        for bead in beads.filter(|bead| bead.mass > 0.0) {
            exposure.bead(bead);
        }
        exposure.shade(metal);
        for view in &mut exposure.views {
            scatter(view, field, camera.scatter);
        }
        exposure.normalise(patient.counts);
        exposure
    }

    /// Widens the body's surface by a trunk or limb.
    fn outline(&mut self, stack: &Stack) {
        let field = self.field;
        let (top, bottom) = stack.span();
        let first = field.pixel([0.0, top, 0.0]).0.ceil().max(0.0) as usize;
        for row in first..field.rows {
            let y = field.height(row);
            if y > bottom {
                break;
            }
            let section = stack.at(y);
            let (_, centre) = field.pixel([section.x, y, 0.0]);
            let half = section.half_width / field.pixel_cm;
            let left = (centre - half).ceil().max(0.0) as usize;
            let right = ((centre + half).floor().max(-1.0) + 1.0).min(field.columns as f32) as usize;
            for column in left..right {
                let u = ((column as f32 - centre) / half).abs();
                // Squarer than an ellipse, as trunks on a table are.
                let depth = section.half_depth * (1.0 - u * u * u).max(0.0).sqrt();
                let [front, back] = &mut self.surface;
                let at = row * field.columns + column;
                front[at] = front[at].max(section.z + depth);
                back[at] = back[at].min(section.z - depth);
            }
        }
    }

    /// Soft tissue: `density * (1 - exp(-attenuation * thickness)) / attenuation`, the same from both sides.
    fn fill(&mut self, patient: &Patient) {
        let field = self.field;
        for row in 0..field.rows {
            let density = patient.soft_density(field.height(row)) / ATTENUATION;
            for at in row * field.columns..(row + 1) * field.columns {
                let thickness = self.surface[0][at] - self.surface[1][at];
                if thickness > 0.0 {
                    let value = density * (1.0 - (-ATTENUATION * thickness).exp());
                    self.views[0][at] = value;
                    self.views[1][at] = value;
                }
            }
        }
    }

    /// Tissue between a depth and each detector's side of the body, at a pixel.
    fn depths(&self, at: usize, z: f32) -> [f32; 2] {
        let (front, back) = (self.surface[0][at], self.surface[1][at]);
        if front < back { [1.0, 1.0] } else { [(front - z).max(0.0), (z - back).max(0.0)] }
    }

    /// Standard deviation of the collimator's blur behind `depth` centimetres of tissue and a gap to the table or the skin.
    fn blur_sigma(&self, depth: f32) -> f32 {
        (self.camera.blur_cm + self.camera.blur_per_cm * depth) / FWHM
    }

    /// The columns at which something at a height and in a column is seen, with shares of the time: two where the patient moved.
    fn columns(&self, y: f32, column: f32) -> impl Iterator<Item = (f32, f32)> + use<> {
        let away = self.movement.map_or(0.0, |movement| movement.share(y));
        let moved = self.movement.map_or(0.0, |movement| movement.by_cm / self.field.pixel_cm);
        [(column, 1.0 - away), (column + moved, away)].into_iter().filter(|(_, share)| *share > 0.0)
    }

    /// Shows soft tissue and organs at both places of a patient who moved.
    fn double(&mut self) {
        let Some(movement) = self.movement else { return };
        let Field { columns, pixel_cm, .. } = self.field;
        let moved = movement.by_cm / pixel_cm;
        let (whole, part) = (moved.floor(), moved - moved.floor());
        for row in 0..self.field.rows {
            let away = movement.share(self.field.height(row));
            if away == 0.0 {
                continue;
            }
            for view in &mut self.views {
                let line = &mut view[row * columns..][..columns];
                let still = line.to_vec();
                let at =
                    |column: isize| usize::try_from(column).ok().and_then(|column| still.get(column)).copied().unwrap_or(0.0);
                for (column, value) in line.iter_mut().enumerate() {
                    let from = column as isize - whole as isize;
                    *value = (1.0 - away) * *value + away * ((1.0 - part) * at(from) + part * at(from - 1));
                }
            }
        }
    }

    /// Takes away what metal on the patient or in it does not let through.
    fn shade(&mut self, metal: &[Metal]) {
        let Field { rows, columns, pixel_cm, .. } = self.field;
        for (view, shade) in self.shades.iter_mut().enumerate() {
            let objects: Vec<&Metal> = metal.iter().filter(|object| object.through[view] < 1.0).collect();
            if objects.is_empty() {
                continue;
            }
            *shade = vec![1.0; rows * columns];
            for object in objects {
                let (row, column) = self.field.pixel(object.at);
                let (sin, cos) = object.tilt.sin_cos();
                let [a, b] = object.half;
                // The collimator blurs the object's edge.
                let edge = (self.camera.blur_cm + 4.0 * self.camera.blur_per_cm) / FWHM;
                let reach = (a.max(b) + 4.0 * edge) / pixel_cm;
                for r in span(row, reach, rows) {
                    for c in span(column, reach, columns) {
                        let (dx, dy) = ((c as f32 - column) * pixel_cm, (r as f32 - row) * pixel_cm);
                        let (u, v) = (dx * cos + dy * sin, dy * cos - dx * sin);
                        let radius = ((u / a).powi(2) + (v / b).powi(2)).sqrt();
                        // Distance from the edge, about; in deviations of the blur.
                        let out = (radius - 1.0) * a.min(b) / edge;
                        let covered = 1.0 / (1.0 + (1.7 * out).exp());
                        shade[r * columns + c] *= 1.0 - (1.0 - object.through[view]) * covered;
                    }
                }
            }
            self.views[view].iter_mut().zip(shade).for_each(|(value, through)| *value *= *through);
        }
    }

    fn ellipsoid(&mut self, organ: &Ellipsoid) {
        let field = self.field;
        let (row, column) = field.pixel(organ.centre);
        let [a, b, c] = organ.half;
        let (sin, cos) = organ.tilt.sin_cos();
        let reach = a.max(b) / field.pixel_cm + 1.0;
        let rows = span(row, reach, field.rows);
        let columns = span(column, reach, field.columns);
        // A wall thinner than a coarse pixel is sampled at more than its centre.
        let samples = (field.pixel_cm / 0.3).ceil().max(1.0) as usize;
        let weight = organ.activity / (samples * samples) as f32;
        let offset = |k: usize| (k as f32 + 0.5) / samples as f32 - 0.5;
        for r in rows {
            for col in columns.clone() {
                let at = r * field.columns + col;
                let mut sum = [0.0; 2];
                for k in 0..samples * samples {
                    let dx = (col as f32 + offset(k % samples) - column) * field.pixel_cm;
                    let dy = (r as f32 + offset(k / samples) - row) * field.pixel_cm;
                    let (u, v) = (dx * cos + dy * sin, dy * cos - dx * sin);
                    let half_chord = |shrink: f32| {
                        let q = (u / (a - shrink)).powi(2) + (v / (b - shrink)).powi(2);
                        (c - shrink) * (1.0 - q).max(0.0).sqrt()
                    };
                    let outer = half_chord(0.0);
                    if outer == 0.0 {
                        continue;
                    }
                    // The front half of a wall and its back half lie at different depths; a solid is seen at its centre.
                    let halves = match organ.wall {
                        None => [(outer, 0.0); 2],
                        Some(wall) => {
                            let inner = half_chord(wall);
                            [1.0, -1.0].map(|side| (outer - inner, side * 0.5 * (outer + inner)))
                        }
                    };
                    for (length, z) in halves {
                        let depths = self.depths(at, organ.centre[2] + z);
                        sum = [0, 1].map(|view| sum[view] + length * (-ATTENUATION * depths[view]).exp());
                    }
                }
                for (view, sum) in self.views.iter_mut().zip(sum) {
                    view[at] += weight * sum;
                }
            }
        }
    }

    /// How a bead looks to each detector: factor on its mass and standard deviation in centimetres.
    fn seen(&self, at: Point, sigma: f32) -> [(f32, f32); 2] {
        let (row, column) = self.field.pixel(at);
        let clamp = |value: f32, size: usize| (value.round().max(0.0) as usize).min(size - 1);
        let pixel = clamp(row, self.field.rows) * self.field.columns + clamp(column, self.field.columns);
        self.depths(pixel, at[2]).map(|depth| {
            // A pixel is a box: its variance is a twelfth of its area.
            let variance = sigma * sigma + self.blur_sigma(depth).powi(2) + self.field.pixel_cm.powi(2) / 12.0;
            ((-ATTENUATION * depth).exp(), variance.sqrt())
        })
    }

    fn bead(&mut self, bead: &Bead) {
        let (row, column) = self.field.pixel(bead.at);
        let seen = self.seen(bead.at, bead.sigma);
        let size = (self.field.rows, self.field.columns);
        for (column, share) in self.columns(bead.at[1], column) {
            for (view, (factor, sigma)) in self.views.iter_mut().zip(seen) {
                let mass = bead.mass * factor / (sigma * sigma) * share;
                splat(view, size, (row, column), sigma / self.field.pixel_cm, mass, self.camera.widest_blob);
            }
        }
    }

    /// Scales both views, for the same time, to `counts` each on average.
    fn normalise(&mut self, counts: f32) {
        let field = self.field;
        let (first, end) = field.exposed_columns;
        let mut sum = 0.0_f64;
        for row in field.exposed_rows.0..field.exposed_rows.1 {
            for view in &self.views {
                sum += f64::from(view[row * field.columns..][first..end].iter().sum::<f32>());
            }
        }
        let factor = (2.0 * f64::from(counts) / (sum * f64::from(field.area())).max(1.0)) as f32;
        for value in self.views.iter_mut().flatten() {
            *value *= factor;
        }
    }

    /// Adds foci as one lesion, as bright as it asks for in the view that shows it best, and says where it shows.
    pub fn stamp(&mut self, foci: &Foci) -> [LesionInView; 2] {
        let field = self.field;
        let mut box_rows = (field.rows, 0);
        let mut box_columns = (field.columns, 0);
        let mut seen = Vec::with_capacity(foci.blobs.len());
        for blob in &foci.blobs {
            let ((row, column), views) = (field.pixel(blob.at), self.seen(blob.at, blob.sigma));
            seen.extend(self.columns(blob.at[1], column).map(|(column, share)| (blob, share, (row, column), views)));
        }
        for (_, _, (row, column), views) in &seen {
            let reach = 3.2 * views[0].1.max(views[1].1) / field.pixel_cm;
            let (rows, columns) = (span(*row, reach, field.rows), span(*column, reach, field.columns));
            box_rows = (box_rows.0.min(rows.start), box_rows.1.max(rows.end));
            box_columns = (box_columns.0.min(columns.start), box_columns.1.max(columns.end));
        }
        let size = (box_rows.1.saturating_sub(box_rows.0), box_columns.1.saturating_sub(box_columns.0));
        let patches = [0, 1].map(|view| {
            let mut patch = vec![0.0; size.0 * size.1];
            for (blob, share, (row, column), views) in &seen {
                let (factor, sigma) = views[view];
                let centre = (row - box_rows.0 as f32, column - box_columns.0 as f32);
                splat(
                    &mut patch,
                    size,
                    centre,
                    sigma / field.pixel_cm,
                    blob.weight * blob.sigma * blob.sigma * factor / (sigma * sigma) * share,
                    self.camera.widest_blob,
                );
            }
            patch
        });
        // Peak of each patch, and what is already there.
        let peaks = [0, 1].map(|view| {
            let (at, peak) = patches[view]
                .iter()
                .enumerate()
                .fold((0, 0.0_f32), |best, (at, &value)| if value > best.1 { (at, value) } else { best });
            let (row, column) = (box_rows.0 + at / size.1.max(1), box_columns.0 + at % size.1.max(1));
            (peak, self.views[view].get(row * field.columns + column).copied().unwrap_or(0.0))
        });
        let (best, background) = if peaks[0].0 >= peaks[1].0 { peaks[0] } else { peaks[1] };
        let usual = USUAL_BACKGROUND * self.brightness;
        let excess = foci.excess * self.brightness * (1.0 + BACKGROUND_SHARE * (background / usual - 1.0));
        let scale = excess / best.max(f32::MIN_POSITIVE);
        [0, 1].map(|view| {
            let mut trace = LesionInView::default();
            let through = |row: usize, column: usize| self.shades[view].get(row * field.columns + column).copied();
            let shaded = |r: usize, c: usize| {
                patches[view][r * size.1 + c] * scale * through(box_rows.0 + r, box_columns.0 + c).unwrap_or(1.0)
            };
            let peak = match self.shades[view].is_empty() {
                true => peaks[view].0 * scale,
                false => (0..size.0 * size.1).map(|at| shaded(at / size.1, at % size.1)).fold(0.0, f32::max),
            };
            let mut best = f32::NEG_INFINITY;
            for r in 0..size.0 {
                let mut run: Option<[u32; 3]> = None;
                for c in 0..size.1 {
                    let (row, column) = (box_rows.0 + r, box_columns.0 + c);
                    let excess = shaded(r, c);
                    let value = &mut self.views[view][row * field.columns + column];
                    if excess > best {
                        best = excess;
                        (trace.row, trace.column) = (row as u32, column as u32);
                        trace.background = *value * field.area();
                    }
                    // A cold centre keeps the blood's activity.
                    *value = (*value + excess).max(0.5 * *value);
                    let inside =
                        peak > VISIBLE_EXCESS * self.brightness && excess.abs() >= MASK_LEVEL * peak && self.exposed(row, column);
                    match (&mut run, inside) {
                        (Some(run), true) => run[2] += 1,
                        (None, true) => run = Some([row as u32, column as u32, 1]),
                        (_, false) => trace.mask.extend(run.take()),
                    }
                }
                trace.mask.extend(run);
            }
            trace.excess = peak * field.area();
            trace
        })
    }

    fn exposed(&self, row: usize, column: usize) -> bool {
        let ((top, bottom), (left, right)) = (self.field.exposed_rows, self.field.exposed_columns);
        (top..bottom).contains(&row) && (left..right).contains(&column)
    }

    /// Counts in both views, the posterior as its detector sees it.
    pub fn count(&self, random: &mut Random) -> [Image; 2] {
        let field = self.field;
        let area = field.area();
        let background = self.camera.background * self.brightness;
        [false, true].map(|mirrored| {
            let view = &self.views[usize::from(mirrored)];
            let mut image = Image::zeros(field.rows, field.columns);
            let (left, right) = field.exposed_columns;
            for row in field.exposed_rows.0..field.exposed_rows.1 {
                let expected = &view[row * field.columns..][left..right];
                let (first, end) = if mirrored { (field.columns - right, field.columns - left) } else { (left, right) };
                let pixels = &mut image.pixels[row * field.columns..][first..end];
                for (pixel, &mean) in pixels.iter_mut().zip(expected) {
                    *pixel = random.poisson((mean + background) * area).min(f32::from(u16::MAX));
                }
                if mirrored {
                    pixels.reverse();
                }
            }
            image
        })
    }

    /// Expected counts a reference pixel in both views where a point of the body is seen.
    #[cfg(test)]
    pub fn at(&self, point: Point) -> [f32; 2] {
        let (row, column) = self.field.pixel(point);
        [0, 1].map(|view| self.views[view][row.round() as usize * self.field.columns + column.round() as usize])
    }

    /// Where metal shows, in the anterior's orientation: its excess is what it takes away at its middle.
    pub fn cold(&self, object: &Metal) -> [LesionInView; 2] {
        let Field { rows, columns, pixel_cm, .. } = self.field;
        let (row, column) = self.field.pixel(object.at);
        let (sin, cos) = object.tilt.sin_cos();
        let reach = object.half[0].max(object.half[1]) / pixel_cm;
        [0, 1].map(|view| {
            let mut trace = LesionInView::default();
            if object.through[view] == 1.0 {
                return trace;
            }
            trace.row = row.round().clamp(0.0, rows as f32 - 1.0) as u32;
            trace.column = column.round().clamp(0.0, columns as f32 - 1.0) as u32;
            let middle = trace.row as usize * columns + trace.column as usize;
            let left = self.views[view][middle] * self.field.area();
            trace.background = left / self.shades[view].get(middle).copied().unwrap_or(1.0);
            trace.excess = left - trace.background;
            for r in span(row, reach, rows) {
                let inside = |c: &usize| {
                    let (dx, dy) = ((*c as f32 - column) * pixel_cm, (r as f32 - row) * pixel_cm);
                    let (u, v) = (dx * cos + dy * sin, dy * cos - dx * sin);
                    (u / object.half[0]).powi(2) + (v / object.half[1]).powi(2) <= 1.0 && self.exposed(r, *c)
                };
                let covered: Vec<usize> = span(column, reach, columns).filter(inside).collect();
                if let (Some(&first), Some(&last)) = (covered.first(), covered.last()) {
                    trace.mask.push([r as u32, first as u32, (last - first + 1) as u32]);
                }
            }
            trace
        })
    }

    /// Replaces everything from a row on by another exposure of the same legs: displaced by rows down and columns to the right as
    /// each detector sees it, and brighter or darker.
    pub fn patch(&mut self, patch: &Patch) {
        let Field { rows, columns, .. } = self.field;
        for (view, sign) in self.views.iter_mut().zip([1, -1]) {
            let before = view.clone();
            for row in patch.row.min(rows)..rows {
                for column in 0..columns {
                    let from = usize::try_from(column as isize - sign * patch.right).ok().filter(|from| *from < columns);
                    let value = from.map_or(0.0, |from| before[(row - patch.down) * columns + from]);
                    view[row * columns + column] = patch.brightness * value;
                }
            }
        }
    }

    /// Takes a trace of the posterior view from the anterior's orientation to the detector's.
    pub fn mirror(&self, trace: &mut LesionInView) {
        let columns = self.field.columns as u32;
        trace.column = columns - 1 - trace.column;
        for run in &mut trace.mask {
            run[1] = columns - run[1] - run[2];
        }
    }
}

/// Expected counts a reference pixel around bone in a scan with the reference counts.
pub(super) const USUAL_BACKGROUND: f32 = 50.0;
/// Bone that takes up more makes more of a lesion too: this share of the excess grows with the background.
const BACKGROUND_SHARE: f32 = 0.6;
/// A lesion's mask is where its excess reaches this share of its peak.
pub(super) const MASK_LEVEL: f32 = 0.4;
/// Below this excess at the peak (counts a reference pixel of the reference scan) nobody could draw an outline.
const VISIBLE_EXCESS: f32 = 4.0;

/// A separate exposure of the feet, put beneath the sweep.
#[derive(Clone, Copy)]
pub(super) struct Patch {
    /// Its first row.
    pub row: usize,
    /// Rows and columns by which it is displaced; it begins lower than it should, so that some rows are seen twice.
    pub down: usize,
    pub right: isize,
    /// Against the sweep.
    pub brightness: f32,
}

impl Patch {
    /// Takes a trace to where the patched picture of `size` (rows, columns) shows it, as the view's detector sees it.
    pub fn apply(&self, trace: &mut LesionInView, size: (usize, usize)) {
        let moved = |row: u32| row as usize + self.down;
        let shown: Vec<[u32; 3]> = trace.mask.iter().copied().filter(|run| (run[0] as usize) < self.row).collect();
        let below =
            trace.mask.iter().filter(|run| (self.row..size.0).contains(&moved(run[0]))).filter_map(|&[row, column, length]| {
                let first = (column as isize + self.right).clamp(0, size.1 as isize);
                let end = (column as isize + length as isize + self.right).clamp(0, size.1 as isize);
                (first < end).then_some([moved(row) as u32, first as u32, (end - first) as u32])
            });
        trace.mask = shown.into_iter().chain(below).collect();
        if trace.row as usize >= self.row {
            trace.row = (moved(trace.row)).min(size.0 - 1) as u32;
            trace.column = (trace.column as isize + self.right).clamp(0, size.1 as isize - 1) as u32;
            trace.excess *= self.brightness;
            trace.background *= self.brightness;
        }
    }
}

/// The pixels within `reach` of `centre`, clipped to `0..size`.
fn span(centre: f32, reach: f32, size: usize) -> std::ops::Range<usize> {
    let first = (centre - reach).ceil().max(0.0) as usize;
    let end = ((centre + reach).floor() + 1.0).max(0.0) as usize;
    first.min(size)..end.min(size)
}

/// Adds a Gaussian with the integral `mass` (in units of `sigma^2`, both in pixels) around `centre` (row, column).
/// At most `widest` columns of it.
fn splat(image: &mut [f32], (rows, columns): (usize, usize), centre: (f32, f32), sigma: f32, mass: f32, widest: usize) {
    /// Three deviations of the widest blob at the finest useful pixel fit easily.
    const WIDEST: usize = 768;
    let reach = 3.2 * sigma;
    let span_rows = span(centre.0, reach, rows);
    let span_columns = span(centre.1, reach, columns);
    let mut profile = [0.0_f32; WIDEST];
    let width = span_columns.len().min(WIDEST.min(widest));
    let inverse = 0.5 / (sigma * sigma);
    for (k, value) in profile[..width].iter_mut().enumerate() {
        *value = (-((span_columns.start + k) as f32 - centre.1).powi(2) * inverse).exp();
    }
    for row in span_rows {
        let factor = mass / (2.0 * std::f32::consts::PI) * (-(row as f32 - centre.0).powi(2) * inverse).exp();
        let target = &mut image[row * columns + span_columns.start..][..width];
        for (value, weight) in target.iter_mut().zip(&profile) {
            *value += factor * weight;
        }
    }
}

/// Replaces a share of the counts by a haze: the image on a coarse grid, blurred, and brought back by interpolation.
fn scatter(image: &mut [f32], field: Field, scatter_share: f32) {
    let (rows, columns) = (field.rows, field.columns);
    let step = (1.0 / field.pixel_cm).round().max(1.0) as usize;
    let (coarse_rows, coarse_columns) = (rows.div_ceil(step), columns.div_ceil(step));
    let mut coarse = vec![0.0; coarse_rows * coarse_columns];
    for (row, line) in image.chunks_exact(columns).enumerate() {
        let target = &mut coarse[row / step * coarse_columns..][..coarse_columns];
        for (value, part) in target.iter_mut().zip(line.chunks(step)) {
            *value += part.iter().sum::<f32>();
        }
    }
    let norm = scatter_share / (step * step) as f32;
    coarse.iter_mut().for_each(|value| *value *= norm);
    blur(&mut coarse, coarse_rows, coarse_columns, SCATTER_SIGMA_CM / (field.pixel_cm * step as f32));
    // Position of a fine pixel between the centres of coarse ones.
    let neighbours = |at: usize, count: usize| {
        let position = ((at as f32 + 0.5) / step as f32 - 0.5).clamp(0.0, (count - 1) as f32);
        let low = (position as usize).min(count.saturating_sub(2));
        (low, (low + 1).min(count - 1), position - low as f32)
    };
    let across: Vec<_> = (0..columns).map(|column| neighbours(column, coarse_columns)).collect();
    let mut line = vec![0.0; coarse_columns];
    for (row, pixels) in image.chunks_exact_mut(columns).enumerate() {
        let (low, high, share) = neighbours(row, coarse_rows);
        for (c, value) in line.iter_mut().enumerate() {
            let (a, b) = (coarse[low * coarse_columns + c], coarse[high * coarse_columns + c]);
            *value = a + (b - a) * share;
        }
        for (value, &(low, high, share)) in pixels.iter_mut().zip(&across) {
            *value = (1.0 - scatter_share) * *value + line[low] + (line[high] - line[low]) * share;
        }
    }
}
