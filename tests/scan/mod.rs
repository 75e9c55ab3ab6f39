//! Small DICOM files as tests want them.
#![allow(dead_code)] // each test uses its part

use dicom_core::value::{DataSetSequence, PixelFragmentSequence};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use osteon::dicom::{self, Frame};

pub const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

pub fn text(tag: Tag, vr: VR, value: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, PrimitiveValue::from(value))
}

pub fn short(tag: Tag, value: u16) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::US, PrimitiveValue::from(value))
}

pub fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

/// A scan as a test wants it: `words` are what stands in the file.
#[derive(Clone)]
pub struct Scan {
    pub transfer_syntax: &'static str,
    pub rows: u16,
    pub columns: u16,
    pub frames: usize,
    pub bits: [u16; 3], // allocated, stored, high bit
    pub signed: bool,
    pub words: Vec<u16>,
    pub more: Vec<DataElement<InMemDicomObject>>,
}

impl Default for Scan {
    fn default() -> Self {
        Scan {
            transfer_syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN,
            rows: 4,
            columns: 3,
            frames: 1,
            bits: [16, 16, 15],
            signed: false,
            words: (0..12).collect(),
            more: Vec::new(),
        }
    }
}

impl Scan {
    pub fn with(mut self, element: DataElement<InMemDicomObject>) -> Self {
        self.more.push(element);
        self
    }

    fn little_endian(&self, words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()[..usize::from(self.bits[0] / 8)].to_vec()).collect()
    }

    fn pixel_data(&self) -> DataElement<InMemDicomObject> {
        let frame = usize::from(self.rows) * usize::from(self.columns);
        let fragments = |pack: &dyn Fn(&[u16]) -> Vec<u8>| {
            let mut fragments: Vec<Vec<u8>> = self.words.chunks(frame).map(pack).collect();
            fragments.iter_mut().filter(|fragment| fragment.len() % 2 == 1).for_each(|fragment| fragment.push(0));
            DataElement::new(tags::PIXEL_DATA, VR::OB, PixelFragmentSequence::new_fragments(fragments))
        };
        match self.transfer_syntax {
            uids::RLE_LOSSLESS => fragments(&|words| rle(words, self.bits[0] / 8)),
            uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN => fragments(&|words| self.little_endian(words)),
            uids::JPEG_BASELINE8_BIT => fragments(&|words| jpeg(words, self.rows, self.columns)),
            uids::JPEG_LOSSLESS_SV1 => fragments(&|words| jpeg_lossless(words, self.rows, self.columns, 8)),
            _ if self.bits[0] == 16 => DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(self.words.clone().into())),
            _ => {
                let mut bytes = self.little_endian(&self.words);
                bytes.resize(bytes.len().next_multiple_of(2), 0);
                DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(bytes.into()))
            }
        }
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let [allocated, stored, high] = self.bits;
        let mut object = InMemDicomObject::from_element_iter([
            text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
            text(tags::NUMBER_OF_FRAMES, VR::IS, &self.frames.to_string()),
            short(tags::SAMPLES_PER_PIXEL, 1),
            short(tags::ROWS, self.rows),
            short(tags::COLUMNS, self.columns),
            short(tags::BITS_ALLOCATED, allocated),
            short(tags::BITS_STORED, stored),
            short(tags::HIGH_BIT, high),
            short(tags::PIXEL_REPRESENTATION, self.signed.into()),
            self.pixel_data(),
        ]);
        for element in &self.more {
            object.put(element.clone());
        }
        bytes_of(object, self.transfer_syntax)
    }

    pub fn read(&self) -> Vec<Frame> {
        read(&self.bytes()).unwrap()
    }

    pub fn refusal(&self) -> String {
        refusal(&self.bytes())
    }
}

pub fn bytes_of(object: InMemDicomObject, transfer_syntax: &str) -> Vec<u8> {
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(transfer_syntax)
        .media_storage_sop_class_uid(uids::NUCLEAR_MEDICINE_IMAGE_STORAGE)
        .media_storage_sop_instance_uid("2.25.1");
    let mut bytes = Vec::new();
    object.with_meta(meta).unwrap().write_all(&mut bytes).unwrap();
    bytes
}

pub fn read(bytes: &[u8]) -> osteon::Result<Vec<Frame>> {
    Ok(dicom::read_bytes(bytes, "scan.dcm")?.frames)
}

/// The sentence of the error, without the file's name, which must stand at its start.
pub fn refusal(bytes: &[u8]) -> String {
    let message = read(bytes).unwrap_err().to_string();
    message.strip_prefix("scan.dcm: ").expect("the message names the file").to_owned()
}

