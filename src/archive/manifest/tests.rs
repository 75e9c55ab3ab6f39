use super::*;
use proptest::prelude::*;
use std::fs;

/// A folder with a manifest of `text` and the files that it may name.
fn folder(text: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.png", "b.png", "c.png", "d.png", "e.png", "two.dcm"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let path = folder.path().join("manifest.csv");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn read(text: impl AsRef<[u8]>) -> Result<Manifest> {
    let (_folder, path) = folder(text);
    Manifest::read(path)
}

#[test]
fn reads_what_an_archive_looks_like() {
    let (folder, path) =
        folder("patient,anterior,posterior,label\np1,a.png,b.png,nADMet\np2,two.dcm#1,two.dcm#2,NoMet\np2,c.png,,ADMet\n");
    let manifest = Manifest::read(&path).unwrap();
    assert_eq!(manifest.classes, ["NoMet", "ADMet", "nADMet"]);
    assert_eq!(manifest.labels(&manifest.classes).unwrap(), [2, 0, 1]);
    let frame = |frame| Some(Cell { path: folder.path().join("two.dcm"), frame: Some(frame) });
    let expected = Row::new("p2", frame(1), frame(2), "NoMet");
    assert_eq!(manifest.rows[1], expected);
    assert_eq!(manifest.rows[2].cells().count(), 1);
}

#[test]
fn spreadsheets_write_it_their_way() {
    let plain = read("patient,anterior,posterior,label\np1,a.png,,NoMet\np2,b.png,,ADMet\n").unwrap();
    let excel = read("\u{feff}patient,anterior,posterior,label\r\np1,a.png,,NoMet\r\n\r\np2, b.png ,,ADMet").unwrap();
    let reordered = read("label,patient,\"posterior\",anterior\nNoMet,\"p1\",,a.png\nADMet,p2,,b.png\n").unwrap();
    let rows = |manifest: &Manifest| -> Vec<_> {
        manifest
            .rows
            .iter()
            .map(|row| (row.patient.clone(), row.files().next().unwrap().file_name().unwrap().to_owned(), row.label.clone()))
            .collect()
    };
    assert_eq!(rows(&plain), rows(&excel));
    assert_eq!(rows(&plain), rows(&reordered));
}

#[test]
fn other_classes_are_sorted_behind_the_papers() {
    let manifest = read("patient,anterior,posterior,label\n1,a.png,,zeta\n2,b.png,,ADMet\n3,c.png,,Alpha\n").unwrap();
    assert_eq!(manifest.classes, ["ADMet", "Alpha", "zeta"]);
    let message = manifest.labels(&["NoMet".into(), "ADMet".into()]).unwrap_err().to_string();
    assert!(message.contains("has the label zeta but the classes are NoMet, ADMet"), "{message}");
}

