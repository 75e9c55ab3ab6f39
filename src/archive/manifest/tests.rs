use super::*;
use crate::models::SimulatorVersion;
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
        ("patient,anterior,label\n".into(), "lacks the column `posterior`; write the header"),
        ("patient,anterior,posterior,label,label\n".into(), "has the column `label` twice"),
        ("patient|anterior|posterior|label\n".into(), "lacks the columns `patient`, `anterior`, `posterior` and `label`"),
        ("".into(), "lacks the columns `patient`, `anterior`"),
        (OK.into(), "lists no study"),
        (format!("{OK}1,a.png,,\n"), "line 2 has an empty label"),
        (format!("{OK}1,a.png,,NoMet\n,b.png,,NoMet\n"), "line 3 has an empty patient"),
        (format!("{OK}1,,,NoMet\n"), "line 2 has an empty anterior"),
        (format!("{OK}1,a.png,,\"No\nMet\"\n"), "line 2 has a cell with a line break or another control character"),
        (format!("{OK}1,a.png,,\u{1b}[2J\n"), "line 2 has a cell with a line break or another control character"),
        ("patient,\u{1b}[2J\n".into(), "with a NAME of `\u{fffd}[2J`"),
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
    assert!(read([b'p', 0xfe]).unwrap_err().to_string().contains("is not UTF-8 text"));
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
    let table = "patient,anterior,posterior,label,simulated\nphantom-1,a.png,,NoMet,no\n2,b.png,,ADMet,yes\n3,c.png,,ADMet,2\n";
    let (_folder, path) = folder(table);
    let manifest = Manifest::read(&path).unwrap();
    assert_eq!(
        manifest.rows.iter().map(|row| row.simulated).collect::<Vec<_>>(),
        [None, Some(SimulatorVersion::One), Some(SimulatorVersion::Two)]
    );
    assert_eq!(manifest.study_counts(0..3).sentence(), "2 of 3 studies are simulated by simulators 1 and 2");
    assert_eq!(manifest.study_counts([0, 2]).to_string(), "2 studies, 1 of them phantoms of simulator 2");
    assert_eq!(manifest.study_counts([0]).to_string(), "1 study");
    assert_eq!(manifest.study_counts([1]).to_string(), "1 phantom study of simulator 1");
    manifest.write().unwrap();
    assert_eq!(Manifest::read(&path).unwrap(), manifest);
    let one = Manifest::new(&path, manifest.rows[..1].to_vec()).unwrap();
    one.write().unwrap();
    assert_eq!(Manifest::read(&path).unwrap(), one, "a name says nothing where the column does");
    // From before there was the column.
    let old = read("patient,anterior,posterior,label\nphantom-1,a.png,,NoMet\n2,b.png,,ADMet\n").unwrap();
    assert_eq!(old.study_counts(0..2).sentence(), "1 of 2 studies is simulated by simulator 1");
    for cell in ["maybe", "3"] {
        let word = read(format!("patient,anterior,posterior,label,simulated\n1,a.png,,NoMet,{cell}\n")).unwrap_err().to_string();
        assert!(word.contains(&format!("line 2 says `{cell}` under simulated")) && word.contains("1 or 2"), "{word}");
    }
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

/// What is read of a table, with the notes, by names that its user gives.
fn named(text: impl AsRef<[u8]>, columns: &[&str]) -> Result<Reading> {
    let (_folder, path) = folder(text);
    Manifest::read_with(path, &ReadOptions { columns: ColumnNames::parse(columns)?, ..ReadOptions::default() })
}

/// Patient, files' names and label of every row.
fn cells(manifest: &Manifest) -> Vec<[String; 4]> {
    let name = |cell: &Option<Cell>| {
        let cell = cell.as_ref().map(|cell| Cell { path: cell.path.file_name().unwrap().into(), frame: cell.frame });
        cell.map_or(String::new(), |cell| cell.to_string())
    };
    let row = |row: &Row| [row.patient.clone(), name(&row.anterior), name(&row.posterior), row.label.clone()];
    manifest.rows.iter().map(row).collect()
}

const PLAIN: &str = "patient,anterior,posterior,label\np1,a.png,b.png,NoMet\np2,two.dcm#1,two.dcm#2,ADMet\n";

