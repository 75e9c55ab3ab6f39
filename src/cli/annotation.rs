//! `osteon annotation`: what physicians drew, converted and checked.

use super::output::Overwrite;
use super::table::TableFlags;
use super::terminal::Terminal;
use crate::annotation::{self, Annotation as Drawn, CodeKind, Codes};
use crate::archive::manifest::Row;
use crate::image::Size;
use crate::text::{Shown, counted};
use crate::{Error, Result};
use clap::Subcommand;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Convert or check what physicians drew, or list the codes.
#[derive(Subcommand)]
pub enum Annotation {
    /// Convert between LabelMe's JSON and the MIT LabelMe's XML, by the extensions of the files.
    ///
    /// Picture data, users' names, dates and deleted objects are left out. XML has no circles and no masks (they become
    /// polygons, masks of the same pixels) and no flags.
    #[command(after_help = "Example:\n  osteon annotation convert scan.xml --output scan.json")]
    Convert {
        /// The file to read, .json or .xml.
        input: PathBuf,
        /// The file to write, .json or .xml.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        overwrite: Overwrite,
    },
    /// Check codes and geometry: of one file, or of all files beside the scans of a manifest; exit code 1 if one fails.
    #[command(
        after_help = "Example:\n  osteon annotation check scan.anterior.json --codes codes.csv\n  osteon annotation check phantoms/manifest.csv"
    )]
    Check {
        /// An annotation, or a manifest (.csv).
        input: PathBuf,
        /// The table of codes [default: codes.csv in the folder of the input, else Osteon's own].
        #[arg(long, value_name = "FILE")]
        codes: Option<PathBuf>,
        #[command(flatten)]
        table: TableFlags,
    },
    /// Print Osteon's own table of codes, as a start for your own.
    #[command(after_help = "Example:\n  osteon annotation codes > codes.csv")]
    Codes,
}

impl Annotation {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        match self {
            Annotation::Convert { input, output, overwrite } => {
                let file = overwrite.file(output, &[input])?;
                file.write(&Drawn::read(input)?.to_bytes(output)?)?;
                terminal.line(output.shown())
            }
            Annotation::Check { input, codes, table } => {
                let codes = match codes {
                    Some(path) => Codes::read(path)?,
                    None => Codes::beside(input)?,
                };
                match input.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
                    true => check_all(terminal, input, &codes, table),
                    false => {
                        let annotation = Drawn::read(input)?;
                        annotation.check(input, None, &codes)?.notes.iter().for_each(|note| terminal.note(note));
                        let size = match annotation.size {
                            Some(size) => format!("a picture of {size} pixels"),
                            None => "a picture whose size it does not say".to_owned(),
                        };
                        let outlines = counted(annotation.outlines.len(), "outline");
                        terminal.line(format_args!("{}: {outlines} on {size}, codes and geometry fit", input.shown()))
                    }
                }
            }
            Annotation::Codes => terminal.line(Codes::default().to_csv().trim_end()),
        }
    }
}

/// Checks every annotation beside the scans of a manifest; each that fails is reported, and the others are still checked.
fn check_all(terminal: &Terminal, path: &Path, codes: &Codes, table: &TableFlags) -> Result<()> {
    let manifest = table.read(terminal, path)?;
    let (mut files, mut failed, mut outlines) = (0, 0, 0);
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let mut check = |row: &Row| -> Result<()> {
        let beside = annotation::beside(row)?;
        if beside.is_empty() {
            return Ok(());
        }
        let study = row.read()?;
        for beside in beside {
            files += 1;
            let (_, image) = beside.image(&study)?;
            let annotation = Drawn::read(&beside.path)?;
            let checked = annotation.check(&beside.path, Some(Size { rows: image.rows, columns: image.columns }), codes)?;
            checked.notes.iter().for_each(|note| terminal.note(note));
            outlines += annotation.outlines.len();
            for outline in &annotation.outlines {
                let kind = match codes.finding(&outline.label).ok().and_then(|finding| finding.disease).map(|code| code.kind) {
                    Some(CodeKind::Disease) => "of metastases",
                    Some(_) => "of benign findings",
                    None => "of parts of the body",
                };
                *kinds.entry(kind).or_default() += 1;
            }
        }
        Ok(())
    };
    for row in &manifest.rows {
        if let Err(error) = check(row) {
            terminal.error(&error);
            failed += 1;
        }
    }
    if files == 0 && failed == 0 {
        let remedy = "save LabelMe's files as SCAN.anterior.json and SCAN.posterior.json beside the scans";
        return Err(Error::file(path, "lists no scan with an annotation beside it", remedy));
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    terminal.line(format_args!(
        "{}, {} with fitting codes and geometry ({})",
        counted(files, "annotation"),
        counted(outlines, "outline"),
        kinds.join(", ")
    ))?;
    match failed {
        0 => Ok(()),
        _ => Err(Error::file(
            path,
            format!("has {} whose annotations cannot be used", counted(failed, "study")),
            "see the lines above",
        )),
    }
}
