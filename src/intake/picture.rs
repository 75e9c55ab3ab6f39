//! PNG and JPEG files to images, and pixels to PNG files.

use crate::dicom::{MAX_FILE_BYTES, MAX_PIXELS};
use crate::image::{Image, jpeg_is_whole};
use crate::{Error, Result, files};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;
use std::path::Path;

/// More rows or columns are no planar scan.
const MAX_SIDE: u32 = 16384;

/// The largest view takes this uncompressed, with four channels of 16 bits.
const MAX_BYTES: u64 = (MAX_PIXELS * 4 * size_of::<u16>()) as u64;

/// Red, green and blue of a grey pixel may differ by this much where a JPEG went through its colour space.
const GREY_SPREAD: u16 = 4;

/// The format that a file's first bytes announce.
fn format(bytes: &[u8]) -> Option<ImageFormat> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(ImageFormat::Png),
        [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
        _ => None,
    }
}

/// Whether a file begins as PNG or JPEG files do. `false` also where it cannot be read.
pub fn is_picture(path: impl AsRef<Path>) -> bool {
    use std::io::Read;
    let mut start = Vec::new();
    path.as_ref().is_file()
        && std::fs::File::open(path).is_ok_and(|file| file.take(8).read_to_end(&mut start).is_ok())
        && format(&start).is_some()
}

/// Whether a file begins as PNG or JPEG files do, by its first eight bytes.
pub fn begins_as_picture(bytes: &[u8]) -> bool {
    format(bytes).is_some()
}

/// A picture's counts, and what is to be said about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// 0 to 255, or 0 to 65535.
    pub image: Image,
    /// Of a value: 8 or 16.
    pub bits: u8,
    /// What was done to the pixels as they are stored, such as `turned by 90 degrees clockwise (EXIF orientation 6)`; mostly nothing.
    pub applied: Vec<String>,
    /// What is strange about them, each a sentence without the file's name: problem, semicolon, remedy.
    pub warnings: Vec<String>,
}

impl Picture {
    /// The picture with black for white, which it then says that it was given.
    pub fn inverted(mut self) -> Picture {
        self.image = inverted(&self.image, self.bits);
        self.applied.push(format!("inverted: {} minus the value of each pixel", largest(self.bits)));
        self
    }
}

fn largest(bits: u8) -> f32 {
    if bits == 8 { 255.0 } else { 65535.0 }
}

/// 255 (`bits` is 8) or 65535 less each value, exactly.
pub fn inverted(image: &Image, bits: u8) -> Image {
    let white = largest(bits);
    Image { pixels: image.pixels.iter().map(|value| white - value).collect(), ..*image }
}

/// The counts in an 8- or 16-bit grey PNG, or in an 8-bit grey JPEG: 0 to 255, or 0 to 65535; turned and mirrored as EXIF says.
///
/// Grey stored as red, green and blue is grey; a colour picture is an error, as are a transparent one, one without contrast, and one
/// of which a part is missing.
pub fn read(path: impl AsRef<Path>) -> Result<Image> {
    let bytes = files::read_at_most(&path, MAX_FILE_BYTES.min(MAX_BYTES))?;
    Ok(read_bytes(&bytes, path)?.image)
}

