//! DICOM files to frames of counts, and which view each frame is; and counts to NM files.
//!
//! Archives hold what cameras, converters and anonymisers left, so a file is believed only where its parts fit each other, and
//! what is wrong becomes one sentence. No patient's data is kept or printed: what is not needed for pixels and views is not read.

mod dataset;
mod header;
mod person;
mod pixels;
mod views;
mod write;

pub use header::{EnergyWindow, FrameView, Header, ViewSource};
pub use person::{Person, Sex, read_person};
pub use write::{NmHeader, encode_nm, write_nm};

use crate::image::{Image, View};
use crate::memory::where_it_may_fail;
use crate::{Error, Result, files};
use dataset::{Damage, DataSet, Element};
use dicom_core::Tag;
use dicom_dictionary_std::uids;
use flate2::bufread::DeflateDecoder;
use header::{Attributes, End};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A larger file is no planar scan.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// More rows or columns are no planar scan.
const MAX_SIDE: usize = 16384;

/// More frames are a tomographic or dynamic series, no planar scan.
const MAX_FRAMES: usize = 64;

/// Of all frames together: two views of 4096x1024. They are 16 MB as words and 32 MB as `f32`, so that a file of
/// [`MAX_FILE_BYTES`] with all the copies that inflating and the codecs make stays below 512 MB.
pub(super) const MAX_PIXELS: usize = 2 * 4096 * 1024;

/// Deflated data may become this: four times what the largest scan needs.
const MAX_INFLATED: usize = 4 * MAX_PIXELS * size_of::<u16>();

/// No bytes deflate to less than this part of themselves (zlib's technical details: 1032:1).
const MAX_DEFLATE_RATIO: usize = 1032;

/// One frame of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Its number in the file, from 1.
    pub number: usize,
    /// Its counts, after the rescale of the file.
    pub image: Image,
    /// What the file says it shows. `None` where it says nothing, another view or two things at once; the order of frames says nothing.
    pub view: Option<View>,
}

/// Everything that Osteon takes from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// What the file says of its object.
    pub header: Header,
    /// At least one, all of one size: those that were asked for.
    pub frames: Vec<Frame>,
    /// What was done with the stored values, or left undone, to make counts of them, in sentences.
    pub applied: Vec<String>,
}

/// The frames of a DICOM file.
///
/// Reads signed and unsigned pixels of 8 and 16 bits, native, deflated, RLE and JPEG, and with the features `jpeg-ls` and
/// `jpeg2000` those. Anything else, anything damaged and any frame without a single count is an error.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Frame>> {
    Ok(read_contents(path)?.frames)
}

/// The frames of a DICOM file and what it says of them.
pub fn read_contents(path: impl AsRef<Path>) -> Result<Contents> {
    read_at_most(path, MAX_FILE_BYTES)
}

/// [`read_contents`] of a file of at most `limit` bytes; a larger one is refused unread.
pub fn read_at_most(path: impl AsRef<Path>, limit: u64) -> Result<Contents> {
    read_bytes(&files::read_at_most(&path, limit)?, path)
}

/// The same of a file's bytes; `path` names them in errors.
pub fn read_bytes(bytes: &[u8], path: impl AsRef<Path>) -> Result<Contents> {
    read_frames(bytes, path, |header| Ok((1..=header.frames).collect()))
}

/// The frames of a file that `choose` gives the numbers of, from 1, when it has seen the header. The others are not decoded, and may be
/// empty.
///
/// # Errors
/// As [`read`], and what `choose` returns.
pub fn read_frames(bytes: &[u8], path: impl AsRef<Path>, choose: impl FnOnce(&Header) -> Result<Vec<usize>>) -> Result<Contents> {
    let path = path.as_ref();
    let named = |refusal: Refusal| Error::file(path, refusal.problem, refusal.remedy);
    let read = |mut attributes: Attributes, declared: Option<&str>, notes: Vec<String>| -> Result<Contents> {
        let mut header = attributes.header().map_err(Refusal::from).map_err(named)?;
        header.notes.splice(0..0, notes);
        attributes.check_pixels(&header).map_err(named)?;
        let numbers = choose(&header)?;
        decode(&attributes, header, &numbers, declared).map_err(named)
    };
    // A damaged file may claim any length.
    where_it_may_fail(|| with_attributes(bytes, End::File, read).map_err(named)?)
}

/// What a file of at most `limit` bytes says of its object; its pixels are neither read nor decoded.
///
/// # Errors
/// A file that is no DICOM file, is damaged before its pixels, or is larger.
pub fn read_header(path: impl AsRef<Path>, limit: u64) -> Result<Header> {
    let (file, length) = files::open_at_most(&path, limit)?;
    header_of(path, length, &file)
}

