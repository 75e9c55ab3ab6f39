//! DICOM files of every kind that Osteon reads, and of many that it must refuse.

mod scan;

use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use osteon::dicom::{self, Frame, NmHeader};
use osteon::image::{Image, View};
use scan::*;
use std::path::{Path, PathBuf};

fn pixels(frame: &Frame) -> Vec<i32> {
    frame.image.pixels.iter().map(|&count| count as i32).collect()
}

/// Two views that no symmetry confuses.
fn views() -> [Image; 2] {
    let view =
        |start: u32| Image { rows: 5, columns: 4, pixels: (start..start + 20).map(|count| (count * count) as f32).collect() };
    [view(0), view(100)]
}

fn nm() -> Vec<u8> {
    let [anterior, posterior] = views();
    dicom::encode_nm(&anterior, &posterior, &NmHeader::default()).unwrap()
}

/// The file of `write_nm` after a change to its data set.
fn nm_changed(change: impl FnOnce(&mut InMemDicomObject)) -> Vec<Frame> {
    let mut object = dicom_object::from_reader(&nm()[..]).unwrap().into_inner();
    change(&mut object);
    read(&bytes_of(object, uids::EXPLICIT_VR_LITTLE_ENDIAN)).unwrap()
}

#[test]
fn what_write_nm_writes_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.dcm");
    let [anterior, posterior] = views();
    let about = NmHeader { patient: "P7".into(), ..NmHeader::default() };
    dicom::write_nm(&path, &anterior, &posterior, &about).unwrap();
    assert!(dicom::is_dicom(&path) && !dicom::is_dicom(folder.path()));
    let contents = dicom::read_contents(&path).unwrap();
    assert_eq!(contents.patient.as_deref(), Some("P7"));
    assert!(contents.study.unwrap().starts_with("2.25."));
    let [anterior, posterior] =
        [(anterior, View::Anterior), (posterior, View::Posterior)].map(|(image, view)| Frame { image, view: Some(view) });
    assert_eq!(contents.frames, [anterior, posterior]);
}

#[test]
fn write_nm_refuses_what_the_file_cannot_hold() {
    let [anterior, mut posterior] = views();
    let refusal = |anterior: &Image, posterior: &Image| {
        dicom::encode_nm(anterior, posterior, &NmHeader::default()).unwrap_err().to_string()
    };
    for count in [-1.0, 65536.0, f32::NAN] {
        posterior.pixels[3] = count;
        assert!(refusal(&anterior, &posterior).contains("does not fit 16 bits"));
    }
    assert!(refusal(&anterior, &Image::zeros(1, 1)).contains("5x4 pixels and the posterior 1x1"));
    assert!(refusal(&Image::zeros(0, 4), &Image::zeros(0, 4)).contains("0x4"));
}

#[test]
fn the_view_follows_the_detector_and_never_the_order_of_frames() {
    let seen = |change: &dyn Fn(&mut InMemDicomObject)| -> Vec<Option<View>> {
        nm_changed(|object| change(object)).iter().map(|frame| frame.view).collect()
    };
    let (anterior, posterior) = (Some(View::Anterior), Some(View::Posterior));
    let vector =
        |numbers: &[u16]| DataElement::new(tags::DETECTOR_VECTOR, VR::US, PrimitiveValue::U16(numbers.iter().copied().collect()));
    let detectors = |items| sequence(tags::DETECTOR_INFORMATION_SEQUENCE, items);
    let (front, back) = (detector("399321004", "SCT", ""), detector("399001007", "SCT", ""));

    assert_eq!(seen(&|_| {}), [anterior, posterior]);
    assert_eq!(seen(&|object| drop(object.put(vector(&[2, 1])))), [posterior, anterior]);
    assert_eq!(seen(&|object| drop(object.put(vector(&[1, 1])))), [anterior, anterior]);
    assert_eq!(seen(&|object| drop(object.put(detectors(vec![back.clone(), front.clone()])))), [posterior, anterior]);
    // A detector that is not there, a vector that does not fit, or none: nobody knows.
    assert_eq!(seen(&|object| drop(object.put(vector(&[0, 3])))), [None, None]);
    assert_eq!(seen(&|object| drop(object.put(vector(&[1])))), [None, None]);
    assert_eq!(seen(&|object| assert!(object.remove_element(tags::DETECTOR_VECTOR))), [None, None]);
    assert_eq!(seen(&|object| assert!(object.remove_element(tags::DETECTOR_INFORMATION_SEQUENCE))), [None, None]);
    assert_eq!(seen(&|object| drop(object.put(detectors(vec![InMemDicomObject::new_empty(), front.clone()])))), [None, anterior]);

    // One frame: from its detector, which needs no vector where there is one, or from a View Code of the whole image.
    let one = |element| Scan::default().with(element).read()[0].view;
    assert_eq!(one(detectors(vec![back.clone()])), posterior);
    assert_eq!(one(detectors(vec![back.clone(), front.clone()])), None);
    assert_eq!(Scan::default().with(detectors(vec![back.clone(), front])).with(vector(&[2])).read()[0].view, anterior);
    assert_eq!(one(back.element(tags::VIEW_CODE_SEQUENCE).unwrap().clone()), posterior);
    assert_eq!(one(text(tags::VIEW_POSITION, VR::CS, "AP")), None);
}

