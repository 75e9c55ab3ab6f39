//! What physicians drew on a scan: outlines with codes, in files of LabelMe (JSON) or of the MIT LabelMe (XML); and the text of
//! the diagnostic report.
//!
//! One file describes one view and lies beside its scan: `scan.json` or `scan.xml`, or, with the view in the name,
//! `scan.anterior.json`, which is what a file of two views needs. Files are taken as hostile: sizes and counts are bounded before
//! anything is kept, and what is wrong is one sentence. Picture data and the names of annotators in them are not taken over.
//!
//! [`codes`] says what labels mean, [`mask`] which pixels an outline covers; [`lesions`] measures what is there.

mod bitmap;
pub mod codes;
mod labelme;
pub mod lesions;
pub mod mask;
mod mit;

pub use bitmap::Bitmap;
pub use codes::{Code, CodeKind, Codes};
pub use mask::Mask;

use crate::archive::manifest::Row;
use crate::image::{Image, Size, View};
use crate::intake::Study;
use crate::intake::study::Cell;
use crate::text::{Shown, counted};
use crate::{Error, Result, files};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// A larger file is no annotation, with the picture inside it neither.
const MAX_BYTES: u64 = 32 << 20;
/// Outlines of a file.
pub const MAX_OUTLINES: usize = 10_000;
/// Corners of a polygon.
pub const MAX_CORNERS: usize = 10_000;
/// Corners of all polygons of a file: a scan with a hundred carefully drawn lesions has 5,000.
pub const MAX_ALL_CORNERS: usize = 100_000;
/// Rows that the sides of all outlines of a file cross, which bounds the work of filling them: a hundred lesions have 10,000.
const MAX_ROWS_CROSSED: usize = 4_000_000;
/// Pixels of all outlines of a file together.
const MAX_PIXELS: usize = 100_000_000;
/// Sides of pixels around a bitmap that becomes polygons: a lesion has hundreds.
const MAX_SIDES: usize = 1_000_000;
/// A point so far outside the picture was meant to be on its edge: programs that draw count pixels by their centres or their corners.
const MAX_OUTSIDE_PX: f64 = 1.0;
/// Flags of a file or an outline.
const MAX_FLAGS: usize = 1_000;
/// A larger text is no diagnostic report.
const MAX_REPORT_BYTES: u64 = 1 << 20;

/// A point of a picture: x to the right, y down, in pixels. Pixel (row, column) is the square from (column, row) to
/// (column + 1, row + 1).
pub type Point = [f64; 2];

/// Yes-or-no remarks, by name.
pub type Flags = BTreeMap<String, bool>;

/// The outlines of one view.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotation {
    /// The file name of the picture that was drawn on.
    pub image: String,
    /// The picture's size, where the file says it.
    pub size: Option<Size>,
    /// Of the whole picture.
    pub flags: Flags,
    /// In the order of the file.
    pub outlines: Vec<Outline>,
}

/// One outline.
#[derive(Clone, Debug, PartialEq)]
pub struct Outline {
    /// Codes of what it is, as [`Codes::finding`] reads them: `disease/region`.
    pub label: String,
    /// Where it is.
    pub form: Form,
    /// Outlines of one label and group are one lesion, also when they are of different views.
    pub group: Option<u32>,
    /// A remark.
    pub description: String,
    /// More remarks.
    pub flags: Flags,
}

impl Outline {
    /// An outline of no group and without remarks.
    pub fn new(label: impl Into<String>, form: Form) -> Self {
        Outline { label: label.into(), form, group: None, description: String::new(), flags: Flags::new() }
    }
}

/// The geometry of an outline.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// The corners, the last joined to the first.
    Polygon(Vec<Point>),
    /// Two opposite corners of an upright box.
    Rectangle([Point; 2]),
    /// Centre, and a point of the rim.
    Circle([Point; 2]),
    /// A spot.
    Point([Point; 1]),
    /// Pixels.
    Mask(Bitmap),
}

impl Form {
    /// The kinds of LabelMe that are read.
    const KINDS: [&str; 5] = ["polygon", "rectangle", "circle", "point", "mask"];

    /// The points that it is made of; of pixels the first and the last of their box.
    pub fn points(&self) -> &[Point] {
        match self {
            Form::Polygon(corners) => corners,
            Form::Rectangle(points) | Form::Circle(points) => points,
            Form::Point(point) => point,
            Form::Mask(bitmap) => &bitmap.corners,
        }
    }

