use super::*;
use crate::annotation::Outline;
use crate::models::StudyCounts;
use crate::phantom::{self, LesionInView, LesionTruth, PhantomOptions, Truth};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A folder with two pictures of 64x32 pixels, each with a hot square of 100 counts on 10, and a manifest that lists them.
struct Archive {
    folder: tempfile::TempDir,
}

impl Archive {
    fn new() -> Self {
        let archive = Archive { folder: tempfile::tempdir().unwrap() };
        for (name, level) in [("front.png", 100), ("back.png", 200)] {
            let mut pixels = vec![10; 64 * 32];
            (20..30).for_each(|row| pixels[row * 32 + 8..row * 32 + 18].fill(level));
            picture::write_gray8(archive.path(name), 64, 32, &pixels).unwrap();
        }
        fs::write(archive.path("m.csv"), "patient,anterior,posterior,label\np1,front.png,back.png,ADMet\n").unwrap();
        archive
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, outlines: Vec<Outline>) {
        Annotation { size: Some(Size { rows: 64, columns: 32 }), outlines, ..Annotation::default() }
            .write(self.path(name))
            .unwrap();
    }

    fn measure(&self, pixel_spacing_mm: Option<[f64; 2]>) -> Result<Vec<Lesion>> {
        measure(&Manifest::read(self.path("m.csv"))?, &MeasureOptions { pixel_spacing_mm }).map(|measured| measured.lesions)
    }
}

fn square(label: &str, group: Option<u32>, [left, top, right, bottom]: [f64; 4]) -> Outline {
    let corners = vec![[left, top], [right, top], [right, bottom], [left, bottom]];
    Outline { group, ..Outline::new(label, Form::Polygon(corners)) }
}

#[test]
fn a_lesion_is_measured_in_each_view_and_counted_once() {
    let archive = Archive::new();
    archive.put(
        "front.json",
        vec![
            square("ADMet/ribs", Some(4), [8.0, 20.0, 18.0, 25.0]),
            square("ADMet", None, [8.0, 40.0, 10.0, 42.0]),
            square("ADMet/ribs", Some(4), [8.0, 24.0, 18.0, 30.0]),
            square("pelvis", None, [0.0, 35.0, 32.0, 50.0]),
            Outline::new("arthritis/distal", Form::Circle([[20.0, 60.0], [20.0, 58.0]])),
        ],
    );
    archive.put(
        "back.xml",
        vec![square("ADMet/ribs", Some(4), [8.0, 20.0, 18.0, 30.0]), square("nADMet", Some(4), [0.0, 0.0, 2.0, 2.0])],
    );
    let lesions = archive.measure(Some([2.0, 3.0])).unwrap();
    let [ribs, pelvis, joint, back, other] = &lesions[..] else { panic!("{lesions:?}") };
    assert_eq!((ribs.outlines, ribs.pixels, ribs.area_mm2), (2, 100, Some(600.0)), "their common row counts once");
    assert_eq!((ribs.uptake, ribs.mean, ribs.max, ribs.centre), (100.0, 100.0, 100.0, [24.5, 12.5]));
    assert_eq!((ribs.disease.as_str(), ribs.region.as_deref(), ribs.kind), ("ADMet", Some("ribs"), CodeKind::Disease));
    assert_eq!((pelvis.region.as_deref(), pelvis.uptake), (Some("pelvis"), 10.0), "from the outline of the body part");
    assert_eq!(
        (joint.shape, joint.kind, joint.region.as_deref()),
        (None, CodeKind::Benign, Some("distal")),
        "a circle has no shape"
    );
    assert_eq!(lesions.iter().map(|lesion| lesion.number).collect::<Vec<_>>(), [1, 2, 3, 1, 4]);
    assert_eq!(lesions.iter().map(|lesion| lesion.counted).collect::<Vec<_>>(), [false, true, true, true, true]);
    assert_eq!((back.view, back.uptake, back.file.as_str(), back.class.as_str()), (View::Posterior, 200.0, "back.xml", "ADMet"));
    assert_eq!((other.disease.as_str(), other.region.as_deref()), ("nADMet", None), "another label is another lesion");

    let sizeless = archive.measure(None).unwrap();
    assert!(sizeless.iter().all(|lesion| lesion.area_mm2.is_none() && lesion.shape.is_none()));
    assert_eq!(sizeless[0].pixels, 100);

    let summary = report(&lesions, StudyCounts::default(), archive.path("out")).unwrap();
    assert_eq!((summary.lesions(), summary.diseases.clone()), (3, vec!["ADMet".to_owned(), "nADMet".to_owned()]));
    assert_eq!(summary.regions[0], ("not known".to_owned(), vec![0, 1]));
    assert_eq!(summary.share(&summary.uptake, &["150 to 200"]), Some(1.0 / 3.0));
    let table = fs::read_to_string(archive.path("out/lesions.csv")).unwrap();
    assert_eq!(table.lines().count(), 6);
    let second = "1,p1,ADMet,front.json,anterior,2,yes,ADMet,disease,pelvis,punctate,1,40.50,8.50,4,24.00,10.00,10.00,10.00";
    assert_eq!(table.lines().nth(2), Some(second));
    let regions = fs::read_to_string(archive.path("out/regions.csv")).unwrap();
    assert!(regions.starts_with("name,disease,lesions,share\n") && regions.contains("ribs,ADMet,1,0.5000\n"), "{regions}");
    fs::write(archive.path("front.report.txt"), "Two foci,\nribs and pelvis.").unwrap();
    studies(&Manifest::read(archive.path("m.csv")).unwrap(), &lesions, archive.path("out")).unwrap();
    let studies = fs::read_to_string(archive.path("out/studies.csv")).unwrap();
    assert!(studies.contains("1,p1,ADMet,front.png,3,1,\"Two foci,\nribs and pelvis.\""), "{studies}");
}

