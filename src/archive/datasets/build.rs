//! Which rows a dataset has: subsampling, split, copies and their transforms. Reads no file.

use super::{Dataset, DatasetKind, DatasetOptions};
use crate::archive::manifest::{Manifest, PAPER_CLASSES, Row};
use crate::archive::side::Side;
use crate::archive::split::split;
use crate::prepare::{Motion, Transform};
use crate::random::{Purpose, shuffle, stream};
use crate::text::counted;
use crate::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

/// Images in Table 2, in the order of [`PAPER_CLASSES`].
const D1_IMAGES: [usize; 3] = [226, 237, 160];
const D2_IMAGES: [usize; 3] = [614, 624, 640];
const D3_IMAGES: [usize; 3] = [307, 318, 320];

/// A study of the source, with the views that D1 has of it.
struct Original {
    /// Its row in the source.
    number: usize,
    row: Row,
}

impl Original {
    fn views(&self) -> usize {
        self.row.cells().count()
    }
}

/// Makes a dataset of an archive. Reads no file: each cell stands for one image, so the frames of files with several must be
/// named ([`Manifest::with_frames_named`]).
///
/// # Errors
/// A manifest that is a dataset already; options out of range; a class that is asked for and not there, in a number that cannot
/// be; a class with too few patients to split; copies without a rotation or translation.
pub fn build(kind: DatasetKind, source: &Manifest, options: &DatasetOptions) -> Result<Dataset> {
    options.augmentation.check()?;
    if source.rows.iter().any(|row| row.side.is_some() || row.is_augmented()) {
        let problem = "is a dataset already: it has sides or draws";
        return Err(Error::file(&source.path, problem, "give the manifest that it was made from"));
    }
    for (class, count) in &options.counts {
        if !source.classes.contains(class) {
            let problem = format!("has no class {class}, of which {count} are asked for: its classes are ");
            return Err(Error::file(&source.path, problem + &source.classes.join(", "), "correct the counts"));
        }
    }
    let originals = originals(kind, source, options)?;
    let rows = originals.iter().map(|original| original.row.clone()).collect();
    let base = Manifest::new(&source.path, rows)?.with_seen(&source.seen);
    let split = split(&base, options.train_share, options.seed)?;
    split.check_classes(&base)?;

    let images = originals.iter().map(Original::views).sum();
    let mut rows: Vec<(usize, usize, Row)> = Vec::new(); // number in the source, copy, row
    for (index, class) in base.classes.iter().enumerate() {
        let of_class = |side: &[usize]| -> Vec<usize> {
            side.iter().copied().filter(|&original| originals[original].row.label == *class).collect()
        };
        let sides = [(Side::Train, of_class(&split.train)), (Side::Test, of_class(&split.test))];
        let units = |studies: &[usize]| match kind {
            DatasetKind::D3 => studies.len(),
            _ => studies.iter().map(|&study| originals[study].views()).sum(),
        };
        let own = sides.each_ref().map(|(_, studies)| units(studies));
        let all = own[0] + own[1];
        let target = target(kind, class, &base.classes, images, all, options)?;
        let train = (target as f64 * own[0] as f64 / all as f64).round() as usize;
        for ((side, studies), target) in sides.into_iter().zip([train, target - train]) {
            let mut order = studies.clone();
            shuffle(&mut stream(Purpose::CopyOrder, options.seed, index as u64, side as u64), &mut order);
            let mut copies = Copies { options, path: &source.path, made: HashMap::new() };
            let mut filled = 0;
            for next in 0.. {
                if filled == target {
                    break;
                }
                let copy = next / studies.len();
                let study = if copy == 0 { studies[next] } else { order[next % studies.len()] };
                let Original { number, row } = &originals[study];
                let row = Row { side: Some(side), transform: copies.transform(*number, copy)?, ..row.clone() };
                let parts = if kind == DatasetKind::D3 { vec![row] } else { single_views(row) };
                let room = target - filled;
                filled += parts.len().min(room);
                rows.extend(parts.into_iter().take(room).map(|row| (*number, copy, row)));
            }
        }
    }
    rows.sort_by_key(|&(number, copy, _)| (number, copy)); // stable: anterior first
    let rows = rows.into_iter().map(|(_, _, row)| row).collect();
    let manifest = Manifest::new(&source.path, rows)?.with_seen(&source.seen);
    let manifest = if options.merge_metastatic { manifest.merged()? } else { manifest };
    Ok(Dataset { kind, manifest, options: options.clone(), studies: source.rows.len() })
}

/// The transforms of copies, by study: copy 0 is the scan as it is, and no two are the same.
struct Copies<'a> {
    options: &'a DatasetOptions,
    path: &'a Path,
    made: HashMap<usize, Vec<Transform>>,
}

