//! The picture of view aggregation.

use super::{Anchor, Color, Letters, Raster, Tone};
use crate::prepare::views::{Fused, Placement};

const PAPER: Color = [255; 3];
const INK: Color = [40, 44, 52];
const ROW_LINE: Color = [184, 48, 28];
const COLUMN_LINE: Color = [32, 104, 178];

/// The views side by side, each with its critical points drawn, and their sum: what aggregation saw and did.
///
/// The posterior view is shown flipped and before it is moved, so that the lines of the two views can be compared.
pub fn aggregation(fused: &Fused) -> Raster {
    const NAME: Letters = Letters::bold(14.0);
    const LABEL: Letters = Letters::regular(11.0);
    const HEADER_PX: usize = 38;
    const LABEL_PX: f32 = 28.0; // of the columns' labels, beneath the names
    const FOOTER_PX: usize = 24;
    const GAP_PX: usize = 12;
    const PANEL_PX: usize = 240; // narrower pictures are enlarged until they hold their captions

    let views = [
        ("Anterior", fused.anterior.as_ref(), fused.anterior_points),
        ("Posterior, flipped", fused.posterior.as_ref(), fused.posterior_points),
    ];
    let mut panels: Vec<_> = views.iter().filter_map(|&(name, image, points)| Some((name, image?, points))).collect();
    if panels.len() == 2 {
        panels.push(("Aligned and added", &fused.image, None));
    }
    let enlarge = PANEL_PX.div_ceil(fused.image.columns.max(1));
    let (rows, columns) = (enlarge * fused.image.rows, enlarge * fused.image.columns);
    let mut figure = Raster::new(HEADER_PX + rows + FOOTER_PX, GAP_PX + panels.len() * (columns + GAP_PX), PAPER);
    for (panel, (name, image, points)) in panels.iter().enumerate() {
        let left = GAP_PX + panel * (columns + GAP_PX);
        let at = |row: usize, column: usize| [(left + column) as f32, (HEADER_PX + row) as f32];
        figure.text([left as f32 + 2.0, 11.0], name, NAME, Anchor::Left, INK);
        figure.paste(HEADER_PX, left, &Raster::from_image(image, &Tone::default()).resized(rows, columns));
        let (bottom, right) = (rows - 1, columns - 1);
        let border = [at(0, 0), at(0, right), at(bottom, right), at(bottom, 0), at(0, 0)];
        figure.polyline(&border, 1.0, [200; 3]);
        let Some(points) = points else {
            if panel == 2 {
                figure.text([left as f32 + 3.0, LABEL_PX], &moved(&fused.placement), LABEL, Anchor::Left, INK);
            }
            continue;
        };
        for (name, point, row) in
            [("ceil", points.ceil, enlarge * points.ceil), ("floor", points.floor, enlarge * (points.floor + 1) - 1)]
        {
            figure.line(at(row, 0), at(row, right), 1.0, ROW_LINE);
            // Outside the body; at the picture's lower edge this is the footer.
            let label_row = (HEADER_PX + row) as f32 + if name == "ceil" { -7.0 } else { 8.0 };
            let middle = (left + columns / 2) as f32;
            figure.text([middle, label_row], &format!("{name} {point}"), LABEL, Anchor::Center, ROW_LINE);
        }
        for (name, point, column, anchor) in [
            ("left", points.left, enlarge * points.left, Anchor::Left),
            ("right", points.right, enlarge * (points.right + 1) - 1, Anchor::Right),
        ] {
            figure.line(at(0, column), at(bottom, column), 1.0, COLUMN_LINE);
            let label_column = left as f32 + if anchor == Anchor::Left { 3.0 } else { right as f32 - 2.0 };
            figure.text([label_column, LABEL_PX], &format!("{name} {point}"), LABEL, anchor, COLUMN_LINE);
        }
    }
    figure
}

/// A placement of the posterior view in words.
fn moved(placement: &Placement) -> String {
    if *placement == Placement::IDENTITY {
        return "posterior not moved".into();
    }
    let ([rows, columns], [tall, wide]) = (placement.shift_px, placement.scale);
    let scaled = if [tall, wide] == [1.0; 2] { String::new() } else { format!(", scaled {tall:.3} x {wide:.3}") };
    format!("posterior {rows:+.0} rows, {columns:+.0} columns{scaled}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::contrast;
    use super::*;
    use crate::image::Image;
    use crate::intake::Study;
    use crate::prepare::{Preprocessing, views::fuse};

    #[test]
    fn both_views_and_their_lines_are_shown() {
        let mut view = Image::zeros(256, 64);
        (16..240).for_each(|row| view.pixels[row * 64..][9..55].fill(20.0));
        let study = |posterior| Study { anterior: Some(view.clone()), posterior, ..Study::default() };
        let [two, one] = [Some(view.clone()), None].map(|posterior| fuse(&study(posterior), &Preprocessing::default()).unwrap());
        let colored = |raster: &Raster| raster.rgb().chunks_exact(3).filter(|rgb| rgb[0].abs_diff(rgb[2]) > 100).count();
        let (two, one) = (aggregation(&two), aggregation(&one));
        assert!(two.columns() > 2 * one.columns());
        assert!([INK, ROW_LINE, COLUMN_LINE].iter().all(|words| contrast(*words, PAPER) >= 4.5));
        assert!(colored(&one) > 2000 && colored(&two).abs_diff(2 * colored(&one)) < 200, "{} {}", colored(&one), colored(&two));
    }
}
