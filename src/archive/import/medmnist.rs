//! MedMNIST: a ZIP archive of NumPy arrays, `train_images.npy`, `train_labels.npy` and the same of `val` and `test`, to grey pictures and
//! a manifest (Yang et al., Scientific Data 10:41, 2023).
//!
//! One picture at a time is in memory, and what an array says of its size is believed only where its file is as long as that.

use super::super::side::Side;
use crate::archive::manifest::{Manifest, Row};
use crate::files::{self, Output, Staging};
use crate::intake::container::{Container, Entry, is_zip};
use crate::intake::picture;
use crate::intake::study::Cell;
use crate::text::{Shown, counted};
use crate::{Error, Result, interrupt};
use std::collections::{BTreeSet, HashMap};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// What an import leaves in its folder: the table, and a folder of pictures a side.
pub const MEDMNIST_FILES: [&str; 4] = ["manifest.csv", "train", "validation", "test"];

/// More pictures than any of the sets has; the largest has 236386.
const MOST_PICTURES: usize = 400_000;
/// The longest side of a picture; the sets' are 28 to 224.
const MOST_SIDE: usize = 1024;
/// Bytes of one array: a quarter more than the largest of the sets has.
const MOST_BYTES: u64 = 16 << 30;
/// Labels are numbers below this: so many classes can a model have.
const MOST_CLASSES: u64 = 1000;

/// The arrays' names by side, those that keep all of their pictures first.
const SIDES: [(Side, &str); 3] = [(Side::Test, "test"), (Side::Validation, "val"), (Side::Train, "train")];

/// What was imported.
#[derive(Clone, Debug)]
pub struct Pictures {
    /// The table, written.
    pub manifest: Manifest,
    /// Rows and columns of every picture.
    pub size: [usize; 2],
    /// Training and validation pictures that were left out, for another side has the same.
    pub left_out: usize,
}

/// Writes the pictures of a MedMNIST file as 8-bit PNG into the folder of `output`, a folder a side, and `manifest.csv`, which keeps the
/// sides: all of it or nothing. Each picture is a patient and an anterior view; the same picture twice on one side is one patient's, and
/// one that several sides have stays on the test side, or else on the validation side. `watch` is called with how many of how many
/// pictures are done.
///
/// # Errors
/// One sentence: no such file; an array that is missing, damaged, too large, or not what it says; colour, volumes, or several labels a
/// picture; one class.
pub fn medmnist(file: &Path, output: Output, watch: &dyn Fn(usize, usize)) -> Result<Pictures> {
    let path = output.path().join(MEDMNIST_FILES[0]);
    let archive = Archive::open(file)?;
    let sides = SIDES.map(|(side, name)| Ok::<_, Error>((side, archive.side(name)?)));
    let [test, validation, train] = sides;
    let sides = [test?, validation?, train?];
    let size = sides[0].1.size;
    if let Some((side, other)) = sides.iter().find(|(_, other)| other.size != size) {
        let [[rows, columns], [others, wide]] = [size, other.size];
        let problem = format!("has pictures of {rows}x{columns} and, for {}, of {others}x{wide} pixels", side.name());
        return Err(Error::file(file, problem, DOWNLOAD));
    }
    let total = sides.iter().map(|(_, side)| side.labels.len()).sum();
    if total > MOST_PICTURES {
        let problem = format!("has {total} pictures, and at most {MOST_PICTURES} are imported");
        return Err(Error::file(file, problem, "give a smaller set"));
    }
    let classes: BTreeSet<u64> = sides.iter().flat_map(|(_, side)| side.labels.iter().copied()).collect();
    if classes.len() < 2 {
        return Err(Error::file(file, "has one class, which leaves nothing to tell apart", "give a set with two or more"));
    }
    // In the order of their numbers also where names are sorted.
    let digits = classes.last().map_or(1, |last| last.to_string().len());

    let staging = Staging::new(output)?;
    let mut rows: Vec<Vec<Row>> = Vec::new();
    let mut seen: HashMap<String, (Side, String)> = HashMap::new();
    let (mut left_out, mut done) = (0, 0);
    for (side, arrays) in &sides {
        staging.create_folder(side.name())?;
        let mut pixels = vec![0; size[0] * size[1]];
        let mut reader = arrays.images.open(&archive)?;
        let mut of_side = Vec::new();
        for (at, label) in arrays.labels.iter().enumerate() {
            interrupt::check()?;
            reader.read_exact(&mut pixels).map_err(|_| arrays.images.damaged(&archive))?;
            done += 1;
            watch(done, total);
            let number = format!("{:05}", at + 1);
            let (first_side, patient) =
                seen.entry(files::sha256(&pixels)).or_insert_with(|| (*side, format!("{}-{number}", side.name()))).clone();
            if first_side != *side {
                left_out += 1;
                continue;
            }
            let name = format!("{}/{number}.png", side.name());
            staging.write(&name, &picture::encode_gray8(size[0], size[1], &pixels)?)?;
            let view = Cell { path: staging.target(&name), frame: None };
            let label = format!("class-{label:0digits$}");
            of_side.push(Row { side: Some(*side), ..Row::new(&patient, Some(view), None, &label) });
        }
        // The checksum is compared at the end.
        let rest = reader.read(&mut [0]).map_err(|_| arrays.images.damaged(&archive))?;
        if rest > 0 {
            return Err(arrays.images.damaged(&archive));
        }
        rows.push(of_side);
    }
    let manifest = Manifest::new(&path, rows.into_iter().rev().flatten().collect())?;
    staging.write(MEDMNIST_FILES[0], &manifest.to_csv()?)?;
    staging.commit(MEDMNIST_FILES[0])?;
    Ok(Pictures { manifest, size, left_out })
}

