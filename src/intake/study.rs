//! From paths to a study: DICOM files, pictures, or a folder of them; and which image is which view.

use super::picture;
use crate::dicom;
use crate::image::{Image, View};
use crate::{Error, Result};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The views of one examination, as decoded; at least one is there.
#[derive(Clone, Debug)]
pub struct Study {
    /// The anterior view.
    pub anterior: Option<Image>,
    /// The posterior view, not flipped.
    pub posterior: Option<Image>,
    /// The files it was read from.
    pub sources: Vec<PathBuf>,
}

/// What the user says where the files say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StudyOptions {
    /// `--views`: what the frames show, in the order of the files given and of the frames in them. A folder's files are in the
    /// order of their names.
    pub views: Option<[View; 2]>,
    /// `--single-view`: one view alone will do.
    pub single_view: bool,
    /// `--max-file-size`, in bytes: a larger file is refused unread.
    pub max_file_bytes: u64,
}

impl Default for StudyOptions {
    fn default() -> Self {
        StudyOptions { views: None, single_view: false, max_file_bytes: dicom::MAX_FILE_BYTES }
    }
}

/// One frame of a file, or a file of which every frame is meant; written `file.dcm#2`, or `file.dcm`. Frames count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// The DICOM file or picture.
    pub path: PathBuf,
    /// The frame, from 1.
    pub frame: Option<usize>,
}

impl FromStr for Cell {
    type Err = Error;

    /// What the text says, whatever files there are: see [`Cell::existing`].
    fn from_str(text: &str) -> Result<Self> {
        Cell::parted(Path::new(text))
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self.frame {
            Some(frame) => write!(formatter, "{}#{frame}", self.path.display()),
            None => write!(formatter, "{}", self.path.display()),
        }
    }
}

impl Cell {
    /// The same frame of the file seen from `folder`; an absolute path stays as it is.
    pub fn within(&self, folder: impl AsRef<Path>) -> Cell {
        Cell { path: folder.as_ref().join(&self.path), frame: self.frame }
    }

    /// The cell that a path means where there are files: one of that very name, else a frame of a file. The path need not be UTF-8.
    ///
    /// # Errors
    /// A frame that no file has, such as 0.
    pub fn existing(path: &Path) -> Result<Cell> {
        match is_there(path) {
            true => Ok(Cell { path: path.to_owned(), frame: None }),
            false => Cell::parted(path),
        }
    }

    /// As [`Cell::existing`] reads it back: with zeros before the frame where a file has the plain name (`IM#02` where there is `IM#2`).
    pub fn unmistakable(&self) -> PathBuf {
        let Some(frame) = self.frame else { return self.path.clone() };
        let named = |zeros: usize| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(format!("#{}{frame}", "0".repeat(zeros)));
            PathBuf::from(name)
        };
        // A name has at most 255 bytes, so that some number of zeros is free.
        (0..256).map(named).find(|name| !is_there(name)).unwrap_or_else(|| named(0))
    }

    /// A path and the frame behind its last `#`, or the path alone.
    fn parted(path: &Path) -> Result<Cell> {
        let Some((file, digits)) = frame_behind(path) else { return Ok(Cell { path: path.to_owned(), frame: None }) };
        match digits.parse() {
            Ok(frame @ 1..) => Ok(Cell { path: file, frame: Some(frame) }),
            _ => Err(Error::file(path, format!("there is no frame {digits}"), "count frames from 1, as in file.dcm#1")),
        }
    }

    /// For an error that concerns this frame.
    fn refuse(&self, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        let mut name = self.path.as_os_str().to_owned();
        if let Some(frame) = self.frame {
            name.push(format!("#{frame}"));
        }
        Error::file(PathBuf::from(name), problem, remedy)
    }
}

/// Whether there is a file of this very name.
fn is_there(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| !about.is_dir())
}

/// A file's path before the last `#`, and the digits behind it.
fn frame_behind(path: &Path) -> Option<(PathBuf, String)> {
    #[cfg(unix)]
    let name = {
        use std::os::unix::ffi::OsStrExt;
        path.as_os_str().as_bytes()
    };
    #[cfg(not(unix))]
    let name = path.to_str()?.as_bytes();
    let at = name.iter().rposition(|byte| *byte == b'#')?;
    let (file, digits) = (&name[..at], &name[at + 1..]);
    let is_named = file.last().is_some_and(|last| !std::path::is_separator(char::from(*last)));
    if !is_named || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    #[cfg(unix)]
    let file = {
        use std::os::unix::ffi::OsStrExt;
        std::ffi::OsStr::from_bytes(file)
    };
    #[cfg(not(unix))]
    let file = std::str::from_utf8(file).ok()?;
    Some((PathBuf::from(file), digits.iter().map(|digit| char::from(*digit)).collect()))
}

/// Reads `anterior,posterior` or `posterior,anterior`, as `--views` takes it.
pub fn parse_views(text: &str) -> Result<[View; 2]> {
    let views: Vec<View> = text.split(',').map(str::parse).collect::<Result<_>>()?;
    match views[..] {
        [first, second] if first != second => Ok([first, second]),
        _ => {
            Err(Error::setting(format!("`{text}` does not name both views once"), "say anterior,posterior or posterior,anterior"))
        }
    }
}

