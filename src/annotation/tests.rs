use super::*;
use crate::intake::study::Cell;
use proptest::prelude::*;
use std::fs;
use std::time::{Duration, Instant};

/// What LabelMe 5 writes, abridged.
const LABELME: &str = r#"{
  "version": "5.5.0",
  "flags": {"seen": true},
  "shapes": [
    {"label": "ADMet/ribs", "points": [[10.5, 20.0], [14.0, 21.5], [12.0, 26.0]], "group_id": 3, "description": "left rib 7",
     "shape_type": "polygon", "flags": {"doubtful": false}, "mask": null},
    {"label": "normal/bladder", "points": [[30, 60], [40, 70]], "group_id": null, "shape_type": "rectangle", "flags": {}},
    {"label": "arthritis", "points": [[5, 5], [8, 5]], "shape_type": "circle"},
    {"label": "vertebrae", "points": [[16, 33]], "shape_type": "point", "group_id": null}
  ],
  "imagePath": "scan.png",
  "imageData": "iVBORw0KGgo=",
  "imageHeight": 128,
  "imageWidth": 64
}"#;

/// What the web tool writes, abridged.
const MIT: &str = r#"<?xml version="1.0"?>
<annotation>
 <filename>
scan.jpg
</filename><folder>bones</folder>
 <source><sourceImage>The MIT-CSAIL database of objects &amp; scenes</sourceImage></source>
 <object>
  <name>
nADMet/pelvis
</name><deleted>0</deleted><verified>0</verified><date>05-Oct-2020 10:11:12</date><id>0</id>
  <polygon><username>somebody</username>
   <pt><x>1</x><y>2</y></pt><pt><x>9</x><y>2</y></pt><pt><x>9.5</x><y>8</y></pt>
  </polygon>
 </object>
 <object><name>wrong</name><deleted>1</deleted><polygon><pt><x>1</x><y>2</y></pt></polygon></object>
 <object><name>a &lt;b&gt; &#233;</name><deleted>0</deleted><type>bounding_box</type><attributes>hot, group=7</attributes>
  <polygon><pt><x>1</x><y>2</y></pt><pt><x>5</x><y>2</y></pt><pt><x>5</x><y>4</y></pt><pt><x>1</x><y>4</y></pt></polygon>
 </object>
 <imagesize><nrows>128</nrows><ncols>64</ncols></imagesize>
</annotation>"#;

fn json(text: &str) -> Result<Annotation> {
    Annotation::from_bytes("a.json", text.as_bytes())
}

fn xml(text: &str) -> Result<Annotation> {
    Annotation::from_bytes("a.xml", text.as_bytes())
}

