//! DICOM files of every kind that Osteon reads, and of many that it must refuse.

mod scan;

use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
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

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
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
    // Nothing but a hash of it is kept.
    assert_eq!(contents.header.patient, Some(sha256(b"P7")));
    assert!(contents.header.study.unwrap().starts_with("2.25."));
    let [anterior, posterior] = [(1, anterior, View::Anterior), (2, posterior, View::Posterior)]
        .map(|(number, image, view)| Frame { number, image, view: Some(view) });
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
    // Both frames of one detector: one of them is not what it says.
    assert_eq!(seen(&|object| drop(object.put(vector(&[1, 1])))), [None, None]);
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
fn rescale_and_what_is_for_display() {
    let scan = Scan { rows: 2, columns: 2, words: vec![1, 2, 3, 7], ..Scan::default() };
    let rescaled =
        scan.clone().with(text(tags::RESCALE_SLOPE, VR::DS, " 2.5 ")).with(text(tags::RESCALE_INTERCEPT, VR::DS, "-1"));
    assert_eq!(rescaled.read()[0].image.pixels, [1.5, 4.0, 6.5, 16.5]);
    // PS3.3 C.7.6.3.1.2 and C.8.4.7.1.1: how to show counts, not what they are.
    let nm = scan.with(text(tags::MODALITY, VR::CS, "NM")).with(text(
        tags::SOP_CLASS_UID,
        VR::UI,
        uids::NUCLEAR_MEDICINE_IMAGE_STORAGE,
    ));
    for (interpretation, applied) in [
        ("MONOCHROME1", "MONOCHROME1 is for display: the stored values are the counts"),
        ("PALETTE COLOR", "the colour palette is for display: the stored values are the counts"),
    ] {
        let shown = nm.clone().with(text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, interpretation));
        let contents = dicom::read_bytes(&shown.bytes(), "scan.dcm").unwrap();
        assert_eq!(contents.frames[0].image.pixels, [1.0, 2.0, 3.0, 7.0], "{interpretation}");
        assert_eq!(contents.applied, [applied]);
    }
    let picture = Scan::default().with(text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "PALETTE COLOR"));
    assert!(picture.refusal().starts_with("is a colour picture"));
}

#[test]
fn padding_is_no_count() {
    let scan = Scan { rows: 2, columns: 3, words: vec![1, 2, 3, 65535, 65534, 65000], ..Scan::default() };
    let value = |tag, value| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    let padded = scan.with(value(tags::PIXEL_PADDING_VALUE, 65535_u16)).with(text(tags::RESCALE_INTERCEPT, VR::DS, "10"));
    let contents = dicom::read_bytes(&padded.bytes(), "scan.dcm").unwrap();
    assert_eq!(contents.frames[0].image.pixels, [11.0, 12.0, 13.0, 0.0, 65544.0, 65010.0]);
    assert_eq!(contents.applied[0], "1 pixel of the Pixel Padding Value counts as 0");
    // The range, whichever of its ends stands first.
    let range = padded.clone().with(value(tags::PIXEL_PADDING_RANGE_LIMIT, 65000_u16));
    assert_eq!(range.read()[0].image.pixels, [11.0, 12.0, 13.0, 0.0, 0.0, 0.0]);
    let all = range.with(value(tags::PIXEL_PADDING_VALUE, 0_u16)).with(value(tags::PIXEL_PADDING_RANGE_LIMIT, 65535_u16));
    assert_eq!(all.refusal(), "every pixel of its frame 1 is padding; give a scan with counts in it");
    // A signed value of fewer bits than a word.
    let signed = Scan { rows: 1, columns: 3, bits: [16, 12, 11], signed: true, words: vec![0xfff, 5, 7], ..Scan::default() };
    assert_eq!(pixels(&signed.with(value(tags::PIXEL_PADDING_VALUE, 0xffff_u16)).read()[0]), [0, 5, 7]);
}

/// Where the data set begins, behind preamble and meta group.
fn start_of_data(bytes: &[u8]) -> usize {
    144 + u32::from_le_bytes(bytes[140..144].try_into().unwrap()) as usize
}

