use super::*;
use crate::archive::manifest::{PAPER_CLASSES, Row};
use crate::files;
use crate::intake::study::Cell;
use crate::phantom::{self, PhantomOptions};
use crate::prepare::loader::{Batch, LoaderOptions};
use crate::prepare::{Preprocessing, Transform};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The paper's archive: 506 patients with a study each, 1011 images, of which 614 are NoMet, 237 ADMet and 160 nADMet. One
/// patient of ADMet has one view.
fn paper() -> String {
    let mut table = String::from("patient,anterior,posterior,label\n");
    for patient in 0..506 {
        let label = match patient {
            0..307 => "NoMet",
            307..426 => "ADMet",
            _ => "nADMet",
        };
        let posterior = if patient == 400 { String::new() } else { format!("s/{patient}-b.png") };
        table += &format!("p{patient},s/{patient}-a.png,{posterior},{label}\n");
    }
    table
}

fn manifest(text: &str) -> Manifest {
    Manifest::from_bytes("archive/manifest.csv", text.as_bytes()).unwrap()
}

fn totals(dataset: &Dataset) -> Vec<usize> {
    dataset.counts().iter().map(|(_, counts)| counts.train + counts.test).collect()
}

/// No patient, scan or copy of `manifest` on both sides, found in another way than [`check`]'s.
fn no_leak(manifest: &Manifest) {
    let on = |side, of: &dyn Fn(&Row) -> Vec<String>| -> BTreeSet<String> {
        manifest.rows.iter().filter(|row| row.side == Some(side)).flat_map(of).collect()
    };
    for of in
        [&|row: &Row| vec![row.patient.clone()] as _, &|row: &Row| row.cells().map(Cell::to_string).collect(), &|row: &Row| {
            row.files().map(|file| file.display().to_string()).collect()
        }] as [&dyn Fn(&Row) -> Vec<String>; 3]
    {
        let [train, test] = [Side::Train, Side::Test].map(|side| on(side, of));
        assert!(!train.is_empty() && !test.is_empty() && train.is_disjoint(&test));
    }
}

#[test]
fn the_papers_archive_gives_table_2() {
    let archive = manifest(&paper());
    assert_eq!(archive.rows.iter().map(|row| row.cells().count()).sum::<usize>(), 1011);
    for seed in [1, 2, 3] {
        let options = DatasetOptions { seed, ..DatasetOptions::default() };
        for (kind, expected) in
            [(DatasetKind::D1, [226, 237, 160]), (DatasetKind::D2, [614, 624, 640]), (DatasetKind::D3, [307, 318, 320])]
        {
            let dataset = build(kind, &archive, &options).unwrap();
            assert_eq!(dataset.manifest.classes, PAPER_CLASSES);
            assert_eq!(totals(&dataset), expected, "{kind}");
            no_leak(&dataset.manifest);
            for (class, counts) in dataset.counts() {
                let share = counts.train as f64 / (counts.train + counts.test) as f64;
                assert!((share - 0.7).abs() < 0.02, "{kind} {class}: {counts:?}");
            }
            assert_eq!(dataset, build(kind, &archive, &options).unwrap());
        }
        // Table 8.
        let options = DatasetOptions { merge_metastatic: true, ..options };
        let two = build(DatasetKind::D3, &archive, &options).unwrap();
        assert_eq!((&two.manifest.classes[..], totals(&two)), (&["NoMet".to_owned(), "Met".to_owned()][..], vec![307, 638]));
    }
    let test: usize = build(DatasetKind::D3, &archive, &DatasetOptions::default())
        .unwrap()
        .counts()
        .iter()
        .map(|(_, counts)| counts.test)
        .sum();
    assert!(test.abs_diff(284) <= 4, "{test} test images, the paper's are 284");
}

