//! `osteon doctor`: what Osteon sees in a file, folder or manifest.

use super::preflight::Preflight;
use super::table::{self, TableFlags};
use super::terminal::Terminal;
use crate::archive::manifest::{Manifest, Row, Survey as TableSurvey};
use crate::files::Kind;
use crate::intake::survey::{self, Object, Survey};
use crate::text::{Shown, counted, shell_word};
use crate::{Error, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Say what Osteon sees in a file, folder, ZIP archive or manifest, what is missing, and which command to run next.
///
/// A table of the objects: type, size, frames, views and how they are known, counts, the body's box, pixel spacing. Nothing that
/// identifies a person is printed.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  osteon doctor scan.dcm\n  osteon doctor /media/cd\n  osteon doctor hospital.csv")]
pub struct Doctor {
    /// A scan, a folder or ZIP archive of an examination, or a manifest.
    path: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    table: TableFlags,
}

/// Lines of a table, and problems, that fit a screen.
const SHOWN: usize = 20;

impl Doctor {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let path = &self.path;
        if !path.exists() {
            return Err(Error::file(path, "is not there", "check the path"));
        }
        match Kind::of_file(path) {
            _ if path.is_dir() => self.scans(terminal),
            Some(Kind::Dicom | Kind::Picture(_)) => self.scans(terminal),
            _ if survey::is_container(path) => self.scans(terminal),
            Some(Kind::Safetensors) => {
                terminal.line(format_args!("{}: a model or weights", path.shown()))?;
                next(terminal, &format!("osteon model info {}", shell_word(&path.shown())))
            }
            Some(Kind::Text) => self.manifest(terminal),
            Some(kind) => match kind.refuse_as_manifest(path) {
                Some(error) => Err(error),
                None => self.manifest(terminal),
            },
            // Perhaps DICOM that says so only to its reader.
            None => self.scans(terminal),
        }
    }

    /// A file, folder or archive of scans.
    fn scans(&self, terminal: &Terminal) -> Result<()> {
        let survey = survey::survey(&self.path)?;
        if self.json {
            let json = serde_json::to_string_pretty(&survey).expect("plain values are JSON");
            return terminal.json(&json);
        }
        let Survey { place, objects, more, flags, refusal } = survey;
        let all = objects.len() + more.values().sum::<usize>();
        let what = if place == "file" { place.to_owned() } else { format!("{place} of {}", counted(all, "file")) };
        terminal.line(format_args!("{}: {what}", self.path.shown()))?;
        let (candidates, others): (Vec<Object>, Vec<Object>) = objects.into_iter().partition(|object| object.is_candidate);
        let listed = candidates.iter().chain(others.iter().filter(|_| all <= SHOWN)).take(SHOWN.max(candidates.len().min(100)));
        let mut rows = vec![["object", "type", "size", "frames", "views", "counts", "body", "mm a pixel"].map(str::to_owned)];
        rows.extend(listed.clone().map(row));
        table(terminal, &rows)?;
        for object in listed {
            for remark in &object.remarks {
                let name = if object.name.is_empty() { "it" } else { &object.name };
                terminal.line(format_args!("  {name}: {remark}"))?;
            }
        }
        let mut kinds: BTreeMap<String, usize> = more;
        others.iter().filter(|_| all > SHOWN).for_each(|object| *kinds.entry(object.kind.clone()).or_default() += 1);
        if !kinds.is_empty() {
            let each: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} ({count})")).collect();
            terminal.line(format_args!("  and besides: {}", each.join(", ")))?;
        }
        if let Some(refusal) = refusal {
            terminal.line(format_args!("Without a flag: {refusal}"))?;
        }
        match flags {
            Some(flags) => {
                let flags: String = flags.iter().map(|flag| format!(" {flag}")).collect();
                next(terminal, &format!("osteon predict MODEL {}{flags}", shell_word(&self.path.shown())))?;
                if flags.contains("--views") {
                    terminal
                        .line("      or --views posterior,anterior: look at the pictures of `osteon fuse` with the same flags")?;
                }
                Ok(())
            }
            None => terminal.line("Next: give another file or folder, as the sentence says"),
        }
    }

    /// A manifest and all of its scans.
    fn manifest(&self, terminal: &Terminal) -> Result<()> {
        let path = &self.path;
        let TableSurvey { manifest, mut problems, more, notes } = Manifest::survey(path, &self.table.options()?)?;
        let mut views: BTreeMap<String, usize> = BTreeMap::new();
        let mut scan_notes = Vec::new();
        if let Some(manifest) = &manifest {
            let scans = Preflight::default().look(terminal, manifest)?;
            scans.seen.views.values().for_each(|how| *views.entry(how.clone()).or_default() += 1);
            problems.extend(scans.faults);
            scan_notes = scans.notes;
        }
        let rows: &[Row] = manifest.as_ref().map_or(&[], |manifest| &manifest.rows);
        let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
        rows.iter().for_each(|row| *classes.entry(&row.label).or_default() += 1);
        let (words, name) = (self.table.words(), shell_word(&path.shown()));
        let command = match problems.len() + more {
            0 => format!("osteon train {name}{words} --output RUN"),
            _ => format!("osteon dataset check {name}{words} --output problems.txt"),
        };
        if self.json {
            let problems: Vec<String> = problems.iter().map(Error::to_string).collect();
            let notes: Vec<&String> = notes.iter().chain(&scan_notes).collect();
            let found = json!({
                "place": "manifest", "studies": rows.len(), "classes": classes, "views": views, "problems": problems,
                "more_problems": more, "notes": notes, "next": command,
            });
            return terminal.json(&format!("{found:#}"));
        }
        terminal.line(format_args!("{}: manifest of {}", path.shown(), counted(rows.len(), "study")))?;
        for (class, count) in classes {
            terminal.line(format_args!("  {class}: {}", counted(count, "study")))?;
        }
        for (how, count) in &views {
            terminal.line(format_args!("  {}: {how}", counted(*count, "scan")))?;
        }
        table::tell(terminal, path, &notes);
        super::preflight::tell(terminal, path, &scan_notes);
        for problem in problems.iter().take(SHOWN) {
            terminal.line(format_args!("  {problem}"))?;
        }
        if problems.len() + more > 0 {
            terminal.line(format_args!("{} in all", counted(problems.len() + more, "problem")))?;
        }
        next(terminal, &command)
    }
}

