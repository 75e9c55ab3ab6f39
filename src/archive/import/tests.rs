use super::*;

fn png(path: &Path, value: u16) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture::write_gray16(path, 4, 2, &[0, value, 3, 40_000, 5, 6, 7, 8]).unwrap();
}

fn jpeg(path: &Path, value: u8) {
    use image::ImageEncoder;
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut bytes = Vec::new();
    let pixels: Vec<u8> = (0..64u8).map(|at| at.wrapping_mul(3).wrapping_add(value)).collect();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
    encoder.write_image(&pixels, 8, 8, image::ExtendedColorType::L8).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_miniature_of_the_zenodo_set() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("archive");
    let mut value = 0;
    for (class, numbers) in [("Bone metastases", 1..=3), ("No bone metastases", 1..=12)] {
        for number in numbers {
            for (view, letter) in [("Anterior", 'A'), ("Posterior", 'P')] {
                value += 1;
                png(&root.join(format!("images/{class}/{view}/{letter}{number}.png")), value);
            }
        }
    }
    fs::remove_file(root.join("images/No bone metastases/Posterior/P12.png")).unwrap();
    fs::remove_file(root.join("images/No bone metastases/Anterior/A11.png")).unwrap();
    png(&root.join("images/Bone metastases/Posterior/A9.png"), 901);
    png(&root.join("images/unsorted/A9.png"), 902);
    png(&root.join("images/Bone metastases/9.png"), 903);
    png(&root.join("images/Bone metastases/Anterior/line\nbreak.png"), 904);
    // A copy of metastatic patient 3, as a thirteenth without.
    fs::copy(root.join("images/Bone metastases/Anterior/A3.png"), root.join("images/No bone metastases/Anterior/A13.png"))
        .unwrap();
    fs::write(root.join("images/Bone metastases/Anterior/A10.png"), "no picture").unwrap();
    fs::write(root.join("README.txt"), "hello").unwrap();
    fs::write(root.join(".DS_Store"), "hidden").unwrap();

    let output = folder.path().join("manifest.csv");
    let imported = zenodo(&root, &output).unwrap();
    imported.manifest.write().unwrap();
    let manifest = Manifest::read(&output).unwrap();
    assert_eq!(manifest, imported.manifest);
    assert_eq!(manifest.classes, ["NoMet", "Met"]);
    let labels = manifest.labels(&manifest.classes).unwrap();
    assert_eq!([0, 1].map(|class| labels.iter().filter(|label| **label == class).count()), [12, 3]);
    let single = |patient: &str| {
        let row = manifest.rows.iter().find(|row| row.patient == patient).unwrap();
        (row.anterior.is_some(), row.posterior.is_some())
    };
    assert_eq!((single("NoMet-12"), single("NoMet-11"), single("Met-1")), ((true, false), (false, true), (true, true)));
    assert!(manifest.rows.iter().all(|row| row.read().is_ok()));
    let said = imported.skipped.to_string();
    for part in [
        "left out 7",
        "(no PNG or JPEG picture)",
        "images/Bone metastases/Posterior/A9.png (one view by its folder and the other by its name)",
        "(no class in its path)",
        "(no view in its path)",
        "(name that a manifest cannot hold)",
        "NoMet-13 (patient with a picture that another patient has too)",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    assert!(!said.contains('\n'));
}

#[test]
fn a_table_of_classes_does_where_folders_name_none() {
    let folder = tempfile::tempdir().unwrap();
    for number in 1..=4 {
        png(&folder.path().join(format!("{number:03}_ant.png")), number);
        png(&folder.path().join(format!("{number:03}_post.png")), 100 + number);
    }
    fs::write(folder.path().join("labels.csv"), "ID,Metastasis\n001,yes\n002,0\n003,No\nnobody,1\n,\n").unwrap();
    let imported = zenodo(folder.path(), &folder.path().join("m.csv")).unwrap();
    let rows: Vec<_> = imported.manifest.rows.iter().map(|row| (row.patient.as_str(), row.cells().count())).collect();
    assert_eq!(rows, [("Met-001", 2), ("NoMet-002", 2), ("NoMet-003", 2)]);
    assert!(imported.skipped.to_string().contains("(no class in its path)"), "{}", imported.skipped);
}

/// The archive's layout, with `faulty` what goes wrong in it.
fn miniature_of_bs80k(root: &Path, faulty: bool) {
    for (part, shift) in [("wholeBodyANT", 0), ("wholeBodyPOST", 100)] {
        let mut labels = String::new();
        for patient in 1..=12u8 {
            jpeg(&root.join(format!("{part}/{patient}.jpg")), 7 * patient + shift);
            labels += &format!("{patient}.jpg\t{}\n", u8::from(patient > 8 || shift > 0 && patient == 8));
        }
        let annotation = "<annotation><size><width>256</width><height>1024</height></size><object><name>Abnormal</name><bndbox>\
            <xmin>10</xmin><ymin>20</ymin><xmax>30</xmax><ymax>45</ymax></bndbox></object>OBJECT</annotation>";
        let inner = root.join(part).join(if shift == 0 { "ant" } else { "post" });
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("9.xml"), annotation.replace("OBJECT", "")).unwrap();
        if faulty {
            labels += "77.jpg\t1\n3.jpg 1\nnonsense\n\n4.jpg\t2\n";
            jpeg(&root.join(format!("{part}/unlisted.jpg")), 3);
            let flat = "<object><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>5</xmax><ymax>9</ymax></bndbox></object>";
            fs::write(inner.join("10.xml"), annotation.replace("OBJECT", flat)).unwrap();
            fs::write(inner.join("11.xml"), "<annotation>").unwrap();
            fs::write(inner.join("99.xml"), annotation.replace("OBJECT", "<object/>")).unwrap();
            fs::copy(root.join(format!("{part}/5.jpg")), root.join(format!("{part}/6.jpg"))).unwrap();
        }
        fs::write(root.join(part).join(format!("{part}.txt")), labels).unwrap();
    }
    jpeg(&root.join("kneeLANT/1.jpg"), 1);
}