#[test]
fn the_three_have_the_same_sides_scans_and_draws() {
    let archive = manifest(&paper());
    let [d1, d2, d3] = [DatasetKind::D1, DatasetKind::D2, DatasetKind::D3]
        .map(|kind| build(kind, &archive, &DatasetOptions::default()).unwrap().manifest);
    let sides = |manifest: &Manifest| -> BTreeMap<String, Side> {
        manifest.rows.iter().map(|row| (row.patient.clone(), row.side.unwrap())).collect()
    };
    assert_eq!(sides(&d1), sides(&d2));
    assert_eq!(sides(&d1), sides(&d3));
    assert!(d1.rows.iter().all(|row| !row.is_augmented() && row.cells().count() == 1));
    assert!(d2.rows.iter().all(|row| row.cells().count() == 1));
    // The scans of D2 that are as they are are D1.
    let plain: Vec<&Row> = d2.rows.iter().filter(|row| !row.is_augmented()).collect();
    assert_eq!(plain, d1.rows.iter().collect::<Vec<_>>());
    // A copy in D3 is two views of D2 with one draw, but for the few in which the paper's numbers differ.
    let key = |cell: &Cell, row: &Row| format!("{cell} {:?}", row.transform);
    let of_d2: BTreeSet<String> = d2.rows.iter().flat_map(|row| row.cells().map(|cell| key(cell, row))).collect();
    let strangers = d3.rows.iter().filter(|row| row.cells().any(|cell| !of_d2.contains(&key(cell, row)))).count();
    assert!(strangers <= 14, "{strangers} of {}", d3.rows.len());
    assert!(d3.rows.iter().all(|row| row.cells().count() == 2 || row.patient == "p400"));
    // Copies are within their limits, and readable.
    for Transform { angle_deg, shift_rows_px, shift_columns_px } in d2.rows.iter().map(|row| row.transform) {
        assert!(angle_deg.abs() <= 5.0 && shift_rows_px.abs() <= 6.0 && shift_columns_px.abs() <= 6.0);
        assert!(angle_deg.to_string().len() <= 5, "{angle_deg}");
    }
    let other = build(DatasetKind::D2, &archive, &DatasetOptions { seed: 2, ..DatasetOptions::default() }).unwrap().manifest;
    assert_ne!(sides(&d2), sides(&other));
}

/// An archive of `counts` patients of NoMet, ADMet and nADMet, two views each.
fn archive(counts: [usize; 3]) -> String {
    let mut table = String::from("patient,anterior,posterior,label\n");
    for (label, count) in PAPER_CLASSES.iter().zip(counts) {
        for patient in 0..count {
            table += &format!("{label}{patient},{label}{patient}.dcm#1,{label}{patient}.dcm#2,{label}\n");
        }
    }
    table
}

#[test]
fn other_archives_follow_the_rules() {
    let totals = |counts, kind| totals(&build(kind, &manifest(&archive(counts)), &DatasetOptions::default()).unwrap());
    // Balanced: nothing is left out, and all grow alike.
    assert_eq!(totals([20, 20, 20], DatasetKind::D1), [40, 40, 40]);
    assert_eq!(totals([20, 20, 20], DatasetKind::D2), [118, 120, 123]);
    assert_eq!(totals([20, 20, 20], DatasetKind::D3), [59, 61, 62]);
    // NoMet prevails: as in the paper.
    assert_eq!(totals([300, 20, 20], DatasetKind::D1), [46, 40, 40]);
    // ADMet prevails: the others grow to its size.
    assert_eq!(totals([10, 100, 10], DatasetKind::D2), [237, 240, 247]);
    assert_eq!(totals([4, 200, 4], DatasetKind::D3), [205, 212, 214]);
    assert_eq!(totals([2, 2, 2], DatasetKind::D1), [4, 4, 4]);
    let two = manifest(&archive([30, 10, 0]));
    assert_eq!(self::totals(&build(DatasetKind::D1, &two, &DatasetOptions::default()).unwrap()), [23, 20]);
    // With one view each, a class that has more than its share keeps what it has.
    let mut single = manifest(&archive([9, 90, 9]));
    single.rows.iter_mut().for_each(|row| row.posterior = None);
    assert_eq!(self::totals(&build(DatasetKind::D3, &single, &DatasetOptions::default()).unwrap()), [53, 90, 55]);
}

#[test]
fn counts_can_be_asked_for() {
    let source = manifest(&archive([20, 20, 20]));
    let with = |kind, text: &str| {
        build(kind, &source, &DatasetOptions { counts: parse_counts(text).unwrap(), ..DatasetOptions::default() })
    };
    assert_eq!(totals(&with(DatasetKind::D1, "NoMet=15,nADMet=4").unwrap()), [15, 40, 4]);
    assert_eq!(totals(&with(DatasetKind::D2, "NoMet=41, ADMet = 400").unwrap()), [41, 400, 123]);
    assert_eq!(totals(&with(DatasetKind::D3, "NoMet=20").unwrap())[0], 20);
    for (kind, text, problem) in [
        (DatasetKind::D1, "NoMet=41", "has 40 images of NoMet, and 41 are asked for"),
        (DatasetKind::D2, "NoMet=39", "NoMet=39 is fewer than the 40 without copies"),
        (DatasetKind::D3, "NoMet=9999", "NoMet=9999 is more than 100 times the 20"),
        (DatasetKind::D3, "Met=9", "has no class Met"),
        (DatasetKind::D1, "NoMet=1", "leaves no study of NoMet to"),
    ] {
        let message = with(kind, text).unwrap_err().to_string();
        assert!(message.contains(problem) && !message.contains('\n'), "{message}");
    }
    for text in ["", "NoMet", "NoMet=", "NoMet=x", "NoMet=0", "NoMet=1,NoMet=2", "NoMet=-1"] {
        assert!(parse_counts(text).is_err(), "{text}");
    }
}

