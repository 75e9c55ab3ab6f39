//! DICOM files to frames of counts, and which view each frame is; and counts to NM files.
//!
//! Archives hold what cameras, converters and anonymisers left, so a file is believed only where its parts fit each other, and
//! what is wrong becomes one sentence. No patient's data is kept or printed: what is not needed for pixels and views is not read.

mod dataset;
mod person;
mod pixels;
mod write;

pub use person::{Person, Sex, read_person};
pub use write::{NmHeader, encode_nm, write_nm};

use crate::image::{Image, View};
use crate::memory::where_it_may_fail;
use crate::{Error, Result, files};
use dataset::{Damage, DataSet, Element, Encoding};
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use flate2::bufread::DeflateDecoder;
use pixels::{Layout, Packing};
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
    /// Its counts, after the rescale of the file and with the inversion of MONOCHROME1 undone.
    pub image: Image,
    /// What the file says it shows. `None` where it says nothing or another view; the order of frames says nothing.
    pub view: Option<View>,
}

/// Everything that Osteon takes from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// At least one, all of one size.
    pub frames: Vec<Frame>,
    /// Study Instance UID: two files with different ones are of different examinations.
    pub study: Option<String>,
    /// Patient ID.
    pub patient: Option<String>,
}

/// The frames of a DICOM file.
///
/// Reads signed and unsigned pixels of 8 and 16 bits, native, deflated, RLE and JPEG, and with the features `jpeg-ls` and
/// `jpeg2000` those. Anything else, anything damaged and any frame without a single count is an error.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Frame>> {
    Ok(read_contents(path)?.frames)
}

/// The frames of a DICOM file and whose they are.
pub fn read_contents(path: impl AsRef<Path>) -> Result<Contents> {
    read_at_most(path, MAX_FILE_BYTES)
}

/// [`read_contents`] of a file of at most `limit` bytes; a larger one is refused unread.
pub fn read_at_most(path: impl AsRef<Path>, limit: u64) -> Result<Contents> {
    read_bytes(&files::read_at_most(&path, limit)?, path)
}

/// The same of a file's bytes; `path` names them in errors.
pub fn read_bytes(bytes: &[u8], path: impl AsRef<Path>) -> Result<Contents> {
    decode(bytes).map_err(|refusal| Error::file(path, refusal.problem, refusal.remedy))
}

/// Height and width of a pixel, in millimetres, of a DICOM file of at most [`MAX_FILE_BYTES`]: its Pixel Spacing. `None` where it
/// says none. The pixels are not decoded.
///
/// # Errors
/// A file that is no DICOM file, or is damaged before its pixels.
pub fn pixel_spacing_mm(path: impl AsRef<Path>) -> Result<Option<[f64; 2]>> {
    let bytes = files::read_at_most(&path, MAX_FILE_BYTES)?;
    let spacing = with_header(&bytes, |header, _, _| Ok(header.pixel_spacing.and_then(spacing_of)));
    spacing.map_err(|refusal| Error::file(path, refusal.problem, refusal.remedy))
}

/// The two numbers of a Pixel Spacing, if they can be those of a pixel.
fn spacing_of(element: Element) -> Option<[f64; 2]> {
    const MOST_MM: f64 = 1000.0;
    let text = element.text();
    let mut sides = text.split('\\').map(|side| side.trim().parse().ok().filter(|&side: &f64| side > 0.0 && side <= MOST_MM));
    match (sides.next(), sides.next(), sides.next()) {
        (Some(Some(height)), Some(Some(width)), None) => Some([height, width]),
        _ => None,
    }
}

/// Whether a file begins as DICOM files do. `false` also where it cannot be read.
pub fn is_dicom(path: impl AsRef<Path>) -> bool {
    let mut start = Vec::new();
    let length = dataset::PREAMBLE + dataset::MAGIC.len();
    path.as_ref().is_file()
        && File::open(path).is_ok_and(|file| file.take(length as u64).read_to_end(&mut start).is_ok())
        && start.ends_with(dataset::MAGIC)
        && start.len() == length
}

/// A number of frames in words.
fn counted(frames: usize) -> String {
    if frames == 1 { "1 frame".into() } else { format!("{frames} frames") }
}

/// What is wrong with a file, and what to do.
#[derive(Debug)]
struct Refusal {
    problem: String,
    remedy: String,
}

