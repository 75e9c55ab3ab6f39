//! Networks on the scans that they are evaluated on, made worse: fewer counts, one view, missing feet, another alignment, turned, moved,
//! larger and smaller, and the wrong way round.

use super::Ensemble;
use super::regions::{ANKLES, KNEES};
use crate::Result;
use crate::archive::manifest::{Manifest, Row};
use crate::image::{Image, View, critical_points};
use crate::intake::Study;
use crate::metrics::{Bootstrap, Predictions, Stress, Trial};
use crate::prepare::augment::REFERENCE_SIZE;
use crate::prepare::views::Fused;
use crate::prepare::{Alignment, Measures, Preprocessing, Transform, augment, thinned, views};
use crate::random::{Purpose, stream};

/// Which counts are left out is drawn from it.
const SEED: u64 = 1;

/// What is done to a scan.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Condition {
    /// Each count is kept with this chance, in both views.
    Counts(f32),
    /// The other view was not taken.
    OneView(View),
    /// In each view nothing below this share of the body's height, from the crown, was taken.
    CutOff(f64),
    /// The views are aligned in another way than the model's.
    Aligned(Alignment),
    /// The fused picture is turned and moved, and so many times as large.
    Moved(Transform, f32),
    /// Each view has left and right exchanged.
    Mirrored,
    /// Each view has the head below and left and right exchanged, as of a patient who lay the other way round.
    UpsideDown,
}

/// All conditions for a model: kind, words, and what is done.
fn conditions(model: Alignment) -> Vec<(&'static str, String, Condition)> {
    let still = Transform::default();
    let percent = |share: f32| format!("{:.0} %", 100.0 * share);
    let mut all = vec![
        ("counts", "half of the counts".to_owned(), Condition::Counts(0.5)),
        ("counts", "a quarter of the counts".to_owned(), Condition::Counts(0.25)),
        ("views", "anterior view alone".to_owned(), Condition::OneView(View::Anterior)),
        ("views", "posterior view alone".to_owned(), Condition::OneView(View::Posterior)),
        ("feet", "without feet".to_owned(), Condition::CutOff(ANKLES)),
        ("feet", "without lower legs and feet".to_owned(), Condition::CutOff(KNEES)),
    ];
    for other in Alignment::ALL.into_iter().filter(|other| *other != model) {
        all.push(("alignment", format!("aligned by {}", other.name()), Condition::Aligned(other)));
    }
    for angle_deg in [-10.0, -5.0, 5.0, 10.0] {
        let side = if angle_deg < 0.0 { "left" } else { "right" };
        let words = format!("turned {side} by {:.0} degrees", f32::abs(angle_deg));
        all.push(("rotation", words, Condition::Moved(Transform { angle_deg, ..still }, 1.0)));
    }
    let [rows, columns] = REFERENCE_SIZE.map(|side| side as f32);
    for share in [0.02, 0.05] {
        let moves = [
            ("down", Transform { shift_rows_px: share * rows, ..still }),
            ("up", Transform { shift_rows_px: -share * rows, ..still }),
            ("to the right", Transform { shift_columns_px: share * columns, ..still }),
            ("to the left", Transform { shift_columns_px: -share * columns, ..still }),
        ];
        let moves = moves.map(|(way, by)| ("shift", format!("moved {way} by {}", percent(share)), Condition::Moved(by, 1.0)));
        all.extend(moves);
    }
    for scale in [0.9, 1.1] {
        all.push(("scale", format!("{scale} times as large"), Condition::Moved(still, scale)));
    }
    all.push(("orientation", "left and right exchanged".to_owned(), Condition::Mirrored));
    all.push(("orientation", "upside down".to_owned(), Condition::UpsideDown));
    all
}