#[test]
fn what_a_spreadsheet_makes_of_a_table_reads_as_the_table() {
    let plain = cells(&read(PLAIN).unwrap());
    let utf16 = |text: &str, number: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(number).collect::<Vec<u8>>();
    let semicolons = PLAIN.replace(',', ";");
    let tabs = PLAIN.replace(',', "\t");
    let tables: Vec<Vec<u8>> = vec![
        format!("\u{feff}{semicolons}").into(),
        tabs.clone().into(),
        utf16(&format!("\u{feff}{tabs}"), u16::to_le_bytes),
        utf16(&format!("\u{feff}{PLAIN}"), u16::to_be_bytes),
        utf16(&semicolons, u16::to_le_bytes),
        format!("sep=;\r\n{semicolons}").into(),
        PLAIN.replace('\n', "\r").into(),
        PLAIN.replace("patient,anterior,posterior,label", " Patient ,ANTERIOR,\"Posterior\",LABEL").into(),
        PLAIN.replace('\n', ",,\n").into(),
        PLAIN.replace("label\n", "label,,\n").into(),
        PLAIN.replace("NoMet\n", "NoMet,,,\n,,,,\n,,\n \t,\u{a0}, ,\n\n").into(),
        format!(",,,,\n{PLAIN},,,\n,,,,,\n").into(),
        semicolons.replace("label", "label;report;drawn").into(),
        semicolons.replace("label", "\"label\";\"side\"").replace("Met\n", "Met;Train\n").into(),
    ];
    for table in tables {
        let said = String::from_utf8_lossy(&table).into_owned();
        let Reading { manifest, notes } = named(&table, &[]).unwrap_or_else(|error| panic!("{said}: {error}"));
        assert_eq!(cells(&manifest), plain, "{said}");
        assert_eq!(notes, [""; 0], "{said}");
    }
    let comma = "patient;anterior;posterior;label;rotation_deg;simulated\n1;a.png;;NoMet;-1,5;YES\n";
    let manifest = read(comma).unwrap();
    assert!(manifest.rows[0].transform.angle_deg == -1.5 && manifest.rows[0].simulated.is_some());
    let thousands = read(comma.replace("-1,5", "1,500")).unwrap_err().to_string();
    assert!(thousands.contains("line 2 has the rotation_deg `1,500`"), "{thousands}");
}

#[test]
fn a_row_with_more_or_fewer_cells_is_an_error_where_it_is_not_certain() {
    const SIDED: &str = "patient,anterior,posterior,label,side,report\n";
    const REPORTED: &str = "patient,anterior,posterior,label,report\n";
    for (text, problem) in [
        (format!("{PLAIN}p3,c.png,,NoMet,x\n"), "line 4 has 5 cells instead of 4"),
        (format!("{PLAIN},,,\n\n,,,,x,\n"), "line 6 has 5 cells instead of 4"),
        (PLAIN.replace("label\n", "label,,\n").replace("NoMet", "NoMet,,late"), "line 2 has 6 cells instead of 4"),
        (format!("{PLAIN}p3,c.png,NoMet\n"), "line 4 has 3 cells instead of 4"),
        (format!("{SIDED}p1,a.png,,NoMet,train,x\np2,c.png,d.png,NoMet\n"), "line 3 has 4 cells instead of 6"),
        // A report under label, for a cell that is missing.
        (format!("{REPORTED}p1,a.png,,odd,x\np2,c.png,d.png,seen\n"), "line 3 has 4 cells instead of 5"),
        ("patient,label,anterior,posterior\np1,NoMet,a.png\n".into(), "line 2 has 3 cells instead of 4"),
    ] {
        let said = read(&text).unwrap_err().to_string();
        assert!(said.contains(problem), "{problem}: {said}");
    }
    let short = read(format!("{SIDED}p1,a.png,,odd,train,seen\np2,b.png,,odd,test\n")).unwrap();
    assert_eq!((short.rows[1].side, short.rows[1].report.as_deref()), (Some(Side::Test), None));
}

