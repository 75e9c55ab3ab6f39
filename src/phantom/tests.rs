use super::*;
use std::collections::HashSet;

/// Coarse pictures: the same patients and lesions as at full size, sixteen times faster.
fn coarse(studies: usize, seed: u64) -> PhantomOptions {
    PhantomOptions { studies, seed, rows: 256, columns: 64, ..PhantomOptions::default() }
}

/// The same by each simulator.
fn each_simulator(options: PhantomOptions) -> impl Iterator<Item = PhantomOptions> {
    SimulatorVersion::ALL.into_iter().map(move |simulator| PhantomOptions { simulator, ..options.clone() })
}

fn all(options: &PhantomOptions) -> Vec<Phantom> {
    let mut phantoms: Vec<Option<Phantom>> = vec![None; options.studies];
    par::chunks_mut(&mut phantoms, 1, |index, slot| slot[0] = Some(simulate(options, index)));
    phantoms.into_iter().flatten().collect()
}

/// Mean counts over a mask.
fn mean(image: &Image, mask: &[[u32; 3]]) -> f64 {
    let pixels = mask.iter().flat_map(|&[row, column, length]| &image.row(row as usize)[column as usize..][..length as usize]);
    let (sum, count) = pixels.fold((0.0, 0), |(sum, count), &pixel| (sum + f64::from(pixel), count + 1));
    sum / f64::from(count.max(1))
}

#[test]
fn a_study_depends_on_seed_and_index_only() {
    let ten = coarse(10, 5);
    let pools = [1, 3].map(|threads| par::Pool::new(threads).expect("threads").run(|| all(&ten)));
    assert_eq!(pools[0], pools[1]);
    assert_eq!(simulate(&coarse(1000, 5), 7), pools[0][7]);
    assert_ne!(simulate(&coarse(10, 6), 7).anterior, pools[0][7].anterior);
    assert_ne!(pools[0][6].anterior, pools[0][7].anterior);
}

