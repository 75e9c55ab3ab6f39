//! Whole-body scans as departments export them: folders, media and ZIP archives of everything that an examination left, and what is no
//! whole-body bone scan. Every remedy that a refusal names is followed.

mod scan;

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use osteon::dicom::{self, NmHeader};
use osteon::image::{Image, View};
use osteon::intake::study::{self, StudyOptions};
use osteon::intake::{Decided, Study, picture, survey};
use osteon::phantom::{PhantomOptions, simulate};
use scan::{bytes_of, detector, sequence, short, text};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The views of a phantom, 256x64.
fn phantom(index: usize) -> [Image; 2] {
    let phantom = simulate(&PhantomOptions { studies: 8, rows: 256, columns: 64, ..PhantomOptions::default() }, index);
    [phantom.anterior, phantom.posterior]
}

/// A whole-body scan as the program writes it.
fn object(index: usize) -> InMemDicomObject {
    let [anterior, posterior] = phantom(index);
    let about = NmHeader { patient: format!("p{index}"), identity: format!("p{index}"), ..NmHeader::default() };
    let bytes = dicom::encode_nm(&anterior, &posterior, &about).unwrap();
    dicom_object::from_reader(&bytes[..]).unwrap().into_inner()
}

type Change = Vec<DataElement<InMemDicomObject>>;

/// The file of a scan after changes.
fn file_of(index: usize, changes: Change) -> Vec<u8> {
    let mut object = object(index);
    changes.into_iter().for_each(|element| drop(object.put(element)));
    bytes_of(object, uids::EXPLICIT_VR_LITTLE_ENDIAN)
}

/// One view of a scan in a file of its own.
fn one_view(index: usize, view: View, changes: Change) -> Vec<u8> {
    let mut object = object(index);
    let [anterior, posterior] = phantom(index);
    let (image, code) = if view == View::Anterior { (anterior, "399321004") } else { (posterior, "399001007") };
    let words = image.pixels.iter().map(|count| count.round() as u16).collect::<Vec<_>>();
    object.put(text(tags::NUMBER_OF_FRAMES, VR::IS, "1"));
    object.put(sequence(tags::DETECTOR_INFORMATION_SEQUENCE, vec![detector(code, "SCT", "")]));
    object.put(short(tags::DETECTOR_VECTOR, 1));
    object.put(text(tags::SOP_INSTANCE_UID, VR::UI, &format!("2.25.9{index}{}", view as usize)));
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.into())));
    changes.into_iter().for_each(|element| drop(object.put(element)));
    bytes_of(object, uids::EXPLICIT_VR_LITTLE_ENDIAN)
}

/// An object of the same study without pixels.
fn beside(class: &str, modality: &str) -> Vec<u8> {
    let mut object = object(2);
    for tag in [tags::PIXEL_DATA, tags::ROWS, tags::COLUMNS, tags::NUMBER_OF_FRAMES, tags::IMAGE_TYPE] {
        object.remove_element(tag);
    }
    object.put(text(tags::SOP_CLASS_UID, VR::UI, class));
    object.put(text(tags::SOP_INSTANCE_UID, VR::UI, "2.25.7"));
    object.put(text(tags::MODALITY, VR::CS, modality));
    bytes_of(object, uids::EXPLICIT_VR_LITTLE_ENDIAN)
}