    /// LabelMe's name of the kind.
    fn name(&self) -> &'static str {
        match self {
            Form::Polygon(_) => "polygon",
            Form::Rectangle(_) => "rectangle",
            Form::Circle(_) => "circle",
            Form::Point(_) => "point",
            Form::Mask(_) => "mask",
        }
    }

    /// The form of a kind and its points; an upright box may have two corners or four.
    fn of(kind: &str, points: Vec<Point>) -> Result<Form, String> {
        if points.iter().flatten().any(|value| !value.is_finite()) {
            return Err("has a coordinate that is no finite number".to_owned());
        }
        let number = points.len();
        let wrong = |wanted: &str| Err(format!("is a {kind} of {}, and it takes {wanted}", counted(number, "point")));
        match (kind, points.as_slice()) {
            ("polygon", [_, _, _, ..]) => Ok(Form::Polygon(points)),
            ("polygon", _) => wrong("3 or more"),
            ("rectangle", &[a, b]) => Ok(Form::Rectangle([a, b])),
            ("rectangle", &[a, b, c, d]) if is_upright([a, b, c, d]) => Ok(Form::Rectangle([a, c])),
            ("rectangle", _) => wrong("two opposite corners"),
            ("circle", &[centre, rim]) => Ok(Form::Circle([centre, rim])),
            ("circle", _) => wrong("its centre and a point of its rim"),
            ("point", &[point]) => Ok(Form::Point([point])),
            ("point", _) => wrong("one"),
            _ => Err(format!("is a `{kind}`, and Osteon reads {}", Form::KINDS.join(", "))),
        }
    }

    /// What is wrong with it, whatever the picture.
    fn degenerate(&self) -> Option<&'static str> {
        match self {
            Form::Rectangle([a, b]) if a[0] == b[0] || a[1] == b[1] => Some("is a box of zero size"),
            Form::Circle([centre, rim]) if centre == rim => Some("is a circle of zero size"),
            _ => None,
        }
    }

    /// Where it reaches furthest out of a picture, and by how many pixels; `None` where it is all inside. A spot on the right or lower
    /// edge is in no pixel of the picture, and so outside by nothing.
    fn outside(&self, size: Size) -> Option<(Point, f64)> {
        let points = match self {
            Form::Mask(Bitmap { corners: [first, last], .. }) => vec![*first, last.map(|at| at + 1.0)],
            other => other.points().to_vec(),
        };
        let (width, height) = (size.columns as f64, size.rows as f64);
        let beyond = |point: Point| (point, (-point[0]).max(point[0] - width).max(-point[1]).max(point[1] - height));
        let furthest = points.into_iter().map(beyond).max_by(|a, b| a.1.total_cmp(&b.1));
        furthest.filter(|(_, distance)| *distance > 0.0 || matches!(self, Form::Point(_)) && Mask::of(self, size).is_empty())
    }
}

/// Whether four corners, in order, are those of a box with upright sides.
fn is_upright([a, b, c, d]: [Point; 4]) -> bool {
    let across = a[1] == b[1] && b[0] == c[0] && c[1] == d[1] && d[0] == a[0];
    let down = a[0] == b[0] && b[1] == c[1] && c[0] == d[0] && d[1] == a[1];
    across || down
}

/// The formats, by the extension of a file's name.
#[derive(Clone, Copy)]
enum Format {
    Json,
    Xml,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
        match extension.as_ref().and_then(|extension| extension.to_str()) {
            Some("json") => Ok(Format::Json),
            Some("xml") => Ok(Format::Xml),
            _ => {
                Err(Error::file(path, "is named neither .json nor .xml", "name LabelMe's files .json and the MIT LabelMe's .xml"))
            }
        }
    }
}

