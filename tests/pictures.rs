//! Pictures, and what pixels say of a view: black on white, lying, two bodies, none; cut JPEGs, EXIF orientation, wrapped counts.
//!
//! Phantoms in seven sizes, and what a department or an archive does to them. How far the measures lie apart is in benches/NOTES.md.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use osteon::image::{Image, jpeg_is_whole};
use osteon::intake::checks::{Finding, finding, is_inverted};
use osteon::intake::picture::{self, Picture};
use osteon::phantom::{PhantomOptions, SimulatorVersion, simulate};
use proptest::prelude::*;
use std::path::Path;

fn image(rows: usize, columns: usize, pixel: impl Fn(usize, usize) -> f32) -> Image {
    Image { rows, columns, pixels: (0..rows * columns).map(|at| pixel(at / columns, at % columns)).collect() }
}

/// The pixel, or nothing outside.
fn at(view: &Image, row: f64, column: f64) -> f32 {
    let inside = (0.0..view.rows as f64).contains(&row) && (0.0..view.columns as f64).contains(&column);
    if inside { view.pixels[row as usize * view.columns + column as usize] } else { 0.0 }
}

fn map(view: &Image, change: impl Fn(f32) -> f32) -> Image {
    Image { pixels: view.pixels.iter().map(|pixel| change(*pixel)).collect(), ..*view }
}

/// Moved, turned around the centre and scaled.
fn placed(view: &Image, [down, right]: [f64; 2], angle_deg: f64, scale: f64) -> Image {
    let (sine, cosine) = angle_deg.to_radians().sin_cos();
    let [middle, centre] = [view.rows as f64 / 2.0, view.columns as f64 / 2.0];
    image(view.rows, view.columns, |row, column| {
        let (y, x) = ((row as f64 + 0.5 - down - middle) / scale, (column as f64 + 0.5 - right - centre) / scale);
        at(view, cosine * y + sine * x + middle, cosine * x - sine * y + centre)
    })
}

fn rows_of(view: &Image, first: usize, end: usize) -> Image {
    image(end - first, view.columns, |row, column| view.pixels[(row + first) * view.columns + column])
}

fn resized(view: &Image, rows: usize, columns: usize) -> Image {
    image(rows, columns, |row, column| view.pixels[row * view.rows / rows * view.columns + column * view.columns / columns])
}

/// In the middle of a matrix of zeros.
fn amid(view: &Image, rows: usize, columns: usize) -> Image {
    let [down, right] = [(rows - view.rows) / 2, (columns - view.columns) / 2].map(|by| by as f64);
    image(rows, columns, |row, column| at(view, row as f64 - down, column as f64 - right))
}

fn transposed(view: &Image) -> Image {
    image(view.columns, view.rows, |row, column| view.pixels[column * view.columns + row])
}

fn beside(one: &Image, other: &Image, gap: usize) -> Image {
    let second = one.columns + gap;
    image(one.rows.max(other.rows), second + other.columns, |row, column| match column {
        _ if column < one.columns => at(one, row as f64, column as f64),
        _ if column < second => 0.0,
        _ => at(other, row as f64, (column - second) as f64),
    })
}

fn above(one: &Image, other: &Image, gap: usize) -> Image {
    transposed(&beside(&transposed(one), &transposed(other), gap))
}