#[test]
fn view_codes_of_every_edition_are_known_and_others_are_not() {
    let seen = |value, scheme, meaning| {
        let detectors = sequence(tags::DETECTOR_INFORMATION_SEQUENCE, vec![detector(value, scheme, meaning)]);
        Scan::default().with(detectors).read()[0].view
    };
    for (value, scheme) in
        [("G-5215", "SRT"), ("399321004", "SCT"), ("G-5200", "99SDM"), ("R-10206", "SRT"), ("255549009", "SCT")]
    {
        assert_eq!(seen(value, scheme, "whatever"), Some(View::Anterior), "{value}");
    }
    for (value, scheme) in
        [("G-5216", "SRT"), ("399001007", "SCT"), ("G-5201", "99SDM"), ("R-10214", "SRT"), ("255551008", "SCT")]
    {
        assert_eq!(seen(value, scheme, "whatever"), Some(View::Posterior), "{value}");
    }
    assert_eq!(seen("17", "99CAMERA", "Anterior"), Some(View::Anterior));
    assert_eq!(seen("17", "99CAMERA", "POSTERIOR VIEW"), Some(View::Posterior));
    assert_eq!(seen("G-5222", "SRT", "Right lateral projection"), None);
    assert_eq!(seen("G-5206", "SRT", "Right anterior oblique"), None);
    assert_eq!(seen("", "", ""), None);
}

#[test]
fn every_encoding_gives_the_same_counts() {
    let syntaxes = [
        uids::IMPLICIT_VR_LITTLE_ENDIAN,
        uids::EXPLICIT_VR_LITTLE_ENDIAN,
        BIG_ENDIAN,
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN,
        uids::RLE_LOSSLESS,
    ];
    // Allocated, stored, high bit; signed; a word of the file; the number it stands for.
    let cases = [
        ([16, 16, 15], false, 0xfffe, 65534),
        ([16, 16, 15], true, 0xfffe, -2),
        ([16, 12, 11], false, 0xf123, 0x123), // four bits above that are not the pixel's
        ([16, 12, 11], true, 0x0fff, -1),
        ([16, 12, 15], false, 0x123f, 0x123),
        ([16, 12, 15], true, 0xfff0, -1),
        ([8, 8, 7], false, 0xfe, 254),
        ([8, 8, 7], true, 0xfe, -2),
        ([8, 7, 6], true, 0x7f, -1),
    ];
    for transfer_syntax in syntaxes {
        for (bits, signed, word, number) in cases {
            for frames in [1, 2] {
                // Fifteen pixels, so that 8-bit values need padding; runs and steps for the run lengths.
                let shift = bits[2] + 1 - bits[1];
                let words: Vec<u16> =
                    (0..15 * frames).map(|index| if index % 15 == 7 { word } else { (index as u16 / 4) << shift }).collect();
                let expected: Vec<i32> =
                    (0..15 * frames).map(|index| if index % 15 == 7 { number } else { index as i32 / 4 }).collect();
                let scan = Scan { transfer_syntax, rows: 5, columns: 3, frames, bits, signed, words, ..Scan::default() };
                let read = scan.read();
                assert_eq!(read.len(), frames);
                let counts: Vec<i32> = read.iter().flat_map(pixels).collect();
                assert_eq!(counts, expected, "{transfer_syntax} {bits:?} signed: {signed}");
                assert!(read.iter().all(|frame| (frame.image.rows, frame.image.columns, frame.view) == (5, 3, None)));
            }
        }
    }
}