fn image_type(third: &str) -> DataElement<InMemDicomObject> {
    text(tags::IMAGE_TYPE, VR::CS, &format!("ORIGINAL\\PRIMARY\\{third}\\EMISSION"))
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn read(path: &Path) -> osteon::Result<Study> {
    study::read(&[path.to_owned()], &StudyOptions::default())
}

#[track_caller]
fn is_phantom(study: osteon::Result<Study>, index: usize) -> Study {
    let study = study.unwrap();
    let counts =
        |image: &Option<Image>| image.as_ref().map(|image| image.pixels.iter().map(|count| count.round()).collect::<Vec<_>>());
    let [anterior, posterior] = phantom(index).map(Some);
    assert_eq!([counts(&study.anterior), counts(&study.posterior)], [counts(&anterior), counts(&posterior)]);
    study
}

#[track_caller]
fn refused(study: osteon::Result<Study>, words: &[&str]) -> String {
    let said = study.expect_err("it was read").to_string();
    assert!(words.iter().all(|word| said.contains(word)), "{words:?} in: {said}");
    assert!(said.contains("; ") && !said.contains('\n'), "{said}");
    said
}

/// All that an examination leaves beside the scan.
fn junk() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let class = |uid: &str| format!("1.2.840.10008.5.1.4.1.1.{uid}");
    let tomogram = vec![
        image_type("RECON TOMO"),
        text(tags::NUMBER_OF_FRAMES, VR::IS, "2"),
        text(tags::SOP_INSTANCE_UID, VR::UI, "2.25.70"),
    ];
    let spots = vec![image_type("STATIC"), text(tags::SOP_INSTANCE_UID, VR::UI, "2.25.71")];
    let capture = vec![
        text(tags::SOP_CLASS_UID, VR::UI, &class("7")),
        text(tags::MODALITY, VR::CS, "OT"),
        text(tags::SOP_INSTANCE_UID, VR::UI, "2.25.72"),
    ];
    vec![
        ("capture.dcm", file_of(2, capture), "secondary capture"),
        ("spots.dcm", file_of(2, spots), "static spot view (Image Type STATIC)"),
        ("tomo.dcm", file_of(2, tomogram), "tomographic series (SPECT) (Image Type RECON TOMO)"),
        ("dose.dcm", beside(&class("88.67"), "SR"), "radiation dose report"),
        ("report.dcm", beside(&class("104.1"), "DOC"), "encapsulated document"),
        ("key.dcm", beside(&class("88.59"), "KO"), "key object selection"),
        (
            "ct.dcm",
            file_of(3, vec![text(tags::SOP_CLASS_UID, VR::UI, &class("2")), text(tags::MODALITY, VR::CS, "CT")]),
            "CT image",
        ),
        ("cut.dcm", file_of(2, Vec::new())[..600].to_vec(), "is cut short"),
        ("viewer.exe", b"MZ\x90\0".to_vec(), "no image"),
        ("readme.txt", b"put the CD in".to_vec(), "no image"),
        ("preview.jpg", b"\xff\xd8\xff\xe0 a preview".to_vec(), "picture beside a DICOM file"),
        ("older.zip", b"PK\x03\x04 another archive".to_vec(), "ZIP archive within"),
    ]
}

#[test]
fn the_scan_is_found_beside_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let whole = file_of(2, Vec::new());
    for place in ["", "DICOM/PA0/ST0/SE0/"] {
        let folder = folder.path().join(if place.is_empty() { "flat" } else { "cd" });
        put(&folder, &format!("{place}IM0"), &whole);
        put(&folder, "DICOMDIR", &beside("1.2.840.10008.1.3.10", ""));
        put(&folder, ".DS_Store", b"hidden");
        for (name, bytes, _) in junk() {
            put(&folder, &format!("{place}{name}"), &bytes);
        }
        let study = is_phantom(read(&folder), 2);
        let (of, left_out) = &study.intake.left_out[0];
        assert_eq!((of, left_out.count()), (&folder, junk().len()));
        let line = left_out.to_string();
        assert!(!line.contains('\n') && !line.contains("DICOMDIR"), "{line}");
        for (name, _, reason) in junk() {
            assert!(line.contains(name) && line.contains(reason), "{name}, {reason}: {line}");
        }
        // The index of a medium stands for it.
        is_phantom(read(&folder.join("DICOMDIR")), 2);
    }
    // The same as a ZIP archive, stored and deflated.
    for deflated in [false, true] {
        let mut entries: Vec<(String, Vec<u8>)> =
            vec![("export/SE0/IM0".into(), whole.clone()), ("DICOMDIR".into(), whole.clone())];
        entries.extend(junk().into_iter().map(|(name, bytes, _)| (format!("export/{name}"), bytes)));
        let path = put(folder.path(), if deflated { "a.zip" } else { "b.zip" }, &zip(&entries, deflated));
        let study = is_phantom(read(&path), 2);
        assert_eq!(study.sources, [path.join("export/SE0/IM0")]);
        assert_eq!(study.intake.left_out[0].1.count(), junk().len());
        let survey = survey::survey(&path).unwrap();
        assert_eq!((survey.place, survey.flags, survey.objects.len()), ("ZIP archive", Some(Vec::new()), junk().len() + 1));
    }
}