/// A frame that was read, and from where.
struct Found {
    cell: Cell,
    image: Image,
    view: Option<View>,
    study: Option<String>,
    patient: Option<String>,
}

/// Reads a study from a two-frame file, two one-frame files, or a folder that holds one of these. A path may name one frame of a
/// file: `file.dcm#2`.
///
/// Which frame is which view comes from the files, else from [`StudyOptions::views`]; with neither it is an error. A single frame
/// whose view nobody says is taken as it lies, that is as an anterior view.
pub fn read(paths: &[PathBuf], options: &StudyOptions) -> Result<Study> {
    let Some(first) = paths.first() else {
        return Err(Error::setting("no scan was given", "give the path of a DICOM file, a picture or a folder"));
    };
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let start = found.len();
            for file in scans_in(path)? {
                found.extend(frames_of(&Cell { path: file, frame: None }, options.max_file_bytes)?);
            }
            if differ(&found[start..], |frame| frame.study.as_deref()) {
                return Err(Error::file(path, "holds more than one study", "give each study a folder, or name the files of one"));
            }
        } else {
            found.extend(frames_of(&Cell::existing(path)?, options.max_file_bytes)?);
        }
    }
    let refuse =
        |problem: String, remedy: &str| Error::file(if paths.len() > 1 { &found[0].cell.path } else { first }, problem, remedy);
    if differ(&found, |frame| frame.patient.as_deref()) {
        return Err(refuse("the scans given are of different patients".into(), "give the views of one examination"));
    }
    if found.len() > 2 {
        return Err(refuse(
            format!("there are {} images, and a study has an anterior and a posterior view", found.len()),
            "name the two as FILE or FILE#FRAME",
        ));
    }
    for (frame, said) in found.iter().zip(options.views.iter().flatten()) {
        if frame.view.is_some_and(|view| view != *said) {
            let view = if *said == View::Anterior { View::Posterior } else { View::Anterior };
            return Err(frame
                .cell
                .refuse(format!("the file says that it is the {view} view, and --views the {said}"), "leave --views out"));
        }
    }
    if found.len() == 1 && !options.single_view {
        return Err(refuse(
            "is one view, and a study has an anterior and a posterior one".into(),
            "give both, or --single-view to go on with one",
        ));
    }
    let unknown = found.len() == 2 && options.views.is_none();
    let mut study = Study { anterior: None, posterior: None, sources: Vec::new() };
    for (index, frame) in found.into_iter().enumerate() {
        let said = options.views.map(|views| views[index]);
        let view = match frame.view.or(said) {
            Some(view) => view,
            None if unknown => {
                return Err(frame.cell.refuse(
                    "does not say which view it is, and the order of frames is no sign of it",
                    "say it with --views anterior,posterior or --views posterior,anterior",
                ));
            }
            None => View::Anterior,
        };
        put(&mut study, view, frame)?;
    }
    Ok(study)
}

/// Reads a row of a manifest, whose columns say the views. A file whose own view code contradicts its column is an error.
///
/// A cell without a frame number means the file's only frame, or the frame that its view code gives to the column. A whole file
/// of both views in the anterior column stands for both if there is no posterior cell; one in the posterior column stands for its
/// posterior view.
pub fn read_manifest_row(anterior: Option<&Cell>, posterior: Option<&Cell>) -> Result<Study> {
    let mut study = Study { anterior: None, posterior: None, sources: Vec::new() };
    for (view, frame, _) in views_of_row(anterior, posterior)? {
        put(&mut study, view, frame)?;
    }
    Ok(study)
}

/// The cells of a row of a manifest, anterior and posterior, each with its frame where its file has several.
///
/// # Errors
/// As [`read_manifest_row`].
pub fn named_frames(anterior: Option<&Cell>, posterior: Option<&Cell>) -> Result<[Option<Cell>; 2]> {
    let named = |cell: &&Cell| cell.frame.is_some() || picture::is_picture(&cell.path);
    if anterior.iter().chain(&posterior).all(named) {
        return Ok([anterior.cloned(), posterior.cloned()]);
    }
    let mut cells = [None, None];
    for (view, frame, of) in views_of_row(anterior, posterior)? {
        let cell = if of > 1 { frame.cell } else { Cell { frame: None, ..frame.cell } };
        cells[usize::from(view == View::Posterior)] = Some(cell);
    }
    Ok(cells)
}