impl Copies<'_> {
    fn transform(&mut self, study: usize, copy: usize) -> Result<Transform> {
        let made = self.made.entry(study).or_insert_with(|| vec![Transform::default()]);
        for next in made.len()..=copy {
            let mut random = stream(Purpose::Copies, self.options.seed, study as u64, next as u64);
            // In hundredths, so that a table of them can be read.
            let hundredths = |value: f32| (value * 100.0).round() / 100.0;
            let attempts = std::iter::repeat_with(|| {
                let Transform { angle_deg, shift_rows_px, shift_columns_px } =
                    Transform::from_stream(&self.options.augmentation, &mut random);
                Transform {
                    angle_deg: hundredths(angle_deg),
                    shift_rows_px: hundredths(shift_rows_px),
                    shift_columns_px: hundredths(shift_columns_px),
                }
            });
            let Some(transform) = attempts.take(1000).find(|transform| !made.contains(transform)) else {
                let Motion { rotation_deg, translation_px } = self.options.augmentation;
                let limits = format!("a rotation of {rotation_deg} degrees and a translation of {translation_px} pixels at most");
                let problem =
                    format!("needs {} of a scan, and {limits} give no such number of different ones", counted(copy, "copy"));
                return Err(Error::file(self.path, problem, "allow more, or ask for fewer copies"));
            };
            made.push(transform);
        }
        Ok(made[copy])
    }
}

/// A study's rows with one view each.
fn single_views(row: Row) -> Vec<Row> {
    let Row { anterior, posterior, .. } = &row;
    let views = [(anterior.is_some(), (anterior.clone(), None)), (posterior.is_some(), (None, posterior.clone()))];
    let there = views.into_iter().filter_map(|(there, view)| there.then_some(view));
    there.map(|(anterior, posterior)| Row { anterior, posterior, ..row.clone() }).collect()
}

/// The studies of D1: all but what is too many of a class.
fn originals(kind: DatasetKind, source: &Manifest, options: &DatasetOptions) -> Result<Vec<Original>> {
    let images =
        |class: &str| -> usize { source.rows.iter().filter(|row| row.label == class).map(|row| row.cells().count()).sum() };
    let [no_metastasis, ..] = PAPER_CLASSES;
    let metastatic: Vec<usize> =
        source.classes.iter().filter(|class| *class != no_metastasis).map(|class| images(class)).collect();
    let mut originals = Vec::new();
    for (index, class) in source.classes.iter().enumerate() {
        let there = images(class);
        let asked = options.counts.get(class).filter(|_| kind == DatasetKind::D1);
        if let Some(&asked) = asked.filter(|asked| !(1..=there).contains(*asked)) {
            let problem = format!("has {} of {class}, and {asked} are asked for", counted(there, "image"));
            return Err(Error::file(&source.path, problem, format!("ask for 1 to {there}, or for copies in d2")));
        }
        let most = if class == no_metastasis && !metastatic.is_empty() {
            let mean = metastatic.iter().sum::<usize>() as f64 / metastatic.len() as f64;
            let [none, kinds @ ..] = D1_IMAGES;
            (mean * none as f64 * kinds.len() as f64 / kinds.iter().sum::<usize>() as f64).round().max(1.0) as usize
        } else {
            there
        };
        let mut left = asked.copied().unwrap_or(most.min(there));
        let mut order: Vec<usize> = (0..source.rows.len()).filter(|&row| source.rows[row].label == *class).collect();
        if left < there {
            shuffle(&mut stream(Purpose::Subsample, options.seed, index as u64, 0), &mut order);
        }
        let mut too_large = None;
        for number in order {
            let original = Original { number, row: source.rows[number].clone() };
            match left.checked_sub(original.views()) {
                Some(rest) => {
                    left = rest;
                    originals.push(original);
                }
                None => too_large = too_large.or(Some(original)),
            }
        }
        // One image is missing, and only studies of two views are left.
        if let (1, Some(Original { number, row })) = (left, too_large) {
            originals.push(Original { number, row: Row { posterior: None, ..row } });
        }
    }
    originals.sort_by_key(|original| original.number);
    Ok(originals)
}

/// How many rows of a class a dataset has; D1 had `images` of all classes and has `own` of it.
fn target(
    kind: DatasetKind,
    class: &str,
    classes: &[String],
    images: usize,
    own: usize,
    options: &DatasetOptions,
) -> Result<usize> {
    let table = match kind {
        DatasetKind::D1 => return Ok(own),
        DatasetKind::D2 => D2_IMAGES,
        DatasetKind::D3 => D3_IMAGES,
    };
    if let Some(&asked) = options.counts.get(class) {
        if asked < own {
            let problem = format!("{class}={asked} is fewer than the {own} without copies");
            return Err(Error::setting(problem, format!("ask for {own} or more; only d1 leaves scans out")));
        }
        if asked > own.saturating_mul(MOST_COPIES) {
            let problem = format!("{class}={asked} is more than {MOST_COPIES} times the {own} without copies");
            return Err(Error::setting(problem, "ask for fewer"));
        }
        return Ok(asked);
    }
    let all = table.iter().sum::<usize>() as f64;
    let weight = |class: &str| {
        let known = PAPER_CLASSES.iter().position(|name| *name == class).map(|at| table[at] as f64);
        known.unwrap_or(all / table.len() as f64)
    };
    let factor = all / D1_IMAGES.iter().sum::<usize>() as f64;
    let weights: f64 = classes.iter().map(|class| weight(class)).sum();
    let share = images as f64 * factor * weight(class) / weights;
    Ok((share.round() as usize).clamp(own, own * MOST_COPIES))
}

/// More copies of a scan are no use: the paper has four.
const MOST_COPIES: usize = 100;
