//! Pixel data to samples: native, RLE, and the JPEG family by the codecs of `dicom-pixeldata`.
//!
//! Whatever the encoding, the outcome is the same words of 8 or 16 bits, and one function turns words into counts.

use super::Refusal;
use super::dataset::{BIG_ENDIAN, Element};
use crate::image::jpeg_is_whole;
use crate::text::counted;
use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicom_pixeldata::PixelDecoder;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

type Result<T> = std::result::Result<T, Refusal>;

/// What the header says of the words of the pixel data; checked before it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub rows: usize,
    pub columns: usize,
    pub frames: usize,
    /// 8 or 16.
    pub bits_allocated: usize,
    /// 1 to `bits_allocated`.
    pub bits_stored: usize,
    /// `bits_stored - 1` to `bits_allocated - 1`.
    pub high_bit: usize,
    pub signed: bool,
}

impl Layout {
    fn frame_pixels(&self) -> usize {
        self.rows * self.columns
    }

    fn bytes(&self) -> usize {
        self.bits_allocated / 8
    }

    /// The number that a word stands for.
    pub fn sample(&self, word: u16) -> i32 {
        let aligned = i32::from(word >> (self.high_bit + 1 - self.bits_stored));
        let unused = 32 - self.bits_stored as u32;
        // Moved to the top and back: drops what is above the stored bits (overlays live there), spreads the sign if there is one.
        if self.signed { (aligned << unused) >> unused } else { ((aligned as u32) << unused >> unused) as i32 }
    }
}

/// How a transfer syntax packs pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// One value, frame after frame.
    Native,
    /// As native, but a fragment a frame.
    Encapsulated,
    Rle,
    /// Baseline, extended and lossless.
    Jpeg,
    JpegLs,
    Jpeg2000,
}

impl Packing {
    /// Of a transfer syntax.
    pub fn of(transfer_syntax: &str) -> Result<Self> {
        match transfer_syntax {
            uids::IMPLICIT_VR_LITTLE_ENDIAN
            | uids::EXPLICIT_VR_LITTLE_ENDIAN
            | BIG_ENDIAN
            | uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => Ok(Packing::Native),
            uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN => Ok(Packing::Encapsulated),
            uids::RLE_LOSSLESS => Ok(Packing::Rle),
            uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT | uids::JPEG_LOSSLESS | uids::JPEG_LOSSLESS_SV1 => {
                Ok(Packing::Jpeg)
            }
            uids::JPEGLS_LOSSLESS | uids::JPEGLS_NEAR_LOSSLESS => Ok(Packing::JpegLs),
            uids::JPEG2000_LOSSLESS | uids::JPEG2000 => Ok(Packing::Jpeg2000),
            // Printed only if it can be a UID: what stands there is the file's.
            other if other.len() <= 64 && other.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => Err(Refusal::new(
                format!("Osteon has no decoder for its transfer syntax {other}"),
                "convert it to explicit VR little endian (gdcmconv --raw)",
            )),
            _ => Err(Refusal::new("its transfer syntax is no UID", "export it again from the archive")),
        }
    }

    /// Refuses what this build cannot decode.
    fn check_built(self) -> Result<()> {
        let (name, feature) = match self {
            Packing::JpegLs if !cfg!(feature = "jpeg-ls") => ("JPEG-LS", "jpeg-ls"),
            Packing::Jpeg2000 if !cfg!(feature = "jpeg2000") => ("JPEG 2000", "jpeg2000"),
            _ => return Ok(()),
        };
        Err(Refusal::new(
            format!("its pixels are compressed as {name}, which this build cannot decode"),
            format!("build Osteon with `--features {feature}`, or decompress the file first (gdcmconv --raw)"),
        ))
    }

    /// The transfer syntax by which `dicom-pixeldata` finds its codec.
    fn codec(self) -> &'static str {
        match self {
            Packing::JpegLs => uids::JPEGLS_LOSSLESS,
            Packing::Jpeg2000 => uids::JPEG2000,
            _ => uids::JPEG_BASELINE8_BIT,
        }
    }
}