#[test]
fn each_error_is_a_sentence_with_its_place() {
    const OK: &str = "patient,anterior,posterior,label\n";
    let cases: Vec<(String, &str)> = vec![
        ("patient,anterior,posterior,label,age\n".into(), "has an unknown column `age`"),
        ("patient,anterior,label\n".into(), "lacks the column `posterior`"),
        ("patient,anterior,posterior,label,label\n".into(), "has the column `label` twice"),
        ("patient;anterior;posterior;label\n".into(), "is not separated by commas"),
        ("".into(), "lacks the column `patient`"),
        (OK.into(), "lists no study"),
        (format!("{OK}1,a.png,,\n"), "line 2 has an empty label"),
        (format!("{OK}1,a.png,,NoMet\n,b.png,,NoMet\n"), "line 3 has an empty patient"),
        (format!("{OK}1,,,NoMet\n"), "line 2 has an empty anterior"),
        (format!("{OK}1,a.png,,\"No\nMet\"\n"), "line 2 has a cell with a line break or another control character"),
        (format!("{OK}1,a.png,,\u{1b}[2J\n"), "line 2 has a cell with a line break or another control character"),
        ("patient,\u{1b}[2J\n".into(), "has an unknown column `\u{fffd}[2J`"),
        (format!("{OK}\n\n1,a.png,NoMet\n"), "line 4 has 3 cells instead of 4"),
        (format!("{OK}1,a.png,,NoMet\n2,gone.png,,NoMet\n"), "gone.png, which does not exist"),
        (format!("{OK}1,a.png,gone.dcm#2,NoMet\n"), "line 2 names "),
        (format!("{OK}1,a.png,,ADMet\n2,b.png,,NoMet\n1,c.png,,nADMet\n"), "patient 1 is ADMet in line 2 and nADMet in line 4"),
        (format!("{OK}1,a.png,,NoMet\n1,./a.png,,ADMet\n"), "a.png under two labels, NoMet and ADMet"),
        (format!("{OK}1,a.png,b.png,NoMet\n2,c.png,b.png,NoMet\n"), "b.png under two patients, 1 and 2"),
        (format!("{OK}1,a.png,,NoMet\n1,a.png,,NoMet\n"), "line 2 and line 3 list the scan "),
        (format!("{OK}1,a.png,a.png,NoMet\n"), "as both views"),
        (format!("{OK}1,two.dcm#1,two.dcm#1,NoMet\n"), "two.dcm#1 as both views"),
        (format!("{OK}1,two.dcm#1,two.dcm,NoMet\n"), "as both views"),
        (format!("{OK}1,two.dcm#0,,NoMet\n"), "line 2 names `two.dcm#0`"),
        (format!("{OK}1,two.dcm,,NoMet\n1,two.dcm#2,,NoMet\n"), "list the scan "),
    ];
    for (text, problem) in cases {
        let (_folder, path) = folder(&text);
        let message = Manifest::read(&path).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: ", path.display())), "{message}");
        assert!(message.contains(problem) && message.contains("; ") && !message.contains('\n'), "{problem} not in: {message}");
    }
    assert!(read([0xff, 0xfe, b'p', 0]).unwrap_err().to_string().contains("is not UTF-8 text"));
    let missing = Manifest::read("nowhere/manifest.csv").unwrap_err().to_string();
    assert!(missing.contains("cannot be read"), "{missing}");
}

#[test]
fn sides_and_draws_are_read() {
    const HEADER: &str = "patient,anterior,posterior,label,drawn,side,rotation_deg,shift_columns_px,shift_rows_px\n";
    let table = "1,a.png,,NoMet,,train,,,\n1,a.png,,NoMet,no,train,-1.5,2,0\n2,,b.png,ADMet,yes,test,1e1,0,3.25\n";
    let (_folder, path) = folder(format!("{HEADER}{table}"));
    let manifest = Manifest::read(&path).unwrap();
    let [scan, copy, drawn] = &manifest.rows[..] else { panic!("{manifest:?}") };
    assert_eq!((scan.side, scan.is_augmented(), copy.is_augmented()), (Some(Side::Train), false, true));
    assert_eq!(copy.pending_transform(), Transform { angle_deg: -1.5, shift_rows_px: 0.0, shift_columns_px: 2.0 });
    assert_eq!(
        (drawn.side, drawn.transform.shift_rows_px, drawn.pending_transform()),
        (Some(Side::Test), 3.25, Transform::default())
    );
    assert!(drawn.anterior.is_none() && drawn.posterior.is_some());
    manifest.write().unwrap();
    assert_eq!(Manifest::read(&path).unwrap(), manifest);
}

#[test]
fn reports_are_kept() {
    let table = "patient,report,anterior,posterior,label\n1,\"Foci in ribs, spine.\",a.png,,ADMet\n2,,b.png,,NoMet\n";
    let (_folder, path) = folder(table);
    let manifest = Manifest::read(&path).unwrap();
    let reports: Vec<_> = manifest.rows.iter().map(|row| row.report.as_deref()).collect();
    assert_eq!(reports, [Some("Foci in ribs, spine."), None]);
    manifest.write().unwrap();
    assert_eq!(Manifest::read(&path).unwrap(), manifest);
    let lines = read("patient,anterior,posterior,label,report\n1,a.png,,NoMet,\"two\nlines\"\n").unwrap_err().to_string();
    assert!(lines.contains("line break"), "{lines}");
}

