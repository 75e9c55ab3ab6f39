//! What the fuzzer kept (tests/fuzz/corpus, minimised) through the same doors, on any toolchain. A file that once made a crash is
//! put there as well.
//!
//! `OSTEON_FUZZ_SEEDS=tests/fuzz/corpus cargo test --test fuzz_corpus` writes the small valid files that a new campaign starts from.

mod scan;

use osteon::annotation::{Annotation, Codes};
use osteon::archive::manifest::Manifest;
use osteon::dicom;
use osteon::image::Size;
use osteon::intake::study::{self, StudyOptions};
use osteon::intake::survey;
use osteon::intake::{checks, picture};
use osteon::models::Model;
use osteon::tensor::file;
use osteon::train::{Settings, check_checkpoint};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What stands before a checkpoint's contents, and their SHA-256 behind it.
const MAGIC: &[u8] = b"OSTEONCP";

/// A checkpoint's contents behind a checksum that fits them.
fn sealed(body: &[u8]) -> Vec<u8> {
    [MAGIC, &Sha256::digest(body), body].concat()
}

/// As a scan, as a header alone, and as a file that may be an archive.
fn read_scan(bytes: &[u8]) -> osteon::Result<()> {
    let _ = dicom::header_of("scan.dcm", bytes.len() as u64, bytes);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan");
    fs::write(&path, bytes).unwrap();
    for any_image in [false, true] {
        let options = StudyOptions { any_image, single_view: true, ..StudyOptions::default() };
        let _ = study::read(std::slice::from_ref(&path), &options);
    }
    let _ = survey::survey(&path);
    dicom::read_bytes(bytes, "scan.dcm").map(drop)
}

fn read_manifest(bytes: &[u8]) -> osteon::Result<()> {
    Manifest::from_bytes("manifest.csv", bytes).map(drop)
}

/// As they are, and behind a checksum that fits.
fn read_checkpoint(bytes: &[u8]) -> osteon::Result<()> {
    let path = Path::new("checkpoint");
    let body = bytes.get(MAGIC.len() + 32..).filter(|_| bytes.starts_with(MAGIC)).unwrap_or(bytes);
    let sealed = check_checkpoint(path, &sealed(body));
    check_checkpoint(path, bytes).or(sealed)
}

type Reader = fn(&[u8]) -> osteon::Result<()>;

fn read_model(bytes: &[u8]) -> osteon::Result<()> {
    Model::from_bytes(Path::new("model.safetensors"), bytes.to_vec()).map(drop)
}

/// Reads, holds it against codes and a picture, and writes it again.
fn read_annotation(name: &str, bytes: &[u8]) -> osteon::Result<()> {
    let annotation = Annotation::from_bytes(name, bytes)?;
    let again = Annotation::from_bytes(name, &annotation.to_bytes(name)?)?;
    assert_eq!(again.outlines.len(), annotation.outlines.len());
    let _ = annotation.to_bytes("a.xml");
    annotation.check(Path::new(name), Some(Size { rows: 64, columns: 32 }), &Codes::default()).map(drop)
}

fn read_labelme(bytes: &[u8]) -> osteon::Result<()> {
    read_annotation("a.json", bytes)
}

fn read_mit(bytes: &[u8]) -> osteon::Result<()> {
    read_annotation("a.xml", bytes)
}

/// What is read is checked for a body, as it is and inverted.
fn read_picture(bytes: &[u8]) -> osteon::Result<()> {
    let picture = picture::read_bytes(bytes, "a.png")?;
    let image = picture.image.clone();
    let inverted = picture.inverted();
    let _ = checks::finding(&inverted.image, Some([4.8, 2.4]));
    assert_eq!(inverted.inverted().image, image);
    let _ = checks::finding(&image, None);
    Ok(())
}

const TARGETS: [(&str, Reader); 7] = [
    ("dicom", read_scan),
    ("manifest", read_manifest),
    ("checkpoint", read_checkpoint),
    ("model", read_model),
    ("labelme", read_labelme),
    ("mit", read_mit),
    ("picture", read_picture),
];