/// What to do about a file that is none of MedMNIST's.
const DOWNLOAD: &str = "give a file of MedMNIST such as breastmnist.npz, downloaded anew";

struct Archive {
    path: PathBuf,
    container: Container,
}

/// The pictures and labels of one side.
struct Arrays {
    images: Array,
    size: [usize; 2],
    labels: Vec<u64>,
}

/// A NumPy array in the archive.
struct Array {
    /// Its entry among the container's.
    entry: usize,
    header: Header,
}

/// What a NumPy file says before its values.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    /// Type of the values: `|u1` are bytes.
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
    /// Bytes before the values.
    length: u64,
}

impl Archive {
    fn open(path: &Path) -> Result<Self> {
        if !path.is_file() || !is_zip(path) {
            // A file that is not there has its own sentence.
            files::open_at_most(path, u64::MAX)?;
            return Err(Error::file(path, "is no .npz file, which is a ZIP archive of NumPy arrays", DOWNLOAD));
        }
        Ok(Archive { path: path.to_owned(), container: Container::open(path)? })
    }

    fn refuse<T>(&self, name: &str, problem: &str, remedy: &str) -> Result<T> {
        Err(Error::file(&self.path, format!("has an array {name} that {problem}"), remedy))
    }

    /// Reads the header of the array `name`, which must be as long as its shape says.
    fn array(&self, name: &str) -> Result<Array> {
        let file = format!("{name}.npy");
        let Some(entry) = self.container.files.iter().position(|entry| entry.name == Path::new(&file)) else {
            return Err(Error::file(&self.path, format!("has no array {name}"), DOWNLOAD));
        };
        let (mut reader, length) = self.container.read(&self.container.files[entry], MOST_BYTES)?;
        let header = match Header::read(&mut reader) {
            Ok(header) => header,
            Err(problem) => return self.refuse(name, &problem, DOWNLOAD),
        };
        let width = header.descr.get(2..).and_then(|width| width.parse::<u64>().ok());
        let values = header.shape.iter().try_fold(1_u64, |values, side| values.checked_mul(*side as u64));
        let needed = values.zip(width).and_then(|(values, width)| values.checked_mul(width)?.checked_add(header.length));
        match needed {
            _ if header.fortran_order && header.shape.iter().filter(|side| **side > 1).count() > 1 => {
                self.refuse(name, "is stored column by column", "save it in C order")
            }
            Some(needed) if needed == length => Ok(Array { entry, header }),
            _ => self.refuse(name, "is not as long as its header says", DOWNLOAD),
        }
    }

    fn side(&self, side: &str) -> Result<Arrays> {
        let [images, labels] = ["images", "labels"].map(|what| format!("{side}_{what}"));
        let array = self.array(&images)?;
        let size = match array.header.shape[..] {
            _ if array.header.descr != "|u1" => {
                let problem = format!("holds values of the type {} instead of bytes", array.header.descr.shown());
                return self.refuse(&images, &problem, "save the pictures as uint8");
            }
            [0, ..] => return self.refuse(&images, "holds no picture", DOWNLOAD),
            [_, rows, columns] if (1..=MOST_SIDE).contains(&rows) && (1..=MOST_SIDE).contains(&columns) => [rows, columns],
            [_, rows, columns] => {
                let problem = format!("holds pictures of {rows}x{columns} pixels");
                return self.refuse(&images, &problem, "give one with sides from 1 to 1024");
            }
            [_, _, _, 3] => return self.refuse(&images, "holds colour pictures", "give a grey set: Osteon reads one channel"),
            [_, _, _, _] => return self.refuse(&images, "holds volumes", "give a set of flat pictures"),
            _ => return self.refuse(&images, "holds no pictures (its shape is not N x rows x columns)", DOWNLOAD),
        };
        let labels = self.labels(&labels, array.header.shape[0])?;
        Ok(Arrays { images: array, size, labels })
    }

