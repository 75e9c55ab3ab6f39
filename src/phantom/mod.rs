//! Synthetic whole-body bone scans, because the clinical ones are not public: patients, their benign findings and metastases, and
//! the camera that looks at them.
//!
//! A study depends on the seed and its index alone, so studies can be made in any order, on any number of threads, and study 7 of
//! 10 is study 7 of 1000. What the classes differ in is in the module of [`SimulatedShape`]; nothing else in a study depends on
//! its label.

mod annotations;
mod artefacts;
mod body;
mod camera;
mod ceiling;
mod hospital;
mod lesions;
mod mimics;
mod random;
mod skeleton;

pub use crate::models::SimulatorVersion;
pub use annotations::annotate;
pub use artefacts::Artefact;
pub use ceiling::{Trial, ceilings};
pub use hospital::Protocol;
pub use lesions::SimulatedShape;
pub use mimics::Benign;
pub use skeleton::Region;

use crate::dicom::{self, NmHeader, Sex};
use crate::image::Image;
use crate::{Error, Result, files, interrupt};
use artefacts::Artefacts;
use camera::{Exposure, Field};
use hospital::Scanning;
use osteon_kernels::par;
use random::{Random, Stream};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a study shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Label {
    /// No metastasis.
    NoMet,
    /// Metastases of an adenocarcinoma.
    ADMet,
    /// Metastases of another lung cancer.
    #[serde(rename = "nADMet")]
    NAdMet,
}

impl Label {
    /// In the order of the paper's classes.
    pub const ALL: [Label; 3] = [Label::NoMet, Label::ADMet, Label::NAdMet];

