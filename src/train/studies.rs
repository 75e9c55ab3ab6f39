//! A manifest's studies as the loader takes them.

use crate::Result;
use crate::data::loader::Source;
use crate::data::manifest::{Manifest, Row};
use crate::data::study::{Cell, read_manifest_row};
use crate::data::views::{self, Preprocessing};
use crate::data::{Image, Study};

/// The studies of a manifest, prepared for one network. Cloned for each loader: it holds no pixels.
#[derive(Clone, Debug)]
pub struct Studies {
    rows: Vec<Row>,
    labels: Vec<u32>,
    input_size: [usize; 2],
    preprocessing: Preprocessing,
}

impl Studies {
    /// The rows of `manifest` with their indices into `classes`.
    ///
    /// # Errors
    /// A label that is none of the classes.
    pub fn new(manifest: &Manifest, classes: &[String], input_size: [usize; 2], preprocessing: &Preprocessing) -> Result<Self> {
        let labels = manifest.labels(classes)?;
        Ok(Studies { rows: manifest.rows.clone(), labels, input_size, preprocessing: preprocessing.clone() })
    }

    /// Decodes one study.
    ///
    /// # Errors
    /// Whatever is wrong with its files.
    pub fn read(&self, study: usize) -> Result<Study> {
        let cell = |path: &std::path::Path| path.to_string_lossy().parse::<Cell>();
        let row = &self.rows[study];
        let posterior = row.posterior.as_deref().map(cell).transpose()?;
        read_manifest_row(&cell(&row.anterior)?, posterior.as_ref())
    }
}

impl Source for Studies {
    fn input(&self, study: usize) -> Result<Image> {
        let fused = views::fuse(&self.read(study)?, &self.preprocessing)?;
        Ok(views::network_input(&fused.image, self.input_size, &self.preprocessing))
    }

    fn label(&self, study: usize) -> u32 {
        self.labels[study]
    }
}
