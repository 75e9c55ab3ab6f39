//! Trained networks on studies: one study with all that a page shows of it, or many through the loader.

mod ensemble;
pub mod evidence;
mod localise;
mod regions;
mod stress;
mod trust;

pub use ensemble::{Answer, Answered, Ensemble};
pub use localise::localise;
pub use regions::{Place, place};
pub use stress::stress;
pub use trust::{check_known, training_data};

use crate::draw::{Raster, Tone};
use crate::image::{Image, View, body_pixels, critical_points};
use crate::intake::Study;
use crate::models::{Metadata, Model};
use crate::prepare::loader::Loader;
use crate::prepare::views::{self, Fused};
use crate::prepare::{Measures, Transform, augment};
use crate::report::{Case, Evidence, ModelCard, Region, Verdict};
use crate::{Result, metrics, text};
use std::path::Path;

/// What a network said of one labelled study.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Its index in the loader's source.
    pub study: usize,
    /// Its class.
    pub label: u32,
    /// One a class.
    pub logits: Vec<f32>,
    /// One a class.
    pub probabilities: Vec<f32>,
    /// Cross-entropy.
    pub loss: f64,
}

impl Judged {
    /// Makes probabilities and loss those of logits divided by a temperature. The logits stay.
    pub fn calibrate(&mut self, temperature: f64) {
        let loss = |class| metrics::cross_entropy(&self.logits, class, temperature);
        self.probabilities = (0..self.logits.len()).map(|class| (-loss(class)).exp() as f32).collect();
        self.loss = metrics::cross_entropy(&self.logits, self.label as usize, temperature);
    }
}

/// Runs the network over one epoch of a loader, in the loader's order. `progress` is called with how many studies are done, and
/// stops the work by an error.
///
/// # Errors
/// Studies that cannot be read; whatever `progress` returns.
pub fn judge(model: &Model, loader: &Loader, progress: &mut dyn FnMut(usize) -> Result<()>) -> Result<Vec<Judged>> {
    let mut judged = Vec::with_capacity(loader.studies());
    for batch in loader.epoch(0) {
        let batch = batch?;
        let ([rows, columns], classes) = (model.metadata().input_size, model.metadata().classes.len());
        let inference = model.predict(&batch.images, [batch.labels.len(), rows, columns])?;
        let rows = inference.logits.chunks_exact(classes).zip(inference.probabilities.chunks_exact(classes));
        let studies = batch.studies.iter().zip(&batch.labels).zip(rows);
        judged.extend(studies.map(|((&study, &label), (logits, probabilities))| {
            let loss = metrics::cross_entropy(logits, label as usize, 1.0);
            Judged { study, label, logits: logits.to_vec(), probabilities: probabilities.to_vec(), loss }
        }));
        progress(judged.len())?;
    }
    Ok(judged)
}

/// Classifies one study: its views fused as the model was trained. With `explain`, also what speaks for the answer.
///
/// # Errors
/// Views that cannot be fused.
pub fn case(networks: &Ensemble, name: &str, study: &Study, explain: bool) -> Result<Case> {
    let case = drawn_case(networks, name, study, &Transform::default(), explain)?;
    Ok(Case { views: if explain { acquired(study) } else { Vec::new() }, ..case })
}

/// The views as they were acquired, of a size that a page can hold a hundred times.
fn acquired(study: &Study) -> Vec<(View, Raster)> {
    const MOST_ROWS: usize = 512;
    let views = [(View::Anterior, &study.anterior), (View::Posterior, &study.posterior)];
    let shown = |image: &Image| Raster::from_image(image, &Tone::default()).no_higher(MOST_ROWS);
    views.into_iter().filter_map(|(view, image)| Some((view, shown(image.as_ref()?)))).collect()
}