impl Condition {
    /// The views under it, where it is about them; none where it cannot be made of them: of a single view neither the other nor another
    /// alignment, and of a view that has too few counts nothing with fewer.
    fn views(self, study: &Study, preprocessing: &Preprocessing, number: u64) -> Option<Study> {
        let of_views = |mut change: Box<dyn FnMut(&Image) -> Image>| Study {
            anterior: study.anterior.as_ref().map(&mut change),
            posterior: study.posterior.as_ref().map(&mut change),
            sources: study.sources.clone(),
            pixel_mm: study.pixel_mm,
            ..Study::default()
        };
        let has_both = study.anterior.is_some() && study.posterior.is_some();
        let whole = || of_views(Box::new(Image::clone));
        let changed = match self {
            Condition::Counts(kept) => {
                let mut random = stream(Purpose::Stress, SEED, (100.0 * kept) as u64, number);
                of_views(Box::new(move |view| thinned(view, kept, &mut random)))
            }
            Condition::CutOff(share) => {
                let threshold = preprocessing.threshold;
                of_views(Box::new(move |view| cut_off(view, threshold, share)))
            }
            Condition::Mirrored => of_views(Box::new(|view| {
                let mut view = view.clone();
                view.mirror();
                view
            })),
            Condition::UpsideDown => of_views(Box::new(|view| {
                let pixels = view.pixels.iter().rev().copied().collect();
                Image { pixels, ..*view }
            })),
            Condition::OneView(View::Anterior) if has_both => Study { posterior: None, ..whole() },
            Condition::OneView(View::Posterior) if has_both => Study { anterior: None, ..whole() },
            Condition::OneView(_) => return None,
            Condition::Aligned(_) if !has_both => return None,
            Condition::Aligned(_) | Condition::Moved(..) => whole(),
        };
        let is_lit = |view: &Image| view.pixels.iter().any(|count| *count > 0.0);
        changed.anterior.iter().chain(&changed.posterior).all(is_lit).then_some(changed)
    }
}

/// Without what lies below a share of the body's height; as it is where there is no body.
fn cut_off(view: &Image, threshold: f32, share: f64) -> Image {
    let mut view = view.clone();
    if let Some(points) = critical_points(&view, threshold) {
        let [crown, soles] = points.extent(0);
        let first = (crown + share * (soles - crown)).round() as usize;
        view.pixels[first * view.columns..].fill(0.0);
    }
    view
}

/// What the networks get of a study, and what that is like: first as it is, then under each condition that can be made of it.
fn inputs(networks: &Ensemble, row: &Row, number: u64, conditions: &[Condition]) -> Result<Vec<Option<(Image, Measures)>>> {
    let about = networks.metadata();
    let study = row.read()?;
    // At the scan's own size, as the loader does.
    let fused = |study: &Study, preprocessing: &Preprocessing| -> Result<Fused> {
        let fused = views::fuse(study, preprocessing)?;
        Ok(Fused { image: augment::apply(&fused.image, &row.pending_transform()), ..fused })
    };
    let input = |study: &Study, fused: &Fused| {
        let image = views::network_input(&fused.image, about.input_size, &about.preprocessing);
        let measures = Measures::of(study, fused, &image, &about.preprocessing);
        (image, measures)
    };
    let whole = fused(&study, &about.preprocessing)?;
    let mut all = vec![Some(input(&study, &whole))];
    for condition in conditions {
        let changed = match *condition {
            Condition::Moved(transform, scale) => {
                let image = augment::apply_scaled(&whole.image, &transform, scale);
                let anterior_points = critical_points(&image, about.preprocessing.threshold);
                Some(input(&study, &Fused { image, anterior_points, ..whole.clone() }))
            }
            other => match other.views(&study, &about.preprocessing, number) {
                None => None,
                Some(study) => {
                    let alignment = if let Condition::Aligned(other) = other { other } else { about.preprocessing.alignment };
                    let changed = fused(&study, &Preprocessing { alignment, ..about.preprocessing.clone() })?;
                    Some(input(&study, &changed))
                }
            },
        };
        all.push(changed);
    }
    Ok(all)
}