/// The words of the frames with these numbers, from 1. The packing is the declared one, or that of the bytes where they contradict it,
/// which `notes` then says.
pub(super) fn decode(
    pixel_data: Element,
    declared: Option<&str>,
    layout: &Layout,
    numbers: &[usize],
    notes: &mut Vec<String>,
) -> Result<Vec<Vec<u16>>> {
    if let Some(unknown) = numbers.iter().find(|number| !(1..=layout.frames).contains(*number)) {
        return Err(Refusal::new(format!("has no frame {unknown}"), "count frames from 1, as in file.dcm#1"));
    }
    let uncompressed = layout.frame_pixels() * layout.frames * layout.bytes();
    let packing = declared.map(Packing::of).unwrap_or(Ok(Packing::Native));
    if !pixel_data.delimited {
        let is_native = matches!(packing, Ok(Packing::Native));
        if !is_native && pixel_data.value.len() != uncompressed.next_multiple_of(2) {
            packing?;
            return Err(Refusal::new("its pixels should be in fragments and are not", EXPORT_AGAIN));
        }
        if !is_native {
            notes.push("its transfer syntax says compressed pixels, and they are not".to_owned());
        }
        return native(pixel_data, layout, numbers, notes);
    }
    let fragments = pixel_data.fragments().map_err(Refusal::from)?;
    let by_bytes = fragments.iter().skip(1).find(|fragment| !fragment.is_empty()).and_then(|first| packing_of_stream(first));
    let packing = match (packing, by_bytes) {
        (Ok(packing), Some((found, _))) if packing == found || packing == Packing::Encapsulated => packing,
        (_, Some((found, name))) => {
            if declared.is_some() {
                notes.push(format!("its pixels are compressed as {name}, and its transfer syntax says another thing"));
            }
            found
        }
        (Ok(Packing::Native), None) => {
            return Err(Refusal::new("its pixels are in fragments, which its transfer syntax does not have", EXPORT_AGAIN));
        }
        (packing, None) => packing?,
    };
    packing.check_built()?;
    let compressed: usize = fragments.iter().map(|fragment| fragment.len()).sum();
    if compressed > uncompressed + uncompressed / 4 + layout.frames * MAX_STREAM_HEADER {
        let problem = format!("its pixels take {compressed} bytes compressed and {uncompressed} uncompressed");
        return Err(Refusal::new(problem, EXPORT_AGAIN));
    }
    let streams = streams(&fragments, layout.frames)?;
    let decode = |number: &usize| {
        let stream = &streams[number - 1];
        match packing {
            Packing::Native | Packing::Encapsulated => native_frame(stream, layout),
            Packing::Rle => rle(stream, layout),
            Packing::Jpeg | Packing::JpegLs => {
                let frame = JpegFrame::find(stream).ok_or_else(|| damaged("JPEG"))?;
                if scans(stream) > MAX_SCANS {
                    return Err(Refusal::new(format!("its JPEG data has more than {MAX_SCANS} scans"), EXPORT_AGAIN));
                }
                if frame.lossy() && frame.precision > 8 {
                    return Err(Refusal::new(
                        format!(
                            "its pixels are compressed as lossy JPEG of {} bits, for which there is no decoder",
                            frame.precision
                        ),
                        "export it again without lossy compression, or decompress it first (gdcmconv --raw)",
                    ));
                }
                // The JPEG decoder gives lossless samples of less than 8 bits as 16.
                let wide = frame.precision > 8 || packing == Packing::Jpeg && frame.precision < 8;
                codec(stream, frame.extent(), wide, packing, layout)
            }
            Packing::Jpeg2000 => {
                let extent = jpeg2000_extent(stream).ok_or_else(|| damaged("JPEG 2000"))?;
                codec(stream, extent, extent.precision > 8, packing, layout)
            }
        }
    };
    numbers.iter().map(decode).collect()
}

/// The packing that the first bytes of a compressed frame announce, and its name.
fn packing_of_stream(stream: &[u8]) -> Option<(Packing, &'static str)> {
    match stream {
        [0xff, 0xd8, 0xff, ..] if JpegFrame::find(stream).is_some_and(|frame| frame.marker == 0xf7) => {
            Some((Packing::JpegLs, "JPEG-LS"))
        }
        [0xff, 0xd8, 0xff, ..] => Some((Packing::Jpeg, "JPEG")),
        [0xff, 0x4f, 0xff, 0x51, ..] => Some((Packing::Jpeg2000, "JPEG 2000")),
        // The number of segments, and that the first stands behind the header.
        [1 | 2, 0, 0, 0, 64, 0, 0, 0, ..] => Some((Packing::Rle, "RLE")),
        _ => None,
    }
}

/// A codec's tables, comments and profile beside a frame's pixels; noise takes a little more compressed than not.
const MAX_STREAM_HEADER: usize = 64 << 10;

/// A progressive JPEG has some ten scans. Each is a pass over the whole picture, which a few bytes can ask for.
const MAX_SCANS: usize = 64;

