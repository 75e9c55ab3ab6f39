//! Pixel data to samples: native, RLE, and the JPEG family by the codecs of `dicom-pixeldata`.
//!
//! Whatever the encoding, the outcome is the same words of 8 or 16 bits, and one function turns words into counts.

use super::dataset::{BIG_ENDIAN, Element};
use super::{Refusal, counted};
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
    /// Of a transfer syntax that this build can decode.
    pub fn of(transfer_syntax: &str) -> Result<Self> {
        let needs = |name: &str, feature: &str| Refusal {
            problem: format!("its pixels are compressed as {name}, which this build cannot decode"),
            remedy: format!("build Osteon with `--features {feature}`, or decompress the file first (gdcmconv --raw)"),
        };
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
            uids::JPEGLS_LOSSLESS | uids::JPEGLS_NEAR_LOSSLESS if cfg!(feature = "jpeg-ls") => Ok(Packing::JpegLs),
            uids::JPEGLS_LOSSLESS | uids::JPEGLS_NEAR_LOSSLESS => Err(needs("JPEG-LS", "jpeg-ls")),
            uids::JPEG2000_LOSSLESS | uids::JPEG2000 if cfg!(feature = "jpeg2000") => Ok(Packing::Jpeg2000),
            uids::JPEG2000_LOSSLESS | uids::JPEG2000 => Err(needs("JPEG 2000", "jpeg2000")),
            // Printed only if it can be a UID: what stands there is the file's.
            other if other.len() <= 64 && other.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => Err(Refusal {
                problem: format!("Osteon has no decoder for its transfer syntax {other}"),
                remedy: "convert it to explicit VR little endian (gdcmconv --raw)".into(),
            }),
            _ => Err(Refusal::new("its transfer syntax is no UID", "export it again from the archive")),
        }
    }
}

/// The words of each frame.
pub(super) fn decode(pixel_data: Element, packing: Packing, transfer_syntax: &str, layout: &Layout) -> Result<Vec<Vec<u16>>> {
    if packing == Packing::Native {
        if pixel_data.delimited {
            return Err(Refusal::new("its pixels are in fragments, which its transfer syntax does not have", EXPORT_AGAIN));
        }
        return native(pixel_data, layout);
    }
    if !pixel_data.delimited {
        return Err(Refusal::new("its pixels should be in fragments and are not", EXPORT_AGAIN));
    }
    let fragments = pixel_data.fragments().map_err(Refusal::from)?;
    let compressed: usize = fragments.iter().map(|fragment| fragment.len()).sum();
    let uncompressed = layout.frame_pixels() * layout.frames * layout.bytes();
    if compressed > uncompressed + uncompressed / 4 + layout.frames * MAX_STREAM_HEADER {
        let problem = format!("its pixels take {compressed} bytes compressed and {uncompressed} uncompressed");
        return Err(Refusal::new(problem, EXPORT_AGAIN));
    }
    streams(&fragments, layout.frames)?
        .into_iter()
        .map(|stream| match packing {
            Packing::Native | Packing::Encapsulated => native_frame(&stream, layout),
            Packing::Rle => rle(&stream, layout),
            Packing::Jpeg | Packing::JpegLs => {
                let frame = JpegFrame::find(&stream).ok_or_else(|| damaged("JPEG"))?;
                if scans(&stream) > MAX_SCANS {
                    return Err(Refusal::new(format!("its JPEG data has more than {MAX_SCANS} scans"), EXPORT_AGAIN));
                }
                if frame.lossy() && frame.precision > 8 {
                    return Err(Refusal {
                        problem: format!(
                            "its pixels are compressed as lossy JPEG of {} bits, for which there is no decoder",
                            frame.precision
                        ),
                        remedy: "export it again without lossy compression, or decompress it first (gdcmconv --raw)".into(),
                    });
                }
                // The JPEG decoder gives lossless samples of less than 8 bits as 16.
                let wide = frame.precision > 8 || packing == Packing::Jpeg && frame.precision < 8;
                codec(&stream, frame.extent(), wide, transfer_syntax, layout)
            }
            Packing::Jpeg2000 => {
                let extent = jpeg2000_extent(&stream).ok_or_else(|| damaged("JPEG 2000"))?;
                codec(&stream, extent, extent.precision > 8, transfer_syntax, layout)
            }
        })
        .collect()
}