impl Annotation {
    /// Reads a file of LabelMe (`.json`) or of the MIT LabelMe (`.xml`).
    ///
    /// # Errors
    /// One sentence: a file that cannot be read or is too large, another format, an outline of an unknown kind or with points
    /// that make no such outline, too many of anything. Codes and the picture are [`Annotation::check`]'s.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let format = Format::of(path)?;
        Annotation::parse(path, &files::read_at_most(path, MAX_BYTES)?, format)
    }

    /// The annotation that a file of these bytes at `path` holds.
    ///
    /// # Errors
    /// As [`Annotation::read`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        Annotation::parse(path.as_ref(), bytes, Format::of(path.as_ref())?)
    }

    fn parse(path: &Path, bytes: &[u8], format: Format) -> Result<Self> {
        let annotation = match format {
            Format::Json => labelme::read(path, bytes)?,
            Format::Xml => mit::read(path, bytes)?,
        };
        let corners: usize = annotation.outlines.iter().map(|outline| outline.form.points().len()).sum();
        if corners > MAX_ALL_CORNERS {
            let problem = format!("has {corners} corners, and an annotation has at most {MAX_ALL_CORNERS}");
            return Err(Error::file(path, problem, "draw simpler polygons"));
        }
        Ok(annotation)
    }

    /// The bytes of the file `path`, in the format that its name says. XML has no circle (it becomes a polygon of 64 corners), no
    /// bitmap (it becomes polygons of the same pixels, a piece each) and no flags.
    ///
    /// # Errors
    /// Another extension; a bitmap that XML cannot hold.
    pub fn to_bytes(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        Ok(match Format::of(path.as_ref())? {
            Format::Json => labelme::write(self),
            Format::Xml => mit::write(&self.with_polygons(path.as_ref())?),
        })
    }

    /// Writes it to a file, as [`Annotation::to_bytes`] says.
    ///
    /// # Errors
    /// Another extension, or the operating system's.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        files::write(&path, &self.to_bytes(&path)?)
    }

    /// The pixels that each outline covers, if every label is of codes in the table and every outline covers some. The picture's
    /// size is `picture`, or, without it, what the file says; without either no pixels are known, and each mask is empty. What reaches
    /// up to a pixel out of the picture is cut off there, of a bitmap as much as there is, with a note.
    ///
    /// # Errors
    /// The first outline that fails, with what is wrong: a code that the table does not know, a point further outside the picture, a
    /// box or circle of zero size, a form that covers no pixel's centre.
    pub fn check(&self, path: &Path, picture: Option<Size>, codes: &Codes) -> Result<Checked> {
        if let (Some(said), Some(size)) = (self.size, picture)
            && said != size
        {
            let problem = format!("was drawn on a picture of {said} pixels (rows x columns), and the scan has {size}");
            return Err(Error::file(path, problem, "draw it on the scan in its own size"));
        }
        let size = picture.or(self.size);
        let (mut rows, mut pixels, mut notes) = (0, 0, Vec::new());
        let check = |(index, outline): (usize, &Outline)| {
            let named = format!("outline {} ({})", index + 1, short(&outline.label));
            let refuse = |problem: String, remedy: String| Err(Error::file(path, format!("{named} {problem}"), remedy));
            let again = || "draw it again, or remove it".to_owned();
            if let Err(unknown) = codes.finding(&outline.label) {
                return refuse(unknown.problem, unknown.remedy);
            }
            if let Some(problem) = outline.form.degenerate() {
                return refuse(problem.to_owned(), again());
            }
            let Some(size) = size else { return Ok(Mask::default()) };
            rows += mask::rows_crossed(&outline.form, size);
            if rows > MAX_ROWS_CROSSED {
                return refuse("and those before it go up and down more often than a hand does".to_owned(), again());
            }
            let mut mask = Mask::of(&outline.form, size);
            if let Some(([x, y], distance)) = outline.form.outside(size) {
                let reaches = format!("reaches x {x}, y {y}, outside the picture of {size} pixels (rows x columns)");
                match &outline.form {
                    Form::Mask(bitmap) if mask.is_empty() && !bitmap.mask.is_empty() => return refuse(reaches, again()),
                    Form::Mask(_) => {}
                    _ if distance > MAX_OUTSIDE_PX => return refuse(reaches, again()),
                    // The nearest pixel of the picture.
                    Form::Point([[x, y]]) => {
                        let nearest = |at: f64, side: usize| (at.max(0.0) as usize).min(side - 1) as u32;
                        mask = Mask::from_runs([[nearest(*y, size.rows), nearest(*x, size.columns), 1]]);
                    }
                    _ => {}
                }
                notes.push(format!("{}: {named} {reaches}, and is cut off at its edge", path.shown()));
            }
            pixels += mask.area();
            match mask.is_empty() {
                _ if pixels > MAX_PIXELS => refuse("and those before it cover the picture too often".to_owned(), again()),
                true => refuse("covers no pixel's centre".to_owned(), "draw it larger, or mark a point".to_owned()),
                false => Ok(mask),
            }
        };
        let masks = self.outlines.iter().enumerate().map(check).collect::<Result<_>>()?;
        Ok(Checked { masks, notes })
    }

    /// The same for a format that has no bitmaps: polygons along the sides of their pixels, those of one bitmap in one group.
    ///
    /// # Errors
    /// A bitmap that takes more corners than an annotation may have, or has no pixel in the picture; `path` is named.
    fn with_polygons(&self, path: &Path) -> Result<Annotation> {
        let size = self.size.unwrap_or(Size { rows: Size::MAX_SIDE, columns: Size::MAX_SIDE });
        let mut free =
            self.outlines.iter().filter_map(|outline| outline.group).max().map_or(Some(1), |group| group.checked_add(1));
        let (mut outlines, mut corners) =
            (Vec::new(), self.outlines.iter().map(|outline| outline.form.points().len()).sum::<usize>());
        for (index, outline) in self.outlines.iter().enumerate() {
            let Form::Mask(bitmap) = &outline.form else {
                outlines.push(outline.clone());
                continue;
            };
            let refuse = |problem: &str, remedy: &str| {
                let problem = format!("cannot hold outline {} ({}), which {problem}", index + 1, short(&outline.label));
                Err(Error::file(path, problem, remedy))
            };
            let mask = Mask::of(&outline.form, size);
            let is_small = bitmap.mask.runs().len() <= MAX_ALL_CORNERS && mask.sides() <= MAX_SIDES;
            let polygons = if is_small { mask.polygons() } else { Vec::new() };
            corners += polygons.iter().map(Vec::len).sum::<usize>();
            let is_many = corners > MAX_ALL_CORNERS || outlines.len() + polygons.len() > MAX_OUTLINES;
            if !is_small || is_many || polygons.iter().any(|polygon| polygon.len() > MAX_CORNERS) {
                return refuse("has too many corners for polygons", "write .json, which has masks");
            }
            if polygons.is_empty() {
                return refuse("has no pixel in the picture", "remove it from the file that it is in");
            }
            let group = outline.group.or(free.filter(|_| polygons.len() > 1));
            if outline.group.is_none() && polygons.len() > 1 {
                free = free.and_then(|group| group.checked_add(1));
            }
            outlines.extend(polygons.into_iter().map(|corners| Outline {
                form: Form::Polygon(corners),
                group,
                ..outline.clone()
            }));
        }
        Ok(Annotation { outlines, ..self.clone() })
    }
}