/// The images that a row of a manifest means: view, image, and how many its file has.
fn views_of_row(anterior: Option<&Cell>, posterior: Option<&Cell>) -> Result<Vec<(View, Found, usize)>> {
    let mut views = Vec::with_capacity(2);
    // What the file loaded last has left, how many frames it had, and the cell it was loaded for.
    let mut last: Option<(Vec<Found>, usize, &Cell)> = None;
    for (view, cell) in [(View::Anterior, anterior), (View::Posterior, posterior)] {
        let Some(cell) = cell else { continue };
        let (mut found, frames) = match last.take() {
            Some((found, _, before))
                if before.path == cell.path && (found.is_empty() || cell.frame.is_some() && cell == before) =>
            {
                return Err(cell.refuse("the manifest has it under both views", "name an image for each view"));
            }
            Some((found, frames, before)) if before.path == cell.path => (found, frames),
            _ => {
                let found = load(&cell.path, dicom::MAX_FILE_BYTES)?;
                let frames = found.len();
                (found, frames)
            }
        };
        views.push((view, pick(&mut found, cell, view)?, frames));
        last = Some((found, frames, cell));
    }
    if let (Some((mut found, 2, cell)), None) = (last, posterior)
        && cell.frame.is_none()
        && found.first().is_some_and(|other| other.view == Some(View::Posterior))
    {
        views.push((View::Posterior, found.remove(0), 2));
    }
    Ok(views)
}

/// Takes the frame that stands for `view` in a manifest's column.
fn pick(found: &mut Vec<Found>, cell: &Cell, view: View) -> Result<Found> {
    let index = match cell.frame {
        Some(frame) => position(found, cell, frame)?,
        None if found.len() == 1 => 0,
        None => {
            let mut matching = (0..found.len()).filter(|&index| found[index].view == Some(view));
            let (first, second) = (matching.next(), matching.next());
            first.filter(|_| second.is_none()).ok_or_else(|| {
                let how_many = if first.is_none() { "none" } else { "more than one" };
                cell.refuse(
                    format!("{how_many} of its {} frames says that it is the {view} view", found.len()),
                    "name the frame in the manifest, as in file.dcm#1",
                )
            })?
        }
    };
    match found[index].view {
        Some(said) if said != view => Err(found[index].cell.refuse(
            format!("the file says that it is the {said} view, and the manifest has it under {view}"),
            "put it in the right column",
        )),
        _ => Ok(found.remove(index)),
    }
}

/// Makes a frame its view of the study.
fn put(study: &mut Study, view: View, frame: Found) -> Result<()> {
    let (slot, other) = match view {
        View::Anterior => (&mut study.anterior, &study.posterior),
        View::Posterior => (&mut study.posterior, &study.anterior),
    };
    if slot.is_some() {
        return Err(frame.cell.refuse(format!("is the {view} view, and so is the image before it"), "give one of each view"));
    }
    let Image { rows, columns, .. } = frame.image;
    if let Some(other) = other.as_ref().filter(|other| (other.rows, other.columns) != (rows, columns)) {
        return Err(frame.cell.refuse(
            format!("has {rows}x{columns} pixels, and the other view {}x{}", other.rows, other.columns),
            "give two views of one examination",
        ));
    }
    *slot = Some(frame.image);
    if !study.sources.contains(&frame.cell.path) {
        study.sources.push(frame.cell.path);
    }
    Ok(())
}

/// The frames that a cell means.
fn frames_of(cell: &Cell, max_file_bytes: u64) -> Result<Vec<Found>> {
    let mut found = load(&cell.path, max_file_bytes)?;
    if let Some(frame) = cell.frame {
        found = vec![found.remove(position(&found, cell, frame)?)];
    }
    Ok(found)
}

/// Where a frame is among those of its file.
fn position(found: &[Found], cell: &Cell, frame: usize) -> Result<usize> {
    let position = found.iter().position(|found| found.cell.frame == Some(frame));
    position.ok_or_else(|| cell.refuse("the file has no such frame", "count frames from 1, as in file.dcm#1"))
}

/// All frames of a DICOM file, or a picture as its only one.
fn load(path: &Path, max_file_bytes: u64) -> Result<Vec<Found>> {
    let contents = if picture::is_picture(path) {
        let frames = vec![dicom::Frame { image: picture::read_at_most(path, max_file_bytes)?, view: None }];
        dicom::Contents { frames, study: None, patient: None }
    } else {
        dicom::read_at_most(path, max_file_bytes)?
    };
    let found = contents.frames.into_iter().enumerate().map(|(index, frame)| Found {
        cell: Cell { path: path.to_owned(), frame: Some(index + 1) },
        image: frame.image,
        view: frame.view,
        study: contents.study.clone(),
        patient: contents.patient.clone(),
    });
    Ok(found.collect())
}

/// The scans in a folder, by name: its DICOM files or, without any, its pictures. Folders in it and hidden files do not count.
fn scans_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error| Error::io(folder, "read", &error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(b".") && name != "DICOMDIR" {
            files.push(entry.path());
        }
    }
    files.sort();
    let (dicoms, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| dicom::is_dicom(file));
    let scans = if dicoms.is_empty() { others.into_iter().filter(|file| picture::is_picture(file)).collect() } else { dicoms };
    if scans.is_empty() {
        return Err(Error::file(folder, "holds no DICOM file and no PNG or JPEG picture", "give the folder of a study"));
    }
    Ok(scans)
}

/// Whether two frames say different things of what they both know.
fn differ<'a>(found: &'a [Found], of: impl Fn(&'a Found) -> Option<&'a str>) -> bool {
    let mut known = found.iter().filter_map(of);
    known.next().is_some_and(|first| known.any(|other| other != first))
}