#[test]
fn classes_come_in_their_shares() {
    for (mix, studies) in [([1.0, 1.0, 1.0], 300), ([614.0, 237.0, 160.0], 1011), ([0.0, 1.0, 1.0], 40)] {
        let options = PhantomOptions { studies, mix, ..PhantomOptions::default() };
        for (label, share) in Label::ALL.into_iter().zip(mix) {
            let count = (0..studies).filter(|&index| options.label(index) == label).count() as f64;
            let expected = studies as f64 * share / mix.iter().sum::<f64>();
            assert!((count - expected).abs() <= 3.0, "{label} in {mix:?}: {count}, expected {expected}");
            assert!(share > 0.0 || count == 0.0);
        }
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let base = PhantomOptions::default();
    for bad in [
        PhantomOptions { mix: [0.0; 3], ..base.clone() },
        PhantomOptions { mix: [1.0, -1.0, 1.0], ..base.clone() },
        PhantomOptions { mix: [f64::NAN, 1.0, 1.0], ..base.clone() },
        PhantomOptions { rows: 16, ..base.clone() },
        PhantomOptions { columns: 100_000, ..base.clone() },
        PhantomOptions { studies: 0, ..base.clone() },
        PhantomOptions { hospital: PhantomOptions::MOST_HOSPITALS + 1, ..base.clone() },
        PhantomOptions { hospital: 1, simulator: SimulatorVersion::One, ..base.clone() },
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
    assert!(base.check().is_ok());
}

#[test]
fn counts_are_those_of_a_real_scan_at_any_size() {
    let sizes = [(1024, 256), (512, 128), (256, 64), (384, 96)];
    let options = sizes.map(|(rows, columns)| PhantomOptions { rows, columns, ..PhantomOptions::default() });
    for options in options.into_iter().flat_map(each_simulator) {
        let PhantomOptions { rows, columns, simulator, .. } = options;
        let range = if simulator == SimulatorVersion::One { 1_300_000..5_500_000 } else { 270_000..7_000_000 };
        for index in 0..3 {
            let Phantom { anterior, posterior, truth, .. } = simulate(&options, index);
            assert_eq!((anterior.rows, anterior.columns, posterior.rows, posterior.columns), (rows, columns, rows, columns));
            for (view, counts) in [&anterior, &posterior].into_iter().zip(truth.counts) {
                assert!(range.contains(&counts), "{rows}x{columns}, study {index}: {counts}");
                assert!(view.pixels.iter().all(|&x| x.fract() == 0.0 && (0.0..=65535.0).contains(&x)));
            }
        }
        // The same patient, only coarser.
        let full = simulate(&PhantomOptions { rows: 1024, columns: 256, ..options.clone() }, 1).truth;
        let truth = simulate(&options, 1).truth;
        assert_eq!((truth.age, truth.sex, truth.lesions.len()), (full.age, full.sex, full.lesions.len()));
        let ratio = truth.counts[0] as f64 / full.counts[0] as f64;
        assert!((ratio - 1.0).abs() < 0.03, "{rows}x{columns} has {ratio} of the counts");
    }
}

/// Every mask is brighter than the ring around it, by what the truth says, in the view that the truth names: posterior masks are
/// mirrored with their image.
#[test]
fn masks_lie_on_visible_excess() {
    let mix = [0.0, 1.0, 1.0];
    let options = PhantomOptions { studies: 24, seed: 3, mix, rows: 512, columns: 128, ..PhantomOptions::default() };
    each_simulator(options).for_each(|options| masks_of(&options));
}

fn masks_of(options: &PhantomOptions) {
    let (mut seen, mut agree, mut elsewhere) = (0, 0, 0);
    for Phantom { anterior, posterior, truth, .. } in all(options) {
        let lesions = truth.lesions.iter().map(|lesion| [&lesion.anterior, &lesion.posterior]);
        let artefacts = truth.artefacts.iter().map(|artefact| [&artefact.anterior, &artefact.posterior]);
        for traces in lesions.chain(artefacts) {
            for (trace, image) in traces.into_iter().zip([&anterior, &posterior]) {
                for &[row, column, length] in &trace.mask {
                    assert!((row as usize) < image.rows && (column + length) as usize <= image.columns);
                }
                // Where a view shows it clearly against the noise of its background.
                if trace.area() == 0 || trace.excess < 6.0 * trace.background.sqrt() {
                    continue;
                }
                let inside = mean(image, &trace.mask);
                seen += 1;
                agree += usize::from(inside > f64::from(trace.background + 0.3 * trace.excess));
                let mirrored: Vec<[u32; 3]> = trace
                    .mask
                    .iter()
                    .map(|&[row, column, length]| [row, image.columns as u32 - column - length, length])
                    .collect();
                elsewhere += usize::from(mean(image, &mirrored) > f64::from(trace.background + 0.3 * trace.excess));
            }
        }
    }
    assert!(seen > 100, "{seen} clear lesions");
    assert!(agree * 100 >= seen * 90, "{agree} of {seen}");
    assert!(elsewhere * 100 <= seen * 45, "{elsewhere} of {seen} masks fit the mirrored place as well");
}

/// The sternum and the bladder face the front; spine, sacroiliac joints and kidneys the back.
#[test]
fn views_differ_as_depth_makes_them() {
    let options = PhantomOptions { studies: 12, mix: [1.0, 0.0, 0.0], ..coarse(12, 9) };
    let mut ratios = [0.0_f64; 2];
    for index in 0..options.studies {
        let chance = |stream| Random::new(options.seed, index as u64, stream);
        let mut random = chance(Stream::Patient);
        let scanning = Scanning::FIRST;
        let patient = body::Patient::draw(&scanning.bodies, &mut random);
        let field = Field::draw(options.rows, options.columns, &scanning, &patient, &mut random);
        let skeleton = skeleton::Skeleton::build(&patient, &mut random);
        let exposure = Exposure::new(field, scanning.camera, &patient, &skeleton, &[], None);
        let ratio = |name: &str| {
            let [front, back] = exposure.at(skeleton.find(name).expect("a bone"));
            f64::from(front / back)
        };
        ratios[0] += ratio("sternum").min(ratio("left pubis"));
        ratios[1] += ratio("left scapula").max(ratio("left sacroiliac joint")).max(ratio("L2"));
    }
    assert!(ratios[0] / 12.0 > 1.15, "front against back at the front: {}", ratios[0] / 12.0);
    assert!(ratios[1] / 12.0 < 0.85, "front against back at the back: {}", ratios[1] / 12.0);
}

/// The paper's figure 12 in words: what dominates, and what share of lesions reaches 50 to 100 counts.
#[test]
fn lesions_follow_the_papers_figure() {
    let mix = [0.0, 237.0, 160.0];
    each_simulator(PhantomOptions { mix, ..coarse(200, 11) }).for_each(|options| figure_of(&options));
}

fn figure_of(options: &PhantomOptions) {
    let phantoms = all(options);
    let lesions: Vec<&LesionTruth> = phantoms.iter().flat_map(|phantom| &phantom.truth.lesions).collect();
    let share =
        |is: &dyn Fn(&LesionTruth) -> bool| lesions.iter().filter(|lesion| is(lesion)).count() as f64 / lesions.len() as f64;
    let main =
        share(&|lesion| matches!(lesion.shape, SimulatedShape::Mottled | SimulatedShape::Patchy | SimulatedShape::Punctate));
    assert!((0.75..0.97).contains(&main), "mottled, patchy and punctate: {main}");
    let chest = share(&|lesion| matches!(lesion.region, Region::Vertebrae | Region::Ribs));
    assert!((0.5..0.8).contains(&chest), "vertebrae and ribs: {chest}");
    // A pixel of the coarse picture has the area of 16.
    let peak = |lesion: &LesionTruth| lesion.anterior.peak().max(lesion.posterior.peak()) / 16.0;
    let middle = share(&|lesion| (50.0..100.0).contains(&peak(lesion)));
    // Counts of simulator 2 are as many as dose, camera and speed make them.
    let is_first = options.simulator == SimulatorVersion::One;
    assert!(!is_first || (0.34..0.54).contains(&middle), "peaks from 50 to 100 counts: {middle}");
    assert!(lesions.iter().all(|lesion| lesion.uptake_ratio > 1.0 && lesion.size_cm > 0.0));
}

#[test]
fn labels_and_lesions_go_together() {
    for phantom in each_simulator(coarse(60, 13)).flat_map(|options| all(&options)) {
        assert_eq!(phantom.label, phantom.truth.label);
        assert_eq!(phantom.label == Label::NoMet, phantom.truth.lesions.is_empty(), "{}", phantom.truth.patient);
    }
}

#[test]
fn an_archive_is_manifest_studies_and_truth() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = coarse(18, 2);
    let told = std::cell::RefCell::new(Vec::new());
    let manifest = write(&options, folder.path(), &|done| told.borrow_mut().push(done)).expect("written");
    assert_eq!(told.into_inner(), [16, 18]);
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 19);
    assert_eq!(lines[0], "patient,anterior,posterior,label,simulated");
    assert_eq!(lines[18], format!("phantom-0018,studies/0018.dcm#1,studies/0018.dcm#2,{},2", options.label(17)));
    let truth = std::fs::read(folder.path().join("truth/0018.json")).expect("truth");
    let truth: Truth = serde_json::from_slice(&truth).expect("JSON");
    assert_eq!(truth, simulate(&options, 17).truth);
    let bytes = |name: &str| std::fs::read(folder.path().join(name)).expect("a study");
    let before = bytes("studies/0003.dcm");
    write(&options, folder.path(), &|_| ()).expect("written again");
    assert_eq!(before, bytes("studies/0003.dcm"));
}