#[test]
fn tables_of_nothing_are_tables() {
    let folder = tempfile::tempdir().unwrap();
    let summary = report(&[], StudyCounts::default(), folder.path()).unwrap();
    assert_eq!((summary.lesions(), summary.share(&summary.shapes, &["patchy"])), (0, None));
    assert!(folder.path().join("lesions.png").is_file());
}

#[test]
fn what_does_not_fit_is_refused_in_a_sentence() {
    let archive = Archive::new();
    let said = || archive.measure(None).unwrap_err().to_string();
    assert!(said().contains("m.csv: lists no scan with an annotation beside it; save"), "{}", said());
    archive.put("front.json", vec![square("ADMet/rib", None, [8.0, 20.0, 18.0, 25.0])]);
    assert!(said().contains("front.json: outline 1 (ADMet/rib) has the code `rib`"), "{}", said());
    fs::write(archive.path("codes.csv"), "code,kind,name\nADMet,disease,\nrib,region,\n").unwrap();
    assert_eq!(archive.measure(None).unwrap()[0].region.as_deref(), Some("rib"));
    fs::write(archive.path("codes.csv"), "code,kind,name\nrib,region,\n").unwrap();
    assert!(said().contains("the code `ADMet`, which the table does not know; correct it, or add it to "), "{}", said());
    fs::remove_file(archive.path("codes.csv")).unwrap();
    fs::write(archive.path("front.json"), r#"{"shapes": [], "imageHeight": 32, "imageWidth": 32}"#).unwrap();
    assert!(said().contains("drawn on a picture of 32x32 pixels (rows x columns), and the scan has 64x32"), "{}", said());
    fs::remove_file(archive.path("front.json")).unwrap();
    fs::write(archive.path("m.csv"), "patient,anterior,posterior,label\np1,front.png,,ADMet\n").unwrap();
    archive.put("front.posterior.json", vec![]);
    assert!(said().contains("front.posterior.json: is of the posterior view, which the study lacks"), "{}", said());
}

/// How much of the simulator's truth must come back. Regions are codes in the labels, areas are counted on the very masks: all.
/// Of shapes, as much as the rule can tell: the limits were chosen on other phantoms (seed 77), where 88 % of the lesions that
/// the simulator drew as punctate, patchy or mottled came back; a lone spot of a mottled lesion that the others outshine, or two
/// patches that the outline at 40 % of the peak parts, are what the picture shows and not what was drawn. Uptake is measured
/// where no other finding's mask covers the lesion's, since the truth's peak is without what comes on top: nine in ten within a
/// fifth, the rest next to a hotter neighbour whose blur lies under them.
const SHAPES_AGREE: f64 = 0.82;
const UPTAKE_AGREES: f64 = 0.80;

#[test]
fn measures_of_phantoms_are_the_simulators_truth() {
    let folder = tempfile::tempdir().unwrap();
    let options = PhantomOptions {
        studies: 40,
        seed: 404,
        mix: [0.2, 1.0, 1.0],
        // Its counts are the paper's.
        simulator: phantom::SimulatorVersion::One,
        ..PhantomOptions::default()
    };
    let manifest = phantom::write(&options, folder.path(), &|_| ()).unwrap();
    phantom::annotate(&options, folder.path()).unwrap();
    let manifest = Manifest::read(manifest).unwrap();
    let measured = measure(&manifest, &MeasureOptions::default()).unwrap().lesions;
    let mut measured_views: BTreeMap<(usize, View), Vec<&Lesion>> = BTreeMap::new();
    measured.iter().for_each(|lesion| measured_views.entry((lesion.study, lesion.view)).or_default().push(lesion));
    let reports = annotation::reports(&manifest.rows).unwrap();

    let mut confusion: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let (mut lesions, mut benign, mut lone, mut within, mut ratios) = (0, 0, 0, 0, Vec::new());
    for (study, report) in reports.iter().enumerate() {
        let truth: Truth =
            serde_json::from_slice(&fs::read(folder.path().join(format!("truth/{:04}.json", study + 1))).unwrap()).unwrap();
        assert!(report.as_ref().unwrap().contains(&format!("{}-year-old", truth.age)));
        for view in [View::Anterior, View::Posterior] {
            let trace = |anterior: &'_ LesionInView, posterior: &'_ LesionInView| {
                if view == View::Anterior { anterior.clone() } else { posterior.clone() }
            };
            let shown = |lesion: &LesionTruth| trace(&lesion.anterior, &lesion.posterior);
            let findings = truth.benign.iter().map(|finding| (None, trace(&finding.anterior, &finding.posterior)));
            let all: Vec<(Option<&LesionTruth>, LesionInView)> =
                truth.lesions.iter().map(|lesion| (Some(lesion), shown(lesion))).chain(findings).collect();
            let seen: Vec<_> = all.iter().filter(|(_, trace)| trace.area() > 0).collect();
            let found = measured_views.remove(&(study, view)).unwrap_or_default();
            assert_eq!(found.len(), seen.len(), "study {study}, {view}");
            let masks: Vec<Mask> = seen.iter().map(|(_, trace)| Mask::from_runs(trace.mask.clone())).collect();
            for (at, (found, (lesion, trace))) in found.iter().zip(&seen).enumerate() {
                let area = trace.area() as f64 * f64::from(truth.pixel_mm).powi(2);
                assert_eq!(found.pixels, trace.area());
                assert!((found.area_mm2.unwrap() / area - 1.0).abs() < 1e-4);
                let Some(lesion) = lesion else {
                    assert_eq!(found.kind, CodeKind::Benign);
                    benign += 1;
                    continue;
                };
                assert_eq!((found.disease.as_str(), found.region.as_deref()), (truth.label.name(), Some(lesion.region.code())));
                lesions += 1;
                *confusion.entry((lesion.shape.name(), found.shape.unwrap().name())).or_default() += 1;
                if masks.iter().enumerate().all(|(other, mask)| other == at || mask.overlap(&masks[at]) == 0) {
                    let ratio = found.uptake / f64::from(trace.peak());
                    lone += 1;
                    within += usize::from((ratio - 1.0).abs() <= 0.2);
                    ratios.push(ratio);
                }
            }
        }
        // Counted once: a lesion that is seen at all.
        let numbers = measured.iter().filter(|lesion| lesion.study == study && lesion.counted).count();
        let seen = truth.lesions.iter().map(|lesion| [&lesion.anterior, &lesion.posterior]);
        let seen = seen.chain(truth.benign.iter().map(|finding| [&finding.anterior, &finding.posterior]));
        assert_eq!(numbers, seen.filter(|traces| traces.iter().any(|trace| trace.area() > 0)).count());
    }
    let three = LesionShape::ALL.map(LesionShape::name);
    let of_three: usize = confusion.iter().filter(|((truth, _), _)| three.contains(truth)).map(|(_, count)| count).sum();
    let agree: usize = confusion.iter().filter(|((truth, found), _)| truth == found).map(|(_, count)| count).sum();
    ratios.sort_by(f64::total_cmp);
    let shapes = agree as f64 / of_three as f64;
    let uptake = within as f64 / lone as f64;
    println!("{lesions} lesions and {benign} benign findings in views; drawn as, measured as: {confusion:?}");
    println!(
        "shapes agree in {agree} of {of_three} ({shapes:.3}); uptake of {lone} lone lesions: {uptake:.3} within 20 %, median ratio {:.3}",
        ratios[lone / 2]
    );
    assert!(lesions > 500 && benign > 50 && lone > 250);
    assert!(shapes >= SHAPES_AGREE && uptake >= UPTAKE_AGREES);
    assert!((0.97..1.08).contains(&ratios[lone / 2]));

    // Figure 12 in words, as the simulator's own test has it.
    let summary = Summary::of(&measured);
    let chest = summary.share(&summary.regions, &["vertebrae", "ribs"]).unwrap();
    let middle = summary.share(&summary.uptake, &["50 to 100"]).unwrap();
    println!("{} lesions counted once: {:.3} in the chest, {:.3} with 50 to 100 counts", summary.lesions(), chest, middle);
    assert!((0.5..0.8).contains(&chest) && (0.25..0.5).contains(&middle), "{chest} {middle}");
}