#[test]
fn bytes_in_big_endian_words_change_places() {
    // OW: the first pixel is the low byte of the first word.
    let words = [0x0100, 0x0302];
    let scan =
        Scan { transfer_syntax: BIG_ENDIAN, rows: 1, columns: 4, bits: [8, 8, 7], words: vec![0, 1, 2, 3], ..Scan::default() };
    let pixel_data = DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.into_iter().collect()));
    assert_eq!(pixels(&scan.with(pixel_data).read()[0]), [0, 1, 2, 3]);
}

#[test]
fn rescale_and_monochrome1() {
    let scan = Scan { rows: 2, columns: 2, words: vec![1, 2, 3, 7], ..Scan::default() };
    let rescaled =
        scan.clone().with(text(tags::RESCALE_SLOPE, VR::DS, " 2.5 ")).with(text(tags::RESCALE_INTERCEPT, VR::DS, "-1"));
    assert_eq!(rescaled.read()[0].image.pixels, [1.5, 4.0, 6.5, 16.5]);
    // The least sample is the brightest; no count is the greatest one.
    let inverted = scan.with(text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME1"));
    assert_eq!(inverted.read()[0].image.pixels, [6.0, 5.0, 4.0, 0.0]);
}

#[test]
fn jpeg_frames_are_found_whether_a_fragment_a_frame_or_several() {
    let words: Vec<u16> = (0..2 * 64).map(|index| if index < 64 { index * 4 } else { (127 - index) * 4 }).collect();
    let scan = Scan {
        transfer_syntax: uids::JPEG_BASELINE8_BIT,
        rows: 8,
        columns: 8,
        frames: 2,
        bits: [8, 8, 7],
        words: words.clone(),
        ..Scan::default()
    };
    let whole = scan.read();
    let near =
        |frame: &Frame, words: &[u16]| pixels(frame).iter().zip(words).all(|(&read, &written)| read.abs_diff(written.into()) < 4);
    assert!(near(&whole[0], &words[..64]) && near(&whole[1], &words[64..]));

    let [first, second] = [&words[..64], &words[64..]].map(|words| {
        let mut bytes = jpeg(words, 8, 8);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes
    });
    let split = |offsets: Vec<u32>| {
        let fragments = vec![first[..100].to_vec(), first[100..].to_vec(), second.clone()];
        scan.clone().with(DataElement::new(tags::PIXEL_DATA, VR::OB, PixelFragmentSequence::new(offsets, fragments)))
    };
    assert_eq!(split(vec![0, 16 + first.len() as u32]).read(), whole);
    for offsets in [vec![], vec![0], vec![0, 5], vec![4, 16 + first.len() as u32]] {
        assert!(split(offsets).refusal().contains("says 2 frames and its pixels are in 3 fragments, which do not fit"));
    }
}

#[test]
fn lossless_jpeg_of_every_precision_to_8_bits_gives_the_same_counts() {
    for precision in 2..=8 {
        let words: Vec<u16> = (0..64).map(|word| (word * 7 + word / 9) % (1 << precision)).collect();
        let mut stream = jpeg_lossless(&words, 8, 8, precision as u8);
        stream.resize(stream.len().next_multiple_of(2), 0);
        let fragment = DataElement::new(tags::PIXEL_DATA, VR::OB, PixelFragmentSequence::new_fragments(vec![stream]));
        let transfer_syntax = uids::JPEG_LOSSLESS_SV1;
        let scan = Scan { transfer_syntax, rows: 8, columns: 8, bits: [8, precision, precision - 1], words, ..Scan::default() };
        let expected: Vec<i32> = scan.words.iter().map(|&word| word.into()).collect();
        assert_eq!(pixels(&scan.with(fragment).read()[0]), expected, "{precision} bits");
    }
}

#[test]
fn what_is_wrong_is_said_in_one_sentence() {
    let scan = Scan::default;
    let without = |tag| {
        let mut object = dicom_object::from_reader(&scan().bytes()[..]).unwrap().into_inner();
        object.remove_element(tag);
        refusal(&bytes_of(object, uids::EXPLICIT_VR_LITTLE_ENDIAN))
    };
    let cases = [
        (refusal(b""), "is not a DICOM file; give a DICOM file, or a PNG or JPEG picture"),
        (refusal(&[0; 5000]), "is not a DICOM file; give a DICOM file, or a PNG or JPEG picture"),
        (without(tags::PIXEL_DATA), "holds no pixels; export the image itself from the archive"),
        (without(tags::ROWS), "its header lacks Rows; export the image itself from the archive"),
        (without(tags::BITS_ALLOCATED), "its header lacks Bits Allocated; export the image itself from the archive"),
        (
            scan().with(short(tags::ROWS, 0)).refusal(),
            "its header says 0x3 pixels, and a view has 1 to 16384 rows and columns; give the planar whole-body scan",
        ),
        (
            scan().with(short(tags::COLUMNS, 65535)).refusal(),
            "its header says 4x65535 pixels, and a view has 1 to 16384 rows and columns; give the planar whole-body scan",
        ),
        (
            scan().with(text(tags::NUMBER_OF_FRAMES, VR::IS, "0")).refusal(),
            "its header says 0 frames of 4x3 pixels, which no planar scan has; give the planar whole-body scan, with a frame a view",
        ),
        (
            scan().with(text(tags::NUMBER_OF_FRAMES, VR::IS, "65")).refusal(),
            "its header says 65 frames of 4x3 pixels, which no planar scan has; give the planar whole-body scan, with a frame a view",
        ),
        (
            scan().with(short(tags::ROWS, 16384)).with(short(tags::COLUMNS, 16384)).refusal(),
            "its header says 1 frame of 16384x16384 pixels, which no planar scan has; give the planar whole-body scan, with a frame a view",
        ),
        (
            scan().with(text(tags::NUMBER_OF_FRAMES, VR::IS, "two")).refusal(),
            "its Number of Frames is no number; export it again from the archive",
        ),
        (
            scan().with(text(tags::NUMBER_OF_FRAMES, VR::IS, "2")).refusal(),
            "holds 24 bytes of pixels where 2 frames of 4x3 pixels and 16 bits need 48; copy or export it again from the archive",
        ),
        (
            scan().with(short(tags::ROWS, 3)).refusal(),
            "holds 24 bytes of pixels where 1 frame of 3x3 pixels and 16 bits need 18; copy or export it again from the archive",
        ),
        (
            scan().with(short(tags::BITS_ALLOCATED, 32)).refusal(),
            "its pixels have 32 bits, and Osteon reads 8 and 16; export it with 16 bits",
        ),
        (
            scan().with(short(tags::BITS_STORED, 17)).refusal(),
            "its header says 17 bits with the highest at 15, which do not fit 16; export it again from the archive",
        ),
        (
            scan().with(short(tags::HIGH_BIT, 3)).refusal(),
            "its header says 16 bits with the highest at 3, which do not fit 16; export it again from the archive",
        ),
        (
            scan().with(short(tags::SAMPLES_PER_PIXEL, 3)).refusal(),
            "is a colour picture; give the scan with its counts, not a screenshot",
        ),
        (
            scan().with(text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB")).refusal(),
            "is a colour picture; give the scan with its counts, not a screenshot",
        ),
        (
            scan().with(text(tags::RESCALE_SLOPE, VR::DS, "steep")).refusal(),
            "its Rescale Slope is no number; export it again from the archive",
        ),
        (
            scan().with(text(tags::RESCALE_SLOPE, VR::DS, "0")).refusal(),
            "its rescale leaves no numbers; export it again without a rescale",
        ),
        (
            scan().with(text(tags::RESCALE_SLOPE, VR::DS, "1e300")).refusal(),
            "its rescale leaves no numbers; export it again without a rescale",
        ),
        (Scan { words: vec![0; 12], ..scan() }.refusal(), "every pixel of its frame 1 is 0; give a scan with counts in it"),
        (
            Scan { words: (0..12).chain([5; 12]).collect(), frames: 2, ..scan() }.refusal(),
            "every pixel of its frame 2 is 5; give a scan with counts in it",
        ),
    ];
    for (said, expected) in cases {
        assert_eq!(said, expected);
    }
    let bytes = scan().bytes();
    assert_eq!(refusal(&bytes[..bytes.len() - 1]), "is cut short within element (7FE0,0010); copy it again from the archive");
    assert_eq!(refusal(&bytes[..140]), "is cut short within element (0002,0000); copy it again from the archive");
}

#[test]
fn compressed_pixels_that_do_not_fit_the_header_are_refused_before_they_are_decoded() {
    let words: Vec<u16> = (0..64).collect();
    let base = Scan { transfer_syntax: uids::JPEG_BASELINE8_BIT, rows: 8, columns: 8, bits: [8, 8, 7], words, ..Scan::default() };
    assert_eq!(
        base.clone().with(short(tags::ROWS, 9)).refusal(),
        "its header says 9x8 pixels of 8 bits, its compressed pixels 8x8x1 of 8; export it again from the archive"
    );
    let fragment = |bytes: Vec<u8>| DataElement::new(tags::PIXEL_DATA, VR::OB, PixelFragmentSequence::new_fragments(vec![bytes]));
    assert_eq!(
        base.clone().with(fragment(vec![1, 2])).refusal(),
        "its JPEG data is cut short or damaged; copy or export it again from the archive"
    );
    // A lossless-JPEG header of 12 bits is read, a lossy one of 12 bits cannot be.
    let lossy = vec![0xff, 0xd8, 0xff, 0xc1, 0, 11, 12, 0, 8, 0, 8, 1, 1, 0x11, 0];
    assert_eq!(
        base.with(fragment([lossy, vec![0]].concat())).refusal(),
        "its pixels are compressed as lossy JPEG of 12 bits, for which there is no decoder; \
         export it again without lossy compression, or decompress it first (gdcmconv --raw)"
    );
    let rle = Scan { transfer_syntax: uids::RLE_LOSSLESS, ..Scan::default() };
    let expected = "its RLE data is cut short or damaged; copy or export it again from the archive";
    assert_eq!(rle.clone().with(short(tags::ROWS, 9)).refusal(), expected);
    assert_eq!(rle.clone().with(fragment(vec![0xff; 64])).refusal(), expected);
    assert_eq!(rle.clone().with(fragment(vec![0xff; 6])).refusal(), expected);
    assert_eq!(
        rle.with(text(tags::NUMBER_OF_FRAMES, VR::IS, "2")).refusal(),
        "its header says 2 frames and its pixels are in 1 fragments, which do not fit; \
         export it again, uncompressed if the archive can"
    );
}

#[test]
fn a_transfer_syntax_that_this_build_lacks_is_named_with_what_to_do() {
    let bytes = Scan::default().bytes();
    let named = |uid: &str| {
        let mut object = dicom_object::from_reader(&bytes[..]).unwrap();
        object.meta_mut().transfer_syntax = uid.into();
        object.meta_mut().update_information_group_length();
        // The data set itself stays explicit and little endian, which is what all compressed syntaxes are.
        let mut file = vec![0; 128];
        file.extend(b"DICM");
        object.meta().write(&mut file).unwrap();
        let mut data = Vec::new();
        let plain = dicom_object::from_reader(&bytes[..]).unwrap();
        plain.write_all(&mut data).unwrap();
        let mut meta = Vec::new();
        plain.meta().write(&mut meta).unwrap();
        file.extend(&data[132 + meta.len()..]);
        refusal(&file)
    };
    for (uid, name, feature, built) in [
        (uids::JPEG2000_LOSSLESS, "JPEG 2000", "jpeg2000", cfg!(feature = "jpeg2000")),
        (uids::JPEGLS_LOSSLESS, "JPEG-LS", "jpeg-ls", cfg!(feature = "jpeg-ls")),
    ] {
        let expected = if built {
            "its pixels should be in fragments and are not; export it again from the archive".into()
        } else {
            format!(
                "its pixels are compressed as {name}, which this build cannot decode; \
                 build Osteon with `--features {feature}`, or decompress the file first (gdcmconv --raw)"
            )
        };
        assert_eq!(named(uid), expected);
    }
    assert_eq!(
        named("1.2.840.10008.1.2.4.102"),
        "Osteon has no decoder for its transfer syntax 1.2.840.10008.1.2.4.102; convert it to explicit VR little endian (gdcmconv --raw)"
    );
    assert_eq!(named("Doe^Jane"), "its transfer syntax is no UID; export it again from the archive");
}

/// Reads prefixes of a file and thousands of random changes of it, and returns how many of each were read without an error. A panic
/// fails the test, and so does a prefix that gives anything but the frames of the whole file.
fn batter(bytes: &[u8], prefixes: usize, changes: usize) -> [usize; 2] {
    let whole = read(bytes).unwrap();
    let mut good = [0, 0];
    for length in (0..bytes.len()).step_by((bytes.len() / prefixes).max(1)) {
        if let Ok(frames) = read(&bytes[..length]) {
            assert!(frames == whole, "{length} of {} bytes were read", bytes.len());
            good[0] += 1;
        }
    }
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % below
    };
    for _ in 0..changes {
        let mut changed = bytes.to_vec();
        for _ in 0..1 + random(3) {
            let at = random(changed.len());
            changed[at] = match random(4) {
                0 => 0xff,
                1 => 0,
                2 => changed[at] ^ 1 << random(8),
                _ => random(256) as u8,
            };
        }
        good[1] += usize::from(read(&changed).is_ok());
    }
    good
}

#[test]
fn no_damage_makes_a_panic() {
    // Every byte of these counts: none can be missing, and some can be otherwise.
    let batter = |bytes: &[u8], changes| {
        let [prefixes, changed] = batter(bytes, usize::MAX, changes);
        assert!(prefixes == 0 && changed > 0, "{prefixes} prefixes and {changed} changed files were read");
    };
    batter(&nm(), 10_000);
    for transfer_syntax in
        [uids::IMPLICIT_VR_LITTLE_ENDIAN, BIG_ENDIAN, uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, uids::RLE_LOSSLESS]
    {
        let detectors = sequence(tags::DETECTOR_INFORMATION_SEQUENCE, vec![detector("G-5215", "SRT", "Anterior")]);
        batter(&Scan { transfer_syntax, ..Scan::default() }.with(detectors).bytes(), 5000);
    }
    let words: Vec<u16> = (0..256).collect();
    let jpeg =
        Scan { transfer_syntax: uids::JPEG_BASELINE8_BIT, rows: 16, columns: 16, bits: [8, 8, 7], words, ..Scan::default() };
    batter(&jpeg.bytes(), 5000);
}

#[test]
fn what_is_no_file_or_too_large_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.dcm");
    std::fs::File::create(&path).unwrap().set_len(dicom::MAX_FILE_BYTES + 1).unwrap();
    let message = |path: &Path| dicom::read(path).unwrap_err().to_string();
    assert!(message(&path).ends_with("large.dcm: has more than 256 MB; give a smaller one"));
    assert!(message(folder.path()).ends_with("is not a file; give the path of a file"));
    assert!(message(&folder.path().join("none.dcm")).ends_with("check the path"));
}