impl Refusal {
    fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Refusal { problem: problem.into(), remedy: remedy.into() }
    }
}

impl From<Damage> for Refusal {
    fn from(damage: Damage) -> Self {
        match damage {
            Damage::CutShort(Tag(0, 0)) => Refusal::new("is cut short", "copy it again from the archive"),
            Damage::CutShort(tag) => Refusal::new(format!("is cut short within element {tag}"), "copy it again from the archive"),
            Damage::Malformed(tag) => Refusal::new(format!("is damaged at element {tag}"), "copy it again from the archive"),
            Damage::TooMany => {
                Refusal::new(format!("has more than {} elements", dataset::MAX_ELEMENTS), "give the planar whole-body scan")
            }
        }
    }
}

/// The elements that matter here, as they stand in the file.
#[derive(Default)]
struct Header<'a> {
    rows: Option<u16>,
    columns: Option<u16>,
    frames: Option<Element<'a>>,
    samples_per_pixel: Option<u16>,
    photometric: Option<String>,
    bits_allocated: Option<u16>,
    bits_stored: Option<u16>,
    high_bit: Option<u16>,
    pixel_representation: Option<u16>,
    pixel_spacing: Option<Element<'a>>,
    slope: Option<Element<'a>>,
    intercept: Option<Element<'a>>,
    detector_vector: Option<Element<'a>>,
    detectors: Option<Element<'a>>,
    view_code: Option<Element<'a>>,
    pixel_data: Option<Element<'a>>,
    study: Option<String>,
    patient: Option<String>,
}

impl<'a> Header<'a> {
    fn of(data: DataSet<'a>) -> Result<Self, Damage> {
        let mut header = Header::default();
        for element in data.elements() {
            let element = element?;
            let short = || element.shorts().next();
            let text = || Some(element.text()).filter(|text| !text.is_empty());
            match element.tag {
                tags::ROWS => header.rows = short(),
                tags::COLUMNS => header.columns = short(),
                tags::NUMBER_OF_FRAMES => header.frames = Some(element),
                tags::SAMPLES_PER_PIXEL => header.samples_per_pixel = short(),
                tags::PHOTOMETRIC_INTERPRETATION => header.photometric = text(),
                tags::BITS_ALLOCATED => header.bits_allocated = short(),
                tags::BITS_STORED => header.bits_stored = short(),
                tags::HIGH_BIT => header.high_bit = short(),
                tags::PIXEL_REPRESENTATION => header.pixel_representation = short(),
                tags::PIXEL_SPACING => header.pixel_spacing = Some(element),
                tags::RESCALE_SLOPE => header.slope = Some(element),
                tags::RESCALE_INTERCEPT => header.intercept = Some(element),
                tags::DETECTOR_VECTOR => header.detector_vector = Some(element),
                tags::DETECTOR_INFORMATION_SEQUENCE => header.detectors = Some(element),
                tags::VIEW_CODE_SEQUENCE => header.view_code = Some(element),
                tags::STUDY_INSTANCE_UID => header.study = text(),
                tags::PATIENT_ID => header.patient = text(),
                tags::PIXEL_DATA => {
                    // Elements stand in the order of their tags, and nothing behind this one matters.
                    header.pixel_data = Some(element);
                    break;
                }
                _ => {}
            }
        }
        Ok(header)
    }