#[test]
fn a_miniature_of_bs80k() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("BS-80K");
    miniature_of_bs80k(&root, false);
    let output = folder.path().join("manifest.csv");
    let imported = bs80k(folder.path(), &output).unwrap();
    imported.manifest.write().unwrap();
    let manifest = Manifest::read(&output).unwrap();
    assert_eq!(manifest, imported.manifest);
    assert_eq!((manifest.rows.len(), imported.skipped.count(), imported.disagreements), (12, 0, 1));
    let metastatic: Vec<&str> = manifest.rows.iter().filter(|row| row.label == "Met").map(|row| row.patient.as_str()).collect();
    assert_eq!(metastatic, ["8", "9", "10", "11", "12"]);
    let study = manifest.rows[0].read().unwrap();
    assert!(study.anterior.is_some() && study.posterior.is_some());
    let expected = Hotspot { patient: "9".into(), view: View::Anterior, label: "Abnormal".into(), bounds: [10, 20, 30, 45] };
    assert_eq!((imported.boxes.len(), &imported.boxes[0]), (2, &expected));
    let table = String::from_utf8(boxes_csv(&imported.boxes)).unwrap();
    assert_eq!(table.lines().nth(1), Some("9,anterior,Abnormal,10,20,30,45"));
}

#[test]
fn what_is_odd_in_bs80k_is_left_out_and_told() {
    let folder = tempfile::tempdir().unwrap();
    miniature_of_bs80k(folder.path(), true);
    let imported = bs80k(folder.path(), &folder.path().join("m.csv")).unwrap();
    let patients: Vec<&str> = imported.manifest.rows.iter().map(|row| row.patient.as_str()).collect();
    // 3 is labelled twice; 4 was right once.
    assert_eq!(patients, ["1", "2", "4", "5", "7", "8", "9", "10", "11", "12"]);
    let said = imported.skipped.to_string();
    for part in [
        "6 (patient with a picture that another patient has too)",
        "(line of labels without 0 or 1)",
        "(labelled both 0 and 1)",
        "wholeBodyANT/3.jpg, ",
        "wholeBodyANT/77.jpg, wholeBodyPOST/77.jpg (label without a picture)",
        "(annotation that is no XML)",
        "(box of no size or outside its picture)",
        "99 anterior, 99 posterior (box in no picture that is read)",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    assert!(!said.contains('\n'));
    assert_eq!(imported.boxes.len(), 4);
}

#[test]
fn folders_of_something_else_are_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("m.csv");
    let message = |result: Result<Imported>| result.unwrap_err().to_string();
    assert!(message(zenodo(folder.path(), &output)).contains("holds no study that can be read; give the folder"));
    assert!(message(bs80k(folder.path(), &output)).contains("has no folder wholeBodyANT or wholeBodyPOST"));
    assert!(message(zenodo(&folder.path().join("gone"), &output)).contains("cannot be read"));
    fs::create_dir(folder.path().join("wholeBodyANT")).unwrap();
    assert!(message(bs80k(folder.path(), &output)).contains("wholeBodyANT.txt: cannot be read"));
    png(&folder.path().join("whatever.png"), 5);
    let said = message(zenodo(folder.path(), &output));
    assert!(said.contains("whatever.png (no view in its path)"), "{said}");
}

#[test]
fn an_archive_that_is_black_on_white_is_recorded_as_such() {
    let options = crate::phantom::PhantomOptions { rows: 128, columns: 32, ..Default::default() };
    for (inverted, says) in [
        ([false; 8], "0 of 16 pictures looked at are black on white: hot is bright"),
        ([true; 8], "16 of 16 pictures looked at are black on white: the manifest says so in the column inverted"),
        (
            [true, false, false, true, false, false, false, false],
            "4 of 16 pictures looked at are black on white: write yes in the manifest's column inverted for the studies that are",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for (index, inverted) in inverted.into_iter().enumerate() {
            let phantom = crate::phantom::simulate(&options, index);
            for (view, letter, image) in [("Anterior", 'A', &phantom.anterior), ("Posterior", 'P', &phantom.posterior)] {
                let path = folder.path().join(format!("images/no metastases/{view}/{letter}{index}.png"));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let turned = |count: &f32| if inverted { 65535 - *count as u16 } else { *count as u16 };
                let pixels: Vec<u16> = image.pixels.iter().map(turned).collect();
                picture::write_gray16(path, image.rows, image.columns, &pixels).unwrap();
            }
        }
        let output = folder.path().join("manifest.csv");
        let imported = zenodo(folder.path(), &output).unwrap();
        assert!(imported.polarity.to_string().starts_with(says), "{}", imported.polarity);
        imported.manifest.write().unwrap();
        let all = inverted == [true; 8];
        let manifest = Manifest::read(&output).unwrap();
        assert!(manifest.rows.iter().all(|row| row.inverted == all));
        assert_eq!(fs::read_to_string(&output).unwrap().lines().next().unwrap().ends_with(",inverted"), all);
        assert_eq!(imported.polarity.is_inverted(), all);
    }
}