#[test]
fn labelme_is_read_and_comes_back() {
    let annotation = json(LABELME).unwrap();
    assert_eq!(annotation.image, "scan.png");
    assert_eq!(annotation.size, Some(Size { rows: 128, columns: 64 }));
    assert_eq!(annotation.flags, Flags::from([("seen".to_owned(), true)]));
    let [rib, bladder, joint, spine] = &annotation.outlines[..] else { panic!("{annotation:?}") };
    assert_eq!((rib.label.as_str(), rib.group, rib.description.as_str()), ("ADMet/ribs", Some(3), "left rib 7"));
    assert_eq!(rib.form, Form::Polygon(vec![[10.5, 20.0], [14.0, 21.5], [12.0, 26.0]]));
    assert_eq!(rib.flags, Flags::from([("doubtful".to_owned(), false)]));
    assert_eq!(bladder.form, Form::Rectangle([[30.0, 60.0], [40.0, 70.0]]));
    assert_eq!(joint.form, Form::Circle([[5.0, 5.0], [8.0, 5.0]]));
    assert_eq!(spine.form, Form::Point([[16.0, 33.0]]));
    assert_eq!(Annotation::from_bytes("a.json", &annotation.to_bytes("b.JSON").unwrap()).unwrap(), annotation);
    let written: serde_json::Value = serde_json::from_slice(&annotation.to_bytes("b.json").unwrap()).unwrap();
    assert!(written["imageData"].is_null() && written["version"].is_string());
    assert_eq!(written["shapes"][0]["shape_type"], "polygon");
    // What an older LabelMe leaves out.
    let old =
        json(r#"{"shapes": [{"label": "ribs", "points": [[0,0],[9,0],[9,9]]}], "imagePath": null, "flags": null}"#).unwrap();
    assert_eq!((old.outlines.len(), old.size), (1, None));
}

#[test]
fn the_mit_labelme_is_read_and_comes_back() {
    let annotation = xml(MIT).unwrap();
    assert_eq!((annotation.image.as_str(), annotation.size), ("scan.jpg", Some(Size { rows: 128, columns: 64 })));
    let [pelvis, odd] = &annotation.outlines[..] else { panic!("{annotation:?}") };
    assert_eq!(pelvis, &Outline::new("nADMet/pelvis", Form::Polygon(vec![[1.0, 2.0], [9.0, 2.0], [9.5, 8.0]])));
    assert_eq!((odd.label.as_str(), odd.group), ("a <b> \u{e9}", Some(7)));
    assert_eq!(odd.form, Form::Rectangle([[1.0, 2.0], [5.0, 4.0]]));
    assert_eq!(Annotation::from_bytes("a.xml", &annotation.to_bytes("b.xml").unwrap()).unwrap(), annotation);
}

#[test]
fn either_format_becomes_the_other() {
    let annotation = json(LABELME).unwrap();
    let through = xml(std::str::from_utf8(&annotation.to_bytes("a.xml").unwrap()).unwrap()).unwrap();
    for (before, after) in annotation.outlines.iter().zip(&through.outlines) {
        assert_eq!((&before.label, before.group, &before.description), (&after.label, after.group, &after.description));
        match (&before.form, &after.form) {
            (Form::Circle(_), Form::Polygon(corners)) => assert_eq!(corners.len(), mit::CIRCLE_CORNERS),
            (before, after) => assert_eq!(before, after),
        }
    }
    // What XML cannot hold is no damage to it.
    let odd =
        Annotation { outlines: vec![Outline::new("\u{1}\u{fffe}]]>&", Form::Point([[0.0, 0.0]]))], ..Annotation::default() };
    assert_eq!(
        xml(std::str::from_utf8(&odd.to_bytes("a.xml").unwrap()).unwrap()).unwrap().outlines[0].label,
        "\u{fffd}\u{fffd}]]>&"
    );
}

/// A PNG in base64, as other programs write it.
fn png(rows: usize, columns: usize, kind: image::ExtendedColorType, bytes: &[u8]) -> String {
    use base64ct::{Base64, Encoding};
    use image::ImageEncoder;
    let mut png = Vec::new();
    image::codecs::png::PngEncoder::new(&mut png).write_image(bytes, columns as u32, rows as u32, kind).unwrap();
    Base64::encode_string(&png)
}

fn grey(rows: usize, columns: usize, bytes: &[u8]) -> String {
    png(rows, columns, image::ExtendedColorType::L8, bytes)
}

/// The rows 101 and 011 at one bit a pixel, as Pillow saves a picture of booleans.
const ONE_BIT: &str = "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACAQAAAAC1D1u3AAAADElEQVR4nGNYwJAAAAJEAQFuRfPAAAAAAElFTkSuQmCC";

/// One `mask`, whose corners and picture are given.
fn mask(corners: &str, png: &str) -> String {
    one(&format!(r#"{{"label": "ribs", "shape_type": "mask", "points": {corners}, "mask": "{png}", "group_id": null}}"#))
}

fn with_mask() -> String {
    mask("[[3, 4], [5, 5]]", &grey(2, 3, &[1, 0, 1, 0, 1, 1]))
}

fn checked(text: &str) -> Checked {
    json(text).unwrap().check(Path::new("a.json"), None, &Codes::default()).unwrap()
}

#[test]
fn masks_are_their_pixels_and_come_back() {
    let runs = [[4, 3, 1], [4, 5, 1], [5, 4, 2]];
    let white = grey(2, 3, &[255, 0, 255, 0, 255, 255]);
    for text in [
        with_mask(),
        mask("[[3, 4], [5, 5]]", &white),
        mask("[[3, 4], [5, 5]]", ONE_BIT),
        mask("[[5, 5], [3, 4]]", &white),
        mask("[[3.4, 4.9], [5.4, 5.9]]", &white), // as moved by hand
    ] {
        let annotation = json(&text).unwrap();
        assert_eq!(checked(&text), Checked { masks: vec![Mask::from_runs(runs)], notes: Vec::new() });
        let written = annotation.to_bytes("a.json").unwrap();
        assert_eq!(Annotation::from_bytes("a.json", &written).unwrap(), annotation);
        let shape = &serde_json::from_slice::<serde_json::Value>(&written).unwrap()["shapes"][0];
        // As LabelMe reads it: whole corners, a picture of the box's size.
        assert_eq!(
            (shape["shape_type"].as_str(), &shape["points"]),
            (Some("mask"), &serde_json::json!([[3.0, 4.0], [5.0, 5.0]]))
        );
        assert_eq!(shape["mask"], grey(2, 3, &[1, 0, 1, 0, 1, 1]));
        // As XML: a polygon of the same pixels (they touch at corners).
        let through = xml(std::str::from_utf8(&annotation.to_bytes("a.xml").unwrap()).unwrap()).unwrap();
        let [Outline { form: form @ Form::Polygon(_), group: None, .. }] = &through.outlines[..] else { panic!("{through:?}") };
        assert_eq!(Mask::of(form, Size { rows: 64, columns: 32 }).runs(), runs);
    }
    // Two pieces of one mask are one lesion, apart from other groups.
    let mut annotation = json(&mask("[[0, 0], [4, 0]]", &grey(1, 5, &[1, 1, 0, 0, 1]))).unwrap();
    annotation.outlines.push(Outline { group: Some(7), ..Outline::new("skull", Form::Point([[1.0, 1.0]])) });
    let through = xml(std::str::from_utf8(&annotation.to_bytes("a.xml").unwrap()).unwrap()).unwrap();
    assert_eq!(through.outlines.iter().map(|outline| outline.group).collect::<Vec<_>>(), [Some(8), Some(8), Some(7)]);
}

#[test]
fn what_reaches_over_the_edge_is_cut_off_with_a_note() {
    let size = |rows, columns| Size { rows, columns };
    let pixels = vec![1; 12];
    let text = mask("[[-1, 62], [2, 64]]", &grey(3, 4, &pixels));
    let note = "a.json: outline 1 (ribs) reaches x 3, y 65, outside the picture of 64x32 pixels (rows x columns), and is cut off at its edge";
    assert_eq!(checked(&text), Checked { masks: vec![Mask::from_runs([[62, 0, 3], [63, 0, 3]])], notes: vec![note.to_owned()] });
    let said = json(&mask("[[40, 2], [43, 4]]", &grey(3, 4, &pixels))).unwrap();
    let said = said.check(Path::new("a.json"), None, &Codes::default()).unwrap_err().to_string();
    assert!(said.contains("outside the picture of 64x32"), "{said}");
    for (kind, points, form) in [
        ("polygon", "[[20,1],[33,1],[20,9]]", Form::Polygon(vec![[20.0, 1.0], [33.0, 1.0], [20.0, 9.0]])),
        ("rectangle", "[[-1,-0.5],[5,5]]", Form::Rectangle([[-1.0, -0.5], [5.0, 5.0]])),
        ("circle", "[[5,60],[5,65]]", Form::Circle([[5.0, 60.0], [5.0, 65.0]])),
        ("point", "[[32,63.5]]", Form::Point([[31.5, 63.5]])),
        ("point", "[[-0.5,64.9]]", Form::Point([[0.5, 63.5]])),
    ] {
        let text = one(&format!(r#"{{"label":"ribs","points":{points},"shape_type":"{kind}"}}"#));
        let found = checked(&text);
        assert_eq!(found.masks, [Mask::of(&form, size(64, 32))], "{points}");
        assert!(found.notes.len() == 1 && found.notes[0].ends_with("and is cut off at its edge"), "{:?}", found.notes);
    }
    // On the edge is not outside.
    let text = one(r#"{"label":"ribs","points":[[0,0],[32,64]],"shape_type":"rectangle"}"#);
    assert_eq!((checked(&text).notes.len(), checked(&text).masks[0].area()), (0, 64 * 32));
}

#[test]
fn masks_that_are_none_are_refused_in_a_sentence() {
    let good = grey(2, 3, &[1; 6]);
    let zeros = |rows: usize, columns: usize| grey(rows, columns, &vec![0; rows * columns]);
    let bare = |points: &str| one(&format!(r#"{{"label":"ribs","points":{points},"shape_type":"mask","mask":null}}"#));
    let sizeless = |shape: &str| format!(r#"{{"shapes":[{shape}]}}"#);
    let shape = |corners: &str, png: &str| format!(r#"{{"label":"a","shape_type":"mask","points":{corners},"mask":"{png}"}}"#);
    let large = shape("[[0,0],[3999,3999]]", &zeros(4000, 4000));
    let checkers: Vec<u8> = (0..1600 * 1600).map(|at| (at % 2) as u8).collect();
    let fine = shape("[[0,0],[1599,1599]]", &grey(1600, 1600, &checkers));
    for (text, problem) in [
        (mask("[[3,4],[6,5]]", &good), "is a mask of 2x3 pixels (rows x columns) in a box of 2x4"),
        (mask("[[3,4],[5,4]]", &good), "in a box of 1x3"),
        (mask("[[0,0],[32,5]]", &zeros(6, 33)), "in a box of 6x33 pixels (rows x columns), more than the picture of 64x32"),
        (mask("[[0,0],[1e9,5]]", &good), "no number from -1000000 to 1000000"),
        (mask("[[3,4]]", &good), "is a mask of 1 point,"),
        (bare("[[3,4],[5,5]]"), "is a mask without a picture of it"),
        (mask("[[3,4],[5,5]]", "iVBOR!"), "no base64"),
        (mask("[[3,4],[5,5]]", &good[..good.len() / 2 / 4 * 4]), "no whole PNG"),
        (mask("[[3,4],[5,5]]", "aGVsbG8="), "no whole PNG"),
        (mask("[[3,4],[5,5]]", &grey(2, 3, &[0, 1, 2, 3, 4, 5])), "not one of 0 and 1"),
        (mask("[[3,4],[5,5]]", &grey(2, 3, &[0, 1, 255, 0, 0, 0])), "not one of 0 and 1"),
        (mask("[[3,4],[5,5]]", &png(2, 3, image::ExtendedColorType::Rgb8, &[1; 18])), "not one of 0 and 1"),
        (sizeless(&shape("[[0,0],[16384,5]]", &good)), "more than 16384x16384"),
        (sizeless(&[large.as_str(); 3].join(",")), "outline 3 (a) and those before it are masks of more than 32000000 pixels"),
        (sizeless(&fine), "more pieces than a hand draws"),
    ] {
        let begin = Instant::now();
        let said = json(&text).unwrap_err().to_string();
        assert!(said.starts_with("a.json: outline ") && said.contains(problem), "{problem} not in: {said}");
        assert!(said.ends_with("; draw it again, or remove it") && said.len() < 400, "{said}");
        assert!(begin.elapsed() < Duration::from_secs(4), "{problem}: {:?}", begin.elapsed());
    }
    let empty = mask("[[3,4],[5,5]]", &zeros(2, 3));
    let said = json(&empty).unwrap().check(Path::new("a.json"), None, &Codes::default()).unwrap_err().to_string();
    assert!(said.contains("covers no pixel's centre"), "{said}");
    let said = json(&empty).unwrap().to_bytes("b.xml").unwrap_err().to_string();
    assert!(said.starts_with("b.xml: cannot hold outline 1 (ribs), which has no pixel in the picture; "), "{said}");
    // More corners than a polygon may have: kept as JSON.
    let holes: Vec<u8> = (0..300 * 300).map(|at| u8::from(at / 300 % 2 == 0 || at % 2 == 0)).collect();
    let text = sizeless(&shape("[[0,0],[299,299]]", &grey(300, 300, &holes)));
    let said = json(&text).unwrap().to_bytes("b.xml").unwrap_err().to_string();
    assert!(said.ends_with("has too many corners for polygons; write .json, which has masks"), "{said}");
    assert_eq!(
        json(std::str::from_utf8(&json(&text).unwrap().to_bytes("b.json").unwrap()).unwrap()).unwrap(),
        json(&text).unwrap()
    );
}

#[test]
fn shapes_without_an_area_are_listed_all_at_once() {
    let text = r#"{"shapes": [
        {"label": "ADMet/skull", "points": [[1,1],[2,2]], "shape_type": "line"},
        {"label": "ribs", "points": [[1,1],[9,1],[9,9]], "shape_type": "polygon"},
        {"label": "girdle", "points": [[1,1],[2,2],[3,5]], "shape_type": "linestrip"},
        {"label": "pelvis", "points": [[1,1],[2,2]], "shape_type": "points"}]}"#;
    assert_eq!(
        json(text).unwrap_err().to_string(),
        "a.json: outline 1 (ADMet/skull) is a `line`, outline 3 (girdle) is a `linestrip`, outline 4 (pelvis) is a `points`: Osteon reads \
         polygon, rectangle, circle, point, mask, which have an area or are a spot; draw a polygon around what each marks, or remove them"
    );
    let many = vec![r#"{"label":"a","points":[],"shape_type":"line"}"#; 5000].join(",");
    let said = json(&format!(r#"{{"shapes":[{many}]}}"#)).unwrap_err().to_string();
    assert!(said.contains("outline 100 (a) is a `line`, and so on, 5000 in all: ") && said.len() < 5000, "{said}");
}

/// A file of LabelMe with one shape.
fn one(shape: &str) -> String {
    format!(r#"{{"shapes": [{shape}], "imageHeight": 64, "imageWidth": 32}}"#)
}

#[test]
fn what_is_no_annotation_is_refused_in_a_sentence() {
    let corners = |count: usize| vec!["[1,1]"; count].join(",");
    let object = |inner: &str| format!("<annotation><object><name>ribs</name>{inner}</object></annotation>");
    let cases: Vec<(&str, String, &str)> = vec![
        ("a.json", String::new(), "is no annotation of LabelMe"),
        ("a.json", "[]".into(), "is no annotation of LabelMe"),
        ("a.json", "{}".into(), "missing field `shapes`"),
        ("a.json", "[".repeat(100_000), "is no annotation of LabelMe"),
        ("a.json", one(r#"{"label": "ribs", "points": [[1, 1e999]]}"#), "number out of range"),
        ("a.json", one(r#"{"label": "ribs", "points": [[1, 2], [3, 4]]}"#), "outline 1 (ribs) is a polygon of 2 points"),
        ("a.json", one(r#"{"label": "ribs", "points": [[1, 2]], "shape_type": "rectangle"}"#), "two opposite corners"),
        ("a.json", one(r#"{"label": "ribs", "points": [], "shape_type": "point"}"#), "a point of 0 points"),
        ("a.json", one(r#"{"label": "ribs", "points": [[1,2]], "shape_type": "line"}"#), "is a `line`"),
        ("a.json", one(r#"{"label": "ribs", "points": [[1,2]], "shape_type": "point", "group_id": -1}"#), "has the group -1"),
        ("a.json", r#"{"shapes": [], "imageHeight": 64}"#.into(), "imageHeight or imageWidth"),
        ("a.json", r#"{"shapes": [], "imageHeight": 1e9, "imageWidth": 2}"#.into(), "imageHeight or imageWidth"),
        ("a.json", r#"{"shapes": [], "imageHeight": 1.5, "imageWidth": 2}"#.into(), "imageHeight or imageWidth"),
        ("a.json", one(&format!(r#"{{"label": "a", "points": [{}]}}"#, corners(MAX_CORNERS + 1))), "a list of at most 10000"),
        (
            "a.json",
            format!(r#"{{"shapes": [{}]}}"#, vec![r#"{"label":"","points":[[1,2],[3,4],[5,9]]}"#; MAX_OUTLINES + 1].join(",")),
            "a list of at most 10000",
        ),
        (
            "a.json",
            format!(r#"{{"shapes": [{}]}}"#, vec![format!(r#"{{"label":"","points":[{}]}}"#, corners(9000)); 12].join(",")),
            "has 108000 corners",
        ),
        ("a.xml", String::new(), "holds no element `annotation`"),
        ("a.xml", "text".into(), "holds no element `annotation`"),
        ("a.xml", "<annotation><object>".into(), "is cut short"),
        ("a.xml", "<svg></svg>".into(), "is XML of `svg`"),
        ("a.xml", "<annotation></object></annotation>".into(), "is no XML"),
        ("a.xml", "<!DOCTYPE x [<!ENTITY a \"b\">]><annotation/>".into(), "document type"),
        ("a.xml", object("&b;"), "entity `b`"),
        ("a.xml", object(""), "has no polygon"),
        ("a.xml", object("<polygon><pt><x>1</x></pt></polygon>"), "without a number for x or y"),
        ("a.xml", object("<polygon><pt><x>nan</x><y>1</y></pt></polygon>"), "no finite number"),
        ("a.xml", object("<polygon><pt><x>1</x><y>inf</y></pt></polygon>"), "no finite number"),
        ("a.xml", "<annotation><imagesize><nrows>0</nrows></imagesize></annotation>".into(), "imagesize"),
        ("a.xml", "<annotation>".repeat(1_000_000), "elements inside each other"),
        ("a.xml", format!("<annotation><filename>{}", "x".repeat(10_001)), "a text of more than"),
        (
            "a.xml",
            object(&format!("<polygon>{}</polygon>", "<pt><x>1</x><y>1</y></pt>".repeat(MAX_CORNERS + 1))),
            "10000 corners",
        ),
        ("a.txt", String::new(), "neither .json nor .xml"),
    ];
    for (name, text, problem) in cases {
        let begin = Instant::now();
        let said = Annotation::from_bytes(name, text.as_bytes()).unwrap_err().to_string();
        assert!(said.starts_with(&format!("{name}: ")) && said.contains(problem), "{problem} not in: {said}");
        assert!(said.contains("; ") && !said.contains('\n') && said.len() < 400, "{said}");
        assert!(begin.elapsed() < Duration::from_secs(2), "{problem}: {:?}", begin.elapsed());
    }
    let said = Annotation::from_bytes("a.xml", &[0xff]).unwrap_err().to_string();
    assert!(said.contains("UTF-8"), "{said}");
}

#[test]
fn what_does_not_fit_codes_or_picture_is_refused_in_a_sentence() {
    let outline =
        |label: &str, kind: &str, points: &str| one(&format!(r#"{{"label":"{label}","points":{points},"shape_type":"{kind}"}}"#));
    for (text, problem) in [
        (outline("ADMet/rib", "point", "[[1,1]]"), "outline 1 (ADMet/rib) has the code `rib`, which the table does not know"),
        (outline("ribs/ADMet", "point", "[[1,1]]"), "do not go together"),
        (outline("ribs", "polygon", "[[1,1],[33.5,1],[5,5]]"), "reaches x 33.5, y 1, outside the picture of 64x32"),
        (outline("ribs", "polygon", "[[1,1],[3,-1.01],[5,5]]"), "outside the picture"),
        (outline("ribs", "circle", "[[5,5],[5,65.5]]"), "outside the picture"),
        (outline("ribs", "point", "[[5,66]]"), "outside the picture"),
        (outline("ribs", "rectangle", "[[32,5],[33,9]]"), "covers no pixel's centre"),
        (outline("ribs", "rectangle", "[[5,5],[5,9]]"), "is a box of zero size"),
        (outline("ribs", "circle", "[[5,5],[5,5]]"), "is a circle of zero size"),
        (outline("ribs", "rectangle", "[[5.6,5.6],[5.9,9]]"), "covers no pixel's centre"),
        (outline("ribs", "polygon", "[[1,1],[4,4],[9,9]]"), "covers no pixel's centre"),
    ] {
        let annotation = json(&text).unwrap();
        let said = annotation.check(Path::new("a.json"), None, &Codes::default()).unwrap_err().to_string();
        assert!(said.starts_with("a.json: outline 1 (") && said.contains(problem), "{problem} not in: {said}");
        assert!(said.contains("; ") && !said.contains('\n'), "{said}");
    }
    let annotation = json(LABELME).unwrap();
    let checked = annotation.check(Path::new("a"), None, &Codes::default()).unwrap();
    assert_eq!(checked.notes, [""; 0]);
    assert!(checked.masks.iter().all(|mask| !mask.is_empty()));
    let other =
        annotation.check(Path::new("a"), Some(Size { rows: 256, columns: 64 }), &Codes::default()).unwrap_err().to_string();
    assert!(other.contains("drawn on a picture of 128x64") && other.contains("the scan has 256x64"), "{other}");
    // Without a size, codes and degenerate forms are all that can be said.
    let sizeless = Annotation { size: None, ..annotation };
    assert!(sizeless.check(Path::new("a"), None, &Codes::default()).unwrap().masks.iter().all(Mask::is_empty));
}

/// Files that are valid and would take hours to fill.
#[test]
fn outlines_that_cost_too_much_are_refused() {
    let size = Size { rows: Size::MAX_SIDE, columns: 400 };
    let zigzag = |corners: usize| (0..corners).map(|at| [(at % 300) as f64, (at % 2 * size.rows) as f64]).collect();
    let begin = Instant::now();
    for (forms, problem) in [
        (vec![Form::Polygon(zigzag(MAX_CORNERS))], "up and down"),
        (vec![Form::Polygon(zigzag(10)); 9000], "up and down"),
        (vec![Form::Rectangle([[0.0, 0.0], [400.0, 16384.0]]); 9000], "cover the picture too often"),
        (vec![Form::Circle([[200.0, 8000.0], [200.0, 0.0]]); 9000], "cover the picture too often"),
    ] {
        let outlines = forms.into_iter().map(|form| Outline::new("ribs", form)).collect();
        let annotation = Annotation { outlines, ..Annotation::default() };
        let said = annotation.check(Path::new("a.json"), Some(size), &Codes::default()).unwrap_err().to_string();
        assert!(said.contains(problem), "{said}");
    }
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}

/// Every truncation, and bytes changed at random: read or refused, and what is read can be checked.
#[test]
fn no_bytes_panic() {
    let mut state = 1u64;
    let mut random = |below: usize| {
        // Knuth's MMIX generator; its high bits are random enough here.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let codes = Codes::default();
    let size = Some(Size { rows: 128, columns: 64 });
    for (name, text) in [("a.json", LABELME), ("a.json", &*with_mask()), ("a.xml", MIT)] {
        let mut read = 0;
        let mut one = |bytes: &[u8]| match Annotation::from_bytes(name, bytes) {
            Ok(annotation) => {
                read += 1;
                let _ = annotation.check(Path::new(name), size, &codes);
                let again = Annotation::from_bytes(name, &annotation.to_bytes(name).unwrap()).unwrap();
                assert_eq!(again.outlines.len(), annotation.outlines.len());
            }
            Err(error) => assert!(!error.to_string().contains(char::is_control), "{error}"),
        };
        for length in 0..text.len() {
            one(&text.as_bytes()[..length]);
        }
        const SPICE: &[u8] = b"\0\"'<>&;#[]{}/\\,:.-+eE0123456789 \n\xff\xc3xy";
        for _ in 0..20_000 {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                match random(4) {
                    0 => bytes[at] ^= 1 << random(8),
                    1 => bytes[at] = SPICE[random(SPICE.len())],
                    2 => drop(bytes.drain(at..(at + random(20)).min(bytes.len()))),
                    _ => {
                        let from = random(bytes.len());
                        let piece = bytes[from..(from + random(40)).min(bytes.len())].to_vec();
                        bytes.splice(at..at, piece);
                    }
                }
                if bytes.is_empty() {
                    break;
                }
            }
            one(&bytes);
        }
        assert!(read > 300, "{name}: {read} of the changed files could still be read");
    }
}

// ---- pixels ------------------------------------------------------------------------------------------------------------

/// A point in a polygon by the even-odd rule: the plain loop.
fn inside(corners: &[Point], x: f64, y: f64) -> bool {
    let mut left = 0;
    for at in 0..corners.len() {
        let (mut a, mut b) = (corners[at], corners[(at + 1) % corners.len()]);
        if a[1] > b[1] {
            (a, b) = (b, a);
        }
        // The upper end belongs to a side, the lower to the next.
        if a[1] <= y && y < b[1] && a[0] + (y - a[1]) * (b[0] - a[0]) / (b[1] - a[1]) <= x {
            left += 1;
        }
    }
    left % 2 == 1
}

fn pixels_where(size: Size, inside: impl Fn(f64, f64) -> bool) -> Vec<(usize, usize)> {
    let all = (0..size.rows).flat_map(|row| (0..size.columns).map(move |column| (row, column)));
    all.filter(|&(row, column)| inside(column as f64 + 0.5, row as f64 + 0.5)).collect()
}

const SMALL: Size = Size { rows: 24, columns: 17 };

/// Corners anywhere, also outside the picture and on pixels' sides and centres.
fn corner() -> impl Strategy<Value = Point> {
    let coordinate = || prop_oneof![-6.0..30.0f64, (-8i32..60).prop_map(|half| f64::from(half) / 2.0)];
    [coordinate(), coordinate()]
}

fn mask_of(cells: &[bool]) -> Mask {
    let runs = cells.iter().enumerate().filter(|(_, cell)| **cell);
    Mask::from_runs(runs.map(|(at, _)| [(at / SMALL.columns) as u32, (at % SMALL.columns) as u32, 1]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_polygon_covers_what_the_plain_loop_says(corners in prop::collection::vec(corner(), 3..12)) {
        let mask = Mask::of(&Form::Polygon(corners.clone()), SMALL);
        prop_assert_eq!(mask.pixels().collect::<Vec<_>>(), pixels_where(SMALL, |x, y| inside(&corners, x, y)));
        prop_assert_eq!(mask.area(), mask.pixels().count());
    }

    #[test]
    fn a_circle_covers_the_centres_within_its_radius(centre in corner(), radius in 0.1..12.0f64) {
        let rim = [centre[0] + radius, centre[1]];
        let radius = rim[0] - centre[0];
        let mask = Mask::of(&Form::Circle([centre, rim]), SMALL);
        // But for rounding on the rim itself.
        let within = |slack: f64| pixels_where(SMALL, |x, y| (x - centre[0]).hypot(y - centre[1]) < radius + slack);
        let pixels: Vec<_> = mask.pixels().collect();
        prop_assert!(within(-1e-9).iter().all(|pixel| pixels.contains(pixel)));
        let most = within(1e-9);
        prop_assert!(pixels.iter().all(|pixel| most.contains(pixel)));
    }

    #[test]
    fn two_halves_of_a_box_share_no_pixel([left, top] in corner(), [right, bottom] in corner(), cut in 0.0..1.0f64) {
        let middle = left + cut * (right - left);
        let [whole, one, other] = [(left, right), (left, middle), (middle, right)]
            .map(|(from, to)| Mask::of(&Form::Rectangle([[from, top], [to, bottom]]), SMALL));
        prop_assert_eq!(one.overlap(&other), 0);
        prop_assert_eq!(Mask::union([&one, &other]), whole);
    }

    /// Any bitmap anywhere, through both formats.
    #[test]
    fn bitmaps_are_kept_to_the_pixel(cells in prop::collection::vec(any::<bool>(), 30), column in -6i32..20, row in -5i32..28) {
        let bytes: Vec<u8> = cells.iter().map(|cell| u8::from(*cell)).collect();
        let shape = format!(
            r#"{{"label":"ribs","shape_type":"mask","points":[[{column},{row}],[{},{}]],"mask":"{}"}}"#,
            column + 5, row + 4, grey(5, 6, &bytes)
        );
        let text = format!(r#"{{"shapes":[{shape}],"imageHeight":24,"imageWidth":17}}"#);
        let annotation = json(&text).unwrap();
        let pixels: Vec<(usize, usize)> = (0..30)
            .filter(|&at| cells[at])
            .map(|at| (row + at as i32 / 6, column + at as i32 % 6))
            .filter(|&(row, column)| (0..24).contains(&row) && (0..17).contains(&column))
            .map(|(row, column)| (row as usize, column as usize))
            .collect();
        prop_assert_eq!(Mask::of(&annotation.outlines[0].form, SMALL).pixels().collect::<Vec<_>>(), pixels.clone());
        let again = Annotation::from_bytes("a.json", &annotation.to_bytes("a.json").unwrap()).unwrap();
        prop_assert_eq!(&again, &annotation);
        match annotation.to_bytes("a.xml") {
            Ok(bytes) => {
                let through = Annotation::from_bytes("a.xml", &bytes).unwrap();
                let masks: Vec<Mask> = through.outlines.iter().map(|outline| Mask::of(&outline.form, SMALL)).collect();
                prop_assert_eq!(Mask::union(&masks).pixels().collect::<Vec<_>>(), pixels);
            }
            Err(_) => prop_assert!(pixels.is_empty()),
        }
    }

    /// Pixels to polygons and back, with holes, and pieces that touch at corners only.
    #[test]
    fn polygons_cover_exactly_the_pixels_they_were_made_of(cells in prop::collection::vec(prop::bool::weighted(0.55), 24 * 17)) {
        let mask = mask_of(&cells);
        let polygons = mask.polygons();
        let masks: Vec<Mask> = polygons.into_iter().map(|corners| Mask::of(&Form::Polygon(corners), SMALL)).collect();
        prop_assert_eq!(masks.iter().map(Mask::area).sum::<usize>(), mask.area());
        prop_assert_eq!(&Mask::union(&masks), &mask);
        let pieces = mask.pieces();
        prop_assert_eq!(masks.len(), pieces.len());
        // No pixel has a neighbour in another piece, and each piece hangs together.
        for (at, piece) in pieces.iter().enumerate() {
            let wide = Mask::from_runs(piece.runs().iter().flat_map(|&[row, first, length]| {
                (row.saturating_sub(1)..=row + 1).map(move |row| [row, first.saturating_sub(1), length + 1 + first.min(1)])
            }));
            prop_assert!(pieces.iter().enumerate().all(|(other, piece)| other == at || wide.overlap(piece) == 0));
            let mut reached = vec![piece.pixels().next().unwrap()];
            let all: std::collections::HashSet<_> = piece.pixels().collect();
            let mut seen: std::collections::HashSet<_> = reached.iter().copied().collect();
            while let Some((row, column)) = reached.pop() {
                for (r, c) in (0..9).map(|k| ((row + k / 3).wrapping_sub(1), (column + k % 3).wrapping_sub(1))) {
                    if all.contains(&(r, c)) && seen.insert((r, c)) {
                        reached.push((r, c));
                    }
                }
            }
            prop_assert_eq!(seen.len(), all.len());
        }
    }
}

#[test]
fn the_rule_on_edges() {
    let pixels = |form: Form| Mask::of(&form, SMALL).runs().to_vec();
    assert_eq!(pixels(Form::Rectangle([[3.0, 2.0], [1.0, 4.0]])), [[2, 1, 2], [3, 1, 2]], "corners in any order");
    assert_eq!(pixels(Form::Rectangle([[0.5, 0.5], [1.5, 1.5]])), [[0, 0, 1]], "the left and upper edge are inside");
    assert_eq!(pixels(Form::Point([[16.999, 0.0]])), [[0, 16, 1]]);
    // A star that crosses itself: its middle is outside.
    let star = Form::Polygon(vec![[8.0, 0.0], [13.0, 16.0], [0.0, 6.0], [16.0, 6.0], [3.0, 16.0]]);
    let star = Mask::of(&star, SMALL);
    assert!(!star.pixels().any(|pixel| pixel == (8, 8)) && star.pixels().any(|pixel| pixel == (4, 8)));
}

// ---- beside the scans --------------------------------------------------------------------------------------------------

fn row(folder: &Path, anterior: &str, posterior: &str) -> Row {
    let cell = |text: &str| text.parse::<Cell>().unwrap().within(folder);
    let text = format!("patient,anterior,posterior,label\n1,{anterior},{posterior},NoMet\n");
    let mut manifest = crate::archive::manifest::Manifest::from_bytes(folder.join("m.csv"), text.as_bytes()).unwrap();
    assert_eq!(manifest.rows[0].files().next(), Some(&*cell(anterior).path));
    manifest.rows.remove(0)
}

#[test]
fn annotations_lie_beside_scans() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str| fs::write(folder.path().join(name), "").unwrap();
    let found = |anterior: &str, posterior: &str| {
        let found = beside(&row(folder.path(), anterior, posterior));
        found.map(|found| {
            let name = |beside: Beside| (beside.path.file_name().unwrap().to_str().unwrap().to_owned(), beside.view);
            found.into_iter().map(name).collect::<Vec<_>>()
        })
    };
    assert_eq!(found("a.dcm#1", "a.dcm#2").unwrap(), []);
    for name in ["a.anterior.json", "a.posterior.xml", "front.json", "back.posterior.json", "1.2.840.5.json", "both.xml"] {
        put(name);
    }
    let (anterior, posterior) = (Some(View::Anterior), Some(View::Posterior));
    let both = [("a.anterior.json".to_owned(), anterior), ("a.posterior.xml".to_owned(), posterior)];
    assert_eq!(found("a.dcm#1", "a.dcm#2").unwrap(), both);
    assert_eq!(found("a.dcm", "").unwrap(), both);
    let two = [("front.json".to_owned(), anterior), ("back.posterior.json".to_owned(), posterior)];
    assert_eq!(found("front.png", "back.JPG").unwrap(), two);
    assert_eq!(found("1.2.840.5", "").unwrap(), [("1.2.840.5.json".to_owned(), None)]);
    assert_eq!(found("both.dcm#1", "both.dcm#2").unwrap(), [("both.xml".to_owned(), None)]);
    put("a.anterior.xml");
    let said = found("a.dcm", "").unwrap_err().to_string();
    assert!(said.contains("a.anterior.xml: is of the same view as") && said.ends_with("; keep one of them"), "{said}");
    put("front.anterior.json");
    assert!(found("front.png", "back.png").is_err());

    let image = Image::zeros(2, 2);
    let unsaid = Beside { path: "x.xml".into(), view: None };
    let study = |anterior: bool, posterior: bool| Study {
        anterior: anterior.then(|| image.clone()),
        posterior: posterior.then(|| image.clone()),
        ..Study::default()
    };
    assert_eq!(unsaid.image(&study(true, false)).unwrap().0, View::Anterior);
    assert_eq!(unsaid.image(&study(false, true)).unwrap().0, View::Posterior);
    let said = unsaid.image(&study(true, true)).unwrap_err().to_string();
    assert!(said.contains("both views") && said.contains(".anterior.xml"), "{said}");
    let said = Beside { view: posterior, ..unsaid }.image(&study(true, false)).unwrap_err().to_string();
    assert!(said.contains("posterior view, which the study lacks"), "{said}");
}

#[test]
fn reports_are_kept_with_their_studies() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("p3")).unwrap();
    let mut rows = [row(folder.path(), "a.dcm", ""), row(folder.path(), "b.png", "c.png"), row(folder.path(), "p3/scan", "")];
    for (row, patient) in rows.iter_mut().zip(["p1", "p2", "p3"]) {
        row.patient = patient.to_owned();
    }
    let put = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
    assert_eq!(reports(&rows).unwrap(), [None, None, None]);
    put("c.report.txt", "\u{feff}Several foci.\nMetastases.\n".as_bytes());
    put("p3/report.txt", b"Nothing.");
    let texts = [None, Some("Several foci.\nMetastases.".to_owned()), Some("Nothing.".to_owned())];
    assert_eq!(reports(&rows).unwrap(), texts);
    let mut told = rows.clone();
    told[0].report = Some("In the table.".to_owned());
    assert_eq!(reports(&told).unwrap()[..2], [Some("In the table.".to_owned()), texts[1].clone()]);
    put("report.txt", b"Whose?");
    let said = reports(&rows).unwrap_err().to_string();
    assert!(said.contains("more than one patient") && said.contains("SCAN.report.txt"), "{said}");
    fs::remove_file(folder.path().join("report.txt")).unwrap();
    put("p3/report.txt", &[0xff, 0xfe]);
    assert!(reports(&rows).unwrap_err().to_string().contains("UTF-8"));
}