/// The same of a file's bytes, with what was applied and what is strange; `path` names them in errors.
pub fn read_bytes(bytes: &[u8], path: impl AsRef<Path>) -> Result<Picture> {
    let refuse = |problem: &str, remedy: &str| Error::file(&path, problem, remedy);
    let format = format(bytes).ok_or_else(|| refuse("is neither a PNG nor a JPEG picture", "export the scan as DICOM or PNG"))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(2 * MAX_BYTES);
    let reader = || {
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(limits.clone());
        reader
    };
    let refusal = |error| match error {
        image::ImageError::Limits(_) => {
            refuse(&format!("has more than {MAX_SIDE} rows or columns"), "give the picture of one planar view")
        }
        _ => refuse(DAMAGED.0, DAMAGED.1),
    };
    let (columns, rows) = reader().into_dimensions().map_err(refusal)?;
    if u64::from(rows) * u64::from(columns) > MAX_PIXELS as u64 {
        let problem = format!("has {rows}x{columns} pixels, more than any planar scan");
        return Err(refuse(&problem, "give the picture of one planar view"));
    }
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        return Err(refuse(DAMAGED.0, DAMAGED.1));
    }
    let mut decoder = reader().into_decoder().map_err(refusal)?;
    let orientation = match format {
        ImageFormat::Png => exif_of_png(bytes).and_then(Orientation::from_exif_chunk),
        _ => decoder.orientation().ok(),
    };
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(refusal)?;
    picture.apply_orientation(orientation);
    let grey = |wide: Vec<u16>, channels: usize, opaque: u16, spread: u16| {
        let (colours, alpha) = (if channels > 2 { 3 } else { 1 }, channels.is_multiple_of(2));
        wide.chunks_exact(channels)
            .map(|pixel| {
                let (low, high) = (pixel[..colours].iter().min()?, pixel[..colours].iter().max()?);
                let grey = high - low <= spread && (!alpha || pixel[channels - 1] == opaque);
                grey.then(|| (pixel[..colours].iter().map(|&value| f32::from(value)).sum::<f32>() / colours as f32).round())
            })
            .collect::<Option<Vec<f32>>>()
    };
    let (columns, rows) = (picture.width() as usize, picture.height() as usize);
    let spread = if format == ImageFormat::Jpeg { GREY_SPREAD } else { 0 };
    let channels = usize::from(picture.color().channel_count());
    let bits = if picture.color().bytes_per_pixel() as usize > channels { 16 } else { 8 };
    let pixels = match picture.color() {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => {
            grey(picture.into_bytes().into_iter().map(u16::from).collect(), channels, 255, spread)
        }
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            grey(sixteen_bits(picture), channels, u16::MAX, spread)
        }
        _ => return Err(refuse("its pixels are of no kind that holds counts", "export it as an 8- or 16-bit grey PNG")),
    }
    .ok_or_else(|| refuse("is a colour or transparent picture", "export the scan as grey, without a colour scale"))?;
    if pixels.iter().all(|&pixel| pixel == pixels[0]) {
        return Err(refuse(&format!("every pixel of it is {}", pixels[0]), "give a scan with counts in it"));
    }
    let image = Image { rows, columns, pixels };
    let mut warnings = Vec::new();
    if bits == 8 && is_wrapped(&image) {
        warnings.push(WRAPPED.to_owned());
    }
    Ok(Picture { image, bits, applied: done(orientation).into_iter().collect(), warnings })
}

/// What is said of a file of which not all is there.
const DAMAGED: (&str, &str) = ("is cut short or damaged", "copy or export it again");

const WRAPPED: &str =
    "its hottest spots hold dark holes with steep edges: counts above 255 have wrapped around; export it with 16 bits";

/// What an orientation (EXIF 2.3, tag 0112) does to the pixels as they are stored.
fn done(orientation: Orientation) -> Option<String> {
    let how = match orientation {
        Orientation::NoTransforms => return None,
        Orientation::FlipHorizontal => "mirrored left to right",
        Orientation::Rotate180 => "turned by 180 degrees",
        Orientation::FlipVertical => "mirrored top to bottom",
        Orientation::Rotate90FlipH => "mirrored along the diagonal from the top left",
        Orientation::Rotate90 => "turned by 90 degrees clockwise",
        Orientation::Rotate270FlipH => "mirrored along the diagonal from the top right",
        Orientation::Rotate270 => "turned by 90 degrees counterclockwise",
    };
    Some(format!("{how} (EXIF orientation {})", orientation.to_exif()))
}

/// What the chunk `eXIf` of a PNG holds; it may stand before or behind the pixels.
fn exif_of_png(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.get(8..)?;
    loop {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let kind = rest.get(4..8)?;
        let data = rest.get(8..)?.get(..length)?;
        match kind {
            b"eXIf" => return Some(data),
            b"IEND" => return None,
            _ => rest = rest.get(8 + length + 4..)?,
        }
    }
}