    /// The name that manifests use.
    pub fn name(self) -> &'static str {
        match self {
            Label::NoMet => "NoMet",
            Label::ADMet => "ADMet",
            Label::NAdMet => "nADMet",
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which studies to make.
#[derive(Clone, Debug, PartialEq)]
pub struct PhantomOptions {
    /// How many.
    pub studies: usize,
    /// Another seed, other patients.
    pub seed: u64,
    /// Shares of NoMet, ADMet and nADMet; their sum may be anything above zero.
    pub mix: [f64; 3],
    /// Height of a view; the sweep is 231 cm long, whatever the number of rows.
    pub rows: usize,
    /// Width of a view; pixels are square.
    pub columns: usize,
    /// Which simulator makes them. Each makes the same bytes for ever.
    pub simulator: SimulatorVersion,
    /// The hospital that simulator 2 scans at, from 1 to [`MOST_HOSPITALS`](Self::MOST_HOSPITALS); 0: one that is made up for each
    /// study.
    pub hospital: u32,
}

impl Default for PhantomOptions {
    fn default() -> Self {
        PhantomOptions {
            studies: 300,
            seed: 1,
            mix: [1.0; 3],
            rows: 1024,
            columns: 256,
            simulator: SimulatorVersion::default(),
            hospital: 0,
        }
    }
}

impl PhantomOptions {
    /// The most studies.
    pub const MOST_STUDIES: usize = 1_000_000;

    /// The last hospital that has a number.
    pub const MOST_HOSPITALS: u32 = hospital::MOST_HOSPITALS;

    /// An error that says which option cannot be used.
    pub fn check(&self) -> Result<()> {
        let valid = self.mix.iter().all(|share| share.is_finite() && *share >= 0.0) && self.mix.iter().sum::<f64>() > 0.0;
        if !valid {
            return Err(Error::setting(
                "the mix of classes has a negative share or none above zero",
                "give three shares such as 1,1,1",
            ));
        }
        for (name, size) in [("rows", self.rows), ("columns", self.columns)] {
            if !(32..=4096).contains(&size) {
                return Err(Error::setting(format!("a phantom cannot have {size} {name}"), "choose between 32 and 4096"));
            }
        }
        if self.hospital > Self::MOST_HOSPITALS {
            let problem = format!("there is no hospital {}", self.hospital);
            return Err(Error::setting(problem, format!("choose one from 0 to {}", Self::MOST_HOSPITALS)));
        }
        if self.hospital > 0 && self.simulator == SimulatorVersion::One {
            return Err(Error::setting("simulator 1 knows no hospitals", "leave --hospital out, or choose --simulator 2"));
        }
        if self.studies == 0 {
            return Err(Error::setting("no studies were asked for", "ask for at least one"));
        }
        if self.studies > Self::MOST_STUDIES {
            return Err(Error::setting(format!("--studies {} is no number of studies", self.studies), "ask for at most 1000000"));
        }
        Ok(())
    }

    /// The label of a study. Additive recurrence with the golden ratio: labels look random, yet every run of studies holds each
    /// class in its share to within about one study.
    pub fn label(&self, index: usize) -> Label {
        const GOLDEN: f64 = 0.618_033_988_749_894_8;
        let start = f64::from(Random::new(self.seed, 0, Stream::Label).between(0.0, 1.0));
        let mut position = (start + index as f64 * GOLDEN).fract() * self.mix.iter().sum::<f64>();
        for (label, share) in Label::ALL.into_iter().zip(self.mix) {
            if position < share {
                return label;
            }
            position -= share;
        }
        Label::ALL.into_iter().zip(self.mix).rfind(|&(_, share)| share > 0.0).map_or(Label::NoMet, |(label, _)| label)
    }
}

/// A study and the truth about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Phantom {
    /// Its class.
    pub label: Label,
    /// Counts; the patient's right is on the image's left.
    pub anterior: Image,
    /// Counts, as the posterior detector sees them: the patient's left is on the image's left.
    pub posterior: Image,
    /// What is where.
    pub truth: Truth,
}

/// What a study shows, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Patient's name in the manifest.
    pub patient: String,
    /// Its class.
    pub label: Label,
    /// Age in years.
    pub age: u32,
    /// `M` or `F`.
    pub sex: char,
    /// Stature in centimetres.
    pub stature_cm: f32,
    /// Height of both views in pixels.
    pub rows: usize,
    /// Width of both views in pixels.
    pub columns: usize,
    /// Side of a pixel.
    pub pixel_mm: f32,
    /// Counts in the anterior and the posterior view.
    pub counts: [u64; 2],
    /// Metastases.
    pub lesions: Vec<LesionTruth>,
    /// Benign findings.
    pub benign: Vec<BenignTruth>,
    /// What else shows, of simulator 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artefacts: Vec<ArtefactTruth>,
    /// Where and how it was scanned, of simulator 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

/// One metastasis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LesionTruth {
    /// Part of the body.
    pub region: Region,
    /// The bone that its centre lies on.
    pub bone: String,
    /// Its shape.
    pub shape: SimulatedShape,
    /// Largest extent.
    pub size_cm: f32,
    /// Expected counts at its brightest pixel against those without it, in the view that shows it better.
    pub uptake_ratio: f32,
    /// In the anterior view.
    pub anterior: LesionInView,
    /// In the posterior view.
    pub posterior: LesionInView,
}

/// One benign finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenignTruth {
    /// What it is.
    pub kind: Benign,
    /// The bone that it lies on.
    pub bone: String,
    /// Expected counts at its brightest pixel against those without it, in the view that shows it better.
    pub uptake_ratio: f32,
    /// In the anterior view.
    pub anterior: LesionInView,
    /// In the posterior view.
    pub posterior: LesionInView,
}

/// What is neither metastasis nor wear.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArtefactTruth {
    /// What it is.
    pub kind: Artefact,
    /// Where it is, in words.
    pub place: String,
    /// In the anterior view; empty where the picture as a whole has it, as with motion.
    pub anterior: LesionInView,
    /// In the posterior view.
    pub posterior: LesionInView,
}

/// How one view shows a lesion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LesionInView {
    /// Row of the brightest pixel.
    pub row: u32,
    /// Column of the brightest pixel.
    pub column: u32,
    /// Expected counts that the lesion adds there.
    pub excess: f32,
    /// Expected counts there without it.
    pub background: f32,
    /// Runs of pixels `[row, first column, length]` where the lesion adds at least 40 % of its peak; empty where this view
    /// hardly shows it.
    pub mask: Vec<[u32; 3]>,
}

impl LesionInView {
    /// Expected counts at the brightest pixel.
    pub fn peak(&self) -> f32 {
        self.background + self.excess
    }