#[test]
fn what_cannot_be_made_is_one_sentence() {
    let options = DatasetOptions::default();
    let message =
        |table: &str, options: &DatasetOptions| build(DatasetKind::D2, &manifest(table), options).unwrap_err().to_string();
    assert!(message(&archive([9, 9, 1]), &options).contains("leaves no study of nADMet to t"));
    assert!(message(&archive([9, 0, 0]), &options).contains("has the one class NoMet"));
    assert!(
        message(&archive([9, 9, 9]), &DatasetOptions { train_share: 1.0, ..options.clone() }).contains("share for training is 1")
    );
    let still = DatasetOptions { augmentation: Motion::NONE, ..options.clone() };
    assert!(message(&archive([9, 9, 9]), &still).contains("give no such number of different ones; allow more"));
    let wild = DatasetOptions { augmentation: Motion { rotation_deg: f32::NAN, translation_px: 1.0 }, ..options.clone() };
    assert!(message(&archive([9, 9, 9]), &wild).contains("rotation_deg is NaN"));
    let made = build(DatasetKind::D1, &manifest(&archive([9, 9, 9])), &options).unwrap().manifest;
    let again = build(DatasetKind::D2, &made, &options).unwrap_err().to_string();
    assert!(again.contains("is a dataset already"), "{again}");
    let merged = DatasetOptions { merge_metastatic: true, ..options };
    let other = message(&archive([0, 9, 9]), &merged);
    assert!(other.contains("do not merge into NoMet and Met"), "{other}");
}

/// Phantoms, and a manifest in which every sixth has lost a view: one is there for each column.
fn phantoms() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let made = PhantomOptions { studies: 18, rows: 128, columns: 32, ..Default::default() };
    let path = phantom::write(&made, folder.path().join("phantoms"), &|_| ()).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let odd = text.replace("studies/0003.dcm#1,studies/0003.dcm#2", "studies/0003.dcm#1,");
    // A whole file of both views, and the posterior one of a whole file.
    let odd = odd.replace("studies/0005.dcm#1,studies/0005.dcm#2", "studies/0005.dcm,");
    fs::write(&path, odd.replace("studies/0009.dcm#1,studies/0009.dcm#2", ",studies/0009.dcm")).unwrap();
    (folder, path)
}

#[test]
fn nothing_is_on_both_sides_of_what_is_written() {
    let (folder, path) = phantoms();
    let source = Manifest::read(&path).unwrap().with_frames_named().unwrap();
    assert_eq!(source.rows.iter().map(|row| row.cells().count()).sum::<usize>(), 34);
    for kind in [DatasetKind::D1, DatasetKind::D2, DatasetKind::D3] {
        let dataset = build(kind, &source, &DatasetOptions::default()).unwrap();
        let target = folder.path().join("sets").join(kind.to_string());
        let written = dataset.write(&target).unwrap();
        let manifest = Manifest::read(&written).unwrap();
        no_leak(&manifest);
        let found = check(&target).unwrap();
        assert_eq!(found.counts, dataset.counts());
        assert_eq!(found.patients[0] + found.patients[1], 18);
        assert_eq!(found.scans.iter().chain(&found.copies).sum::<usize>(), manifest.rows.len());
        assert_eq!(found.copies[0] > 0, kind != DatasetKind::D1);
        let text = fs::read_to_string(&written).unwrap();
        assert!(text.contains("../../phantoms/studies/0001.dcm#1") && !text.contains(folder.path().to_str().unwrap()));
        let record = read_record(&target).unwrap();
        assert_eq!((record.dataset, record.source.studies, record.seed), (kind, 18, 1));
        assert_eq!(record.source.manifest, Path::new("../../phantoms/manifest.csv"));
        assert_eq!(record.source.sha256, files::sha256(&fs::read(&path).unwrap()));
        let moved: Vec<_> = manifest.rows.iter().map(|row| (&row.patient, row.side, row.transform, &row.label)).collect();
        let built: Vec<_> = dataset.manifest.rows.iter().map(|row| (&row.patient, row.side, row.transform, &row.label)).collect();
        assert_eq!(moved, built);
    }
    let over = build(DatasetKind::D1, &source, &DatasetOptions::default()).unwrap().write(folder.path().join("phantoms"));
    assert!(over.unwrap_err().to_string().contains("is what the dataset is made from"));
}

