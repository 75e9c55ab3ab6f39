//! The whole-body scan among all that an examination's folder, medium or ZIP archive holds, and why the rest is left out.
//!
//! Headers are read before pixels: of thousands of files beside the scan no more than their beginnings.

use super::container::{Container, Entry, damaged, some_of};
use super::kind;
use super::picture;
use crate::dicom::{self, ENOUGH_TO_TELL, Header};
use crate::text::Shown;
use crate::{Error, Result, interrupt};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What was not taken of a folder, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut(BTreeMap<String, Vec<PathBuf>>);

impl LeftOut {
    fn add(&mut self, reason: impl Into<String>, name: &Path) {
        self.0.entry(reason.into()).or_default().push(name.to_owned());
    }

    /// How many files.
    pub fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

impl fmt::Display for LeftOut {
    /// `capture.dcm (secondary capture), 1.dcm, 2.dcm and 117 more (CT image)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (reason, names)) in self.0.iter().enumerate() {
            write!(f, "{}{} ({reason})", if at > 0 { ", " } else { "" }, some_of(names))?;
        }
        Ok(())
    }
}

/// The scans of a folder or archive: one file of both views, or one a view.
pub(super) struct Search {
    container: Container,
    /// Indices of the container's files, by name.
    pub scans: Vec<usize>,
    /// The rest.
    pub left_out: LeftOut,
}

impl Search {
    /// Looks at every file of `path`. `any_image`: what a header says of its kind does not matter.
    ///
    /// # Errors
    /// It cannot be read; no scan; scans of two patients or examinations, or more scans than a study has, by their names.
    pub fn of(path: &Path, any_image: bool, max_file_bytes: u64) -> Result<Self> {
        let container = Container::open(path)?;
        let (mut left_out, mut found, mut pictures) = (LeftOut::default(), Vec::new(), Vec::new());
        for (at, entry) in container.files.iter().enumerate() {
            interrupt::check()?;
            match look(&container, entry, max_file_bytes) {
                Ok(Seen::Object(header)) => match kind::other_than_bone_scan(&header).filter(|_| !any_image) {
                    _ if !header.has_pixels => {
                        left_out.add(kind::other_than_bone_scan(&header).unwrap_or("object without pixels".into()), &entry.name);
                    }
                    Some(other) => left_out.add(other, &entry.name),
                    None => found.push((at, header)),
                },
                Ok(Seen::Picture) => pictures.push(at),
                Ok(Seen::Other(what)) => left_out.add(what, &entry.name),
                Err(Error::File { problem, .. }) => left_out.add(problem, &entry.name),
                Err(error) => return Err(error),
            }
        }
        let name = |at: usize| &container.files[at].name;
        let mut scans: Vec<(usize, Header)> = Vec::new();
        for (at, header) in found {
            // Some exporters give two views one number.
            let twin = scans.iter().find(|(_, other)| header.instance.is_some() && *other == *header);
            match twin {
                Some((of, _)) => left_out.add(format!("the same object as {}", name(*of).shown()), name(at)),
                None => scans.push((at, *header)),
            }
        }
        // Where the camera's own images are enough, what was computed from them is not needed.
        let is_derived = |header: &Header| header.image_type.first().is_some_and(|value| value == "DERIVED");
        if scans.len() > 1 && scans.iter().any(|(_, header)| !is_derived(header)) {
            scans.retain(|(at, header)| {
                if is_derived(header) {
                    left_out.add("derived image", name(*at));
                }
                !is_derived(header)
            });
        }
        // Beside an image of a standing body's shape, a square one without an Image Type is a spot view.
        if scans.len() > 1 && scans.iter().any(|(_, header)| is_tall(header)) {
            scans.retain(|(at, header)| {
                if !is_tall(header) {
                    left_out.add("image that is not tall, as a whole body is", name(*at));
                }
                is_tall(header)
            });
        }
        let refuse = |problem: String, remedy: &str| Err(Error::file(path, problem, remedy));
        if scans.is_empty() && pictures.is_empty() {
            let problem = match left_out.count() {
                0 => "holds no DICOM file and no PNG or JPEG picture".to_owned(),
                _ => format!("holds no whole-body bone scan, but {left_out}"),
            };
            let remedy = if left_out.count() == 0 {
                "give the folder of a study"
            } else {
                "give the folder that holds the scan, or --any-image where a header is wrong"
            };
            return refuse(problem, remedy);
        }
        if scans.is_empty() {
            // Of pictures, nothing but their number tells.
            return Ok(Search { scans: pictures, left_out, container });
        }
        pictures.iter().for_each(|at| left_out.add("picture beside a DICOM file", name(*at)));
        for (what, of) in WHOSE {
            let first = &scans[0];
            if let Some(other) = scans.iter().find(|other| differ(of(&first.1), of(&other.1))) {
                let (one, other) = (name(first.0).shown(), name(other.0).shown());
                return refuse(
                    format!("holds scans of two {what}: {one} and {other}"),
                    "give each study a folder, or name the files of one",
                );
            }
        }
        let images: usize = scans.iter().map(|(_, header)| header.frames).sum();
        if scans.len() > 2 || scans.len() == 2 && images > 2 {
            let names: Vec<PathBuf> = scans.iter().map(|(at, _)| name(*at).clone()).collect();
            return refuse(format!("holds {} whole-body scans: {}", scans.len(), some_of(&names)), "name the one that is meant");
        }
        Ok(Search { scans: scans.into_iter().map(|(at, _)| at).collect(), left_out, container })
    }