/// [`read_header`] of the `length` bytes that `source` gives; `path` names them in errors. No more of them is read than the header takes.
pub fn header_of(path: impl AsRef<Path>, length: u64, mut source: impl Read) -> Result<Header> {
    const FIRST_BYTES: u64 = 64 << 10;
    const FACTOR: u64 = 8;
    // The largest scan is smaller: what has more before its pixels is none.
    const MOST_BYTES: u64 = 64 << 20;
    let path = path.as_ref();
    let mut bytes = Vec::new();
    let mut wanted = FIRST_BYTES.min(length);
    loop {
        let more = source.by_ref().take(wanted - bytes.len() as u64).read_to_end(&mut bytes);
        more.map_err(|error| Error::io(path, "read", &error))?;
        let end = match (bytes.len() as u64) < wanted || wanted == length {
            true => End::File,
            false if wanted == MOST_BYTES => End::Limit,
            false => End::Piece,
        };
        let header = with_attributes(&bytes, end, |mut attributes, _, notes| {
            let mut header = attributes.header()?;
            header.notes.splice(0..0, notes);
            Ok::<_, Damage>(header)
        });
        match header.and_then(|header| header.map_err(Refusal::from)) {
            Err(refusal) if refusal.is_of_the_end && end == End::Piece => wanted = (wanted * FACTOR).min(length).min(MOST_BYTES),
            header => return header.map_err(|refusal| Error::file(path, refusal.problem, refusal.remedy)),
        }
    }
}

/// Height and width of a pixel, in millimetres, of a DICOM file of at most [`MAX_FILE_BYTES`]: its Pixel Spacing. `None` where it
/// says none. The pixels are not decoded.
///
/// # Errors
/// A file that is no DICOM file, or is damaged before its pixels.
pub fn pixel_spacing_mm(path: impl AsRef<Path>) -> Result<Option<[f64; 2]>> {
    Ok(read_header(path, MAX_FILE_BYTES)?.spacing_mm)
}

/// Whether a file is a DICOM file by its first bytes, with preamble and meta group or without. `false` also where it cannot be read.
pub fn is_dicom(path: impl AsRef<Path>) -> bool {
    let mut start = Vec::new();
    path.as_ref().is_file()
        && File::open(path).is_ok_and(|file| file.take(ENOUGH_TO_TELL).read_to_end(&mut start).is_ok())
        && begins_as_dicom(&start)
}

/// The first bytes of a file tell whether it is a DICOM file.
pub const ENOUGH_TO_TELL: u64 = 4096;

/// Whether these are the first [`ENOUGH_TO_TELL`] bytes of a DICOM file, or all of it.
pub fn begins_as_dicom(start: &[u8]) -> bool {
    dataset::form(start).is_some()
}

/// What is wrong with a file, and what to do.
#[derive(Debug)]
struct Refusal {
    problem: String,
    remedy: String,
    /// The bytes end too early.
    is_of_the_end: bool,
}

impl Refusal {
    fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Refusal { problem: problem.into(), remedy: remedy.into(), is_of_the_end: false }
    }
}

impl From<Damage> for Refusal {
    fn from(damage: Damage) -> Self {
        const COPY: &str = "copy or export it again from the archive";
        match damage {
            Damage::CutShort(Tag(0, 0)) => Refusal { is_of_the_end: true, ..Refusal::new("is cut short", COPY) },
            Damage::CutShort(tag) => {
                Refusal { is_of_the_end: true, ..Refusal::new(format!("is cut short within element {tag}"), COPY) }
            }
            Damage::Malformed(tag) => Refusal::new(format!("is damaged at element {tag}"), COPY),
            Damage::TooMany => {
                Refusal::new(format!("has more than {} elements", dataset::MAX_ELEMENTS), "give the planar whole-body scan")
            }
        }
    }
}

/// What `take` makes of a file's elements, the transfer syntax that it names, and notes of how it differs from what PS3.10 says.
/// `bytes` may be no more than the beginning of the file.
fn with_attributes<T>(
    bytes: &[u8],
    end: End,
    take: impl FnOnce(Attributes, Option<&str>, Vec<String>) -> T,
) -> Result<T, Refusal> {
    with_data_set(bytes, end, |data, declared, notes| Ok(take(Attributes::of(data, end)?, declared, notes)))?
}

/// The same of its data set.
fn with_data_set<T>(bytes: &[u8], end: End, take: impl FnOnce(DataSet, Option<&str>, Vec<String>) -> T) -> Result<T, Refusal> {
    let form = dataset::form(bytes)
        .ok_or_else(|| Refusal::new("is not a DICOM file", "give a DICOM file, or a PNG or JPEG picture"))??;
    let declared = form.declared.as_deref();
    let mut notes: Vec<String> = form.lacks.map(|part| format!("has no {part}")).into_iter().collect();
    let inflated;
    let mut data = form.data;
    if declared == Some(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN) {
        if dataset::begins_a_data_set(data) {
            notes.push("its transfer syntax says deflated, and its bytes are not".to_owned());
        } else {
            inflated = inflate(data).map_err(|refusal| Refusal { is_of_the_end: end == End::Piece, ..refusal })?;
            data = &inflated;
        }
    }
    let (encoding, note) = header::encoding_of(declared, data);
    notes.extend(note);
    Ok(take(DataSet::new(data, encoding), declared, notes))
}