#[test]
fn a_leak_is_found() {
    let (folder, path) = phantoms();
    let source = Manifest::read(&path).unwrap().with_frames_named().unwrap();
    let target = folder.path().join("d2");
    let written = build(DatasetKind::D2, &source, &DatasetOptions::default()).unwrap().write(&target).unwrap();
    let text = fs::read_to_string(&written).unwrap();
    let message = |text: &str| {
        fs::write(&written, text).unwrap();
        check(&target).unwrap_err().to_string()
    };
    let rows: Vec<&str> = text.lines().skip(1).collect();
    let [train, test] = ["train", "test"].map(|side| rows.iter().find(|row| row.contains(&format!(",{side},"))).unwrap());
    // A row of a training patient among the tests.
    assert!(message(&text.replacen(train, &train.replace(",train,", ",test,"), 1)).contains("is on the side t"));
    // A copy of a training scan under a test patient's name.
    let patient = |row: &str| row.split(',').next().unwrap().to_owned();
    let disguised = train.replace(&patient(train), &patient(test)).replace(",train,", ",test,");
    assert!(message(&format!("{text}{disguised}\n")).contains("under two"));
    // The same file by another name, and as a copy of its bytes.
    let file = train.split(',').find(|cell| cell.contains(".dcm")).unwrap().split('#').next().unwrap();
    let real = target.join(file);
    fs::copy(&real, target.join("copy.dcm")).unwrap();
    assert!(message(&format!("{text}{}\n", disguised.replace(file, "copy.dcm"))).contains("has the same bytes on both sides"));
    let around = file.replace("../phantoms", "../d2/../phantoms");
    assert!(message(&format!("{text}{}\n", disguised.replace(file, &around))).contains("on both sides"));
    // A row that is lost.
    assert!(message(&text.replacen(&format!("{train}\n"), "", 1)).contains("has other numbers of rows than dataset.toml says"));
    let sideless = message("patient,anterior,posterior,label\n1,copy.dcm#1,,NoMet\n");
    assert!(sideless.contains("has no column side"), "{sideless}");
    fs::write(&written, &text).unwrap();
    check(&target).unwrap();
    fs::write(target.join(RECORD), "x = 1").unwrap();
    assert!(check(&target).unwrap_err().to_string().contains("is no record of a dataset"));
    assert!(check(folder.path()).unwrap_err().to_string().contains("is not the folder of a dataset"));
}

/// The network's inputs of every row.
fn inputs(manifest: &Manifest) -> Vec<Vec<f32>> {
    const SIZE: [usize; 2] = [64, 32];
    let all = (0..manifest.rows.len()).collect();
    let options = LoaderOptions::evaluation(SIZE, 8);
    let loader = manifest.loader(&manifest.classes, all, &Preprocessing::default(), options).unwrap();
    let batches: Vec<Batch> = loader.epoch(0).collect::<Result<_>>().unwrap();
    batches.iter().flat_map(|batch| batch.images.chunks(SIZE[0] * SIZE[1]).map(<[f32]>::to_vec)).collect()
}

#[test]
fn materialised_pictures_are_what_is_drawn_on_the_fly() {
    let (folder, path) = phantoms();
    let source = Manifest::read(&path).unwrap().with_frames_named().unwrap();
    for kind in [DatasetKind::D1, DatasetKind::D2, DatasetKind::D3] {
        let dataset = build(kind, &source, &DatasetOptions::default()).unwrap();
        let [fly, files] = ["fly", "files"].map(|name| folder.path().join(format!("{kind}-{name}")));
        let drawn = Manifest::read(dataset.write(&fly).unwrap()).unwrap();
        let written = Manifest::read(dataset.materialise(&files, &|_| ()).unwrap()).unwrap();
        check(&files).unwrap();
        assert!(written.rows.iter().all(|row| row.drawn && row.cells().count() == 1));
        let augmented = |manifest: &Manifest| manifest.rows.iter().map(Row::is_augmented).collect::<Vec<_>>();
        assert_eq!(augmented(&drawn), augmented(&written));
        let [one, two] = [&drawn, &written].map(inputs);
        assert_eq!(one.len(), dataset.manifest.rows.len());
        for (at, (one, two)) in one.iter().zip(&two).enumerate() {
            // Pictures hold whole counts, and those of a hot bladder at this size are scaled to fit 16 bits.
            let mean = one.iter().zip(two).map(|(a, b)| (a - b).abs()).sum::<f32>() / one.len() as f32;
            assert!(mean < 1e-3, "{kind} row {at}: {mean}");
        }
        // Copies differ from their scan, and the views of a study from each other.
        let copies: BTreeSet<Vec<u32>> = one.iter().map(|input| input.iter().map(|value| value.to_bits()).collect()).collect();
        assert_eq!(copies.len(), one.len(), "{kind}");
    }
}