/// A codec's tables, comments and profile beside a frame's pixels; noise takes a little more compressed than not.
const MAX_STREAM_HEADER: usize = 64 << 10;

/// A progressive JPEG has some ten scans. Each is a pass over the whole picture, which a few bytes can ask for.
const MAX_SCANS: usize = 64;

/// OpenJPEG allocates by the tile; encoders make one, or tiles of 256 pixels and more a side.
const MAX_TILES: usize = 4096;

const EXPORT_AGAIN: &str = "export it again from the archive";

fn damaged(name: &str) -> Refusal {
    Refusal {
        problem: format!("its {name} data is cut short or damaged"),
        remedy: "copy or export it again from the archive".into(),
    }
}

fn native(pixel_data: Element, layout: &Layout) -> Result<Vec<Vec<u16>>> {
    let expected = layout.frame_pixels() * layout.frames * layout.bytes();
    let found = pixel_data.value.len();
    if found != expected && found != expected.next_multiple_of(2) {
        let Layout { rows, columns, frames, bits_allocated, .. } = layout;
        return Err(Refusal::new(
            format!(
                "holds {found} bytes of pixels where {} of {rows}x{columns} pixels and {bits_allocated} bits need {expected}",
                counted(*frames)
            ),
            "copy or export it again from the archive",
        ));
    }
    let words: Vec<u16> = match layout.bits_allocated {
        16 => pixel_data.shorts().collect(),
        // The bytes of a word (OW) are swapped in big endian.
        _ if pixel_data.encoding.big_endian && pixel_data.vr == Some(*b"OW") => {
            pixel_data.value.chunks(2).flat_map(|pair| pair.iter().rev()).map(|&byte| byte.into()).collect()
        }
        _ => pixel_data.value.iter().map(|&byte| byte.into()).collect(),
    };
    Ok(words[..layout.frame_pixels() * layout.frames].chunks_exact(layout.frame_pixels()).map(<[u16]>::to_vec).collect())
}

/// One frame, low byte first.
fn native_frame(stream: &[u8], layout: &Layout) -> Result<Vec<u16>> {
    let bytes = stream.get(..layout.frame_pixels() * layout.bytes()).ok_or_else(|| damaged("pixel"))?;
    Ok(match layout.bits_allocated {
        16 => bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect(),
        _ => bytes.iter().map(|&byte| byte.into()).collect(),
    })
}

/// The bytes of each frame. `fragments` starts with the Basic Offset Table (PS3.5 A.4), which may be empty.
fn streams<'a>(fragments: &[&'a [u8]], frames: usize) -> Result<Vec<Cow<'a, [u8]>>> {
    let Some((table, fragments)) = fragments.split_first().filter(|(_, fragments)| !fragments.is_empty()) else {
        return Err(Refusal::new("holds no pixels", "export the image itself from the archive"));
    };
    if frames == 1 {
        return Ok(vec![match fragments {
            [only] => Cow::Borrowed(*only),
            several => Cow::Owned(several.concat()),
        }]);
    }
    if fragments.len() == frames {
        return Ok(fragments.iter().map(|&fragment| Cow::Borrowed(fragment)).collect());
    }
    let unknown = || {
        Refusal::new(
            format!("its header says {} and its pixels are in {} fragments, which do not fit", counted(frames), fragments.len()),
            "export it again, uncompressed if the archive can",
        )
    };
    let starts: Vec<usize> =
        table.chunks_exact(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize).collect();
    if starts.len() != frames {
        return Err(unknown());
    }
    let mut streams = vec![Vec::new(); frames];
    let mut offset = 0;
    let mut begun = 0;
    for fragment in fragments {
        if starts.get(begun) == Some(&offset) {
            begun += 1;
        }
        streams.get_mut(begun.wrapping_sub(1)).ok_or_else(unknown)?.extend_from_slice(fragment);
        offset += 8 + fragment.len();
    }
    if begun == frames { Ok(streams.into_iter().map(Cow::Owned).collect()) } else { Err(unknown()) }
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
fn codec(stream: &[u8], extent: Extent, wide: bool, transfer_syntax: &str, layout: &Layout) -> Result<Vec<u16>> {
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
        .transfer_syntax(transfer_syntax)
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
