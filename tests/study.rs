//! From files and folders to a study: what belongs together, and which view is which.

use osteon::dicom::{NmHeader, encode_nm, write_nm};
use osteon::image::{Image, View};
use osteon::intake::study::{self, Cell, RowOptions, StudyOptions, parse_views};
use osteon::intake::{Study, picture};
use std::path::{Path, PathBuf};

/// The tag of Detector Vector in explicit VR little endian, with its VR and length.
const DETECTOR_VECTOR: &[u8] = b"\x54\x00\x20\x00US\x04\x00";

/// The two view codes as `write_nm` writes them.
const CODES: [&[u8]; 2] = [b"399321004", b"399001007"];

fn view(start: u32) -> Image {
    Image { rows: 4, columns: 2, pixels: (start..start + 8).map(|count| count as f32).collect() }
}

fn front() -> Image {
    view(1)
}

fn back() -> Image {
    view(101)
}

/// A two-frame file of `front` and `back`, with some of its bytes replaced by as many others.
fn file_with(folder: &Path, name: &str, identity: &str, replace: &[(&[u8], &[u8])]) -> PathBuf {
    let about = NmHeader { patient: identity.into(), identity: identity.into(), ..NmHeader::default() };
    let mut bytes = encode_nm(&front(), &back(), &about).unwrap();
    for (old, new) in replace {
        assert_eq!(old.len(), new.len());
        let at = bytes.windows(old.len()).position(|window| window == *old).unwrap();
        bytes[at..at + old.len()].copy_from_slice(new);
    }
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The same without a word of the views.
fn silent(folder: &Path, name: &str) -> PathBuf {
    file_with(
        folder,
        name,
        "p",
        &[
            (CODES[0], b"999999999"),
            (CODES[1], b"999999999"),
            (b"Anterior pro", b"Whatever pro"),
            (b"Posterior pro", b"Whatsoeve pro"),
        ],
    )
}

/// The same with the frames' detectors exchanged.
fn exchanged(folder: &Path, name: &str) -> PathBuf {
    let vector = |first, second| [DETECTOR_VECTOR, &[first, 0, second, 0]].concat();
    file_with(folder, name, "p", &[(&vector(1, 2), &vector(2, 1))])
}

fn png(folder: &Path, name: &str, image: &Image) -> PathBuf {
    let path = folder.join(name);
    let pixels: Vec<u16> = image.pixels.iter().map(|&count| count as u16).collect();
    picture::write_gray16(&path, image.rows, image.columns, &pixels).unwrap();
    path
}

fn read(paths: &[&Path]) -> osteon::Result<Study> {
    read_with(paths, StudyOptions::default())
}

/// The pictures here are no bodies.
fn read_with(paths: &[&Path], options: StudyOptions) -> osteon::Result<Study> {
    let options = StudyOptions { any_image: true, ..options };
    study::read(&paths.iter().map(|path| path.to_path_buf()).collect::<Vec<_>>(), &options)
}

fn views(text: &str) -> StudyOptions {
    StudyOptions { views: Some(parse_views(text).unwrap()), ..StudyOptions::default() }
}

/// Anterior and posterior as read must be these.
#[track_caller]
fn expect(study: osteon::Result<Study>, anterior: Option<Image>, posterior: Option<Image>) {
    let study = study.unwrap();
    assert_eq!((study.anterior, study.posterior), (anterior, posterior));
}

/// The error must end with this sentence.
#[track_caller]
fn refuse(study: osteon::Result<Study>, file: &str, sentence: &str) {
    let message = study.unwrap_err().to_string();
    assert!(message.ends_with(&format!("{file}: {sentence}")), "{message}");
}

fn frame(path: &Path, number: usize) -> PathBuf {
    format!("{}#{number}", path.display()).into()
}

const UNKNOWN: &str = "does not say which view it is, and the order of frames is no sign of it; \
                       say it with --views anterior,posterior or --views posterior,anterior";

#[test]
fn a_two_frame_file_is_a_study_whatever_the_order_of_its_frames() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(folder.path(), "a.dcm", "p", &[]);
    expect(read(&[&file]), Some(front()), Some(back()));
    assert_eq!(read(&[&file]).unwrap().sources, std::slice::from_ref(&file));
    expect(read(&[&exchanged(folder.path(), "b.dcm")]), Some(back()), Some(front()));
    // Said the same by --views, which is no contradiction.
    expect(read_with(&[&file], views("anterior,posterior")), Some(front()), Some(back()));
    // Said otherwise by --views, which is for files that do not say it.
    let study = read_with(&[&file], views("posterior,anterior")).unwrap();
    assert_eq!((study.anterior, study.posterior), (Some(front()), Some(back())));
    assert_eq!(study.intake.notes.len(), 2, "{:?}", study.intake.notes);
    assert!(
        study.intake.notes[0]
            .ends_with("a.dcm says itself that it is the anterior view, and --views, which says posterior, is not needed")
    );
}

