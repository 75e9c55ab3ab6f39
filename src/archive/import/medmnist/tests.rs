use super::*;
use flate2::write::DeflateEncoder;
use rawzip::{CompressionMethod, ZipArchiveWriter, ZipDataWriter};
use std::io::Write;

/// A NumPy file.
fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), values].concat()
}

fn zip(entries: &[(String, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = ZipArchiveWriter::new(&mut bytes);
    for (name, content) in entries {
        let (mut entry, config) = archive.new_file(name).compression_method(method).start().unwrap();
        let descriptor = if method == CompressionMethod::DEFLATE {
            let mut writer = config.wrap(DeflateEncoder::new(&mut entry, flate2::Compression::fast()));
            writer.write_all(content).unwrap();
            let (encoder, descriptor) = writer.finish().unwrap();
            encoder.finish().unwrap();
            descriptor
        } else {
            let mut writer: ZipDataWriter<_> = config.wrap(&mut entry);
            writer.write_all(content).unwrap();
            writer.finish().unwrap().1
        };
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    bytes
}

/// Pictures of 3x2 pixels: `labels` of a side, and the grey value of each of its pictures.
fn side(name: &str, labels: &[u8], greys: &[u8]) -> [(String, Vec<u8>); 2] {
    let pixels: Vec<u8> = greys.iter().flat_map(|grey| [0, *grey, *grey, 1, 2, 3]).collect();
    [
        (format!("{name}_images.npy"), npy("|u1", &format!("({}, 3, 2)", greys.len()), &pixels)),
        (format!("{name}_labels.npy"), npy("|u1", &format!("({}, 1)", labels.len()), labels)),
    ]
}

fn whole() -> Vec<(String, Vec<u8>)> {
    let sides = [
        side("train", &[0, 10, 1, 1, 0], &[10, 20, 30, 30, 90]),
        side("val", &[1, 0], &[40, 91]),
        side("test", &[10, 0, 1], &[90, 91, 60]),
    ];
    sides.into_iter().flatten().collect()
}

/// The same with another file in place of `name`.
fn with(name: &str, content: Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let mut entries = whole();
    entries.iter_mut().find(|(other, _)| other == name).unwrap().1 = content;
    entries
}

fn import(bytes: &[u8], folder: &Path) -> Result<Pictures> {
    let file = folder.join("set.npz");
    std::fs::write(&file, bytes).unwrap();
    medmnist(&file, Output::folder(&folder.join("made"), false, &MEDMNIST_FILES, &[&file]).unwrap(), &|_, _| {})
}

#[test]
fn sides_classes_and_pixels_are_kept() {
    for method in [CompressionMethod::STORE, CompressionMethod::DEFLATE] {
        let folder = tempfile::tempdir().unwrap();
        let Pictures { manifest, size, left_out } = import(&zip(&whole(), method), folder.path()).unwrap();
        // The last training picture and the last of validation are test pictures too.
        assert_eq!((size, left_out), ([3, 2], 2));
        let read = Manifest::read(folder.path().join("made/manifest.csv")).unwrap();
        assert_eq!(read, manifest);
        // In the order of the numbers: class-10 is written class-10, and class-1 class-01.
        assert_eq!(read.classes, ["class-00", "class-01", "class-10"]);
        let rows: Vec<_> = read.rows.iter().map(|row| (&*row.patient, &*row.label, row.side.unwrap().name())).collect();
        assert_eq!(
            rows,
            [
                ("train-00001", "class-00", "train"),
                ("train-00002", "class-10", "train"),
                ("train-00003", "class-01", "train"),
                ("train-00003", "class-01", "train"),
                ("validation-00001", "class-01", "validation"),
                ("test-00001", "class-10", "test"),
                ("test-00002", "class-00", "test"),
                ("test-00003", "class-01", "test"),
            ]
        );
        let picture = picture::read(folder.path().join("made/train/00002.png")).unwrap();
        assert_eq!((picture.rows, picture.columns, &picture.pixels[..]), (3, 2, &[0.0, 20.0, 20.0, 1.0, 2.0, 3.0][..]));
        let study = read.rows[5].read().unwrap();
        assert!(study.posterior.is_none());
    }
}

#[test]
fn a_refused_file_leaves_nothing_and_one_sentence() {
    let images = "train_images.npy";
    let pixels = [7; 30];
    let of = |descr: &str, shape: &str| with(images, npy(descr, shape, &pixels));
    let labels = |descr: &str, shape: &str, values: &[u8]| with("train_labels.npy", npy(descr, shape, values));
    let header = |text: &str| {
        let bytes = [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), &pixels].concat();
        with(images, bytes)
    };
    let mut lacking = whole();
    lacking.remove(3);
    let long = [&b"\x93NUMPY\x02\x00\xff\xff\xff\x7f"[..], &pixels].concat();
    for (entries, part) in [
        (lacking, "has no array val_labels"),
        (of("|u1", "(5, 1, 2, 3)"), "train_images that holds colour pictures"),
        (of("|u1", "(1, 3, 2, 5)"), "train_images that holds volumes"),
        (of("<f4", "(5, 3, 2)"), "is not as long as its header says"),
        (with(images, npy("<f4", "(5, 3, 2)", &[0; 120])), "values of the type <f4 instead of bytes"),
        (of("|u1", "(5, 3, 3)"), "is not as long as its header says"),
        (of("|u1", "(9999999999, 9999999999, 9999999999)"), "is not as long as its header says"),
        (of("|u1", "(99999999999999999999999999, 3, 2)"), "has a header that cannot be read"),
        (of("|u1", "(-5, 3, 2)"), "has a header that cannot be read"),
        (of("|u1", "(15, 2)"), "its shape is not N x rows x columns"),
        (of("|u1", "(5, 6, 1)"), "has pictures of 3x2 and, for train, of 6x1 pixels"),
        (with(images, npy("|u1", "(0, 3, 2)", &[])), "holds no picture"),
        (with(images, npy("|u1", "(1, 2000, 2)", &[0; 4000])), "holds pictures of 2000x2 pixels"),
        (header("{'descr': '|u1', 'fortran_order': True, 'shape': (5, 3, 2)}"), "is stored column by column"),
        (header("{'descr': '|u1', 'shape': (5, 3, 2)}"), "has a header that cannot be read"),
        (header("{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (5, 3, 2)}"), "cannot be read"),
        (header("__import__('os')"), "has a header that cannot be read"),
        (header("{'"), "has a header that cannot be read"),
        (with(images, long), "has a header of 2147483647 bytes"),
        (with(images, b"\x93NUMPY\x09\x00\x00\x00".to_vec()), "has version 9"),
        (with(images, b"\x93NUM".to_vec()), "ends within its header"),
        (with(images, b"no array at all".to_vec()), "does not begin as a NumPy file"),
        (labels("|u1", "(5, 2)", &[0; 10]), "train_labels that has several labels for each picture"),
        (labels("|u1", "(4, 1)", &[0; 4]), "has 4 labels for 5 pictures"),
        (labels("<i2", "(5, 1)", &[1, 0, 2, 0, 3, 0, 0xff, 0xff, 0, 0]), "has a label that is not from 0 to 999"),
        (labels("<f2", "(5,)", &[0; 10]), "no whole numbers"),
        (
            ["train", "val", "test"]
                .iter()
                .zip([[1, 2], [3, 4], [5, 6]])
                .flat_map(|(name, of)| side(name, &[3, 3], &of))
                .collect(),
            "has one class",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let said = import(&zip(&entries, CompressionMethod::DEFLATE), folder.path()).unwrap_err().to_string();
        assert!(said.contains(part) && said.contains("; "), "{part}: {said}");
        assert!(!folder.path().join("made").exists(), "{part}");
    }
}

#[test]
fn damaged_archives_leave_nothing() {
    let bytes = zip(&whole(), CompressionMethod::STORE);
    let mut changed = bytes.clone();
    // A pixel of the test pictures; the checksum is another.
    let at = bytes.windows(6).rposition(|six| six == [0, 60, 60, 1, 2, 3]).unwrap();
    changed[at + 1] = 61;
    for (bytes, part) in [
        (&changed[..], "test_images.npy: is cut short or damaged within its ZIP archive"),
        (&bytes[..bytes.len() / 2], "is a ZIP archive that is cut short or damaged"),
        (b"text", "is no .npz file"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let said = import(bytes, folder.path()).unwrap_err().to_string();
        assert!(said.contains(part), "{part}: {said}");
        assert!(!folder.path().join("made").exists());
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Output::replacing(&folder.path().join("made"));
    assert!(medmnist(&folder.path().join("absent.npz"), output, &|_, _| {}).is_err());
}

/// A zero takes a thousandth of its place when deflated: nothing is made of what an archive only claims.
#[test]
fn a_bomb_is_refused_before_it_is_inflated() {
    let count = MOST_PICTURES + 1;
    let images = npy("|u1", &format!("({count}, 3, 2)"), &vec![0; 6 * count]);
    let entries = with("train_images.npy", images);
    let folder = tempfile::tempdir().unwrap();
    let said = import(&zip(&entries, CompressionMethod::DEFLATE), folder.path()).unwrap_err().to_string();
    assert!(said.contains(&format!("has 5 labels for {}", counted(count, "picture"))), "{said}");
    let mut entries = entries;
    entries[1].1 = npy("|u1", &format!("({count}, 1)"), &vec![0; count]);
    let said = import(&zip(&entries, CompressionMethod::DEFLATE), folder.path()).unwrap_err().to_string();
    assert!(said.contains("at most 400000 pictures are imported"), "{said}");
}