    /// Number of pixels in the mask.
    pub fn area(&self) -> usize {
        self.mask.iter().map(|run| run[2] as usize).sum()
    }
}

/// The uptake ratio in the view that shows a lesion better, as a reader would look at it.
fn uptake_ratio(traces: &[LesionInView; 2]) -> f32 {
    let ratio = |trace: &LesionInView| trace.peak() / trace.background.max(f32::MIN_POSITIVE);
    if traces[0].excess >= traces[1].excess { ratio(&traces[0]) } else { ratio(&traces[1]) }
}

/// Makes study `index`: the same for the same simulator, seed, mix and size, whatever else was made before.
///
/// The options must pass [`PhantomOptions::check`].
pub fn simulate(options: &PhantomOptions, index: usize) -> Phantom {
    let label = options.label(index);
    let chance = |stream| Random::new(options.seed, index as u64, stream);
    let mut random = chance(Stream::Patient);
    let mut of_scanning = chance(Stream::Scanning);
    let scanning = match options.simulator {
        SimulatorVersion::One => Scanning::FIRST,
        SimulatorVersion::Two => Scanning::draw(options.hospital, &mut of_scanning),
    };
    let mut patient = body::Patient::draw(&scanning.bodies, &mut random);
    let mut of_artefacts = chance(Stream::Artefacts);
    let mut extras = Artefacts::default();
    if let Some(protocol) = &scanning.protocol {
        patient.scan_by(protocol, &mut of_scanning);
        extras = Artefacts::draw(label, &mut patient, &mut of_artefacts);
    }
    let field = Field::draw(options.rows, options.columns, &scanning, &patient, &mut random);
    let mut skeleton = skeleton::Skeleton::build(&patient, &mut random);
    if scanning.protocol.is_some() {
        extras.add(&patient, &mut skeleton, field, &mut of_artefacts);
    }
    let mut exposure = Exposure::new(field, scanning.camera, &patient, &skeleton, &extras.metal, extras.movement);

    // As the detectors see it, and where a patch has put it.
    let seen = |exposure: &Exposure, mut traces: [LesionInView; 2]| {
        exposure.mirror(&mut traces[1]);
        if let Some(patch) = &extras.patch {
            traces.iter_mut().for_each(|trace| patch.apply(trace, (options.rows, options.columns)));
        }
        traces
    };
    let mut artefacts = Vec::new();
    for found in &extras.found {
        let traces = match (&found.foci, found.metal) {
            (Some(foci), _) => exposure.stamp(foci),
            (None, Some(metal)) => exposure.cold(&extras.metal[metal]),
            (None, None) => Default::default(),
        };
        let is_shown = found.foci.is_some() || found.metal.is_some();
        let [anterior, posterior] = if is_shown { seen(&exposure, traces) } else { traces };
        artefacts.push(ArtefactTruth { kind: found.kind, place: found.place.clone(), anterior, posterior });
    }
    let mut stamp = |foci: &camera::Foci| {
        let traces = exposure.stamp(foci);
        let traces = seen(&exposure, traces);
        (uptake_ratio(&traces), traces)
    };
    let mut benign = Vec::new();
    for finding in mimics::draw(&patient, &skeleton, field, &mut chance(Stream::Benign)) {
        let (uptake_ratio, [anterior, posterior]) = stamp(&finding.foci);
        benign.push(BenignTruth { kind: finding.kind, bone: finding.bone, uptake_ratio, anterior, posterior });
    }
    let mut lesions = Vec::new();
    for lesion in lesions::draw(label, &scanning.bodies, &skeleton, field, &mut chance(Stream::Disease)) {
        let (uptake_ratio, [anterior, posterior]) = stamp(&lesion.foci);
        let lesions::Lesion { region, bone, shape, size_cm, .. } = lesion;
        lesions.push(LesionTruth { region, bone, shape, size_cm, uptake_ratio, anterior, posterior });
    }

    if let Some(patch) = &extras.patch {
        exposure.patch(patch);
    }
    let [anterior, posterior] = exposure.count(&mut chance(Stream::Noise));
    let counts = [&anterior, &posterior].map(|view| view.pixels.iter().map(|&count| count as u64).sum());
    let truth = Truth {
        patient: patient_name(index),
        label,
        age: patient.age_years.round() as u32,
        sex: if patient.male { 'M' } else { 'F' },
        stature_cm: patient.stature_cm,
        rows: options.rows,
        columns: options.columns,
        pixel_mm: 10.0 * field.pixel_cm,
        counts,
        lesions,
        benign,
        artefacts,
        protocol: scanning.protocol,
    };
    Phantom { label, anterior, posterior, truth }
}