/// The same numbers from 0 to 1 for a seed.
fn numbers(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// Each count kept with a probability.
fn thinned(view: &Image, share: f32) -> Image {
    let mut number = numbers(3);
    Image {
        pixels: view.pixels.iter().map(|count| (0..*count as u32).filter(|_| number() < share).count() as f32).collect(),
        ..*view
    }
}

/// 8 bits: a share of the largest count is white, raised to a power.
fn windowed(view: &Image, share: f32, power: f32) -> Image {
    let white = view.pixels.iter().copied().fold(1.0, f32::max) * share;
    map(view, |count| ((count / white).min(1.0).powf(power) * 255.0).round())
}

fn framed(view: &Image, value: f32) -> Image {
    let width = (view.columns / 100).max(1);
    image(view.rows, view.columns, |row, column| {
        let inside = |at: usize, length: usize| (width..length - width).contains(&at);
        if inside(row, view.rows) && inside(column, view.columns) { at(view, row as f64, column as f64) } else { value }
    })
}

/// The views of a phantom; the smallest size is a sum of pixels, as no phantom is so small.
fn phantom(rows: usize, columns: usize, seed: u64, index: usize, simulator: SimulatorVersion) -> [Image; 2] {
    let factor = if columns < 32 { 4 } else { 1 };
    let (rows_made, columns_made) = (rows * factor, columns * factor);
    let options = PhantomOptions { seed, rows: rows_made, columns: columns_made, simulator, ..PhantomOptions::default() };
    let study = simulate(&options, index);
    [study.anterior, study.posterior].map(|view| {
        image(rows, columns, |row, column| {
            let cells = (0..factor * factor).map(|cell| (row * factor + cell / factor, column * factor + cell % factor));
            cells.map(|(row, column)| view.pixels[row * view.columns + column]).sum()
        })
    })
}

/// Rows, columns, how many phantoms of each seed.
const SIZES: [(usize, usize, usize); 6] =
    [(1024, 256, 2), (512, 128, 4), (256, 64, 20), (192, 48, 20), (128, 32, 20), (64, 16, 20)];

fn phantoms(simulator: SimulatorVersion) -> impl Iterator<Item = [Image; 2]> {
    SIZES.into_iter().flat_map(move |(rows, columns, studies)| {
        (0..studies * 2).map(move |index| phantom(rows, columns, 1 + index as u64 % 2, index / 2, simulator))
    })
}

fn expect(view: &Image, expected: Option<Finding>, what: &str) {
    assert_eq!(finding(view, None), expected, "{what}, {}x{}", view.rows, view.columns);
}

#[test]
fn an_upright_body_is_never_refused() {
    for [anterior, posterior] in SimulatorVersion::ALL.into_iter().flat_map(phantoms) {
        for view in [anterior, posterior] {
            let (rows, columns) = (view.rows, view.columns);
            let [down, right] = [rows as f64, columns as f64];
            let upright = [
                ("as it is", view.clone()),
                ("a quarter of the counts", thinned(&view, 0.25)),
                ("a tenth of the counts", thinned(&view, 0.1)),
                ("turned by 10 degrees", placed(&view, [0.0; 2], 10.0, 1.0)),
                ("turned by -10 degrees", placed(&view, [0.0; 2], -10.0, 1.0)),
                ("moved", placed(&view, [down / 12.0, right / 8.0], 0.0, 1.0)),
                ("one arm outside", placed(&view, [0.0, right / 5.0], 0.0, 1.0)),
                ("smaller", placed(&view, [0.0; 2], 0.0, 0.8)),
                ("without feet", rows_of(&view, 0, rows * 85 / 100)),
                ("without lower legs", rows_of(&view, 0, rows * 3 / 4)),
                ("without head", rows_of(&view, rows * 18 / 100, rows)),
                ("in a square", amid(&view, rows, rows)),
                ("in half a square", amid(&view, rows, rows / 2)),
                ("stretched", resized(&view, rows, columns * 2)),
                ("squashed to a square", resized(&view, columns * 2, columns * 2)),
                ("8 bits", windowed(&view, 1.0, 1.0)),
                ("8 bits, square root", windowed(&view, 1.0, 0.5)),
                ("8 bits, a tenth is white", windowed(&view, 0.1, 1.0)),
                ("8 bits, a fiftieth is white", windowed(&view, 0.02, 1.0)),
                ("in a white frame", framed(&windowed(&view, 0.3, 0.5), 255.0)),
            ];
            for (what, view) in upright {
                expect(&view, None, what);
            }
            // Pixels four times as high as wide, which the file says.
            let flat = resized(&view, rows / 4, columns);
            assert_eq!(finding(&flat, Some([9.6, 2.4])), None);
        }
    }
}

/// Two phantoms whose waist is so faint between chest and pelvis that the rows there are as empty as between two bodies.
#[test]
fn a_faint_waist_does_not_make_two_bodies() {
    for index in [336, 698] {
        let options =
            PhantomOptions { studies: 700, seed: 22, simulator: SimulatorVersion::Two, hospital: 2, ..PhantomOptions::default() };
        let study = simulate(&options, index);
        for view in [study.anterior, study.posterior] {
            expect(&view, None, "a faint waist");
        }
    }
}

#[test]
fn what_is_no_upright_body_is_named() {
    // The rows of the chest are those where simulator 1 lays it.
    for [anterior, posterior] in phantoms(SimulatorVersion::One) {
        for view in [&anterior, &posterior] {
            let (rows, columns) = (view.rows, view.columns);
            let lying = transposed(view);
            for (what, lying) in [("lying", lying.clone()), ("lying in a square", amid(&lying, rows, rows))] {
                expect(&lying, Some(Finding::Lying), what);
            }
            let upside_down = image(rows, columns, |row, column| view.pixels[(rows - 1 - row) * columns + column]);
            expect(&upside_down, Some(Finding::UpsideDown), "upside down");
            for (what, light) in [
                ("16 bits", view.clone()),
                ("8 bits", windowed(view, 1.0, 1.0)),
                ("square root", windowed(view, 1.0, 0.5)),
                ("a tenth is white", windowed(view, 0.1, 1.0)),
                ("a fiftieth is white", windowed(view, 0.02, 1.0)),
                ("in a square", amid(&windowed(view, 0.1, 1.0), rows, rows)),
                ("in a frame", framed(&windowed(view, 0.3, 0.5), 255.0)),
            ] {
                let bits = if what == "16 bits" { 16 } else { 8 };
                let black_on_white = picture::inverted(&light, bits);
                expect(&black_on_white, Some(Finding::Inverted), what);
                assert!(is_inverted(&black_on_white) && !is_inverted(&light), "{what}, {rows}x{columns}");
                assert_eq!(picture::inverted(&black_on_white, bits), light, "{what}");
            }
            let chest = rows_of(view, rows * 18 / 100, rows * 18 / 100 + columns);
            expect(&chest, Some(Finding::NotTall), "a spot view of the chest");
        }
        let (rows, columns) = (anterior.rows, anterior.columns);
        let small = resized(&posterior, rows * 55 / 100, columns * 55 / 100);
        for (what, two) in [
            ("no gap", beside(&anterior, &posterior, 0)),
            ("a gap", beside(&anterior, &posterior, columns / 4)),
            ("fewer counts", beside(&anterior, &map(&posterior, |count| (count * 0.4).round()), 0)),
            ("smaller body", beside(&anterior, &placed(&posterior, [0.0; 2], 0.0, 0.7), 0)),
            ("smaller picture", beside(&anterior, &small, 0)),
            ("square root", map(&beside(&anterior, &posterior, 0), f32::sqrt)),
        ] {
            expect(&two, Some(Finding::SideBySide), what);
        }
        for (what, two) in [
            ("no gap", above(&anterior, &posterior, 0)),
            ("a gap", above(&anterior, &posterior, rows / 8)),
            ("smaller picture", above(&anterior, &small, 0)),
        ] {
            expect(&two, Some(Finding::Stacked), what);
        }
    }
}

#[test]
fn noise_and_nothing_are_no_body() {
    for (rows, columns, _) in SIZES {
        for seed in 0..20 {
            let noise = |value: fn(f32) -> f32| {
                let mut number = numbers(seed);
                Image { rows, columns, pixels: (0..rows * columns).map(|_| value(number())).collect() }
            };
            for (what, noise) in [
                ("even", noise(|number| (number * 256.0).floor())),
                ("flat", noise(|number| (100.0 + 20.0 * number).floor())),
                ("exponential", noise(|number| (-50.0 * (1.0 - number).ln()).floor())),
            ] {
                expect(&noise, Some(Finding::NoBody), what);
            }
        }
        expect(&Image::zeros(rows, columns), Some(Finding::NoBody), "zeros");
    }
    expect(&Image::zeros(0, 0), Some(Finding::NoBody), "no pixels");
}

#[test]
fn each_finding_is_a_sentence_with_the_words_that_one_looks_for() {
    for (finding, words) in [
        (Finding::Inverted, ["black on white", "--inverted"]),
        (Finding::NoBody, ["no body", "--any-image"]),
        (Finding::NotTall, ["whole body", "--any-image"]),
        (Finding::Lying, ["lies on its side", "turn it by 90 degrees"]),
        (Finding::UpsideDown, ["upside down", "turn it by 180 degrees"]),
        (Finding::SideBySide, ["two bodies side by side", "its two views"]),
        (Finding::Stacked, ["two bodies", "its two views"]),
    ] {
        assert!(Finding::ALL.contains(&finding));
        let said = finding.to_string();
        assert!(words.iter().all(|word| said.contains(word)) && said.matches("; ").count() == 1, "{said}");
    }
}

#[test]
fn the_real_scan_is_upright() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data/nm1/NM1_UNC"))
        .find(|path| path.exists());
    let Some(path) = path else {
        println!("skipped: ../shared/data/nm1/NM1_UNC is not here");
        return;
    };
    let view = osteon::dicom::read(&path).unwrap().remove(0).image;
    let sum: f64 = view.pixels.iter().map(|count| f64::from(*count)).sum();
    assert_eq!(sum, 3596452.0);
    for (rows, columns) in [(1024, 256), (256, 64), (128, 32)] {
        let view = resized(&view, rows, columns);
        expect(&view, None, "NM1");
        expect(&thinned(&view, 0.25), None, "NM1, a quarter of the counts");
        expect(&transposed(&view), Some(Finding::Lying), "NM1");
        expect(&beside(&view, &view, 0), Some(Finding::SideBySide), "NM1");
        expect(&map(&view, |count| 65535.0 - count), Some(Finding::Inverted), "NM1");
    }
}