/// A reader who knows every hot spot of a scan, but neither which are metastases nor what they are, still errs as often as the
/// task wants: a perfect score is impossible, guessing is far away.
///
/// The reader is a linear discriminant on sums over spots, taught on half of the patients and asked about the others.
#[test]
fn the_task_is_neither_trivial_nor_hopeless() {
    each_simulator(coarse(900, 21)).for_each(|options| task_of(&options));
}

fn task_of(options: &PhantomOptions) {
    let phantoms = all(options);
    let features: Vec<Vec<f64>> = phantoms.iter().map(|phantom| reader::features(&phantom.truth)).collect();
    let labels: Vec<usize> = phantoms.iter().map(|phantom| phantom.label as usize).collect();
    let half = phantoms.len() / 2;
    let classifier = reader::Discriminant::fit(&features[..half], &labels[..half], 3);
    let guesses: Vec<usize> = features[half..].iter().map(|x| classifier.classify(x)).collect();
    let score = |same: &dyn Fn(usize, usize) -> bool| {
        let right = guesses.iter().zip(&labels[half..]).filter(|&(&guess, &label)| same(guess, label)).count();
        right as f64 / guesses.len() as f64
    };
    let three = score(&|guess, label| guess == label);
    let two = score(&|guess, label| (guess == 0) == (label == 0));
    println!("simulator {}: three classes {three:.3}, metastatic or not {two:.3}", options.simulator);
    assert!((0.75..0.93).contains(&three), "three classes: {three}");
    assert!((0.86..0.98).contains(&two), "metastatic against not: {two}");
}