/// OpenJPEG allocates by the tile; encoders make one, or tiles of 256 pixels and more a side.
const MAX_TILES: usize = 4096;

const EXPORT_AGAIN: &str = "export it again from the archive";

fn damaged(name: &str) -> Refusal {
    Refusal::new(format!("its {name} data is cut short or damaged"), "copy or export it again from the archive")
}

/// Uncompressed frames, one after the other. What stands behind the last is padding (PS3.5 8.1.1) where it can be nothing else: less than
/// a row, or less than a frame of one value.
fn native(pixel_data: Element, layout: &Layout, numbers: &[usize], notes: &mut Vec<String>) -> Result<Vec<Vec<u16>>> {
    let expected = layout.frame_pixels() * layout.frames * layout.bytes();
    let found = pixel_data.value.len();
    let excess = pixel_data.value.get(expected..).unwrap_or_default();
    let is_padding = excess.len() < layout.columns * layout.bytes()
        || excess.len() < layout.frame_pixels() * layout.bytes() && excess.iter().all(|byte| *byte == excess[0]);
    // An odd number of bytes is filled up.
    let is_even = found == expected.next_multiple_of(2);
    if found < expected || !is_even && !is_padding {
        let Layout { rows, columns, frames, bits_allocated, .. } = layout;
        return Err(Refusal::new(
            format!(
                "holds {found} bytes of pixels where {} of {rows}x{columns} pixels and {bits_allocated} bits need {expected}",
                counted(*frames, "frame")
            ),
            "copy or export it again from the archive",
        ));
    }
    if !is_even && !excess.is_empty() {
        notes.push(format!("{} bytes behind its pixels are passed over", excess.len()));
    }
    // The bytes of a word (OW) are swapped in big endian.
    let is_swapped = layout.bits_allocated == 8 && pixel_data.encoding.big_endian && pixel_data.vr == Some(*b"OW");
    let pixels = layout.frame_pixels();
    let frame = |number: &usize| {
        let start = (number - 1) * pixels;
        match layout.bits_allocated {
            16 => pixel_data.shorts().skip(start).take(pixels).collect(),
            _ if is_swapped => {
                (start..start + pixels).map(|at| pixel_data.value.get(at ^ 1).copied().unwrap_or_default().into()).collect()
            }
            _ => pixel_data.value[start..][..pixels].iter().map(|&byte| byte.into()).collect(),
        }
    };
    Ok(numbers.iter().map(frame).collect())
}

/// One frame, low byte first.
fn native_frame(stream: &[u8], layout: &Layout) -> Result<Vec<u16>> {
    let bytes = stream.get(..layout.frame_pixels() * layout.bytes()).ok_or_else(|| damaged("pixel"))?;
    Ok(match layout.bits_allocated {
        16 => bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect(),
        _ => bytes.iter().map(|&byte| byte.into()).collect(),
    })
}

/// The bytes of each frame. `fragments` starts with the Basic Offset Table (PS3.5 A.4), which may be empty; then a frame is a fragment,
/// or begins where a fragment begins as a JPEG or JPEG 2000 stream does. Empty fragments hold nothing.
fn streams<'a>(fragments: &[&'a [u8]], frames: usize) -> Result<Vec<Cow<'a, [u8]>>> {
    let (table, fragments) = fragments.split_first().map_or((&[][..], fragments), |(table, rest)| (*table, rest));
    let filled: Vec<&'a [u8]> = fragments.iter().copied().filter(|fragment| !fragment.is_empty()).collect();
    if filled.is_empty() {
        return Err(Refusal::new("holds no pixels", "export the image itself from the archive"));
    }
    let joined = |pieces: &[&'a [u8]]| match pieces {
        [only] => Cow::Borrowed(*only),
        several => Cow::Owned(several.concat()),
    };
    if frames == 1 {
        return Ok(vec![joined(&filled)]);
    }
    if filled.len() == frames {
        return Ok(filled.into_iter().map(Cow::Borrowed).collect());
    }
    let starts: Vec<usize> =
        table.chunks_exact(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize).collect();
    let (mut offset, mut by_table) = (0, Vec::new());
    for fragment in fragments {
        if starts.contains(&offset) && !fragment.is_empty() {
            by_table.push(Vec::new());
        }
        if let Some(pieces) = by_table.last_mut().filter(|_| !fragment.is_empty()) {
            pieces.push(*fragment);
        }
        offset += 8 + fragment.len();
    }
    let mut by_bytes: Vec<Vec<&'a [u8]>> = Vec::new();
    for fragment in &filled {
        match by_bytes.last_mut() {
            Some(pieces) if !begins_a_stream(fragment) => pieces.push(fragment),
            _ => by_bytes.push(vec![fragment]),
        }
    }
    let begins = |pieces: &Vec<Vec<&'a [u8]>>| pieces.len() == frames && pieces.iter().all(|pieces| begins_a_stream(pieces[0]));
    let is_whole = |pieces: &Vec<Vec<&'a [u8]>>| pieces.len() == frames && pieces.iter().flatten().count() == filled.len();
    let pieces = match () {
        _ if begins(&by_bytes) => by_bytes,
        _ if starts.len() == frames && is_whole(&by_table) => by_table,
        _ => {
            let many = counted(filled.len(), "fragment");
            return Err(Refusal::new(
                format!("its header says {} and its pixels are in {many}, which do not fit", counted(frames, "frame")),
                "export it again, uncompressed if the archive can",
            ));
        }
    };
    Ok(pieces.iter().map(|pieces| joined(pieces)).collect())
}