/// A ZIP archive.
fn zip(entries: &[(String, Vec<u8>)], deflated: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = rawzip::ZipArchiveWriter::new(&mut bytes);
    for (name, content) in entries {
        let method = if deflated { rawzip::CompressionMethod::DEFLATE } else { rawzip::CompressionMethod::STORE };
        let (mut entry, config) = archive.new_file(name).compression_method(method).start().unwrap();
        let descriptor = if deflated {
            let mut writer = config.wrap(flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default()));
            writer.write_all(content).unwrap();
            let (encoder, descriptor) = writer.finish().unwrap();
            encoder.finish().unwrap();
            descriptor
        } else {
            let mut writer = config.wrap(&mut entry);
            writer.write_all(content).unwrap();
            writer.finish().unwrap().1
        };
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    bytes
}

#[test]
fn a_damaged_archive_is_refused_and_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let whole = zip(&[("IM0".into(), file_of(2, Vec::new()))], true);
    for length in (0..whole.len()).step_by(whole.len() / 60) {
        let path = put(folder.path(), "cut.zip", &whole[..length]);
        assert!(read(&path).is_err(), "{length} of {} bytes", whole.len());
    }
    let mut refusals = 0;
    for at in (0..whole.len()).step_by(whole.len() / 200) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        // The checksum finds what the structure does not.
        match read(&put(folder.path(), "changed.zip", &changed)) {
            Err(_) => refusals += 1,
            study => drop(is_phantom(study, 2)),
        }
    }
    assert!(refusals > 150, "{refusals}");
    let said = refused(read(&put(folder.path(), "cut.zip", &whole[..whole.len() - 30])), &["cut.zip"]);
    assert!(said.contains("is a ZIP archive that is cut short or damaged; copy it again"), "{said}");
}

#[test]
fn two_scans_are_refused_by_name_and_the_one_that_is_named_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let instance = |number: &str| text(tags::SOP_INSTANCE_UID, VR::UI, number);
    let of_study = |uid: &str, date: &str, patient: &str| {
        vec![
            text(tags::STUDY_INSTANCE_UID, VR::UI, uid),
            text(tags::STUDY_DATE, VR::DA, date),
            text(tags::PATIENT_ID, VR::LO, patient),
            instance("2.25.80"),
        ]
    };
    for (name, other, words) in [
        (
            "patients",
            of_study("2.25.1", "20240101", "somebody else"),
            "holds scans of two patients (their Patient IDs differ): a.dcm and b/b.dcm",
        ),
        (
            "studies",
            of_study("2.25.2", "20240101", "p2"),
            "holds scans of two examinations (their Study Instance UIDs differ): a.dcm and b/b.dcm",
        ),
        ("dates", of_study("2.25.1", "20240102", "p2"), "holds scans of two dates: a.dcm and b/b.dcm"),
        ("scans", of_study("2.25.1", "20240101", "p2"), "holds 2 whole-body scans: a.dcm, b/b.dcm"),
    ] {
        let folder = folder.path().join(name);
        let mut own = of_study("2.25.1", "20240101", "p2");
        own.push(instance("2.25.81"));
        let first = put(&folder, "a.dcm", &file_of(2, own));
        put(&folder, "b/b.dcm", &file_of(3, other));
        refused(read(&folder), &[words]);
        // "name the files of one"
        is_phantom(read(&first), 2);
    }
    // The same object twice is one; what was computed from the scan is not needed.
    let twice = folder.path().join("twice");
    put(&twice, "a.dcm", &file_of(2, Vec::new()));
    put(&twice, "copy of a.dcm", &file_of(2, Vec::new()));
    put(
        &twice,
        "smooth.dcm",
        &file_of(2, vec![text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\PRIMARY\\WHOLE BODY\\EMISSION"), instance("2.25.82")]),
    );
    let line = is_phantom(read(&twice), 2).intake.left_out[0].1.to_string();
    assert!(line.contains("copy of a.dcm (the same object as a.dcm)") && line.contains("smooth.dcm (derived image)"), "{line}");
    // A view a file.
    let views = folder.path().join("views");
    put(&views, "1.dcm", &one_view(2, View::Posterior, Vec::new()));
    put(&views, "2.dcm", &one_view(2, View::Anterior, Vec::new()));
    is_phantom(read(&views), 2);
    // Under one number, as some exporters write them.
    put(&views, "1.dcm", &one_view(2, View::Posterior, vec![instance("2.25.99")]));
    put(&views, "2.dcm", &one_view(2, View::Anterior, vec![instance("2.25.99")]));
    is_phantom(read(&views), 2);
}

#[test]
fn views_of_two_patients_examinations_or_dates_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let front = put(folder.path(), "front.dcm", &one_view(2, View::Anterior, vec![text(tags::STUDY_DATE, VR::DA, "20240101")]));
    let without_id = |name: &str| {
        vec![
            text(tags::PATIENT_ID, VR::LO, ""),
            text(tags::PATIENT_NAME, VR::PN, name),
            text(tags::PATIENT_BIRTH_DATE, VR::DA, "19500101"),
        ]
    };
    let nameless = put(folder.path(), "nameless.dcm", &one_view(2, View::Anterior, without_id("Doe^Jane")));
    for (first, back, words) in [
        (&front, vec![text(tags::PATIENT_ID, VR::LO, "another")], "of two patients (their Patient IDs differ)"),
        (&nameless, without_id("Roe^Richard"), "of two patients (their names or birth dates differ)"),
        (
            &front,
            vec![text(tags::STUDY_INSTANCE_UID, VR::UI, "2.25.83")],
            "of two examinations (their Study Instance UIDs differ)",
        ),
        (&front, vec![text(tags::STUDY_DATE, VR::DA, "20240301")], "of two dates"),
    ] {
        let back = put(folder.path(), "back.dcm", &one_view(2, View::Posterior, back));
        let said = refused(study::read(&[first.clone(), back.clone()], &StudyOptions::default()), &[words, "back.dcm"]);
        assert!(!said.contains("Doe") && !said.contains("Roe"), "{said}");
        // In a manifest too, whoever reads it.
        let cell = |path: &Path| study::Cell { path: path.to_owned(), frame: None };
        let row = study::read_manifest_row(Some(&cell(first)), Some(&cell(&back)), study::RowOptions::default());
        refused(row, &[words]);
    }
    let back = put(folder.path(), "back.dcm", &one_view(2, View::Posterior, vec![text(tags::STUDY_DATE, VR::DA, "20240101")]));
    is_phantom(study::read(&[front, back], &StudyOptions::default()), 2);
}