/// Who knows which spots are metastases, and all about each, still errs on one patient in ten: the classes are overlapping
/// distributions. Five-fold cross-validation of a logistic regression on counts of lesions by region and shape, uptake, size, age and
/// sex.
#[test]
fn a_perfect_list_of_lesions_leaves_one_patient_in_ten() {
    let truths = truths_of_1500();
    let features: Vec<Vec<f64>> = truths.iter().map(reader::features_of_lesions).collect();
    let labels: Vec<usize> = truths.iter().map(|truth| truth.label as usize).collect();
    let mut right = 0;
    for fold in 0..5 {
        let of = |is_tested: bool| (0..labels.len()).filter(move |at| (at % 5 == fold) == is_tested);
        let regression = reader::Regression::fit(&features, &labels, &of(false).collect::<Vec<_>>());
        right += of(true).filter(|&at| regression.classify(&features[at]) == labels[at]).count();
    }
    let share = right as f64 / labels.len() as f64;
    println!("three classes by lists of lesions {share:.3}");
    assert!((0.88..=0.92).contains(&share), "three classes: {share}");
}

/// Of simulator 2.
fn truths_of_1500() -> &'static [Truth] {
    static TRUTHS: std::sync::OnceLock<Vec<Truth>> = std::sync::OnceLock::new();
    TRUTHS.get_or_init(|| all(&coarse(1500, 41)).into_iter().map(|phantom| phantom.truth).collect())
}