/// Whether a fragment begins a frame: in the middle of a stream no `ff` has `d8` or `4f` behind it.
fn begins_a_stream(fragment: &[u8]) -> bool {
    matches!(fragment, [0xff, 0xd8, 0xff, ..] | [0xff, 0x4f, 0xff, 0x51, ..])
}

/// RLE Lossless (PS3.5 annex G): a header of 16 numbers, then one PackBits segment a byte of the word, high byte first.
fn rle(stream: &[u8], layout: &Layout) -> Result<Vec<u16>> {
    const HEADER: usize = 16 * 4;
    let header: Vec<usize> = stream
        .get(..HEADER)
        .ok_or_else(|| damaged("RLE"))?
        .chunks_exact(4)
        .map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
        .collect();
    let (segments, starts) = (header[0], &header[1..]);
    if segments != layout.bytes() {
        return Err(damaged("RLE"));
    }
    let mut words = vec![0; layout.frame_pixels()];
    for segment in 0..segments {
        let end = if segment + 1 < segments { starts[segment + 1] } else { stream.len() };
        let bytes = stream.get(starts[segment]..end).ok_or_else(|| damaged("RLE"))?;
        unpack_bits(bytes, &mut words).ok_or_else(|| damaged("RLE"))?;
    }
    Ok(words)
}

/// Shifts one byte of the PackBits stream into each word. `None` where the stream ends before the words do.
fn unpack_bits(mut bytes: &[u8], mut words: &mut [u16]) -> Option<()> {
    while !words.is_empty() {
        let (&control, rest) = bytes.split_first()?;
        let (literal, length) = match control {
            0..=127 => (true, usize::from(control) + 1),
            128 => {
                bytes = rest;
                continue;
            }
            129..=255 => (false, 257 - usize::from(control)),
        };
        // Some encoders let the last run end beyond the image.
        let length = length.min(words.len());
        let (run, others) = std::mem::take(&mut words).split_at_mut(length);
        words = others;
        let taken = rest.get(..if literal { run.len() } else { 1 })?;
        for (word, &byte) in run.iter_mut().zip(taken.iter().cycle()) {
            *word = *word << 8 | u16::from(byte);
        }
        bytes = &rest[taken.len()..];
    }
    Some(())
}

/// What a compressed stream says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    rows: usize,
    columns: usize,
    components: usize,
    precision: usize,
}

/// The start-of-frame marker of a JPEG or JPEG-LS stream.
#[derive(Clone, Copy, Debug)]
struct JpegFrame {
    marker: u8,
    precision: u8,
    rows: u16,
    columns: u16,
    components: u8,
}

impl JpegFrame {
    fn find(stream: &[u8]) -> Option<Self> {
        let mut rest = stream.strip_prefix(&[0xff, 0xd8])?;
        loop {
            let [0xff, marker, ..] = *rest else { return None };
            rest = &rest[2..];
            match marker {
                // Fill byte: the marker is still to come.
                0xff => rest = &stream[stream.len() - rest.len() - 1..],
                // SOF0 to SOF15 without DHT, JPG and DAC, and SOF55 of JPEG-LS.
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf | 0xf7 => {
                    let [_, _, precision, y1, y0, x1, x0, components] = *rest.first_chunk::<8>()?;
                    let (rows, columns) = (u16::from_be_bytes([y1, y0]), u16::from_be_bytes([x1, x0]));
                    return Some(JpegFrame { marker, precision, rows, columns, components });
                }
                0x01 | 0xd0..=0xd7 => {}
                0xd8..=0xda => return None,
                _ => rest = rest.get(usize::from(u16::from_be_bytes(*rest.first_chunk::<2>()?))..)?,
            }
        }
    }