    /// The path of a scan, for messages, and its bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn bytes(&self, scan: usize, max_file_bytes: u64) -> Result<(PathBuf, Vec<u8>)> {
        let entry = &self.container.files[scan];
        Ok((self.container.path_of(entry), self.container.bytes(entry, max_file_bytes)?))
    }
}

/// Whether a frame is as tall as a standing body asks for: half as tall again as it is wide. What the header does not say speaks for it.
fn is_tall(header: &Header) -> bool {
    let [height, width] = header.spacing_mm.unwrap_or([1.0; 2]);
    header.size.is_none_or(|[rows, columns]| rows as f64 * height >= 1.5 * columns as f64 * width)
}

/// What two scans of one study have in common, and what they are of otherwise.
pub(super) const WHOSE: [(&str, Said); 4] = [
    ("patients (their Patient IDs differ)", |header| header.patient.as_deref()),
    ("patients (their names or birth dates differ)", |header| header.person.as_deref().filter(|_| header.patient.is_none())),
    ("examinations (their Study Instance UIDs differ)", |header| header.study.as_deref()),
    ("dates", |header| header.date.as_deref()),
];

/// What a header says of something.
type Said = fn(&Header) -> Option<&str>;

/// Whether two files say different things of what they both know.
pub(super) fn differ(one: Option<&str>, other: Option<&str>) -> bool {
    one.is_some() && other.is_some() && one != other
}

pub(super) enum Seen {
    Object(Box<Header>),
    Picture,
    Other(&'static str),
}

/// What a file is, by its beginning.
pub(super) fn look(container: &Container, entry: &Entry, max_file_bytes: u64) -> Result<Seen> {
    look_into(container, entry, max_file_bytes).map_err(|error| match error {
        // What cannot be inflated, or has another checksum.
        Error::File { path, problem, .. } if container.is_archive() && problem.starts_with("cannot be read") => damaged(&path),
        other => other,
    })
}

fn look_into(container: &Container, entry: &Entry, max_file_bytes: u64) -> Result<Seen> {
    let path = container.path_of(entry);
    let (mut reader, length) = container.read(entry, max_file_bytes)?;
    let mut start = Vec::new();
    reader.by_ref().take(ENOUGH_TO_TELL).read_to_end(&mut start).map_err(|error| Error::io(&path, "read", &error))?;
    if picture::begins_as_picture(&start) {
        return Ok(Seen::Picture);
    }
    if start.starts_with(b"PK\x03\x04") {
        return Ok(Seen::Other("ZIP archive within"));
    }
    if !dicom::begins_as_dicom(&start) {
        return Ok(Seen::Other("no image"));
    }
    Ok(Seen::Object(Box::new(dicom::header_of(&path, length, start.chain(reader))?)))
}