fn jpeg(view: &Image, quality: u8) -> Vec<u8> {
    let pixels: Vec<u8> = view.pixels.iter().map(|pixel| *pixel as u8).collect();
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    encoder.write_image(&pixels, view.columns as u32, view.rows as u32, ExtendedColorType::L8).unwrap();
    bytes
}

/// Read from bytes.
fn read(bytes: &[u8]) -> osteon::Result<Picture> {
    picture::read_bytes(bytes, "a.jpg")
}

#[test]
fn a_jpeg_cut_anywhere_is_refused_and_what_follows_its_end_is_of_no_account() {
    let [view, _] = phantom(128, 32, 1, 0, SimulatorVersion::One);
    let own = jpeg(&windowed(&view, 0.3, 0.5), 85);
    let others: [&[u8]; 3] = [
        include_bytes!("pictures/progressive.jpg"),
        include_bytes!("pictures/colour.jpg"),
        include_bytes!("pictures/restarts.jpg"),
    ];
    for whole in others.into_iter().chain([&own[..]]) {
        let picture = read(whole).unwrap();
        for more in [&b"\0"[..], &[0; 64], b"appended by an archive", &[0xff; 3]] {
            assert_eq!(read(&[whole, more].concat()).unwrap(), picture);
        }
        let data = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        for end in 4..whole.len() - 2 {
            let cut = &whole[..end];
            assert!(!jpeg_is_whole(cut), "{end} of {} bytes", whole.len());
            let said = read(cut).unwrap_err().to_string();
            assert_eq!(said, "a.jpg: is cut short or damaged; copy or export it again", "{end} of {} bytes", whole.len());
            // An end without what was before it.
            if end > data && end < whole.len() - 3 {
                assert!(!jpeg_is_whole(&[cut, &[0xff, 0xd9]].concat()), "{end} of {} bytes and an end", whole.len());
            }
        }
    }
    // A part from the middle, from one restart to the next.
    let restarts: &[u8] = others[2];
    let markers: Vec<usize> =
        (0..restarts.len() - 1).filter(|at| restarts[*at] == 0xff && (0xd0..0xd8).contains(&restarts[at + 1])).collect();
    let short = [&restarts[..markers[1]], &restarts[markers[2]..]].concat();
    assert!(!jpeg_is_whole(&short) && read(&short).is_err());
}

