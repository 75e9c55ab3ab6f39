//! From paths to a study: DICOM files, pictures, or a folder or ZIP archive of them; and which image is which view.

use super::checks;
use super::container::is_zip;
use super::kind;
use super::picture;
use super::search::{LeftOut, Search, WHOSE, differ};
use crate::dicom::{self, FrameView, Header, ViewSource};
use crate::image::{Image, View};
use crate::text::Shown;
use crate::{Error, Result, files, text};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr;

/// The views of one examination, as decoded; at least one is there.
#[derive(Clone, Debug, Default)]
pub struct Study {
    /// The anterior view.
    pub anterior: Option<Image>,
    /// The posterior view, not flipped.
    pub posterior: Option<Image>,
    /// Height and width of a pixel in millimetres, where a file says them.
    pub pixel_mm: Option<[f64; 2]>,
    /// The files it was read from.
    pub sources: Vec<PathBuf>,
    /// How they were read.
    pub intake: Intake,
}

impl Study {
    /// SHA-256 of each file that it was read from, by the file's name; with its folder where two have one name.
    ///
    /// # Errors
    /// A file that cannot be read any more.
    pub fn hashes(&self) -> Result<BTreeMap<String, String>> {
        let short = |path: &Path| PathBuf::from(path.file_name().unwrap_or(path.as_os_str()));
        let name = |path: &PathBuf| {
            let alike = self.sources.iter().filter(|other| short(other) == short(path)).count();
            text::plain(&if alike > 1 { path.clone() } else { short(path) })
        };
        self.sources.iter().map(|path| Ok((name(path), files::sha256(&files::read(path)?)))).collect()
    }
}

/// How a study was read: what a report, a run's record or an auditor has to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intake {
    /// What decided that the image is the view, for anterior and posterior; none where there is no such view.
    pub decided: [Option<Decided>; 2],
    /// What was done with stored values to make counts of them, or deliberately not done, in sentences.
    pub applied: Vec<String>,
    /// How the files differ from what standards and their own headers say, and what else a user should know, in sentences.
    pub notes: Vec<String>,
    /// What was not read of a folder or archive.
    pub left_out: Vec<(PathBuf, LeftOut)>,
    /// SHA-256 of the Patient ID, where a file says it.
    pub patient: Option<String>,
    /// SHA-256 of the patient's name and birth date, where a file says both.
    pub person: Option<String>,
}

/// What decided which view an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decided {
    /// The file: see [`ViewSource`].
    File(ViewSource),
    /// `--views`.
    Flag,
    /// The column of a manifest.
    Column,
    /// Nothing: a single view of unknown side is taken as it lies.
    Assumed,
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decided::File(source) => source.fmt(f),
            Decided::Flag => f.write_str("--views"),
            Decided::Column => f.write_str("manifest"),
            Decided::Assumed => f.write_str("assumed"),
        }
    }
}

impl Intake {
    /// Anterior and posterior with what decided so, for the views that are there: `anterior by view code`.
    pub fn views(&self) -> impl Iterator<Item = (View, Decided)> {
        [View::Anterior, View::Posterior].into_iter().zip(self.decided).filter_map(|(view, decided)| Some((view, decided?)))
    }
}

/// What the user says where the files say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StudyOptions {
    /// `--views`: what the frames show, in the order of the files given and of the frames in them. A folder's files are in the
    /// order of their names. What a file says itself wins, unless it contradicts itself.
    pub views: Option<[View; 2]>,
    /// `--single-view`: one view alone will do.
    pub single_view: bool,
    /// `--inverted`: black is hot, and the greatest value becomes none.
    pub inverted: bool,
    /// `--any-image`: whatever the files hold, it is taken for a whole-body scan.
    pub any_image: bool,
    /// `--max-file-size`, in bytes: a larger file is refused unread.
    pub max_file_bytes: u64,
}

