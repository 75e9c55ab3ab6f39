//! Trained networks on studies: one study with all that a page shows of it, or many through the loader.

use crate::intake::Study;
use crate::models::{Metadata, Model};
use crate::prepare::loader::Loader;
use crate::prepare::views;
use crate::prepare::{Transform, augment};
use crate::report::{Case, ModelCard};
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

/// Classifies one study: its views fused as the model was trained. With `explain`, also where the network looked (Grad-CAM).
///
/// # Errors
/// Views that cannot be fused.
pub fn case(model: &Model, name: &str, study: &Study, explain: bool) -> Result<Case> {
    drawn_case(model, name, study, &Transform::default(), explain)
}

/// [`case`] of an augmented copy: the fused picture is turned and moved by `draw`, as the loader does with a manifest's row.
///
/// # Errors
/// Views that cannot be fused.
pub fn drawn_case(model: &Model, name: &str, study: &Study, draw: &Transform, explain: bool) -> Result<Case> {
    let about = model.metadata();
    let mut fused = views::fuse(study, &about.preprocessing)?;
    fused.image = augment::apply(&fused.image, draw);
    let input = views::network_input(&fused.image, about.input_size, &about.preprocessing);
    let probabilities = model.probabilities(&input.pixels, 1)?.remove(0);
    let heat = explain.then(|| model.explain(&input.pixels, metrics::predicted(&probabilities))).transpose()?;
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
    Ok(Case { name: name.to_owned(), truth: None, probabilities, fused: fused.image, heat, facts })
}

/// What a page says of a model that was loaded from `path`, with the hash of the bytes that were loaded.
pub fn card(model: &Model, path: &Path) -> ModelCard {
    let about = model.metadata();
    ModelCard {
        name: text::plain(Path::new(path.file_name().unwrap_or(path.as_os_str()))),
        architecture: about.architecture.clone(),
        classes: about.classes.clone(),
        input_size: about.input_size,
        preprocessing: preprocessing(about),
        trained_on: about.trained_on.clone(),
        training_studies: about.training_studies,
        sha256: model.file_sha256().unwrap_or_default().to_owned(),
        parameters: model.parameter_count(),
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
        assert_eq!(card(&model, &path).sha256, hash);
    }

    #[test]
    fn cross_entropy_is_that_of_the_softmax_and_always_finite() {
        assert!((metrics::cross_entropy(&[1.0, 1.0, 1.0], 2, 1.0) - 3f64.ln()).abs() < 1e-9);
        assert_eq!(metrics::cross_entropy(&[1000.0, 0.0], 1, 1.0), 1000.0);
        assert_eq!(metrics::cross_entropy(&[1000.0, 0.0], 0, 1.0), 0.0);
    }
}