/// Whether counts above 255 seem to have been written modulo 256: there are dark holes with steep edges in bright spots. A picture that
/// is clipped instead has a heap of pixels at the top; there, what is dark between bright bones is no sign.
fn is_wrapped(image: &Image) -> bool {
    const DARK: f32 = 96.0; // and darker: a pixel of a hole
    const BRIGHT: f32 = 176.0; // and brighter: a pixel beside a hole
    const STEEP: f32 = 128.0; // at least: the step between the two
    const STEEP_SHARE: f64 = 0.45; // of the edge of a hole
    let (rows, columns, pixels) = (image.rows, image.columns, &image.pixels);
    let within = |low: f32, high: f32| pixels.iter().filter(|pixel| (low..high).contains(*pixel)).count() as f64;
    if within(248.0, 256.0) > 4.0 + 1.2 * within(232.0, 248.0) {
        return false;
    }
    let largest = (pixels.len() / 100).max(4);
    let mut seen = vec![false; pixels.len()];
    let mut open = Vec::new();
    for start in 0..pixels.len() {
        if seen[start] || pixels[start] > DARK {
            continue;
        }
        seen[start] = true;
        open.push(start);
        let (mut size, mut enclosed, mut edge, mut steep) = (0, true, 0u32, 0u32);
        while let Some(at) = open.pop() {
            size += 1;
            let (row, column) = (at / columns, at % columns);
            if row == 0 || column == 0 || row + 1 == rows || column + 1 == columns {
                enclosed = false;
            }
            let beside = [
                (row > 0).then(|| at - columns),
                (row + 1 < rows).then(|| at + columns),
                (column > 0).then(|| at - 1),
                (column + 1 < columns).then(|| at + 1),
            ];
            for other in beside.into_iter().flatten() {
                if pixels[other] > DARK {
                    edge += 1;
                    steep += u32::from(pixels[other] >= BRIGHT && pixels[other] - pixels[at] >= STEEP);
                } else if !seen[other] {
                    seen[other] = true;
                    open.push(other);
                }
            }
        }
        if enclosed && (2..=largest).contains(&size) && f64::from(steep) >= STEEP_SHARE * f64::from(edge) {
            return true;
        }
    }
    false
}

fn sixteen_bits(picture: DynamicImage) -> Vec<u16> {
    match picture {
        DynamicImage::ImageLuma16(buffer) => buffer.into_raw(),
        DynamicImage::ImageLumaA16(buffer) => buffer.into_raw(),
        DynamicImage::ImageRgb16(buffer) => buffer.into_raw(),
        other => other.into_rgba16().into_raw(),
    }
}

/// Writes a grey PNG of 8 bits: `rows * columns` pixels.
pub fn write_gray8(path: impl AsRef<Path>, rows: usize, columns: usize, pixels: &[u8]) -> Result<()> {
    files::write(path, &encode(rows, columns, pixels, ExtendedColorType::L8)?)
}

/// Writes a grey PNG of 16 bits: `rows * columns` pixels.
pub fn write_gray16(path: impl AsRef<Path>, rows: usize, columns: usize, pixels: &[u16]) -> Result<()> {
    // The encoder takes the machine's own byte order.
    let bytes: Vec<u8> = pixels.iter().flat_map(|pixel| pixel.to_ne_bytes()).collect();
    files::write(path, &encode(rows, columns, &bytes, ExtendedColorType::L16)?)
}

/// Writes a colour PNG of 8 bits: `rows * columns` triples of red, green and blue.
pub fn write_rgb8(path: impl AsRef<Path>, rows: usize, columns: usize, pixels: &[u8]) -> Result<()> {
    files::write(path, &encode_rgb8(rows, columns, pixels)?)
}

/// The bytes of the file that [`write_gray8`] writes.
pub fn encode_gray8(rows: usize, columns: usize, pixels: &[u8]) -> Result<Vec<u8>> {
    encode(rows, columns, pixels, ExtendedColorType::L8)
}

/// The bytes of the file that [`write_rgb8`] writes.
pub fn encode_rgb8(rows: usize, columns: usize, pixels: &[u8]) -> Result<Vec<u8>> {
    encode(rows, columns, pixels, ExtendedColorType::Rgb8)
}