    fn lossy(&self) -> bool {
        !matches!(self.marker, 0xc3 | 0xc7 | 0xcb | 0xcf | 0xf7)
    }

    fn extent(&self) -> Extent {
        Extent {
            rows: self.rows.into(),
            columns: self.columns.into(),
            components: self.components.into(),
            precision: self.precision.into(),
        }
    }
}

/// How many scans a JPEG or JPEG-LS stream has at most: in compressed data, nothing but a start of scan is written `ff da`.
fn scans(stream: &[u8]) -> usize {
    stream.windows(2).filter(|pair| pair == &[0xff, 0xda]).count()
}

/// Of a JPEG 2000 code stream, whose SIZ segment stands at its very start. `None` also where it has more tiles than any encoder
/// makes.
fn jpeg2000_extent(stream: &[u8]) -> Option<Extent> {
    let siz = stream.strip_prefix(&[0xff, 0x4f, 0xff, 0x51])?;
    let u32_at = |at: usize| Some(u32::from_be_bytes(*siz.get(at..)?.first_chunk::<4>()?) as usize);
    let (columns, rows) = (u32_at(4)?.checked_sub(u32_at(12)?)?, u32_at(8)?.checked_sub(u32_at(16)?)?);
    let tiles =
        |end: usize, start: usize, side: usize| end.checked_sub(start)?.checked_add(side.checked_sub(1)?)?.checked_div(side);
    let across = tiles(u32_at(4)?, u32_at(28)?, u32_at(20)?)?;
    let down = tiles(u32_at(8)?, u32_at(32)?, u32_at(24)?)?;
    across.checked_mul(down).filter(|tiles| (1..=MAX_TILES).contains(tiles))?;
    let [high, low, depth] = *siz.get(36..)?.first_chunk::<3>()?;
    let components = u16::from_be_bytes([high, low]).into();
    Some(Extent { rows, columns, components, precision: usize::from(depth & 0x7f) + 1 })
}

/// One frame through the codecs of `dicom-pixeldata`. They see a file of one frame with nothing in it but what was checked here:
/// they allocate what a stream claims, and some index by it. `wide`: they give 16 bits a sample, not 8.
fn codec(stream: &[u8], extent: Extent, wide: bool, packing: Packing, layout: &Layout) -> Result<Vec<u16>> {
    let Extent { rows, columns, components, precision } = extent;
    if (rows, columns, components) != (layout.rows, layout.columns, 1) || precision > layout.bits_allocated {
        return Err(Refusal::new(
            format!(
                "its header says {}x{} pixels of {} bits, its compressed pixels {rows}x{columns}x{components} of {precision}",
                layout.rows, layout.columns, layout.bits_allocated
            ),
            EXPORT_AGAIN,
        ));
    }
    // The decoder fills up what is missing.
    if packing == Packing::Jpeg && !jpeg_is_whole(stream) {
        return Err(damaged("JPEG"));
    }
    let bits = if wide { 16_u16 } else { 8 };
    let short = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    let object = InMemDicomObject::from_element_iter([
        short(tags::ROWS, rows as u16),
        short(tags::COLUMNS, columns as u16),
        short(tags::SAMPLES_PER_PIXEL, 1),
        short(tags::BITS_ALLOCATED, bits),
        short(tags::BITS_STORED, bits),
        short(tags::HIGH_BIT, bits - 1),
        short(tags::PIXEL_REPRESENTATION, 0),
        DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, PrimitiveValue::from("MONOCHROME2")),
        DataElement::new(tags::NUMBER_OF_FRAMES, VR::IS, PrimitiveValue::from("1")),
        DataElement::new(tags::PIXEL_DATA, VR::OB, PixelFragmentSequence::new_fragments(vec![stream.to_vec()])),
    ]);
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(packing.codec())
        .media_storage_sop_class_uid(uids::NUCLEAR_MEDICINE_IMAGE_STORAGE)
        .media_storage_sop_instance_uid("2.25.0");
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let file = object.with_meta(meta).ok()?;
        let decoded = file.decode_pixel_data().ok()?;
        Some(decoded.data().to_vec())
    }));
    let bytes = decoded.ok().flatten().ok_or_else(|| damaged("compressed pixel"))?;
    native_frame(&bytes, &Layout { bits_allocated: bits.into(), ..*layout })
}
