//! The XML of the MIT LabelMe (the web tool's): `annotation/object/name` and `polygon/pt/x,y`. Deleted objects are left out;
//! users' names and dates are not taken over. A group is kept as `group=NUMBER` among an object's `attributes`, which are free
//! text.

use super::labelme::{whole, whole_size};
use super::{Annotation, Flags, Form, MAX_CORNERS, MAX_OUTLINES, Outline, Point, short};
use crate::{Error, Result};
use quick_xml::escape::escape;
use quick_xml::events::Event;
use quick_xml::{Reader, XmlVersion};
use std::f64::consts::TAU;
use std::fmt::Write;
use std::path::Path;

/// Corners of the polygon that a circle becomes; its area is 0.2 % less.
pub(super) const CIRCLE_CORNERS: usize = 64;

/// Elements in elements; LabelMe's have five.
const MAX_DEPTH: usize = 16;
/// Bytes of a name or number.
const MAX_TEXT: usize = 10_000;

/// What is wrong with a file, and what to do.
type Refusal = (String, &'static str);

const ANOTHER: &str = "give the file as the MIT LabelMe wrote it";

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Annotation> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::file(path, "is not UTF-8 text", "save it as UTF-8"))?;
    parse(text.strip_prefix('\u{feff}').unwrap_or(text)).map_err(|(problem, remedy)| Error::file(path, problem, remedy))
}

/// An object as far as it was read.
#[derive(Default)]
struct Object {
    label: String,
    deleted: bool,
    attributes: String,
    description: String,
    kind: String,
    corners: Vec<Point>,
    corner: [Option<f64>; 2],
    /// What is wrong with its geometry.
    problem: Option<String>,
}

/// The parser gives one element, end or text after the other and keeps nothing: no tree, no entities but XML's own five, no
/// attributes.
fn parse(text: &str) -> Result<Annotation, Refusal> {
    let damaged = |problem: String| (format!("is no XML that Osteon reads ({problem})"), ANOTHER);
    let mut reader = Reader::from_str(text);
    let mut annotation = Annotation::default();
    let (mut rows, mut columns, mut sized) = (None, None, false);
    let mut object = Object::default();
    let (mut objects, mut rooted) = (0, false);
    let mut way: Vec<String> = Vec::new(); // the elements that are open, the root first
    let mut said = String::new(); // the text since the last tag
    loop {
        let event = reader.read_event().map_err(|error| damaged(error.to_string()))?;
        let piece = match &event {
            Event::Text(text) => text.xml_content(XmlVersion::Implicit1_0),
            Event::CData(text) => text.xml_content(XmlVersion::Implicit1_0),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|error| damaged(error.to_string()))? {
                Some(character) => character.to_string().into(),
                None => match &*reference.xml_content(XmlVersion::Implicit1_0) {
                    "lt" => "<".into(),
                    "gt" => ">".into(),
                    "amp" => "&".into(),
                    "quot" => "\"".into(),
                    "apos" => "'".into(),
                    other => return Err(damaged(format!("the entity `{}` is none of XML's own", short(other)))),
                },
            },
            Event::DocType(_) => {
                return Err(("has a document type, which LabelMe's files have not".to_owned(), "remove the line <!DOCTYPE"));
            }
            Event::Start(element) | Event::Empty(element) => {
                let name = element.name();
                if way.is_empty() && name.as_ref() != "annotation" {
                    let problem = format!("is XML of `{}`, and LabelMe's is of `annotation`", short(name.as_ref()));
                    return Err((problem, "give an annotation of the MIT LabelMe"));
                }
                if way.len() == MAX_DEPTH {
                    return Err((format!("has more than {MAX_DEPTH} elements inside each other"), ANOTHER));
                }
                said.clear();
                way.push(name.as_ref().to_owned());
                rooted = true;
                "".into()
            }
            Event::Eof => break,
            _ => "".into(),
        };
        if said.len() + piece.len() > MAX_TEXT {
            return Err((format!("has a text of more than {MAX_TEXT} bytes"), "shorten it"));
        }
        said.push_str(&piece);
        if !matches!(event, Event::End(_) | Event::Empty(_)) {
            continue;
        }
        let names: Vec<&str> = way.iter().map(String::as_str).collect();
        let value = said.trim();
        match names[..] {
            ["annotation", "filename"] => annotation.image = value.to_owned(),
            ["annotation", "imagesize"] => sized = true,
            ["annotation", "imagesize", "nrows"] => rows = value.parse().ok(),
            ["annotation", "imagesize", "ncols"] => columns = value.parse().ok(),
            ["annotation", "object", "name"] => object.label = value.to_owned(),
            ["annotation", "object", "deleted"] => object.deleted = ["1", "yes"].contains(&value),
            ["annotation", "object", "attributes"] => object.attributes = value.to_owned(),
            ["annotation", "object", "description"] => object.description = value.to_owned(),
            ["annotation", "object", "type"] => object.kind = value.to_owned(),
            ["annotation", "object", "polygon", "pt", "x"] => object.corner[0] = value.parse().ok(),
            ["annotation", "object", "polygon", "pt", "y"] => object.corner[1] = value.parse().ok(),
            ["annotation", "object", "polygon", "pt"] => object.add_corner(),
            ["annotation", "object"] => {
                objects += 1;
                let object = std::mem::take(&mut object);
                if objects > MAX_OUTLINES {
                    return Err((format!("has more than {MAX_OUTLINES} objects"), "leave out what is no lesion"));
                }
                if !object.deleted {
                    annotation.outlines.push(object.outline(objects)?);
                }
            }
            _ => {}
        }
        said.clear();
        way.pop();
    }
    if !way.is_empty() {
        return Err(("is cut short".to_owned(), ANOTHER));
    }
    if !rooted {
        return Err(("holds no element `annotation`".to_owned(), "give an annotation of the MIT LabelMe"));
    }
    if sized {
        let size = whole_size(rows, columns);
        annotation.size =
            Some(size.ok_or_else(|| ("says an imagesize that no picture has".to_owned(), "correct nrows and ncols"))?);
    }
    Ok(annotation)
}