#[test]
fn columns_have_the_names_that_the_user_gives() {
    let table = "No;PatID;File;Diagnosis;label\n1;p1;a.png;NoMet;x\n2;p2;b.png;ADMet;y\n";
    let names = ["patient=PatID", "ANTERIOR=file", "posterior=", "label=Diagnosis"];
    let Reading { manifest, notes } = named(table, &names).unwrap();
    assert_eq!(cells(&manifest), [["p1", "a.png", "", "NoMet"], ["p2", "b.png", "", "ADMet"]]);
    assert_eq!(notes, ["passes over the columns `No` and `label`"]);
    for (columns, problem) in [
        (&names[..3], "m.csv"),
        (
            &["patient=PatID", "anterior=File", "label=Diagnosi"],
            "lacks the column `Diagnosi`, which --column names for label; give --column with a name that is there: `No`, `PatID`, `File`, `Diagnosis` and `label`",
        ),
        (
            &["label=Diagnosis"],
            "lacks the columns `patient`, `anterior` and `posterior`; say which is which with --column patient=NAME \
            --column anterior=NAME --column posterior=NAME, with a NAME of `No`, `PatID`, `File` and `label`",
        ),
        (
            &["patient=PatID", "anterior=File"],
            "lacks the column `posterior`; say which is which with --column posterior=NAME, with a NAME \
            of `No` and `Diagnosis`, or give --column posterior= where there is none",
        ),
    ] {
        match named(table, columns) {
            Ok(read) => assert!(problem == "m.csv" && read.manifest.classes == ["x", "y"], "{problem}"),
            Err(error) => assert!(error.to_string().contains(problem), "{error}"),
        }
    }
    let strange = read("PatID;File;Diagnosis\np1;a.png;NoMet\n").unwrap_err().to_string();
    assert!(strange.ends_with("--column label=NAME, with a NAME of `PatID`, `File` and `Diagnosis`"), "{strange}");
    for (columns, problem) in [
        (&["labl=x"][..], "names a column that no manifest has; write one of patient, anterior, posterior, label, side"),
        (&["label"], "has no =; write COLUMN=NAME"),
        (&["label="], "leaves out a column that every manifest has"),
        (&["anterior=", "posterior="], "--column leaves out both views; name the column of one of them"),
        (&["label=x", "label=y"], "names the column a second time"),
        (&["label=x", "patient=x"], "gives a name that another column has"),
    ] {
        let said = ColumnNames::parse(columns).unwrap_err();
        assert!(matches!(said, crate::Error::Setting { .. }) && said.to_string().contains(problem), "{said}");
    }
    let names = ColumnNames::parse(["label=final diagnosis", "patient=a=b"]).unwrap();
    assert_eq!(ColumnNames::parse(names.texts()).unwrap(), names);
}

/// Each refusal with the flags of its own remedy, which then is read.
#[test]
fn a_mistyped_column_is_refused_with_a_remedy_that_works() {
    for (from, to, remedy) in [
        ("label", "lable", &["label=lable"][..]),
        ("label", "Labels", &["label=Labels"]),
        ("patient", "pateint", &["patient=pateint"]),
        ("patient,anterior", "patiant,antrior", &["patient=patiant", "anterior=antrior"]),
        ("label", "la bel", &["'label=la bel'"]),
        ("label", "label,Label", &["label=label", "label=Label"]),
    ] {
        let table = PLAIN.replace(from, to);
        let said = read(&table).unwrap_err().to_string();
        let flags: Vec<String> = remedy.iter().map(|text| format!("--column {text}")).collect();
        assert!(flags.iter().all(|flag| said.contains(flag.as_str())), "{said}");
        let remedy: Vec<&str> = remedy.iter().map(|text| text.trim_matches('\'')).collect();
        let flags = if to == "label,Label" { &remedy[1..] } else { &remedy[..] };
        let table = if to == "label,Label" { table.replace("NoMet", "NoMet,x").replace(",ADMet", ",x,x") } else { table };
        assert!(named(&table, flags).is_ok() || to == "label,Label", "{said}");
    }
    let missing = "patient,anterior,label\np1,a.png,NoMet\n";
    assert!(read(missing).unwrap_err().to_string().ends_with("or give --column posterior= where there is none"));
    assert!(named(missing, &["posterior="]).is_ok());
}

