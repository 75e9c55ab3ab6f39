//! What an auditor asks for: a run operation by operation ([`trace()`]), each of them computed again ([`verify()`]),
//! every gradient against central differences ([`gradcheck()`]), two runs compared ([`compare()`]), and a model run
//! on tensors from a file, so that another engine can be compared with this one. Those tensors have PyTorch's shapes and names.

mod compare;
mod gradcheck;
mod log;
mod page;
mod trace;
pub(crate) mod verify;

pub use compare::{Comparison, compare};
pub use gradcheck::{GradcheckOptions, Slope, gradcheck};
pub use log::Header;
pub use trace::{TraceOptions, TrainOptions, trace};
pub use verify::{Bound, Verdict, verify};

use crate::autograd::Context;
use crate::models::{Inference, Model};
use crate::tensor::file::{self, TensorFile};

use crate::text::counted;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Inference: the tensor `input` (N, 1, H, W) of `input`, float32. Returns the bytes of a file with `logits` and
/// `probabilities` (N, classes).
///
/// # Errors
/// Files that cannot be read, a tensor that is missing or has another shape or type, images below 32x32.
pub fn forward(model: &Path, input: &Path) -> Result<Vec<u8>> {
    let model = Model::load(model)?;
    let archive = TensorFile::read(input)?;
    let (shape, images) = images(&archive)?;
    let Inference { logits, probabilities } = model.predict(&images, shape).map_err(|error| of_file(&archive, error))?;
    let size = vec![shape[0], model.metadata().classes.len()];
    let tensors = [("logits", logits), ("probabilities", probabilities)];
    let tensors = tensors.into_iter().map(|(name, values)| (name.to_owned(), (size.clone(), values)));
    Ok(file::to_bytes(&BTreeMap::new(), &tensors.collect()))
}

/// Training mode: the tensors `input` (N, 1, H, W), float32, and `labels` (N), int64, of `input`, forward and backward. Returns
/// the bytes of a file with `loss` (a scalar), `grad.NAME` for every parameter, and the updated `NAME.running_mean` and `NAME.running_var`.
///
/// # Errors
/// As [`forward`]; labels that are no classes of the model; a batch too small to train with.
pub fn gradients(model: &Path, input: &Path) -> Result<Vec<u8>> {
    let model = Model::load(model)?;
    let archive = TensorFile::read(input)?;
    let (shape, images) = images(&archive)?;
    let labels = labels(&archive, shape[0], model.metadata().classes.len())?;
    let pass = model.differentiate(&mut Context::default(), &images, shape, &labels).map_err(|error| of_file(&archive, error))?;
    let mut tensors = BTreeMap::from([("loss".to_owned(), (Vec::new(), vec![pass.loss]))]);
    for (id, parameter) in model.parameters().iter() {
        if let Some(gradient) = pass.gradients.get(id) {
            let shape = parameter.file_shape().to_vec();
            tensors.insert(format!("grad.{}", parameter.name), (shape, parameter.to_file(gradient)));
        }
    }
    for (id, values) in pass.statistics {
        tensors.insert(model.parameters().get(id).name.clone(), (vec![values.len()], values.to_vec()));
    }
    Ok(file::to_bytes(&BTreeMap::new(), &tensors))
}

/// Shape (batch, rows, columns) and values of `input`. One channel: (N, 1, H, W) has the order of (N, H, W, 1).
fn images(archive: &TensorFile) -> Result<([usize; 3], Vec<f32>)> {
    match archive.floats("input")? {
        (&[batch, 1, rows, columns], images) if batch > 0 => Ok(([batch, rows, columns], images)),
        (shape, _) => {
            let problem = format!("`input` has shape {shape:?}");
            Err(Error::file(archive.path(), problem, "give it as (N, 1, H, W) with at least one image"))
        }
    }
}