#[test]
fn what_is_no_whole_body_bone_scan_is_refused_unless_the_user_insists() {
    let folder = tempfile::tempdir().unwrap();
    let class = |uid: &str| text(tags::SOP_CLASS_UID, VR::UI, &format!("1.2.840.10008.5.1.4.1.1.{uid}"));
    let tracer = |name: &str| {
        let item = InMemDicomObject::from_element_iter([text(tags::RADIOPHARMACEUTICAL, VR::LO, name)]);
        sequence(tags::RADIOPHARMACEUTICAL_INFORMATION_SEQUENCE, vec![item])
    };
    for (changes, words) in [
        (vec![class("2"), text(tags::MODALITY, VR::CS, "CT")], "is a CT image"),
        (vec![class("4"), text(tags::MODALITY, VR::CS, "MR")], "is an MR image"),
        (vec![class("130"), text(tags::MODALITY, VR::CS, "PT")], "is a PET image"),
        (vec![text(tags::MODALITY, VR::CS, "CR")], "is an X-ray image (modality CR)"),
        (vec![image_type("STATIC")], "is a static spot view (Image Type STATIC)"),
        (vec![image_type("TOMO")], "is a tomographic series (SPECT) (Image Type TOMO)"),
        (vec![image_type("DYNAMIC")], "is a dynamic series"),
        (vec![tracer("I-131 MIBG")], "is a scan with I-131 MIBG, which shows no bone"),
    ] {
        let path = put(folder.path(), "scan.dcm", &file_of(2, changes));
        refused(read(&path), &[words, "whole-body bone scan", "or --any-image"]);
        is_phantom(study::read(&[path], &StudyOptions { any_image: true, ..StudyOptions::default() }), 2);
    }
    // What a header does not say is nothing against it.
    let silent = [tags::IMAGE_TYPE, tags::MODALITY, tags::SOP_CLASS_UID];
    let mut object = object(2);
    silent.into_iter().for_each(|tag| assert!(object.remove_element(tag)));
    is_phantom(read(&put(folder.path(), "silent.dcm", &bytes_of(object, uids::EXPLICIT_VR_LITTLE_ENDIAN))), 2);
    for changes in [vec![class("7")], vec![tracer("Tc-99m HDP")], vec![image_type("WHOLE BODY")], vec![tracer("kit 5")]] {
        is_phantom(read(&put(folder.path(), "scan.dcm", &file_of(2, changes))), 2);
    }
    // A folder of nothing else says what there is.
    let spots = folder.path().join("spots");
    put(&spots, "a.dcm", &file_of(2, vec![image_type("STATIC")]));
    let said = refused(read(&spots), &["holds no whole-body bone scan, but a.dcm (static spot view (Image Type STATIC))"]);
    assert!(said.contains("--any-image"), "{said}");
    is_phantom(study::read(&[spots], &StudyOptions { any_image: true, ..StudyOptions::default() }), 2);
}