#[test]
fn without_a_word_of_the_views_the_user_decides() {
    let folder = tempfile::tempdir().unwrap();
    let file = silent(folder.path(), "a.dcm");
    refuse(read(&[&file]), "a.dcm#1", UNKNOWN);
    expect(read_with(&[&file], views("anterior,posterior")), Some(front()), Some(back()));
    expect(read_with(&[&file], views("posterior,anterior")), Some(back()), Some(front()));
    // One frame that says it and one that does not: no guess by elimination.
    let half = file_with(folder.path(), "b.dcm", "p", &[(CODES[1], b"999999999"), (b"Posterior pro", b"Whatsoeve pro")]);
    refuse(read(&[&half]), "b.dcm#2", UNKNOWN);
    expect(read_with(&[&half], views("anterior,posterior")), Some(front()), Some(back()));
    // What one of two says, the other is not.
    expect(read_with(&[&half], views("posterior,anterior")), Some(front()), Some(back()));
    let (first, second) = (png(folder.path(), "1.png", &front()), png(folder.path(), "2.png", &back()));
    refuse(read(&[&first, &second]), "1.png#1", UNKNOWN);
    expect(read_with(&[&first, &second], views("posterior,anterior")), Some(back()), Some(front()));
}

#[test]
fn two_files_or_two_named_frames_are_a_study() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(folder.path(), "a.dcm", "p", &[]);
    expect(read(&[&frame(&file, 2), &frame(&file, 1)]), Some(front()), Some(back()));
    let other = silent(folder.path(), "b.dcm");
    expect(read_with(&[&frame(&file, 1), &frame(&other, 2)], views("anterior,posterior")), Some(front()), Some(back()));
    refuse(read(&[&frame(&file, 3)]), "a.dcm#3", "the file has no such frame; count frames from 1, as in file.dcm#1");
    refuse(read(&[&frame(&file, 0)]), "a.dcm#0", "there is no frame 0; count frames from 1, as in file.dcm#1");
    refuse(
        read(&[&frame(&file, 1), &frame(&file, 1)]),
        "a.dcm#1",
        "is the anterior view, and so is the image before it; give one of each view, or one alone with --single-view",
    );
    refuse(
        read(&[&file, &other]),
        "a.dcm",
        "there are 4 images, and a study has an anterior and a posterior view; name the two as FILE or FILE#FRAME",
    );
    // A file of that very name comes before a frame.
    let odd = png(folder.path(), "scan#2", &front());
    expect(read_with(&[&odd], StudyOptions { single_view: true, ..StudyOptions::default() }), Some(front()), None);
}

#[test]
fn twice_the_same_view_is_no_study() {
    let folder = tempfile::tempdir().unwrap();
    let twice = file_with(folder.path(), "a.dcm", "p", &[(CODES[1], CODES[0])]);
    let both = "says of both of its frames that they are the anterior view, which cannot be; \
                say it with --views anterior,posterior or --views posterior,anterior";
    refuse(read(&[&twice]), "a.dcm#1", both);
    expect(read_with(&[&twice], views("anterior,posterior")), Some(front()), Some(back()));
    expect(read_with(&[&twice], views("posterior,anterior")), Some(back()), Some(front()));
    // So of one of its frames alone.
    let single = StudyOptions { single_view: true, ..StudyOptions::default() };
    refuse(read_with(&[&frame(&twice, 2)], single), "a.dcm#2", both);
    expect(
        read_with(&[&frame(&twice, 2)], StudyOptions { single_view: true, ..views("posterior,anterior") }),
        None,
        Some(back()),
    );
}