impl Object {
    /// Puts the corner that was read behind the others.
    fn add_corner(&mut self) {
        match std::mem::take(&mut self.corner) {
            _ if self.corners.len() == MAX_CORNERS => self.problem = Some(format!("has more than {MAX_CORNERS} corners")),
            [Some(x), Some(y)] => self.corners.push([x, y]),
            _ => self.problem = Some("has a corner without a number for x or y".to_owned()),
        }
    }

    /// The outline that it is, as number `at` of the file. A single corner is a spot.
    fn outline(self, at: usize) -> Result<Outline, Refusal> {
        let boxed = self.kind == "bounding_box" && matches!(self.corners[..], [a, b, c, d] if super::is_upright([a, b, c, d]));
        let kind = match self.corners.len() {
            1 => "point",
            _ if boxed => "rectangle",
            _ => "polygon",
        };
        let form = match (self.problem, self.corners.is_empty()) {
            (Some(problem), _) => Err(problem),
            (None, true) => Err("has no polygon, and Osteon reads no other geometry of this format".to_owned()),
            (None, false) => Form::of(kind, self.corners),
        };
        let form =
            form.map_err(|problem| (format!("outline {at} ({}) {problem}", short(&self.label)), "draw it again, or remove it"))?;
        let group = self.attributes.split([',', ' ']).find_map(|word| word.strip_prefix("group="));
        let group = group.and_then(|group| whole(group.parse().ok()?, u32::MAX));
        Ok(Outline { label: self.label, form, group, description: self.description, flags: Flags::new() })
    }
}

/// Text as XML has it; what XML cannot hold is replaced.
fn text(text: &str) -> String {
    escape(&*text.replace(|c: char| c.is_control() || ['\u{FFFE}', '\u{FFFF}'].contains(&c), "\u{FFFD}")).into_owned()
}

pub(super) fn write(annotation: &Annotation) -> Vec<u8> {
    let mut xml = format!("<annotation>\n<filename>{}</filename>\n<folder></folder>\n", text(&annotation.image));
    for (id, outline) in annotation.outlines.iter().enumerate() {
        let attributes = outline.group.map_or(String::new(), |group| format!("group={group}"));
        // Writing to a String cannot fail.
        let _ = write!(
            xml,
            "<object>\n<name>{}</name>\n<deleted>0</deleted>\n<verified>0</verified>\n<occluded>no</occluded>\n\
             <attributes>{attributes}</attributes>\n<parts><hasparts></hasparts><ispartof></ispartof></parts>\n<id>{id}</id>\n",
            text(&outline.label)
        );
        if !outline.description.is_empty() {
            let _ = writeln!(xml, "<description>{}</description>", text(&outline.description));
        }
        let corners = match &outline.form {
            Form::Rectangle([[left, top], [right, bottom]]) => {
                xml.push_str("<type>bounding_box</type>\n");
                vec![[*left, *top], [*right, *top], [*right, *bottom], [*left, *bottom]]
            }
            Form::Circle([[x, y], rim]) => {
                let radius = (rim[0] - x).hypot(rim[1] - y);
                let [width, height] = annotation.size.map_or([f64::MAX; 2], |size| [size.columns as f64, size.rows as f64]);
                let corner = |k: usize| {
                    let (sin, cos) = (TAU * k as f64 / CIRCLE_CORNERS as f64).sin_cos();
                    // A circle may reach over the picture's edge, a polygon may not.
                    [(x + radius * cos).clamp(0.0, width), (y + radius * sin).clamp(0.0, height)]
                };
                (0..CIRCLE_CORNERS).map(corner).collect()
            }
            other => other.points().to_vec(),
        };
        xml.push_str("<polygon>\n<username></username>\n");
        for [x, y] in corners {
            let _ = writeln!(xml, "<pt><x>{x}</x><y>{y}</y></pt>");
        }
        xml.push_str("</polygon>\n</object>\n");
    }
    if let Some(size) = annotation.size {
        let _ = writeln!(xml, "<imagesize><nrows>{}</nrows><ncols>{}</ncols></imagesize>", size.rows, size.columns);
    }
    xml.push_str("</annotation>\n");
    xml.into_bytes()
}
