//! The truth about phantoms in the form of physicians' annotations: outlines beside the scans, a table of codes, and a report.

use super::{Benign, Label, LesionInView, LesionTruth, PhantomOptions, Region, SimulatedShape, Truth, stem};
use crate::annotation::lesions::Outlined;
use crate::annotation::{Annotation, CodeKind, Codes, Flags, Form, Mask, Outline, codes};
use crate::image::{Size, View};
use crate::{Error, Result, files, interrupt};
use std::fmt::Write;
use std::path::Path;

impl Region {
    /// Its code in [`Codes::default`].
    pub fn code(self) -> &'static str {
        match self {
            Region::Skull => "skull",
            Region::Vertebrae => "vertebrae",
            Region::Ribs => "ribs",
            Region::Girdle => "girdle",
            Region::Pelvis => "pelvis",
            Region::LongBones => "long-bones",
            Region::Distal => "distal",
        }
    }
}

impl Benign {
    /// Its code and that of its region in [`Codes::default`].
    pub fn codes(self) -> [&'static str; 2] {
        match self {
            Benign::Knee | Benign::SmallJoint => ["arthritis", "distal"],
            Benign::Shoulder => ["arthritis", "girdle"],
            Benign::Hip => ["arthritis", "pelvis"],
            Benign::Spine => ["degeneration", "vertebrae"],
            Benign::RibFracture => ["fracture", "ribs"],
            Benign::Dental => ["dental", "skull"],
            Benign::Sinus => ["sinusitis", "skull"],
        }
    }
}

impl Truth {
    /// The outlines of one view, along the sides of the pixels of the truth's masks: a polygon a piece, the pieces of one lesion
    /// in one group, numbered from 1 over lesions and then benign findings, the same in both views. What the view hardly shows
    /// has none. `image` is the scan's file name.
    pub fn annotation(&self, view: View, image: &str) -> Annotation {
        let of_view = |traces: [&LesionInView; 2]| traces[usize::from(view == View::Posterior)].mask.clone();
        let lesions = self.lesions.iter().map(|lesion| {
            let label = format!("{}/{}", self.label, lesion.region.code());
            (label, format!("{}, {}", lesion.shape.name(), lesion.bone), of_view([&lesion.anterior, &lesion.posterior]))
        });
        let benign = self.benign.iter().map(|finding| {
            (finding.kind.codes().join("/"), finding.bone.clone(), of_view([&finding.anterior, &finding.posterior]))
        });
        let outlines = lesions.chain(benign).zip(1..).flat_map(|((label, description, mask), group)| {
            Mask::from_runs(mask).polygons().into_iter().map(move |corners| Outline {
                label: label.clone(),
                form: Form::Polygon(corners),
                group: Some(group),
                description: description.clone(),
                flags: Flags::new(),
            })
        });
        let size = Some(Size { rows: self.rows, columns: self.columns });
        Annotation { image: image.to_owned(), size, flags: Flags::new(), outlines: outlines.collect() }
    }

    /// The metastases, view by view, each with its number from 1.
    pub fn outlined(&self) -> Vec<Outlined> {
        let views = |lesion: &LesionTruth| {
            [(View::Anterior, lesion.anterior.mask.clone()), (View::Posterior, lesion.posterior.mask.clone())]
        };
        let all = self.lesions.iter().zip(1..).flat_map(|(lesion, number)| views(lesion).map(|view| (number, view)));
        let outlined =
            all.map(|(number, (view, runs))| Outlined { view, number, kind: CodeKind::Disease, mask: Mask::from_runs(runs) });
        outlined.filter(|outlined| !outlined.mask.is_empty()).collect()
    }

    /// The truth about the phantom whose scan is `scan`, as [`write`](super::write) puts it beside the scans; `None` where there is none.
    ///
    /// # Errors
    /// A truth that cannot be read.
    pub fn beside(scan: &Path) -> Result<Option<Truth>> {
        let stem = scan.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Some(folder) = scan.parent().and_then(Path::parent) else { return Ok(None) };
        let path = folder.join("truth").join(format!("{stem}.json"));
        if !path.is_file() {
            return Ok(None);
        }
        Truth::read(&path).map(Some)
    }

    fn read(path: &Path) -> Result<Truth> {
        let damaged = |error| Error::file(path, format!("is no truth ({error})"), "make the phantoms again");
        serde_json::from_slice(&files::read(path)?).map_err(damaged)
    }

    /// What a diagnostic report would say.
    pub fn report(&self) -> String {
        let sex = if self.sex == 'F' { "woman" } else { "man" };
        let mut text = format!("Whole-body bone scan of a {}-year-old {sex} (simulated).\n\nFindings:\n", self.age);
        // Writing to a String cannot fail.
        for LesionTruth { shape, bone, region, .. } in &self.lesions {
            let _ = writeln!(text, "- {} increased uptake, {bone} ({})", shape.name(), region.code());
        }
        for finding in &self.benign {
            let _ = writeln!(text, "- {}, {}", finding.kind.codes()[0], finding.bone);
        }
        for artefact in &self.artefacts {
            let _ = writeln!(text, "- {}, {}", artefact.kind.name(), artefact.place);
        }
        if self.lesions.is_empty() && self.benign.is_empty() && self.artefacts.is_empty() {
            text.push_str("- no abnormal uptake\n");
        }
        text.push_str(match self.label {
            Label::NoMet => "\nImpression: no sign of metastasis.\n",
            Label::ADMet => "\nImpression: bone metastases of an adenocarcinoma of the lung.\n",
            Label::NAdMet => "\nImpression: bone metastases of a lung cancer that is no adenocarcinoma.\n",
        });
        text
    }
}

impl SimulatedShape {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            SimulatedShape::Punctate => "punctate",
            SimulatedShape::Patchy => "patchy",
            SimulatedShape::Mottled => "mottled",
            SimulatedShape::Linear => "linear",
            SimulatedShape::Ring => "ring-shaped",
        }
    }
}

/// Writes what physicians would add to phantoms that [`super::write`] has put into `folder` with the same options: beside each
/// scan `0001.anterior.json` and `0001.posterior.json` (LabelMe) and `0001.report.txt`, and `codes.csv` beside the manifest, last: it stands
/// for all of them.
///
/// # Errors
/// A truth that cannot be read, or a file that cannot be written.
pub fn annotate(options: &PhantomOptions, folder: impl AsRef<Path>) -> Result<()> {
    let folder = folder.as_ref();
    for index in 0..options.studies {
        interrupt::check()?;
        let stem = stem(index);
        let truth = Truth::read(&folder.join(format!("truth/{stem}.json")))?;
        for view in [View::Anterior, View::Posterior] {
            truth.annotation(view, &format!("{stem}.dcm")).write(folder.join(format!("studies/{stem}.{view}.json")))?;
        }
        files::write(folder.join(format!("studies/{stem}.report.txt")), truth.report().as_bytes())?;
    }
    files::write(folder.join(codes::FILE), Codes::default().to_csv().as_bytes())
}