/// Scores of a model on rows of a manifest as they are and under each condition. Each study is read once, and one is in memory at a
/// time; `batch` inputs go through the network together. `progress` is called with how many rows are done, and stops the work by an
/// error.
///
/// # Errors
/// Scans that cannot be read; a label that the model lacks; as [`Bootstrap::check`]; whatever `progress` returns.
pub fn stress(
    networks: &Ensemble,
    manifest: &Manifest,
    rows: &[usize],
    batch: usize,
    positive: Option<usize>,
    bootstrap: Bootstrap,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Stress> {
    let about = networks.metadata();
    let named = conditions(about.preprocessing.alignment);
    let conditions: Vec<Condition> = named.iter().map(|(.., condition)| *condition).collect();
    let labels = manifest.labels(&about.classes)?;
    let empty = |kind, condition| Trial { kind, condition, probabilities: Vec::new(), unlike: Vec::new() };
    let mut trials = vec![empty("none", "as they are".to_owned())];
    trials.extend(named.into_iter().map(|(kind, condition, _)| empty(kind, condition)));
    for (done, &at) in rows.iter().enumerate() {
        progress(done)?;
        let inputs = inputs(networks, &manifest.rows[at], at as u64, &conditions)?;
        let there: Vec<&(Image, Measures)> = inputs.iter().flatten().collect();
        let mut answers = Vec::with_capacity(there.len());
        for some in there.chunks(batch.max(1)) {
            let pixels: Vec<f32> = some.iter().flat_map(|(image, _)| &image.pixels).copied().collect();
            let each = some.iter().zip(networks.answer(&pixels, some.len())?);
            answers.extend(each.map(|((_, measures), answer)| {
                let unlike = networks.trust(measures, &answer).map(|trust| !trust.reasons.is_empty());
                (answer.probabilities, unlike)
            }));
        }
        let mut answers = answers.into_iter();
        for (trial, input) in trials.iter_mut().zip(&inputs) {
            let (probabilities, unlike) = input.as_ref().and_then(|_| answers.next()).unzip();
            trial.probabilities.push(probabilities);
            trial.unlike.extend(unlike.flatten());
        }
    }
    progress(rows.len())?;
    let patients = rows.iter().map(|&at| manifest.rows[at].patient.clone()).collect();
    let truths = rows.iter().map(|&at| labels[at] as usize).collect();
    let Trial { probabilities, unlike, .. } = trials.remove(0);
    let unchanged = probabilities.into_iter().flatten().collect();
    let unchanged = Predictions::new("as they are", about.classes.clone(), patients, truths, unchanged)?;
    Stress::new(&Predictions { positive, ..unchanged }, unlike, &trials, bootstrap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scores;
    use crate::models::Metadata;
    use crate::models::Model;
    use crate::phantom::{self, PhantomOptions};
    use crate::predict::judge;
    use crate::prepare::loader::{Batch, LoaderOptions};

    const QUICK: Bootstrap = Bootstrap { resamples: 100, seed: 1 };

    /// Phantoms on disk and a network that has learnt nothing.
    fn phantoms(studies: usize) -> (tempfile::TempDir, Manifest, Model) {
        let folder = tempfile::tempdir().unwrap();
        let made = PhantomOptions { studies, rows: 256, columns: 64, ..Default::default() };
        let manifest = Manifest::read(phantom::write(&made, folder.path(), &|_| ()).unwrap()).unwrap();
        let about = Metadata::new("inrac", &manifest.classes, [64, 32], Preprocessing::default());
        let model = Model::initialised(about, 3).unwrap();
        (folder, manifest, model)
    }

    fn study() -> Study {
        let phantom = phantom::simulate(&PhantomOptions { studies: 1, rows: 256, columns: 64, ..Default::default() }, 0);
        let (anterior, posterior) = (Some(phantom.anterior), Some(phantom.posterior));
        Study { anterior, posterior, sources: vec!["phantom".into()], ..Study::default() }
    }

    #[test]
    fn scans_as_they_are_have_the_bits_of_an_evaluation() {
        let (_folder, mut manifest, model) = phantoms(6);
        manifest.rows[2].transform = Transform { angle_deg: 3.0, ..Transform::default() };
        let (about, rows) = (model.metadata(), vec![4, 2, 0, 5]);
        let options = LoaderOptions::evaluation(about.input_size, 4);
        let loader = manifest.loader(&about.classes, rows.clone(), &about.preprocessing, options).unwrap();
        let batches: Vec<Batch> = loader.epoch(0).collect::<Result<_>>().unwrap();
        let named = conditions(about.preprocessing.alignment);
        let each: Vec<Condition> = named.iter().map(|(.., condition)| *condition).collect();
        let judged = judge(&model, &loader, &mut |_| Ok(())).unwrap();
        let networks = Ensemble::from(model.copy().unwrap());
        let first = |&at: &usize| inputs(&networks, &manifest.rows[at], at as u64, &each).unwrap().swap_remove(0).unwrap();
        let (images, measures): (Vec<Image>, Vec<Measures>) = rows.iter().map(first).unzip();
        assert_eq!(batches[0].images, images.into_iter().flat_map(|image| image.pixels).collect::<Vec<f32>>());
        assert_eq!(batches[0].measures, measures);

        let (truths, probabilities): (Vec<usize>, Vec<Vec<f32>>) =
            judged.into_iter().map(|judged| (judged.label as usize, judged.probabilities)).unzip();
        let scores = Scores::new(&about.classes, &truths, &probabilities).unwrap();
        let mut told = Vec::new();
        let found = |batch, told: &mut Vec<usize>| {
            let mut progress = |done| {
                told.push(done);
                Ok(())
            };
            stress(&networks, &manifest, &rows, batch, None, QUICK, &mut progress).unwrap()
        };
        let one = found(3, &mut told);
        assert_eq!(told, [0, 1, 2, 3, 4]);
        assert_eq!((one.conditions[0].accuracy, one.conditions[0].auc), (scores.accuracy, scores.mean.auc));
        assert_eq!(one.conditions[0].metastatic.as_ref().unwrap().auc, scores.metastatic.unwrap().auc);
        assert_eq!(one.conditions.len(), 1 + named.len());
        assert_eq!(one, found(16, &mut told), "again, in other batches");
    }

    #[test]
    fn a_condition_changes_what_it_says_and_no_more() {
        let (study, preprocessing) = (study(), Preprocessing::default());
        let of = |condition: Condition| condition.views(&study, &preprocessing, 7).unwrap();
        let views = |study: &Study| [study.anterior.clone(), study.posterior.clone()];
        let [anterior, posterior] = views(&study).map(Option::unwrap);
        for (kept, least, most) in [(0.5, 0.49, 0.51), (0.25, 0.24, 0.26)] {
            for (fewer, all) in views(&of(Condition::Counts(kept))).into_iter().flatten().zip([&anterior, &posterior]) {
                let sum = |image: &Image| image.pixels.iter().map(|count| f64::from(*count)).sum::<f64>();
                assert!(
                    (least..most).contains(&(sum(&fewer) / sum(all))) && fewer.pixels.iter().all(|count| count.fract() == 0.0)
                );
            }
        }
        for share in [ANKLES, KNEES] {
            for (cut, all) in views(&of(Condition::CutOff(share))).into_iter().flatten().zip([&anterior, &posterior]) {
                let [crown, soles] = critical_points(all, preprocessing.threshold).unwrap().extent(0);
                let from = (crown + share * (soles - crown)).round() as usize * all.columns;
                assert_eq!(cut.pixels[..from], all.pixels[..from]);
                assert!(cut.pixels[from..].iter().all(|count| *count == 0.0));
                assert!(all.pixels[from..].iter().any(|count| *count > 0.0), "there was something to lose");
            }
        }
        assert_eq!(views(&of(Condition::OneView(View::Anterior))), [Some(anterior.clone()), None]);
        assert_eq!(views(&of(Condition::OneView(View::Posterior))), [None, Some(posterior.clone())]);
        assert_eq!(views(&of(Condition::Aligned(Alignment::TranslateScale))), [Some(anterior.clone()), Some(posterior)]);

        let [mirrored, turned] = [Condition::Mirrored, Condition::UpsideDown].map(|condition| of(condition).anterior.unwrap());
        assert_eq!((mirrored.row(9)[3], turned.row(9)[3]), (anterior.row(9)[60], anterior.row(246)[60]));

        let single = Study { posterior: None, ..study.clone() };
        for other in
            [Condition::OneView(View::Anterior), Condition::OneView(View::Posterior), Condition::Aligned(Alignment::Translate)]
        {
            assert!(other.views(&single, &preprocessing, 7).is_none(), "{other:?}");
        }
        assert_eq!(Condition::CutOff(KNEES).views(&single, &preprocessing, 7).unwrap().posterior, None);
        let hardly = Study { anterior: Some(Image { rows: 1, columns: 2, pixels: vec![0.0, 0.0] }), ..single };
        assert!(Condition::Counts(0.5).views(&hardly, &preprocessing, 7).is_none());
        assert_eq!(cut_off(&Image::zeros(4, 4), 0.15, 0.5), Image::zeros(4, 4));
    }

    #[test]
    fn every_other_alignment_is_tried_and_each_condition_has_its_own_name() {
        for model in Alignment::ALL {
            let all = conditions(model);
            let others: Vec<Condition> =
                all.iter().filter(|(kind, ..)| *kind == "alignment").map(|(.., condition)| *condition).collect();
            assert_eq!(others.len(), Alignment::ALL.len() - 1);
            assert!(!others.contains(&Condition::Aligned(model)));
            let mut names: Vec<&String> = all.iter().map(|(_, name, _)| name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all.len());
        }
        let named = |name: &str| conditions(Alignment::Translate).into_iter().find(|(_, other, _)| other == name).unwrap().2;
        let Condition::Moved(down, scale) = named("moved down by 5 %") else { panic!() };
        assert_eq!((down.shift_rows_px, down.shift_columns_px, scale), (51.2, 0.0, 1.0));
        assert_eq!(named("0.9 times as large"), Condition::Moved(Transform::default(), 0.9));
    }
}