/// A block of EXIF that says an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    [&b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[orientation], &[0; 6]].concat()
}

/// The JPEG with a segment of EXIF behind its beginning.
fn jpeg_with_exif(bytes: &[u8], orientation: u8) -> Vec<u8> {
    let content = [b"Exif\0\0", &exif(orientation)[..]].concat();
    [&bytes[..2], &[0xff, 0xe1], &(content.len() as u16 + 2).to_be_bytes(), &content, &bytes[2..]].concat()
}

/// The PNG with a chunk eXIf before or behind its pixels.
fn png_with_exif(bytes: &[u8], orientation: u8, behind: bool) -> Vec<u8> {
    let content = [b"eXIf", &exif(orientation)[..]].concat();
    let length = (content.len() as u32 - 4).to_be_bytes();
    let mut crc = !0u32;
    for byte in &content {
        crc = (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 });
    }
    let at = if behind { bytes.len() - 12 } else { 33 };
    [&bytes[..at], &length, &content, &(!crc).to_be_bytes(), &bytes[at..]].concat()
}

/// The picture as EXIF 2.3, tag 0112, says that it is to be seen: where row 0 and column 0 of the stored pixels are.
fn seen(stored: &Image, orientation: u8) -> Image {
    let (rows, columns) = (stored.rows, stored.columns);
    let [high, wide] = if (5..9).contains(&orientation) { [columns, rows] } else { [rows, columns] };
    image(high, wide, |row, column| {
        let (row, column) = match orientation {
            2 => (row, columns - 1 - column),            // row 0 is the top, column 0 the right
            3 => (rows - 1 - row, columns - 1 - column), // bottom, right
            4 => (rows - 1 - row, column),               // bottom, left
            5 => (column, row),                          // left, top
            6 => (rows - 1 - column, row),               // right, top
            7 => (rows - 1 - column, columns - 1 - row), // right, bottom
            8 => (column, columns - 1 - row),            // left, bottom
            _ => (row, column),
        };
        stored.pixels[row * columns + column]
    })
}