fn next(terminal: &Terminal, command: &str) -> Result<()> {
    terminal.line(format_args!("Next: {command}"))
}

/// An object as a line of the table.
fn row(object: &Object) -> [String; 8] {
    let none = || "-".to_owned();
    let size = object.size.map_or_else(none, |[rows, columns]| format!("{rows}x{columns}"));
    let frames = if object.frames > 0 { object.frames.to_string() } else { none() };
    let mut views = object.views.clone();
    views.dedup();
    let views = if views.is_empty() { none() } else { views.join("; ") };
    let counts: Vec<String> = object.counts.iter().map(|counts| format!("{counts:.0}")).collect();
    let body = |points: &Option<crate::image::Points>| match points {
        Some(points) => format!("rows {}-{}, columns {}-{}", points.ceil, points.floor, points.left, points.right),
        None => "none".to_owned(),
    };
    let body: Vec<String> = object.body.iter().map(body).collect();
    let mm = object.spacing_mm.map_or_else(none, |[height, width]| format!("{height:.2}x{width:.2}"));
    let joined = |parts: Vec<String>| if parts.is_empty() { none() } else { parts.join("; ") };
    let name = if object.name.is_empty() { "(the file)".to_owned() } else { object.name.clone() };
    [name, object.kind.clone(), size, frames, views, joined(counts), joined(body), mm]
}

/// Lines of a table with columns under each other.
fn table(terminal: &Terminal, rows: &[[String; 8]]) -> Result<()> {
    let widths: Vec<usize> = (0..8).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default()).collect();
    for row in rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        terminal.line(format_args!("  {}", line.join("  ").trim_end()))?;
    }
    Ok(())
}