    /// The words of the pixel data, if the header makes sense of them.
    fn layout(&self) -> Result<Layout, Refusal> {
        let missing = |name: &str| Refusal::new(format!("its header lacks {name}"), "export the image itself from the archive");
        let rows = usize::from(self.rows.ok_or_else(|| missing("Rows"))?);
        let columns = usize::from(self.columns.ok_or_else(|| missing("Columns"))?);
        let frames = match self.frames {
            None => 1,
            Some(element) if element.value.is_empty() => 1,
            Some(element) => element
                .number::<usize>()
                .ok_or_else(|| Refusal::new("its Number of Frames is no number", "export it again from the archive"))?,
        };
        if rows == 0 || columns == 0 || rows > MAX_SIDE || columns > MAX_SIDE {
            return Err(Refusal::new(
                format!("its header says {rows}x{columns} pixels, and a view has 1 to {MAX_SIDE} rows and columns"),
                "give the planar whole-body scan",
            ));
        }
        if frames == 0 || frames > MAX_FRAMES || rows * columns * frames > MAX_PIXELS {
            return Err(Refusal::new(
                format!("its header says {} of {rows}x{columns} pixels, which no planar scan has", counted(frames)),
                "give the planar whole-body scan, with a frame a view",
            ));
        }
        if self.samples_per_pixel.unwrap_or(1) != 1 {
            return Err(Refusal::new("is a colour picture", "give the scan with its counts, not a screenshot"));
        }
        let bits_allocated = usize::from(self.bits_allocated.ok_or_else(|| missing("Bits Allocated"))?);
        let bits_stored = self.bits_stored.map_or(bits_allocated, usize::from);
        let high_bit = self.high_bit.map_or(bits_stored.wrapping_sub(1), usize::from);
        if ![8, 16].contains(&bits_allocated) {
            return Err(Refusal::new(
                format!("its pixels have {bits_allocated} bits, and Osteon reads 8 and 16"),
                "export it with 16 bits",
            ));
        }
        if bits_stored == 0 || bits_stored > bits_allocated || high_bit >= bits_allocated || high_bit + 1 < bits_stored {
            return Err(Refusal::new(
                format!("its header says {bits_stored} bits with the highest at {high_bit}, which do not fit {bits_allocated}"),
                "export it again from the archive",
            ));
        }
        let signed = self.pixel_representation.unwrap_or(0) == 1;
        Ok(Layout { rows, columns, frames, bits_allocated, bits_stored, high_bit, signed })
    }

    /// What each frame shows (PS3.3 C.8.4.8 and C.8.4.11): Detector Vector gives a frame's number in the Detector Information
    /// Sequence, and the View Code Sequence there gives the view. A file without detectors may have one View Code for its one
    /// frame.
    fn views(&self, frames: usize) -> Result<Vec<Option<View>>, Damage> {
        let detectors = self.detectors.map_or(Ok(Vec::new()), Element::items)?;
        if detectors.is_empty() {
            let view = self.view_code.filter(|_| frames == 1).map_or(Ok(None), view_of_code)?;
            return Ok(vec![view; frames]);
        }
        let views: Vec<Option<View>> = detectors.into_iter().map(view_of_detector).collect::<Result<_, _>>()?;
        let vector: Vec<u16> = match self.detector_vector {
            Some(vector) => vector.shorts().take(frames + 1).collect(),
            // With one detector there is nothing to choose.
            None if views.len() == 1 => vec![1; frames],
            None => Vec::new(),
        };
        if vector.len() != frames {
            return Ok(vec![None; frames]);
        }
        Ok(vector.iter().map(|&detector| views.get(usize::from(detector).wrapping_sub(1)).copied().flatten()).collect())
    }
}

/// The View Code Sequence of one item of the Detector Information Sequence.
fn view_of_detector(detector: DataSet) -> Result<Option<View>, Damage> {
    for element in detector.elements() {
        let element = element?;
        if element.tag == tags::VIEW_CODE_SEQUENCE {
            return view_of_code(element);
        }
    }
    Ok(None)
}

/// The view that a View Code Sequence names.
///
/// Context group 26 of PS3.16 has "Anterior projection" and "Posterior projection", as SNOMED-RT and as SNOMED CT codes. Before
/// 2004 it had "Antero-posterior" and "Postero-anterior" in their place, and cameras also write the general terms "Anterior" and
/// "Posterior", or a code of their own with one of these meanings.
fn view_of_code(sequence: Element) -> Result<Option<View>, Damage> {
    let (mut value, mut meaning) = (String::new(), String::new());
    let items = sequence.items()?;
    let Some(item) = items.first() else { return Ok(None) };
    for element in item.elements() {
        let element = element?;
        match element.tag {
            tags::CODE_VALUE => value = element.text(),
            tags::CODE_MEANING => meaning = element.text().to_ascii_lowercase(),
            _ => {}
        }
    }
    Ok(match value.as_str() {
        "G-5215" | "399321004" | "G-5200" | "R-10206" | "399348003" | "R-404CC" | "255549009" => Some(View::Anterior),
        "G-5216" | "399001007" | "G-5201" | "R-10214" | "272479007" | "R-404CE" | "255551008" => Some(View::Posterior),
        _ => match meaning.as_str() {
            "anterior" | "anterior projection" | "anterior view" => Some(View::Anterior),
            "posterior" | "posterior projection" | "posterior view" => Some(View::Posterior),
            _ => None,
        },
    })
}