/// The counts of the frames with these numbers.
fn decode(attributes: &Attributes, mut header: Header, numbers: &[usize], declared: Option<&str>) -> Result<Contents, Refusal> {
    let layout = attributes.layout()?;
    let Some(pixel_data) = attributes.pixel_data else {
        return Err(Refusal::new("holds no pixels", "export the image itself from the archive"));
    };
    let number = |element: Option<Element>, name: &str, default: f64| match element {
        Some(element) if !element.value.is_empty() => element
            .number::<f64>()
            .filter(|value| value.is_finite())
            .ok_or_else(|| Refusal::new(format!("its {name} is no number"), "export it again from the archive")),
        _ => Ok(default),
    };
    let slope = number(attributes.slope, "Rescale Slope", 1.0)?;
    let intercept = number(attributes.intercept, "Rescale Intercept", 0.0)?;
    let padding = attributes.padding.map(|value| {
        let [one, other] = [value, attributes.padding_limit.unwrap_or(value)].map(|word| layout.sample(word));
        one.min(other)..=one.max(other)
    });
    let is_padding = |sample: i32| padding.as_ref().is_some_and(|range| range.contains(&sample));

    let words = pixels::decode(pixel_data, declared, &layout, numbers, &mut header.notes)?;
    let mut applied = Vec::new();
    let mut frames = Vec::with_capacity(words.len());
    let mut padded = 0;
    for (words, &number) in words.iter().zip(numbers) {
        let mut counts = words.iter().map(|&word| layout.sample(word)).filter(|sample| !is_padding(*sample));
        let first = counts.next();
        if counts.all(|sample| Some(sample) == first) {
            let problem = match first {
                Some(first) => format!("every pixel of its frame {number} is {first}"),
                None => format!("every pixel of its frame {number} is padding"),
            };
            return Err(Refusal::new(problem, "give a scan with counts in it"));
        }
        let count = |&word: &u16| {
            let sample = layout.sample(word);
            if is_padding(sample) { 0.0 } else { (f64::from(sample) * slope + intercept) as f32 }
        };
        let pixels: Vec<f32> = words.iter().map(count).collect();
        padded += words.iter().filter(|word| is_padding(layout.sample(**word))).count();
        if !pixels.iter().all(|count| count.is_finite()) || slope == 0.0 {
            return Err(Refusal::new("its rescale leaves no numbers", "export it again without a rescale"));
        }
        let view = header.views.get(number - 1).and_then(FrameView::view);
        frames.push(Frame { number, image: Image { rows: layout.rows, columns: layout.columns, pixels }, view });
    }
    if padded > 0 {
        let pixels = if padded == 1 {
            "1 pixel of the Pixel Padding Value counts".to_owned()
        } else {
            format!("{padded} pixels of the Pixel Padding Value count")
        };
        applied.push(format!("{pixels} as 0"));
    }
    if (slope, intercept) != (1.0, 0.0) {
        applied.push(format!("values are rescaled: times {slope}, plus {intercept}"));
    }
    match header.photometric.as_deref() {
        Some(PALETTE) => applied.push("the colour palette is for display: the stored values are the counts".to_owned()),
        // PS3.3 C.7.6.3.1.2: it says how to show the values. Whether an object that is a picture holds them upside down is not said.
        Some("MONOCHROME1") if header.holds_counts() => {
            applied.push("MONOCHROME1 is for display: the stored values are the counts".to_owned());
        }
        _ => {}
    }
    Ok(Contents { header, frames, applied })
}

/// Photometric Interpretation of values with a colour table.
const PALETTE: &str = "PALETTE COLOR";

/// A deflated data set, in one piece of memory that never exceeds [`MAX_INFLATED`].
fn inflate(data: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut inflated = Vec::with_capacity(data.len().saturating_mul(MAX_DEFLATE_RATIO).min(MAX_INFLATED + 1));
    DeflateDecoder::new(data)
        .take(MAX_INFLATED as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(|_| Refusal::new("its deflated data is cut short or damaged", "copy or export it again from the archive"))?;
    if inflated.len() > MAX_INFLATED {
        return Err(Refusal::new(format!("inflates to more than {} MB", MAX_INFLATED >> 20), "give the planar whole-body scan"));
    }
    Ok(inflated)
}