/// RLE Lossless: literals and runs as they come.
pub fn rle(words: &[u16], bytes: u16) -> Vec<u8> {
    let mut header = [0_u32; 16];
    header[0] = bytes.into();
    let mut packed = Vec::new();
    for segment in 0..bytes {
        header[usize::from(segment) + 1] = 64 + packed.len() as u32;
        let plane: Vec<u8> = words.iter().map(|word| (word >> (8 * (bytes - 1 - segment))) as u8).collect();
        let mut rest = &plane[..];
        while let [first, ..] = *rest {
            let run = rest.iter().take(128).take_while(|&&byte| byte == first).count();
            if run > 1 {
                packed.extend([(257 - run) as u8, first]);
                rest = &rest[run..];
            } else {
                let literal = rest.windows(2).take(127).take_while(|pair| pair[0] != pair[1]).count().max(1);
                packed.push(literal as u8 - 1);
                packed.extend(&rest[..literal]);
                rest = &rest[literal..];
            }
        }
        packed.push(128); // says nothing, and must be stepped over
    }
    header.iter().flat_map(|number| number.to_le_bytes()).chain(packed).collect()
}

pub fn jpeg(words: &[u16], rows: u16, columns: u16) -> Vec<u8> {
    let grey: Vec<u8> = words.iter().map(|&word| word as u8).collect();
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100)
        .encode(&grey, columns.into(), rows.into(), image::ExtendedColorType::L8)
        .unwrap();
    bytes
}

/// Lossless JPEG of 2 to 8 bits (ITU-T T.81 annex H), each sample predicted by the one on its left; differences as they come, with a code
/// of four bits for each of the categories 0 to 8.
pub fn jpeg_lossless(words: &[u16], rows: u16, columns: u16, precision: u8) -> Vec<u8> {
    let [[y1, y0], [x1, x0]] = [rows, columns].map(u16::to_be_bytes);
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xc3, 0, 11, precision, y1, y0, x1, x0, 1, 1, 0x11, 0];
    bytes.extend([0xff, 0xc4, 0, 2 + 1 + 16 + 9, 0]);
    bytes.extend((1..=16).map(|length| if length == 4 { 9 } else { 0 }));
    bytes.extend(0..9);
    bytes.extend([0xff, 0xda, 0, 8, 1, 1, 0, 1, 0, 0]);
    let (mut bits, mut pending) = (0_u32, 0);
    let mut put = |value: u32, count: u32, bytes: &mut Vec<u8>| {
        (bits, pending) = (bits << count | value, pending + count);
        while pending >= 8 {
            let byte = (bits >> (pending - 8)) as u8;
            bytes.push(byte);
            bytes.extend((byte == 0xff).then_some(0)); // or it would be a marker
            (bits, pending) = (bits & ((1 << (pending - 8)) - 1), pending - 8);
        }
    };
    for (at, &word) in words.iter().enumerate() {
        let (column, above) =
            (at % usize::from(columns), at.checked_sub(usize::from(columns)).map_or(1 << (precision - 1), |above| words[above]));
        let predicted = if column > 0 { words[at - 1] } else { above };
        let difference = i32::from(word) - i32::from(predicted);
        let category = 32 - difference.unsigned_abs().leading_zeros();
        let code = if difference < 0 { difference - 1 } else { difference } as u32 & ((1 << category) - 1);
        put(category, 4, &mut bytes);
        put(code, category, &mut bytes);
    }
    put(0x7f, 7, &mut bytes);
    bytes.extend([0xff, 0xd9]);
    bytes
}

pub fn detector(value: &str, scheme: &str, meaning: &str) -> InMemDicomObject {
    InMemDicomObject::from_element_iter([sequence(
        tags::VIEW_CODE_SEQUENCE,
        vec![InMemDicomObject::from_element_iter([
            text(tags::CODE_VALUE, VR::SH, value),
            text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme),
            text(tags::CODE_MEANING, VR::LO, meaning),
        ])],
    )])
}

/// A valid file of a few hundred bytes in each encoding that every build reads.
pub fn small_files() -> Vec<(&'static str, Vec<u8>)> {
    let detectors = || {
        let detectors = vec![detector("G-5215", "SRT", "Anterior"), detector("399001007", "SCT", "Posterior projection")];
        sequence(tags::DETECTOR_INFORMATION_SEQUENCE, detectors)
    };
    let vector = DataElement::new(tags::DETECTOR_VECTOR, VR::US, PrimitiveValue::U16([2, 1].into_iter().collect()));
    let scan = |transfer_syntax| {
        let words = (0..24).map(|word| word / 3).collect();
        Scan { transfer_syntax, frames: 2, words, ..Scan::default() }.with(detectors()).with(vector.clone()).bytes()
    };
    let jpeg = Scan {
        transfer_syntax: uids::JPEG_BASELINE8_BIT,
        rows: 16,
        columns: 16,
        bits: [8, 8, 7],
        words: (0..256).collect(),
        ..Scan::default()
    };
    vec![
        ("explicit", scan(uids::EXPLICIT_VR_LITTLE_ENDIAN)),
        ("implicit", scan(uids::IMPLICIT_VR_LITTLE_ENDIAN)),
        ("big-endian", scan(BIG_ENDIAN)),
        ("deflated", scan(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)),
        ("encapsulated", scan(uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN)),
        ("rle", scan(uids::RLE_LOSSLESS)),
        ("jpeg", jpeg.bytes()),
        ("jpeg-lossless", Scan { transfer_syntax: uids::JPEG_LOSSLESS_SV1, ..jpeg }.bytes()),
    ]
}