/// What is benign, what is an artefact, and how a scan was made say nothing of the class. Four standard errors: one of some hundred
/// comparisons exceeds them once in 200 such tests, and the seed is fixed.
#[test]
fn only_lesions_depend_on_the_class() {
    let truths = truths_of_1500();
    let of = |label: Label| truths.iter().filter(move |truth| truth.label == label);
    let compare = |what: &str, classes: [Label; 2], value: &dyn Fn(&Truth) -> f64| {
        let [one, other] = classes.map(|label| {
            let values: Vec<f64> = of(label).map(value).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
            (mean, variance / values.len() as f64)
        });
        let error = (one.1 + other.1).sqrt();
        assert!(
            (one.0 - other.0).abs() <= 4.0 * error,
            "{what}: {:.4} of {}, {:.4} of {}",
            one.0,
            classes[0],
            other.0,
            classes[1]
        );
    };
    let pairs = [[Label::NoMet, Label::ADMet], [Label::ADMet, Label::NAdMet], [Label::NoMet, Label::NAdMet]];
    let benign: HashSet<Benign> = truths.iter().flat_map(|truth| &truth.benign).map(|finding| finding.kind).collect();
    let artefacts: HashSet<Artefact> = truths.iter().flat_map(|truth| &truth.artefacts).map(|artefact| artefact.kind).collect();
    assert_eq!((benign.len(), artefacts.len()), (8, 14), "{benign:?}, {artefacts:?}");
    for pair in pairs {
        for kind in &benign {
            let number = |truth: &Truth| truth.benign.iter().filter(|finding| finding.kind == *kind).count() as f64;
            compare(&format!("{kind:?}"), pair, &number);
        }
        for kind in &artefacts {
            let has = |truth: &Truth| f64::from(u8::from(truth.artefacts.iter().any(|artefact| artefact.kind == *kind)));
            if *kind != Artefact::DiffuseSuperscan {
                compare(&format!("{kind:?}"), pair, &has);
            } else if pair == [Label::ADMet, Label::NAdMet] {
                compare("diffuse superscan", pair, &has);
                assert!(of(Label::NoMet).all(|truth| has(truth) == 0.0), "a diffuse superscan without metastases");
            }
        }
        let protocol = |truth: &Truth| truth.protocol.expect("simulator 2 says how it scanned");
        compare("age", pair, &|truth| truth.age.into());
        compare("sex", pair, &|truth| f64::from(u8::from(truth.sex == 'M')));
        compare("stature", pair, &|truth| truth.stature_cm.into());
        compare("pixel", pair, &|truth| truth.pixel_mm.into());
        compare("dose", pair, &|truth| protocol(truth).dose_mbq.into());
        compare("speed", pair, &|truth| protocol(truth).speed_cm_min.into());
        compare("delay", pair, &|truth| protocol(truth).delay_h.into());
    }
}

/// What lies beneath a medallion or a buckle is darker than it would be without, in front and not behind.
#[test]
fn metal_is_cold_where_the_truth_says_so() {
    let options = PhantomOptions { studies: 150, seed: 6, rows: 512, columns: 128, ..PhantomOptions::default() };
    let (mut objects, mut cold) = (0, 0);
    for phantom in all(&options) {
        for artefact in phantom.truth.artefacts.iter().filter(|artefact| artefact.kind == Artefact::Metal) {
            assert!(artefact.posterior.mask.is_empty() && artefact.anterior.excess < 0.0, "{artefact:?}");
            let trace = &artefact.anterior;
            objects += 1;
            cold += usize::from(mean(&phantom.anterior, &trace.mask) < 0.7 * f64::from(trace.background));
        }
    }
    assert!(objects >= 5 && cold * 10 >= objects * 8, "{cold} of {objects}");
}

/// A run above the seam stays and one below it moves; one that the patch repeats is at both places.
#[test]
fn a_patch_takes_masks_along() {
    let patch = camera::Patch { row: 100, down: 5, right: -3, brightness: 2.0 };
    let mask = vec![[90, 8, 4], [97, 1, 4], [120, 8, 4], [127, 8, 4]];
    let mut trace = LesionInView { row: 120, column: 10, excess: 4.0, background: 3.0, mask };
    patch.apply(&mut trace, (128, 32));
    assert_eq!(trace.mask, [[90, 8, 4], [97, 1, 4], [102, 0, 2], [125, 5, 4]]);
    assert_eq!((trace.row, trace.column, trace.excess, trace.background), (125, 7, 8.0, 6.0));
}

#[test]
fn each_hospital_has_its_camera() {
    for (hospital, pixel_mm, counts) in [(1, 2.26, 1_700_000..5_500_000), (2, 2.40, 280_000..1_000_000)] {
        for phantom in all(&PhantomOptions { hospital, ..coarse(40, 2) }) {
            let truth = phantom.truth;
            assert!(truth.counts.iter().all(|total| counts.contains(total)), "hospital {hospital}: {:?}", truth.counts);
            // A pixel of the coarse picture is as wide as four of the full one.
            assert!((truth.pixel_mm / 4.0 - pixel_mm).abs() < 1e-3, "hospital {hospital}: {}", truth.pixel_mm);
            assert_eq!(truth.protocol.map(|protocol| protocol.hospital), Some(hospital));
        }
    }
}

mod reader {
    //! A reader of truths: features of the hot spots, and a linear discriminant.

    use super::*;