/// Two detectors without view codes, and GE's name for each frame in its private group.
fn ge(names: &str) -> Vec<u8> {
    let empty = || InMemDicomObject::new_empty();
    file_of(
        2,
        vec![
            sequence(tags::DETECTOR_INFORMATION_SEQUENCE, vec![empty(), empty()]),
            text(Tag(0x0011, 0x0010), VR::LO, "GEMS_GENIE_1"),
            text(Tag(0x0011, 0x1012), VR::LO, names),
        ],
    )
}

#[test]
fn what_decided_a_view_is_kept_and_every_doubt_has_a_way_out() {
    use osteon::dicom::ViewSource::{DatasetName, ViewCode};
    let folder = tempfile::tempdir().unwrap();
    let views = |first, second| StudyOptions { views: Some([first, second]), ..StudyOptions::default() };
    let (anterior, posterior) = (View::Anterior, View::Posterior);
    let decided = |study: &Study| study.intake.decided;
    let coded = put(folder.path(), "coded.dcm", &file_of(2, Vec::new()));
    assert_eq!(decided(&is_phantom(read(&coded), 2)), [Some(Decided::File(ViewCode)); 2]);
    let named = put(folder.path(), "named.dcm", &ge("WB ANT\\WB POST"));
    assert_eq!(decided(&is_phantom(read(&named), 2)), [Some(Decided::File(DatasetName)); 2]);
    let codes = |front: (&str, &str), back: (&str, &str)| {
        sequence(
            tags::DETECTOR_INFORMATION_SEQUENCE,
            [front, back].map(|(value, meaning)| detector(value, "99X", meaning)).to_vec(),
        )
    };
    // Whatever is wrong with the views, --views is the remedy that is named, and works.
    for (name, bytes, words) in [
        ("mute", ge("WB 1\\WB 2"), "does not say which view it is"),
        (
            "one detector",
            file_of(
                2,
                vec![
                    sequence(tags::DETECTOR_INFORMATION_SEQUENCE, vec![detector("399321004", "SCT", "")]),
                    short(tags::DETECTOR_VECTOR, 1),
                ],
            ),
            "does not say which view it is",
        ),
        (
            "twice",
            file_of(2, vec![codes(("1", "ANT"), ("2", "ANT"))]),
            "says of both of its frames that they are the anterior view",
        ),
        (
            "code and name",
            file_of(
                2,
                vec![
                    codes(("1", "POST"), ("2", "ANT")),
                    text(Tag(0x0011, 0x0010), VR::LO, "GEMS_GENIE_1"),
                    text(Tag(0x0011, 0x1012), VR::LO, "ANT\\POST"),
                ],
            ),
            "its view code says posterior and its dataset name anterior",
        ),
    ] {
        let path = put(folder.path(), &format!("{name}.dcm"), &bytes);
        refused(read(&path), &[words, "say it with --views anterior,posterior or --views posterior,anterior"]);
        let study = is_phantom(study::read(std::slice::from_ref(&path), &views(anterior, posterior)), 2);
        assert_eq!(decided(&study), [Some(Decided::Flag); 2], "{name}");
        let turned = study::read(std::slice::from_ref(&path), &views(posterior, anterior)).unwrap();
        assert_eq!(turned.anterior, study.posterior, "{name}");
        // The doctor proposes it.
        assert_eq!(survey::survey(&path).unwrap().flags.unwrap(), ["--views anterior,posterior"], "{name}");
    }
    // A file's own word wins in a batch with --views.
    let study = is_phantom(study::read(&[coded], &views(posterior, anterior)), 2);
    assert!(decided(&study) == [Some(Decided::File(ViewCode)); 2] && study.intake.notes.len() == 2);
    // Obliques are never taken for either.
    let oblique = put(folder.path(), "oblique.dcm", &file_of(2, vec![codes(("1", "Left anterior oblique"), ("2", "RPO"))]));
    refused(
        study::read(std::slice::from_ref(&oblique), &views(anterior, posterior)),
        &["is the view `Left anterior oblique`, neither anterior nor posterior", "--any-image"],
    );
    is_phantom(study::read(&[oblique], &StudyOptions { any_image: true, ..views(anterior, posterior) }), 2);
}