/// An annotation that fits its codes and its picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// The pixels of each outline, in the order of the file.
    pub masks: Vec<Mask>,
    /// What was cut off, a sentence an outline that names the file.
    pub notes: Vec<String>,
}

/// A label for a message.
fn short(label: &str) -> String {
    const MOST: usize = 60;
    match label.chars().count() > MOST {
        true => label.chars().take(MOST).chain(['\u{2026}']).collect(),
        false => label.to_owned(),
    }
}

/// A file of outlines beside a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The file.
    pub path: PathBuf,
    /// The view that it is of; `None` where the scan's file may hold both and the name does not say.
    pub view: Option<View>,
}

impl Beside {
    /// The view that it is of, and its image in the study.
    ///
    /// # Errors
    /// The study lacks the view, or has both and the file's name does not say which.
    pub fn image<'a>(&self, study: &'a Study) -> Result<(View, &'a Image)> {
        let view = match (self.view, &study.anterior, &study.posterior) {
            (Some(view), ..) => view,
            (None, Some(_), Some(_)) => {
                let extension = self.path.extension().unwrap_or_default().shown();
                let remedy = format!("end its name with .anterior.{extension} or .posterior.{extension}");
                return Err(Error::file(&self.path, "lies beside a scan of both views and does not say which it is of", remedy));
            }
            (None, Some(_), None) => View::Anterior,
            (None, None, _) => View::Posterior,
        };
        let image = if view == View::Anterior { &study.anterior } else { &study.posterior };
        let missing = || format!("is of the {view} view, which the study lacks");
        let image = image.as_ref().ok_or_else(|| Error::file(&self.path, missing(), "correct its name, or add the view"))?;
        Ok((view, image))
    }
}