/// What lies in a dataset's folder is what it was made with, to the last byte; what is refused leaves the folder as it was.
#[test]
fn a_picture_or_a_label_that_was_exchanged_is_found() {
    let (folder, path) = phantoms();
    let source = Manifest::read(&path).unwrap().with_frames_named().unwrap();
    let dataset = build(DatasetKind::D1, &source, &DatasetOptions::default()).unwrap();
    let target = folder.path().join("d1");
    dataset.materialise(&target, &|_| ()).unwrap();
    let refusal = || check(&target).unwrap_err().to_string();
    let [one, two] = ["pictures/00001.png", "pictures/00002.png"].map(|name| target.join(name));
    let swap = || {
        let spare = target.join("spare");
        for (from, to) in [(&one, &spare), (&two, &one), (&spare, &two)] {
            std::fs::rename(from, to).unwrap();
        }
    };
    swap();
    assert!(
        refusal().contains("names pictures/00001.png, which is not the file that the dataset was made with"),
        "{}",
        refusal()
    );
    swap();
    check(&target).unwrap();
    let table = std::fs::read_to_string(target.join(MANIFEST)).unwrap();
    // Two patients of one side and class change places: no count differs.
    let manifest = Manifest::read(target.join(MANIFEST)).unwrap();
    let alike = |row: &&Row| (&row.label, row.side) == (&manifest.rows[0].label, manifest.rows[0].side);
    let other = manifest.rows.iter().filter(alike).find(|row| row.patient != manifest.rows[0].patient).unwrap();
    let [a, b] = [&manifest.rows[0].patient, &other.patient];
    let swapped = table.replace(&**a, "?").replace(&**b, a).replace('?', b);
    std::fs::write(target.join(MANIFEST), swapped).unwrap();
    assert!(refusal().contains("is not the one that dataset.toml was written with"), "{}", refusal());
    std::fs::write(target.join(MANIFEST), &table).unwrap();

    // The same bytes under two patients: what the check finds is never put in place.
    let scans: Vec<PathBuf> = source.rows.iter().flat_map(Row::files).map(Path::to_owned).collect();
    for scan in &scans[1..] {
        std::fs::copy(&scans[0], scan).unwrap();
    }
    let before = std::fs::read(target.join(RECORD)).unwrap();
    assert!(dataset.write(&target).unwrap_err().to_string().contains("has the same bytes on both sides"));
    assert_eq!(std::fs::read(target.join(RECORD)).unwrap(), before);
    check(&target).unwrap();
    let fresh = folder.path().join("fresh");
    assert!(dataset.write(&fresh).is_err() && !fresh.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Patients with several studies of several classes, one view or two.
    #[test]
    fn no_archive_leaks(
        studies in prop::collection::vec((0usize..30, 0usize..2, 0usize..3), 4..90), seed: u64, share in 0.2f64..0.8,
    ) {
        let mut table = String::from("patient,anterior,posterior,label\n");
        for (at, (patient, class, views)) in studies.iter().enumerate() {
            let (front, back) = (format!("{at}a.png"), format!("{at}b.png"));
            let cells = [format!("{front},{back}"), format!("{front},"), format!(",{back}")];
            table += &format!("p{patient},{},{}\n", cells[*views], PAPER_CLASSES[*class]);
        }
        let source = manifest(&table);
        let options = DatasetOptions { seed, train_share: share, ..DatasetOptions::default() };
        for kind in [DatasetKind::D1, DatasetKind::D2, DatasetKind::D3] {
            match build(kind, &source, &options) {
                Err(error) => prop_assert!(error.to_string().contains("; "), "{error}"),
                Ok(dataset) => {
                    no_leak(&dataset.manifest);
                    let scans = dataset.manifest.rows.iter().filter(|row| !row.is_augmented()).count();
                    prop_assert!(scans > 0 && scans <= 2 * studies.len());
                }
            }
        }
    }
}
