//! What the pixels of whole-body scans are like, in a few figures by which any two collections of scans can be compared, real or
//! simulated.

use super::container::Container;
use super::study::{self, StudyOptions};
use super::survey::{self, BODY_THRESHOLD};
use super::{Study, picture};
use crate::image::{Image, critical_points};
use crate::{Error, Result, dicom, interrupt};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Of one view.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ViewStatistics {
    /// Sum of all pixels.
    pub counts: f64,
    /// The largest pixel.
    pub largest: f64,
    /// The smallest value that 99 of 100 pixels above zero do not exceed; 0 where there are none.
    pub percentile_99: f64,
    /// Share of the pixels that are above zero.
    pub share_above_zero: f64,
    /// Height of a pixel in millimetres, where the file says it.
    pub pixel_mm: Option<f64>,
    /// Rows from the first to the last critical point of the body; `None` where there is no body.
    pub body_rows: Option<usize>,
    /// Columns likewise.
    pub body_columns: Option<usize>,
}

/// Of a collection of scans.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// How many studies were read.
    pub studies: usize,
    /// Of every view, in the order of files.
    pub views: Vec<ViewStatistics>,
    /// Files that are no scans, and why.
    pub left_out: Vec<(PathBuf, String)>,
}

impl ViewStatistics {
    /// Of one picture of counts, whose pixels are `pixel_mm` high.
    pub fn of(image: &Image, pixel_mm: Option<f64>) -> Self {
        let mut above: Vec<f32> = image.pixels.iter().copied().filter(|count| *count > 0.0).collect();
        above.sort_by(f32::total_cmp);
        let rank = (above.len() * 99).div_ceil(100);
        let body = critical_points(image, BODY_THRESHOLD);
        ViewStatistics {
            counts: image.pixels.iter().map(|count| f64::from(*count)).sum(),
            largest: above.last().copied().unwrap_or(0.0).into(),
            percentile_99: rank.checked_sub(1).map_or(0.0, |at| above[at]).into(),
            share_above_zero: above.len() as f64 / image.pixels.len().max(1) as f64,
            pixel_mm,
            body_rows: body.map(|points| points.floor - points.ceil + 1),
            body_columns: body.map(|points| points.right - points.left + 1),
        }
    }
}

impl Statistics {
    /// Adds the views of a study.
    pub fn add(&mut self, study: &Study) {
        self.studies += 1;
        for (at, view) in [&study.anterior, &study.posterior].into_iter().flatten().enumerate() {
            let source = study.sources.get(at).or(study.sources.first());
            // A picture has no header, and a scan in an archive no file of its own.
            let header = source.filter(|path| path.is_file() && !picture::is_picture(path));
            let spacing = header.and_then(|path| dicom::pixel_spacing_mm(path).ok().flatten());
            self.views.push(ViewStatistics::of(view, spacing.map(|[height, _]| height)));
        }
    }

    /// Adds a scan, or every file of a folder that is one: each file is a study of its own, of one view or both. A ZIP archive is one
    /// study.
    ///
    /// # Errors
    /// Nothing there, or nothing that is a scan.
    pub fn add_path(&mut self, path: &Path) -> Result<()> {
        let options = StudyOptions { single_view: true, ..StudyOptions::default() };
        if !path.is_dir() {
            self.add(&study::read(&[path.to_owned()], &options)?);
            return Ok(());
        }
        let container = Container::open(path)?;
        let before = self.studies;
        for entry in &container.files {
            interrupt::check()?;
            let file = container.path_of(entry);
            if survey::is_container(&file) {
                self.left_out.push((file, "is an archive".to_owned()));
                continue;
            }
            match study::read(std::slice::from_ref(&file), &options) {
                Ok(study) => self.add(&study),
                Err(Error::File { problem, .. }) => self.left_out.push((file, problem)),
                Err(error) => return Err(error),
            }
        }
        if self.studies == before {
            return Err(Error::file(path, "holds no whole-body scan", "give a folder of scans, or a manifest"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::{NmHeader, write_nm};

    /// 256 rows and 64 columns; a body of 200 rows and 20 columns, 2 counts a pixel, in which `hot` pixels hold 9.
    fn body(hot: usize) -> Image {
        let mut image = Image::zeros(256, 64);
        for row in 20..220 {
            image.pixels[row * 64 + 22..][..20].fill(2.0);
        }
        (0..hot).for_each(|at| image.pixels[(60 + at) * 64 + 30] = 9.0);
        image
    }

    /// By hand: 4000 pixels of the body are above zero. 30 hot ones are fewer than 1 % of them, 50 are more.
    #[test]
    fn a_folder_computed_by_hand() {
        let folder = tempfile::tempdir().unwrap();
        let about = NmHeader { identity: "by hand".into(), pixel_spacing_mm: [2.5; 2], ..NmHeader::default() };
        write_nm(folder.path().join("a.dcm"), &body(30), &body(50), &about).unwrap();
        std::fs::write(folder.path().join("notes.txt"), "no scan").unwrap();
        let mut found = Statistics::default();
        found.add_path(folder.path()).unwrap();
        let view = |hot: usize, percentile_99| ViewStatistics {
            counts: 8000.0 + 7.0 * hot as f64,
            largest: 9.0,
            percentile_99,
            share_above_zero: 4000.0 / 16384.0,
            pixel_mm: Some(2.5),
            body_rows: Some(200),
            body_columns: Some(20),
        };
        assert_eq!((found.studies, found.views), (1, vec![view(30, 2.0), view(50, 9.0)]));
        assert_eq!(found.left_out.len(), 1, "{:?}", found.left_out);
        let empty = tempfile::tempdir().unwrap();
        let said = Statistics::default().add_path(empty.path()).unwrap_err().to_string();
        assert!(said.contains("holds no whole-body scan"), "{said}");
    }

    #[test]
    fn a_view_without_counts_has_zeros() {
        let nothing = ViewStatistics::of(&Image::zeros(4, 4), None);
        assert_eq!((nothing.counts, nothing.largest, nothing.percentile_99), (0.0, 0.0, 0.0));
        assert_eq!((nothing.share_above_zero, nothing.body_rows), (0.0, None));
    }
}