/// A file that begins as real ones do, with elements of group 8.
fn begun() -> Scan {
    let more = [
        (tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
        (tags::MODALITY, VR::CS, "NM"),
        (tags::STUDY_DATE, VR::DA, "20200101"),
    ];
    more.into_iter().fold(Scan::default(), |scan, (tag, vr, value)| scan.with(text(tag, vr, value)))
}

#[test]
fn files_without_preamble_or_meta_group_are_read() {
    let expected = begun().read();
    for transfer_syntax in [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, BIG_ENDIAN] {
        let whole = Scan { transfer_syntax, ..begun() }.bytes();
        let data = start_of_data(&whole);
        for (name, bytes, note) in [
            ("no preamble", whole[132..].to_vec(), "has no preamble"),
            ("only the magic", whole[128..].to_vec(), "has no preamble"),
            ("no meta group", [&whole[..132], &whole[data..]].concat(), "has no meta group"),
            ("bare", whole[data..].to_vec(), "has no preamble and no meta group"),
        ] {
            let contents =
                dicom::read_bytes(&bytes, "scan.dcm").unwrap_or_else(|error| panic!("{name}, {transfer_syntax}: {error}"));
            assert_eq!(contents.frames, expected, "{name}, {transfer_syntax}");
            assert_eq!(contents.header.notes, [note], "{name}, {transfer_syntax}");
            assert!(dicom::begins_as_dicom(&bytes), "{name}, {transfer_syntax}");
        }
    }
    for other in [&b"\x08\0 is the group of no text"[..], b"PK\x03\x04", b"", b"\x08\0\x05\0", b"DIC", &[8; 500], &[0; 500]] {
        assert!(!dicom::begins_as_dicom(other), "{other:?}");
    }
}

#[test]
fn a_transfer_syntax_that_the_bytes_contradict_gives_way_to_them() {
    let expected = begun().read();
    let syntaxes =
        [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, BIG_ENDIAN, uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN];
    for declared in syntaxes {
        for transfer_syntax in
            syntaxes.into_iter().filter(|other| *other != declared && *other != uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
        {
            let [meta, data] = [declared, transfer_syntax].map(|syntax| Scan { transfer_syntax: syntax, ..begun() }.bytes());
            let bytes = [&meta[..start_of_data(&meta)], &data[start_of_data(&data)..]].concat();
            let contents =
                dicom::read_bytes(&bytes, "scan.dcm").unwrap_or_else(|error| panic!("{declared} {transfer_syntax}: {error}"));
            assert_eq!(contents.frames, expected, "{declared}, {transfer_syntax}");
            assert!(
                contents.header.notes.iter().any(|note| note.starts_with("its transfer syntax says ")),
                "{:?}",
                contents.header.notes
            );
        }
    }
    // A single element, (0009,1001) or Photometric Interpretation, in the other form.
    for (transfer_syntax, element) in [
        (uids::EXPLICIT_VR_LITTLE_ENDIAN, &b"\x19\0\x01\x10\x04\0\0\0abcd"[..]),
        (uids::IMPLICIT_VR_LITTLE_ENDIAN, b"\x20\0\x0d\0UI\x04\x001.2\0"),
    ] {
        let bytes = Scan { transfer_syntax, ..begun() }.bytes();
        let at = bytes.windows(4).position(|tag| tag == b"\x28\0\x02\0").unwrap();
        let contents = dicom::read_bytes(&[&bytes[..at], element, &bytes[at..]].concat(), "scan.dcm").unwrap();
        assert_eq!(contents.frames, expected, "{transfer_syntax}");
        assert!(contents.header.notes[0].contains("stands in the other form of VR"), "{:?}", contents.header.notes);
    }
    // Pixels: declared compressed and not so, native and compressed, compressed in another way.
    let eight = Scan { rows: 8, columns: 8, bits: [8, 8, 7], words: (0..64).map(|word| word * 3).collect(), ..begun() };
    let lossless = |transfer_syntax| Scan { transfer_syntax, ..eight.clone() };
    for (declared, actual) in [
        (uids::RLE_LOSSLESS, uids::EXPLICIT_VR_LITTLE_ENDIAN),
        (uids::JPEG2000_LOSSLESS, uids::EXPLICIT_VR_LITTLE_ENDIAN),
        (uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::RLE_LOSSLESS),
        (uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::JPEG_LOSSLESS_SV1),
        (uids::RLE_LOSSLESS, uids::JPEG_LOSSLESS_SV1),
        (uids::JPEG_BASELINE8_BIT, uids::RLE_LOSSLESS),
        (uids::JPEG2000_LOSSLESS, uids::JPEG_LOSSLESS_SV1),
    ] {
        let mut object = dicom_object::from_reader(&begun().bytes()[..]).unwrap();
        object.meta_mut().transfer_syntax = declared.into();
        object.meta_mut().update_information_group_length();
        let mut bytes = [&[0; 128], &b"DICM"[..]].concat();
        object.meta().write(&mut bytes).unwrap();
        let data = lossless(actual).bytes();
        bytes.extend(&data[start_of_data(&data)..]);
        let contents = dicom::read_bytes(&bytes, "scan.dcm").unwrap_or_else(|error| panic!("{declared} {actual}: {error}"));
        assert_eq!(contents.frames, lossless(uids::EXPLICIT_VR_LITTLE_ENDIAN).read(), "{declared} {actual}");
        assert!(contents.header.notes.iter().any(|note| note.contains("transfer syntax says")), "{declared} {actual}");
    }
}

#[test]
fn bytes_behind_the_pixels_are_padding_where_they_can_be_nothing_else() {
    let scan = |bytes: usize, value: &dyn Fn(usize) -> u8| {
        let mut pixels: Vec<u8> = (0..12_u16).flat_map(u16::to_le_bytes).collect();
        pixels.extend((0..bytes).map(value));
        Scan::default().with(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(pixels.into())))
    };
    let expected = Scan::default().read();
    for bytes in [2, 4, 6, 18, 22] {
        for value in [0, 255] {
            assert_eq!(scan(bytes, &|_| value).read(), expected, "{bytes} bytes of {value}");
        }
    }
    assert_eq!(scan(4, &|at| at as u8).read(), expected, "less than a row");
    // A row that says something, and a whole frame, are no padding.
    for scan in [scan(6, &|at| at as u8), scan(24, &|_| 0)] {
        assert!(scan.refusal().contains("bytes of pixels where 1 frame of 4x3 pixels"), "{}", scan.refusal());
    }
    let contents = dicom::read_bytes(&scan(4, &|_| 0).bytes(), "scan.dcm").unwrap();
    assert_eq!(contents.header.notes, ["4 bytes behind its pixels are passed over"]);
}

#[test]
fn a_number_of_frames_with_a_point_is_read_and_noted() {
    for (written, frames) in [("1.0", Some(1)), ("1.", Some(1)), ("1e0", Some(1)), ("1.5", None), ("-1", None), ("nan", None)] {
        let scan = Scan::default().with(text(tags::NUMBER_OF_FRAMES, VR::IS, written));
        match frames {
            Some(frames) => assert_eq!(scan.read().len(), frames, "{written}"),
            None => {
                assert_eq!(scan.refusal(), "its Number of Frames is no number; export it again from the archive", "{written}")
            }
        }
    }
}

/// A private creator of GE at `block`, and the Dataset Name in that block.
fn dataset_name(scan: Scan, block: u16, creator: &str, vr: VR, names: &str) -> Scan {
    let name = DataElement::new(Tag(0x0011, block << 8 | 0x12), vr, PrimitiveValue::from(names));
    scan.with(text(Tag(0x0011, block), VR::LO, creator)).with(name)
}

#[test]
fn the_dataset_name_of_ge_says_the_view_where_no_code_does() {
    let two = || Scan { frames: 2, words: (0..24).collect(), ..Scan::default() };
    let views = |scan: Scan| scan.read().iter().map(|frame| frame.view).collect::<Vec<_>>();
    let (anterior, posterior) = (Some(View::Anterior), Some(View::Posterior));
    for block in [0x10, 0x11, 0x42, 0xff] {
        assert_eq!(views(dataset_name(two(), block, "GEMS_GENIE_1", VR::LO, "ANT\\POST")), [anterior, posterior], "{block:x}");
    }
    assert_eq!(views(dataset_name(two(), 0x10, "GEMS_GENIE_1 ", VR::SH, "WB POST \\ Anterior")), [posterior, anterior]);
    assert_eq!(views(dataset_name(two(), 0x10, "GEMS_GENIE_1", VR::UN, "POST\\ANT_E")), [posterior, anterior]);
    // Another's block, one beside another's, and a value for one of two frames.
    assert_eq!(views(dataset_name(two(), 0x10, "SOMEBODY 1", VR::LO, "ANT\\POST")), [None, None]);
    let beside = dataset_name(two(), 0x10, "SOMEBODY 1", VR::LO, "ANT\\POST");
    assert_eq!(views(dataset_name(beside, 0x11, "GEMS_GENIE_1", VR::LO, "POST\\ANT")), [posterior, anterior]);
    assert_eq!(views(dataset_name(two(), 0x10, "GEMS_GENIE_1", VR::LO, "ANT")), [None, None]);

    // A view code wins where both agree; where they do not, nobody does.
    let coded = |meanings: [&str; 2], names: &str| {
        let detectors = meanings.map(|meaning| detector("1", "99X", meaning)).to_vec();
        let vector = DataElement::new(tags::DETECTOR_VECTOR, VR::US, PrimitiveValue::U16([1, 2].into_iter().collect()));
        let scan = two().with(sequence(tags::DETECTOR_INFORMATION_SEQUENCE, detectors)).with(vector);
        dicom::read_bytes(&dataset_name(scan, 0x10, "GEMS_GENIE_1", VR::LO, names).bytes(), "scan.dcm").unwrap().header.views
    };
    use dicom::{FrameView, ViewSource};
    let by = |view, source| FrameView::Said(view, source);
    assert_eq!(
        coded(["Anterior", ""], "ANT\\POST"),
        [by(View::Anterior, ViewSource::ViewCode), by(View::Posterior, ViewSource::DatasetName)]
    );
    assert_eq!(
        coded(["Posterior", "Anterior"], "ANT\\POST")[0],
        FrameView::Contradiction("its view code says posterior and its dataset name anterior".into())
    );
    assert_eq!(coded(["LAO", ""], "WB 1\\RPO"), [FrameView::Other("LAO".into()), FrameView::Other("RPO".into())]);
    assert!(matches!(coded(["LAO", ""], "ANT\\POST")[0], FrameView::Contradiction(_)));
}

#[test]
fn words_are_read_in_the_character_set_of_the_file() {
    for (set, meaning) in [
        ("ISO_IR 100", &b"ant\xe9rieur"[..]),
        ("ISO_IR 192", "antérieur".as_bytes()),
        ("", b"ant\xe9rieur"),
        ("", "antérieur".as_bytes()),
        ("ISO_IR 144", b"\xdf\xd5\xe0\xd5\xd4\xdd\xef\xef"),
        ("GB18030", b"\xc7\xb0\xce\xbb"),
        ("\\ISO 2022 IR 87", b"\x1b$BA0LL\x1b(B"),
    ] {
        let mut code = detector("1", "99X", "");
        let item = InMemDicomObject::from_element_iter([
            text(tags::CODE_VALUE, VR::SH, "1"),
            DataElement::new(tags::CODE_MEANING, VR::UN, PrimitiveValue::U8(meaning.into())),
        ]);
        code.put(sequence(tags::VIEW_CODE_SEQUENCE, vec![item]));
        let mut scan = Scan::default().with(sequence(tags::DETECTOR_INFORMATION_SEQUENCE, vec![code]));
        if !set.is_empty() {
            scan = scan.with(text(tags::SPECIFIC_CHARACTER_SET, VR::CS, set));
        }
        assert_eq!(scan.read()[0].view, Some(View::Anterior), "{set} {meaning:?}");
    }
}

#[test]
fn only_the_frames_that_are_chosen_are_decoded() {
    let words: Vec<u16> = (0..12).chain([5; 12]).chain(12..24).collect();
    for transfer_syntax in [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::RLE_LOSSLESS] {
        let scan = Scan { frames: 3, words: words.clone(), transfer_syntax, ..Scan::default() };
        assert!(scan.refusal().starts_with("every pixel of its frame 2 is 5"));
        let read = |numbers: Vec<usize>| {
            dicom::read_frames(&scan.bytes(), "scan.dcm", |header| {
                assert_eq!(header.frames, 3);
                Ok(numbers)
            })
        };
        let frames = read(vec![3, 1]).unwrap().frames;
        assert_eq!(frames.iter().map(|frame| (frame.number, frame.image.pixels[0])).collect::<Vec<_>>(), [(3, 12.0), (1, 0.0)]);
        assert!(read(vec![4]).unwrap_err().to_string().contains("has no frame 4"));
    }
}

#[test]
fn a_header_is_read_without_the_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.dcm");
    let tracer = InMemDicomObject::from_element_iter([text(tags::RADIOPHARMACEUTICAL, VR::LO, "Tc-99m MDP")]);
    let range = InMemDicomObject::from_element_iter([
        text(tags::ENERGY_WINDOW_LOWER_LIMIT, VR::DS, "126.5"),
        text(tags::ENERGY_WINDOW_UPPER_LIMIT, VR::DS, "154.5"),
    ]);
    let window = InMemDicomObject::from_element_iter([
        text(tags::ENERGY_WINDOW_NAME, VR::SH, "Tc99m"),
        sequence(tags::ENERGY_WINDOW_RANGE_SEQUENCE, vec![range]),
    ]);
    let scan = Scan { rows: 512, columns: 300, words: vec![7; 512 * 300], ..begun() }
        .with(text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\WHOLE BODY\\EMISSION"))
        .with(text(tags::PIXEL_SPACING, VR::DS, "2.5\\2"))
        .with(text(tags::PATIENT_NAME, VR::PN, "Doe^Jane^^"))
        .with(text(tags::PATIENT_BIRTH_DATE, VR::DA, "19500101"))
        .with(text(tags::COUNTS_ACCUMULATED, VR::IS, "1075200"))
        .with(sequence(tags::RADIOPHARMACEUTICAL_INFORMATION_SEQUENCE, vec![tracer]))
        .with(sequence(tags::ENERGY_WINDOW_INFORMATION_SEQUENCE, vec![window]))
        // More than a first look at the file takes.
        .with(DataElement::new(Tag(0x0029, 0x1010), VR::OB, PrimitiveValue::U8(vec![1; 200_000].into())));
    std::fs::write(&path, scan.bytes()).unwrap();
    let header = dicom::read_header(&path, dicom::MAX_FILE_BYTES).unwrap();
    assert_eq!((header.size, header.frames, header.has_pixels), (Some([512, 300]), 1, true));
    assert_eq!(
        (header.spacing_mm, header.counts, header.tracer.as_deref()),
        (Some([2.5, 2.0]), Some(1_075_200), Some("Tc-99m MDP"))
    );
    assert_eq!(header.windows, [dicom::EnergyWindow { name: "Tc99m".into(), ranges_kev: vec![[126.5, 154.5]] }]);
    assert_eq!(header.person, Some(sha256(b"DOE^JANE\x0019500101")));
    assert!(header.is_nm() && header.image_type[2] == "WHOLE BODY" && !format!("{header:?}").contains("JANE"));
    // Pixels that are cut off do not matter to a header.
    let bytes = scan.bytes();
    assert_eq!(
        dicom::header_of("a", bytes.len() as u64, &bytes[..bytes.len() - 100_000]).unwrap_err().to_string(),
        "a: is cut short within element (7FE0,0010); copy or export it again from the archive"
    );
    assert!(dicom::read_header(&path, 1000).unwrap_err().to_string().contains("has more than"));
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
    // A JPEG begins where a fragment begins with ff d8, whatever the table of offsets says.
    for offsets in [vec![0, 16 + first.len() as u32], vec![], vec![0], vec![0, 5], vec![4, 16 + first.len() as u32]] {
        assert_eq!(split(offsets).read(), whole);
    }
    let fragments = |fragments: Vec<Vec<u8>>| {
        scan.clone().with(DataElement::new(tags::PIXEL_DATA, VR::OB, PixelFragmentSequence::new(vec![], fragments)))
    };
    let five = |stream: &[u8]| stream.chunks(stream.len().div_ceil(10) * 2).map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(fragments([five(&first), five(&second)].concat()).read(), whole);
    // Empty fragments hold nothing.
    assert_eq!(fragments(vec![first.clone(), second.clone(), vec![]]).read(), whole);
    assert_eq!(fragments(vec![first[..100].to_vec(), vec![], first[100..].to_vec(), second.clone(), vec![]]).read(), whole);
    // Three frames where the header says two, and one.
    for (streams, count) in
        [(vec![first.clone(), second.clone(), first.clone()], "3 fragments"), (vec![first.clone()], "1 fragment")]
    {
        let said = fragments(streams).refusal();
        assert!(said.contains(&format!("says 2 frames and its pixels are in {count}, which do not fit")), "{said}");
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
    assert_eq!(
        refusal(&bytes[..bytes.len() - 1]),
        "is cut short within element (7FE0,0010); copy or export it again from the archive"
    );
    assert_eq!(refusal(&bytes[..140]), "is cut short within element (0002,0000); copy or export it again from the archive");
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
        "its header says 2 frames and its pixels are in 1 fragment, which do not fit; \
         export it again, uncompressed if the archive can"
    );
}

#[test]
fn a_transfer_syntax_that_this_build_lacks_is_named_with_what_to_do() {
    // In fragments, as all compressed syntaxes are.
    let bytes = Scan { transfer_syntax: uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN, ..Scan::default() }.bytes();
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
            format!("its {} data is cut short or damaged; copy or export it again from the archive", name.replace("-LS", ""))
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