fn labels(archive: &TensorFile, batch: usize, classes: usize) -> Result<Vec<u32>> {
    let (shape, labels) = archive.integers("labels")?;
    if shape != [batch] {
        let problem = format!("`labels` has shape {shape:?} for {}", counted(batch, "image"));
        return Err(Error::file(archive.path(), problem, "give one label an image"));
    }
    let class = |label: i64| u32::try_from(label).ok().filter(|&label| (label as usize) < classes);
    let label = |label: i64| {
        let problem = format!("`labels` holds {label}, and the model has {classes} classes");
        class(label).ok_or_else(|| Error::file(archive.path(), problem, format!("give labels from 0 to {}", classes - 1)))
    };
    labels.into_iter().map(label).collect()
}

/// Names the file whose tensors did not fit.
fn of_file(archive: &TensorFile, error: Error) -> Error {
    Error::file(archive.path(), error.to_string(), "give images that the model can take")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::Preprocessing;
    use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

    fn write(path: &Path, shape: [usize; 4], labels: &[i64]) -> Vec<f32> {
        let images: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let bytes: Vec<u8> = images.iter().flat_map(|x| x.to_le_bytes()).collect();
        let label_bytes: Vec<u8> = labels.iter().flat_map(|x| x.to_le_bytes()).collect();
        let input = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap();
        let labels = TensorView::new(Dtype::I64, vec![labels.len()], &label_bytes).unwrap();
        serialize_to_file([("input", input), ("labels", labels)], None, path).unwrap();
        images
    }

    #[test]
    fn writes_what_the_model_computes() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let classes = ["a", "b", "c"].map(str::to_owned);
        let model = Model::new("inrac", &classes, [32, 40], Preprocessing::default(), 2).unwrap();
        model.save(file("model")).unwrap();
        let images = write(&file("input"), [2, 1, 48, 33], &[2, 0]);

        std::fs::write(file("forward"), forward(&file("model"), &file("input")).unwrap()).unwrap();
        let written = TensorFile::read(file("forward")).unwrap();
        assert_eq!(written.floats("logits").unwrap(), (&[2, 3][..], model.logits_of(&images, [2, 48, 33]).unwrap()));
        let (_, probabilities) = written.floats("probabilities").unwrap();
        assert!((probabilities[..3].iter().sum::<f32>() - 1.0).abs() < 1e-6);

        std::fs::write(file("gradients"), gradients(&file("model"), &file("input")).unwrap()).unwrap();
        let written = TensorFile::read(file("gradients")).unwrap();
        assert_eq!(written.floats("loss").unwrap().0, &[] as &[usize]);
        assert_eq!(written.floats("grad.conv1.weight").unwrap().0, [64, 1, 7, 7]);
        let trained = model.parameters().trained().len();
        let statistics = model.parameters().iter().len() - trained;
        assert_eq!(written.names().count(), 1 + trained + statistics);
        assert_ne!(written.floats("layer4.1.bn2.running_var").unwrap().1, vec![1.0; 512]);
    }

    #[test]
    fn what_does_not_fit_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let classes = ["a", "b"].map(str::to_owned);
        Model::new("inrac", &classes, [32, 32], Preprocessing::default(), 2).unwrap().save(file("model")).unwrap();
        for (shape, labels, expected) in [
            ([2, 1, 31, 40], vec![0, 1], "at least 32"),
            ([2, 2, 32, 32], vec![0, 1], "[2, 2, 32, 32]"),
            ([2, 1, 32, 32], vec![0, 2], "holds 2"),
            ([2, 1, 32, 32], vec![0, -1], "holds -1"),
            ([2, 1, 32, 32], vec![0], "for 2 images"),
            ([1, 1, 32, 32], vec![0], "one pixel"),
        ] {
            write(&file("input"), shape, &labels);
            let error = gradients(&file("model"), &file("input")).unwrap_err().to_string();
            assert!(error.contains("input: ") && error.contains(expected), "{error}");
            assert!(!file("output").exists());
        }
    }
}