    pub fn features(truth: &Truth) -> Vec<f64> {
        // Region, excess, pixels: what a spot looks like, whatever its cause.
        let spot = |region: Region, traces: [&LesionInView; 2]| {
            let best = if traces[0].excess >= traces[1].excess { traces[0] } else { traces[1] };
            (
                region,
                f64::from(best.excess) / 16.0,
                best.area() as f64,
                f64::from(best.excess) / f64::from(best.background).sqrt(),
            )
        };
        let lesions = truth.lesions.iter().map(|lesion| spot(lesion.region, [&lesion.anterior, &lesion.posterior]));
        let benign = truth.benign.iter().map(|finding| {
            let region = match finding.kind {
                Benign::Knee | Benign::SmallJoint => Region::Distal,
                Benign::Shoulder => Region::Girdle,
                Benign::Hip => Region::Pelvis,
                Benign::Spine => Region::Vertebrae,
                Benign::RibFracture => Region::Ribs,
                Benign::Dental | Benign::Sinus => Region::Skull,
            };
            spot(region, [&finding.anterior, &finding.posterior])
        });
        let spots: Vec<_> =
            lesions.chain(benign).filter(|&(region, _, _, contrast)| contrast > 6.0 && region != Region::Distal).collect();
        let count = |regions: &[Region]| spots.iter().filter(|spot| regions.contains(&spot.0)).count() as f64;
        let chest = count(&[Region::Vertebrae, Region::Ribs]);
        let away = count(&[Region::Pelvis, Region::Skull, Region::LongBones]);
        let number = spots.len() as f64;
        let average = |value: fn(&(Region, f64, f64, f64)) -> f64| spots.iter().map(value).sum::<f64>() / number.max(1.0);
        let sum: f64 = spots.iter().map(|spot| spot.1 * spot.2).sum();
        let hottest = spots.iter().map(|spot| spot.1).fold(0.0, f64::max);
        let logs = [number, chest, away, count(&[Region::Girdle]), average(|spot| spot.1), average(|spot| spot.2), sum, hottest];
        let mut features: Vec<f64> = logs.iter().map(|x| (1.0 + x).ln()).collect();
        features.push(away / number.max(1.0));
        features.push(f64::from(u8::from(spots.is_empty())));
        features
    }

    /// Everything that a list of metastases says.
    pub fn features_of_lesions(truth: &Truth) -> Vec<f64> {
        use Region::{Distal, Girdle, LongBones, Pelvis, Ribs, Skull, Vertebrae};
        use SimulatedShape::{Linear, Mottled, Patchy, Punctate, Ring};
        let lesions = &truth.lesions;
        let number = lesions.len() as f64;
        let count = |is: &dyn Fn(&LesionTruth) -> bool| lesions.iter().filter(|lesion| is(lesion)).count() as f64;
        let mut features = vec![number.ln_1p(), f64::from(truth.age), f64::from(u8::from(truth.sex == 'M'))];
        for region in [Skull, Vertebrae, Ribs, Girdle, Pelvis, LongBones, Distal] {
            features.push(count(&|lesion| lesion.region == region).ln_1p());
        }
        for shape in [Punctate, Patchy, Mottled, Linear, Ring] {
            features.push(count(&|lesion| lesion.shape == shape).ln_1p());
        }
        features.push(count(&|lesion| matches!(lesion.region, Pelvis | Skull | LongBones)) / number.max(1.0));
        for value in [|lesion: &LesionTruth| lesion.uptake_ratio, |lesion: &LesionTruth| lesion.size_cm] {
            let logs: Vec<f64> = lesions.iter().map(|lesion| f64::from(value(lesion)).ln()).collect();
            let mean = logs.iter().sum::<f64>() / number.max(1.0);
            let deviation = (logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / number.max(1.0)).sqrt();
            features.extend([mean, deviation, logs.iter().copied().fold(0.0, f64::max)]);
        }
        features
    }

    /// Multinomial logistic regression of three classes on standardised features, with the penalty `|w|^2 / 2` that scikit-learn has
    /// too.
    pub struct Regression {
        mean: Vec<f64>,
        deviation: Vec<f64>,
        /// (class, feature), the last of each the offset.
        weights: [Vec<f64>; 3],
    }