/// The public NM1 scan in its encodings, or `None` with a word to the reader of the log.
fn shared(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("OSTEON_SHARED_DATA").map_or_else(beside, PathBuf::from).join("nm1").join(name);
    if !path.is_file() {
        println!("skipped: {name} is not in ../shared/data/nm1, nor in the folder that OSTEON_SHARED_DATA names");
        return None;
    }
    Some(path)
}

#[test]
fn a_real_scan_has_the_same_counts_in_every_encoding() {
    let Some(uncompressed) = shared("NM1_UNC") else { return };
    let expected = dicom::read(uncompressed).unwrap();
    assert_eq!(expected.len(), 1);
    assert_eq!((expected[0].image.rows, expected[0].image.columns, expected[0].view), (1024, 256, None));
    // Its own Counts Accumulated.
    assert_eq!(pixels(&expected[0]).iter().sum::<i32>(), 3_596_452);
    for (name, built) in
        [("NM1_RLE", true), ("NM1_JPLL", true), ("NM1_J2KR", cfg!(feature = "jpeg2000")), ("NM1_JLSL", cfg!(feature = "jpeg-ls"))]
    {
        let Some(path) = shared(name) else { continue };
        match dicom::read(path) {
            Ok(frames) => assert!(built && frames == expected, "{name} differs"),
            Err(error) => assert!(!built && error.to_string().contains("--features jpeg"), "{error}"),
        }
    }
    if let Some(path) = shared("JPGExtended.dcm") {
        assert!(dicom::read(path).unwrap_err().to_string().contains("lossy JPEG of 12 bits, for which there is no decoder"));
    }
}

#[test]
fn no_damage_to_a_real_compressed_scan_makes_a_panic() {
    for name in ["NM1_RLE", "NM1_JPLL", "NM1_J2KR", "NM1_JLSL"] {
        // Those that this build cannot decode are refused whole.
        let Some(path) = shared(name).filter(|path| dicom::read(path).is_ok()) else { continue };
        batter(&std::fs::read(path).unwrap(), 40, 60);
    }
}