#[test]
fn unknown_columns_are_passed_over_with_a_note() {
    let table = ",patient,anterior,posterior,label,age,Comment,sid\n0,p1,a.png,,NoMet,61,\"seen twice,\nby two\",train\n";
    let Reading { manifest, notes } = named(table, &[]).unwrap();
    assert_eq!(cells(&manifest), [["p1", "a.png", "", "NoMet"]]);
    let said = "passes over the columns `age`, `Comment` and `sid`; did you mean --column side=sid";
    assert_eq!(notes, [said, "passes over what stands in columns without a name"]);
    assert_eq!(named(table, &["side=sid"]).unwrap().manifest.rows[0].side, Some(Side::Train));
    let swallowed = "patient,anterior,posterior,label,note\np1,a.png,,NoMet,\"open\np2,b.png,,ADMet,closed\"\n";
    assert!(read(swallowed).unwrap_err().to_string().contains("an open quote may have swallowed a line"));
    let many: String = (0..40).map(|column| format!(",c{column}")).collect();
    let notes = named(PLAIN.replace("label\n", &format!("label{many}\n")), &[]).unwrap().notes;
    assert!(notes[0].ends_with(", `c11` and 28 more"), "{notes:?}");
}

#[test]
fn a_class_that_may_be_another_is_asked_about_unless_it_is_meant() {
    let text = format!("{PLAIN}p3,c.png,,nADmet\n");
    let (_folder, path) = folder(&text);
    let said = Manifest::read(&path).unwrap_err().to_string();
    assert!(
        said.ends_with("line 4 has the class `nADmet`, which differs from `nADMet` only by case, blanks or hyphens; correct it, or say that it is \
            meant with --class nADmet"),
        "{said}"
    );
    let meant = ReadOptions { classes: Classes::AskedAbout(vec!["nADmet".into()]), ..ReadOptions::default() };
    assert_eq!(Manifest::read_with(&path, &meant).unwrap().manifest.classes, ["NoMet", "ADMet", "nADmet"]);
    assert_eq!(Manifest::read_known(&path).unwrap().classes, ["NoMet", "ADMet", "nADmet"]);
    assert!(read(text.replace("nADmet", "nADMet")).is_ok());
}

#[test]
fn pseudonyms_that_may_be_one_person_are_pointed_out() {
    let table = format!("{PLAIN}P1,c.png,,NoMet\np 02,d.png,,ADMet\n");
    let notes = named(&table, &[]).unwrap().notes;
    let told = "differ only by case, blanks or leading zeros; if they are one person, write them alike";
    assert_eq!(
        notes,
        [format!("patients `p1` (line 2), `P1` (line 4) {told}"), format!("patients `p2` (line 3), `p 02` (line 5) {told}")]
    );
    let sided = "patient,anterior,posterior,label,side\np1,a.png,,NoMet,train\nP1,b.png,,NoMet,test\n";
    let (_folder, path) = folder(sided);
    assert!(Manifest::read(&path).is_ok());
    let problems: Vec<String> =
        Manifest::survey(&path, &ReadOptions::default()).unwrap().problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 1, "{problems:?}");
    let told = "patient `p1` (line 2) is on the side train and `P1` (line 3) on the side test, and they differ only by case";
    assert!(problems[0].contains(told), "{problems:?}");
}

#[test]
fn a_survey_lists_every_fault_and_reading_the_first() {
    let rows = "1,gone.png,lost.png,NoMet,train,x\n,b.png,,,dev,\n3,c.png,,NoMet,train,\n\n3,two.dcm#0,,NOMET,train,200\n\
        5,./c.png,,ADMet,test,\n5,d.png,,nADMet,train,,,x\n6,d.png,,nADMet,train,\n6,e.png,,ADMet,test,\n7,a.png,,NOMET,train,\n8,e.png,,NoMet,,\n";
    let (_folder, path) = folder(format!("patient,anterior,posterior,label,side,rotation_deg\n{rows}"));
    let Survey { manifest, problems, more, .. } = Manifest::survey(&path, &ReadOptions::default()).unwrap();
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for part in [
        "line 2 names ",
        "gone.png, which does not exist",
        "lost.png, which does not exist",
        "line 2 has the rotation_deg `x`",
        "line 3 has an empty patient",
        "line 3 has an empty label",
        "line 3 has the side `dev`",
        "line 6 names `two.dcm#0`",
        "line 6 has the rotation_deg `200`",
        "line 8 has 8 cells instead of 6",
        "line 4 and line 7 list the scan ",
        "patient 6 is nADMet in line 9 and ADMet in line 10",
        "patient 6 is on the side train in line 9 and test in line 10",
        "line 12 has the side ``",
        "line 11 has the class `NOMET`",
    ] {
        assert_eq!(
            said.iter().filter(|said| said.contains(part)).count(),
            if part == "line 2 names " { 2 } else { 1 },
            "{part}: {said:#?}"
        );
    }
    assert_eq!((said.len(), more), (14, 0), "{said:#?}");
    assert_eq!(Manifest::read(&path).unwrap_err().to_string(), said[0]);
    assert_eq!(manifest.unwrap().rows.len(), 5);
    // A column that is missing hides no fault of another.
    let (_folder, path) = folder("patient,anterior,posterior,lable\n1,gone.png,,NoMet\n,a.png,,NoMet\n");
    let survey = Manifest::survey(&path, &ReadOptions::default()).unwrap();
    let said: Vec<String> = survey.problems.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("did you mean --column label=lable") && said[2].contains("line 3 has an empty patient"), "{said:?}");
    let gone = Manifest::survey(path.with_file_name("none.csv"), &ReadOptions::default()).unwrap();
    assert!(gone.manifest.is_none() && gone.problems.len() == 1);
    assert!(Manifest::survey(folder("").1, &ReadOptions::default()).unwrap().problems.len() == 1);
}