/// [`case`] of an augmented copy: the fused picture is turned and moved by `draw`, as the loader does with a manifest's row.
///
/// # Errors
/// Views that cannot be fused.
pub fn drawn_case(networks: &Ensemble, name: &str, study: &Study, draw: &Transform, explain: bool) -> Result<Case> {
    let about = networks.metadata();
    let mut fused = views::fuse(study, &about.preprocessing)?;
    let size = about.input_size;
    let measures = |fused: &Fused, input: &Image| Measures::of(study, fused, input, &about.preprocessing);
    let mut moved = None;
    if *draw != Transform::default() {
        let before = views::network_input(&fused.image, size, &about.preprocessing);
        moved = Some(measures(&fused, &before));
        // The views are not moved with their sum.
        let image = augment::apply(&fused.image, draw);
        let anterior_points = critical_points(&image, about.preprocessing.threshold);
        fused = Fused { image, anterior: None, posterior: None, anterior_points, ..fused };
    }
    let input = views::network_input(&fused.image, size, &about.preprocessing);
    let (answer, evidence) = match explain {
        false => (networks.answer(&input.pixels, 1)?.remove(0), None),
        true => explained(networks, &input, &fused).map(|(answer, evidence)| (answer, Some(evidence)))?,
    };
    let trust = networks.trust(&moved.unwrap_or_else(|| measures(&fused, &input)), &answer);
    let verdict = networks.operating_point().and_then(|point| Verdict::new(point, &about.classes, &answer.probabilities));
    let seen = match (&study.anterior, &study.posterior) {
        (Some(_), Some(_)) => "anterior and posterior",
        (Some(_), None) => "anterior only",
        (None, _) => "posterior only",
    };
    let size = format!("{} x {} pixels", fused.image.rows, fused.image.columns);
    let mut facts = vec![("Views".to_owned(), seen.to_owned()), ("Picture".to_owned(), size)];
    let intake = &study.intake;
    let decided: Vec<String> = intake.views().map(|(view, decided)| format!("{view} by {decided}")).collect();
    let left_out = intake.left_out.iter().map(|(_, left_out)| left_out.to_string());
    for (name, lines) in [
        ("Known as", decided),
        ("Pixels", intake.applied.clone()),
        ("Notes", intake.notes.clone()),
        ("Left out", left_out.collect()),
    ] {
        if !lines.is_empty() {
            facts.push((name.to_owned(), lines.join("; ")));
        }
    }
    let Answer { probabilities, members, .. } = answer;
    let members = if members.len() > 1 { members } else { Vec::new() };
    Ok(Case {
        name: name.to_owned(),
        truth: None,
        probabilities,
        members,
        trust,
        verdict,
        fused: fused.image,
        views: Vec::new(),
        evidence,
        facts,
    })
}

/// The regions that a page lists have at least so many nats: below it, phantoms without a lesion there have as many.
const LEAST_EVIDENCE: f64 = 0.1;

/// The most regions that a page lists.
const MOST_REGIONS: usize = 5;

/// The classes that evidence is shown of, in words and as indices: any metastasis, where there is more than one class of it, and the
/// predicted class, unless that is none.
pub fn sets(classes: &[String], predicted: usize) -> Vec<(String, Vec<usize>)> {
    let of_class = |class: usize| (classes[class].clone(), vec![class]);
    let Some(negative) = metrics::no_metastasis(classes) else { return vec![of_class(predicted)] };
    let positive: Vec<usize> = (0..classes.len()).filter(|class| *class != negative).collect();
    match positive[..] {
        [only] => vec![of_class(only)],
        _ if predicted == negative => vec![(ANY_METASTASIS.to_owned(), positive)],
        _ => vec![(ANY_METASTASIS.to_owned(), positive), of_class(predicted)],
    }
}

/// What evidence is of that speaks for no class alone.
pub const ANY_METASTASIS: &str = "any metastasis";