proptest! {
    #[test]
    fn orientations_are_applied_exactly_and_said(rows in 1usize..20, columns in 2usize..20, orientation in 0u8..10) {
        let stored = image(rows, columns, |row, column| ((row * 31 + column * 7) % 251) as f32);
        let pixels: Vec<u8> = stored.pixels.iter().map(|pixel| *pixel as u8).collect();
        let png = picture::encode_gray8(rows, columns, &pixels).unwrap();
        let bytes = jpeg(&stored, 100);
        let from_jpeg = read(&bytes).unwrap().image;
        for (bytes, stored) in [
            (png_with_exif(&png, orientation, false), &stored),
            (png_with_exif(&png, orientation, true), &stored),
            (jpeg_with_exif(&bytes, orientation), &from_jpeg),
        ] {
            let picture = read(&bytes).unwrap();
            prop_assert_eq!(&picture.image, &seen(stored, orientation));
            if (2..9).contains(&orientation) {
                prop_assert_eq!(picture.applied.len(), 1);
                let said = format!("(EXIF orientation {orientation})");
                prop_assert!(picture.applied[0].ends_with(&said), "{}", picture.applied[0]);
            } else {
                prop_assert!(picture.applied.is_empty());
            }
        }
    }

    /// Whatever the size and the values: an answer.
    #[test]
    fn odd_sizes_have_an_answer(rows in 1usize..70, columns in 1usize..40, seed in 0u64..1000, scale in 0u32..5) {
        let mut number = numbers(seed);
        let largest = [0.0, 1.0, 255.0, 65535.0, 1e30][scale as usize];
        let view = Image { rows, columns, pixels: (0..rows * columns).map(|_| (number() * largest).floor()).collect() };
        let found = finding(&view, Some([seed as f64 - 1.0, 2.0]));
        prop_assert_eq!(found == Some(Finding::Inverted), is_inverted(&view));
    }

    #[test]
    fn jpegs_of_odd_sizes_are_whole(rows in 1usize..70, columns in 1usize..70, quality in 1u8..=100, seed in 0u64..1000) {
        let mut number = numbers(seed);
        let pixels: Vec<f32> = (0..rows * columns).map(|at| (at % 256) as f32 * number()).collect();
        let bytes = jpeg(&Image { rows, columns, pixels }, quality);
        prop_assert!(jpeg_is_whole(&bytes));
        prop_assert!(!jpeg_is_whole(&bytes[..bytes.len() - 3]));
    }
}