    impl Regression {
        /// Fits it on the samples `chosen`, by gradient descent with momentum.
        pub fn fit(features: &[Vec<f64>], labels: &[usize], chosen: &[usize]) -> Self {
            let (size, samples) = (features[0].len(), chosen.len() as f64);
            let average = |at: usize, value: &dyn Fn(f64) -> f64| {
                chosen.iter().map(|&sample| value(features[sample][at])).sum::<f64>() / samples
            };
            let mean: Vec<f64> = (0..size).map(|at| average(at, &|x| x)).collect();
            let deviation = (0..size).map(|at| average(at, &|x| (x - mean[at]).powi(2)).sqrt().max(1e-9)).collect();
            let mut regression = Regression { mean, deviation, weights: [0; 3].map(|_| vec![0.0; size + 1]) };
            let inputs: Vec<Vec<f64>> = chosen.iter().map(|&sample| regression.standard(&features[sample])).collect();
            let mut velocity = [0; 3].map(|_| vec![0.0; size + 1]);
            for _ in 0..1500 {
                let mut gradient = regression.weights.clone();
                gradient.iter_mut().for_each(|row| row[size] = 0.0);
                for (x, &sample) in inputs.iter().zip(chosen) {
                    let logits = regression.logits(x);
                    let most = logits.iter().copied().fold(f64::MIN, f64::max);
                    let exponents = logits.map(|logit| (logit - most).exp());
                    let sum: f64 = exponents.iter().sum();
                    for (class, slopes) in gradient.iter_mut().enumerate() {
                        let error = exponents[class] / sum - f64::from(u8::from(labels[sample] == class));
                        slopes.iter_mut().zip(x).for_each(|(slope, x)| *slope += error * x);
                    }
                }
                for ((weights, speeds), slopes) in regression.weights.iter_mut().zip(&mut velocity).zip(&gradient) {
                    for ((weight, speed), slope) in weights.iter_mut().zip(speeds).zip(slopes) {
                        *speed = 0.9 * *speed - 0.1 * slope / samples;
                        *weight += *speed;
                    }
                }
            }
            regression
        }

        pub fn classify(&self, features: &[f64]) -> usize {
            let logits = self.logits(&self.standard(features));
            (0..3).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or(0)
        }

        fn standard(&self, features: &[f64]) -> Vec<f64> {
            let scaled = features.iter().zip(&self.mean).zip(&self.deviation);
            scaled.map(|((x, mean), deviation)| (x - mean) / deviation).chain([1.0]).collect()
        }

        fn logits(&self, x: &[f64]) -> [f64; 3] {
            [0, 1, 2].map(|class| self.weights[class].iter().zip(x).map(|(weight, x)| weight * x).sum())
        }
    }

    /// Gaussian classes with one covariance: `argmax x' S^-1 m - m' S^-1 m / 2`.
    pub struct Discriminant(Vec<(Vec<f64>, f64)>);

    impl Discriminant {
        pub fn fit(features: &[Vec<f64>], labels: &[usize], classes: usize) -> Self {
            let size = features[0].len();
            let means: Vec<Vec<f64>> = (0..classes)
                .map(|class| {
                    let members: Vec<_> =
                        features.iter().zip(labels).filter(|(_, label)| **label == class).map(|(x, _)| x).collect();
                    (0..size).map(|k| members.iter().map(|x| x[k]).sum::<f64>() / members.len() as f64).collect()
                })
                .collect();
            let mut covariance = vec![vec![0.0; size]; size];
            for (x, &label) in features.iter().zip(labels) {
                for (i, row) in covariance.iter_mut().enumerate() {
                    for (j, value) in row.iter_mut().enumerate() {
                        *value += (x[i] - means[label][i]) * (x[j] - means[label][j]) / features.len() as f64;
                    }
                }
            }
            for (i, row) in covariance.iter_mut().enumerate() {
                row[i] += 1e-6;
            }
            let weights = means.into_iter().map(|mean| {
                let weight = solve(covariance.clone(), mean.clone());
                let offset = -0.5 * weight.iter().zip(&mean).map(|(w, m)| w * m).sum::<f64>();
                (weight, offset)
            });
            Discriminant(weights.collect())
        }

