//! The rows of a manifest as inputs of the network.

use super::fingerprints::Fingerprints;
use super::manifest::{Manifest, Row};
use crate::prepare::loader::{Loader, LoaderOptions, Source};
use crate::prepare::{Input, Measures, Preprocessing, augment, views};
use crate::text::counted;
use crate::{Error, Result};
use std::sync::Arc;

/// The studies of a manifest: read, fused, turned and moved as their rows say, resized and normalised.
struct ManifestSource {
    rows: Vec<Row>,
    labels: Vec<u32>,
    input_size: [usize; 2],
    preprocessing: Preprocessing,
    /// What the files must hold; without it, whatever they do.
    fingerprints: Option<Arc<Fingerprints>>,
}

impl ManifestSource {
    /// Refuses a row one of whose files has been replaced.
    fn check(&self, row: &Row) -> Result<()> {
        let Some(fingerprints) = &self.fingerprints else { return Ok(()) };
        row.files().try_for_each(|file| fingerprints.check(file))
    }
}

impl Source for ManifestSource {
    fn input(&self, study: usize) -> Result<Input> {
        let row = &self.rows[study];
        self.check(row)?;
        let study = row.read();
        // Before what is wrong with the study: it may be wrong because it was being replaced.
        self.check(row)?;
        let study = study?;
        let fused = views::fuse(&study, &self.preprocessing)?;
        // At the scan's own size: the same as if the copy were a file.
        let copy = augment::apply(&fused.image, &row.pending_transform());
        let (image, counts) = views::counted_input(&copy, self.input_size, &self.preprocessing);
        let measures = Measures::of(&study, &fused, &image, &self.preprocessing);
        Ok(Input { image, counts, measures })
    }

    fn label(&self, study: usize) -> u32 {
        self.labels[study]
    }
}

impl Manifest {
    /// A loader of the rows `studies`, labelled by their index in `classes`.
    ///
    /// # Errors
    /// As [`Loader::new`]; a label that `classes` lacks; preprocessing out of range; a row that the manifest lacks.
    pub fn loader(
        &self,
        classes: &[String],
        studies: Vec<usize>,
        preprocessing: &Preprocessing,
        options: LoaderOptions,
    ) -> Result<Loader> {
        self.loader_of(classes, studies, preprocessing, options, None)
    }

    /// As [`loader`](Self::loader), and each time that a file is read it must hold what it held when its fingerprint was taken.
    ///
    /// # Errors
    /// As [`loader`](Self::loader). A file that has been replaced is an error of its batch.
    pub fn loader_of(
        &self,
        classes: &[String],
        studies: Vec<usize>,
        preprocessing: &Preprocessing,
        options: LoaderOptions,
        fingerprints: Option<Arc<Fingerprints>>,
    ) -> Result<Loader> {
        preprocessing.check()?;
        if let Some(unknown) = studies.iter().find(|study| **study >= self.rows.len()) {
            let problem = format!("has {}, but number {} is wanted", counted(self.rows.len(), "study"), unknown + 1);
            return Err(Error::file(&self.path, problem, "give the manifest that the studies were chosen from"));
        }
        let (rows, labels) = (self.rows.clone(), self.labels(classes)?);
        let (input_size, preprocessing) = (options.input_size, preprocessing.clone());
        let source = ManifestSource { rows, labels, input_size, preprocessing, fingerprints };
        Loader::new(source, studies, options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phantom;
    use crate::prepare::loader::Batch;

    #[test]
    fn a_manifest_becomes_batches() {
        let folder = tempfile::tempdir().unwrap();
        let made = phantom::PhantomOptions { studies: 6, rows: 256, columns: 64, ..Default::default() };
        let path = phantom::write(&made, folder.path(), &|_| ()).unwrap();
        let manifest = Manifest::read(path).unwrap();
        let loader = |classes: &[String], studies: Vec<usize>, threads| {
            let options = LoaderOptions { threads, ..LoaderOptions::training([64, 32], 4, 1) };
            manifest.loader(classes, studies, &Preprocessing::default(), options)
        };
        let batches = |threads| -> Vec<Batch> {
            loader(&manifest.classes, vec![5, 1, 3], threads).unwrap().epoch(0).collect::<Result<_>>().unwrap()
        };
        assert_eq!(batches(1), batches(3));
        let batch = &batches(2)[0];
        let labels = manifest.labels(&manifest.classes).unwrap();
        assert!(batch.studies.iter().zip(&batch.labels).all(|(study, label)| *label == labels[*study]));
        let mean = batch.images.iter().sum::<f32>() / batch.images.len() as f32;
        assert!((0.2..0.8).contains(&mean), "bodies around 1 on a background of 0, mean {mean}");

        assert!(loader(&["NoMet".into()], vec![0], 1).err().unwrap().to_string().contains("but the classes are NoMet"));
        assert!(loader(&manifest.classes, vec![6], 1).err().unwrap().to_string().contains("has 6 studies, but number 7"));
        std::fs::write(folder.path().join("studies/0004.dcm"), "").unwrap();
        let message = loader(&manifest.classes, vec![5, 1, 3], 2).unwrap().epoch(0).find_map(Result::err).unwrap().to_string();
        assert!(message.contains("0004.dcm"), "{message}");
    }
}
