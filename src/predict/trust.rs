//! Whether an answer should be trusted: what a model keeps of its training scans, and what of another scan is unlike them.

use crate::image::View;
use crate::metrics::{self, Predictions};
use crate::models::{FeatureSpace, Model, Quantiles, Sample, TrainingData, ValidatedPoint};
use crate::prepare::loader::Loader;
use crate::prepare::{Measure, Measures};
use crate::report::Trust;
use crate::text::counted;
use crate::{Error, Result};

/// The sensitivity of a model's [operating point](ValidatedPoint).
const SENSITIVITY: f64 = 0.95;

/// What a model is to remember of the scans of its training and validation patients: `scans` gives each once, as it is. `patient` numbers
/// the patient of a study, `validates` says whether it is one of the validation patients, and `positive` which class the threshold is to find,
/// where none is called `NoMet`.
///
/// # Errors
/// Studies that cannot be read; whatever `progress` returns, which is told how many studies are done.
pub fn training_data(
    model: &Model,
    scans: &Loader,
    patient: &dyn Fn(usize) -> usize,
    validates: &dyn Fn(usize) -> bool,
    positive: Option<usize>,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<TrainingData> {
    let about = model.metadata();
    let ([rows, columns], classes) = (about.input_size, &about.classes);
    let (mut measures, mut samples, mut truths, mut probabilities) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for batch in scans.epoch(0) {
        let batch = batch?;
        let shape = [batch.labels.len(), rows, columns];
        let (inference, features) = model.predict_with_features(&batch.images, shape)?;
        let answers = inference.probabilities.chunks_exact(classes.len());
        for (((study, label), features), answer) in batch.studies.iter().zip(&batch.labels).zip(features).zip(answers) {
            samples.push(Sample { features, class: *label as usize, patient: patient(*study) });
            if validates(*study) {
                truths.push(*label as usize);
                probabilities.push(answer.to_vec());
            }
        }
        measures.extend(batch.measures);
        progress(measures.len())?;
    }
    let finite = |sample: &Sample| sample.features.iter().all(|feature| feature.is_finite());
    let features = if samples.iter().all(finite) { FeatureSpace::fit(&samples) } else { None };
    let patients = vec![String::new(); truths.len()];
    let answers = Predictions::new("validation", classes.clone(), patients, truths, probabilities)?;
    Ok(TrainingData::new(&measures, features, validated(&Predictions { positive, ..answers })))
}

/// The highest threshold that finds enough of the positive validation scans.
fn validated(answers: &Predictions) -> Option<ValidatedPoint> {
    let ranked = answers.ranking()?;
    let point = metrics::at_sensitivity(&ranked, SENSITIVITY)?;
    let positives = ranked.iter().filter(|(_, is_positive)| *is_positive).count();
    let is_positive = |class: usize| match answers.positive {
        Some(positive) => class == positive,
        None => metrics::no_metastasis(&answers.classes) != Some(class),
    };
    let classes = answers.classes.iter().enumerate();
    Some(ValidatedPoint {
        positive: classes.filter(|(class, _)| is_positive(*class)).map(|(_, name)| name.clone()).collect(),
        target: SENSITIVITY,
        threshold: point.threshold?,
        sensitivity: point.sensitivity,
        specificity: point.specificity,
        positives,
        negatives: ranked.len() - positives,
    })
}

/// What of a scan is unlike the scans that a model was trained on.
pub fn judge(known: &TrainingData, scan: &Measures, features: &[f32]) -> Trust {
    let views = || {
        let only = scan.only?;
        let had = known.views[1 + only as usize];
        let name = if only == View::Anterior { "anterior" } else { "posterior" };
        (had == 0).then(|| format!("the {name} view alone, where {} had other views", counted(known.studies, "training scan")))
    };
    let measured = Measure::ALL.into_iter().filter_map(|measure| {
        let (value, among) = (scan.get(measure)?, known.measures.get(&measure)?);
        (!among.holds(value)).then(|| unlike(measure, value, among))
    });
    let distance = known.features.as_ref().map(|space| space.distance(features));
    let seen = distance.filter(|distance| *distance > 1.0).map(|distance| {
        format!(
            "what the network sees in it is {distance:.1} times as far from the training scans as 99 of 100 of their kind are"
        )
    });
    Trust { reasons: views().into_iter().chain(measured).chain(seen).collect(), distance }
}

/// A number that training scans do not have, in words.
fn unlike(measure: Measure, value: f64, among: &Quantiles) -> String {
    let (unit, scale, decimals) = match measure {
        Measure::Counts => ("million counts a view", 1e-6, 2),
        Measure::Rows => ("rows of pixels", 1.0, 0),
        Measure::Columns => ("columns of pixels", 1.0, 0),
        Measure::PixelHeight => ("mm from row to row", 1.0, 2),
        Measure::PixelWidth => ("mm from column to column", 1.0, 2),
        Measure::BodyHeight => ("% of the picture's height are body", 100.0, 0),
        Measure::BodyWidth => ("% of the picture's width are body", 100.0, 0),
        Measure::Lit => ("% of the pixels are body", 100.0, 0),
        Measure::Noise => ("% of noise in a pixel of the body", 100.0, 0),
    };
    // Of numbers that differ, the digits have to.
    let text = |number: f64, decimals: usize| format!("{:.decimals$}", number * scale);
    let all = |decimals| [value, among.least, among.most].map(|number| text(number, decimals));
    let is_told_apart = |[value, least, most]: &[String; 3]| value != least && value != most;
    let shown = (decimals..decimals + 4).map(all).find(is_told_apart).unwrap_or_else(|| all(decimals));
    let [value, least, most] = shown;
    let range = if least == most { least } else { format!("{least} to {most}") };
    format!("{value} {unit}, where training scans have {range}")
}

/// The answer of several networks to whether a scan is unlike what they were trained on: that of most of them.
pub fn together(mut each: Vec<Trust>) -> Option<Trust> {
    let doubtful = each.iter().filter(|trust| !trust.reasons.is_empty()).count();
    let distances: Vec<f64> = each.iter().filter_map(|trust| trust.distance).collect();
    let distance = (!distances.is_empty()).then(|| distances.iter().sum::<f64>() / distances.len() as f64);
    // Networks of one training set have the same words for the same number.
    let most =
        each.iter().position(|trust| trust.reasons.len() == each.iter().map(|trust| trust.reasons.len()).max().unwrap_or(0))?;
    let reasons = if 2 * doubtful > each.len() { std::mem::take(&mut each[most].reasons) } else { Vec::new() };
    Some(Trust { reasons, distance })
}

/// Refuses a model that does not know what it was trained on.
///
/// # Errors
/// One sentence with what to do.
pub fn check_known(model: &Model, file: &std::path::Path) -> Result<()> {
    if model.metadata().training_data.is_some() {
        return Ok(());
    }
    let problem = "does not say what its training scans are like, so that no scan can be held against them";
    let remedy = "leave --strict out, or train it anew with this version of osteon, which adds it";
    Err(Error::file(file, problem, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;
    use crate::intake::Study;
    use crate::models::SimulatorVersion;
    use crate::phantom::{self, PhantomOptions};
    use crate::prepare::{Preprocessing, views};

    fn known() -> TrainingData {
        let scans: Vec<Measures> = (0..50)
            .map(|at| {
                let values = Measure::ALL.map(|measure| match measure {
                    Measure::Counts => Some(2e6 + 4e4 * f64::from(at)),
                    Measure::Rows => Some(1024.0),
                    Measure::PixelWidth => Some(2.4),
                    _ => None,
                });
                Measures { only: None, values }
            })
            .collect();
        TrainingData::new(&scans, None, None)
    }

    fn scan(counts: f64, rows: f64, only: Option<View>) -> Measures {
        let mut scan = Measures { only, ..Measures::default() };
        scan.values[Measure::Counts as usize] = Some(counts);
        scan.values[Measure::Rows as usize] = Some(rows);
        scan
    }

    #[test]
    fn what_is_unlike_is_said_with_its_range() {
        let reasons = |scan: Measures| judge(&known(), &scan, &[]).reasons;
        assert!(reasons(scan(3e6, 1024.0, None)).is_empty());
        assert_eq!(
            reasons(scan(1e5, 512.0, Some(View::Posterior))),
            [
                "the posterior view alone, where 50 training scans had other views",
                "0.10 million counts a view, where training scans have 2.00 to 3.96",
                "512 rows of pixels, where training scans have 1024",
            ]
        );
        let mut close = scan(3e6, 1024.0, None);
        close.values[Measure::PixelWidth as usize] = Some(2.6);
        assert!(reasons(close).is_empty());
        let few = Quantiles { least: 2e4, q05: 2e4, median: 2.1e4, q95: 2.4e4, most: 2.4e4 };
        assert_eq!(unlike(Measure::Counts, 1.8e4, &few), "0.018 million counts a view, where training scans have 0.020 to 0.024");
    }

    #[test]
    fn most_networks_decide() {
        let trust = |reasons: &[&str], distance| Trust { reasons: reasons.iter().map(|it| it.to_string()).collect(), distance };
        let three = vec![trust(&[], Some(0.5)), trust(&["a"], Some(1.5)), trust(&["a", "b"], None)];
        assert_eq!(together(three), Some(trust(&["a", "b"], Some(1.0))));
        assert_eq!(together(vec![trust(&[], None), trust(&["a"], None)]), Some(trust(&[], None)));
        assert_eq!(together(Vec::new()), None);
    }

    #[test]
    fn a_threshold_is_of_validation_patients() {
        let classes = ["NoMet", "ADMet", "nADMet"].map(str::to_owned);
        let answers: Vec<Vec<f32>> = (0..20).map(|at| vec![1.0 - 0.05 * at as f32, 0.03 * at as f32, 0.02 * at as f32]).collect();
        let truths: Vec<usize> = (0..20).map(|at| if at < 10 { 0 } else { 1 + at % 2 }).collect();
        let of = |classes: &[String], positive: Option<usize>, truths: &[usize], answers: &[Vec<f32>]| {
            let patients = vec![String::new(); truths.len()];
            let predictions = Predictions::new("", classes.to_vec(), patients, truths.to_vec(), answers.to_vec()).unwrap();
            validated(&Predictions { positive, ..predictions })
        };
        let point = of(&classes, None, &truths, &answers).unwrap();
        assert_eq!((point.positives, point.negatives, &point.positive[..]), (10, 10, &classes[1..]));
        assert!((point.threshold - 0.5).abs() < 1e-6 && point.sensitivity == 1.0 && point.specificity == 1.0);
        let (two, even) = (["a", "b"].map(str::to_owned), [vec![0.75, 0.25], vec![0.25, 0.75]]);
        assert!(of(&two, None, &[0, 1], &even).is_none() && of(&classes, None, &[], &[]).is_none());
        let point = of(&two, Some(0), &[0, 1], &even).unwrap();
        assert_eq!((point.positive, point.threshold, point.specificity), (vec!["a".to_owned()], 0.75, 1.0));
    }

    /// A scan as a network gets it: what it is like, and its features.
    fn seen(model: &Model, study: &Study) -> (Measures, Vec<f32>) {
        let about = model.metadata();
        let fused = views::fuse(study, &about.preprocessing).unwrap();
        let input = views::network_input(&fused.image, about.input_size, &about.preprocessing);
        let [rows, columns] = about.input_size;
        let (_, mut features) = model.predict_with_features(&input.pixels, [1, rows, columns]).unwrap();
        (Measures::of(study, &fused, &input, &about.preprocessing), features.remove(0))
    }

    /// Even a network that has learnt nothing has features that bodies share.
    #[test]
    fn what_no_training_scan_is_like_is_noticed() {
        const SCANS: usize = 60;
        let options =
            PhantomOptions { studies: 2 * SCANS, rows: 256, columns: 64, simulator: SimulatorVersion::One, ..Default::default() };
        let study = |index: usize| {
            let phantom = phantom::simulate(&options, index);
            Study { anterior: Some(phantom.anterior), posterior: Some(phantom.posterior), ..Study::default() }
        };
        let classes = ["NoMet", "ADMet", "nADMet"].map(str::to_owned);
        let model = Model::new("inrac", &classes, [128, 32], Preprocessing::default(), 1).unwrap();
        let (measures, samples): (Vec<Measures>, Vec<Sample>) = (0..SCANS)
            .map(|patient| {
                let (measures, features) = seen(&model, &study(patient));
                (measures, Sample { features, class: 0, patient })
            })
            .unzip();
        let known = TrainingData::new(&measures, FeatureSpace::fit(&samples), None);
        assert!(known.features.is_some());
        let unlike = |change: &dyn Fn(&Image) -> Image| {
            let changed = |index: usize| {
                let Study { anterior, posterior, .. } = study(SCANS + index);
                let [anterior, posterior] = [anterior, posterior].map(|view| view.as_ref().map(change));
                let (measures, features) = seen(&model, &Study { anterior, posterior, ..Study::default() });
                !judge(&known, &measures, &features).reasons.is_empty()
            };
            (0..10).filter(|index| changed(*index)).count()
        };
        assert!(unlike(&Image::clone) <= 2, "{} others of the same kind", unlike(&Image::clone));
        let upside_down = |view: &Image| Image { pixels: view.pixels.iter().rev().copied().collect(), ..*view };
        let tenth = |view: &Image| Image { pixels: view.pixels.iter().map(|count| (count / 10.0).round()).collect(), ..*view };
        let stripes = |view: &Image| {
            let wave = |at: usize| 50.0 + 40.0 * ((at / view.columns) as f32 / 5.0).sin();
            Image { pixels: (0..view.pixels.len()).map(wave).collect(), ..*view }
        };
        let half_size = |view: &Image| {
            let pixel = |at: usize| {
                let [row, column] = [at / view.columns, at % view.columns].map(|at| 2 * at);
                if row < view.rows && column < view.columns { view.row(row)[column] } else { 0.0 }
            };
            Image { pixels: (0..view.pixels.len()).map(pixel).collect(), ..*view }
        };
        for (name, noticed) in [
            ("upside down", unlike(&upside_down)),
            ("a tenth of the counts", unlike(&tenth)),
            ("stripes", unlike(&stripes)),
            ("half as large", unlike(&half_size)),
        ] {
            assert!(noticed >= 9, "{name}: {noticed} of 10");
        }
    }
}