#[test]
fn of_several_energy_windows_that_of_technetium_is_proposed_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let range = |lower: &str, upper: &str| {
        InMemDicomObject::from_element_iter([
            text(tags::ENERGY_WINDOW_LOWER_LIMIT, VR::DS, lower),
            text(tags::ENERGY_WINDOW_UPPER_LIMIT, VR::DS, upper),
        ])
    };
    let window = |name: &str, lower: &str, upper: &str| {
        InMemDicomObject::from_element_iter([
            text(tags::ENERGY_WINDOW_NAME, VR::SH, name),
            sequence(tags::ENERGY_WINDOW_RANGE_SEQUENCE, vec![range(lower, upper)]),
        ])
    };
    let shorts = |tag, values: [u16; 4]| DataElement::new(tag, VR::US, PrimitiveValue::U16(values.into_iter().collect()));
    let [front, back] = phantom(2).map(|image| image.pixels.into_iter().map(|count| count.round() as u16).collect::<Vec<_>>());
    // The scatter window comes first, and is empty.
    let words = [vec![0; 2 * front.len()], front, back].concat();
    let bytes = file_of(
        2,
        vec![
            text(tags::NUMBER_OF_FRAMES, VR::IS, "4"),
            shorts(tags::DETECTOR_VECTOR, [1, 2, 1, 2]),
            shorts(tags::ENERGY_WINDOW_VECTOR, [1, 1, 2, 2]),
            sequence(
                tags::ENERGY_WINDOW_INFORMATION_SEQUENCE,
                vec![window("scatter", "110", "125"), window("Tc99m", "126.5", "154.5")],
            ),
            DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.into())),
        ],
    );
    let path = put(folder.path(), "dual.dcm", &bytes);
    let said = refused(read(&path), &["holds 4 images in 2 energy windows", "name those of the window of 140 keV (Tc99m), "]);
    let proposed: Vec<PathBuf> = said.rsplit_once("(Tc99m), ").unwrap().1.split(',').map(PathBuf::from).collect();
    assert_eq!(proposed, [3, 4].map(|frame| PathBuf::from(format!("{}#{frame}", path.display()))));
    is_phantom(study::read(&proposed, &StudyOptions::default()), 2);
    let archive = put(folder.path(), "dual.zip", &zip(&[("SE0/IM0".into(), bytes.clone())], true));
    refused(read(&archive), &["unpack the archive and name those of the window of 140 keV (Tc99m), IM0#3,IM0#4"]);
    // In a manifest.
    let cell = |frame| study::Cell { path: path.clone(), frame };
    let options = study::RowOptions { is_checked: true, ..Default::default() };
    refused(study::read_manifest_row(Some(&cell(None)), None, options), &["more than one of its 4 frames", "140 keV"]);
    is_phantom(study::read_manifest_row(Some(&cell(Some(3))), Some(&cell(Some(4))), options), 2);
}