#[test]
fn phantoms_are_told_by_a_column_and_counted() {
    let table = "patient,anterior,posterior,label,simulated\nphantom-1,a.png,,NoMet,no\n2,b.png,,ADMet,yes\n3,c.png,,ADMet,\n";
    let (_folder, path) = folder(table);
    let manifest = Manifest::read(&path).unwrap();
    assert_eq!(manifest.rows.iter().map(|row| row.simulated).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(manifest.study_counts(0..3).sentence(), "1 of 3 studies is simulated");
    assert_eq!(manifest.study_counts([0, 2]).to_string(), "2 studies");
    assert_eq!(manifest.study_counts([1]).to_string(), "1 phantom studies");
    manifest.write().unwrap();
    assert_eq!(Manifest::read(&path).unwrap(), manifest);
    let one = Manifest::new(&path, manifest.rows[..1].to_vec()).unwrap();
    one.write().unwrap();
    assert_eq!(Manifest::read(&path).unwrap(), one, "a name says nothing where the column does");
    // From before there was the column.
    let old = read("patient,anterior,posterior,label\nphantom-1,a.png,,NoMet\n2,b.png,,ADMet\n").unwrap();
    assert_eq!(old.study_counts(0..2).sentence(), "1 of 2 studies is simulated");
    let word = read("patient,anterior,posterior,label,simulated\n1,a.png,,NoMet,maybe\n").unwrap_err().to_string();
    assert!(word.contains("line 2 says `maybe` under simulated"), "{word}");
}

#[test]
fn pictures_that_are_black_on_white_are_told_by_a_column() {
    let (_folder, path) =
        folder("patient,anterior,posterior,label,inverted\n1,a.png,b.png,NoMet,yes\n2,c.png,,Met,no\n3,d.png,,Met,\n");
    let manifest = Manifest::read(&path).unwrap();
    assert_eq!(manifest.rows.iter().map(|row| row.inverted).collect::<Vec<_>>(), [true, false, false]);
    manifest.write().unwrap();
    assert_eq!(Manifest::read(&path).unwrap(), manifest);
    let upright = Manifest::new(&path, manifest.rows[1..].to_vec()).unwrap();
    assert!(!String::from_utf8(upright.to_csv().unwrap()).unwrap().contains("inverted"), "no column where nothing is");
    let word = read("patient,anterior,posterior,label,inverted\n1,a.png,,NoMet,white\n").unwrap_err().to_string();
    assert!(word.contains("line 2 says `white` under inverted"), "{word}");
}

#[test]
fn wrong_sides_and_draws_are_one_sentence() {
    const SIDED: &str = "patient,anterior,posterior,label,side,rotation_deg,shift_rows_px,shift_columns_px\n";
    for (rows, problem) in [
        ("1,a.png,,NoMet,,,,\n", "line 2 has the side ``"),
        ("1,a.png,,NoMet,left,,,\n", "line 2 has the side `left`"),
        ("1,a.png,,NoMet,train,,,\n1,b.png,,NoMet,test,,,\n", "patient 1 is on the side train in line 2 and test in line 3"),
        ("1,a.png,,NoMet,train,NaN,,\n", "line 2 has the rotation_deg `NaN`"),
        ("1,a.png,,NoMet,train,,inf,\n", "line 2 has the shift_rows_px `inf`"),
        ("1,a.png,,NoMet,train,,,1025\n", "line 2 has the shift_columns_px `1025`"),
        ("1,a.png,,NoMet,train,x,,\n", "line 2 has the rotation_deg `x`"),
        ("1,a.png,,NoMet,train,1,,\n1,a.png,,NoMet,train,1.0,0,\n", "line 2 and line 3 list the scan "),
        ("1,a.png,,NoMet,train,1,,\n1,a.png,,ADMet,train,2,,\n", "under two labels"),
        ("1,a.png,,NoMet,train,1,,\n2,a.png,,NoMet,train,2,,\n", "under two patients"),
    ] {
        let message = read(format!("{SIDED}{rows}")).unwrap_err().to_string();
        assert!(message.contains(problem) && message.contains("; ") && !message.contains('\n'), "{problem}: {message}");
    }
    let twice = read("patient,anterior,posterior,label,side,side\n").unwrap_err().to_string();
    assert!(twice.contains("has the column `side` twice"), "{twice}");
    let word = read("patient,anterior,posterior,label,drawn\n1,a.png,,NoMet,maybe\n").unwrap_err().to_string();
    assert!(word.contains("line 2 says `maybe` under drawn"), "{word}");
    let rows = ["train", ""]
        .map(|side| Row { side: Side::named(side), ..Row::new(side, format!("{side}.png").parse().ok(), None, "x") });
    let mixed = Manifest::new("m.csv", rows.to_vec());
    assert!(mixed.unwrap_err().to_string().contains("row 1 has a side and row 2 has none"));
}

#[test]
fn a_table_can_stand_elsewhere() {
    let (folder, path) = folder("patient,anterior,posterior,label\n1,a.png,,NoMet\n2,two.dcm#1,two.dcm#2,ADMet\n");
    let manifest = Manifest::read(path).unwrap();
    let inner = folder.path().join("deep/er");
    fs::create_dir_all(&inner).unwrap();
    let moved = manifest.moved_to(inner.join("m.csv")).unwrap();
    moved.write().unwrap();
    let text = fs::read_to_string(inner.join("m.csv")).unwrap();
    let parent = Path::new("..").join("..");
    assert!(text.contains(&format!("2,{0}#1,{0}#2,ADMet", parent.join("two.dcm").display())), "{text}");
    assert_eq!(Manifest::read(inner.join("m.csv")).unwrap(), moved);
    assert_eq!(moved.name_of(moved.rows[0].files().next().unwrap()), parent.join("a.png").display().to_string());
    // Both can be moved together.
    fs::rename(folder.path(), folder.path().with_extension("elsewhere")).unwrap();
    let there = folder.path().with_extension("elsewhere");
    assert!(Manifest::read(there.join("deep/er/m.csv")).is_ok());
    fs::remove_dir_all(there).unwrap();
    fs::create_dir_all(folder.path()).unwrap();
}

#[test]
fn a_spreadsheet_computes_nothing_of_a_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let scan = folder.path().join("-a.png");
    fs::write(&scan, "").unwrap();
    let row = |patient: &str, frame| Row {
        report: Some("@SUM(A1)".to_owned()),
        ..Row::new(patient, Some(Cell { path: scan.clone(), frame: Some(frame) }), None, "+kind")
    };
    let manifest = Manifest::new(folder.path().join("m.csv"), vec![row("=1+1", 1), row("'=1+1", 2)]).unwrap();
    manifest.write().unwrap();
    let text = fs::read_to_string(&manifest.path).unwrap();
    assert!(text.contains("\n'=1+1,'-a.png#1,,'+kind,'@SUM(A1)") && text.contains("\n''=1+1,"), "{text}");
    assert_eq!(Manifest::read(&manifest.path).unwrap(), manifest);
}

