//! LabelMe's JSON (the Python program's): `shapes` with `label`, `shape_type` and `points`, and about the picture `imagePath`,
//! `imageHeight` and `imageWidth`; a `mask` has its bitmap besides. The picture itself (`imageData`) is stepped over.

use super::bitmap::{Bitmap, Budget};
use super::{Annotation, Flags, Form, MAX_CORNERS, MAX_FLAGS, MAX_OUTLINES, Outline, Point, short};
use crate::image::Size;
use crate::{Error, Result};
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

/// The version of the format that is written.
const VERSION: &str = "5.5.0";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    shapes: Capped<JsonShape, MAX_OUTLINES>,
    #[serde(default)]
    flags: Option<CappedFlags>,
    #[serde(default)]
    image_path: Option<String>,
    #[serde(default)]
    image_height: Option<f64>,
    #[serde(default)]
    image_width: Option<f64>,
    #[serde(default, rename = "imageData")]
    _image_data: IgnoredAny,
}

#[derive(Deserialize)]
struct JsonShape {
    label: String,
    points: Capped<Point, MAX_CORNERS>,
    #[serde(default)]
    group_id: Option<f64>,
    #[serde(default)]
    shape_type: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    flags: Option<CappedFlags>,
    #[serde(default)]
    mask: Option<String>,
}

impl JsonShape {
    fn kind(&self) -> &str {
        self.shape_type.as_deref().unwrap_or("polygon")
    }
}

/// A list of at most `MOST` values: no more are kept, whatever the file holds.
struct Capped<T, const MOST: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Capped<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const MOST: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
            type Value = Capped<T, MOST>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST}")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(value) = values.next_element()? {
                    if list.len() == MOST {
                        return Err(serde::de::Error::invalid_length(MOST + 1, &self));
                    }
                    list.push(value);
                }
                Ok(Capped(list))
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

/// At most [`MAX_FLAGS`].
struct CappedFlags(Flags);

impl<'de> Deserialize<'de> for CappedFlags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = CappedFlags;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_FLAGS} flags that are true or false")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut flags = Flags::new();
                while let Some((name, value)) = entries.next_entry::<String, bool>()? {
                    if flags.len() == MAX_FLAGS {
                        return Err(serde::de::Error::invalid_length(MAX_FLAGS + 1, &self));
                    }
                    flags.insert(name, value);
                }
                Ok(CappedFlags(flags))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Annotation> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let file: File = serde_json::from_slice(bytes).map_err(|error| {
        Error::file(
            path,
            format!("is no annotation of LabelMe ({error})"),
            "give a file as LabelMe, the program in Python, saves it",
        )
    })?;
    let size = match (file.image_height, file.image_width) {
        (None, None) => None,
        (rows, columns) => Some(whole_size(rows, columns).ok_or_else(|| {
            let problem = "says an imageHeight or imageWidth that no picture has";
            Error::file(path, problem, format!("give both, from 1 to {}", Size::MAX_SIDE))
        })?),
    };
    refuse_without_area(path, &file.shapes.0)?;
    let mut budget = Budget::default();
    let outline = |(index, shape): (usize, JsonShape)| {
        let refuse = |problem: String| {
            let problem = format!("outline {} ({}) {problem}", index + 1, short(&shape.label));
            Error::file(path, problem, "draw it again, or remove it")
        };
        let group = shape.group_id.map(|group| whole(group, u32::MAX).ok_or_else(|| refuse(format!("has the group {group}"))));
        let form = match shape.kind() {
            "mask" => Bitmap::decode(&shape.points.0, shape.mask.as_deref(), size, &mut budget).map(Form::Mask),
            kind => Form::of(kind, shape.points.0.clone()),
        };
        let form = form.map_err(refuse)?;
        let flags = shape.flags.map(|flags| flags.0).unwrap_or_default();
        let (group, description) = (group.transpose()?, shape.description.unwrap_or_default());
        Ok(Outline { label: shape.label, form, group, description, flags })
    };
    Ok(Annotation {
        image: file.image_path.unwrap_or_default(),
        size,
        flags: file.flags.map(|flags| flags.0).unwrap_or_default(),
        outlines: file.shapes.0.into_iter().enumerate().map(outline).collect::<Result<_>>()?,
    })
}

/// Lines and other kinds that Osteon does not read, all in one sentence.
fn refuse_without_area(path: &Path, shapes: &[JsonShape]) -> Result<()> {
    /// As many are listed.
    const MOST: usize = 100;
    let others = || shapes.iter().enumerate().filter(|(_, shape)| !Form::KINDS.contains(&shape.kind()));
    let mut list: Vec<String> = others()
        .take(MOST)
        .map(|(index, shape)| format!("outline {} ({}) is a `{}`", index + 1, short(&shape.label), short(shape.kind())))
        .collect();
    let (number, read) = (others().count(), Form::KINDS.join(", "));
    if number > MOST {
        list.push(format!("and so on, {number} in all"));
    }
    let remedy = match number {
        0 => return Ok(()),
        1 => "draw a polygon around what it marks, or remove it",
        _ => "draw a polygon around what each marks, or remove them",
    };
    Err(Error::file(path, format!("{}: Osteon reads {read}, which have an area or are a spot", list.join(", ")), remedy))
}

/// A number that stands for a whole one from 0 to `most`.
pub(super) fn whole(value: f64, most: u32) -> Option<u32> {
    (value.fract() == 0.0 && (0.0..=f64::from(most)).contains(&value)).then_some(value as u32)
}

/// A picture's size, of numbers that a file holds.
pub(super) fn whole_size(rows: Option<f64>, columns: Option<f64>) -> Option<Size> {
    let side = |value: Option<f64>| whole(value?, Size::MAX_SIDE as u32).filter(|side| *side > 0).map(|side| side as usize);
    Some(Size { rows: side(rows)?, columns: side(columns)? })
}

pub(super) fn write(annotation: &Annotation) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct File<'a> {
        version: &'a str,
        flags: &'a Flags,
        shapes: Vec<JsonShape<'a>>,
        image_path: &'a str,
        image_data: (),
        image_height: Option<usize>,
        image_width: Option<usize>,
    }
    #[derive(Serialize)]
    struct JsonShape<'a> {
        label: &'a str,
        points: &'a [Point],
        group_id: Option<u32>,
        description: &'a str,
        shape_type: &'a str,
        flags: &'a Flags,
        #[serde(skip_serializing_if = "Option::is_none")]
        mask: Option<String>,
    }
    let shapes = annotation.outlines.iter().map(|Outline { label, form, group, description, flags }| JsonShape {
        label,
        points: form.points(),
        group_id: *group,
        description,
        shape_type: form.name(),
        flags,
        mask: if let Form::Mask(bitmap) = form { Some(bitmap.encode()) } else { None },
    });
    let file = File {
        version: VERSION,
        flags: &annotation.flags,
        shapes: shapes.collect(),
        image_path: &annotation.image,
        image_data: (),
        image_height: annotation.size.map(|size| size.rows),
        image_width: annotation.size.map(|size| size.columns),
    };
    serde_json::to_vec(&file).expect("names, text and finite numbers are JSON")
}
