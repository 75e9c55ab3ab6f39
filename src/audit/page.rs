//! A trace to look at: one page with every operation, to search, and feature maps as pictures.

use super::log::{Folder, Header, Record};
use crate::image::Size;
use crate::intake::picture;
use crate::models::StudyCounts;
use crate::report::caption::{self, caveat};
use crate::report::frame::{data_uri, header, page, scroll};
use crate::text::counted;
use maud::{Markup, PreEscaped, html};
use serde_json::{Map, Value, json};

/// Feature maps in a picture of the page.
const SHOWN_MAPS: usize = 16;

/// Rows of a map in a picture of the page: with 16 maps of 64 x 16 a picture has some 16 KB, and a page of 200 of them 4 MB.
const SHOWN_ROWS: usize = 64;

/// The feature maps of the first image of a tensor (batch, rows, columns, channels).
pub struct Maps<'a> {
    rows: usize,
    columns: usize,
    channels: usize,
    values: &'a [f32],
}

impl<'a> Maps<'a> {
    /// None where the tensor has no maps.
    pub fn new(shape: &[usize], values: &'a [f32]) -> Option<Self> {
        match *shape {
            [_, rows, columns, channels] if !values.is_empty() && values.len() == shape.iter().product::<usize>() => {
                Some(Maps { rows, columns, channels, values: &values[..rows * columns * channels] })
            }
            _ => None,
        }
    }

    /// The first of them, reduced, as a PNG file.
    pub fn thumbnail(&self) -> Vec<u8> {
        self.mosaic(self.channels.min(SHOWN_MAPS), self.rows.div_ceil(SHOWN_ROWS), 8)
    }

    /// All of them in full size, as a PNG file.
    pub fn full(&self) -> Vec<u8> {
        // Twice as wide as high, roughly.
        let across = (2.0 * (self.channels * self.rows) as f64 / self.columns as f64).sqrt().ceil() as usize;
        self.mosaic(self.channels, 1, across.max(1))
    }

    /// `count` maps, `across` of them beside each other with a line between, pixels averaged `factor` by `factor`. Each map goes
    /// from its own least value (black) to its largest (white); values that are no numbers are black.
    fn mosaic(&self, count: usize, factor: usize, across: usize) -> Vec<u8> {
        let across = across.min(count);
        let (rows, columns) = (self.rows.div_ceil(factor), self.columns.div_ceil(factor));
        let size = [count.div_ceil(across) * (rows + 1) - 1, across * (columns + 1) - 1];
        let mut pixels = vec![128; size[0] * size[1]];
        for channel in 0..count {
            let mut map = Vec::with_capacity(rows * columns);
            for row in 0..rows {
                for column in 0..columns {
                    let (mut sum, mut area) = (0.0f64, 0.0);
                    for r in row * factor..self.rows.min((row + 1) * factor) {
                        for c in column * factor..self.columns.min((column + 1) * factor) {
                            sum += f64::from(self.values[(r * self.columns + c) * self.channels + channel]);
                            area += 1.0;
                        }
                    }
                    map.push(sum / area);
                }
            }
            let finite = || map.iter().copied().filter(|value| value.is_finite());
            let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
            let first = channel / across * (rows + 1) * size[1] + channel % across * (columns + 1);
            for (at, value) in map.into_iter().enumerate() {
                // A cast takes NaN to 0 and clamps.
                let level = if high > low { 255.0 * (value - low) / (high - low) } else { 0.0 };
                pixels[first + at / columns * size[1] + at % columns] = level.round() as u8;
            }
        }
        picture::encode_gray8(size[0], size[1], &pixels).expect("rows x columns pixels were made, and memory takes them")
    }
}

/// The name of an operation's picture in [`Folder::PICTURES`].
pub fn picture_name(number: usize) -> String {
    format!("{number:05}.png")
}