#[cfg(unix)]
#[test]
fn a_scan_whose_path_is_not_utf8_is_refused_and_not_renamed() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let scan = folder.path().join(std::ffi::OsStr::from_bytes(b"\xff.png"));
    let row = Row::new("1", Some(Cell { path: scan, frame: None }), None, "NoMet");
    let said = Manifest::new(folder.path().join("m.csv"), vec![row]).unwrap().write().unwrap_err().to_string();
    assert!(said.starts_with("\"\\377.png\": has a name that is not UTF-8"), "{said}");
}

#[test]
fn kinds_of_metastasis_merge() {
    let manifest = read("patient,anterior,posterior,label\n1,a.png,,NoMet\n2,b.png,,ADMet\n3,c.png,,nADMet\n").unwrap();
    let merged = manifest.merged().unwrap();
    assert_eq!(merged.classes, ["NoMet", "Met"]);
    assert_eq!(merged.labels(&merged.classes).unwrap(), [0, 1, 1]);
    let one = read("patient,anterior,posterior,label\n1,a.png,,NoMet\n").unwrap();
    assert!(one.merged().unwrap_err().to_string().contains("has the classes NoMet, which do not merge"));
}

#[test]
fn what_may_be_is_no_error() {
    assert!(read("patient,anterior,posterior,label\n1,a.png,,NoMet\n1,b.png,,ADMet\n1,c.png,,ADMet\n").is_ok());
    assert!(read("patient,anterior,posterior,label\n1,a.png,,normal\n1,b.png,,abnormal\n").is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_written_is_read(names in prop::collection::btree_set("[ -~]{0,6}[!-.0-~]", 1..6), posterior: bool) {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let files = [format!("a {at},\"é.png"), format!("b{at}.png")].map(|file| folder.path().join(file));
            files.iter().for_each(|file| fs::write(file, "").unwrap());
            let [anterior, other] = files.map(|path| Cell { path, frame: None });
            let posterior = posterior.then_some(other);
            rows.push(Row::new(name.trim(), Some(anterior), posterior, "NoMet"));
        }
        let manifest = Manifest::new(folder.path().join("m.csv"), rows).unwrap();
        manifest.write().unwrap();
        prop_assert_eq!(Manifest::read(folder.path().join("m.csv")).unwrap(), manifest);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut text = b"patient,anterior,posterior,label\n".to_vec();
        text.extend(&bytes);
        prop_assert!(read(bytes).is_err());
        let _ = read(text);
    }
}
