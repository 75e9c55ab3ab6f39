//! The paper's results, as its tables print them, so that a page can show them beside ours.

/// Accuracy, macro precision, macro recall and macro F1 of one row of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaperScores {
    /// The share of test images whose class was right.
    pub accuracy: f64,
    /// Mean over the classes.
    pub precision: f64,
    /// Mean over the classes.
    pub recall: f64,
    /// Mean over the classes.
    pub f1: f64,
}

const fn scores(accuracy: f64, precision: f64, recall: f64, f1: f64) -> Option<PaperScores> {
    Some(PaperScores { accuracy, precision, recall, f1 })
}

/// One row: what the paper calls it, the [training](super::Training) that repeats it, its scores where the paper prints them.
pub type Row = (&'static str, &'static str, Option<PaperScores>);

/// inRAC on D3, in most of the tables.
const IN_RAC: Option<PaperScores> = scores(0.7782, 0.7799, 0.7823, 0.7764);

/// A table of scores.
#[derive(Debug)]
pub struct PaperTable {
    /// `table4`: the name of its file.
    pub name: &'static str,
    /// What it is called on the page.
    pub title: &'static str,
    /// Its rows, in the paper's order.
    pub rows: &'static [Row],
}

/// The tables of scores. Figure 9 shows the scores of depths without printing them; its text says that inRAC is best.
pub const TABLES: [PaperTable; 6] = [
    PaperTable {
        name: "table4",
        title: "Table 4: attention inside or outside the residual branch",
        rows: &[("inRAC", "d3-inrac", IN_RAC), ("outRAC", "d3-outrac", scores(0.6725, 0.7233, 0.6831, 0.6723))],
    },
    PaperTable {
        name: "table5",
        title: "Table 5: single views, augmented, aggregated",
        rows: &[
            ("D1", "d1-inrac", scores(0.6150, 0.6324, 0.6227, 0.6058)),
            ("D2", "d2-inrac", scores(0.6968, 0.7001, 0.7024, 0.6930)),
            ("D3", "d3-inrac", IN_RAC),
        ],
    },
    PaperTable {
        name: "table6",
        title: "Table 6: without residual connections, without attention",
        rows: &[
            ("neither", "d3-inrac-no-residual-no-attention", scores(0.6937, 0.7032, 0.7000, 0.6940)),
            ("attention only", "d3-inrac-no-residual", scores(0.7042, 0.7416, 0.7047, 0.7031)),
            ("residual only", "d3-inrac-no-attention", scores(0.7500, 0.7614, 0.7532, 0.7497)),
            ("both", "d3-inrac", IN_RAC),
        ],
    },
    PaperTable {
        name: "table7",
        title: "Table 7 and figure 9: depth",
        rows: &[
            ("Classifier-18", "d3-classifier-18", None),
            ("Classifier-34", "d3-classifier-34", None),
            ("inRAC", "d3-inrac", IN_RAC),
        ],
    },
    PaperTable {
        name: "table8",
        title: "Table 8 and figure 10: two classes",
        rows: &[("inRAC", "d3-two-classes-inrac", scores(0.8310, 0.8696, 0.8696, 0.8696))],
    },
    PaperTable {
        name: "table10",
        title: "Tables 9 and 10: other networks",
        rows: &[
            ("Inception-v1", "d3-inception-v1", scores(0.5387, 0.6003, 0.5490, 0.5415)),
            ("VGG-11", "d3-vgg-11", scores(0.7324, 0.7309, 0.7333, 0.7309)),
            ("inRAC", "d3-inrac", IN_RAC),
        ],
    },
];

/// Area under the ROC curve of inRAC on D3 (figure 6) and on two classes (Table 8).
pub const AUC: [f64; 2] = [0.8364, 0.8147];

/// Images of NoMet, ADMet and nADMet in D1, D2 and D3 (Table 2).
pub const IMAGES: [[usize; 3]; 3] = [[226, 237, 160], [614, 624, 640], [307, 318, 320]];

/// Table 8 is of one class against the rest, the metastatic one; the others are macro means.
pub const TWO_CLASSES: &str = "table8";