/// The answer, and what speaks for it.
fn explained(networks: &Ensemble, input: &Image, fused: &Fused) -> Result<(Answer, Evidence)> {
    let about = networks.metadata();
    let mut asked = Vec::new();
    let (answer, reasons) = networks.explain(&input.pixels, &mut |probabilities| {
        asked = sets(&about.classes, metrics::predicted(probabilities));
        asked.iter().map(|(_, set)| set.clone()).collect()
    })?;
    let probabilities = &answer.probabilities;
    let body = body_pixels(input, about.preprocessing.body_value());
    let maps: Vec<(String, Image)> = asked
        .into_iter()
        .zip(&reasons.gradients)
        .map(|((name, _), gradient)| (name, evidence::map(input, gradient, &body)))
        .collect();
    let is_negative = metrics::no_metastasis(&about.classes) == Some(metrics::predicted(probabilities));
    let shown = if is_negative { 0 } else { MOST_REGIONS };
    let spots = maps.first().map_or_else(Vec::new, |(_, map)| evidence::spots(map, LEAST_EVIDENCE, shown));
    let regions = spots.into_iter().map(|spot| {
        let at = [(spot.row as f64 + 0.5) / input.rows as f64, (spot.column as f64 + 0.5) / input.columns as f64];
        let pixel = [at[0] * fused.image.rows as f64 - 0.5, at[1] * fused.image.columns as f64 - 0.5];
        let words = place(fused, pixel).map_or_else(|| "no region".to_owned(), |place| place.words());
        Region { at, evidence: spot.evidence, words }
    });
    let evidence = Evidence { regions: regions.collect(), maps, attention: attention(reasons.attention) };
    Ok((answer, evidence))
}

/// The spatial attention of the blocks with the most pixels, a quarter of the input's rows and columns: what it leaves of each pixel
/// where the blocks follow each other.
fn attention(blocks: Vec<Image>) -> Option<Image> {
    let mut blocks = blocks.into_iter();
    let first = blocks.next()?;
    Some(blocks.fold(first, |mut product, block| {
        if (block.rows, block.columns) == (product.rows, product.columns) {
            product.pixels.iter_mut().zip(&block.pixels).for_each(|(left, factor)| *left *= factor);
        }
        product
    }))
}

/// What a page says of networks, with the hashes of the bytes that were loaded.
pub fn card(networks: &Ensemble) -> ModelCard {
    let about = networks.metadata();
    let first = &networks.files()[0];
    let mut name = text::plain(Path::new(first.file_name().unwrap_or(first.as_os_str())));
    if networks.members().len() > 1 {
        name += &format!(" and {} more", networks.members().len() - 1);
    }
    let hashes: Vec<&str> = networks.members().iter().filter_map(Model::file_sha256).collect();
    ModelCard {
        name,
        architecture: about.architecture.clone(),
        classes: about.classes.clone(),
        input_size: about.input_size,
        preprocessing: preprocessing(about),
        trained_on: about.trained_on.clone(),
        training_studies: about.training_studies,
        sha256: hashes.join(" "),
        averages: networks.words(),
        parameters: networks.members().iter().map(Model::parameter_count).sum(),
    }
}

/// How views become a model's input, in words.
pub fn preprocessing(about: &Metadata) -> String {
    // `{"alignment":"translate","threshold":0.15}` reads well enough without its braces and quotes.
    let json = serde_json::to_string(&about.preprocessing).unwrap_or_default();
    json.replace(['{', '}', '"'], "").replace(':', " ").replace(',', ", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_of_the_bytes_that_were_loaded() {
        let (_folder, path) = crate::models::tests::saved();
        let hash = crate::files::sha256(&std::fs::read(&path).unwrap());
        let model = Model::load(&path).unwrap();
        std::fs::write(&path, "another file").unwrap();
        assert_eq!(card(&Ensemble::one(&path, model)).sha256, hash);
    }

    #[test]
    fn views_are_shown_as_they_were_acquired_but_small() {
        let mut view = Image::zeros(1024, 256);
        view.pixels.chunks_exact_mut(256).for_each(|row| row[..128].fill(9.0));
        let [(View::Posterior, shown)] = &acquired(&Study { posterior: Some(view), ..Study::default() })[..] else {
            panic!("one view, the posterior one");
        };
        assert_eq!([shown.rows(), shown.columns()], [512, 128]);
        assert_eq!([shown.get(100, 20), shown.get(100, 100)], [Some([0; 3]), Some([255; 3])], "the left is on the left");
    }

    #[test]
    fn cross_entropy_is_that_of_the_softmax_and_always_finite() {
        assert!((metrics::cross_entropy(&[1.0, 1.0, 1.0], 2, 1.0) - 3f64.ln()).abs() < 1e-9);
        assert_eq!(metrics::cross_entropy(&[1000.0, 0.0], 1, 1.0), 1000.0);
        assert_eq!(metrics::cross_entropy(&[1000.0, 0.0], 0, 1.0), 0.0);
    }
}