#[test]
fn a_file_of_a_cells_very_name_wins_over_a_frame() {
    let table = "patient,anterior,posterior,label\n1,IM#2#1,IM#2#2,NoMet\n2,two.dcm#1,,NoMet\n3,IM#02,,ADMet\n";
    let (folder, path) = folder(table);
    for name in ["IM", "IM#2"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let cell = |name: &str, frame| Some(Cell { path: folder.path().join(name), frame });
    let manifest = Manifest::read(&path).unwrap();
    assert_eq!((&manifest.rows[0].anterior, &manifest.rows[0].posterior), (&cell("IM#2", Some(1)), &cell("IM#2", Some(2))));
    assert_eq!((&manifest.rows[1].anterior, &manifest.rows[2].anterior), (&cell("two.dcm", Some(1)), &cell("IM", Some(2))));
    manifest.write().unwrap();
    assert_eq!(Manifest::read(&path).unwrap(), manifest);
    let whole = Manifest::new(&path, vec![Row::new("1", cell("IM#2", None), cell("IM", Some(2)), "NoMet")]).unwrap();
    whole.write().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "patient,anterior,posterior,label\n1,IM#2,IM#02,NoMet\n");
    assert_eq!(Manifest::read(&path).unwrap(), whole);
    // A folder of that name is no scan, and without files a cell is what it says.
    fs::create_dir(folder.path().join("two.dcm#1")).unwrap();
    fs::write(&path, "patient,anterior,posterior,label\n2,two.dcm#1,,NoMet\n").unwrap();
    assert_eq!(Manifest::read(&path).unwrap().rows[0].anterior, cell("two.dcm", Some(1)));
    let bytes = Manifest::from_bytes(&path, b"patient,anterior,posterior,label\n2,IM#2,,NoMet\n").unwrap();
    assert_eq!(bytes.rows[0].anterior, cell("IM", Some(2)));
}

/// Twenty thousand copies of one scan, and as many rows of one fault: in the time of reading, not its square.
#[test]
fn large_tables_are_read_in_the_time_of_their_rows() {
    let copies: String = (0..20_000).map(|row| format!("1,a.png,,NoMet,{}\n", row as f32 / 1000.0)).collect();
    let start = std::time::Instant::now();
    let manifest = read(format!("patient,anterior,posterior,label,shift_rows_px\n{copies}")).unwrap();
    assert_eq!(manifest.rows.len(), 20_000);
    let labels: String = (0..20_000).map(|row| format!("{row},f{row}.png,,class{row}x\n")).collect();
    let survey =
        Manifest::survey(folder(format!("patient,anterior,posterior,label\n{labels}")).1, &ReadOptions::default()).unwrap();
    assert_eq!(survey.problems.len(), 20_000);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
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
        let (_folder, path) = folder(&text);
        let first = Manifest::read(&path).map(drop).map_err(|error| error.to_string());
        let survey = Manifest::survey(&path, &ReadOptions::default()).unwrap();
        if let Err(first) = first {
            prop_assert_eq!(survey.problems[0].to_string(), first);
        }
    }
}