#[test]
fn pictures_are_told_by_their_pixels_and_every_remedy_helps() {
    let folder = tempfile::tempdir().unwrap();
    let eight: Vec<Image> = phantom(2)
        .into_iter()
        .map(|image| {
            let most = image.pixels.iter().copied().fold(0.0, f32::max);
            Image { pixels: image.pixels.iter().map(|count| ((count / most).sqrt() * 255.0).round()).collect(), ..image }
        })
        .collect();
    let write = |name: &str, image: &Image| {
        let path = folder.path().join(name);
        let pixels: Vec<u8> = image.pixels.iter().map(|value| *value as u8).collect();
        picture::write_gray8(&path, image.rows, image.columns, &pixels).unwrap();
        path
    };
    let white = |image: &Image| Image { pixels: image.pixels.iter().map(|value| 255.0 - value).collect(), ..*image };
    let with = StudyOptions { views: Some([View::Anterior, View::Posterior]), ..StudyOptions::default() };
    let plain = study::read(&[write("a.png", &eight[0]), write("p.png", &eight[1])], &with).unwrap();
    let black = [write("ba.png", &white(&eight[0])), write("bp.png", &white(&eight[1]))];
    refused(study::read(&black, &with), &["is black on white", "--inverted"]);
    let turned = study::read(&black, &StudyOptions { inverted: true, ..with }).unwrap();
    assert_eq!((turned.anterior, turned.posterior), (plain.anterior.clone(), plain.posterior.clone()));
    assert!(turned.intake.applied[0].contains("inverted: 255 minus"), "{:?}", turned.intake.applied);
    refused(
        study::read(&[write("a.png", &eight[0]), write("p.png", &eight[1])], &StudyOptions { inverted: true, ..with }),
        &["leave --inverted out"],
    );
    // In a manifest its column says it.
    let cell = |path: &Path| study::Cell { path: path.to_owned(), frame: None };
    let row = study::RowOptions { inverted: true, is_checked: true };
    let row = study::read_manifest_row(Some(&cell(&black[0])), Some(&cell(&black[1])), row).unwrap();
    assert_eq!(row.anterior, plain.anterior);

    // Of a secondary capture with MONOCHROME1 the border decides; of an NM image nothing is turned over.
    let capture = |white_border: bool| {
        let words = phantom(2).into_iter().flat_map(|image| image.pixels).map(|count| count.round() as u16);
        let words: Vec<u16> = words.map(|word| if white_border { 60_000 - word } else { word }).collect();
        let changes = vec![
            text(tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.7"),
            text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME1"),
            DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.into())),
        ];
        read(&put(folder.path(), "capture.dcm", &file_of(2, changes))).unwrap()
    };
    for (white_border, applied) in [
        (false, "MONOCHROME1 and a dark border: the values are the counts"),
        (true, "MONOCHROME1 and a bright border: the values are turned over"),
    ] {
        let study = capture(white_border);
        assert!(study.intake.applied[0].ends_with(applied), "{:?}", study.intake.applied);
        let hottest = |image: &Image| (0..image.pixels.len()).max_by(|a, b| image.pixels[*a].total_cmp(&image.pixels[*b]));
        assert_eq!(hottest(&study.anterior.unwrap()), hottest(&phantom(2)[0]), "{white_border}");
    }

    // Both views in one picture, and one that lies.
    let Image { rows, columns, .. } = eight[0];
    let beside: Vec<f32> = (0..rows).flat_map(|row| eight.iter().flat_map(move |image| image.row(row).to_vec())).collect();
    let both = write("both.png", &Image { rows, columns: 2 * columns, pixels: beside });
    let single = StudyOptions { single_view: true, ..StudyOptions::default() };
    refused(study::read(&[both], &single), &["two bodies side by side", "cut the picture into its two views"]);
    let lying: Vec<f32> = (0..columns)
        .flat_map(|row| (0..rows).map(move |column| (row, column)))
        .map(|(row, column)| eight[0].pixels[column * columns + row])
        .collect();
    let lying = write("lying.png", &Image { rows: columns, columns: rows, pixels: lying });
    refused(study::read(std::slice::from_ref(&lying), &single), &["lies on its side", "--any-image"]);
    assert!(study::read(&[lying], &StudyOptions { any_image: true, ..single }).is_ok());
}

#[test]
fn the_doctor_tells_what_is_there_and_nobodys_name() {
    let folder = tempfile::tempdir().unwrap();
    let name = vec![text(tags::PATIENT_NAME, VR::PN, "Doe^Jane"), text(tags::PATIENT_ID, VR::LO, "4711")];
    put(folder.path(), "IM0", &file_of(2, name));
    for (name, bytes, _) in junk() {
        put(folder.path(), name, &bytes);
    }
    let survey = survey::survey(folder.path()).unwrap();
    let scan = &survey.objects[0];
    assert_eq!((scan.name.as_str(), scan.kind.as_str(), scan.size, scan.frames), ("IM0", "whole-body scan", Some([256, 64]), 2));
    assert_eq!(scan.views, ["anterior by view code", "posterior by view code"]);
    let sums = phantom(2).map(|image| image.pixels.iter().map(|count| f64::from(count.round())).sum::<f64>());
    assert_eq!(scan.counts, sums);
    assert!(scan.body.iter().flatten().count() == 2 && scan.spacing_mm.is_some());
    assert_eq!((survey.flags, survey.refusal), (Some(Vec::new()), None));
    let told = format!("{:?}", survey.objects);
    assert!(!told.contains("Doe") && !told.contains("4711"), "{told}");
}