fn encode(rows: usize, columns: usize, bytes: &[u8], color: ExtendedColorType) -> Result<Vec<u8>> {
    let needed = rows * columns * usize::from(color.bits_per_pixel()) / 8;
    let side = |length: usize| u32::try_from(length).ok().filter(|&length| length > 0);
    let (Some(width), Some(height), true) = (side(columns), side(rows), bytes.len() == needed) else {
        return Err(Error::setting(
            format!("a picture of {rows}x{columns} pixels needs {needed} bytes and was given {}", bytes.len()),
            "give one value a pixel and channel, of at least one pixel",
        ));
    };
    let mut png = Vec::new();
    image::codecs::png::PngEncoder::new(&mut png)
        .write_image(bytes, width, height, color)
        .map_err(|error| Error::setting(format!("the picture cannot be encoded ({error})"), "use fewer pixels"))?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<Image>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn grey_pngs_of_8_and_16_bits_come_back_as_they_went() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write_gray8(&path, 2, 3, &[0, 1, 2, 100, 200, 255]).unwrap();
        assert_eq!(read(&path).unwrap(), Image { rows: 2, columns: 3, pixels: vec![0.0, 1.0, 2.0, 100.0, 200.0, 255.0] });
        write_gray16(&path, 3, 1, &[0, 258, 65535]).unwrap();
        assert_eq!(read(&path).unwrap(), Image { rows: 3, columns: 1, pixels: vec![0.0, 258.0, 65535.0] });
        write_rgb8(&path, 1, 2, &[7, 7, 7, 9, 9, 9]).unwrap();
        assert_eq!(read(&path).unwrap(), Image { rows: 1, columns: 2, pixels: vec![7.0, 9.0] });
    }

    #[test]
    fn a_grey_jpeg_is_read_whether_it_was_stored_in_one_channel_or_three() {
        let folder = tempfile::tempdir().unwrap();
        let grey: Vec<u8> = (0..64 * 32).map(|index| (index % 64 * 3) as u8).collect();
        for triple in [false, true] {
            let path = folder.path().join("a.jpg");
            let mut bytes = Vec::new();
            let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
            let colour: Vec<u8> = grey.iter().flat_map(|&value| [value; 3]).collect();
            if triple {
                encoder.write_image(&colour, 64, 32, ExtendedColorType::Rgb8).unwrap();
            } else {
                encoder.write_image(&grey, 64, 32, ExtendedColorType::L8).unwrap();
            }
            std::fs::write(&path, &bytes).unwrap();
            let image = read(&path).unwrap();
            assert_eq!((image.rows, image.columns), (32, 64));
            assert!(image.pixels.iter().zip(&grey).all(|(&read, &written)| (read - f32::from(written)).abs() < 8.0));
        }
    }

    #[test]
    fn what_holds_no_counts_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write_rgb8(&path, 1, 2, &[255, 0, 0, 0, 0, 0]).unwrap();
        assert!(
            message(read(&path)).ends_with("is a colour or transparent picture; export the scan as grey, without a colour scale")
        );
        write_gray8(&path, 2, 2, &[0; 4]).unwrap();
        assert!(message(read(&path)).ends_with("every pixel of it is 0; give a scan with counts in it"));
        write_gray8(&path, 1, 16385, &[1; 16385]).unwrap();
        assert!(message(read(&path)).ends_with("has more than 16384 rows or columns; give the picture of one planar view"));
        std::fs::write(&path, b"text").unwrap();
        assert!(message(read(&path)).ends_with("is neither a PNG nor a JPEG picture; export the scan as DICOM or PNG"));
        assert!(message(read(folder.path())).ends_with("is not a file; give the path of a file"));
        assert!(message(read(folder.path().join("none.png"))).ends_with("; check the path"));
        assert!(write_gray8(&path, 2, 2, &[0; 3]).is_err());
    }

    #[test]
    fn a_picture_cut_anywhere_is_an_error_and_never_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let noise: Vec<u8> = (0..16 * 16).map(|index: u32| (index.wrapping_mul(2654435761) >> 24) as u8).collect();
        let mut jpeg = Vec::new();
        image::codecs::jpeg::JpegEncoder::new(&mut jpeg).write_image(&noise, 16, 16, ExtendedColorType::L8).unwrap();
        let png = encode_gray8(16, 16, &noise).unwrap();
        for length in 0..png.len() - 12 {
            std::fs::write(&path, &png[..length]).unwrap();
            assert!(read(&path).is_err(), "{length} bytes of a PNG");
        }
        for length in 0..jpeg.len() - 2 {
            std::fs::write(&path, &jpeg[..length]).unwrap();
            assert!(read(&path).is_err(), "{length} bytes of a JPEG");
        }
    }
}
