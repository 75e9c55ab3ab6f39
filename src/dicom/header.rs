//! What stands in a file before its pixels: the elements that pixels and views are decoded by, and a [`Header`] for those who decide
//! what to do with the file.

use super::dataset::{Damage, DataSet, Element, Encoding};
use super::pixels::Layout;
use super::views::{self, Said};
use super::{MAX_FRAMES, MAX_PIXELS, MAX_SIDE, PALETTE, Refusal};
use crate::files;
use crate::image::View;
use crate::text::{self, counted};
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::text::SpecificCharacterSet;
use std::fmt;

/// What says which view a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ViewSource {
    /// The View Code Sequence (PS3.3 C.8.4.11).
    ViewCode,
    /// GE's private Dataset Name: element 12 of the block of GEMS_GENIE_1 in group 0011, one value a frame.
    DatasetName,
}

impl fmt::Display for ViewSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ViewSource::ViewCode => "view code",
            ViewSource::DatasetName => "dataset name",
        })
    }
}

/// What a file says of the view of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FrameView {
    /// Nothing that Osteon understands. The order of frames says nothing.
    #[default]
    Unsaid,
    /// A view, and what says so.
    Said(View, ViewSource),
    /// That it is neither an anterior nor a posterior view, in its own words.
    Other(String),
    /// Two things that cannot both be true, in words.
    Contradiction(String),
}

impl FrameView {
    /// The view, where the file says one without contradicting itself.
    pub fn view(&self) -> Option<View> {
        match self {
            FrameView::Said(view, _) => Some(*view),
            _ => None,
        }
    }
}

/// An energy window of a gamma camera.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EnergyWindow {
    /// Energy Window Name; may be empty.
    pub name: String,
    /// Lower and upper limits of its ranges, in keV.
    pub ranges_kev: Vec<[f64; 2]>,
}

impl EnergyWindow {
    /// Whether a range of it holds this energy.
    pub fn holds(&self, kev: f64) -> bool {
        self.ranges_kev.iter().any(|[lower, upper]| (*lower..=*upper).contains(&kev))
    }
}

/// What a file says of its object, without its pixels.
///
/// Nothing in it identifies a person: Patient ID and name are there as hashes only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// SOP Class UID: what kind of object it is.
    pub sop_class: Option<String>,
    /// SOP Instance UID: two files with the same one hold the same object.
    pub instance: Option<String>,
    /// Study Instance UID: two files with different ones are of different examinations.
    pub study: Option<String>,
    /// Series Instance UID.
    pub series: Option<String>,
    /// Study Date, else Acquisition Date: eight digits.
    pub date: Option<String>,
    /// Modality, such as `NM`.
    pub modality: Option<String>,
    /// The values of Image Type, in capitals.
    pub image_type: Vec<String>,
    /// Rows and columns of a frame, where the file says both.
    pub size: Option<[usize; 2]>,
    /// Number of Frames, 1 where the file does not say it.
    pub frames: usize,
    /// What the file says of each frame, of 64 at most.
    pub views: Vec<FrameView>,
    /// The energy windows.
    pub windows: Vec<EnergyWindow>,
    /// The energy window of each frame, an index into `windows`; empty where the file does not say it.
    pub window_of: Vec<usize>,
    /// Height and width of a pixel in millimetres.
    pub spacing_mm: Option<[f64; 2]>,
    /// Bits Stored.
    pub bits_stored: Option<u16>,
    /// Photometric Interpretation.
    pub photometric: Option<String>,
    /// Counts Accumulated.
    pub counts: Option<u64>,
    /// The radiopharmaceutical, in the words of the file.
    pub tracer: Option<String>,
    /// There are pixels.
    pub has_pixels: bool,
    /// SHA-256 of the Patient ID.
    pub patient: Option<String>,
    /// SHA-256 of the Patient Name with the birth date, where there are both.
    pub person: Option<String>,
    /// How the file differs from what PS3.10 and its own header say, in sentences.
    pub notes: Vec<String>,
}