        pub fn classify(&self, x: &[f64]) -> usize {
            let score = |(weight, offset): &(Vec<f64>, f64)| offset + weight.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
            let scores: Vec<f64> = self.0.iter().map(score).collect();
            (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap_or(0)
        }
    }

    /// Gaussian elimination with a positive definite matrix.
    fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
        let size = right.len();
        for pivot in 0..size {
            let (done, below) = matrix.split_at_mut(pivot + 1);
            for (k, row) in below.iter_mut().enumerate() {
                let factor = row[pivot] / done[pivot][pivot];
                for (value, above) in row.iter_mut().zip(&done[pivot]) {
                    *value -= factor * above;
                }
                right[pivot + 1 + k] -= factor * right[pivot];
            }
        }
        for pivot in (0..size).rev() {
            let known: f64 = (pivot + 1..size).map(|k| matrix[pivot][k] * right[k]).sum();
            right[pivot] = (right[pivot] - known) / matrix[pivot][pivot];
        }
        right
    }
}

/// The hashes are of what the program wrote when it had one simulator: two archives of twelve coarse studies.
#[test]
fn simulator_1_writes_the_bytes_that_it_always_wrote() {
    let names = ["manifest.csv", "studies/0001.dcm", "studies/0007.dcm", "truth/0001.json", "truth/0007.json"];
    let names = names.into_iter().chain(["studies/0007.anterior.json", "studies/0007.report.txt"]);
    let (seed_5, seed_77) = (
        [
            "39d3d2b6a689c226081f00bb4938a97880a110fdfd150a934789128a4ed0ae9b",
            "3e7b1c1c944e71418f80061f25d230ba451800bc4dca81baf69607980400777f",
            "5c8bdc2657e25146abc9381a14ea95caaaa80c9b4703cf9a17bf50ca5c2ba1af",
            "00a7e8be52923f4553e0a011f3d4cc1186e0970f6cc2c329c8f72f585d674ef1",
            "1b8c9668999a7ce59b0f12d6351fd3899fa0636ce1ed76ec34ba66f019ff7479",
            "77cd27c9fefd16a08c6ee4fd326215191b70e05cd015025b3381c9b112293432",
            "79edf290414608270bf22031f6131f7791fd6e2430fed5cee9d1493a02bab446",
        ],
        [
            "f30cc32c094d754b2a4d2dc24df3aacba31e3fa17b0cbba2055a815cada6220a",
            "55eaf2c936f5738053d6a85b820b72c94b501c18889cc87920faddc367a78929",
            "9ccdc2a052be07007c0692d10bd381a7178c33eaac069ba3a737b4041de2055c",
            "83a946a3db7742b4f2fc30bc8615493388e8445a79cfbc7af3df57dfed9b019e",
            "8cbd400803a7c3928a3121cf160c38f244bcf5a1e45007e11465acc7a26386da",
            "6f2d1f2baa99e09c31175de7c3ac2d658220800c69eb4a515fcdb0008559d379",
            "b61e58d4f9b9c4a95b742acd14ddbe3f3fcf25caa1672687423886a709e87e2c",
        ],
    );
    let first = |seed| PhantomOptions { simulator: SimulatorVersion::One, ..coarse(12, seed) };
    for (options, hashes) in [(first(5), seed_5), (PhantomOptions { mix: [614.0, 237.0, 160.0], ..first(77) }, seed_77)] {
        let folder = tempfile::tempdir().expect("a folder");
        write(&options, folder.path(), &|_| ()).expect("written");
        annotate(&options, folder.path()).expect("written");
        for (name, hash) in names.clone().zip(hashes) {
            let bytes = std::fs::read(folder.path().join(name)).expect("a file");
            assert_eq!(files::sha256(&bytes), hash, "{name} of seed {}", options.seed);
        }
    }
}