#[test]
fn inversion_is_exact_and_said() {
    let bytes = picture::encode_gray8(1, 3, &[0, 100, 255]).unwrap();
    let picture = read(&bytes).unwrap();
    assert_eq!((picture.bits, &picture.applied[..]), (8, &[][..]));
    let inverted = picture.clone().inverted();
    assert_eq!(inverted.image.pixels, [255.0, 155.0, 0.0]);
    assert_eq!(inverted.applied, ["inverted: 255 minus the value of each pixel"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    picture::write_gray16(&path, 1, 3, &[0, 258, 65535]).unwrap();
    let wide = picture::read_bytes(&std::fs::read(&path).unwrap(), "a.png").unwrap();
    assert_eq!((wide.bits, wide.inverted().image.pixels), (16, vec![65535.0, 65277.0, 0.0]));
}

/// The warnings of an 8-bit picture of a view: as PNG, and as JPEG of a quality.
fn warnings(view: &Image, quality: Option<u8>) -> Vec<String> {
    let pixels: Vec<u8> = view.pixels.iter().map(|pixel| *pixel as u8).collect();
    let bytes =
        quality.map_or_else(|| picture::encode_gray8(view.rows, view.columns, &pixels).unwrap(), |quality| jpeg(view, quality));
    read(&bytes).unwrap().warnings
}

#[test]
fn counts_that_wrapped_around_are_a_warning_and_clipped_ones_are_not() {
    let (mut wrapped, mut warned) = (0, 0);
    // Not simulator 2: of some hundred thousand counts, bright spots have dark holes by chance, and the warning comes for nothing.
    for [anterior, posterior] in phantoms(SimulatorVersion::One).filter(|[view, _]| view.columns >= 32) {
        for view in [anterior, posterior] {
            let mut sorted: Vec<f32> = view.pixels.clone();
            sorted.sort_by(f32::total_cmp);
            let largest = sorted[sorted.len() - 1];
            let share = |rank: f32| sorted[((sorted.len() - 1) as f32 * rank) as usize].max(1.0) / largest;
            for (white, power) in
                [(1.0, 1.0), (1.0, 0.5), (0.3, 1.0), (share(0.99), 1.0), (share(0.99), 0.5), (share(0.999), 1.0)]
            {
                let light = windowed(&view, white, power);
                for quality in [None, Some(60), Some(75), Some(95)] {
                    let said = warnings(&light, quality);
                    assert!(said.is_empty(), "{white} {power} {quality:?} {}x{}: {said:?}", view.rows, view.columns);
                }
            }
            // Twice what 8 bits hold in the hottest thousandth, as when counts were written without a window.
            let hot = map(&view, |count| (count * 510.0 / (share(0.999) * largest)).floor());
            let modulo = map(&hot, |count| (count as u32 % 256) as f32);
            wrapped += 1;
            warned += usize::from(warnings(&modulo, None).iter().any(|said| said.contains("wrapped around")));
        }
    }
    println!("{warned} of {wrapped}");
    assert!(wrapped > 100 && 10 * warned >= 8 * wrapped, "{warned} of {wrapped}");
}