impl Header {
    /// Whether it is an object of nuclear medicine, whose stored values are counts: by its SOP class or its modality.
    pub fn is_nm(&self) -> bool {
        self.sop_class.as_deref() == Some(uids::NUCLEAR_MEDICINE_IMAGE_STORAGE) || self.modality.as_deref() == Some("NM")
    }

    /// Whether its SOP class is that of nuclear medicine, so that its pixels can be nothing but counts.
    pub fn holds_counts(&self) -> bool {
        self.sop_class.as_deref() == Some(uids::NUCLEAR_MEDICINE_IMAGE_STORAGE)
    }
}

/// What ends where the bytes at hand do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The file.
    File,
    /// A piece of it: there are more, which can be read.
    Piece,
    /// What a header may have: what was found until here is all that is wanted.
    Limit,
}

/// The elements that matter here, as they stand in the file.
#[derive(Default)]
pub(super) struct Attributes<'a> {
    character_set: Option<SpecificCharacterSet>,
    pub rows: Option<u16>,
    pub columns: Option<u16>,
    frames: Option<Element<'a>>,
    samples_per_pixel: Option<u16>,
    photometric: Option<String>,
    bits_allocated: Option<u16>,
    bits_stored: Option<u16>,
    high_bit: Option<u16>,
    pixel_representation: Option<u16>,
    pub pixel_spacing: Option<Element<'a>>,
    pub padding: Option<u16>,
    pub padding_limit: Option<u16>,
    pub slope: Option<Element<'a>>,
    pub intercept: Option<Element<'a>>,
    detector_vector: Option<Element<'a>>,
    detectors: Option<Element<'a>>,
    window_vector: Option<Element<'a>>,
    windows: Option<Element<'a>>,
    tracers: Option<Element<'a>>,
    view_code: Option<Element<'a>>,
    dataset_name: Option<Element<'a>>,
    patient_name: Option<Element<'a>>,
    birth_date: Option<String>,
    pub pixel_data: Option<Element<'a>>,
    /// The first element that stands in the other form of VR than the data set.
    other_form: Option<Tag>,
    header: Header,
}

/// The group of GE's private elements, and who reserves the block.
const GE_GROUP: u16 = 0x0011;
const GE_CREATOR: &str = "GEMS_GENIE_1";
/// Dataset Name in that block.
const DATASET_NAME: u16 = 0x12;