/// The annotations beside a study's scans: for `a/scan.dcm` the files `a/scan.anterior.json` and `a/scan.posterior.json`, or,
/// where the scan's file is of one view only, `a/scan.json`; `.xml` as well as `.json`.
///
/// # Errors
/// Two for one view.
pub fn beside(row: &Row) -> Result<Vec<Beside>> {
    let cells: [Option<&Cell>; 2] = [Option::from(&row.anterior), Option::from(&row.posterior)];
    let views = [View::Anterior, View::Posterior];
    let shared = match cells {
        [Some(one), Some(two)] => one.path == two.path,
        [one, _] => one.is_some(),
    };
    let mut found = Vec::new();
    for (view, cell) in views.into_iter().zip(cells) {
        let Some(scan) = cell.or(cells[0]).map(|cell| &cell.path) else { continue };
        let stem = stem(scan);
        let mut names = vec![(Some(view), format!("{stem}.{view}"))];
        match (shared, view) {
            (false, _) => names.push((Some(view), stem)),
            (true, View::Anterior) => names.push((None, stem)),
            _ => {}
        }
        for (view, name) in names {
            for extension in ["json", "xml"] {
                let path = scan.with_file_name(format!("{name}.{extension}"));
                if path.is_file() {
                    found.push(Beside { path, view });
                }
            }
        }
    }
    for view in [Some(View::Anterior), Some(View::Posterior), None] {
        let mut of_view = found.iter().filter(|beside| beside.view == view);
        if let (Some(one), Some(two)) = (of_view.next(), of_view.next()) {
            let problem = format!("is of the same view as {}", one.path.shown());
            return Err(Error::file(&two.path, problem, "keep one of them"));
        }
    }
    Ok(found)
}

/// A scan's file name without the extension of its format: what a UID ends with is none.
fn stem(scan: &Path) -> String {
    let known =
        |extension: &str| ["dcm", "dicom", "ima", "png", "jpg", "jpeg"].contains(&extension.to_ascii_lowercase().as_str());
    let part = match scan.extension().and_then(|extension| extension.to_str()) {
        Some(extension) if known(extension) => scan.file_stem(),
        _ => scan.file_name(),
    };
    part.unwrap_or_default().to_string_lossy().into_owned()
}

/// The text of the diagnostic report of each study, where there is one: the manifest's, `scan.report.txt` beside a scan
/// `scan.dcm`, or `report.txt` in a folder that holds the scans of one patient only.
///
/// # Errors
/// A report that cannot be read or has more than 1 MB, a `report.txt` in a folder with the scans of more than one patient.
pub fn reports(rows: &[Row]) -> Result<Vec<Option<String>>> {
    let folder = |path: &Path| path.parent().unwrap_or(Path::new("")).to_owned();
    let mut patients: HashMap<PathBuf, HashSet<&str>> = HashMap::new();
    for row in rows {
        for file in row.files() {
            patients.entry(folder(file)).or_default().insert(&row.patient);
        }
    }
    let of_row = |row: &Row| {
        if row.report.is_some() {
            return Ok(row.report.clone());
        }
        let own = row.files().map(|scan| scan.with_file_name(format!("{}.report.txt", stem(scan)))).find(|path| path.is_file());
        if let Some(path) = own {
            return read_report(&path).map(Some);
        }
        let Some(path) = row.files().map(|scan| scan.with_file_name("report.txt")).find(|path| path.is_file()) else {
            return Ok(None);
        };
        if patients.get(&folder(&path)).is_some_and(|patients| patients.len() > 1) {
            let problem = "lies beside the scans of more than one patient";
            return Err(Error::file(path, problem, "give each patient a folder, or name it SCAN.report.txt after the scan"));
        }
        read_report(&path).map(Some)
    };
    rows.iter().map(of_row).collect()
}

fn read_report(path: &Path) -> Result<String> {
    let bytes = files::read_at_most(path, MAX_REPORT_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| Error::file(path, "is not UTF-8 text", "save it as UTF-8"))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).trim().to_owned())
}

#[cfg(test)]
mod tests;