impl Default for StudyOptions {
    fn default() -> Self {
        StudyOptions { views: None, single_view: false, inverted: false, any_image: false, max_file_bytes: dicom::MAX_FILE_BYTES }
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

/// An image that was read, and from where.
struct Found {
    cell: Cell,
    image: Image,
    /// What the file says of it.
    said: FrameView,
    /// Of a DICOM file.
    header: Option<Rc<Header>>,
}

impl Found {
    /// The view, where the file says one.
    fn view(&self) -> Option<View> {
        self.said.view()
    }
}

/// Reads a study from a two-frame file, two one-frame files, or a folder or ZIP archive that holds one of these, beside other things. A
/// path may name one frame of a file: `file.dcm#2`.
///
/// Which frame is which view comes from the files, else from [`StudyOptions::views`]; with neither it is an error. A single frame
/// whose view nobody says is taken as it lies, that is as an anterior view.
///
/// # Errors
/// Files that cannot be read, that hold no whole-body bone scan, or whose views are of two patients, examinations or dates; images whose
/// view nobody says; more than two images.
pub fn read(paths: &[PathBuf], options: &StudyOptions) -> Result<Study> {
    let Some(first) = paths.first() else {
        return Err(Error::setting("no scan was given", "give the path of a DICOM file, a picture or a folder"));
    };
    let mut intake = Intake::default();
    let mut found = Vec::new();
    for path in paths {
        found.extend(match container_of(path) {
            Some(folder) => images_within(folder, options, &mut intake)?,
            None => {
                let cell = Cell::existing(path)?;
                if fs::metadata(&cell.path).is_ok_and(|about| about.is_file() && about.len() > options.max_file_bytes) {
                    let problem = format!("has more than {} MB", options.max_file_bytes >> 20);
                    return Err(Error::file(&cell.path, problem, "give the planar whole-body scan, or raise --max-file-size"));
                }
                let bytes = files::read_at_most(&cell.path, options.max_file_bytes)?;
                images_of(&cell, &bytes, Wanted::Both, options, &mut intake)?
            }
        });
    }
    let found: Vec<Found> = found.into_iter().map(|(found, _)| found).collect();
    let refuse =
        |problem: String, remedy: &str| Error::file(if paths.len() > 1 { &found[0].cell.path } else { first }, problem, remedy);
    refuse_strangers(found.iter())?;
    if found.len() > 2 {
        return Err(refuse(
            format!("there are {} images, and a study has an anterior and a posterior view", found.len()),
            "name the two as FILE or FILE#FRAME",
        ));
    }
    if found.len() == 1 && !options.single_view {
        return Err(refuse(
            "is one view, and a study has an anterior and a posterior one".into(),
            "give both, or --single-view to go on with one",
        ));
    }
    let views = views_of(&found, options, &mut intake)?;
    let mut study = Study { intake, ..Study::default() };
    for (frame, (view, decided)) in found.into_iter().zip(views) {
        put(&mut study, view, decided, frame)?;
    }
    Ok(study)
}

/// The folder or archive that a path means; the index of a medium stands for its folder.
fn container_of(path: &Path) -> Option<&Path> {
    let is_index = path.file_name().is_some_and(|name| name.eq_ignore_ascii_case("DICOMDIR")) && path.is_file();
    match is_index {
        true => Some(files::folder_of(path)),
        false => Some(path).filter(|path| path.is_dir() || is_zip(path)),
    }
}

/// The images of the scan in a folder or archive, of which there are two at most.
fn images_within(folder: &Path, options: &StudyOptions, intake: &mut Intake) -> Result<Vec<(Found, usize)>> {
    let search = Search::of(folder, options.any_image, options.max_file_bytes)?;
    let mut found = Vec::new();
    for &scan in &search.scans {
        let (path, bytes) = search.bytes(scan, options.max_file_bytes)?;
        found.extend(images_of(&Cell { path, frame: None }, &bytes, Wanted::Both, options, intake)?);
        if found.len() > 2 {
            let problem = format!("holds {} images, and a study has an anterior and a posterior view", search.scans.len());
            return Err(Error::file(folder, problem, "name the two as A,B"));
        }
    }
    if search.left_out.count() > 0 {
        intake.left_out.push((folder.to_owned(), search.left_out));
    }
    Ok(found)
}

/// Which view each of one or two images is, and what decided it.
fn views_of(found: &[Found], options: &StudyOptions, intake: &mut Intake) -> Result<Vec<(View, Decided)>> {
    let own: Vec<Option<View>> = found.iter().map(Found::view).collect();
    let opposite = |view: View| if view == View::Anterior { View::Posterior } else { View::Anterior };
    let mut views = Vec::with_capacity(found.len());
    for (at, frame) in found.iter().enumerate() {
        let beside = own.get(1 - at.min(1)).copied().flatten().filter(|_| found.len() == 2);
        let flag = options.views.map(|views| beside.map_or(views[at], opposite));
        let source = match &frame.said {
            FrameView::Said(_, source) => Some(*source),
            _ => None,
        };
        views.push(match (own[at], source, flag) {
            (Some(view), Some(source), _) => {
                if let Some(flag) = options.views.map(|views| views[at]).filter(|flag| *flag != view) {
                    let name = frame.cell.path.shown();
                    intake.notes.push(format!(
                        "{name} says itself that it is the {view} view, and --views, which says {flag}, is not needed"
                    ));
                }
                (view, Decided::File(source))
            }
            (_, _, Some(flag)) => (flag, Decided::Flag),
            (_, _, None) => {
                let problem = match &frame.said {
                    FrameView::Contradiction(problem) => problem,
                    // Nobody says that it is one of two.
                    _ if found.len() == 1 => {
                        views.push((View::Anterior, Decided::Assumed));
                        continue;
                    }
                    _ => "does not say which view it is, and the order of frames is no sign of it",
                };
                let remedy = "say it with --views anterior,posterior or --views posterior,anterior";
                return Err(frame.cell.refuse(problem, remedy));
            }
        });
    }
    Ok(views)
}

/// Refuses images of two patients, examinations or dates.
fn refuse_strangers<'a>(found: impl Iterator<Item = &'a Found> + Clone) -> Result<()> {
    let Some((first, header)) = found.clone().find_map(|frame| Some((frame, frame.header.as_deref()?))) else { return Ok(()) };
    for (what, of) in WHOSE {
        let mut others = found.clone();
        let stranger = others.find(|frame| frame.header.as_deref().is_some_and(|other| differ(of(header), of(other))));
        if let Some(stranger) = stranger {
            let problem = format!("and {} are views of two {what}", stranger.cell.path.shown());
            return Err(Error::file(&first.cell.path, problem, "give the views of one examination"));
        }
    }
    Ok(())
}

/// How a row of a manifest is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowOptions {
    /// The row's pictures are black on white.
    pub inverted: bool,
    /// What is no whole-body bone scan is refused. Without it nothing but the pixels and views of the files is looked at, as in a
    /// training whose scans were looked at before its first step.
    pub is_checked: bool,
}