#[test]
fn one_view_needs_the_word_of_the_user() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(folder.path(), "a.dcm", "p", &[]);
    let single = StudyOptions { single_view: true, ..StudyOptions::default() };
    let alone = "is one view, and a study has an anterior and a posterior one; give both, or --single-view to go on with one";
    refuse(read(&[&frame(&file, 2)]), "a.dcm#2", alone);
    expect(read_with(&[&frame(&file, 2)], single), None, Some(back()));
    // As it lies, where nobody says which it is; or as the first of --views.
    let silent = silent(folder.path(), "b.dcm");
    expect(read_with(&[&frame(&silent, 2)], single), Some(back()), None);
    expect(
        read_with(&[&frame(&silent, 2)], StudyOptions { single_view: true, ..views("posterior,anterior") }),
        None,
        Some(back()),
    );
    // Leave to go on with one is none to leave one out.
    expect(read_with(&[&file], single), Some(front()), Some(back()));
}

#[test]
fn a_folder_is_one_study() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    refuse(
        read(&[path]),
        &path.display().to_string(),
        "holds no DICOM file and no PNG or JPEG picture; give the folder of a study",
    );
    std::fs::write(path.join("notes.txt"), "not a scan").unwrap();
    std::fs::write(path.join(".hidden"), "not a scan").unwrap();
    let views = views("anterior,posterior");
    png(path, "b_front.png", &front());
    png(path, "c_back.png", &back());
    expect(read_with(&[path], views), Some(front()), Some(back()));
    // Beside DICOM files pictures are previews.
    let file = file_with(path, "a.dcm", "p", &[]);
    std::fs::copy(&file, path.join("DICOMDIR")).unwrap();
    expect(read(&[path]), Some(front()), Some(back()));
    file_with(path, "d.dcm", "q", &[]);
    refuse(
        read(&[path]),
        &path.display().to_string(),
        "holds scans of two patients (their Patient IDs differ): a.dcm and d.dcm; give each study a folder, or name the files of one",
    );
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (one, other) = (file_with(path, "a.dcm", "p", &[]), file_with(path, "b.dcm", "q", &[]));
    refuse(
        read(&[&frame(&one, 1), &frame(&other, 2)]),
        "a.dcm",
        &format!(
            "and {} are views of two patients (their Patient IDs differ); give the views of one examination",
            other.display()
        ),
    );
    let small = png(path, "a.png", &Image { rows: 2, columns: 2, pixels: vec![1.0, 2.0, 3.0, 4.0] });
    refuse(
        read_with(&[&frame(&one, 1), &small], views("anterior,posterior")),
        "a.png#1",
        "has 2x2 pixels, and the other view 4x2; give two views of one examination",
    );
    let text = path.join("a.txt");
    std::fs::write(&text, "hello").unwrap();
    refuse(read(&[&text]), "a.txt", "is not a DICOM file; give a DICOM file, or a PNG or JPEG picture");
    assert!(read(&[&path.join("none.dcm")]).unwrap_err().to_string().ends_with("check the path"));
    assert!(read(&[]).unwrap_err().to_string().starts_with("no scan was given"));
}