/// The page of a trace; `thumbnails` has a place for each record.
pub fn html(about: &Header, records: &[Record], thumbnails: &[Option<Vec<u8>>], pictures: bool) -> String {
    let trained_on = StudyCounts::of_training(about.training_studies, &about.trained_on);
    let caveat = caveat(&[("trained", trained_on)]);
    let outcome = about.probabilities.iter().map(|(class, probability)| format!("{class} {probability:.4}"));
    let total = |of: &dyn Fn(&Record) -> f64| records.iter().map(of).sum::<f64>();
    let facts = [
        ("Scan", about.scan.keys().cloned().collect::<Vec<_>>().join(", ")),
        ("Model", format!("{} ({})", about.model, about.architecture)),
        ("Input", Size::from(about.input_size).to_string()),
        ("Probabilities", outcome.collect::<Vec<_>>().join(", ")),
        ("Label", about.label.clone().unwrap_or_default()),
        ("Loss", about.loss.map(|loss| format!("{loss:.6}")).unwrap_or_default()),
        ("Machine", format!("{}, {}", about.isa, counted(about.threads, "thread"))),
        ("Work", format!("{:.3} GFLOP in {:.1} ms", total(&|r| r.flops as f64) / 1e9, total(&|r| r.microseconds) / 1e3)),
        ("Whole run", format!("{:.1} ms, recorded {:.1} ms", about.milliseconds, about.recorded_milliseconds)),
    ];
    let tag = &caption::of_network(trained_on);
    let details: Vec<Value> = records
        .iter()
        .zip(thumbnails)
        .map(|(record, thumbnail)| {
            let mut detail = Map::from_iter([
                ("inputs".to_owned(), json!(record.inputs)),
                ("source".to_owned(), json!(record.source)),
                ("sha256".to_owned(), json!(record.sha256)),
                ("equation".to_owned(), json!(record.equation)),
            ]);
            if let Some(png) = thumbnail {
                detail.insert("png".into(), json!(data_uri(png)));
                if pictures {
                    detail.insert("file".into(), json!(format!("{}/{}", Folder::PICTURES, picture_name(record.number))));
                }
            }
            Value::Object(detail)
        })
        .collect();
    // In a script element nothing is escaped, and only `<` can end it.
    let details = Value::from(details).to_string().replace('<', "\\u003c");
    let scan = about.scan.iter().map(|(name, hash)| (name.as_str(), hash));
    let hashes =
        [("Model file", &about.model_sha256)].into_iter().chain(scan).chain([(Folder::RECORDS, &about.operations_sha256)]);
    let table = html! {
        table id="operations" {
            thead {
                tr {
                    th.n scope="col" { "#" }
                    @for name in ["Operation", "Layer", "Shape", "How"] { th.n[name == "Shape"] scope="col" { (name) } }
                    @for name in ["µs", "MFLOP", "kB", "Min", "Max", "Mean", "NaN / inf"] { th.n scope="col" { (name) } }
                }
            }
            tbody { @for record in records { (row(record)) } }
        }
    };
    let body = html! {
        (header(&format!("Trace of one {}", about.run), &caveat, tag, &facts))
        style { (PreEscaped(include_str!("page.css"))) }
        main {
            p {
                "Every operation in the order in which it ran. A number opens the operation: its inputs, where its equation is \
                 written, its hash and its feature maps. The values are in " code { "tensors.safetensors" } " under these numbers, the same \
                 lines for programs in " code { "trace.jsonl" } "; " code { "osteon audit verify" } " computes each again in float64."
            }
            p.controls {
                label { "Search " input id="search" type="search" placeholder="layer1.0 conv"; } " "
                span id="found" role="status" {}
            }
            (scroll("Every operation", "tall", &table))
            dl.small { @for (name, hash) in hashes { dt { (name) } dd.hash { (hash) } } }
        }
        script type="application/json" id="details" { (PreEscaped(details)) }
        script { (PreEscaped(include_str!("page.js"))) }
    };
    page(&format!("Trace: {}", about.scan.keys().next().map_or("scan", String::as_str)), &caveat, &body)
}

/// The row of an operation; one with NaN or infinity in it is marked.
fn row(record: &Record) -> Markup {
    let value = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3e}"));
    let shape = record.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
    let how = record.algorithm.iter().chain(&record.isa).map(String::as_str).collect::<Vec<_>>().join(", ");
    let time = match record.computed_with {
        Some(with) => format!("with {with}"),
        None => format!("{:.1}", record.microseconds),
    };
    let summary = &record.summary;
    let numbers = [
        time,
        format!("{:.3}", record.flops as f64 / 1e6),
        format!("{:.1}", record.bytes as f64 / 1e3),
        value(summary.min),
        value(summary.max),
        value(summary.mean),
        format!("{} / {}", summary.nan, summary.infinite),
    ];
    html! {
        tr class=[(summary.nan + summary.infinite > 0).then_some("wrong")] {
            td.n { button { (record.number) } }
            th scope="row" { (record.name) }
            td { (record.layer) }
            td.n { (shape) }
            td { (how) }
            @for number in numbers { td.n { (number) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_channels_from_black_to_white() {
        // Two channels of 2 x 3 pixels: one rises, one is flat and has a NaN.
        let values: Vec<f32> = (0..6).flat_map(|i| [i as f32, if i == 3 { f32::NAN } else { 7.0 }]).collect();
        let maps = Maps::new(&[1, 2, 3, 2], &values).unwrap();
        let full = image::load_from_memory(&maps.full()).unwrap().to_luma8();
        assert_eq!((full.width(), full.height()), (7, 2));
        assert_eq!(full.as_raw()[..], [0, 51, 102, 128, 0, 0, 0, 153, 204, 255, 128, 0, 0, 0]);
    }

    #[test]
    fn thumbnails_are_small_and_average() {
        let (rows, columns, channels) = (256, 64, 40);
        let values: Vec<f32> = (0..rows * columns * channels).map(|i| ((i / channels) % 2) as f32).collect();
        let thumbnail = Maps::new(&[1, rows, columns, channels], &values).unwrap().thumbnail();
        let two = [&values[..], &vec![0.5; values.len()]].concat();
        assert_eq!(Maps::new(&[2, rows, columns, channels], &two).unwrap().thumbnail(), thumbnail, "the first image of two");
        let thumbnail = image::load_from_memory(&thumbnail).unwrap().to_luma8();
        assert_eq!((thumbnail.height(), thumbnail.width()), (2 * 65 - 1, 8 * 17 - 1));
        assert_eq!(thumbnail.get_pixel(3, 3).0, [0], "alternating columns average to a flat map");
        assert!(Maps::new(&[3, 64], &values[..192]).is_none());
    }
}