/// Reads a row of a manifest, whose columns say the views. A file whose own view contradicts its column is an error.
///
/// A cell without a frame number means the file's only frame, or the frame that its view gives to the column. A whole file
/// of both views in the anterior column stands for both if there is no posterior cell; one in the posterior column stands for its
/// posterior view.
///
/// # Errors
/// As [`read`].
pub fn read_manifest_row(anterior: Option<&Cell>, posterior: Option<&Cell>, options: RowOptions) -> Result<Study> {
    let mut study = Study::default();
    for (view, frame, _) in views_of_row(anterior, posterior, options, &mut study.intake)? {
        let decided = match &frame.said {
            FrameView::Said(_, source) => Decided::File(*source),
            _ => Decided::Column,
        };
        put(&mut study, view, decided, frame)?;
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
    for (view, frame, of) in views_of_row(anterior, posterior, RowOptions::default(), &mut Intake::default())? {
        let cell = if of > 1 { frame.cell } else { Cell { frame: None, ..frame.cell } };
        cells[usize::from(view == View::Posterior)] = Some(cell);
    }
    Ok(cells)
}

/// The images that a row of a manifest means: view, image, and how many its file has.
fn views_of_row(
    anterior: Option<&Cell>,
    posterior: Option<&Cell>,
    options: RowOptions,
    intake: &mut Intake,
) -> Result<Vec<(View, Found, usize)>> {
    let study_options = StudyOptions { inverted: options.inverted, any_image: !options.is_checked, ..StudyOptions::default() };
    let twice = |cell: &Cell| cell.refuse("the manifest has it under both views", "name an image for each view");
    if let Some(cell) = anterior.filter(|cell| cell.frame.is_some() && Some(*cell) == posterior) {
        return Err(twice(cell));
    }
    let mut views: Vec<(View, Found, usize)> = Vec::with_capacity(2);
    let mut bytes: Option<(&Path, Vec<u8>)> = None;
    for (view, cell) in [(View::Anterior, anterior), (View::Posterior, posterior)] {
        let Some(cell) = cell else { continue };
        if cell.path.is_dir() || is_zip(&cell.path) {
            return Err(cell.refuse(
                "is no file of a scan, and a manifest names files",
                "name the scan's file, as `osteon doctor` shows it",
            ));
        }
        if bytes.as_ref().is_none_or(|(path, _)| *path != cell.path) {
            bytes = Some((&cell.path, files::read_at_most(&cell.path, dicom::MAX_FILE_BYTES)?));
        }
        let (_, bytes) = bytes.as_ref().expect("just read");
        // A whole file of two views, alone in the anterior column, stands for both.
        let both = view == View::Anterior && posterior.is_none();
        let found = images_of(cell, bytes, Wanted::View { view, both }, &study_options, intake)?;
        let is_pair = found.len() == 2;
        for (frame, of) in found {
            let view = if is_pair { frame.view().unwrap_or(view) } else { view };
            if views.iter().any(|(_, other, _)| other.cell == frame.cell) {
                return Err(twice(cell));
            }
            views.push((view, frame, of));
        }
    }
    refuse_strangers(views.iter().map(|(_, frame, _)| frame))?;
    Ok(views)
}

/// Which frames of a file are wanted.
#[derive(Clone, Copy)]
enum Wanted {
    /// All, of which there are two at most.
    Both,
    /// The one of a view. `both`: and the posterior one too, where the file is of these two.
    View { view: View, both: bool },
}

/// The images that a cell means, of its file's bytes, each with how many images the file has.
fn images_of(
    cell: &Cell,
    bytes: &[u8],
    wanted: Wanted,
    options: &StudyOptions,
    intake: &mut Intake,
) -> Result<Vec<(Found, usize)>> {
    let found = if picture::begins_as_picture(bytes) {
        if cell.frame.is_some_and(|frame| frame != 1) {
            return Err(no_such_frame(cell));
        }
        let picture = picture::read_bytes(bytes, &cell.path)?;
        let picture = if options.inverted { picture.inverted() } else { picture };
        let name = cell.path.shown();
        intake.notes.extend(picture.warnings.iter().map(|warning| format!("{name}: {warning}")));
        intake.applied.extend(picture.applied.iter().map(|applied| format!("{name}: {applied}")));
        let cell = Cell { frame: Some(1), ..cell.clone() };
        vec![(Found { cell, image: picture.image, said: FrameView::Unsaid, header: None }, 1)]
    } else {
        let contents = dicom::read_frames(bytes, &cell.path, |header| choose(cell, header, wanted, options))?;
        let name = cell.path.shown();
        intake.notes.extend(contents.header.notes.iter().map(|note| format!("{name}: {note}")));
        intake.applied.extend(contents.applied.iter().map(|applied| format!("{name}: {applied}")));
        let header = Rc::new(contents.header);
        // Of an object that is a picture, the border tells which end of the scale is dark.
        let is_shown_white = header.photometric.as_deref() == Some("MONOCHROME1") && !header.holds_counts();
        let is_bright = is_shown_white && contents.frames.iter().all(|frame| checks::is_inverted(&frame.image));
        let applied = match (options.inverted, is_shown_white, is_bright) {
            (true, ..) => Some("inverted: the greatest value minus that of each pixel"),
            (_, true, true) => Some("MONOCHROME1 and a bright border: the values are turned over"),
            (_, true, false) => Some("MONOCHROME1 and a dark border: the values are the counts"),
            (_, false, _) => None,
        };
        intake.applied.extend(applied.map(|applied| format!("{name}: {applied}")));
        let is_turned = options.inverted || is_bright;
        let found = contents.frames.into_iter().map(|mut frame| {
            if is_turned {
                turn_over(&mut frame.image);
            }
            let said = header.views.get(frame.number - 1).cloned().unwrap_or_default();
            let cell = Cell { path: cell.path.clone(), frame: Some(frame.number) };
            (Found { cell, image: frame.image, said, header: Some(header.clone()) }, header.frames)
        });
        found.collect()
    };
    for (frame, _) in &found {
        let spacing = frame.header.as_ref().and_then(|header| header.spacing_mm);
        if let Some(finding) = checks::finding(&frame.image, spacing).filter(|_| !options.any_image) {
            let (problem, remedy) = match finding {
                checks::Finding::Inverted if options.inverted => (
                    "is white on black, and --inverted turned it over",
                    "leave --inverted out, or the manifest's column inverted",
                ),
                other => (other.problem(), other.remedy()),
            };
            return Err(Error::file(&frame.cell.path, problem, remedy));
        }
        if let (FrameView::Other(what), false) = (&frame.said, options.any_image) {
            let problem = format!("is the view `{what}`, neither anterior nor posterior");
            return Err(frame
                .cell
                .refuse(problem, "give the anterior and the posterior view, or --any-image if it is one of them"));
        }
        // Of two images of a file, each is the view that it says.
        if let (Wanted::View { view, .. }, Some(said), 1) = (wanted, frame.view(), found.len())
            && view != said
        {
            return Err(frame.cell.refuse(
                format!("the file says that it is the {said} view, and the manifest has it under {view}"),
                "put it in the right column",
            ));
        }
    }
    Ok(found)
}

/// Black becomes white: each value is taken from the greatest.
fn turn_over(image: &mut Image) {
    let greatest = image.pixels.iter().copied().fold(f32::MIN, f32::max);
    image.pixels.iter_mut().for_each(|pixel| *pixel = greatest - *pixel);
}

fn no_such_frame(cell: &Cell) -> Error {
    cell.refuse("the file has no such frame", "count frames from 1, as in file.dcm#1")
}

/// The frames of a file that are to be decoded, once its header is known.
fn choose(cell: &Cell, header: &Header, wanted: Wanted, options: &StudyOptions) -> Result<Vec<usize>> {
    if let (Some(other), false) = (kind::other_than_bone_scan(header), options.any_image) {
        let article = if other.starts_with(['a', 'e', 'i', 'o', 'u', 'M', 'X']) { "an" } else { "a" };
        let problem = format!("is {article} {other}, and Osteon judges whole-body bone scans of a gamma camera only");
        return Err(Error::file(&cell.path, problem, "give the whole-body scan, or --any-image where the header is wrong"));
    }
    if let Some(frame) = cell.frame {
        return if frame <= header.frames { Ok(vec![frame]) } else { Err(no_such_frame(cell)) };
    }
    let all: Vec<usize> = (1..=header.frames).collect();
    let has_windows = header.window_of.iter().any(|window| *window != header.window_of[0]);
    let says = |view: View| move |frame: &usize| header.views.get(frame - 1).and_then(FrameView::view) == Some(view);
    match wanted {
        Wanted::Both if all.len() <= 2 && !has_windows => Ok(all),
        Wanted::Both => {
            let problem = match (has_windows, header.windows.len().max(1 + header.window_of.iter().max().unwrap_or(&0))) {
                (true, windows) => {
                    format!("holds {} images in {windows} energy windows, and a study is two of one window", all.len())
                }
                (false, _) => format!("holds {} images, and a study has an anterior and a posterior view", all.len()),
            };
            Err(Error::file(&cell.path, problem, proposal(cell, header)))
        }
        Wanted::View { .. } if all.len() == 1 => Ok(all),
        Wanted::View { view, both } => {
            let matching: Vec<usize> = all.iter().copied().filter(says(view)).collect();
            match (&matching[..], all.len()) {
                ([only], 2) if both && says(View::Posterior)(&(3 - only)) => Ok(vec![*only, 3 - only]),
                ([only], _) => Ok(vec![*only]),
                (several, frames) => {
                    let how_many = if several.is_empty() { "none" } else { "more than one" };
                    let problem = format!("{how_many} of its {frames} frames says that it is the {view} view");
                    let remedy = match has_windows {
                        true => proposal(cell, header),
                        false => "name the frame in the manifest, as in file.dcm#1".to_owned(),
                    };
                    Err(cell.refuse(problem, remedy))
                }
            }
        }
    }
}

/// Names the two frames of a file that are likely to be meant: of the energy window of technetium, where there are several, the first
/// that is anterior and the first that is posterior.
fn proposal(cell: &Cell, header: &Header) -> String {
    const TECHNETIUM_KEV: f64 = 140.5;
    let mut windows = header.windows.iter().enumerate().filter(|(_, window)| window.holds(TECHNETIUM_KEV));
    let several = header.window_of.iter().any(|window| *window != header.window_of[0]);
    let window = windows.next().filter(|_| windows.next().is_none() && several);
    let frames: Vec<usize> =
        (1..=header.frames).filter(|frame| window.is_none_or(|(at, _)| header.window_of.get(frame - 1) == Some(&at))).collect();
    let of = |view| frames.iter().copied().find(|frame| header.views.get(frame - 1).and_then(FrameView::view) == Some(view));
    let pair = match (of(View::Anterior), of(View::Posterior), &frames[..]) {
        (Some(anterior), Some(posterior), _) => vec![anterior, posterior],
        (_, _, [one, other, ..]) => vec![*one, *other],
        (_, _, one) => one.to_vec(),
    };
    // What lies in a ZIP archive has no path that could be given.
    let (unpack, path) = match cell.path.exists() {
        true => ("", cell.path.shown()),
        false => ("unpack the archive and ", cell.path.file_name().unwrap_or_default().shown()),
    };
    let named = pair.iter().map(|frame| format!("{path}#{frame}")).collect::<Vec<_>>().join(",");
    match window {
        Some((_, window)) if window.name.is_empty() => format!("{unpack}name those of the window of 140 keV, {named}"),
        Some((_, window)) => format!("{unpack}name those of the window of 140 keV ({}), {named}", window.name),
        None => format!("{unpack}name the two that are meant, as in {named}"),
    }
}

/// Makes an image its view of the study.
fn put(study: &mut Study, view: View, decided: Decided, frame: Found) -> Result<()> {
    let (slot, other) = match view {
        View::Anterior => (&mut study.anterior, &study.posterior),
        View::Posterior => (&mut study.posterior, &study.anterior),
    };
    if slot.is_some() {
        return Err(frame.cell.refuse(
            format!("is the {view} view, and so is the image before it"),
            "give one of each view, or one alone with --single-view",
        ));
    }
    let Image { rows, columns, .. } = frame.image;
    if let Some(other) = other.as_ref().filter(|other| (other.rows, other.columns) != (rows, columns)) {
        return Err(frame.cell.refuse(
            format!("has {rows}x{columns} pixels, and the other view {}x{}", other.rows, other.columns),
            "give two views of one examination",
        ));
    }
    *slot = Some(frame.image);
    if let Some(header) = &frame.header {
        let intake = &mut study.intake;
        intake.patient = intake.patient.take().or_else(|| header.patient.clone());
        intake.person = intake.person.take().or_else(|| header.person.clone());
        study.pixel_mm = study.pixel_mm.or(header.spacing_mm);
    }
    study.intake.decided[usize::from(view == View::Posterior)] = Some(decided);
    if !study.sources.contains(&frame.cell.path) {
        study.sources.push(frame.cell.path);
    }
    Ok(())
}