#[test]
fn the_columns_of_a_manifest_say_the_views() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let cell = |text: &str| text.parse::<Cell>().unwrap().within(path);
    let row = |anterior: &str, posterior: Option<&str>| {
        study::read_manifest_row(Some(&cell(anterior)), posterior.map(cell).as_ref(), RowOptions::default())
    };
    file_with(path, "a.dcm", "p", &[]);
    exchanged(path, "x.dcm");
    silent(path, "s.dcm");
    png(path, "f.png", &front());
    png(path, "b.png", &back());

    expect(row("a.dcm#1", Some("a.dcm#2")), Some(front()), Some(back()));
    expect(row("a.dcm", Some("a.dcm")), Some(front()), Some(back()));
    expect(row("x.dcm", None), Some(back()), Some(front()));
    refuse(
        row("a.dcm#2", None),
        "a.dcm#2",
        "the file says that it is the posterior view, and the manifest has it under anterior; put it in the right column",
    );
    expect(row("a.dcm#1", None), Some(front()), None);
    expect(row("s.dcm#2", Some("s.dcm#1")), Some(back()), Some(front()));
    expect(row("f.png", Some("b.png")), Some(front()), Some(back()));
    expect(row("f.png", Some("a.dcm")), Some(front()), Some(back()));

    refuse(
        row("a.dcm#2", Some("a.dcm#1")),
        "a.dcm#2",
        "the file says that it is the posterior view, and the manifest has it under anterior; put it in the right column",
    );
    refuse(
        row("s.dcm", None),
        "s.dcm",
        "none of its 2 frames says that it is the anterior view; name the frame in the manifest, as in file.dcm#1",
    );
    refuse(row("a.dcm#1", Some("a.dcm#1")), "a.dcm#1", "the manifest has it under both views; name an image for each view");
    refuse(row("f.png", Some("f.png")), "f.png", "the manifest has it under both views; name an image for each view");
    refuse(row("a.dcm#1", Some("a.dcm#9")), "a.dcm#9", "the file has no such frame; count frames from 1, as in file.dcm#1");
    assert!(row("none.png", None).unwrap_err().to_string().ends_with("check the path"));
}

#[test]
fn cells_and_views_read_as_they_are_written() {
    for (text, path, frame) in [
        ("a.dcm", "a.dcm", None),
        ("d/a.dcm#2", "d/a.dcm", Some(2)),
        ("a#b", "a#b", None),
        ("#1", "#1", None),
        ("a#1#2", "a#1", Some(2)),
    ] {
        let cell: Cell = text.parse().unwrap();
        assert_eq!(cell, Cell { path: path.into(), frame });
        assert_eq!(cell.to_string(), text);
    }
    assert_eq!("d/#1".parse::<Cell>().unwrap(), Cell { path: "d/#1".into(), frame: None });
    assert!("a.dcm#0".parse::<Cell>().is_err() && "a.dcm#99999999999999999999".parse::<Cell>().is_err());
    assert_eq!(parse_views("posterior, anterior").unwrap(), [View::Posterior, View::Anterior]);
    for wrong in ["anterior", "anterior,anterior", "anterior,posterior,anterior", "front,back", ""] {
        assert!(parse_views(wrong).is_err(), "{wrong}");
    }
    assert_eq!(View::Posterior.to_string().parse::<View>().unwrap(), View::Posterior);
}

#[test]
fn a_file_of_a_paths_very_name_wins_over_a_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    file_with(path, "IM", "p", &[]);
    let read_one = |name: &str| {
        let options = StudyOptions { single_view: true, ..StudyOptions::default() };
        read_with(&[&path.join(name)], options)
    };
    expect(read_one("IM#2"), None, Some(back()));
    exchanged(path, "IM#2");
    expect(read_one("IM#2"), Some(back()), Some(front()));
    expect(read_one("IM#2#1"), None, Some(front()));
    expect(read_one("IM#02"), None, Some(back()));
    let cell = |name: &str| Cell::existing(&path.join(name)).unwrap();
    for (frame, name) in [(1, "IM#1"), (2, "IM#02")] {
        let framed = Cell { path: path.join("IM"), frame: Some(frame) };
        assert_eq!((framed.unmistakable(), cell(name)), (path.join(name), framed));
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let odd = path.join(std::ffi::OsStr::from_bytes(b"\xffIM"));
        std::fs::copy(path.join("IM"), &odd).unwrap();
        let framed = |digits: &str| {
            let mut name = odd.clone().into_os_string();
            name.push(format!("#{digits}"));
            PathBuf::from(name)
        };
        assert_eq!(Cell::existing(&framed("2")).unwrap(), Cell { path: odd.clone(), frame: Some(2) });
        let options = StudyOptions { single_view: true, ..StudyOptions::default() };
        expect(read_with(&[&framed("2")], options), None, Some(back()));
        expect(read(&[&framed("1"), &framed("2")]), Some(front()), Some(back()));
        refuse(read_with(&[&framed("0")], options), "\\377IM#0\"", "there is no frame 0; count frames from 1, as in file.dcm#1");
    }
}

#[test]
fn a_written_study_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.dcm");
    write_nm(&path, &front(), &back(), &NmHeader::default()).unwrap();
    expect(read(&[folder.path()]), Some(front()), Some(back()));
}