/// Small valid files, by target and name.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut seeds: Vec<_> = scan::small_files().into_iter().map(|(name, bytes)| ("dicom", name, bytes)).collect();
    let tables = [
        ("plain", "patient,anterior,posterior,label\np1,a.png,b.png,NoMet\np2,c.dcm#1,c.dcm#2,ADMet\np3,d.dcm,,nADMet\n"),
        ("excel", "\u{feff}label,patient,posterior,anterior\r\n\r\nADMet,\"p, 1\",,\"a \"\"1\"\".png\"\r\nother,p2,,./b.png"),
    ];
    seeds.extend(tables.map(|(name, text)| ("manifest", name, text.as_bytes().to_vec())));
    let semicolons = "sep=;\r\n Patient ;ANTERIOR;posterior;Label;rotation_deg;Note;;\r\np1;a.png;;NoMet;-1,5;\"seen;\ntwice\";;\r\n;;;\r\n\
        P01;b.png#2;;ADMet\r\n";
    let utf16 = |number: fn(u16) -> [u8; 2]| tables[0].1.replace(',', "\t").encode_utf16().flat_map(number).collect();
    seeds.push(("manifest", "semicolons", semicolons.as_bytes().to_vec()));
    seeds.push(("manifest", "utf-16-be", utf16(u16::to_be_bytes)));
    seeds.push(("manifest", "utf-16-le", [b"\xff\xfe".to_vec(), utf16(u16::to_le_bytes)].concat()));
    let epoch = json!({
        "epoch": 1, "learning_rate": 0.001, "train_loss": 1.0, "train_accuracy": 0.5, "test_loss": null, "test_accuracy": null,
        "gradient_norm": 1.0, "skipped_steps": 0, "train_seconds": 1.0, "seconds": 1.0
    });
    let under_way = json!({
        "steps": 1, "skipped": 0, "studies": 2, "loss": 1.5, "correct": 1, "norm": 2.0, "learning_rate": 0.001, "seconds": 0.5
    });
    let state = json!({
        "format_version": 1, "settings": Settings::default().to_toml(), "inputs": { "manifest.csv": "00" }, "adam_steps": 3,
        "epochs": [epoch], "weights": ["00"], "under_way": under_way
    });
    let tensors =
        BTreeMap::from([("model.a".to_owned(), (vec![2, 1], vec![1.0, 2.0])), ("adam.first.a".to_owned(), (vec![0], vec![]))]);
    let body = file::to_bytes(&BTreeMap::from([("state".to_owned(), state.to_string())]), &tensors);
    seeds.push(("checkpoint", "whole", sealed(&body)));
    let shape = |label: &str, shape_type: &str, points: serde_json::Value| json!({ "label": label, "points": points, "group_id": 1, "shape_type": shape_type, "description": "", "flags": {} });
    // The rows 101 and 011, at one bit a pixel.
    let mut mask = shape("pelvis", "mask", json!([[3, 4], [5, 5]]));
    mask["mask"] = "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACAQAAAAC1D1u3AAAADElEQVR4nGNYwJAAAAJEAQFuRfPAAAAAAElFTkSuQmCC".into();
    let labelme = json!({
        "version": "5.5.0", "flags": { "seen": true }, "imagePath": "a.png", "imageData": "aGk=", "imageHeight": 64, "imageWidth": 32,
        "shapes": [
            shape("ADMet/ribs", "polygon", json!([[1.5, 2], [9, 2], [8, 8]])), shape("ribs", "rectangle", json!([[1, 2], [9, 4]])),
            shape("arthritis", "circle", json!([[9, 9], [9, 5]])), shape("normal/bladder", "point", json!([[3, 3]])),
            mask,
        ]
    });
    seeds.push(("labelme", "whole", labelme.to_string().into_bytes()));
    let mit = "<?xml version=\"1.0\"?><annotation><filename>a.png</filename><object><name>\nADMet/ribs\n</name><deleted>0</deleted>\
        <attributes>group=3</attributes><polygon><username>x</username><pt><x>1</x><y>2.5</y></pt><pt><x>9</x><y>2</y></pt><pt><x>5\
        </x><y>9</y></pt></polygon></object><object><name>r&amp;b&#33;</name><deleted>1</deleted><polygon/></object><object><name>\
        <![CDATA[ribs]]></name><type>bounding_box</type><polygon><pt><x>1</x><y>2</y></pt><pt><x>5</x><y>2</y></pt><pt><x>5</x><y>4\
        </y></pt><pt><x>1</x><y>4</y></pt></polygon></object><imagesize><nrows>64</nrows><ncols>32</ncols></imagesize></annotation>";
    seeds.push(("mit", "whole", mit.as_bytes().to_vec()));
    let grey: Vec<u8> = (0..24 * 17).map(|at: u32| ((at * at) >> 5) as u8).collect();
    let mut jpeg = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 80);
    image::ImageEncoder::write_image(encoder, &grey, 17, 24, image::ExtendedColorType::L8).unwrap();
    seeds.push(("picture", "png", picture::encode_gray8(24, 17, &grey).unwrap()));
    seeds.push(("picture", "jpeg", jpeg));
    seeds.push(("picture", "progressive", include_bytes!("pictures/progressive.jpg").to_vec()));
    seeds.push(("picture", "colour", include_bytes!("pictures/colour.jpg").to_vec()));
    seeds.push(("picture", "turned", include_bytes!("pictures/turned.png").to_vec()));
    seeds
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

#[test]
fn the_seeds_are_valid() {
    for (target, name, bytes) in seeds() {
        let (_, read) = TARGETS.into_iter().find(|(other, _)| *other == target).unwrap();
        read(&bytes).unwrap_or_else(|error| panic!("{target} {name}: {error}"));
        if let Some(folder) = std::env::var_os("OSTEON_FUZZ_SEEDS") {
            let folder = Path::new(&folder).join(target);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

#[test]
fn the_corpus_is_read_or_refused_in_one_sentence() {
    for (target, read) in TARGETS {
        let mut outcomes = [0, 0];
        for entry in fs::read_dir(corpus(target)).unwrap() {
            let path = entry.unwrap().path();
            match read(&fs::read(&path).unwrap()) {
                Ok(()) => outcomes[0] += 1,
                Err(error) => {
                    let said = error.to_string();
                    let sentence = said.contains("; ") && !said.contains(char::is_control);
                    assert!(sentence, "{}: {said:?}", path.display());
                    outcomes[1] += 1;
                }
            }
        }
        println!("{target}: {} read, {} refused", outcomes[0], outcomes[1]);
        // A whole model has 60 MB, which no corpus should.
        assert!((outcomes[0] > 0 || target == "model") && outcomes[1] > 10, "{target}: {outcomes:?}");
    }
}