/// Name of the patient of study `index`.
fn patient_name(index: usize) -> String {
    format!("phantom-{:04}", index + 1)
}

/// Name of the files of study `index`, without extension.
fn stem(index: usize) -> String {
    format!("{:04}", index + 1)
}

const HEADER: &str = "patient,anterior,posterior,label,simulated\n";

/// Studies made at a time by all threads together; progress is reported after each such group.
const GROUP: usize = 16;

/// Makes all studies and writes them below `folder`, several at a time on the current thread pool: `studies/0001.dcm` with both
/// views, `truth/0001.json`, and `manifest.csv`, last, so that a manifest stands for a complete archive. `progress` is called
/// with how many studies are done. Returns the manifest's path.
///
/// # Errors
/// An option that cannot be used, or a file that cannot be written.
pub fn write(options: &PhantomOptions, folder: impl AsRef<Path>, progress: &dyn Fn(usize)) -> Result<PathBuf> {
    options.check()?;
    let folder = folder.as_ref();
    files::create_folder(folder.join("studies"))?;
    files::create_folder(folder.join("truth"))?;
    let mut manifest = HEADER.to_owned();
    for first in (0..options.studies).step_by(GROUP) {
        let mut group: Vec<Result<String>> = (first..options.studies.min(first + GROUP)).map(|_| Ok(String::new())).collect();
        par::chunks_mut(&mut group, 1, |i, line| line[0] = write_study(options, folder, first + i));
        let done = first + group.len();
        for line in group {
            manifest.push_str(&line?);
        }
        progress(done);
    }
    let path = folder.join("manifest.csv");
    files::write(&path, manifest.as_bytes())?;
    Ok(path)
}

/// Makes and writes one study; its line of the manifest.
fn write_study(options: &PhantomOptions, folder: &Path, index: usize) -> Result<String> {
    interrupt::check()?;
    let Phantom { anterior, posterior, truth, .. } = simulate(options, index);
    let stem = stem(index);
    let (simulator, description) = match options.simulator {
        SimulatorVersion::One => (String::new(), "Whole-body bone scan (phantom)".to_owned()),
        version => (
            format!(", simulator {version}, hospital {}", options.hospital),
            format!("Whole-body bone scan (phantom, simulator {version})"),
        ),
    };
    let PhantomOptions { seed, rows, columns, .. } = options;
    let header = NmHeader {
        patient: truth.patient.clone(),
        identity: format!("osteon phantom{simulator}, seed {seed}, {rows}x{columns}, study {stem}"),
        description,
        age_years: Some(truth.age),
        sex: Some(if truth.sex == 'M' { Sex::Male } else { Sex::Female }),
        pixel_spacing_mm: [truth.pixel_mm; 2],
        ..NmHeader::default()
    };
    dicom::write_nm(folder.join(format!("studies/{stem}.dcm")), &anterior, &posterior, &header)?;
    let path = folder.join(format!("truth/{stem}.json"));
    let json =
        serde_json::to_vec(&truth).map_err(|error| Error::file(&path, format!("cannot be made ({error})"), "report this"))?;
    files::write(&path, &json)?;
    Ok(manifest_line(options, index))
}

/// Its line of the manifest.
fn manifest_line(options: &PhantomOptions, index: usize) -> String {
    let (patient, stem, label) = (patient_name(index), stem(index), options.label(index));
    let simulated = match options.simulator {
        SimulatorVersion::One => "yes",
        SimulatorVersion::Two => "2",
    };
    format!("{patient},studies/{stem}.dcm#1,studies/{stem}.dcm#2,{label},{simulated}\n")
}

/// The manifest that [`write`] leaves, without simulating anything.
pub fn manifest(options: &PhantomOptions) -> String {
    (0..options.studies).fold(HEADER.to_owned(), |text, index| text + &manifest_line(options, index))
}

#[cfg(test)]
mod tests;