impl<'a> Attributes<'a> {
    /// The elements up to the pixel data, of which `data` may be no more than the beginning.
    pub fn of(data: DataSet<'a>, end: End) -> Result<Self, Damage> {
        let mut found = Attributes::default();
        let explicit = data.encoding().explicit;
        let mut ge_block = None;
        for element in data.elements() {
            let element = match element {
                Err(Damage::CutShort(tags::PIXEL_DATA)) if end != End::File => {
                    found.header.has_pixels = true;
                    break;
                }
                Err(Damage::CutShort(_)) if end == End::Limit => break,
                element => element?,
            };
            if element.vr.is_some() != explicit && found.other_form.is_none() {
                found.other_form = Some(element.tag);
            }
            let short = || element.shorts().next();
            let text = || Some(element.text()).filter(|text| !text.is_empty());
            let header = &mut found.header;
            match element.tag {
                tags::SPECIFIC_CHARACTER_SET => found.character_set = character_set(&element.text()),
                tags::IMAGE_TYPE => {
                    header.image_type = element.text().split('\\').map(|value| value.trim().to_ascii_uppercase()).collect();
                }
                tags::SOP_CLASS_UID => header.sop_class = text(),
                tags::SOP_INSTANCE_UID => header.instance = text(),
                tags::STUDY_DATE => header.date = text().map(|date| date.replace('.', "")),
                tags::ACQUISITION_DATE if header.date.is_none() => header.date = text().map(|date| date.replace('.', "")),
                tags::MODALITY => header.modality = text().map(|text| text.to_ascii_uppercase()),
                tags::PATIENT_NAME => found.patient_name = Some(element),
                tags::PATIENT_ID => header.patient = text().map(|text| files::sha256(text.as_bytes())),
                tags::PATIENT_BIRTH_DATE => found.birth_date = text(),
                tags::COUNTS_ACCUMULATED => header.counts = element.whole_number().map(|counts| counts as u64),
                tags::STUDY_INSTANCE_UID => header.study = text(),
                tags::SERIES_INSTANCE_UID => header.series = text(),
                tags::ROWS => found.rows = short(),
                tags::COLUMNS => found.columns = short(),
                tags::NUMBER_OF_FRAMES => found.frames = Some(element),
                tags::SAMPLES_PER_PIXEL => found.samples_per_pixel = short(),
                tags::PHOTOMETRIC_INTERPRETATION => found.photometric = text(),
                tags::BITS_ALLOCATED => found.bits_allocated = short(),
                tags::BITS_STORED => found.bits_stored = short(),
                tags::HIGH_BIT => found.high_bit = short(),
                tags::PIXEL_REPRESENTATION => found.pixel_representation = short(),
                tags::PIXEL_SPACING => found.pixel_spacing = Some(element),
                tags::PIXEL_PADDING_VALUE => found.padding = short(),
                tags::PIXEL_PADDING_RANGE_LIMIT => found.padding_limit = short(),
                tags::RESCALE_SLOPE => found.slope = Some(element),
                tags::RESCALE_INTERCEPT => found.intercept = Some(element),
                tags::ENERGY_WINDOW_VECTOR => found.window_vector = Some(element),
                tags::ENERGY_WINDOW_INFORMATION_SEQUENCE => found.windows = Some(element),
                tags::RADIOPHARMACEUTICAL_INFORMATION_SEQUENCE => found.tracers = Some(element),
                tags::DETECTOR_VECTOR => found.detector_vector = Some(element),
                tags::DETECTOR_INFORMATION_SEQUENCE => found.detectors = Some(element),
                tags::VIEW_CODE_SEQUENCE => found.view_code = Some(element),
                // PS3.5 7.8.1: (gggg,00bb) reserves the elements (gggg,bb00) to (gggg,bbFF) for the creator that it names.
                Tag(GE_GROUP, block @ 0x10..=0xff) if element.text().eq_ignore_ascii_case(GE_CREATOR) => ge_block = Some(block),
                Tag(GE_GROUP, number) if ge_block.is_some_and(|block| number == block << 8 | DATASET_NAME) => {
                    found.dataset_name = Some(element);
                }
                tags::PIXEL_DATA => {
                    // Elements stand in the order of their tags, and nothing behind this one matters.
                    header.has_pixels = !element.value.is_empty();
                    found.pixel_data = Some(element);
                    break;
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Refuses a file without pixels, and one whose pixels are no counts.
    pub fn check_pixels(&self, header: &Header) -> Result<(), Refusal> {
        if !header.has_pixels {
            return Err(Refusal::new("holds no pixels", "export the image itself from the archive"));
        }
        match header.photometric.as_deref() {
            Some("MONOCHROME2" | "MONOCHROME1") | None => {}
            // PS3.3 C.8.4.7.1.1: the stored values are counts, and the palette shows them.
            Some(PALETTE) if header.is_nm() => {}
            _ => return Err(Refusal::new("is a colour picture", "give the scan with its counts, not a screenshot")),
        }
        self.layout().map(drop)
    }

    /// Number of Frames.
    fn frames(&self) -> Result<usize, Refusal> {
        match self.frames {
            Some(element) if !element.value.is_empty() => element
                .whole_number()
                .ok_or_else(|| Refusal::new("its Number of Frames is no number", "export it again from the archive")),
            _ => Ok(1),
        }
    }

    /// The words of the pixel data, if the header makes sense of them.
    pub fn layout(&self) -> Result<Layout, Refusal> {
        let missing = |name: &str| Refusal::new(format!("its header lacks {name}"), "export the image itself from the archive");
        let rows = usize::from(self.rows.ok_or_else(|| missing("Rows"))?);
        let columns = usize::from(self.columns.ok_or_else(|| missing("Columns"))?);
        let frames = self.frames()?;
        if rows == 0 || columns == 0 || rows > MAX_SIDE || columns > MAX_SIDE {
            return Err(Refusal::new(
                format!("its header says {rows}x{columns} pixels, and a view has 1 to {MAX_SIDE} rows and columns"),
                "give the planar whole-body scan",
            ));
        }
        if frames == 0 || frames > MAX_FRAMES || rows * columns * frames > MAX_PIXELS {
            return Err(Refusal::new(
                format!("its header says {} of {rows}x{columns} pixels, which no planar scan has", counted(frames, "frame")),
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

    /// The header for others than the decoder. What cannot be understood is left out: the decoder says what is wrong.
    pub fn header(&mut self) -> Result<Header, Damage> {
        let mut header = std::mem::take(&mut self.header);
        header.size = self.rows.zip(self.columns).map(|(rows, columns)| [rows.into(), columns.into()]);
        header.frames = self.frames().unwrap_or(1);
        header.views = self.views(header.frames.min(MAX_FRAMES))?;
        header.windows = self
            .windows
            .map_or(Ok(Vec::new()), Element::items)?
            .into_iter()
            .map(|item| self.window(item))
            .collect::<Result<_, _>>()?;
        let window_of: Vec<usize> =
            self.window_vector.iter().flat_map(|vector| vector.shorts()).map(|at| usize::from(at).wrapping_sub(1)).collect();
        header.window_of = if window_of.len() == header.frames { window_of } else { Vec::new() };
        contradict_twins(&mut header.views, &header.window_of);
        header.spacing_mm = self.pixel_spacing.and_then(spacing_of);
        header.bits_stored = self.bits_stored.or(self.bits_allocated);
        header.photometric = self.photometric.clone();
        header.tracer = self.tracers.map_or(Ok(None), |tracers| self.tracer(tracers))?;
        let name =
            self.patient_name.map(|name| name.words(self.character_set.as_ref()).join("\\").trim_end_matches('^').to_uppercase());
        let person = name.filter(|name| !name.is_empty()).zip(self.birth_date.as_deref());
        header.person = person.map(|(name, birth_date)| files::sha256(format!("{name}\0{birth_date}").as_bytes()));
        if self.frames.is_some_and(|frames| frames.text().contains('.')) {
            header
                .notes
                .push(format!("its Number of Frames is written as {}", shown(&self.frames.map_or(String::new(), Element::text))));
        }
        if let Some(tag) = self.other_form {
            header.notes.push(format!("its element {tag} stands in the other form of VR than those around it"));
        }
        Ok(header)
    }

    /// What the file says of each frame: by its view code, else by its dataset name.
    fn views(&self, frames: usize) -> Result<Vec<FrameView>, Damage> {
        let codes = self.view_codes(frames)?;
        let names = self.dataset_name.map_or(Vec::new(), |name| name.words(self.character_set.as_ref()));
        let name_of = |frame: usize| names.get(frame).filter(|_| names.len() == frames).map(String::as_str).unwrap_or_default();
        let view = |(frame, code): (usize, Code)| {
            let name = name_of(frame);
            let by_name = views::of_words(name);
            match (code.said, by_name) {
                (Said::View(code), Said::View(name)) if code != name => {
                    FrameView::Contradiction(format!("its view code says {code} and its dataset name {name}"))
                }
                (Said::View(view), Said::Other) => {
                    FrameView::Contradiction(format!("its view code says {view} and its dataset name `{}`", shown(name)))
                }
                (Said::Other, Said::View(view)) => {
                    FrameView::Contradiction(format!("its view code says `{}` and its dataset name {view}", shown(&code.meaning)))
                }
                (Said::View(view), _) => FrameView::Said(view, ViewSource::ViewCode),
                (Said::Other, _) => FrameView::Other(shown(&code.meaning)),
                (Said::Nothing, Said::View(view)) => FrameView::Said(view, ViewSource::DatasetName),
                (Said::Nothing, Said::Other) => FrameView::Other(shown(name)),
                (Said::Nothing, Said::Nothing) => FrameView::Unsaid,
            }
        };
        Ok(codes.into_iter().enumerate().map(view).collect())
    }

    /// The view code of each frame (PS3.3 C.8.4.8 and C.8.4.11): Detector Vector gives a frame's number in the Detector Information
    /// Sequence, and the View Code Sequence there gives the view. A file without detectors may have one View Code for its one
    /// frame.
    fn view_codes(&self, frames: usize) -> Result<Vec<Code>, Damage> {
        let detectors = self.detectors.map_or(Ok(Vec::new()), Element::items)?;
        if detectors.is_empty() {
            let code = self.view_code.filter(|_| frames == 1).map_or(Ok(Code::NONE), |code| self.code(code))?;
            return Ok(vec![code; frames]);
        }
        let codes: Vec<Code> = detectors.into_iter().map(|detector| self.code_of_detector(detector)).collect::<Result<_, _>>()?;
        let vector: Vec<u16> = match self.detector_vector {
            Some(vector) => vector.shorts().take(frames + 1).collect(),
            // With one detector there is nothing to choose.
            None if codes.len() == 1 => vec![1; frames],
            None => Vec::new(),
        };
        if vector.len() != frames {
            return Ok(vec![Code::NONE; frames]);
        }
        let of = |detector: &u16| codes.get(usize::from(*detector).wrapping_sub(1)).cloned().unwrap_or(Code::NONE);
        Ok(vector.iter().map(of).collect())
    }

    /// The View Code Sequence of one item of the Detector Information Sequence.
    fn code_of_detector(&self, detector: DataSet) -> Result<Code, Damage> {
        match find(detector, tags::VIEW_CODE_SEQUENCE)? {
            Some(code) => self.code(code),
            None => Ok(Code::NONE),
        }
    }

    /// The first item of a View Code Sequence.
    fn code(&self, sequence: Element) -> Result<Code, Damage> {
        let (mut value, mut meaning) = (String::new(), String::new());
        let items = sequence.items()?;
        let Some(item) = items.first() else { return Ok(Code::NONE) };
        for element in item.elements() {
            let element = element?;
            match element.tag {
                tags::CODE_VALUE | tags::LONG_CODE_VALUE => value = element.text(),
                tags::CODE_MEANING => meaning = element.words(self.character_set.as_ref()).join("\\"),
                _ => {}
            }
        }
        Ok(Code { said: views::of_code(&value, &meaning), meaning })
    }

    /// An item of the Energy Window Information Sequence.
    fn window(&self, item: DataSet) -> Result<EnergyWindow, Damage> {
        let mut window = EnergyWindow::default();
        for element in item.elements() {
            let element = element?;
            match element.tag {
                tags::ENERGY_WINDOW_NAME => window.name = shown(&element.words(self.character_set.as_ref()).join(" ")),
                tags::ENERGY_WINDOW_RANGE_SEQUENCE => {
                    for range in element.items()? {
                        let limit = |tag| Ok::<_, Damage>(find(range, tag)?.and_then(|limit| limit.number::<f64>()));
                        if let (Some(lower), Some(upper)) =
                            (limit(tags::ENERGY_WINDOW_LOWER_LIMIT)?, limit(tags::ENERGY_WINDOW_UPPER_LIMIT)?)
                        {
                            window.ranges_kev.push([lower, upper]);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(window)
    }

    /// What the first item of the Radiopharmaceutical Information Sequence says in words: its text, else the meaning of a code.
    fn tracer(&self, sequence: Element) -> Result<Option<String>, Damage> {
        let items = sequence.items()?;
        let Some(item) = items.first() else { return Ok(None) };
        let mut words = Vec::new();
        for element in item.elements() {
            let element = element?;
            match element.tag {
                tags::RADIOPHARMACEUTICAL => words.push(element.words(self.character_set.as_ref()).join(" ")),
                tags::RADIOPHARMACEUTICAL_CODE_SEQUENCE | tags::RADIONUCLIDE_CODE_SEQUENCE => {
                    words.push(self.code(element)?.meaning)
                }
                _ => {}
            }
        }
        words.retain(|word| !word.is_empty());
        words.dedup();
        Ok((!words.is_empty()).then(|| shown(&words.join(", "))))
    }
}

/// Of two images that are all of their energy window, one view is said twice: one of them is wrong, and nothing tells which.
fn contradict_twins(views: &mut [FrameView], window_of: &[usize]) {
    let window = |frame: usize| window_of.get(frame).copied().unwrap_or_default();
    for first in 0..views.len() {
        let twins: Vec<usize> = (0..views.len()).filter(|frame| window(*frame) == window(first)).collect();
        if let ([one, other], Some(view)) = (&twins[..], views[first].view())
            && views[*one].view() == views[*other].view()
        {
            let problem = format!("says of both of its frames that they are the {view} view, which cannot be");
            for frame in [one, other] {
                views[*frame] = FrameView::Contradiction(problem.clone());
            }
        }
    }
}

/// What a code says, and its meaning in words.
#[derive(Clone)]
struct Code {
    said: Said,
    meaning: String,
}

impl Code {
    const NONE: Code = Code { said: Said::Nothing, meaning: String::new() };
}

/// The first element of a data set with this tag.
fn find(data: DataSet, tag: Tag) -> Result<Option<Element>, Damage> {
    for element in data.elements() {
        let element = element?;
        if element.tag == tag {
            return Ok(Some(element));
        }
    }
    Ok(None)
}

/// Words of a file, as a message may quote them.
fn shown(words: &str) -> String {
    const MOST: usize = 40;
    let mut shown: String =
        words.chars().take(MOST).map(|letter| if text::is_hidden(letter) { '\u{fffd}' } else { letter }).collect();
    if words.chars().count() > MOST {
        shown.push_str("...");
    }
    shown
}

/// The character set of a file's text: the last of those it names that is known.
fn character_set(names: &str) -> Option<SpecificCharacterSet> {
    names.split('\\').rev().find_map(|name| SpecificCharacterSet::from_code(name.trim()))
}

/// The two numbers of a Pixel Spacing, if they can be those of a pixel.
pub(super) fn spacing_of(element: Element) -> Option<[f64; 2]> {
    const MOST_MM: f64 = 1000.0;
    let text = element.text();
    let mut sides = text.split('\\').map(|side| side.trim().parse().ok().filter(|&side: &f64| side > 0.0 && side <= MOST_MM));
    match (sides.next(), sides.next(), sides.next()) {
        (Some(Some(height)), Some(Some(width)), None) => Some([height, width]),
        _ => None,
    }
}

/// The encoding of a data set, by its bytes where they contradict what the file says, and a note of that.
pub(super) fn encoding_of(declared: Option<&str>, data: &[u8]) -> (Encoding, Option<String>) {
    let by_bytes = Encoding::of_bytes(data);
    let Some(declared) = declared else { return (by_bytes.unwrap_or(Encoding::EXPLICIT), None) };
    let said = Encoding::of(declared);
    match by_bytes.filter(|found| *found != said) {
        Some(found) => {
            let note = format!("its transfer syntax says {}, and its bytes are {}", said.name(), found.name());
            (found, Some(note))
        }
        None => (said, None),
    }
}