/// What `take` makes of a file's header, its packing and the name of its transfer syntax.
fn with_header<T>(bytes: &[u8], take: impl FnOnce(Header, Packing, &str) -> Result<T, Refusal>) -> Result<T, Refusal> {
    let (transfer_syntax, data) = dataset::file_meta(bytes)
        .ok_or_else(|| Refusal::new("is not a DICOM file", "give a DICOM file, or a PNG or JPEG picture"))??;
    let packing = Packing::of(&transfer_syntax)?;
    let inflated;
    let data = if transfer_syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
        inflated = inflate(data)?;
        &inflated
    } else {
        data
    };
    take(Header::of(DataSet::new(data, Encoding::of(&transfer_syntax)))?, packing, &transfer_syntax)
}

fn decode(bytes: &[u8]) -> Result<Contents, Refusal> {
    // A damaged file may claim any length.
    where_it_may_fail(|| with_header(bytes, decode_pixels))
}

fn decode_pixels(header: Header, packing: Packing, transfer_syntax: &str) -> Result<Contents, Refusal> {
    let Some(pixel_data) = header.pixel_data.filter(|element| !element.value.is_empty()) else {
        return Err(Refusal::new("holds no pixels", "export the image itself from the archive"));
    };
    let inverted = match header.photometric.as_deref() {
        Some("MONOCHROME2") | None => false,
        Some("MONOCHROME1") => true,
        _ => return Err(Refusal::new("is a colour picture", "give the scan with its counts, not a screenshot")),
    };
    let layout = header.layout()?;
    let number = |element: Option<Element>, name: &str, default: f64| match element {
        Some(element) if !element.value.is_empty() => element
            .number::<f64>()
            .filter(|value| value.is_finite())
            .ok_or_else(|| Refusal::new(format!("its {name} is no number"), "export it again from the archive")),
        _ => Ok(default),
    };
    let slope = number(header.slope, "Rescale Slope", 1.0)?;
    let intercept = number(header.intercept, "Rescale Intercept", 0.0)?;
    let views = header.views(layout.frames)?;

    let words = pixels::decode(pixel_data, packing, transfer_syntax, &layout)?;
    // The least sample of a MONOCHROME1 file is its brightest. Counts start at none, so the greatest sample becomes 0.
    let greatest = words.iter().flatten().map(|&word| layout.sample(word)).max().unwrap_or_default();
    let sample = |&word: &u16| if inverted { greatest - layout.sample(word) } else { layout.sample(word) };
    let mut frames = Vec::with_capacity(words.len());
    for (index, (words, view)) in words.iter().zip(views).enumerate() {
        let first = sample(&words[0]);
        if words.iter().all(|word| sample(word) == first) {
            return Err(Refusal::new(
                format!("every pixel of its frame {} is {first}", index + 1),
                "give a scan with counts in it",
            ));
        }
        let pixels: Vec<f32> = words.iter().map(|word| (f64::from(sample(word)) * slope + intercept) as f32).collect();
        if !pixels.iter().all(|count| count.is_finite()) || slope == 0.0 {
            return Err(Refusal::new("its rescale leaves no numbers", "export it again without a rescale"));
        }
        frames.push(Frame { image: Image { rows: layout.rows, columns: layout.columns, pixels }, view });
    }
    Ok(Contents { frames, study: header.study, patient: header.patient })
}

/// A deflated data set, in one piece of memory that never exceeds [`MAX_INFLATED`].
fn inflate(data: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut inflated = Vec::with_capacity(data.len().saturating_mul(MAX_DEFLATE_RATIO).min(MAX_INFLATED + 1));
    DeflateDecoder::new(data)
        .take(MAX_INFLATED as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(|_| Refusal::new("its deflated data is cut short or damaged", "copy it again from the archive"))?;
    if inflated.len() > MAX_INFLATED {
        return Err(Refusal::new(format!("inflates to more than {} MB", MAX_INFLATED >> 20), "give the planar whole-body scan"));
    }
    Ok(inflated)
}