    /// A label a picture.
    fn labels(&self, name: &str, pictures: usize) -> Result<Vec<u64>> {
        let array = self.array(name)?;
        match array.header.shape[..] {
            [count] | [count, 1] if count != pictures => {
                let problem = format!("has {} for {}", counted(count, "label"), counted(pictures, "picture"));
                return self.refuse(name, &problem, DOWNLOAD);
            }
            [_] | [_, 1] => {}
            [_, _] => return self.refuse(name, "has several labels for each picture", "give a set with one label a picture"),
            _ => return self.refuse(name, "holds no labels (its shape is not N x 1)", DOWNLOAD),
        }
        let width = match &*array.header.descr {
            "|u1" | "|i1" => 1,
            "<u2" | "<i2" => 2,
            "<u4" | "<i4" => 4,
            "<u8" | "<i8" => 8,
            _ => return self.refuse(name, "holds values that are no whole numbers", "save the labels as uint8"),
        };
        if pictures > MOST_PICTURES {
            let problem = format!("has {pictures} labels, and at most {MOST_PICTURES} pictures are imported");
            return self.refuse(name, &problem, "give a smaller set");
        }
        let mut bytes = vec![0; pictures * width];
        let mut reader = array.open(self)?;
        reader.read_exact(&mut bytes).map_err(|_| array.damaged(self))?;
        reader.read(&mut [0]).map_err(|_| array.damaged(self))?;
        let is_signed = array.header.descr.contains('i');
        let label = |bytes: &[u8]| {
            let value = bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
            let is_negative = is_signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
            Some(value).filter(|value| !is_negative && *value < MOST_CLASSES)
        };
        match bytes.chunks_exact(width).map(label).collect() {
            Some(labels) => Ok(labels),
            None => self.refuse(name, "has a label that is not from 0 to 999", "number the classes from 0"),
        }
    }
}

impl Array {
    fn file<'a>(&self, archive: &'a Archive) -> &'a Entry {
        &archive.container.files[self.entry]
    }

    /// Its values, from the first.
    fn open<'a>(&self, archive: &'a Archive) -> Result<BufReader<Box<dyn Read + 'a>>> {
        let (reader, _) = archive.container.read(self.file(archive), MOST_BYTES)?;
        let mut reader = BufReader::new(reader);
        let mut header = vec![0; self.header.length as usize];
        reader.read_exact(&mut header).map_err(|_| self.damaged(archive))?;
        Ok(reader)
    }

    fn damaged(&self, archive: &Archive) -> Error {
        let path = archive.container.path_of(self.file(archive));
        Error::file(&path, "is cut short or damaged within its ZIP archive", "download the archive again")
    }
}

impl Header {
    /// A dictionary of three entries is shorter.
    const MOST: usize = 1 << 14;

    /// Reads `\x93NUMPY`, the version, the length, and the dictionary (NumPy Enhancement Proposal 1). The error is what the array does.
    fn read(reader: &mut impl Read) -> Result<Header, String> {
        let mut bytes = |count: usize| -> Result<Vec<u8>, String> {
            let mut bytes = vec![0; count];
            reader.read_exact(&mut bytes).map_err(|_| "ends within its header".to_owned())?;
            Ok(bytes)
        };
        let start = bytes(8)?;
        if !start.starts_with(b"\x93NUMPY") {
            return Err("does not begin as a NumPy file".to_owned());
        }
        let width = match start[6] {
            1 => 2,
            2 | 3 => 4,
            version => return Err(format!("has version {version} of NumPy's format, and 1 to 3 are read")),
        };
        let length = bytes(width)?.iter().rev().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
        if length > Self::MOST {
            return Err(format!("has a header of {length} bytes, more than any array needs"));
        }
        let text = bytes(length)?;
        let text = std::str::from_utf8(&text).map_err(|_| "has a header that is no text".to_owned())?;
        let unread = || "has a header that cannot be read".to_owned();
        let (descr, fortran_order, shape) = dictionary(text).ok_or_else(unread)?;
        Ok(Header { descr, fortran_order, shape, length: (8 + width + length) as u64 })
    }
}

/// `{'descr': '|u1', 'fortran_order': False, 'shape': (546, 28, 28), }`, the entries in any order, each once.
fn dictionary(text: &str) -> Option<(String, bool, Vec<usize>)> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim_start();
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, behind) = quoted(rest)?;
        let value = behind.trim_start().strip_prefix(':')?.trim_start();
        let twice;
        (twice, rest) = match key {
            "descr" => {
                let (name, behind) = quoted(value)?;
                (descr.replace(name.to_owned()).is_some(), behind)
            }
            "fortran_order" => match value.strip_prefix("False") {
                Some(behind) => (fortran_order.replace(false).is_some(), behind),
                None => (fortran_order.replace(true).is_some(), value.strip_prefix("True")?),
            },
            "shape" => {
                let (sides, behind) = value.strip_prefix('(')?.split_once(')')?;
                let sides = sides.trim().trim_end_matches(',');
                let sides = sides.split(',').filter(|_| !sides.is_empty()).map(|side| side.trim().parse().ok());
                (shape.replace(sides.collect::<Option<Vec<usize>>>()?).is_some(), behind)
            }
            _ => return None,
        };
        rest = rest.trim_start();
        if twice || !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some((descr?, fortran_order?, shape?))
}

/// The text between quotes at the start, and what is behind them.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    text[1..].split_once(quote)
}

#[cfg(test)]
mod tests;
